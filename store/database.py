"""One engine per process, and sessions on it: `read()` to look, `write()` for one transaction.

SQLite: write-ahead log, `BEGIN IMMEDIATE` before a write (a plain BEGIN that later wants to write meets "database is
locked", which no timeout heals), a busy timeout for writers that wait for each other. PostgreSQL: psycopg, connections
checked before use. The code above is the same for both.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from json import dumps
from pathlib import Path
from typing import Any, TypeVar

from pydantic_core import PydanticSerializationError, to_json
from sqlalchemy import Connection, Engine, create_engine, event, func, make_url, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from domain.documents import Encoded
from store.settings import StoreSettings
from store.tables import Base

log = logging.getLogger(__name__)
T = TypeVar("T")
R = TypeVar("R", bound=Base)

# PostgreSQL: too long idle in a transaction, serialisation failure, deadlock; a server that stops, starts or has no connection to spare.
_TRANSIENT_STATES = ("25P03", "40001", "40P01", "53300", "55P03", "57P01", "57P02", "57P03")

_ALONE = 7_260_114_904  # any number with which nothing else in the database hashes names of locks
# A process that is frozen in the middle of a transaction must not keep its locks for ever.
_IDLE_TRANSACTION_MILLISECONDS = 60_000
_SILENCE_SECONDS = 30


class Database:
    """The database that `settings.database_url` names."""

    def __init__(self, settings: StoreSettings) -> None:
        self.settings = settings
        self.is_sqlite = make_url(settings.database_url).get_backend_name() == "sqlite"
        self.engine = _sqlite_engine(settings) if self.is_sqlite else _postgresql_engine(settings)
        self._writing = self.engine.execution_options(attractor_write=True)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session to look with. Rows stay usable after it; nothing is written."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session in one transaction: committed at the end, rolled back by an exception."""
        with Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

    def transact(self, work: Callable[[Session], T], *, patience_seconds: float = 60.0) -> T:
        """`work` in one write transaction, again while the database is away or busy, for up to `patience_seconds`.

        An answer can be lost after the commit, so `work` must be one that may be done twice: every write that is
        fenced by a lease is.
        """
        give_up = time.monotonic() + patience_seconds
        pause = 0.05
        while True:
            try:
                with self.write() as session:
                    return work(session)
            except DBAPIError as error:
                if not is_transient(error) or time.monotonic() + pause > give_up:
                    raise
                log.warning("database unavailable, trying again in %.2g s: %s", pause, error.orig)
            time.sleep(pause)
            pause = min(2 * pause, 2.0)

    def ping(self) -> None:
        """Raise unless the database answers."""
        with self.engine.connect() as connection:
            connection.execute(text("SELECT 1"))

    def close(self) -> None:
        self.engine.dispose()


def insert_if_new(session: Session, row: type[R], values: dict[str, Any]) -> R | None:
    """The inserted row; None when an equal key is there already. Of two at once the second waits for the first, and
    sees what it committed."""
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    return session.scalar(insert(row).values(**values).on_conflict_do_nothing().returning(row))


def alone(session: Session, what: str) -> None:
    """Until the end of this transaction no other does what goes by this name; a second waits. One name at most in a
    transaction, lest two wait for each other. On SQLite a write transaction is alone anyway."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(what, _ALONE))))


def is_transient(error: DBAPIError) -> bool:
    """Whether the same work may succeed a little later: a lost connection, a busy or restarting database."""
    if error.connection_invalidated:
        return True
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return state in _TRANSIENT_STATES or state.startswith("08")
    # psycopg gives no state when there was no connection at all; SQLite says it in words.
    words = str(error.orig)
    return "database is locked" in words or "connection" in words.lower()


def is_disk_full(error: DBAPIError) -> bool:
    """Whether the database could not write for lack of room."""
    return getattr(error.orig, "sqlstate", None) == "53100" or "disk is full" in str(error.orig)


# Documents reach the database without NaN or they do not reach it: PostgreSQL would refuse it, SQLite would not.
_strictly = partial(dumps, allow_nan=False, separators=(",", ":"))


def _to_json(value: Any) -> str:
    """Compact JSON by pydantic's writer, ten times as fast on a forecast; by the standard library's what that one cannot write."""
    if isinstance(value, Encoded):
        return value
    try:
        written = to_json(value, inf_nan_mode="constants").decode()
    except PydanticSerializationError:
        return _strictly(value)
    return _strictly(value) if "NaN" in written or "Infinity" in written else written


def _sqlite_engine(settings: StoreSettings) -> Engine:
    file = make_url(settings.database_url).database
    if file and file != ":memory:":
        Path(file).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        settings.database_url,
        hide_parameters=True,  # errors are logged, and what callers sent is not
        json_serializer=_to_json,
        pool_size=settings.database_pool_size,
        max_overflow=settings.database_pool_size,
        connect_args={"timeout": settings.busy_timeout_seconds, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin where _begin says, not where the driver thinks
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "wal_autocheckpoint=4000"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("attractor_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql_engine(settings: StoreSettings) -> Engine:
    return create_engine(
        settings.database_url,
        hide_parameters=True,
        json_serializer=_to_json,
        pool_size=settings.database_pool_size,
        max_overflow=settings.database_pool_size,
        pool_pre_ping=True,
        pool_recycle=1800,
        connect_args={
            "connect_timeout": 5,
            # A server whose machine is gone closes nothing; the kernel's own patience is a quarter of an hour.
            "tcp_user_timeout": 1000 * _SILENCE_SECONDS,
            "keepalives_idle": _SILENCE_SECONDS // 2,
            "keepalives_interval": _SILENCE_SECONDS // 6,
            "keepalives_count": 3,
            "options": f"-c idle_in_transaction_session_timeout={_IDLE_TRANSACTION_MILLISECONDS}",
        },
    )

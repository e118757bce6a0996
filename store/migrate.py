"""The schema's way up and down, from code: at the start of `attractor serve`, in deployment, in tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from store.database import Database

ROOT = Path(__file__).parents[1]
_INI = ROOT / "migrations" / "alembic.ini"
_LOCK = 7_260_114_903  # any number that nothing else in the database locks
_LOCK_TIMEOUT = "30s"


def upgrade(database: Database, revision: str = "head") -> None:
    """Bring the schema to `revision`; nothing to do when it is there. Processes that start together wait in turn."""
    with connection(database) as conn:
        command.upgrade(_config(conn), revision)


def downgrade(database: Database, revision: str) -> None:
    with connection(database) as conn:
        command.downgrade(_config(conn), revision)


def check(database: Database) -> None:
    """Raise `alembic.util.CommandError` unless the migrated schema is the one that `store.tables` declares."""
    with connection(database) as conn:
        command.check(_config(conn))


def current(database: Database) -> str | None:
    """The revision that the database is at; None when it is empty."""
    with database.engine.connect() as conn:
        return MigrationContext.configure(conn).get_current_revision()


@cache
def head() -> str | None:
    """The revision that this code needs. Probes ask all the time, and each time the scripts would be read and run."""
    return ScriptDirectory.from_config(_config(None)).get_current_head()


def serves(revision: str | None) -> bool:
    """Whether this code can work with a database at `revision`: its own, or one that it does not know, which a later
    release has made, and such a one keeps what this code needs (docs/guides/production.md, "Upgrades")."""
    return revision == head() or (revision is not None and revision not in known())


@cache
def known() -> frozenset[str]:
    """Every revision that this code can bring to its own."""
    return frozenset(script.revision for script in ScriptDirectory.from_config(_config(None)).walk_revisions())


@contextmanager
def connection(database: Database) -> Iterator[Connection]:
    """A connection in one transaction that no other migration shares: all of it happens, or nothing."""
    with database.engine.connect() as conn:
        if not database.is_sqlite:
            with conn.begin():
                # Waiting here is fine; waiting for a table behind a long query, with all others behind us, is not.
                conn.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
                conn.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"))
                yield conn
            return
        # A table that is copied is dropped, which would delete what refers to it. No effect inside a transaction.
        driver = conn.connection.cursor()
        driver.execute("PRAGMA foreign_keys=OFF")
        try:
            with conn.execution_options(attractor_write=True).begin():
                yield conn
        finally:
            driver.execute("PRAGMA foreign_keys=ON")


def _config(conn: Connection | None) -> Config:
    config = Config(str(_INI))
    config.attributes["connection"] = conn
    return config

"""Sessions, transactions, the clock, and what happens while the database is away."""

from __future__ import annotations

import json
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError, OperationalError, StatementError

from domain.ids import new_id
from store.clock import now
from store.database import Database, _to_json
from store.settings import StoreSettings
from store.tables import ForecastRow, JobEventRow


def forecast(**fields: object) -> ForecastRow:
    return ForecastRow(**{"id": new_id("forecast"), "model_id": new_id("model"), "document": {}} | fields)


def test_write_commits_and_an_exception_rolls_back(database: Database) -> None:
    with database.write() as session:
        session.add(kept := forecast())

    def give_up() -> None:
        with database.write() as session:
            session.add(forecast())
            session.flush()
            raise KeyError

    with pytest.raises(KeyError):
        give_up()
    with database.read() as session:
        assert [row.id for row in session.scalars(select(ForecastRow))] == [kept.id]


def test_rows_stay_usable_after_their_session(database: Database) -> None:
    with database.write() as session:
        session.add(row := forecast(document={"b": 1, "a": [None, "Ä"]}))
    assert row.created_at.tzinfo is not None
    assert row.tenant == "default"
    with database.read() as session:
        row = session.scalars(select(ForecastRow)).one()
    assert list(row.document) == ["b", "a"], "documents keep the order of their keys"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_document_holds_nan(database: Database, value: float) -> None:
    with pytest.raises((StatementError, ValueError), match="not JSON compliant"), database.write() as session:
        session.add(forecast(document={"lambda_max": value}))


@pytest.mark.parametrize(
    "value",
    [
        "NaN",
        "-Infinity",
        "\u2028 é 😀",
        '"\\',
        1e16,
        5e-324,
        -0.0,
        0.1 + 0.2,
        10**30,
        [],
        {},
        None,
        True,
        ["\ud800"],
        (1, 2),
    ],
    ids=repr,
)
def test_documents_come_back_as_they_were(value: Any) -> None:
    assert json.loads(_to_json({"value": value})) == json.loads(json.dumps({"value": value}))


def test_foreign_keys_hold(database: Database) -> None:
    with pytest.raises(IntegrityError), database.write() as session:
        session.add(JobEventRow(job_id=new_id("job"), seq=1, type="status", data={}))


def test_the_database_tells_the_time_in_utc(database: Database) -> None:
    with database.read() as session:
        moment, later = session.execute(select(now(), now(-90.5))).one()
    assert moment.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - moment) < timedelta(seconds=30)
    assert abs((moment - later).total_seconds() - 90.5) < 0.01


def test_the_clock_goes_on_within_a_transaction(database: Database) -> None:
    with database.write() as session:
        first = session.scalar(select(now()))
        session.connection().exec_driver_sql("SELECT 1")
        threading.Event().wait(0.02)
        assert session.scalar(select(now())) > first


def test_instants_compare_in_the_database_as_they_do_here(database: Database) -> None:
    base = datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)
    rows = [forecast(created_at=base + timedelta(microseconds=delta)) for delta in (1, 0, 999_999, -123_456, 10)]
    with database.write() as session:
        session.add_all(rows)
    with database.read() as session:
        found = list(session.scalars(select(ForecastRow.created_at).order_by(ForecastRow.created_at)))
        earlier = session.scalars(select(ForecastRow.id).where(ForecastRow.created_at < base)).all()
    assert found == sorted(row.created_at for row in rows)
    assert earlier == [rows[3].id]


def test_a_naive_datetime_is_refused(database: Database) -> None:
    with pytest.raises(StatementError, match="naive"), database.write() as session:
        session.add(forecast(created_at=datetime(2026, 1, 1)))


def test_writers_wait_for_each_other(database: Database) -> None:
    """Read, then write, in eight threads at once: what fails with "database is locked" under a plain BEGIN."""
    with database.write() as session:
        session.add(row := forecast(document={"n": 0}))

    def count(_: int) -> None:
        with database.write() as session:
            found = session.scalars(select(ForecastRow).where(ForecastRow.id == row.id).with_for_update()).one()
            found.document = {"n": found.document["n"] + 1}

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(80)))
    with database.read() as session:
        assert session.scalars(select(ForecastRow)).one().document == {"n": 80}


def test_readers_do_not_wait_for_a_writer(database: Database) -> None:
    with database.write() as writing:
        writing.add(forecast())
        writing.flush()
        with database.read() as reading:
            assert reading.scalars(select(ForecastRow)).all() == []


def test_transact_goes_on_when_the_connection_was_cut(database: Database) -> None:
    if database.is_sqlite:
        pytest.skip("SQLite has no connection to cut")
    cuts = iter([True, True, False])

    def work(session):  # type: ignore[no-untyped-def]
        session.add(forecast())
        session.flush()
        if next(cuts):
            mine = session.scalar(text("SELECT pg_backend_pid()"))
            with database.engine.connect() as other:
                other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": mine})
        return "done"

    assert database.transact(work) == "done"
    with database.read() as session:
        assert len(session.scalars(select(ForecastRow)).all()) == 1


def test_transact_waits_while_sqlite_is_busy(database: Database, store_settings: StoreSettings) -> None:
    if not database.is_sqlite:
        pytest.skip("PostgreSQL has no single writer")
    impatient = Database(store_settings.model_copy(update={"busy_timeout_seconds": 0.01}))

    def work(session):  # type: ignore[no-untyped-def]
        session.add(forecast())

    def hold(seconds: float) -> None:
        with database.write() as session:
            session.connection()
            started.set()
            threading.Event().wait(seconds)

    for seconds, patience in ((0.5, 0.1), (0.3, 60.0)):
        started = threading.Event()
        holder = threading.Thread(target=hold, args=(seconds,))
        holder.start()
        started.wait(10)
        if patience < seconds:
            with pytest.raises(OperationalError, match="locked"):
                impatient.transact(work, patience_seconds=patience)
        else:
            impatient.transact(work, patience_seconds=patience)
        holder.join()
    impatient.close()
    with database.read() as session:
        assert len(session.scalars(select(ForecastRow)).all()) == 1


def test_transact_does_not_repeat_a_mistake(database: Database) -> None:
    calls = []

    def work(session):  # type: ignore[no-untyped-def]
        calls.append(1)
        session.execute(text("SELECT * FROM no_such_table"))

    with pytest.raises(Exception, match="no_such_table"):
        database.transact(work)
    assert len(calls) == 1


def test_a_database_that_is_away_is_transient(tmp_path) -> None:  # type: ignore[no-untyped-def]
    database = Database(StoreSettings(data_dir=tmp_path, database_url="postgresql://nobody@127.0.0.1:1/nothing"))
    with pytest.raises(OperationalError):
        database.transact(lambda session: session.execute(text("SELECT 1")), patience_seconds=0.2)
    with pytest.raises(OperationalError):
        database.ping()


def test_settings_fill_in_the_embedded_default(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    settings = StoreSettings()
    assert settings.database_url == f"sqlite:///{tmp_path}/attractor-data/attractor.db"
    assert settings.embedded_broker
    monkeypatch.setenv("ATTRACTOR_DATABASE_URL", "postgres://u:p@h/d")
    monkeypatch.setenv("ATTRACTOR_BROKER_URL", "redis://h:6379/0")
    production = StoreSettings()
    assert production.database_url == "postgresql+psycopg://u:p@h/d"
    assert not production.embedded_broker
    assert json.loads(production.model_dump_json())["lease_seconds"] == 60.0


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux has it")
def test_a_server_whose_machine_is_gone_is_not_waited_for_long(database: Database) -> None:
    """Not tried here, since it takes half a minute and a network to cut: what the kernel was told."""
    if database.is_sqlite:
        pytest.skip("no network")
    with database.engine.connect() as connection:
        file = connection.connection.driver_connection.fileno()  # type: ignore[union-attr]
        with socket.socket(fileno=os.dup(file)) as its:
            assert its.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
            assert its.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 15

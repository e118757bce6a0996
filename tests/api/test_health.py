"""Liveness and readiness: what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import text
from stock import Stock

from api.app import create_app
from api.health import endpoints
from api.settings import ApiSettings
from store import leases, migrate
from store.clock import now
from store.database import Database
from store.settings import StoreSettings
from store.tables import JobRow, WorkerRow


def ready(settings: ApiSettings) -> tuple[int, str, dict[str, str]]:
    """Status code, status, and what is wrong by name."""
    with TestClient(create_app(settings)) as client:
        assert client.get("/livez").json() == {"status": "ok"}
        answer = client.get("/readyz")
        body = answer.json()
    return answer.status_code, body["status"], {n: c["detail"] for n, c in body["checks"].items() if not c["ok"]}


def a_worker(database: Database, *, silent_for: float = 0.0, queues: tuple[str, ...] = ("cpu",)) -> None:
    """As if a worker with two places had written its row so many seconds ago."""
    with database.write() as session:
        session.add(WorkerRow(name="host:1", release="0", queues=list(queues), processes=2, seen_at=now(-silent_for)))


def waiting(client: TestClient, stock: Stock, database: Database, seconds: float) -> str:
    """A job that has been waiting for so long."""
    answer = client.post("/v1/jobs", json={"kind": "lyapunov", "series_id": stock.series_id})
    job_id = answer.json()["id"]
    with database.write() as session:
        job = session.get_one(JobRow, job_id)
        job.updated_at = now(-seconds)
    return job_id


def test_everything_works(settings: ApiSettings, database: Database) -> None:
    a_worker(database)
    assert ready(settings) == (200, "ready", {})


def test_without_workers_it_is_degraded(settings: ApiSettings, database: Database) -> None:
    status, state, wrong = ready(settings)
    assert (status, state, list(wrong)) == (200, "degraded", ["workers"])
    assert "attractor worker" in wrong["workers"]
    a_worker(database, silent_for=settings.worker_silence_seconds + 5)
    assert ready(settings) == (status, state, wrong)


def test_a_queue_without_a_worker_of_its_own_is_named(
    settings: ApiSettings, stock: Stock, database: Database, app: FastAPI
) -> None:
    a_worker(database, queues=("gpu",))
    with TestClient(app) as client:
        waiting(client, stock, database, 0)
    _, state, wrong = ready(settings)
    assert (state, list(wrong)) == ("degraded", ["workers"])
    assert "queue cpu" in wrong["workers"]


def test_the_canary_tells_workers_that_take_nothing(
    settings: ApiSettings, stock: Stock, database: Database, app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    a_worker(database)
    with TestClient(app) as client, caplog.at_level("INFO"):
        job_id = waiting(client, stock, database, settings.canary_seconds - 30)
        assert client.get("/readyz").json()["status"] == "ready"  # a little late is no illness
        waiting(client, stock, database, 0)
        with database.write() as session:
            session.get_one(JobRow, job_id).updated_at = now(-settings.canary_seconds - 30)
        for _ in range(2):
            body = client.get("/readyz").json()
            assert (body["status"], body["checks"]["canary"]["ok"]) == ("degraded", False)
            assert "2 of 2 places are free" in body["checks"]["canary"]["detail"]
        with database.write() as session:
            claimed = leases.claim(session, job_id, worker="host:1", lease_seconds=60)
        assert claimed is not None
        assert client.get("/readyz").json()["status"] == "ready"
    told = [record.message for record in caplog.records if "taken" in record.message]
    assert len(told) == 2
    assert "takes nothing" in told[0]
    assert "taken again" in told[1]


def test_jobs_that_may_not_run_yet_are_no_reason_to_worry(
    settings: ApiSettings, stock: Stock, database: Database
) -> None:
    a_worker(database)
    with TestClient(create_app(settings.model_copy(update={"max_running_jobs": 1}))) as client:
        first = waiting(client, stock, database, 0)
        with database.write() as session:
            assert leases.claim(session, first, worker="host:1", lease_seconds=60) is not None
        waiting(client, stock, database, 3600)
        assert client.get("/readyz").json()["status"] == "ready"


def test_an_empty_database_says_to_migrate(empty_settings: StoreSettings) -> None:
    status, state, wrong = ready(ApiSettings(**empty_settings.model_dump()))
    assert (status, state, list(wrong)) == (503, "down", ["migrations", "workers", "canary"])
    assert f"needs {migrate.head()}" in wrong["migrations"]
    assert "attractor migrate" in wrong["migrations"]


def test_a_later_release_may_have_changed_the_schema(settings: ApiSettings, database: Database) -> None:
    """An upgrade migrates first: until they are replaced, the processes of this release are needed."""
    a_worker(database)
    with database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    try:
        assert ready(settings) == (200, "ready", {})
    finally:
        with database.write() as session:
            session.execute(text("UPDATE alembic_version SET version_num = :head"), {"head": migrate.head()})


def test_no_database(settings: ApiSettings, database: Database) -> None:
    nowhere = settings.model_copy(update={"database_url": "postgresql+psycopg://nobody:secret@127.0.0.1:1/none"})
    status, state, wrong = ready(nowhere)
    assert (status, state, list(wrong)) == (503, "down", ["database", "migrations", "workers", "canary"])
    assert "secret" not in str(wrong)


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_requests_without_a_database_are_503(settings: ApiSettings) -> None:
    nowhere = settings.model_copy(update={"database_url": "postgresql+psycopg://nobody:secret@127.0.0.1:1/none"})
    with TestClient(create_app(nowhere)) as client:
        answer = client.get("/v1/jobs")
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "unavailable", "2")
    assert "secret" not in answer.text


def test_jobs_are_accepted_without_a_broker(settings: ApiSettings, stock: Stock) -> None:
    nowhere = settings.model_copy(update={"broker_url": "redis://127.0.0.1:1/0"})
    with TestClient(create_app(nowhere)) as client:
        answer = client.post("/v1/jobs", json={"kind": "lyapunov", "series_id": stock.series_id})
        assert answer.status_code == 202
        assert client.get(answer.headers["location"]).json()["status"] == "queued"


def test_no_broker_is_degraded_only(settings: ApiSettings, database: Database) -> None:
    a_worker(database)
    nowhere = settings.model_copy(update={"broker_url": "redis://127.0.0.1:1/0"})
    status, state, wrong = ready(nowhere)
    assert (status, state, list(wrong)) == (200, "degraded", ["broker"])


def test_a_full_disk(settings: ApiSettings, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    a_worker(database)
    monkeypatch.setattr(endpoints, "MIN_FREE_BYTES", 2**62)
    status, state, wrong = ready(settings)
    assert (status, state, list(wrong)) == (503, "down", ["disk"])


def test_no_data_directory(settings: ApiSettings, tmp_path: Path) -> None:
    status, _, wrong = ready(settings.model_copy(update={"data_dir": tmp_path / "gone"}))
    assert (status, "disk" in wrong) == (503, True)

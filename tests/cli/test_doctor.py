"""`attractor doctor`: a healthy deployment has nothing to mend, and what is broken is named with what to do about it."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
import redis
import servers
from stock import make_stock
from typer.testing import CliRunner

from cli.main import app
from domain.specs import LyapunovJob
from store import jobs
from store.blobs import Blobs
from store.clock import now
from store.database import Database
from store.settings import StoreSettings
from store.tables import JobRow, WorkerRow

Findings = dict[str, list[tuple[str, str, str]]]


def examined(settings: StoreSettings, monkeypatch: pytest.MonkeyPatch, **environment: str) -> tuple[int, Findings]:
    """Exit code and findings by check, each (level, found, mend)."""
    given = {"DATA_DIR": str(settings.data_dir), "DATABASE_URL": settings.database_url, **environment}
    for name, value in given.items():
        monkeypatch.setenv(f"ATTRACTOR_{name}", value)
    done = CliRunner().invoke(app, ["doctor", "--json"])
    found: Findings = {}
    report = json.loads(done.stdout)
    for one in report["findings"]:
        found.setdefault(one["check"], []).append((one["level"], one["found"], one["mend"]))
    assert report["healthy"] == (done.exit_code == 0)
    return done.exit_code, found


def wrong(found: Findings) -> set[str]:
    return {check for check, all_of_it in found.items() if any(level != "ok" for level, *_ in all_of_it)}


def a_worker(database: Database, name: str = "host:1") -> None:
    with database.write() as session:
        session.add(WorkerRow(name=name, release="0", queues=["cpu"], processes=1))


def waiting(database: Database, settings: StoreSettings, series_id: str, seconds: float) -> None:
    with database.write() as session:
        job = jobs.submit(session, settings, LyapunovJob(kind="lyapunov", series_id=series_id)).job
        session.get_one(JobRow, job.id).updated_at = now(-seconds)


def test_a_healthy_deployment(
    store_settings: StoreSettings, database: Database, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_stock(store_settings, database, blobs)
    a_worker(database)
    code, found = examined(store_settings, monkeypatch)
    assert (code, wrong(found) - {"files", "shared memory", "data dir"}) == (0, set())
    assert {"database", "schema", "clock", "connections", "shared", "keys", "workers", "jobs", "webhooks"} <= set(found)
    assert "password" not in str(found)
    text = CliRunner().invoke(app, ["doctor"])
    assert text.exit_code == 0
    assert "ok       database" in text.stdout


def test_what_the_database_knows(
    store_settings: StoreSettings, database: Database, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock = make_stock(store_settings, database, blobs)
    a_worker(database)
    waiting(database, store_settings, stock.series_id, 1000)
    for file in store_settings.blobs_dir.glob("??/*"):
        file.unlink()
    code, found = examined(store_settings, monkeypatch, HOST="0.0.0.0", REQUIRE_KEYS="no")
    assert code == 1
    assert {"workers", "shared", "keys"} <= wrong(found)
    assert any("takes nothing" in said for _, said, _ in found["workers"])
    assert "ATTRACTOR_DATA_DIR" in found["shared"][0][2]


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_what_is_away_does_not_hide_the_rest(store_settings: StoreSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    (store_settings.data_dir / "secret").write_text("0" * 64 + "\n")
    (store_settings.data_dir / "secret").chmod(0o644)
    nowhere = {"DATABASE_URL": "postgresql://me:secret@127.0.0.1:1/x", "BROKER_URL": "redis://127.0.0.1:1/0"}
    code, found = examined(store_settings, monkeypatch, **nowhere)
    assert code == 1
    assert {"reach", "broker", "secret"} <= wrong(found)
    assert "chmod 600" in found["secret"][0][2]
    assert "me:secret" not in str(found)
    assert found["blobs"][0][0] == "ok"


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_settings_that_cannot_be_read(store_settings: StoreSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    code, found = examined(store_settings, monkeypatch, LEASE_SECONDS="-1", SECRET_KEY="short")
    assert (code, set(found)) == (1, {"settings"})
    said = [found for _, found, _ in found["settings"]]
    assert [text.split(":")[0] for text in said] == ["ATTRACTOR_SECRET_KEY", "ATTRACTOR_LEASE_SECONDS"]


@pytest.mark.redis
@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_a_broker_that_forgets(store_settings: StoreSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    program = shutil.which("redis-server")
    if program is None:
        servers.missing("Redis")
    assert program is not None
    with servers.own_redis(program) as (url, _):
        _, found = examined(store_settings, monkeypatch, BROKER_URL=url)
        assert found["broker"][0][0] == "ok"
        client = redis.Redis.from_url(url)
        client.config_set("maxmemory", "10mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        _, found = examined(store_settings, monkeypatch, BROKER_URL=url)
    assert found["broker"][0][0] == "warning"
    assert "noeviction" in found["broker"][0][2]


def test_a_worker_is_healthy_until_it_is_silent_or_takes_nothing(
    store_settings: StoreSettings, database: Database, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTRACTOR_DATA_DIR", str(store_settings.data_dir))
    monkeypatch.setenv("ATTRACTOR_DATABASE_URL", store_settings.database_url)

    def healthy() -> bool:
        return CliRunner().invoke(app, ["doctor", "--worker"]).exit_code == 0

    a_worker(database, "elsewhere:7")
    assert not healthy()
    a_worker(database, f"{socket.gethostname()}:7")
    assert healthy()
    stock = make_stock(store_settings, database, blobs)
    waiting(database, store_settings, stock.series_id, 1000)
    assert not healthy()


def test_probes_leave_nothing(store_settings: StoreSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    def files() -> set[Path]:
        return {
            path for path in store_settings.data_dir.rglob("*") if path.is_file() and "attractor.db" not in path.name
        }

    np.save(store_settings.data_dir / "mine.npy", np.zeros(3))
    examined(store_settings, monkeypatch)
    assert {path.name for path in files()} <= {"mine.npy", "secret"}

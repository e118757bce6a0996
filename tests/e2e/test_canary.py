"""Real workers that are frozen, or that live and take nothing: readiness, metrics and doctor tell which."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from serving import QUICK, eventually, henon, spawned, submit, upload
from typer.testing import CliRunner

from api.app import create_app
from api.settings import ApiSettings
from cli.main import app
from store import migrate
from store.database import Database

pytestmark = pytest.mark.e2e

# Alive in every respect, but the thread that should take jobs sits in something that never ends.
HANGING = """
import time
from worker.runner import Runner
Runner.run = lambda self, announced: time.sleep(600)
"""
WORKER = "from worker.app import run_worker; from worker.settings import WorkerSettings; run_worker(WorkerSettings())"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    impatient = {"ATTRACTOR_WORKER_SILENCE_SECONDS": "4", "ATTRACTOR_CANARY_SECONDS": "2"}
    return QUICK | impatient | {"ATTRACTOR_DATA_DIR": str(tmp_path)}


@pytest.fixture
def client(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = ApiSettings()
    database = Database(settings)
    migrate.upgrade(database)
    database.close()
    with TestClient(create_app(settings)) as client:
        yield client


def checks(client: TestClient) -> dict[str, Any]:
    answer = client.get("/readyz")
    assert answer.status_code == 200, answer.text
    return answer.json()


def is_ready(client: TestClient) -> bool:
    return checks(client)["status"] == "ready"


def test_a_frozen_worker_is_missed(client: TestClient, environment: dict[str, str]) -> None:
    with spawned([sys.executable, "-c", WORKER], environment) as worker:
        eventually(lambda: is_ready(client), "the worker is heard of")
        os.kill(worker.process.pid, signal.SIGSTOP)
        try:
            eventually(lambda: not is_ready(client), "its silence is noticed", 30)
            seen = checks(client)
            assert (seen["status"], seen["checks"]["workers"]["ok"]) == ("degraded", False)
            assert CliRunner().invoke(app, ["doctor", "--worker"]).exit_code == 1
        finally:
            os.kill(worker.process.pid, signal.SIGCONT)
        eventually(lambda: is_ready(client), "it is heard of again", 30)


def test_a_worker_that_takes_nothing_is_found_out(client: TestClient, environment: dict[str, str]) -> None:
    with spawned([sys.executable, "-c", HANGING + WORKER], environment):
        eventually(lambda: is_ready(client), "the worker is heard of")
        assert CliRunner().invoke(app, ["doctor", "--worker"]).exit_code == 0
        submit(client, kind="lyapunov", series_id=upload(client, henon(1500)))  # type: ignore[arg-type]
        eventually(lambda: not is_ready(client), "the canary notices", 30)
        seen = checks(client)["checks"]
        assert seen["workers"]["ok"]
        assert "takes nothing" in seen["canary"]["detail"]
        stuck = 'attractor_queue_stuck{queue="cpu"} 1.0'
        eventually(lambda: stuck in client.get("/metrics").text, "the metrics tell", 30)
        assert CliRunner().invoke(app, ["doctor", "--worker"]).exit_code == 1

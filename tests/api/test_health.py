"""Liveness and readiness: what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from stock import Stock

from api.app import create_app
from api.health import endpoints
from api.settings import ApiSettings
from store import migrate
from store.database import Database
from store.settings import StoreSettings


def ready(settings: ApiSettings) -> tuple[int, str, dict[str, str]]:
    """Status code, status, and what is wrong by name."""
    with TestClient(create_app(settings)) as client:
        assert client.get("/livez").json() == {"status": "ok"}
        answer = client.get("/readyz")
        body = answer.json()
    return answer.status_code, body["status"], {n: c["detail"] for n, c in body["checks"].items() if not c["ok"]}


def test_everything_works(settings: ApiSettings) -> None:
    assert ready(settings) == (200, "ready", {})


def test_an_empty_database_says_to_migrate(empty_settings: StoreSettings) -> None:
    status, state, wrong = ready(ApiSettings(**empty_settings.model_dump()))
    assert (status, state, list(wrong)) == (503, "down", ["migrations"])
    assert f"needs {migrate.head()}" in wrong["migrations"]
    assert "attractor migrate" in wrong["migrations"]


def test_no_database(settings: ApiSettings, database: Database) -> None:
    nowhere = settings.model_copy(update={"database_url": "postgresql+psycopg://nobody:secret@127.0.0.1:1/none"})
    status, state, wrong = ready(nowhere)
    assert (status, state, list(wrong)) == (503, "down", ["database", "migrations"])
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


def test_no_broker_is_degraded_only(settings: ApiSettings) -> None:
    nowhere = settings.model_copy(update={"broker_url": "redis://127.0.0.1:1/0"})
    status, state, wrong = ready(nowhere)
    assert (status, state, list(wrong)) == (200, "degraded", ["broker"])


def test_a_full_disk(settings: ApiSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "MIN_FREE_BYTES", 2**62)
    status, state, wrong = ready(settings)
    assert (status, state, list(wrong)) == (503, "down", ["disk"])


def test_no_data_directory(settings: ApiSettings, tmp_path: Path) -> None:
    status, _, wrong = ready(settings.model_copy(update={"data_dir": tmp_path / "gone"}))
    assert (status, "disk" in wrong) == (503, True)

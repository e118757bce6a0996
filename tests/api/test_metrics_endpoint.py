"""/metrics: what Prometheus' own parser makes of it."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from stock import Stock

from api.health.canary import Canary
from api.metrics import Exposition
from api.settings import ApiSettings
from store import leases, metrics
from store.clock import now
from store.database import Database
from store.settings import StoreSettings
from store.tables import JobRow, WorkerRow

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(client: TestClient) -> Samples:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return parsed(answer.text)


def parsed(text: str) -> Samples:
    types = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(types) == len(set(types))
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[f"attractor_{name}", frozenset(labels.items())]


def test_queues_jobs_and_workers_are_what_the_database_says(
    app: FastAPI, settings: ApiSettings, stock: Stock, database: Database
) -> None:
    metrics.LEASE_EXPIRIES.labels("requeued").inc()
    with TestClient(app) as client:
        ids = [
            client.post("/v1/jobs", json={"kind": "lyapunov", "series_id": stock.series_id}).json()["id"]
            for _ in range(3)
        ]
        with database.write() as session:
            session.add(WorkerRow(name="host:1", release="9", queues=["cpu"], processes=2, metrics=metrics.snapshot()))
            claimed = leases.claim(session, ids[0], worker="host:1", lease_seconds=60)
            session.get_one(JobRow, ids[1]).updated_at = now(-1000)
            assert claimed is not None
        with database.write() as session:
            leases.claim(session, ids[2], worker="gone:2", lease_seconds=60)
            session.get_one(JobRow, ids[2]).lease_until = now(-5)
        samples = scraped(client)
    assert value(samples, "queue_jobs", queue="cpu", kind="lyapunov") == 1
    assert value(samples, "queue_jobs", queue="gpu", kind="train") == 0
    assert 999 < value(samples, "queue_oldest_seconds", queue="cpu", kind="lyapunov") < 1100
    assert value(samples, "jobs", status="running") == 2
    assert value(samples, "held_jobs", queue="cpu", kind="lyapunov", status="running") == 2
    assert value(samples, "expired_leases") == 1
    assert (value(samples, "worker_places", queue="cpu"), value(samples, "worker_places_free", queue="cpu")) == (2, 1)
    assert value(samples, "queue_stuck", queue="cpu") == 1
    assert value(samples, "worker_info", worker="host:1", release="9", queues="cpu") == 1
    assert value(samples, "lease_expiries_total", worker="host:1", fate="requeued") >= 1
    assert value(samples, "database_up") == 1
    assert value(samples, "database_bytes") > 10_000
    assert value(samples, "webhook_messages_due") == 0


def test_requests_are_counted_by_route(client: TestClient) -> None:
    client.get("/v1/jobs/job_0191f3c2a4b57c8d9e0f1a2b3c4d5e6f")
    samples = scraped(client)
    labels = {"method": "GET", "route": "/v1/jobs/{id}", "status": "404"}
    assert value(samples, "http_request_seconds_count", **labels) >= 1
    assert not [labels for _, labels in samples if "0191f3c2" in str(labels)]


def test_a_database_that_is_away_costs_only_what_it_would_have_known(tmp_path: Path) -> None:
    settings = StoreSettings(data_dir=tmp_path, database_url="postgresql+psycopg://nobody:secret@127.0.0.1:1/none")
    nowhere = Database(settings)
    samples = parsed(Exposition(nowhere, Canary(settings, nowhere)).text().decode())
    nowhere.close()
    assert value(samples, "database_up") == 0
    assert ("process_resident_memory_bytes", frozenset()) in samples
    assert not [name for name, _ in samples if name.startswith("attractor_queue")]

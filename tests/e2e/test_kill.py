"""`kill -9` of the worker in the middle of a training job: the job ends once, with one result."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import servers
from serving import (
    QUICK,
    TRAINING,
    children_of,
    eventually,
    henon,
    in_training,
    is_running,
    serving,
    spawned,
    submit,
    succeeded,
    upload,
)
from sqlalchemy import func, select
from worker_bench import add_series

from domain.jobs import JobStatus
from domain.specs import TrainJob
from store import jobs, migrate
from store.blobs import Blobs
from store.database import Database
from store.queue import make_celery, publish
from store.settings import StoreSettings
from store.tables import AnalysisRow, JobRow, ModelRow

pytestmark = pytest.mark.e2e


def changes(events: list[Any]) -> list[str]:
    """The states that a job went through."""
    return [event["data"]["status"] for event in events if event["type"] == "status"]


def test_the_embedded_worker_is_killed(tmp_path):
    with serving(tmp_path / "data") as served, served.client as client:
        series_id = upload(client, henon(1500))
        job_id = submit(client, kind="train", series_id=series_id, params=TRAINING)
        eventually(lambda: in_training(client, job_id), "the job is in training")
        (worker,) = served.children("worker")
        os.kill(worker, signal.SIGKILL)
        assert succeeded(client, job_id)["attempt"] == 2
        events = client.get(f"/v1/jobs/{job_id}/events").json()["data"]
        assert changes(events) == ["queued", "running", "queued", "running", "succeeded"]
        second = events[[e["data"].get("detail") for e in events].index("The worker was lost.") :]
        phases = {e["data"]["phase"] for e in second if e["type"] == "progress"}
        assert "fitting models" not in phases, "the finished analysis was made again"

        models = client.get("/v1/models").json()["data"]
        assert [model["job_id"] for model in models] == [job_id]
        assert len(client.get("/v1/analyses").json()["data"]) == 1

        # An undisturbed run of the same request gives the same model, bit for bit.
        again = succeeded(client, submit(client, kind="train", series_id=series_id, params=TRAINING))
        weights = [
            client.get(f"/v1/models/{m}").json()["artifacts"][0] for m in (models[0]["id"], again["result"]["id"])
        ]
        assert weights[0]["sha256"] == weights[1]["sha256"]


@pytest.fixture
def production(tmp_path: Path, postgres_server: str, redis_url: str) -> Iterator[StoreSettings]:
    with servers.own_database(postgres_server) as url:
        settings = StoreSettings(data_dir=tmp_path / "data", database_url=url, broker_url=redis_url)
        database = Database(settings)
        migrate.upgrade(database)
        database.close()
        yield settings


@pytest.mark.postgres
@pytest.mark.redis
def test_workers_on_redis_and_postgresql_are_stopped_and_killed(production):
    database, blobs, celery = Database(production), Blobs(production.blobs_dir), make_celery(production)
    series_id = add_series(database, blobs, henon(1500), dt=1.0)

    def look() -> JobRow:
        with database.read() as session:
            return jobs.get(session, job_id)

    def training_on() -> int | None:
        """The worker whose job is in the middle of its training."""
        seen = look()
        assert seen.finished_at is None, "the job ended too soon for this test"
        training = seen.status == JobStatus.RUNNING and seen.progress["phase"] == "training"
        return int(str(seen.worker).rsplit(":", 1)[1]) if training else None

    def job_process(worker: int) -> int:
        (template,) = children_of(worker)
        return eventually(lambda: next(iter(children_of(template)), None), "the job has a process")

    with database.write() as session:
        job_id = jobs.submit(session, production, TrainJob(kind="train", series_id=series_id, params=TRAINING)).job.id
    for _ in range(2):  # every message twice
        publish(celery, job_id)
    with worker(production) as first:
        eventually(training_on, "the job is in training")
        assert first.stop(signal.SIGTERM) == 0
        assert (look().status, look().attempt) == (JobStatus.QUEUED, 0), "given back, and the attempt does not count"
    with worker(production) as second:
        assert eventually(training_on, "the job is in training again") == second.process.pid
        os.kill(job_process(second.process.pid), signal.SIGKILL)
        eventually(lambda: look().attempt == 2 and training_on(), "another process goes on")
        left_behind = job_process(second.process.pid)
        os.kill(second.process.pid, signal.SIGKILL)
        eventually(lambda: not is_running(left_behind), "the job's process has ended with its worker", 20)
    with worker(production) as third:
        eventually(lambda: look().finished_at, "the job has ended")
        assert third.stop(signal.SIGTERM) == 0
    done = look()
    assert (done.status, done.attempt, done.error) == (JobStatus.SUCCEEDED, 3, None)
    with database.read() as session:
        assert session.scalars(select(ModelRow.job_id)).all() == [job_id]
        assert session.scalar(select(func.count()).select_from(AnalysisRow)) == 1
    database.close()


def worker(settings: StoreSettings):
    """`attractor worker`, two jobs at a time."""
    environment = QUICK | {
        "ATTRACTOR_DATA_DIR": str(settings.data_dir),
        "ATTRACTOR_DATABASE_URL": settings.database_url,
        "ATTRACTOR_BROKER_URL": settings.broker_url,
    }
    return spawned([sys.executable, "-m", "cli.main", "worker", "--concurrency", "2"], environment)

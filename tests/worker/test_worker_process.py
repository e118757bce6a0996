"""A whole worker as a process, on Redis: how soon it starts jobs, how many at a time, and how it ends."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import misbehaving
import pytest
from serving import Served, eventually, spawned
from sqlalchemy import select
from worker_bench import Bench

from domain.jobs import JobStatus
from store.blobs import Blobs
from store.database import Database
from store.queue import make_celery, publish
from store.settings import StoreSettings
from store.tables import JobRow, WorkerRow

pytestmark = [pytest.mark.e2e, pytest.mark.redis]
PROGRAM = """
from worker.app import run_worker
from worker.settings import WorkerSettings
raise SystemExit(run_worker(WorkerSettings(), "misbehaving:HANDLERS"))
"""


@pytest.fixture
def bench(tmp_path: Path, _migrated_sqlite: Path, redis_url: str) -> Iterator[Bench]:
    settings = StoreSettings(data_dir=tmp_path, broker_url=redis_url)
    shutil.copy(_migrated_sqlite, tmp_path / "attractor.db")
    database = Database(settings)
    yield Bench(settings, database, Blobs(settings.blobs_dir))
    database.close()


@contextmanager
def working(bench: Bench, redis_url: str) -> Iterator[Served]:
    """A worker that runs two jobs at a time, ready."""
    environment = {
        "ATTRACTOR_DATA_DIR": str(bench.settings.data_dir),
        "ATTRACTOR_BROKER_URL": redis_url,
        "ATTRACTOR_CONCURRENCY": "2",
        "ATTRACTOR_STOP_GRACE_SECONDS": "0.5",
        "ATTRACTOR_LOG_FORMAT": "text",
        "PYTHONPATH": f"{misbehaving.HERE}{os.pathsep}{misbehaving.HERE.parent}",
    }
    with spawned([sys.executable, "-c", PROGRAM], environment) as served:
        eventually(lambda: any("ready" in line for line in served.lines), "the worker is ready")
        yield served


def submit(bench: Bench, redis_url: str, science: str) -> str:
    job_id = bench.submit(science=science)
    publish(make_celery(StoreSettings(data_dir=bench.settings.data_dir, broker_url=redis_url)), job_id)
    return job_id


def phase(bench: Bench, job_id: str) -> str:
    return bench.job(job_id).progress["phase"]


def test_jobs_start_at_once_one_after_the_other(bench, redis_url):
    with working(bench, redis_url) as worker:

        def run_one() -> float:
            """Seconds from the message to the claim."""
            job_id = submit(bench, redis_url, "succeed")
            eventually(lambda: bench.job(job_id).finished_at, "it has ended", 30)
            job: JobRow = bench.job(job_id)
            assert job.status == JobStatus.SUCCEEDED
            return (job.started_at - job.created_at).total_seconds()

        run_one()
        assert sorted(run_one() for _ in range(5))[2] < 0.5, (
            "0.02 s on a machine that is not busy; Celery's own pool: 1 s"
        )
        began = time.monotonic()
        assert worker.stop(signal.SIGTERM) == 0
        assert time.monotonic() - began < 10
    with bench.database.read() as session:
        assert session.scalars(select(WorkerRow)).all() == [], "it has signed off"


def test_two_jobs_at_a_time_and_both_are_given_back(bench, redis_url):
    with working(bench, redis_url) as worker:
        deaf, hearing = submit(bench, redis_url, "sleep"), submit(bench, redis_url, "count_processes")
        third = submit(bench, redis_url, "succeed")
        eventually(lambda: phase(bench, deaf) == "sleeping" and phase(bench, hearing).isdigit(), "both run")
        assert bench.job(third).status == JobStatus.QUEUED
        with bench.database.read() as session:
            (row,) = session.scalars(select(WorkerRow))
        assert (row.name, row.processes, row.queues) == (bench.job(deaf).worker, 2, ["cpu"])
        assert row.claimed_at is not None
        began = time.monotonic()
        assert worker.stop(signal.SIGTERM) == 0
        assert time.monotonic() - began < 15
    for job_id in (deaf, hearing, third):
        assert (bench.job(job_id).status, bench.job(job_id).attempt) == (JobStatus.QUEUED, 0)

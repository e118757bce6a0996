"""The reconciler: jobs whose worker or whose message is lost are published again."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError
from worker_bench import Bench

from domain.jobs import JobStatus
from store import leases
from store.clock import now
from store.tables import JobRow
from worker.reconciler import Reconciler


@pytest.fixture
def bench(store_settings, database, blobs) -> Bench:
    return Bench(store_settings, database, blobs)


def reconciler(bench: Bench, publish) -> Reconciler:
    return Reconciler(bench.settings, bench.database, bench.blobs, publish, name="bench")


def test_a_job_whose_lease_has_expired_is_published(bench):
    job_id = bench.submit()
    with bench.database.write() as session:
        leases.claim(session, job_id, worker="dead", lease_seconds=-1)
    published: list[tuple[str, str]] = []
    reconciler(bench, lambda *message: published.append(message)).sweep()
    assert (bench.job(job_id).status, published) == (JobStatus.QUEUED, [(job_id, "cpu")])


def test_it_sweeps_at_its_start_and_again_whatever_went_wrong(bench, monkeypatch):
    bench.settings.sweep_seconds = 0.05
    job_id = bench.submit()
    published = threading.Event()
    calls: list[None] = []
    swept = Reconciler.sweep

    def away_at_first(self: Reconciler) -> None:
        calls.append(None)
        if len(calls) == 1:
            raise OperationalError("UPDATE", {}, Exception("connection refused"))
        if len(calls) == 2:
            raise PermissionError("blobs")
        swept(self)

    monkeypatch.setattr(Reconciler, "sweep", away_at_first)
    with bench.database.write() as session:
        session.execute(update(JobRow).where(JobRow.id == job_id).values(dispatch_after=now(-1)))
    thread = reconciler(bench, lambda *message: published.set())
    thread.start()
    assert published.wait(20)
    thread.stop()
    assert not thread.is_alive()

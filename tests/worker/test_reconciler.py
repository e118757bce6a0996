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
    reconciler(bench, lambda *message: published.append(message) is None).sweep()
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
    thread = reconciler(bench, lambda *message: published.set() is None)
    thread.start()
    assert published.wait(20)
    thread.stop()
    assert not thread.is_alive()


def test_one_message_that_cannot_be_sent_is_enough(bench):
    """A broker that hangs takes seconds to be given up, and expired leases are not to wait so long for every message."""
    for _ in range(3):
        job_id = bench.submit()
        with bench.database.write() as session:
            session.execute(update(JobRow).where(JobRow.id == job_id).values(dispatch_after=now(-1)))
    tried: list[str] = []

    def fails(job_id: str, queue: str) -> bool:
        tried.append(job_id)
        return False

    reconciler(bench, fails).sweep()
    assert len(tried) == 1


def test_expired_leases_do_not_wait_for_a_sweep_of_blobs(bench, monkeypatch):
    bench.settings.sweep_seconds = 0.05
    sweeping, end = threading.Event(), threading.Event()

    def slow(*_: object) -> None:
        sweeping.set()
        end.wait(30)

    monkeypatch.setattr("worker.reconciler.sweep_blobs", slow)
    published = threading.Event()
    thread = reconciler(bench, lambda *message: published.set() is None)
    thread.start()
    assert sweeping.wait(20)
    job_id = bench.submit()
    with bench.database.write() as session:
        leases.claim(session, job_id, worker="dead", lease_seconds=-1)
    assert published.wait(20)
    end.set()
    thread.stop()

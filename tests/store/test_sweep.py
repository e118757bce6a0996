"""No job is lost, none runs for ever, and no blob stays that nobody names."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text, update

from domain.ids import new_id
from store import jobs, leases, series
from store.clock import now
from store.sweep import OVERDUE_SECONDS, Swept, sweep, sweep_blobs
from store.tables import ArtifactRow, ForecastRow, JobRow, ModelRow


def run(world) -> Swept:
    with world.database.write() as session:
        return sweep(session, world.settings)


def test_nothing_to_do(world) -> None:
    job_id = world.submit()
    world.claim(job_id)
    assert run(world) == Swept()
    assert world.job(job_id).status == "running"


def test_an_expired_lease_is_queued_and_published_in_the_same_round(world) -> None:
    job_id = world.submit()
    world.claim(job_id)
    world.expire(job_id)
    assert run(world) == Swept(requeued=[job_id], publish=[(job_id, "cpu")])
    job = world.job(job_id)
    assert (job.status, job.attempt, job.token, job.worker) == ("queued", 1, None, None)
    assert world.events(job_id)[-1][2] == {"status": "queued", "detail": "The worker was lost."}
    assert run(world) == Swept()


def test_a_poisonous_job_stops(world) -> None:
    job_id = world.submit()
    for _ in range(3):
        world.claim(job_id)
        world.expire(job_id)
        swept = run(world)
    assert swept == Swept(failed=[job_id])
    job = world.job(job_id)
    assert (job.status, job.attempt) == ("failed", 3)
    assert (job.error["code"], job.error["retryable"]) == ("worker_lost", True)
    assert "3 attempts" in job.error["detail"]


def test_a_worker_that_ignores_the_time_limit_is_written_off(world) -> None:
    stuck, canceling = (world.submit() for _ in range(2))
    leases_held = [world.claim(job_id) for job_id in (stuck, canceling)]
    with world.database.write() as session:
        jobs.cancel(session, canceling)
    for job_id in (stuck, canceling):
        just_over(world, job_id, OVERDUE_SECONDS - 5)
    assert run(world) == Swept(), "the worker may still end it itself"
    for job_id in (stuck, canceling):
        just_over(world, job_id, OVERDUE_SECONDS + 1)
    assert run(world) == Swept(failed=[stuck], canceled=[canceling])
    job = world.job(stuck)
    assert (job.status, job.error["code"], job.error["retryable"], job.worker) == ("failed", "timeout", True, None)
    assert world.job(canceling).status == "canceled"
    for lease in leases_held:
        with pytest.raises(leases.LeaseLost), world.database.write() as session:
            leases.heartbeat(session, lease)
    assert run(world) == Swept()


def just_over(world, job_id: str, seconds: float) -> None:
    """As if the job's time limit had passed `seconds` ago."""
    with world.database.write() as session:
        session.execute(update(JobRow).where(JobRow.id == job_id).values(deadline_at=now(-seconds)))


def test_a_lost_worker_that_was_to_cancel(world) -> None:
    job_id = world.submit()
    world.claim(job_id)
    with world.database.write() as session:
        jobs.cancel(session, job_id)
    assert run(world) == Swept()
    world.expire(job_id)
    assert run(world) == Swept(canceled=[job_id])
    assert world.job(job_id).status == "canceled"


def test_a_queued_job_is_published_again_and_again_more_and_more_seldom(world) -> None:
    job_id = world.submit()
    assert run(world) == Swept(), "it has just been published"
    pauses = []
    for _ in range(7):
        world.expire(job_id, "dispatch_after")
        assert run(world) == Swept(publish=[(job_id, "cpu")])
        with world.database.read() as session:
            query = "SELECT dispatch_after FROM job"
            pauses.append(session.scalar(text(query).columns(jobs.JobRow.dispatch_after)))
    moment = pauses[-1]
    job = world.job(job_id)
    assert job.dispatches == 7
    assert 200 < (moment - job.created_at).total_seconds() < 16 * 15 + 60
    lease = world.claim(job_id)
    with world.database.write() as session:
        leases.release(session, lease)
    assert run(world) == Swept(publish=[(job_id, "cpu")]), "a job that was claimed starts from the beginning"


def test_the_oldest_are_served_first_and_the_rest_next_time(world, monkeypatch) -> None:
    monkeypatch.setattr("store.sweep.WAKE_UPS", 3)
    source = world.series().id
    ids = [world.submit(source) for _ in range(5)]
    for job_id in ids:
        world.expire(job_id, "dispatch_after")
    assert len(run(world).publish) == 3
    assert len(run(world).publish) == 2
    assert run(world).publish == []


def test_no_queue_waits_for_another(world, monkeypatch) -> None:
    monkeypatch.setattr("store.sweep.WAKE_UPS", 2)
    source = world.series().id
    ids = [world.submit(source) for _ in range(4)]
    with world.database.write() as session:
        session.execute(update(JobRow).where(JobRow.id == ids[-1]).values(queue="gpu"))
    for job_id in ids:
        world.expire(job_id, "dispatch_after")
    assert len(published := run(world).publish) == 3
    assert (ids[-1], "gpu") in published


def test_many_sweep_at_once(world) -> None:
    """Each expired job is taken back once and published once, whoever does it."""
    source = world.series().id
    ids = [world.submit(source) for _ in range(10)]
    for job_id in ids:
        world.claim(job_id)
        world.expire(job_id)
    start = threading.Barrier(6)

    def one(_: int) -> Swept:
        start.wait(10)
        return run(world)

    with ThreadPoolExecutor(6) as pool:
        rounds = list(pool.map(one, range(6)))
    assert sorted(job for swept in rounds for job in swept.requeued) == sorted(ids)
    assert sorted(job for swept in rounds for job, _ in swept.publish) == sorted(ids)
    assert all(world.statuses(job_id) == ["queued", "running", "queued"] for job_id in ids)


def test_a_heartbeat_meets_the_sweep(world) -> None:
    """At the very end of a lease either the worker keeps the job or the sweep takes it: never both."""
    source = world.series().id
    for _ in range(10):
        job_id = world.submit(source)
        lease = world.claim(job_id)
        world.expire(job_id)
        start = threading.Barrier(2)

        def beat(lease=lease, start=start) -> bool:  # type: ignore[no-untyped-def]
            start.wait(10)
            try:
                with world.database.write() as session:
                    leases.heartbeat(session, lease)
            except leases.LeaseLost:
                return False
            return True

        def take(start=start) -> Swept:  # type: ignore[no-untyped-def]
            start.wait(10)
            return run(world)

        with ThreadPoolExecutor(2) as pool:
            kept, swept = pool.submit(beat), pool.submit(take)
        assert (job_id in swept.result().requeued) != kept.result()
        assert world.job(job_id).status == ("running" if kept.result() else "queued")


def age(world) -> None:
    long_ago = time.time() - 2 * 3600
    for name in world.blobs.names():
        os.utime(world.blobs.path(name), (long_ago, long_ago))


def test_blobs_that_a_row_names_stay_and_old_orphans_go(world) -> None:
    kept_series = world.series().id
    job_id = world.submit(kept_series)
    world.checkpoint(world.claim(job_id), b"checkpoint")
    artifact, arrays = world.blobs.put(b"weights"), world.blobs.put(b"arrays")
    model = ModelRow(id=new_id("model"), document={})
    with world.database.write() as session:
        session.add(model)
        session.add(ForecastRow(id=new_id("forecast"), model_id=model.id, document={}, blob_sha256=arrays.sha256))
        session.flush()
        session.add(ArtifactRow(model_id=model.id, name="a", media_type="a/b", sha256=artifact.sha256, n_bytes=7))
    named = set(world.blobs.names())
    assert len(named) == 4
    orphan = world.blobs.put(b"orphan").sha256
    age(world)
    young = world.blobs.put(b"on its way").sha256
    assert sweep_blobs(world.database, world.blobs) == 1
    assert set(world.blobs.names()) == named | {young}
    assert not world.blobs.path(orphan).exists()


def test_the_blob_of_a_deleted_series_goes_unless_another_shares_it(world) -> None:
    one, two = world.series(name="one"), world.series(name="two")
    assert one.blob_sha256 == two.blob_sha256
    for row, left in ((one, 1), (two, 0)):
        with world.database.write() as session:
            series.delete(session, row.id)
        age(world)
        sweep_blobs(world.database, world.blobs)
        assert len(list(world.blobs.names())) == left


def test_an_orphan_that_is_put_again_stays(world) -> None:
    ref = world.blobs.put(b"again")
    age(world)
    world.blobs.put(b"again")
    assert sweep_blobs(world.database, world.blobs) == 0
    assert world.blobs.read(ref.sha256) == b"again"

"""One job from claim to end: every way in which it may end, on both databases, with a science of the test's own."""

from __future__ import annotations

import logging
import threading
import time

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError
from worker_bench import Bench

from domain.errors import ConstantSeries
from domain.jobs import JobStatus, Progress
from dynamics.reporting import Diverged, Interrupted
from store import jobs
from store.database import Database
from store.sweep import sweep
from store.tables import JobRow
from worker.context import Context, Outcome


@pytest.fixture
def bench(store_settings, database, blobs) -> Bench:
    return Bench(store_settings, database, blobs)


def until_stopped(context: Context) -> Outcome:
    """Science that never ends by itself, and asks as often as it must."""
    while True:
        context.reporter.report(Progress(fraction=0.5, phase="training", step=1, total_steps=2))
        context.reporter.check()
        time.sleep(0.02)


def test_a_job_ends_with_its_result(bench):
    job_id = bench.submit()
    bench.run(job_id, bench.succeed)
    job = bench.job(job_id)
    assert (job.status, job.attempt, job.error) == (JobStatus.SUCCEEDED, 1, None)
    assert job.progress["fraction"] == 1.0
    assert [row.id for row in bench.results()] == [job.result_id]
    assert bench.results()[0].job_id == job_id


def test_a_doubled_message_runs_nothing(bench):
    job_id = bench.submit()
    bench.run(job_id, bench.succeed)
    bench.run(job_id, bench.succeed)
    assert bench.starts == 1
    assert len(bench.results()) == 1


def test_two_workers_with_the_same_message_run_it_once(bench):
    job_id = bench.submit()
    together = threading.Barrier(4)

    def work() -> None:
        together.wait()
        bench.run(job_id, bench.succeed)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bench.starts == 1
    assert bench.job(job_id).status == JobStatus.SUCCEEDED


def test_an_unknown_job_is_dropped(bench):
    bench.run("job_" + "0" * 32, bench.succeed)
    assert bench.starts == 0


class Custom(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "code", "retryable", "detail"),
    [
        (ConstantSeries("Channel y never changes."), "invalid_data", False, "Channel y never changes."),
        (Diverged("Every run diverged; lower the learning rate."), "diverged", False, "lower the learning rate"),
        (MemoryError(), "out_of_memory", True, "more memory than there is"),
        (Custom("postgresql://user:secret@host"), "internal", True, "An unexpected Custom"),
        (Interrupted(), "internal", True, "nobody asked"),
    ],
)
def test_an_error_becomes_the_jobs_error(bench, error, code, retryable, detail, caplog):
    def fails(context: Context) -> Outcome:
        raise error

    job_id = bench.submit()
    with caplog.at_level(logging.ERROR):
        bench.run(job_id, fails)
    job = bench.job(job_id)
    assert job.status == JobStatus.FAILED
    assert (job.error["code"], job.error["retryable"]) == (code, retryable)
    assert detail in job.error["detail"]
    assert "secret" not in str(job.error)
    assert ("Traceback" in caplog.text) == isinstance(error, Custom)
    assert bench.results() == []


def test_a_database_that_was_away_while_the_data_were_read_costs_an_attempt_not_the_job(bench):
    lost = OperationalError("SELECT", {}, Exception("server closed the connection unexpectedly"))

    def fails(context: Context) -> Outcome:
        raise lost

    job_id = bench.submit()
    bench.run(job_id, fails)
    assert (bench.job(job_id).status, bench.job(job_id).attempt) == (JobStatus.QUEUED, 1)
    bench.run(job_id, bench.succeed)
    assert (bench.job(job_id).status, bench.job(job_id).attempt) == (JobStatus.SUCCEEDED, 2)


def test_cancel_stops_a_running_job_within_a_second(bench):
    job_id = bench.submit()
    with bench.running(job_id, until_stopped):
        asked = time.monotonic()
        with bench.database.write() as session:
            jobs.cancel(session, job_id)
    assert time.monotonic() - asked < 5  # a second on a machine that is not busy; never the minutes of a lease
    assert bench.job(job_id).status == JobStatus.CANCELED


def test_a_job_that_ends_as_it_is_canceled_has_succeeded(bench):
    def ends_anyway(context: Context) -> Outcome:
        with bench.database.write() as session:
            jobs.cancel(session, context.task.job_id)
        return bench.succeed(context)

    job_id = bench.submit()
    bench.run(job_id, ends_anyway)
    assert bench.job(job_id).status == JobStatus.SUCCEEDED


def test_the_timeout_ends_a_job(bench):
    job_id = bench.submit(timeout_s=1)
    bench.run(job_id, until_stopped)
    job = bench.job(job_id)
    assert (job.status, job.error["code"]) == (JobStatus.FAILED, "timeout")
    assert "1 s" in job.error["detail"]


def test_a_draining_worker_gives_the_job_back_and_the_attempt_does_not_count(bench):
    job_id = bench.submit()
    with bench.running(job_id, until_stopped):
        bench.draining.set()
    assert (bench.job(job_id).status, bench.job(job_id).attempt) == (JobStatus.QUEUED, 0)
    bench.run(job_id, bench.succeed)
    assert bench.starts == 1, "a draining worker must start nothing"
    bench.draining.clear()
    bench.run(job_id, bench.succeed)
    assert (bench.job(job_id).status, bench.job(job_id).attempt) == (JobStatus.SUCCEEDED, 1)


def test_a_lost_lease_stops_the_work_and_nothing_is_written(bench):
    job_id = bench.submit()
    with bench.running(job_id, until_stopped):
        bench.take_over(job_id)
    before = bench.job(job_id)
    assert (before.status, before.worker) == (JobStatus.RUNNING, "another")
    assert bench.results() == []


def test_a_worker_that_does_not_notice_cannot_write_its_result(bench):
    def oblivious(context: Context) -> Outcome:
        bench.take_over(context.task.job_id)
        return bench.succeed(context)

    job_id = bench.submit()
    bench.run(job_id, oblivious)
    assert (bench.job(job_id).status, bench.job(job_id).worker) == (JobStatus.RUNNING, "another")
    assert bench.results() == []


def test_a_checkpoint_after_the_lease_was_lost_stops_the_work(bench):
    def saves(context: Context) -> Outcome:
        context.reporter.save_checkpoint(b"mine")
        bench.take_over(context.task.job_id)
        context.reporter.save_checkpoint(b"too late")
        context.reporter.check()
        raise AssertionError("the work went on")

    job_id = bench.submit()
    bench.run(job_id, saves)
    assert bench.job(job_id).worker == "another"
    assert bench.checkpoint(job_id) == b"mine"


def test_a_database_away_for_longer_than_the_lease_stops_the_work(bench, monkeypatch):
    bench.settings.lease_seconds = 0.6
    job_id = bench.submit()
    original = Database.write

    def away(self: Database):
        raise OperationalError("UPDATE", {}, Exception("connection refused"))

    stopped = threading.Event()

    def watched(context: Context) -> Outcome:
        try:
            return until_stopped(context)
        finally:
            monkeypatch.setattr(Database, "write", original)
            stopped.set()

    with bench.running(job_id, watched):
        monkeypatch.setattr(Database, "write", away)
        assert stopped.wait(10)
    assert bench.job(job_id).status == JobStatus.RUNNING
    with bench.database.write() as session:
        assert sweep(session, bench.settings).requeued == [job_id]


def test_progress_and_lease_are_written_while_the_work_goes_on(bench):
    bench.settings.lease_seconds = 1.5
    job_id = bench.submit()

    def long(context: Context) -> Outcome:
        first = bench.job(job_id).lease_until
        give_up = time.monotonic() + 20
        while bench.job(job_id).lease_until <= first or bench.job(job_id).progress["fraction"] != 0.5:
            context.reporter.report(Progress(fraction=0.5, phase="training", metrics={"loss": 0.25}))
            assert time.monotonic() < give_up
            time.sleep(0.02)
        assert bench.job(job_id).progress["metrics"] == {"loss": 0.25}
        return bench.succeed(context)

    bench.run(job_id, long)
    assert bench.job(job_id).status == JobStatus.SUCCEEDED


def test_a_later_attempt_goes_on_from_the_checkpoint(bench):
    seen: list[bytes | None] = []

    def dies(context: Context) -> Outcome:
        seen.append(context.reporter.load_checkpoint())
        context.reporter.save_checkpoint(b"first")
        context.reporter.save_checkpoint(b"second")
        bench.draining.set()
        return until_stopped(context)

    job_id = bench.submit()
    bench.run(job_id, dies)
    bench.draining.clear()

    def resumes(context: Context) -> Outcome:
        seen.append(context.reporter.load_checkpoint())
        return bench.succeed(context)

    bench.run(job_id, resumes)
    assert seen == [None, b"second"]
    assert bench.job(job_id).status == JobStatus.SUCCEEDED
    assert bench.job(job_id).checkpoint_sha256 is None


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_an_unusable_checkpoint_means_a_fresh_start(bench, damage):
    job_id = bench.submit()

    def looks(context: Context) -> Outcome:
        context.reporter.save_checkpoint(b"state")
        file = bench.blobs.path(bench.job(job_id).checkpoint_sha256)
        file.unlink() if damage == "gone" else file.write_bytes(b"noise")
        assert context.reporter.load_checkpoint() is None
        return bench.succeed(context)

    bench.run(job_id, looks)
    assert bench.job(job_id).status == JobStatus.SUCCEEDED


def test_an_unreadable_request_fails_the_job_and_leaves_the_worker_alive(bench):
    job_id = bench.submit()
    with bench.database.write() as session:
        session.execute(update(JobRow).where(JobRow.id == job_id).values(request={"kind": "lyapunov"}))
    bench.run(job_id, bench.succeed)
    assert bench.job(job_id).error["code"] == "internal"
    assert bench.starts == 0

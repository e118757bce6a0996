"""What a worker does with a job, and what it cannot do any more once it has lost it."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, text

from domain.ids import new_id
from domain.jobs import ErrorCode, JobError, Progress
from store import checkpoints, jobs, leases
from store.leases import LeaseLost
from store.sweep import sweep
from store.tables import AnalysisRow, ArtifactRow, JobRow, ModelRow

CRASH = JobError(code=ErrorCode.OUT_OF_MEMORY, detail="The job needed more than 2 GiB.", retryable=True)


def test_claim_starts_an_attempt(world) -> None:
    job_id = world.submit()
    lease = world.claim(job_id, worker="host-1")
    job = world.job(job_id)
    assert (job.status, job.attempt, job.worker, job.token) == ("running", 1, "host-1", lease.token)
    assert job.started_at is not None
    assert abs((job.lease_until - job.started_at).total_seconds() - 60) < 1
    assert abs((job.deadline_at - job.started_at).total_seconds() - 7200) < 1
    assert world.statuses(job_id) == ["queued", "running"]
    assert pickle.loads(pickle.dumps(lease)) == lease  # noqa: S301 - it crosses into the science process


def test_a_second_message_finds_nothing(world) -> None:
    job_id = world.submit()
    world.claim(job_id)
    with world.database.write() as session:
        assert leases.claim(session, job_id, worker="w2", lease_seconds=60) is None
        assert leases.claim(session, new_id("job"), worker="w2", lease_seconds=60) is None
    assert world.job(job_id).attempt == 1


def test_each_job_is_claimed_once(world) -> None:
    """Eight workers, every message three times, each worker in another order."""
    series = world.series().id
    ids = [world.submit(series) for _ in range(12)]
    start = threading.Barrier(8)

    def work(number: int) -> list[str]:
        mine = []
        start.wait(20)
        for job_id in (ids[number:] + ids[:number]) * 3:
            with world.database.write() as session:
                if leases.claim(session, job_id, worker=f"w{number}", lease_seconds=60):
                    mine.append(job_id)
        return mine

    with ThreadPoolExecutor(8) as pool:
        claimed = [job_id for mine in pool.map(work, range(8)) for job_id in mine]
    assert sorted(claimed) == sorted(ids)
    assert all(world.job(job_id).attempt == 1 for job_id in ids)


def test_heartbeat_renews_without_a_visible_change(world) -> None:
    job_id = world.submit()
    lease = world.claim(job_id)
    world.expire(job_id)
    before = world.job(job_id)
    with world.database.write() as session:
        pulse = leases.heartbeat(session, lease)
    assert (pulse.cancel, pulse.timed_out, pulse.stop) == (False, False, False)
    after = world.job(job_id)
    assert after.lease_until > before.lease_until
    assert after.version == before.version


def test_heartbeat_and_report_tell_when_the_time_is_up(world) -> None:
    job_id = world.submit()
    lease = world.claim(job_id)
    world.expire(job_id, "deadline_at")
    with world.database.write() as session:
        assert leases.heartbeat(session, lease).timed_out
        assert leases.report(session, lease, Progress(fraction=0.1, phase="training")).stop


def test_finish_writes_result_status_and_event_together(world) -> None:
    job_id = world.submit()
    lease = world.claim(job_id)
    model = ModelRow(id=new_id("model"), series_id=None, document={"n_parameters": 709})
    extra = AnalysisRow(id=new_id("analysis"), channels=["x"], channels_hash="0" * 64, document={})
    file = ArtifactRow(model_id=model.id, name="model.safetensors", media_type="a/b", sha256="0" * 64, n_bytes=1)
    with world.database.write() as session:
        job = leases.finish(session, lease, model, extra, file)
    assert (job.status, job.result_type, job.result_id) == ("succeeded", "model", model.id)
    assert job.progress["fraction"] == 1.0
    assert (job.lease_until, job.worker, job.dispatch_after) == (None, None, None)
    assert job.finished_at is not None
    with world.database.read() as session:
        assert session.get(AnalysisRow, extra.id).job_id == job_id
        assert session.get(ModelRow, model.id).document == {"n_parameters": 709}


def test_finish_may_be_repeated_when_its_answer_was_lost(world, make_analysis) -> None:
    job_id = world.submit()
    lease = world.claim(job_id)
    row = make_analysis()
    for _ in range(2):
        with world.database.write() as session:
            leases.finish(session, lease, row)
    assert world.statuses(job_id) == ["queued", "running", "succeeded"]


@pytest.mark.parametrize("cut", ["before the commit", "after it"])
def test_finish_goes_on_after_a_lost_connection(world, backend: str, cut: str) -> None:
    """The worker repeats `finish` with the rows it has; the job ends once, with one result."""
    if backend == "sqlite":
        pytest.skip("SQLite has no connection to cut")
    job_id = world.submit()
    lease = world.claim(job_id)
    model = ModelRow(id=new_id("model"), document={})
    file = ArtifactRow(model_id=model.id, name="a", media_type="a/b", sha256="0" * 64, n_bytes=1)
    cuts = iter([True, True, False])

    def work(session) -> None:  # type: ignore[no-untyped-def]
        leases.finish(session, lease, model, file)
        if next(cuts):
            mine = session.scalar(text("SELECT pg_backend_pid()"))
            if cut == "after it":
                session.connection().exec_driver_sql("COMMIT")
            with world.database.engine.connect() as other:
                other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": mine})
            session.execute(text("SELECT 1"))

    world.database.transact(work)
    assert next(cuts, None) is None
    assert world.statuses(job_id) == ["queued", "running", "succeeded"]
    with world.database.read() as session:
        assert session.scalars(select(ModelRow.id)).all() == [model.id]
        assert session.scalars(select(ArtifactRow.name)).all() == ["a"]


def test_finish_that_breaks_leaves_the_job_running(world, make_analysis) -> None:
    job_id = world.submit()
    lease = world.claim(job_id)
    lost = ArtifactRow(model_id="mdl_nobody", name="a", media_type="a/b", sha256="0" * 64, n_bytes=1)
    with pytest.raises(Exception, match=r"(?i)foreign key"), world.database.write() as session:
        leases.finish(session, lease, make_analysis(), lost)
    assert world.job(job_id).status == "running"
    with world.database.read() as session:
        assert session.scalar(select(func.count()).select_from(AnalysisRow)) == 0


def test_fail_says_why(world) -> None:
    job_id = world.submit()
    lease = world.claim(job_id)
    error = JobError(code=ErrorCode.DIVERGED, detail="Every run diverged.", retryable=False)
    for _ in range(2):
        with world.database.write() as session:
            leases.fail(session, lease, error)
    assert world.job(job_id).error == {"code": "diverged", "detail": "Every run diverged.", "retryable": False}
    assert world.events(job_id)[-1][2] == {"status": "failed", "error": world.job(job_id).error}


def test_a_crash_costs_one_attempt_not_the_job(world) -> None:
    job_id = world.submit()
    for attempt in (1, 2, 3):
        lease = world.claim(job_id)
        assert lease.attempt == attempt
        with world.database.write() as session:
            leases.fail(session, lease, CRASH, try_again=True)
    job = world.job(job_id)
    assert (job.status, job.attempt, job.error["code"]) == ("failed", 3, "out_of_memory")
    assert world.statuses(job_id) == ["queued", *["running", "queued"] * 2, "running", "failed"]


def test_a_crash_while_canceling_is_a_cancel(world) -> None:
    job_id = world.submit()
    lease = world.claim(job_id)
    with world.database.write() as session:
        jobs.cancel(session, job_id)
        leases.fail(session, lease, CRASH, try_again=True)
    assert world.job(job_id).status == "canceled"


def test_release_gives_the_attempt_back(world) -> None:
    job_id = world.submit()
    for _ in range(5):
        lease = world.claim(job_id)
        with world.database.write() as session:
            job = leases.release(session, lease)
        assert (job.status, job.attempt, job.token) == ("queued", 0, None)
    with world.database.write() as session:
        assert sweep(session, world.settings).publish == [(job_id, "cpu")], "published at once, not after a pause"


def test_release_while_canceling_is_a_cancel(world) -> None:
    job_id = world.submit()
    lease = world.claim(job_id)
    with world.database.write() as session:
        jobs.cancel(session, job_id)
        assert leases.release(session, lease).status == "canceled"


WRITES: dict[str, Callable] = {
    "heartbeat": lambda session, lease: leases.heartbeat(session, lease),
    "report": lambda session, lease: leases.report(session, lease, Progress(fraction=0.5, phase="x")),
    "message": lambda session, lease: leases.message(session, lease, "hello"),
    "checkpoint": lambda session, lease: leases.set_checkpoint(session, lease, "f" * 64),
    "finish": lambda session, lease: leases.finish(
        session, lease, AnalysisRow(id=new_id("analysis"), channels=[], channels_hash="0" * 64, document={})
    ),
    "fail": lambda session, lease: leases.fail(session, lease, CRASH),
    "fail, try again": lambda session, lease: leases.fail(session, lease, CRASH, try_again=True),
    "acknowledge cancel": lambda session, lease: leases.acknowledge_cancel(session, lease),
    "release": lambda session, lease: leases.release(session, lease),
}


def _queued_again(world, job_id: str) -> None:
    world.expire(job_id)
    with world.database.write() as session:
        sweep(session, world.settings)


def _running_elsewhere(world, job_id: str) -> None:
    _queued_again(world, job_id)
    world.claim(job_id, worker="w2")


def _ended_elsewhere(world, job_id: str) -> None:
    _queued_again(world, job_id)
    with world.database.write() as session:
        _, lease = leases.claim(session, job_id, worker="w2", lease_seconds=60)
        WRITES["finish"](session, lease)


def _swept_after_cancel(world, job_id: str) -> None:
    with world.database.write() as session:
        jobs.cancel(session, job_id)
    _queued_again(world, job_id)


@pytest.mark.parametrize("lose", [_queued_again, _running_elsewhere, _ended_elsewhere, _swept_after_cancel])
def test_who_lost_the_lease_can_write_nothing(world, lose) -> None:
    job_id = world.submit()
    lease = world.claim(job_id)
    lose(world, job_id)
    before = _everything(world, job_id)
    for name, write in WRITES.items():
        with pytest.raises(LeaseLost, match=job_id), world.database.write() as session:
            write(session, lease)
        assert _everything(world, job_id) == before, name


def _everything(world, job_id: str) -> tuple:
    job = world.job(job_id)
    with world.database.read() as session:
        results = session.scalar(select(func.count()).select_from(AnalysisRow))
    return {c.name: getattr(job, c.name) for c in JobRow.__table__.c}, world.events(job_id), results


class TestProgress:
    def test_the_document_is_always_the_newest_and_counts_as_a_change(self, world) -> None:
        job_id = world.submit()
        lease = world.claim(job_id)
        for n in range(1, 6):
            with world.database.write() as session:
                leases.report(session, lease, Progress(fraction=n / 10, phase="training", metrics={"loss": 1 / n}))
        job = world.job(job_id)
        assert job.progress["fraction"] == 0.5
        assert job.version == 1 + 1 + 5

    def test_events_are_thinned_but_a_new_phase_is_told_at_once(self, world) -> None:
        job_id = world.submit()
        lease = world.claim(job_id)
        for phase in ("analysing", "training"):
            for n in range(20):
                with world.database.write() as session:
                    leases.report(session, lease, Progress(fraction=n / 20, phase=phase))
        told = [data["phase"] for _, type, data in world.events(job_id) if type == "progress"]
        assert sorted(set(told)) == ["analysing", "training"]
        assert len(told) < 20

    def test_a_week_of_progress_gives_some_hundreds_of_events(self) -> None:
        """The rule on its own, with a clock of the test's: a report every five seconds for seven days, phases flapping."""
        start = datetime(2026, 1, 1, tzinfo=UTC)
        job = JobRow(started_at=start, progress_event_at=None, progress={"phase": "p0"}, event_seq=2)
        for second in range(0, 7 * 86_400, 5):
            moment = start + timedelta(seconds=second)
            phase = f"p{second // 60 % 2}"
            if leases._event_due(job, moment, Progress(phase=phase)):
                job.event_seq += 1
                job.progress_event_at = moment
            job.progress = {"phase": phase}
        assert 300 < job.event_seq < 900

    def test_messages_end_when_a_job_says_too_much(self, world, monkeypatch) -> None:
        monkeypatch.setattr(leases, "MAX_PROMPT_EVENTS", 5)
        job_id = world.submit()
        lease = world.claim(job_id)
        for n in range(10):
            with world.database.write() as session:
                leases.message(session, lease, str(n))
        assert len(world.events(job_id)) == 5


class TestCheckpoints:
    def test_a_later_attempt_goes_on_from_the_newest(self, world) -> None:
        job_id = world.submit()
        lease = world.claim(job_id)
        assert checkpoints.load(world.database, world.blobs, job_id) is None
        for step in (b"one", b"two", b"two"):
            world.checkpoint(lease, step)
        assert len(list(world.blobs.names())) == 2, "the series and the newest checkpoint"
        _queued_again(world, job_id)
        world.claim(job_id, worker="w2")
        assert checkpoints.load(world.database, world.blobs, job_id) == b"two"

    def test_a_lost_worker_saves_nothing(self, world) -> None:
        job_id = world.submit()
        lease = world.claim(job_id)
        world.checkpoint(lease, b"mine")
        _running_elsewhere(world, job_id)
        with pytest.raises(LeaseLost):
            world.checkpoint(lease, b"late")
        assert checkpoints.load(world.database, world.blobs, job_id) == b"mine"

    def test_jobs_with_equal_checkpoints_do_not_delete_each_others(self, world) -> None:
        series = world.series().id
        one, two = world.submit(series), world.submit(series)
        for job_id in (one, two):
            world.checkpoint(world.claim(job_id), b"same")
        with world.database.read() as session:
            lease = leases.Lease(one, 1, jobs.get(session, one).token, 60)
        world.checkpoint(lease, b"other")
        assert checkpoints.load(world.database, world.blobs, two) == b"same"

    def test_an_ended_job_needs_none(self, world, make_analysis) -> None:
        job_id = world.submit()
        lease = world.claim(job_id)
        world.checkpoint(lease, b"data")
        with world.database.write() as session:
            leases.finish(session, lease, make_analysis())
        assert checkpoints.load(world.database, world.blobs, job_id) is None

"""Pause, resume, retry, and how many jobs may wait."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text

from domain.errors import NotFound, QuotaExceeded, StateForbids
from domain.ids import new_id
from domain.jobs import ErrorCode, JobError, JobStatus
from domain.specs import JobLimits, LyapunovJob, ReconstructJob, TrainJob
from store import checkpoints, jobs, leases, series
from store.sweep import Swept, sweep
from store.tables import JobRow, TenantRow

LOST = JobError(code=ErrorCode.OUT_OF_MEMORY, detail="More than 2 GiB.", retryable=True)
WRONG = JobError(code=ErrorCode.INVALID_DATA, detail="Not so.", retryable=False)


def pause(world, job_id: str) -> tuple[str, bool]:
    with world.database.write() as session:
        job, changed = jobs.pause(session, job_id)
        return job.status, changed


def resume(world, job_id: str) -> tuple[str, bool]:
    with world.database.write() as session:
        job, changed = jobs.resume(session, world.settings, job_id)
        return job.status, changed


def retry(world, job_id: str, **changes) -> tuple[JobRow, bool]:  # type: ignore[no-untyped-def]
    with world.database.write() as session:
        submitted = jobs.retry(session, world.settings, job_id, **changes)
    return submitted.job, submitted.created


def write(world, what, lease, *more):  # type: ignore[no-untyped-def]
    with world.database.write() as session:
        return what(session, lease, *more)


def run_sweep(world) -> Swept:
    with world.database.write() as session:
        return sweep(session, world.settings)


def fail(world, job_id: str, error: JobError = LOST, *, checkpoint: bytes | None = None) -> None:
    lease = world.claim(job_id)
    if checkpoint is not None:
        world.checkpoint(lease, checkpoint)
    write(world, leases.fail, lease, error)


class TestPause:
    def test_a_queued_job_is_paused_at_once_and_runs_no_more(self, world) -> None:
        job_id = world.submit()
        assert [pause(world, job_id) for _ in range(2)] == [("paused", True), ("paused", False)]
        assert world.job(job_id).dispatch_after is None
        with world.database.write() as session:
            assert leases.claim(session, job_id, worker="w", lease_seconds=60) is None
        assert run_sweep(world) == Swept()
        assert world.statuses(job_id) == ["queued", "paused"]

    def test_a_running_job_goes_on_from_its_checkpoint(self, world) -> None:
        job_id = world.submit()
        lease = world.claim(job_id)
        assert not write(world, leases.heartbeat, lease).pause
        assert [pause(world, job_id) for _ in range(2)] == [("pausing", True), ("pausing", False)]
        pulse = write(world, leases.heartbeat, lease)
        assert (pulse.pause, pulse.stop, pulse.cancel, pulse.timed_out) == (True, True, False, False)
        world.checkpoint(lease, b"half")
        for _ in range(2):  # the first answer was lost
            job = write(world, leases.acknowledge_pause, lease)
            assert (job.status, job.attempt, job.worker, job.lease_until, job.deadline_at) == (
                "paused",
                0,
                None,
                None,
                None,
            )
        with pytest.raises(leases.LeaseLost):
            write(world, leases.heartbeat, lease)
        assert run_sweep(world) == Swept()
        assert [resume(world, job_id) for _ in range(2)] == [("queued", True), ("queued", False)]
        assert world.claim(job_id).attempt == 1
        assert checkpoints.load(world.database, world.blobs, job_id) == b"half"
        assert resume(world, job_id) == ("running", False)
        assert world.statuses(job_id) == ["queued", "running", "pausing", "paused", "queued", "running"]

    def test_a_resumed_job_is_published_like_a_new_one(self, world) -> None:
        job_id = world.submit()
        pause(world, job_id)
        resume(world, job_id)
        assert run_sweep(world) == Swept(), "the caller has just published it"
        world.expire(job_id, "dispatch_after")
        assert run_sweep(world) == Swept(publish=[(job_id, "cpu")])

    def test_a_job_that_is_pausing_may_end(self, world, make_analysis) -> None:
        for end, status in (
            (lambda lease: write(world, leases.finish, lease, make_analysis()), "succeeded"),
            (lambda lease: write(world, leases.fail, lease, WRONG), "failed"),
        ):
            job_id = world.submit()
            lease = world.claim(job_id)
            pause(world, job_id)
            assert end(lease).status == status
            with pytest.raises(StateForbids, match=status):
                pause(world, job_id)
            with pytest.raises(StateForbids, match=status):
                resume(world, job_id)

    def test_a_job_that_is_still_pausing_cannot_be_resumed_yet(self, world) -> None:
        job_id = world.submit()
        world.claim(job_id)
        pause(world, job_id)
        with pytest.raises(StateForbids, match="still pausing") as refused:
            resume(world, job_id)
        assert refused.value.retry_after == 1

    def test_cancel_goes_before_pause(self, world) -> None:
        job_id = world.submit()
        lease = world.claim(job_id)
        pause(world, job_id)
        with world.database.write() as session:
            assert jobs.cancel(session, job_id)[0].status == "canceling"
        with pytest.raises(StateForbids, match="canceling"):
            pause(world, job_id)
        pulse = write(world, leases.heartbeat, lease)
        assert (pulse.cancel, pulse.pause) == (True, False)
        assert write(world, leases.acknowledge_pause, lease).status == "canceled", "it was told too late"

    def test_a_paused_job_is_canceled_at_once(self, world) -> None:
        job_id = world.submit()
        world.checkpoint(lease := world.claim(job_id), b"half")
        pause(world, job_id)
        write(world, leases.acknowledge_pause, lease)
        with world.database.write() as session:
            assert jobs.cancel(session, job_id)[0].status == "canceled"
        assert world.job(job_id).checkpoint_sha256 is None
        with pytest.raises(StateForbids):
            resume(world, job_id)

    def test_a_worker_that_shuts_down_leaves_it_paused(self, world) -> None:
        job_id = world.submit()
        lease = world.claim(job_id)
        pause(world, job_id)
        job = write(world, leases.release, lease)
        assert (job.status, job.attempt) == ("paused", 0)

    @pytest.mark.parametrize(("attempts", "status"), [(1, "paused"), (3, "failed")])
    def test_a_crash_leaves_it_paused_while_attempts_remain(self, world, attempts: int, status: str) -> None:
        job_id = world.submit()
        for _ in range(attempts - 1):
            with world.database.write() as session:
                leases.fail(session, world_claim(world, session, job_id), LOST, try_again=True)
        lease = world.claim(job_id)
        pause(world, job_id)
        with world.database.write() as session:
            job = leases.fail(session, lease, LOST, try_again=True)
            assert (job.status, job.attempt) == (status, attempts)

    @pytest.mark.parametrize(("attempts", "status"), [(1, "paused"), (3, "failed")])
    def test_a_lost_worker_leaves_it_paused_while_attempts_remain(self, world, attempts: int, status: str) -> None:
        job_id = world.submit()
        for _ in range(attempts - 1):
            world.claim(job_id)
            world.expire(job_id)
            run_sweep(world)
        lease = world.claim(job_id)
        pause(world, job_id)
        assert run_sweep(world) == Swept()
        world.expire(job_id)
        assert run_sweep(world) == Swept(**{status: [job_id]})
        job = world.job(job_id)
        assert (job.status, job.attempt, job.lease_until, job.worker) == (status, attempts, None, None)
        with pytest.raises(leases.LeaseLost):
            write(world, leases.acknowledge_pause, lease)

    def test_pause_meets_the_end_and_a_cancellation(self, world, make_analysis) -> None:
        """All at once, many times: one truth, and the events tell the way to it."""
        source = world.series().id
        for _ in range(8):
            job_id = world.submit(source)
            lease = world.claim(job_id)
            start = threading.Barrier(3)

            def finish(lease=lease, start=start) -> None:  # type: ignore[no-untyped-def]
                start.wait(10)
                write(world, leases.finish, lease, make_analysis())

            def ask(what, job_id=job_id, start=start) -> str:  # type: ignore[no-untyped-def]
                start.wait(10)
                try:
                    with world.database.write() as session:
                        return what(session, job_id)[0].status
                except StateForbids:
                    return "forbidden"

            with ThreadPoolExecutor(3) as pool:
                ending = pool.submit(finish)
                asked = [pool.submit(ask, what) for what in (jobs.pause, jobs.cancel)]
                ending.result()
            told = [future.result() for future in asked]
            assert world.job(job_id).status == "succeeded"
            between = [status for status in ("pausing", "canceling") if status in told]
            assert world.statuses(job_id) == ["queued", "running", *between, "succeeded"]


def world_claim(world, session, job_id: str) -> leases.Lease:  # type: ignore[no-untyped-def]
    claimed = leases.claim(session, job_id, worker="w", lease_seconds=60)
    assert claimed is not None
    return claimed[1]


class TestRetry:
    def test_a_failed_job_is_tried_again_from_its_checkpoint(self, world) -> None:
        first = world.submit()
        fail(world, first, checkpoint=b"half")
        job, created = retry(world, first)
        assert created
        assert (job.status, job.retry_of, job.attempt, job.error) == ("queued", first, 0, None)
        assert job.request == world.job(first).request
        assert world.events(job.id) == [(1, "status", {"status": "queued"})]
        lease = world.claim(job.id)
        assert checkpoints.load(world.database, world.blobs, job.id) == b"half"
        assert world.job(first).checkpoint_sha256 is None, "it belongs to one job"
        world.checkpoint(lease, b"more")
        assert checkpoints.load(world.database, world.blobs, job.id) == b"more"
        assert len(list(world.blobs.names())) == 2, "the series and the newest checkpoint"
        assert world.job(first).status == "failed"

    def test_a_job_is_retried_once_and_its_retry_again(self, world) -> None:
        first = world.submit()
        fail(world, first)
        second, _ = retry(world, first)
        assert retry(world, first)[0].id == second.id
        assert retry(world, first)[1] is False
        with pytest.raises(StateForbids, match="queued"):
            retry(world, second.id)
        with world.database.write() as session:
            jobs.cancel(session, second.id)
        third, created = retry(world, second.id)
        assert (third.retry_of, created) == (second.id, True)
        assert retry(world, first)[0].id == second.id

    def test_limits_and_priority_may_change(self, world) -> None:
        request = LyapunovJob(
            kind="lyapunov", series_id=world.series().id, limits=JobLimits(timeout_s=60, memory_mb=512), priority=-1
        )
        with world.database.write() as session:
            first = jobs.submit(session, world.settings, request).job.id
        fail(world, first)
        job, _ = retry(world, first, limits={"timeout_s": 90}, priority=3, request_id="req_2")
        assert (job.timeout_s, job.memory_mb, job.rank, job.request_id) == (90, 512, -3, "req_2")
        assert LyapunovJob.model_validate(job.request).limits == JobLimits(timeout_s=90, memory_mb=512)
        again = LyapunovJob.model_validate(world.job(first).request)
        assert again == request

    def test_what_will_fail_again_starts_anew(self, world) -> None:
        first = world.submit()
        fail(world, first, WRONG, checkpoint=b"bad")
        assert world.job(first).checkpoint_sha256 is None
        job, _ = retry(world, first)
        world.claim(job.id)
        assert checkpoints.load(world.database, world.blobs, job.id) is None

    def test_what_has_not_failed_is_not_retried(self, world, make_analysis) -> None:
        job_id = world.submit()
        for expected in ("queued", "running", "succeeded"):
            with pytest.raises(StateForbids, match=expected):
                retry(world, job_id)
            if expected == "queued":
                lease = world.claim(job_id)
            if expected == "running":
                write(world, leases.finish, lease, make_analysis())
        with pytest.raises(NotFound):
            retry(world, job_id, tenant="other")

    def test_without_its_series_it_cannot_run(self, world) -> None:
        job_id = world.submit()
        source = world.job(job_id).series_id
        fail(world, job_id, checkpoint=b"half")
        with world.database.write() as session:
            series.delete(session, source)
        with pytest.raises(NotFound, match=source):
            retry(world, job_id)
        assert world.job(job_id).checkpoint_sha256 is not None, "nothing was taken from it"

    def test_many_at_once_make_one(self, world) -> None:
        first = world.submit()
        fail(world, first, checkpoint=b"half")
        start = threading.Barrier(6)

        def one(_: int) -> tuple[str, bool]:
            start.wait(10)
            job, created = retry(world, first)
            return job.id, created

        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(one, range(6)))
        assert len({job_id for job_id, _ in answers}) == 1
        assert sum(created for _, created in answers) == 1


class TestQuota:
    def test_no_more_jobs_wait_than_may(self, world) -> None:
        source = world.series().id
        with world.database.write() as session:
            session.add(TenantRow(name="default", max_queued_jobs=2))
        first, second = world.submit(source, idempotency_key="a"), world.submit(source)
        pause(world, second)  # it waits all the same
        with pytest.raises(QuotaExceeded, match="2 of your jobs") as refused:
            world.submit(source, idempotency_key="b")
        assert refused.value.retry_after == jobs.QUOTA_RETRY_SECONDS
        assert world.submit(source, idempotency_key="a") == first, "this is no new job"
        world.submit(world.series(tenant="other").id, tenant="other")
        world.claim(first)
        assert world.submit(source, idempotency_key="b")
        with pytest.raises(QuotaExceeded):
            world.submit(source)

    def test_a_retry_is_a_job_like_another(self, world) -> None:
        world.settings.max_queued_jobs = 1
        source = world.series().id
        failed = world.submit(source)
        fail(world, failed, checkpoint=b"half")
        world.submit(source)
        with pytest.raises(QuotaExceeded):
            retry(world, failed)
        assert world.job(failed).checkpoint_sha256 is not None, "nothing was taken from it"

    def test_many_at_once_do_not_pass_it(self, world) -> None:
        world.settings.max_queued_jobs = 3
        source = world.series().id
        start = threading.Barrier(8)

        def one(_: int) -> bool:
            start.wait(10)
            try:
                world.submit(source)
            except QuotaExceeded:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(one, range(8))) == 3


def test_requests_are_stored_as_the_release_before_knew_them(world) -> None:
    """So that its workers can run them, and its idempotency keys are recognised."""
    source = world.series().id
    plain = world.job(world.submit(source)).request
    assert "priority" not in plain
    assert plain["limits"] == {"timeout_s": 7200}
    same = LyapunovJob(kind="lyapunov", series_id=source, priority=0, limits=JobLimits(memory_mb=None))
    assert jobs.request_hash(same) == jobs.request_hash(LyapunovJob(kind="lyapunov", series_id=source))
    other = same.model_copy(update={"priority": 1})
    assert jobs.request_hash(other) != jobs.request_hash(same)
    assert LyapunovJob.model_validate(jobs.request_document(other)) == other


# Of a worker of the release before, which refuses what it does not know: a field that comes later belongs to `jobs._added`.
KNOWN = [
    "channels",
    "limits.timeout_s",
    "metadata",
    "kind",
    "series_id",
    "analysis_id",
    "params.architecture",
    "params.latent_dim",
    "params.hidden_dim",
    "params.layers",
    "params.observation.kind",
    "params.observation.kernel.kind",
    "params.observation.kernel.repetition_time",
    "params.observation.noise",
    "params.forcing",
    "params.input_channels",
    "params.nuisance_channels",
    "params.recording_dim",
    "params.embedding_lags",
    "params.sequence_length",
    "params.batch_size",
    "params.updates",
    "params.optimizer",
    "params.gradient_clip",
    "params.learning_rate.peak",
    "params.learning_rate.final",
    "params.learning_rate.schedule",
    "params.regularization.l2",
    "params.regularization.smoothing",
    "params.regularization.identity",
    "params.regularization.manifold_attractor",
    "params.regularization.manifold_attractor_fraction",
    "params.regularization.observation_condition",
    "params.seeds",
    "params.budget_seconds",
    "params.validation_fraction",
    "params.test_fraction",
    "params.split",
    "params.standardize",
    "params.precision",
    "params.engine",
    "params.device",
    "params.seed",
]


def test_defaults_of_a_training_are_stored_as_the_release_before_knew_them() -> None:
    def leaves(part: dict[str, Any], above: str = "") -> Iterator[str]:
        for name, value in part.items():
            inner = isinstance(value, dict) and value
            yield from leaves(value, f"{above}{name}.") if inner else [f"{above}{name}"]

    kernel = {"observation": {"kind": "convolutional", "kernel": {"kind": "haemodynamic"}}}
    job = TrainJob.model_validate({"kind": "train", "series_id": "x", "params": kernel})
    stored = jobs.request_document(job)
    assert sorted(leaves(stored)) == sorted(KNOWN)
    assert TrainJob.model_validate(stored) == job
    assert jobs.complete_request(stored) == job.model_dump(mode="json")
    whole = ReconstructJob.model_validate({"kind": "reconstruct", "series_id": "x", "params": {"train": kernel}})
    assert jobs.request_document(whole)["params"]["train"] == stored["params"]


def test_control_of_what_is_not_there(world) -> None:
    job_id = world.submit()
    for control in (jobs.pause, lambda s, i, tenant: jobs.resume(s, world.settings, i, tenant=tenant)):
        for unknown, tenant in ((new_id("job"), "default"), (job_id, "other")):
            with pytest.raises(NotFound), world.database.write() as session:
                control(session, unknown, tenant=tenant)
    with world.database.read() as session:
        assert session.scalar(text("SELECT count(*) FROM job_event")) == 1
    assert world.job(job_id).status == JobStatus.QUEUED

"""What a caller does with jobs: submit, look, cancel."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select, text

from domain.errors import BadRequest, IdempotencyMismatch, NotFound, StateForbids
from domain.ids import new_id
from domain.jobs import JobKind, JobStatus
from domain.specs import EvaluateJob, ForecastContext, ForecastJob, ForecastSpec, LyapunovJob, LyapunovSpec, TrainJob
from store import jobs, leases
from store.tables import EvaluationRow, IdempotencyRow, JobRow, ModelRow


def test_a_submitted_job_is_queued_with_its_first_event(world) -> None:
    series = world.series()
    job = world.job(world.submit(series.id))
    assert (job.status, job.version, job.attempt, job.max_attempts) == ("queued", 1, 0, 3)
    assert job.series_id == series.id
    assert job.timeout_s == 7200
    assert job.progress["fraction"] == 0.0
    assert LyapunovJob.model_validate(job.request) == LyapunovJob(kind="lyapunov", series_id=series.id)
    assert world.events(job.id) == [(1, "status", {"status": "queued"})]


def test_a_submission_that_fails_leaves_nothing(world) -> None:
    with pytest.raises(NotFound, match="no series"):
        world.submit(new_id("series"), idempotency_key="k")
    with world.database.read() as session:
        assert session.scalar(select(func.count()).select_from(JobRow)) == 0
        assert session.scalar(select(func.count()).select_from(IdempotencyRow)) == 0


def test_the_series_of_another_tenant_is_not_there(world) -> None:
    series = world.series(tenant="other")
    with pytest.raises(NotFound):
        world.submit(series.id)
    assert world.submit(series.id, tenant="other")


def test_same_key_same_body_same_job(world) -> None:
    series = world.series().id
    first = world.submit(series, idempotency_key="a")
    assert world.submit(series, idempotency_key="a") == first
    assert world.submit(series, idempotency_key="b") != first
    assert world.submit(series) != first


def test_same_key_other_body_is_refused(world) -> None:
    first = world.submit(idempotency_key="a")
    other = LyapunovJob(kind="lyapunov", series_id=world.series().id, params=LyapunovSpec(seed=1))
    with pytest.raises(IdempotencyMismatch, match=first), world.database.write() as session:
        jobs.submit(session, world.settings, other, idempotency_key="a")


def test_a_key_belongs_to_its_tenant(world) -> None:
    series = world.series().id
    theirs = world.series(tenant="other").id
    assert world.submit(series, idempotency_key="a") != world.submit(theirs, idempotency_key="a", tenant="other")


def test_a_key_expires(world) -> None:
    series = world.series().id
    first = world.submit(series, idempotency_key="a")
    with world.database.write() as session:
        session.execute(text("UPDATE idempotency SET expires_at = '2000-01-01 00:00:00.000000'"))
    second = world.submit(series, idempotency_key="a")
    assert second != first
    assert world.submit(series, idempotency_key="a") == second


@pytest.mark.parametrize("key", ["", "x" * 256, "é", "a\nb", "\0"])
def test_a_malformed_key_is_refused(world, key: str) -> None:
    with pytest.raises(BadRequest, match="Idempotency-Key"):
        world.submit(idempotency_key=key)


def test_many_at_once_with_one_key_make_one_job(world) -> None:
    series = world.series().id
    start = threading.Barrier(8)

    def submit(_: int) -> str:
        start.wait(10)
        return world.submit(series, idempotency_key="a")

    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(submit, range(8)))
    assert len(made) == 1
    with world.database.read() as session:
        assert session.scalar(select(func.count()).select_from(JobRow)) == 1


def test_evaluations_and_forecasts_read_the_models_series(world) -> None:
    series = world.series()
    model = ModelRow(id=new_id("model"), series_id=series.id, document={})
    with world.database.write() as session:
        session.add(model)
    horizon = ForecastSpec(horizon_steps=5)
    context = ForecastSpec(horizon_steps=5, context=ForecastContext(values=[[1.0]]))
    with world.database.write() as session:
        for request, expected in (
            (EvaluateJob(kind="evaluate", model_id=model.id), series.id),
            (ForecastJob(kind="forecast", model_id=model.id, params=horizon), series.id),
            (ForecastJob(kind="forecast", model_id=model.id, params=context), None),
        ):
            job = jobs.submit(session, world.settings, request).job
            assert (job.series_id, job.model_id) == (expected, model.id)
    with pytest.raises(NotFound, match="no model"), world.database.write() as session:
        jobs.submit(session, world.settings, EvaluateJob(kind="evaluate", model_id=new_id("model")))


def test_a_job_of_another_tenant_is_not_there(world) -> None:
    job_id = world.submit()
    with world.database.write() as session:
        with pytest.raises(NotFound):
            jobs.get(session, job_id, tenant="other")
        with pytest.raises(NotFound):
            jobs.cancel(session, job_id, tenant="other")
        assert jobs.list_page(session, tenant="other").items == []
    assert world.job(job_id).status == "queued"


def test_lists_filter_by_status_and_kind(world) -> None:
    series = world.series().id
    first, second = world.submit(series), world.submit(series)
    with world.database.write() as session:
        train = jobs.submit(session, world.settings, TrainJob(kind="train", series_id=series)).job.id
    world.claim(first)
    with world.database.read() as session:

        def found(**filters) -> list[str]:  # type: ignore[no-untyped-def]
            return [job.id for job in jobs.list_page(session, **filters).items]

        assert found() == sorted([first, second, train], reverse=True)
        assert found(status=JobStatus.RUNNING) == [first]
        assert found(kind=JobKind.TRAIN) == [train]
        assert found(kind=JobKind.LYAPUNOV, status=JobStatus.QUEUED) == [second]
        assert found(kind=JobKind.EVALUATE) == []


class TestCancel:
    def cancel(self, world, job_id: str) -> tuple[str, bool]:
        with world.database.write() as session:
            job, changed = jobs.cancel(session, job_id)
            return job.status, changed

    def test_a_queued_job_is_canceled_at_once(self, world) -> None:
        job_id = world.submit()
        assert self.cancel(world, job_id) == ("canceled", True)
        assert self.cancel(world, job_id) == ("canceled", False)
        assert world.statuses(job_id) == ["queued", "canceled"]
        assert world.job(job_id).finished_at is not None
        with world.database.write() as session:
            assert leases.claim(session, job_id, worker="w", lease_seconds=60) is None

    def test_a_running_job_is_asked_to_stop(self, world) -> None:
        job_id = world.submit()
        lease = world.claim(job_id)
        assert self.cancel(world, job_id) == ("canceling", True)
        assert self.cancel(world, job_id) == ("canceling", False)
        with world.database.write() as session:
            assert leases.heartbeat(session, lease).cancel
            leases.acknowledge_cancel(session, lease)
        assert self.cancel(world, job_id) == ("canceled", False)
        assert world.statuses(job_id) == ["queued", "running", "canceling", "canceled"]

    def test_an_ended_job_cannot_be_canceled(self, world, make_analysis) -> None:
        job_id = world.submit()
        lease = world.claim(job_id)
        with world.database.write() as session:
            leases.finish(session, lease, make_analysis())
        version = world.job(job_id).version
        with pytest.raises(StateForbids, match="succeeded"):
            self.cancel(world, job_id)
        assert world.job(job_id).version == version

    def test_cancel_meets_the_end_of_the_job(self, world, make_analysis) -> None:
        """Both at once, many times: the job ends once, truthfully, and its events agree with its row."""
        series = world.series().id
        for _ in range(10):
            job_id = world.submit(series)
            lease = world.claim(job_id)
            start = threading.Barrier(2)

            def finish(lease=lease, start=start) -> None:  # type: ignore[no-untyped-def]
                start.wait(10)
                with world.database.write() as session:
                    leases.finish(session, lease, make_analysis())

            def cancel(job_id=job_id, start=start) -> str:  # type: ignore[no-untyped-def]
                start.wait(10)
                try:
                    return self.cancel(world, job_id)[0]
                except StateForbids:
                    return "forbidden"

            with ThreadPoolExecutor(2) as pool:
                ending, canceling = pool.submit(finish), pool.submit(cancel)
                ending.result()
            assert world.job(job_id).status == "succeeded"
            between = ["canceling"] if canceling.result() == "canceling" else []
            assert world.statuses(job_id) == ["queued", "running", *between, "succeeded"]


def test_events_are_numbered_and_read_from_anywhere(world) -> None:
    job_id = world.submit()
    lease = world.claim(job_id)
    for n in range(5):
        with world.database.write() as session:
            leases.message(session, lease, f"number {n}", level="warning")
    with world.database.read() as session:
        assert [e.seq for e in jobs.events(session, job_id)] == [1, 2, 3, 4, 5, 6, 7]
        assert [e.seq for e in jobs.events(session, job_id, after=3, limit=2)] == [4, 5]
        assert jobs.events(session, job_id, after=7) == []
        with pytest.raises(BadRequest):
            jobs.events(session, job_id, limit=0)
    assert world.events(job_id)[-1] == (7, "message", {"level": "warning", "text": "number 4"})


def test_results_name_their_tenant(world) -> None:
    series = world.series(tenant="other").id
    job_id = world.submit(series, tenant="other")
    lease = world.claim(job_id)
    row = EvaluationRow(id=new_id("evaluation"), series_id=series, model_id=new_id("model"), document={})
    with world.database.write() as session:
        leases.finish(session, lease, row)
    assert (row.tenant, row.job_id) == ("other", job_id)

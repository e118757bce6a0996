"""What is deleted on request and what expires: never under a job that needs it, and no blob stays that nobody names."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, text, update

from domain.errors import InUse, NotFound, StateForbids
from domain.ids import earliest_id, new_id
from domain.jobs import ErrorCode, JobError
from domain.specs import EvaluateJob, ForecastContext, ForecastJob, ForecastSpec, TrainJob
from store import checkpoints, jobs, leases, results, series
from store.expiry import Expired, expire
from store.sweep import sweep_blobs
from store.tables import (
    AnalysisRow,
    ArtifactRow,
    EvaluationRow,
    ForecastRow,
    IdempotencyRow,
    JobEventRow,
    JobRow,
    ModelRow,
    SeriesRow,
)

LOST = JobError(code=ErrorCode.TIMEOUT, detail="Not done after 60 s.", retryable=True)


def count(world, row) -> int:  # type: ignore[no-untyped-def]
    with world.database.read() as session:
        return session.scalar(select(func.count()).select_from(row))


def submit(world, request) -> str:  # type: ignore[no-untyped-def]
    with world.database.write() as session:
        return jobs.submit(session, world.settings, request).job.id


def cancel(world, job_id: str) -> None:
    with world.database.write() as session:
        jobs.cancel(session, job_id)


def add(world, *rows) -> None:  # type: ignore[no-untyped-def]
    for row in rows:
        with world.database.write() as session:
            session.add(row)


def model(world, series_id: str | None = None) -> ModelRow:
    row = ModelRow(id=new_id("model"), series_id=series_id, document={})
    files = [
        ArtifactRow(model_id=row.id, name=name, media_type="a/b", sha256=world.blobs.put(data).sha256, n_bytes=1)
        for name, data in (("model.safetensors", row.id.encode()), ("model.json", b"shared"))
    ]
    add(world, row, *files)
    return row


def age_blobs(world) -> None:
    for name in world.blobs.names():
        os.utime(world.blobs.path(name), (time.time() - 7200,) * 2)


def run_expiry(world, **days: float) -> Expired:
    with world.database.write() as session:
        return expire(session, world.settings.model_copy(update=days))


def make_older(world, kind, ids: list[str], days: float) -> list[str]:  # type: ignore[no-untyped-def]
    """As if rows had been made, and jobs had ended, so many days ago; their new ids."""
    made = []
    for id in ids:
        moment = datetime.now(UTC) - timedelta(days=days)
        older = earliest_id("job" if kind is JobRow else kind.__tablename__, moment)[:16] + id[16:]
        values = {"id": older, "created_at": moment} | ({"finished_at": moment} if kind is JobRow else {})
        with world.database.write() as session:
            session.execute(text("DELETE FROM job_event WHERE job_id = :id"), {"id": id})
            session.execute(update(kind).where(kind.id == id).values(values))
        made.append(older)
    return made


class TestJobs:
    def test_an_ended_job_goes_with_its_events_and_keys_and_leaves_its_result(self, world, make_analysis) -> None:
        job_id = world.submit(idempotency_key="a")
        found = make_analysis()
        with world.database.write() as session:
            leases.finish(session, leases.claim(session, job_id, worker="w", lease_seconds=60)[1], found)
            jobs.delete_ended(session, job_id)
        with pytest.raises(NotFound):
            world.job(job_id)
        assert [count(world, row) for row in (JobEventRow, IdempotencyRow, AnalysisRow)] == [0, 0, 1]

    def test_one_that_has_not_ended_stays(self, world) -> None:
        job_id = world.submit()
        for control, status in (
            (None, "queued"),
            (world.claim, "running"),
            (lambda id: cancel(world, id), "canceling"),
        ):
            if control:
                control(job_id)
            with pytest.raises(StateForbids, match=status), world.database.write() as session:
                jobs.delete_ended(session, job_id)

    def test_what_is_not_there(self, world) -> None:
        job_id = world.submit()
        cancel(world, job_id)
        for unknown, tenant in ((new_id("job"), "default"), (job_id, "other")):
            with pytest.raises(NotFound), world.database.write() as session:
                jobs.delete_ended(session, unknown, tenant=tenant)
        assert world.job(job_id).status == "canceled"

    def test_a_retry_survives_the_job_it_retries(self, world) -> None:
        first = world.submit()
        world.checkpoint(lease := world.claim(first), b"half")
        with world.database.write() as session:
            leases.fail(session, lease, LOST)
            second = jobs.retry(session, world.settings, first).job.id
            jobs.delete_ended(session, first)
        age_blobs(world)
        sweep_blobs(world.database, world.blobs)
        assert checkpoints.load(world.database, world.blobs, second) == b"half"


class TestResults:
    def test_a_model_goes_with_its_files_unless_another_names_them(self, world) -> None:
        one, two = model(world), model(world)
        assert len(list(world.blobs.names())) == 3
        with world.database.write() as session:
            results.delete(session, ModelRow, one.id)
        age_blobs(world)
        assert sweep_blobs(world.database, world.blobs) == 1
        for file in (ArtifactRow.model_id == two.id,):
            with world.database.read() as session:
                assert all(
                    world.blobs.path(a.sha256).exists() for a in session.scalars(select(ArtifactRow).where(file))
                )
        assert count(world, ArtifactRow) == 2

    def test_a_long_forecast_leaves_an_orphan(self, world) -> None:
        blob = world.blobs.put(b"arrays").sha256
        row = ForecastRow(id=new_id("forecast"), model_id=new_id("model"), document={}, blob_sha256=blob)
        add(world, row)
        with world.database.write() as session:
            results.delete(session, ForecastRow, row.id)
        age_blobs(world)
        assert sweep_blobs(world.database, world.blobs) == 1

    def test_a_model_stays_while_a_job_reads_it(self, world) -> None:
        source = world.series().id
        row = model(world, source)
        context = ForecastSpec(horizon_steps=5, context=ForecastContext(values=[[1.0]]))
        for request in (
            EvaluateJob(kind="evaluate", model_id=row.id),
            ForecastJob(kind="forecast", model_id=row.id, params=context),
        ):
            job_id = submit(world, request)
            with pytest.raises(InUse, match=job_id), world.database.write() as session:
                results.delete(session, ModelRow, row.id)
            with world.database.write() as session:
                jobs.pause(session, job_id)
            with pytest.raises(InUse, match=job_id), world.database.write() as session:
                results.delete(session, ModelRow, row.id)
            cancel(world, job_id)
        with world.database.write() as session:
            results.delete(session, ModelRow, row.id)
        with pytest.raises(NotFound, match="no model"):
            submit(world, EvaluateJob(kind="evaluate", model_id=row.id))

    def test_an_analysis_stays_while_a_training_uses_it(self, world, make_analysis) -> None:
        source = world.series().id
        used, other = make_analysis(source), make_analysis(source)
        add(world, used, other)
        job_id = submit(world, TrainJob(kind="train", series_id=source, analysis_id=used.id))
        with world.database.write() as session:
            results.delete(session, AnalysisRow, other.id)
        with pytest.raises(InUse, match=job_id), world.database.write() as session:
            results.delete(session, AnalysisRow, used.id)
        cancel(world, job_id)
        with world.database.write() as session:
            results.delete(session, AnalysisRow, used.id)
        with pytest.raises(NotFound, match="no analysis"):
            submit(world, TrainJob(kind="train", series_id=source, analysis_id=used.id))

    def test_evaluations_and_what_belongs_to_others(self, world) -> None:
        row = EvaluationRow(id=new_id("evaluation"), model_id=new_id("model"), document={})
        add(world, row)
        with pytest.raises(NotFound), world.database.write() as session:
            results.delete(session, EvaluationRow, row.id, tenant="other")
        with world.database.write() as session:
            results.delete(session, EvaluationRow, row.id)
        with pytest.raises(NotFound), world.database.write() as session:
            results.delete(session, EvaluationRow, row.id)

    def test_deletion_meets_submission(self, world) -> None:
        """Both at once, many times: the model is gone and there is no job, or there is a job and the model stays."""
        source = world.series().id
        for _ in range(8):
            row = model(world, source)
            start = threading.Barrier(2)

            def ask(row=row, start=start) -> str:  # type: ignore[no-untyped-def]
                start.wait(10)
                try:
                    return submit(world, EvaluateJob(kind="evaluate", model_id=row.id))
                except NotFound:
                    return ""

            def delete(row=row, start=start) -> bool:  # type: ignore[no-untyped-def]
                start.wait(10)
                try:
                    with world.database.write() as session:
                        results.delete(session, ModelRow, row.id)
                except InUse:
                    return False
                return True

            with ThreadPoolExecutor(2) as pool:
                asked, deleted = pool.submit(ask), pool.submit(delete)
            assert bool(asked.result()) != deleted.result()


class TestExpiry:
    def test_nothing_expires_unless_it_is_asked_for(self, world, make_analysis) -> None:
        job_id = world.submit()
        cancel(world, job_id)
        make_older(world, JobRow, [job_id], 4000)
        add(world, old := make_analysis())
        make_older(world, AnalysisRow, [old.id], 4000)
        assert run_expiry(world) == Expired()
        assert count(world, JobRow) == count(world, AnalysisRow) == count(world, SeriesRow) == 1

    def test_ended_jobs_go_in_batches_the_oldest_first(self, world, monkeypatch) -> None:
        monkeypatch.setattr("store.expiry.BATCH", 2)
        source = world.series().id
        ids = [world.submit(source) for _ in range(5)]
        young, waiting = world.submit(source), world.submit(source)
        for job_id in (*ids, young):
            cancel(world, job_id)
        old = make_older(world, JobRow, ids, 31) + make_older(world, JobRow, [waiting], 31)
        make_older(world, JobRow, [young], 29)
        assert [run_expiry(world, job_retention_days=30).jobs for _ in range(4)] == [2, 2, 1, 0]
        with world.database.read() as session:
            left = {job.id for job in session.scalars(select(JobRow))}
        assert old[-1] in left, "it has not ended"
        assert len(left) == 2

    def test_results_go_but_for_what_a_job_needs(self, world, make_analysis) -> None:
        source = world.series().id
        used, unused = model(world, source), model(world, source)
        trained_by, other = make_analysis(source), make_analysis(source)
        forecast = ForecastRow(id=new_id("forecast"), model_id=used.id, document={})
        evaluation = EvaluationRow(id=new_id("evaluation"), model_id=used.id, document={})
        add(world, trained_by, other, forecast, evaluation)
        with world.database.write() as session:
            session.execute(text("DELETE FROM artifact"))
        old_model, *_ = make_older(world, ModelRow, [used.id, unused.id], 11)
        old_analysis, *_ = make_older(world, AnalysisRow, [trained_by.id, other.id], 11)
        make_older(world, ForecastRow, [forecast.id], 11)
        make_older(world, EvaluationRow, [evaluation.id], 9)
        reading = [
            submit(world, EvaluateJob(kind="evaluate", model_id=old_model)),
            submit(world, TrainJob(kind="train", series_id=source, analysis_id=old_analysis)),
        ]
        assert run_expiry(world, result_retention_days=10).results == 3
        assert [count(world, row) for row in (ModelRow, AnalysisRow, ForecastRow, EvaluationRow)] == [1, 1, 0, 1]
        for job_id in reading:
            cancel(world, job_id)
        assert run_expiry(world, result_retention_days=10).results == 2

    def test_series_go_but_for_what_a_job_needs(self, world) -> None:
        used, unused = world.series(name="used").id, world.series(name="unused").id
        used, unused = make_older(world, SeriesRow, [used, unused], 11)
        job_id = world.submit(used)
        assert run_expiry(world, series_retention_days=10).series == 1
        with world.database.read() as session:
            assert series.get(session, used).id == used
        cancel(world, job_id)
        assert run_expiry(world, series_retention_days=10).series == 1
        age_blobs(world)
        sweep_blobs(world.database, world.blobs)
        assert list(world.blobs.names()) == []

    def test_a_failed_job_keeps_its_checkpoint_for_a_time(self, world) -> None:
        source = world.series().id
        failed, running = world.submit(source), world.submit(source)
        for job_id in (failed, running):
            world.checkpoint(lease := world.claim(job_id), b"half")
            if job_id == failed:
                with world.database.write() as session:
                    leases.fail(session, lease, LOST)
        assert run_expiry(world, checkpoint_retention_days=7).checkpoints == 0
        [failed] = make_older(world, JobRow, [failed], 8)
        assert run_expiry(world, checkpoint_retention_days=0).checkpoints == 0
        assert run_expiry(world, checkpoint_retention_days=7).checkpoints == 1
        assert checkpoints.load(world.database, world.blobs, failed) is None
        assert checkpoints.load(world.database, world.blobs, running) == b"half"

    def test_expired_keys_are_forgotten(self, world) -> None:
        world.submit(idempotency_key="old")
        with world.database.write() as session:
            session.execute(text("UPDATE idempotency SET expires_at = '2000-01-01 00:00:00.000000'"))
        world.submit(idempotency_key="new")
        assert run_expiry(world).keys == 1
        with world.database.read() as session:
            assert session.scalars(select(IdempotencyRow.key)).all() == ["new"]
        assert count(world, JobRow) == 2

    def test_many_at_once(self, world) -> None:
        source = world.series().id
        ids = [world.submit(source) for _ in range(30)]
        for job_id in ids:
            cancel(world, job_id)
        make_older(world, JobRow, ids, 2)
        start = threading.Barrier(4)

        def one(_: int) -> int:
            start.wait(10)
            return run_expiry(world, job_retention_days=1).jobs

        with ThreadPoolExecutor(4) as pool:
            gone = sum(pool.map(one, range(4)))
        assert gone + run_expiry(world, job_retention_days=1).jobs == 30
        assert count(world, JobRow) == 0


def test_ids_of_a_moment_lie_between_those_before_and_after() -> None:
    before = new_id("job")
    time.sleep(0.003)
    moment = datetime.now(UTC)
    time.sleep(0.003)
    assert before < earliest_id("job", moment) < new_id("job")

"""The job machine against a model of it in plain memory: whatever callers, workers, time and the sweep do, in any
order, the database holds what the model says, and who has lost a lease has no effect."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import func, select, text

from domain.errors import IdempotencyMismatch, StateForbids
from domain.ids import new_id
from domain.jobs import TRANSITIONS, ErrorCode, JobError, JobStatus, Progress
from domain.specs import LyapunovJob, LyapunovSpec
from store import jobs, leases
from store.sweep import sweep
from store.tables import AnalysisRow, JobEventRow, JobRow

ERROR = JobError(code=ErrorCode.INTERNAL, detail="A bug.", retryable=True)


@dataclass
class Modelled:
    """What a job should look like."""

    status: str = "queued"
    version: int = 1
    attempt: int = 0
    owner: leases.Lease | None = None
    expired: bool = False
    fraction: float = 0.0
    checkpoint: str | None = None
    history: list[str] = field(default_factory=lambda: ["queued"])

    def move(self, status: str) -> None:
        self.status = status
        self.version += 1
        self.history.append(status)
        if status not in ("running", "canceling"):
            self.owner, self.expired = None, False
        if status in ("succeeded", "canceled"):  # what has failed may be retried
            self.checkpoint = None
        if status == "succeeded":
            self.fraction = 1.0


class Machine(RuleBasedStateMachine):
    ids = Bundle("ids")
    held = Bundle("held")

    def __init__(self, world) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        self.world = world
        self.jobs: dict[str, Modelled] = {}
        self.keys: dict[str, tuple[str, int]] = {}
        self.max_attempts = 2  # few, so that short runs reach the last
        self.settings = world.settings.model_copy(update={"max_attempts": self.max_attempts})

    def teardown(self) -> None:
        with self.world.database.write() as session:
            session.execute(text("DELETE FROM job"))
            session.execute(text("DELETE FROM analysis"))

    @initialize()
    def begin(self) -> None:
        self.series = self.world.series().id

    @rule(target=ids, key=st.sampled_from([None, "a", "b"]), seed=st.sampled_from([0, 1]))
    def submit(self, key, seed):  # type: ignore[no-untyped-def]
        request = LyapunovJob(kind="lyapunov", series_id=self.series, params=LyapunovSpec(seed=seed))
        known = self.keys.get(key)
        try:
            with self.world.database.write() as session:
                submitted = jobs.submit(session, self.settings, request, idempotency_key=key)
        except IdempotencyMismatch:
            assert known is not None
            assert known[1] != seed
            return multiple()
        job_id = submitted.job.id
        if known is not None:
            assert (job_id, seed, submitted.created) == (*known, False)
            return multiple()
        assert submitted.created
        self.jobs[job_id] = Modelled()
        if key is not None:
            self.keys[key] = (job_id, seed)
        return job_id

    @rule(target=held, job_id=ids)
    def claim(self, job_id):  # type: ignore[no-untyped-def]
        model = self.jobs[job_id]
        with self.world.database.write() as session:
            claimed = leases.claim(session, job_id, worker="w", lease_seconds=60)
        assert (claimed is not None) == (model.status == "queued")
        if claimed is None:
            return multiple()
        model.move("running")
        model.attempt += 1
        model.owner = claimed[1]
        assert claimed[1].attempt == model.attempt
        return claimed[1]

    def with_lease(self, lease, write):  # type: ignore[no-untyped-def]
        """The model of the job and the answer; None twice when the lease is lost, as the model must agree."""
        model = self.jobs[lease.job_id]
        try:
            with self.world.database.write() as session:
                answer = write(session, lease)
        except leases.LeaseLost:
            assert model.owner != lease
            return None, None
        assert model.owner == lease
        return model, answer

    @rule(lease=held)
    def heartbeat(self, lease):  # type: ignore[no-untyped-def]
        model, pulse = self.with_lease(lease, leases.heartbeat)
        if model:
            model.expired = False
            assert pulse.cancel == (model.status == "canceling")

    @rule(lease=held, percent=st.integers(0, 100))
    def report(self, lease, percent):  # type: ignore[no-untyped-def]
        progress = Progress(fraction=percent / 100, phase="training")
        model, pulse = self.with_lease(lease, lambda s, held: leases.report(s, held, progress))
        if model:
            model.fraction = progress.fraction
            model.version += 1
            assert pulse.cancel == (model.status == "canceling")

    @rule(lease=held, digit=st.sampled_from("ab"))
    def checkpoint(self, lease, digit):  # type: ignore[no-untyped-def]
        model, before = self.with_lease(lease, lambda s, held: leases.set_checkpoint(s, held, digit * 64))
        if model:
            assert before == model.checkpoint
            model.checkpoint = digit * 64

    @rule(lease=consumes(held))
    def finish(self, lease):  # type: ignore[no-untyped-def]
        row = AnalysisRow(id=new_id("analysis"), channels=[], channels_hash="0" * 64, document={})
        model, job = self.with_lease(lease, lambda s, held: leases.finish(s, held, row))
        if model:
            model.move("succeeded")
            assert job.result_id == row.id

    @rule(lease=consumes(held))
    def fail(self, lease):  # type: ignore[no-untyped-def]
        model, _ = self.with_lease(lease, lambda s, held: leases.fail(s, held, ERROR))
        if model:
            model.move("failed")

    @rule(lease=consumes(held))
    def crash(self, lease):  # type: ignore[no-untyped-def]
        model, _ = self.with_lease(lease, lambda s, held: leases.fail(s, held, ERROR, try_again=True))
        if model and model.status == "canceling":
            model.move("canceled")
        elif model:
            model.move("queued" if model.attempt < self.max_attempts else "failed")

    @rule(lease=held)
    def acknowledge_cancel(self, lease):  # type: ignore[no-untyped-def]
        model = self.jobs[lease.job_id]
        if model.owner == lease and model.status == "running":
            return  # a worker acknowledges only what it was told
        model, _ = self.with_lease(lease, leases.acknowledge_cancel)
        if model:
            model.move("canceled")

    @rule(lease=consumes(held))
    def release(self, lease):  # type: ignore[no-untyped-def]
        model, _ = self.with_lease(lease, leases.release)
        if model and model.status == "canceling":
            model.move("canceled")
        elif model:
            model.move("queued")
            model.attempt -= 1

    @rule(job_id=ids)
    def cancel(self, job_id):  # type: ignore[no-untyped-def]
        model = self.jobs[job_id]
        try:
            with self.world.database.write() as session:
                job, changed = jobs.cancel(session, job_id)
        except StateForbids:
            assert model.status in ("succeeded", "failed")
            return
        assert changed == (model.status in ("queued", "running"))
        if changed:
            model.move("canceled" if model.status == "queued" else "canceling")
        assert job.status == model.status

    @rule(job_id=ids)
    def time_passes(self, job_id):  # type: ignore[no-untyped-def]
        model = self.jobs[job_id]
        if model.owner is not None:
            self.world.expire(job_id)
            model.expired = True

    @rule()
    def sweep(self) -> None:
        with self.world.database.write() as session:
            swept = sweep(session, self.settings)
        expected: dict[str, set[str]] = {"requeued": set(), "failed": set(), "canceled": set()}
        for job_id, model in self.jobs.items():
            if not model.expired:
                continue
            if model.status == "canceling":
                model.move("canceled")
                expected["canceled"].add(job_id)
            elif model.attempt < self.max_attempts:
                model.move("queued")
                expected["requeued"].add(job_id)
            else:
                model.move("failed")
                expected["failed"].add(job_id)
        assert {name: set(getattr(swept, name)) for name in expected} == expected
        assert {(job_id, "cpu") for job_id in swept.requeued} <= set(swept.publish)

    @invariant()
    def the_database_holds_what_the_model_says(self) -> None:
        with self.world.database.read() as session:
            rows = {job.id: job for job in session.scalars(select(JobRow))}
            events = session.scalars(select(JobEventRow).order_by(JobEventRow.seq)).all()
            results = session.scalar(select(func.count()).select_from(AnalysisRow))
        assert rows.keys() == self.jobs.keys()
        assert results == sum(model.status == "succeeded" for model in self.jobs.values())
        for job_id, model in self.jobs.items():
            row_agrees(rows[job_id], model)
            events_agree([event for event in events if event.job_id == job_id], model)


def row_agrees(row: JobRow, model: Modelled) -> None:
    found = (row.status, row.version, row.attempt, row.progress["fraction"], row.checkpoint_sha256)
    assert found == (model.status, model.version, model.attempt, model.fraction, model.checkpoint)
    assert (row.lease_until is not None) == (row.status in ("running", "canceling"))
    assert (row.dispatch_after is not None) == (row.status == "queued")
    assert (row.finished_at is not None) == (not TRANSITIONS[JobStatus(row.status)])
    if model.owner is not None:
        assert row.token == model.owner.token


def events_agree(events: list[JobEventRow], model: Modelled) -> None:
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    history = [event.data["status"] for event in events if event.type == "status"]
    assert history == model.history
    for before, after in pairwise(history):
        assert JobStatus(after) in TRANSITIONS[JobStatus(before)]


def test_the_job_machine_is_the_model(world) -> None:
    run_state_machine_as_test(
        lambda: Machine(world),
        settings=settings(
            max_examples=30,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )

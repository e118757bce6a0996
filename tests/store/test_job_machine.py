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

from domain.errors import DomainError, IdempotencyMismatch, NotFound, QuotaExceeded, StateForbids
from domain.ids import new_id
from domain.jobs import TERMINAL, TRANSITIONS, ErrorCode, JobError, JobStatus, Progress
from domain.specs import JobLimits, LyapunovJob, LyapunovSpec
from store import jobs, leases
from store.expiry import Expired, expire
from store.sweep import sweep
from store.tables import AnalysisRow, JobEventRow, JobRow, TenantRow

LOST = JobError(code=ErrorCode.OUT_OF_MEMORY, detail="More than 2 GiB.", retryable=True)
WRONG = JobError(code=ErrorCode.INVALID_DATA, detail="Not so.", retryable=False)
MAX_ATTEMPTS = 2  # few, so that short runs reach the last
# The first has the limits of the settings, the second those of its row.
TENANTS = ("many", "few")
MAX_RUNNING = {"many": 2, "few": 1}
MAX_QUEUED = {"many": None, "few": 2}
HELD = ("running", "pausing", "canceling")
EVER_AND_EVER = {"job_retention_days": 0, "result_retention_days": 0, "checkpoint_retention_days": 0}


@dataclass
class Modelled:
    """What a job should look like."""

    tenant: str = "many"
    rank: int = 0
    retry_of: str | None = None
    checkpoint: str | None = None
    status: str = "queued"
    version: int = 1
    attempt: int = 0
    owner: leases.Lease | None = None
    last: leases.Lease | None = None  # who had it last, and may ask again how that ended
    expired: bool = False
    fraction: float = 0.0
    history: list[str] = field(default_factory=lambda: ["queued"])
    ended: tuple | None = None  # the row as it was when it was first seen to have ended

    def move(self, status: str, *, retryable: bool = True) -> None:
        self.status = status
        self.version += 1
        self.history.append(status)
        if status not in HELD:
            self.owner, self.expired = None, False
        if status == "queued":
            self.last = None
        if status in ("succeeded", "canceled") or (status == "failed" and not retryable):
            self.checkpoint = None
        if status == "succeeded":
            self.fraction = 1.0

    def lose_worker(self) -> str:
        """A crash or an expired lease; what becomes of the job."""
        if self.status == "canceling":
            fate = "canceled"
        elif self.attempt == MAX_ATTEMPTS:
            fate = "failed"
        else:
            fate = "paused" if self.status == "pausing" else "queued"
        self.move(fate)
        return fate


class Machine(RuleBasedStateMachine):
    ids = Bundle("ids")
    held = Bundle("held")
    finished = Bundle("finished")

    def __init__(self, world) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        self.world = world
        self.jobs: dict[str, Modelled] = {}
        self.keys: dict[tuple[str, str], tuple[str, tuple]] = {}
        self.results = 0
        self.settings = world.settings.model_copy(
            update={"max_attempts": MAX_ATTEMPTS, "max_running_jobs": MAX_RUNNING["many"]}
        )

    def teardown(self) -> None:
        with self.world.database.write() as session:
            for table in ("job", "analysis", "tenant", "series"):
                session.execute(text(f"DELETE FROM {table}"))

    @initialize()
    def begin(self) -> None:
        self.series = {tenant: self.world.series(tenant=tenant).id for tenant in TENANTS}
        with self.world.database.write() as session:
            session.add(TenantRow(name="few", max_running_jobs=MAX_RUNNING["few"], max_queued_jobs=MAX_QUEUED["few"]))

    def number(self, tenant: str, *statuses: str) -> int:
        return sum(job.tenant == tenant and job.status in statuses for job in self.jobs.values())

    def may_not_queue(self, tenant: str) -> bool:
        limit = MAX_QUEUED[tenant]
        return limit is not None and self.number(tenant, "queued", "paused") >= limit

    def asked(self, ask):  # type: ignore[no-untyped-def]
        """What `ask` answers in a transaction of its own, or the mistake that it finds."""
        try:
            with self.world.database.write() as session:
                return ask(session)
        except DomainError as error:
            return error

    # ---- callers

    @rule(
        target=ids,
        tenant=st.sampled_from(TENANTS),
        key=st.sampled_from([None, None, "a", "b"]),
        priority=st.sampled_from([0, 0, 5, -5]),
    )
    def submit(self, tenant, key, priority):  # type: ignore[no-untyped-def]
        request = LyapunovJob(
            kind="lyapunov", series_id=self.series[tenant], params=LyapunovSpec(seed=0), priority=priority
        )
        known = self.keys.get((tenant, key))
        submitted = self.asked(
            lambda session: jobs.submit(session, self.settings, request, tenant=tenant, idempotency_key=key)
        )
        if known is not None and known[1] != request:
            assert isinstance(submitted, IdempotencyMismatch)
            return multiple()
        if known is not None:
            assert (submitted.job.id, submitted.created) == (known[0], False)
            return multiple()
        if self.may_not_queue(tenant):
            assert isinstance(submitted, QuotaExceeded)
            return multiple()
        assert submitted.created
        job_id = submitted.job.id
        self.jobs[job_id] = Modelled(tenant=tenant, rank=-priority)
        if key is not None:
            self.keys[tenant, key] = (job_id, request)
        return job_id

    def control(self, job_id, ask, before):  # type: ignore[no-untyped-def]
        """The model, and what `ask` has changed; None where the state forbids it, or there is no such job, as the model
        must agree. `before`: state -> what is to be said there (None: nothing changes); others forbid it."""
        model = self.jobs.get(job_id)
        answer = self.asked(ask)
        if model is None or model.status not in before:
            assert isinstance(answer, NotFound if model is None else StateForbids)
            return None
        target = before[model.status]
        assert answer[1] == (target is not None)
        if target is not None:
            model.move(target)
        assert answer[0].status == model.status
        return model

    @rule(job_id=ids)
    def cancel(self, job_id):  # type: ignore[no-untyped-def]
        states = dict.fromkeys(("queued", "paused"), "canceled") | dict.fromkeys(("running", "pausing"), "canceling")
        tenant = self.tenant_of(job_id)
        states |= {"canceling": None, "canceled": None}
        self.control(job_id, lambda session: jobs.cancel(session, job_id, tenant=tenant), states)

    @rule(job_id=ids)
    def pause(self, job_id):  # type: ignore[no-untyped-def]
        states = {"queued": "paused", "running": "pausing", "pausing": None, "paused": None}
        tenant = self.tenant_of(job_id)
        self.control(job_id, lambda session: jobs.pause(session, job_id, tenant=tenant), states)

    @rule(job_id=ids)
    def resume(self, job_id):  # type: ignore[no-untyped-def]
        states = {"paused": "queued", "queued": None, "running": None}
        tenant = self.tenant_of(job_id)
        self.control(job_id, lambda session: jobs.resume(session, self.settings, job_id, tenant=tenant), states)

    @rule(target=ids, job_id=ids, priority=st.sampled_from([None, 5]))
    def retry(self, job_id, priority):  # type: ignore[no-untyped-def]
        model, tenant = self.jobs.get(job_id), self.tenant_of(job_id)
        earlier = next((id for id, job in self.jobs.items() if job.retry_of == job_id), None)
        submitted = self.asked(lambda s: jobs.retry(s, self.settings, job_id, priority=priority, tenant=tenant))
        if model is None or model.status not in ("failed", "canceled"):
            assert isinstance(submitted, NotFound if model is None else StateForbids)
            return multiple()
        if earlier is None and self.may_not_queue(tenant):
            assert isinstance(submitted, QuotaExceeded)
            return multiple()
        if earlier is not None:
            assert (submitted.job.id, submitted.created) == (earlier, False)
            return multiple()
        assert submitted.created
        rank = model.rank if priority is None else -priority
        self.jobs[submitted.job.id] = Modelled(tenant, rank, job_id, model.checkpoint)
        model.checkpoint = None
        return submitted.job.id

    @rule(job_id=ids)
    def delete(self, job_id):  # type: ignore[no-untyped-def]
        model = self.jobs.get(job_id)
        tenant = self.tenant_of(job_id)
        answer = self.asked(lambda session: jobs.delete_ended(session, job_id, tenant=tenant))
        if model is None or JobStatus(model.status) not in TERMINAL:
            assert isinstance(answer, NotFound if model is None else StateForbids)
            return
        assert answer is None
        self.forget([job_id])

    def tenant_of(self, job_id: str) -> str:
        return self.jobs[job_id].tenant if job_id in self.jobs else TENANTS[0]

    def forget(self, ids: list[str]) -> None:
        for job_id in ids:
            del self.jobs[job_id]
        self.keys = {key: made for key, made in self.keys.items() if made[0] not in ids}

    # ---- workers

    @rule(target=held, worker=st.sampled_from(["w1", "w2"]))
    def claim_next(self, worker):  # type: ignore[no-untyped-def]
        running = {tenant: self.number(tenant, *HELD) for tenant in TENANTS}
        due = [
            ((job.rank, running[job.tenant]), job_id)
            for job_id, job in self.jobs.items()
            if job.status == "queued" and running[job.tenant] < MAX_RUNNING[job.tenant]
        ]
        with self.world.database.write() as session:
            claimed = leases.claim_next(session, self.settings, worker=worker, queues=["gpu", "cpu"], lease_seconds=60)
        if claimed is None:
            assert not due
            return multiple()
        job, lease = claimed
        model = self.jobs[job.id]
        first = min(order for order, _ in due)
        assert (first, job.id) in due
        # Tenants in the same place draw lots; of a tenant the oldest is first.
        assert job.id == min(id for order, id in due if order == first and self.jobs[id].tenant == model.tenant)
        assert model.owner is None
        model.move("running")
        model.attempt += 1
        model.owner = model.last = lease
        assert (lease.attempt, job.worker) == (model.attempt, worker)
        return lease

    def with_lease(self, lease, write):  # type: ignore[no-untyped-def]
        """The model of the job and the answer; None twice when the lease is lost, as the model must agree."""
        model = self.jobs.get(lease.job_id)
        try:
            with self.world.database.write() as session:
                answer = write(session, lease)
        except leases.LeaseLost:
            assert model is None or model.owner != lease
            return None, None
        assert model is not None
        assert model.owner == lease
        return model, answer

    def told(self, model, pulse):  # type: ignore[no-untyped-def]
        assert (pulse.cancel, pulse.pause) == (model.status == "canceling", model.status == "pausing")

    def answered_again(self, lease, write, *states):  # type: ignore[no-untyped-def]
        """Whether this lease has ended so before, and the same is answered without any change."""
        model = self.jobs.get(lease.job_id)
        if model is None or model.owner is not None or model.last != lease or model.status not in states:
            return False
        with self.world.database.write() as session:
            assert write(session, lease).version == model.version
        return True

    @rule(lease=held)
    def heartbeat(self, lease):  # type: ignore[no-untyped-def]
        model, pulse = self.with_lease(lease, leases.heartbeat)
        if model:
            model.expired = False
            self.told(model, pulse)

    @rule(lease=held, percent=st.integers(0, 100))
    def report(self, lease, percent):  # type: ignore[no-untyped-def]
        progress = Progress(fraction=percent / 100, phase="training")
        model, pulse = self.with_lease(lease, lambda s, held: leases.report(s, held, progress))
        if model:
            model.fraction = progress.fraction
            model.version += 1
            self.told(model, pulse)

    @rule(lease=held, digit=st.sampled_from("ab"))
    def checkpoint(self, lease, digit):  # type: ignore[no-untyped-def]
        model, before = self.with_lease(lease, lambda s, held: leases.set_checkpoint(s, held, digit * 64))
        if model:
            assert before == model.checkpoint
            model.checkpoint = digit * 64

    @rule(target=finished, lease=consumes(held))
    def finish(self, lease):  # type: ignore[no-untyped-def]
        row = AnalysisRow(id=new_id("analysis"), channels=[], channels_hash="0" * 64, document={})
        model, job = self.with_lease(lease, lambda s, held: leases.finish(s, held, row))
        if not model:
            return multiple()
        model.move("succeeded")
        self.results += 1
        assert (job.result_id, row.tenant) == (job.result_id, model.tenant)
        return (lease, row.id)

    @rule(done=finished)
    def finish_again(self, done):  # type: ignore[no-untyped-def]
        """The answer to the commit was lost: the worker repeats it, with the same rows."""
        lease, row_id = done
        row = AnalysisRow(id=row_id, channels=[], channels_hash="0" * 64, document={})
        try:
            with self.world.database.write() as session:
                assert leases.finish(session, lease, row).result_id == row_id
        except leases.LeaseLost:
            assert lease.job_id not in self.jobs, "it has been deleted meanwhile"

    @rule(lease=consumes(held), error=st.sampled_from([LOST, WRONG]))
    def fail(self, lease, error):  # type: ignore[no-untyped-def]
        model, _ = self.with_lease(lease, lambda s, held: leases.fail(s, held, error))
        if model:
            model.move("failed", retryable=error.retryable)

    @rule(lease=consumes(held))
    def crash(self, lease):  # type: ignore[no-untyped-def]
        model, _ = self.with_lease(lease, lambda s, held: leases.fail(s, held, LOST, try_again=True))
        if model:
            model.lose_worker()

    @rule(lease=held, acknowledge=st.sampled_from([leases.acknowledge_cancel, leases.acknowledge_pause]))
    def stop(self, lease, acknowledge):  # type: ignore[no-untyped-def]
        model = self.jobs.get(lease.job_id)
        pause = ("pausing", "paused") if acknowledge is leases.acknowledge_pause else ()
        if model is not None and model.owner == lease and model.status not in ("canceling", *pause):
            return  # a worker acknowledges only what it was told
        if self.answered_again(lease, acknowledge, "canceled", *pause):
            return
        model, _ = self.with_lease(lease, acknowledge)
        if model:
            model.attempt -= model.status == "pausing"
            model.move("canceled" if model.status == "canceling" else "paused")

    @rule(lease=consumes(held))
    def release(self, lease):  # type: ignore[no-untyped-def]
        if self.answered_again(lease, leases.release, "canceled", "paused"):
            return
        model, _ = self.with_lease(lease, leases.release)
        if model and model.status == "canceling":
            model.move("canceled")
        elif model:
            model.attempt -= 1
            model.move("paused" if model.status == "pausing" else "queued")

    # ---- time

    @rule(job_id=ids)
    def time_passes(self, job_id):  # type: ignore[no-untyped-def]
        model = self.jobs.get(job_id)
        if model is not None and model.owner is not None:
            self.world.expire(job_id)
            model.expired = True

    @rule()
    def sweep(self) -> None:
        with self.world.database.write() as session:
            swept = sweep(session, self.settings)
        expected: dict[str, set[str]] = {"queued": set(), "failed": set(), "canceled": set(), "paused": set()}
        for job_id, model in self.jobs.items():
            if model.expired:
                expected[model.lose_worker()].add(job_id)
                model.last = None
        expected["requeued"] = expected.pop("queued")
        assert {name: set(getattr(swept, name)) for name in expected} == expected
        assert {(job_id, "cpu") for job_id in swept.requeued} <= set(swept.publish)

    @rule(what=st.sampled_from(sorted(EVER_AND_EVER)))
    def expire(self, what):  # type: ignore[no-untyped-def]
        """As if a long time had passed for one kind of thing."""
        ended = [job_id for job_id, model in self.jobs.items() if JobStatus(model.status) in TERMINAL]
        kept = [job_id for job_id in ended if self.jobs[job_id].checkpoint is not None]
        chosen = self.settings.model_copy(update=EVER_AND_EVER | {what: -1})
        with self.world.database.write() as session:
            found = expire(session, chosen)
        if what == "job_retention_days":
            assert found == Expired(jobs=len(ended))
            self.forget(ended)
        elif what == "result_retention_days":
            assert found == Expired(results=self.results)
            self.results = 0
        else:
            assert found == Expired(checkpoints=len(kept))
            for job_id in kept:
                self.jobs[job_id].checkpoint = None

    # ---- what always holds

    @invariant()
    def the_database_holds_what_the_model_says(self) -> None:
        with self.world.database.read() as session:
            rows = {job.id: job for job in session.scalars(select(JobRow))}
            events = session.scalars(select(JobEventRow).order_by(JobEventRow.seq)).all()
            results = session.scalar(select(func.count()).select_from(AnalysisRow))
        assert rows.keys() == self.jobs.keys()
        assert results == self.results
        for tenant in TENANTS:
            assert self.number(tenant, *HELD) <= MAX_RUNNING[tenant]
        for job_id, model in self.jobs.items():
            row_agrees(rows[job_id], model)
            events_agree([event for event in events if event.job_id == job_id], model)
        tokens = [row.token for row in rows.values() if row.status in HELD]
        assert len(tokens) == len(set(tokens))


def row_agrees(row: JobRow, model: Modelled) -> None:
    found = (row.tenant, row.status, row.version, row.attempt, row.progress["fraction"], row.checkpoint_sha256)
    wanted = (model.tenant, model.status, model.version, model.attempt, model.fraction, model.checkpoint)
    assert found == wanted
    assert (row.rank, row.retry_of) == (model.rank, model.retry_of)
    assert LyapunovJob.model_validate(row.request).priority == -row.rank
    assert LyapunovJob.model_validate(row.request).limits == JobLimits()
    assert row.attempt <= row.max_attempts
    assert (row.lease_until is not None) == (row.worker is not None) == (row.status in HELD)
    assert (row.dispatch_after is not None) == (row.status == "queued")
    assert (row.finished_at is not None) == (JobStatus(row.status) in TERMINAL)
    assert (row.error is not None) == (row.status == "failed")
    assert (row.result_id is not None) == (row.status == "succeeded")
    if model.owner is not None:
        assert row.token == model.owner.token
    if JobStatus(row.status) in TERMINAL:
        seen = (row.version, row.finished_at, row.updated_at, row.error, row.result_id, row.event_seq)
        model.ended = model.ended or seen
        assert model.ended == seen, "what has ended never changes"


def events_agree(events: list[JobEventRow], model: Modelled) -> None:
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    history = [event.data["status"] for event in events if event.type == "status"]
    assert history == model.history
    assert sum(JobStatus(status) in TERMINAL for status in history) <= 1, "a job ends once"
    for before, after in pairwise(history):
        assert JobStatus(after) in TRANSITIONS[JobStatus(before)]


def test_the_job_machine_is_the_model(world) -> None:
    run_state_machine_as_test(
        lambda: Machine(world),
        settings=settings(
            max_examples=20,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )

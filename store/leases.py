"""Jobs as a worker sees them: claim, heartbeat, progress, checkpoint, end.

A claim gives a lease: the right to write, for `lease_seconds` from the last heartbeat. Every write is fenced by the
lease's token, so a worker that lost its job (frozen, cut off, too slow) can write nothing: it meets `LeaseLost`.
Each function works in the caller's transaction and may be repeated after a lost answer (`Database.transact`).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from domain.jobs import JobError, JobStatus, Progress
from store.clock import now
from store.tables import Base, JobRow, ResultRow
from store.transitions import UNHELD, change, move

# Events of progress are thinned: a second apart at first, a fiftieth of the job's age later. 10^5 s give 400 of them.
PROGRESS_EVENT_SECONDS = 1.0
PROGRESS_EVENT_FRACTION = 0.02
# Changes of phase and messages are told at once, until a job has this many events.
MAX_PROMPT_EVENTS = 500

_HELD = (JobStatus.RUNNING, JobStatus.CANCELING)


class LeaseLost(Exception):
    """The job is no longer this worker's: stop, and write nothing."""


@dataclass(frozen=True)
class Lease:
    """The right of one attempt to write; plain data that may cross into another process."""

    job_id: str
    attempt: int
    token: str
    seconds: float

    def holds(self) -> tuple[ColumnElement[bool], ...]:
        """The condition that fences a write."""
        return (JobRow.token == self.token, JobRow.status.in_(_HELD))


@dataclass(frozen=True)
class Pulse:
    """What a heartbeat or a progress report learns: why the worker should stop, if it should."""

    cancel: bool
    timed_out: bool

    @property
    def stop(self) -> bool:
        return self.cancel or self.timed_out


def claim(session: Session, job_id: str, *, worker: str, lease_seconds: float) -> tuple[JobRow, Lease] | None:
    """Take a queued job; None when there is nothing to take (a duplicate message, a canceled job): drop the message."""
    token = secrets.token_hex(16)
    job = move(
        session,
        job_id,
        JobStatus.RUNNING,
        JobRow.status == JobStatus.QUEUED,
        values={
            "attempt": JobRow.attempt + 1,
            "token": token,
            "worker": worker,
            "lease_until": now(lease_seconds),
            "started_at": func.coalesce(JobRow.started_at, now()),
            "deadline_at": now(JobRow.timeout_s),
            "dispatch_after": None,
            "dispatches": 0,
        },
    )
    if job is None:
        return None
    return job, Lease(job_id, job.attempt, token, lease_seconds)


def heartbeat(session: Session, lease: Lease) -> Pulse:
    """Renew the lease. No visible change, no event."""
    row = session.execute(
        update(JobRow)
        .where(JobRow.id == lease.job_id, *lease.holds())
        .values(lease_until=now(lease.seconds))
        .returning(JobRow.status, JobRow.deadline_at <= now()),
        execution_options={"synchronize_session": False},
    ).one_or_none()
    if row is None:
        raise LeaseLost(lease.job_id)
    return Pulse(cancel=row[0] == JobStatus.CANCELING, timed_out=bool(row[1]))


def report(session: Session, lease: Lease, progress: Progress) -> Pulse:
    """Write the progress document, and an event of it when one is due."""
    found = session.execute(
        select(JobRow, now(), JobRow.deadline_at <= now()).where(JobRow.id == lease.job_id, *lease.holds()),
        execution_options={"populate_existing": True},
    ).one_or_none()
    if found is None:
        raise LeaseLost(lease.job_id)
    job, moment, timed_out = found
    document = progress.model_dump(mode="json")
    values: dict[str, Any] = {"progress": document}
    event = None
    if _event_due(job, moment, progress):
        event = ("progress", document)
        values["progress_event_at"] = moment
    job = _held(change(session, lease.job_id, *lease.holds(), values=values, event=event), lease)
    return Pulse(cancel=job.status == JobStatus.CANCELING, timed_out=bool(timed_out))


def _event_due(job: JobRow, moment: datetime, progress: Progress) -> bool:
    if job.progress_event_at is None or job.started_at is None:
        return True
    if job.progress["phase"] != progress.phase and job.event_seq < MAX_PROMPT_EVENTS:
        return True
    age = (moment - job.started_at).total_seconds()
    pause = max(PROGRESS_EVENT_SECONDS, PROGRESS_EVENT_FRACTION * age)
    return (moment - job.progress_event_at).total_seconds() >= pause


def message(session: Session, lease: Lease, text: str, *, level: str = "info") -> None:
    """Tell the caller something in words, as an event; dropped once the job has said very much."""
    data = {"level": level, "text": text[:2000]}
    few = JobRow.event_seq < MAX_PROMPT_EVENTS
    if change(session, lease.job_id, few, *lease.holds(), event=("message", data)) is None:
        _held(session.get(JobRow, lease.job_id, populate_existing=True), lease)


def set_checkpoint(session: Session, lease: Lease, sha256: str) -> str | None:
    """Name the newest checkpoint's blob; answers the one before it. No visible change."""
    fence = (JobRow.id == lease.job_id, *lease.holds())
    before = session.execute(select(JobRow.checkpoint_sha256).where(*fence).with_for_update()).one_or_none()
    if before is None:
        raise LeaseLost(lease.job_id)
    session.execute(update(JobRow).where(*fence).values(checkpoint_sha256=sha256))
    return before[0]


def finish(session: Session, lease: Lease, result: ResultRow, *more: Base) -> JobRow:
    """Succeed: `result` (what the job answers), whatever else it made, the status and its event, in one transaction."""
    ended = _already(session, lease, JobStatus.SUCCEEDED)
    if ended is not None:
        return ended
    values = {
        "result_type": result.resource,
        "result_id": result.id,
        "progress": Progress(fraction=1.0, phase="done").model_dump(mode="json"),
    }
    job = _held(move(session, lease.job_id, JobStatus.SUCCEEDED, *lease.holds(), values=values), lease)
    for row in (result, *more):  # in this order: an artifact refers to its model
        if isinstance(row, ResultRow):
            row.tenant, row.job_id = job.tenant, job.id
        session.add(row)
        session.flush()
    return job


def fail(session: Session, lease: Lease, error: JobError, *, try_again: bool = False) -> JobRow:
    """End the attempt. `try_again`: queued once more while attempts remain (a crash costs an attempt, not the job)."""
    ended = _already(session, lease, JobStatus.FAILED)
    if ended is not None:
        return ended
    if try_again:
        job = move(session, lease.job_id, JobStatus.CANCELED, JobRow.status == JobStatus.CANCELING, *lease.holds())
        job = job or requeue(
            session, lease.job_id, JobRow.attempt < JobRow.max_attempts, *lease.holds(), because=error.detail
        )
        if job is not None:
            return job
    values = {"error": error.model_dump(mode="json")}
    return _held(move(session, lease.job_id, JobStatus.FAILED, *lease.holds(), values=values), lease)


def acknowledge_cancel(session: Session, lease: Lease) -> JobRow:
    """Canceling -> canceled, once the work has stopped."""
    ended = _already(session, lease, JobStatus.CANCELED)
    return ended or _held(move(session, lease.job_id, JobStatus.CANCELED, *lease.holds()), lease)


def release(session: Session, lease: Lease) -> JobRow:
    """Give the job back because this worker shuts down: queued again, and the attempt does not count."""
    job = requeue(
        session, lease.job_id, *lease.holds(), because="The worker shuts down.", values={"attempt": JobRow.attempt - 1}
    )
    return job or acknowledge_cancel(session, lease)


def requeue(
    session: Session, job_id: str, *where: ColumnElement[bool], because: str, values: dict[str, Any] | None = None
) -> JobRow | None:
    """Running -> queued, to be published at once."""
    back: dict[str, Any] = {**UNHELD, "token": None, "dispatch_after": now(), **(values or {})}
    return move(session, job_id, JobStatus.QUEUED, *where, values=back, because=because)


def _held(job: JobRow | None, lease: Lease) -> JobRow:
    if job is None or job.token != lease.token:
        raise LeaseLost(lease.job_id)
    return job


def _already(session: Session, lease: Lease, status: JobStatus) -> JobRow | None:
    """The job, if this very lease has ended it so before: the answer to the commit was lost, and the caller repeats."""
    return session.scalar(
        select(JobRow).where(JobRow.id == lease.job_id, JobRow.token == lease.token, JobRow.status == status)
    )

"""Jobs as a worker sees them: claim, heartbeat, progress, checkpoint, end.

A claim gives a lease: the right to write, for `lease_seconds` from the last heartbeat. Every write is fenced by the
lease's token, so a worker that lost its job (frozen, cut off, too slow) can write nothing: it meets `LeaseLost`.
Each function works in the caller's transaction and may be repeated after a lost answer (`Database.transact`).
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from domain.jobs import JobError, JobStatus, Progress
from store import waiting
from store.clock import now
from store.settings import StoreSettings
from store.tables import Base, JobRow, ResultRow
from store.transitions import UNHELD, change, move

# Events of progress are thinned: a second apart at first, a fiftieth of the job's age later. 10^5 s give 400 of them.
PROGRESS_EVENT_SECONDS = 1.0
PROGRESS_EVENT_FRACTION = 0.02
# Changes of phase and messages are told at once, until a job has this many events.
MAX_PROMPT_EVENTS = 500


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
        return (JobRow.token == self.token, JobRow.status.in_(waiting.HELD))


@dataclass(frozen=True)
class Pulse:
    """What a heartbeat or a progress report learns: why the worker should stop, if it should."""

    cancel: bool
    pause: bool
    timed_out: bool

    @property
    def stop(self) -> bool:
        return self.cancel or self.pause or self.timed_out


def claim_next(
    session: Session, settings: StoreSettings, *, worker: str, queues: Sequence[str], lease_seconds: float
) -> tuple[JobRow, Lease] | None:
    """Take the job of `queues` that is due first: the highest priority; among equals a job of the tenant with the fewest
    running jobs, by lot where these are equal; of a tenant the oldest. Tenants that run as many jobs as they may are
    passed over. None: nothing is to be done."""
    for job_id in waiting.due(session, settings, queues):
        claimed = claim(session, job_id, worker=worker, lease_seconds=lease_seconds)
        if claimed is not None:
            return claimed
    return None


def claim(session: Session, job_id: str, *, worker: str, lease_seconds: float) -> tuple[JobRow, Lease] | None:
    """Take this job; None when it is not queued, such as when another worker was faster."""
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
    return _pulse(*row)


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
    return _pulse(job.status, timed_out)


def _pulse(status: str, timed_out: bool) -> Pulse:
    return Pulse(cancel=status == JobStatus.CANCELING, pause=status == JobStatus.PAUSING, timed_out=bool(timed_out))


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
    values = {
        "result_type": result.resource,
        "result_id": result.id,
        "progress": Progress(fraction=1.0, phase="done").model_dump(mode="json"),
    }
    job = move(session, lease.job_id, JobStatus.SUCCEEDED, *lease.holds(), values=values)
    if job is None:
        return _held(_already(session, lease, JobStatus.SUCCEEDED), lease)
    for row in (result, *more):  # in this order: an artifact refers to its model
        if isinstance(row, ResultRow):
            row.tenant, row.job_id = job.tenant, job.id
        session.add(row)
        session.flush()
    return job


def fail(session: Session, lease: Lease, error: JobError, *, try_again: bool = False) -> JobRow:
    """End the attempt. `try_again`: queued once more while attempts remain (a crash costs an attempt, not the job);
    paused or canceled where that was asked."""
    ended = _already(session, lease, JobStatus.FAILED)
    if ended is not None:
        return ended
    if try_again:
        attempts_left = JobRow.attempt < JobRow.max_attempts
        job = move(session, lease.job_id, JobStatus.CANCELED, JobRow.status == JobStatus.CANCELING, *lease.holds())
        job = job or pause(session, lease.job_id, attempts_left, *lease.holds(), because=error.detail)
        job = job or requeue(session, lease.job_id, attempts_left, *lease.holds(), because=error.detail)
        if job is not None:
            return job
    values = {"error": error.model_dump(mode="json")}
    return _held(move(session, lease.job_id, JobStatus.FAILED, *lease.holds(), values=values), lease)


def acknowledge_cancel(session: Session, lease: Lease) -> JobRow:
    """Canceling -> canceled, once the work has stopped."""
    ended = _already(session, lease, JobStatus.CANCELED)
    return ended or _held(move(session, lease.job_id, JobStatus.CANCELED, *lease.holds()), lease)


def acknowledge_pause(session: Session, lease: Lease) -> JobRow:
    """Pausing -> paused, once the work has stopped: the attempt does not count, its checkpoint stays. Canceled where
    that has been asked meanwhile."""
    paused = _already(session, lease, JobStatus.PAUSED)
    paused = paused or pause(session, lease.job_id, *lease.holds(), values={"attempt": JobRow.attempt - 1})
    return paused or acknowledge_cancel(session, lease)


def release(session: Session, lease: Lease) -> JobRow:
    """Give the job back because this worker shuts down: queued again, and the attempt does not count; paused or canceled
    where that was asked."""
    job = requeue(
        session, lease.job_id, *lease.holds(), because="The worker shuts down.", values={"attempt": JobRow.attempt - 1}
    )
    return job or acknowledge_pause(session, lease)


def pause(
    session: Session,
    job_id: str,
    *where: ColumnElement[bool],
    because: str | None = None,
    values: dict[str, Any] | None = None,
) -> JobRow | None:
    """Pausing -> paused: nobody holds it any more. The token stays, so that whoever paused the job may ask again whether it did."""
    asked = JobRow.status == JobStatus.PAUSING
    return move(session, job_id, JobStatus.PAUSED, asked, *where, values={**UNHELD, **(values or {})}, because=because)


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

"""What every worker does at its start and every few seconds, so that no job is lost and no job runs for ever:
expired leases are taken back, jobs whose message may have been lost are published again, orphaned blobs are deleted.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field

from sqlalchemy import select, union_all, update
from sqlalchemy.orm import Session

from domain.jobs import RETRYABLE, ErrorCode, JobError, JobQueue, JobStatus
from store.blobs import LEFTOVER_SECONDS, Blobs
from store.clock import now
from store.database import Database
from store.leases import pause, requeue
from store.settings import StoreSettings
from store.tables import ArtifactRow, ForecastRow, JobRow, SeriesRow
from store.transitions import move

BATCH = 100
BLOB_BATCH = 100
# A worker ends a job itself at its deadline; one that is still silent so much later is stuck, though its heart beats.
OVERDUE_SECONDS = 60.0
# A job that waits long behind others is published after 1, 2, 4, 8, 16, 16, ... times `redispatch_seconds`.
MAX_DOUBLINGS = 4
# Messages of one round for each queue. Whoever hears one takes whatever is due first, and goes on until nothing is left.
WAKE_UPS = 10


@dataclass
class Swept:
    """Job ids by what was done; `publish`, ids with the queues they wait in, is for the caller, after the commit."""

    requeued: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    canceled: list[str] = field(default_factory=list)
    paused: list[str] = field(default_factory=list)
    publish: list[tuple[str, str]] = field(default_factory=list)


def sweep(session: Session, settings: StoreSettings) -> Swept:
    """One round, in the caller's transaction; any number of workers may sweep at the same time."""
    swept = Swept()
    _take_back(session, swept)
    _end_overdue(session, swept)
    _dispatch(session, settings, swept)
    return swept


def _take_back(session: Session, swept: Swept) -> None:
    """Expired leases: canceling -> canceled, pausing -> paused, running -> queued; or failed after the last attempt."""
    expired = JobRow.lease_until <= now()
    query = select(JobRow).where(expired).order_by(JobRow.lease_until).limit(BATCH).with_for_update(skip_locked=True)
    for job in session.scalars(query).all():
        if job.status == JobStatus.CANCELING:
            if move(session, job.id, JobStatus.CANCELED, expired, values={"token": None}):
                swept.canceled.append(job.id)
        elif job.status == JobStatus.PAUSING and job.attempt < job.max_attempts:
            if pause(session, job.id, expired, because="The worker was lost.", values={"token": None}):
                swept.paused.append(job.id)
        elif job.attempt < job.max_attempts:
            if requeue(session, job.id, expired, because="The worker was lost."):
                swept.requeued.append(job.id)
        elif _fail(session, job):
            swept.failed.append(job.id)


def _fail(session: Session, job: JobRow) -> JobRow | None:
    error = JobError(
        code=ErrorCode.WORKER_LOST,
        detail=f"The worker was lost in each of {job.attempt} attempts: "
        "the job may need more memory than there is. Try a smaller model or a shorter series.",
        retryable=ErrorCode.WORKER_LOST in RETRYABLE,
    )
    values = {"token": None, "error": error.model_dump(mode="json")}
    return move(session, job.id, JobStatus.FAILED, JobRow.lease_until <= now(), values=values)


def _end_overdue(session: Session, swept: Swept) -> None:
    """Jobs whose worker neither ended them at their deadline nor lost its lease: failed, or canceled where that was asked.
    The stuck worker can write nothing afterwards."""
    overdue = JobRow.deadline_at <= now(-OVERDUE_SECONDS)
    held = JobRow.lease_until.is_not(None)  # so says an index, and of deadlines there is none
    query = (
        select(JobRow).where(held, overdue).order_by(JobRow.deadline_at).limit(BATCH).with_for_update(skip_locked=True)
    )
    for job in session.scalars(query).all():
        if job.status == JobStatus.CANCELING:
            if move(session, job.id, JobStatus.CANCELED, overdue, values={"token": None}):
                swept.canceled.append(job.id)
            continue
        error = JobError(
            code=ErrorCode.TIMEOUT,
            detail=f"Not done after {job.timeout_s} s, and the worker did not stop by itself. "
            "Raise limits.timeout_s, or ask for less.",
            retryable=ErrorCode.TIMEOUT in RETRYABLE,
        )
        if move(
            session, job.id, JobStatus.FAILED, overdue, values={"token": None, "error": error.model_dump(mode="json")}
        ):
            swept.failed.append(job.id)


def _dispatch(session: Session, settings: StoreSettings, swept: Swept) -> None:
    """Of each queue some jobs that nobody has claimed since they were last published, those first that wait longest."""
    for queue in JobQueue:
        due = (JobRow.queue == queue, JobRow.status == JobStatus.QUEUED, JobRow.dispatch_after <= now())
        query = select(JobRow.id, JobRow.dispatches).where(*due).order_by(JobRow.dispatch_after).limit(WAKE_UPS)
        for job_id, times in session.execute(query.with_for_update(skip_locked=True)).all():
            pause = settings.redispatch_seconds * 2 ** min(times, MAX_DOUBLINGS)
            session.execute(
                update(JobRow)
                .where(JobRow.id == job_id, *due)
                .values(dispatch_after=now(pause), dispatches=JobRow.dispatches + 1)
            )
            swept.publish.append((job_id, queue))


# Every column that names a blob.
_NAMES = (SeriesRow.blob_sha256, ArtifactRow.sha256, ForecastRow.blob_sha256, JobRow.checkpoint_sha256)


def sweep_blobs(database: Database, blobs: Blobs) -> int:
    """Delete blobs that no row names and that are older than `orphan_hours`; answers how many."""
    deleted = 0
    names = blobs.names()
    while batch := list(itertools.islice(names, BLOB_BATCH)):
        before = time.time() - database.settings.orphan_hours * 3600
        # Always as many, so that it is always the same statement: drivers and servers remember each that they have seen.
        asked = [*batch, *batch[-1:] * (BLOB_BATCH - len(batch))]
        with database.read() as session:
            # One statement: a checkpoint that is handed from one job to another is seen with one of them.
            named = set(session.scalars(union_all(*(select(column).where(column.in_(asked)) for column in _NAMES))))
        deleted += sum(blobs.delete_before(name, before) for name in batch if name not in named)
    blobs.tidy(time.time() - LEFTOVER_SECONDS)
    return deleted

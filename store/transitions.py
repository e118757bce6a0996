"""The one way in which a job's status changes: a conditional UPDATE along `domain.jobs.TRANSITIONS` and its event row,
in the caller's transaction."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, update
from sqlalchemy.orm import Session

from domain.jobs import TERMINAL, JobStatus, sources_of
from store.clock import now
from store.tables import JobEventRow, JobRow
from store.webhooks import announce

# What a job that no worker holds looks like.
UNHELD: dict[str, Any] = {"worker": None, "lease_until": None, "deadline_at": None}


def move(
    session: Session,
    job_id: str,
    target: JobStatus,
    *where: ColumnElement[bool],
    values: dict[str, Any] | None = None,
    because: str | None = None,
) -> JobRow | None:
    """The job, moved to `target`; None, and nothing written, when it was not in a state (and `where`) that allows it."""
    changes = dict(values or {})
    if target in TERMINAL:
        changes |= {**UNHELD, "finished_at": now(), "dispatch_after": None}
        if not (changes.get("error") or {}).get("retryable"):
            # The checkpoint's file becomes an orphan, for the sweep to delete; a retry may need it, an end does not.
            changes["checkpoint_sha256"] = None
    data: dict[str, Any] = {"status": target}
    if because is not None:
        data["detail"] = because
    if "error" in changes:
        data["error"] = changes["error"]
    allowed = JobRow.status.in_(sources_of(target))
    job = change(session, job_id, allowed, *where, values={**changes, "status": target}, event=("status", data))
    if job is not None and target in TERMINAL:
        announce(session, job)
    return job


def change(
    session: Session,
    job_id: str,
    *where: ColumnElement[bool],
    values: dict[str, Any] | None = None,
    event: tuple[str, dict[str, Any]] | None = None,
) -> JobRow | None:
    """The job with `values` written, and an `event` (type, data) appended; None, and nothing written, unless `where`
    holds. The version counts the change, and the event takes the next number of its job."""
    job = session.scalar(
        update(JobRow)
        .where(JobRow.id == job_id, *where)
        .values(
            version=JobRow.version + 1,
            updated_at=now(),
            event_seq=JobRow.event_seq + int(event is not None),
            **(values or {}),
        )
        .returning(JobRow),
        execution_options={"populate_existing": True, "synchronize_session": False},
    )
    if job is not None and event is not None:
        session.add(JobEventRow(job_id=job.id, seq=job.event_seq, type=event[0], data=event[1]))
        session.flush()
    return job

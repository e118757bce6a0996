"""Jobs and their events as callers see them."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from domain.base import Document, Instant
from domain.documents import href, result_ref
from domain.jobs import TERMINAL, JobError, JobKind, JobStatus, Progress, ResultRef
from store.tables import JobEventRow, JobRow


class JobLinks(Document):
    self: str
    events: str
    cancel: str | None = Field(default=None, description="null once the job has ended.")
    result: str


class JobOut(Document):
    """A job: the receipt of a request for work, and where it stands."""

    id: str
    kind: JobKind
    status: JobStatus
    version: int = Field(description="Grows with every visible change; also the ETag.")
    attempt: int = Field(description="How often the job was started.")
    max_attempts: int
    series_id: str | None
    model_id: str | None
    request: dict[str, Any] = Field(description="The request with its defaults filled in.")
    metadata: dict[str, Any] = Field(description="As given.")
    progress: Progress
    created_at: Instant
    started_at: Instant | None
    finished_at: Instant | None
    error: JobError | None = Field(description="Why the job failed.")
    result: ResultRef | None = Field(description="Where the result is, once the job has succeeded.")
    links: JobLinks

    @classmethod
    def of(cls, row: JobRow) -> JobOut:
        path = href("job", row.id)
        ended = JobStatus(row.status) in TERMINAL
        return cls(
            id=row.id,
            kind=JobKind(row.kind),
            status=JobStatus(row.status),
            version=row.version,
            attempt=row.attempt,
            max_attempts=row.max_attempts,
            series_id=row.series_id,
            model_id=row.model_id,
            request={k: v for k, v in row.request.items() if k != "metadata"},
            metadata=row.request.get("metadata", {}),
            progress=Progress.model_validate(row.progress),
            created_at=row.created_at,
            started_at=row.started_at,
            finished_at=row.finished_at,
            error=JobError.model_validate(row.error) if row.error else None,
            result=result_ref(row.result_type, row.result_id) if row.result_type and row.result_id else None,
            links=JobLinks(
                self=path,
                events=f"{path}/events",
                cancel=None if ended else f"{path}/cancel",
                result=f"{path}/result",
            ),
        )


class JobEvent(Document):
    """Something that happened to a job."""

    seq: int = Field(description="Counts from 1 within the job; the id of the server-sent event.")
    type: str = Field(description="status or progress, among others to come.")
    created_at: Instant
    data: dict[str, Any]

    @classmethod
    def of(cls, row: JobEventRow) -> JobEvent:
        return cls(seq=row.seq, type=row.type, created_at=row.created_at, data=row.data)


class JobEventPage(Document):
    data: list[JobEvent]
    next_cursor: str | None = Field(
        description="Give it as `cursor`; null when there is no further event yet: go on from the last `seq` you have."
    )


class ValidatedJob(Document):
    """Answer to `?validate_only=true`: the request is good; nothing was stored."""

    valid: bool = True
    request: dict[str, Any] = Field(description="The request with its defaults filled in.")

"""Jobs and their events as callers see them."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from domain.base import Document, Instant, Spec
from domain.documents import href, result_ref
from domain.jobs import TERMINAL, JobError, JobKind, JobQueue, JobStatus, Progress, ResultRef
from domain.specs import MAX_MEMORY_MB, MAX_PRIORITY, MAX_TIMEOUT_S, MIN_MEMORY_MB, JobLimits
from store.jobs import complete_request
from store.tables import JobEventRow, JobRow


class JobLinks(Document):
    self: str
    events: str
    cancel: str | None = Field(default=None, description="null once the job has ended.")
    pause: str | None = Field(default=None, description="null unless the job is queued or running.")
    resume: str | None = Field(default=None, description="null unless the job is paused.")
    retry: str | None = Field(default=None, description="null unless the job has failed or was canceled.")
    result: str

    @classmethod
    def of(cls, row: JobRow) -> JobLinks:
        """What the job's state allows."""
        path, status = href("job", row.id), JobStatus(row.status)

        def link(name: str, *states: JobStatus) -> str | None:
            return f"{path}/{name}" if status in states else None

        return cls(
            self=path,
            events=f"{path}/events",
            cancel=None if status in TERMINAL else f"{path}/cancel",
            pause=link("pause", JobStatus.QUEUED, JobStatus.RUNNING),
            resume=link("resume", JobStatus.PAUSED),
            retry=link("retry", JobStatus.FAILED, JobStatus.CANCELED),
            result=f"{path}/result",
        )


class JobOut(Document):
    """A job: the receipt of a request for work, and where it stands."""

    id: str
    kind: JobKind
    status: JobStatus
    version: int = Field(description="Grows with every visible change; also the ETag.")
    attempt: int = Field(description="How often the job was started.")
    max_attempts: int
    queue: JobQueue = Field(description="Which workers may run it: any, or those with a GPU.")
    priority: int = Field(description="Of two jobs that wait, the one with the higher priority starts first.")
    limits: JobLimits
    retry_of: str | None = Field(description="The job that this one is another try of.")
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
        limits = JobLimits(timeout_s=row.timeout_s, memory_mb=row.memory_mb)
        asked = {"limits": limits.model_dump(mode="json"), "priority": -row.rank}
        return cls(
            id=row.id,
            kind=JobKind(row.kind),
            status=JobStatus(row.status),
            version=row.version,
            attempt=row.attempt,
            max_attempts=row.max_attempts,
            queue=JobQueue(row.queue),
            priority=-row.rank,
            limits=limits,
            retry_of=row.retry_of,
            series_id=row.series_id,
            model_id=row.model_id,
            request={k: v for k, v in complete_request(row.request).items() if k != "metadata"} | asked,
            metadata=row.request.get("metadata", {}),
            progress=Progress.model_validate(row.progress),
            created_at=row.created_at,
            started_at=row.started_at,
            finished_at=row.finished_at,
            error=JobError.model_validate(row.error) if row.error else None,
            result=result_ref(row.result_type, row.result_id) if row.result_type and row.result_id else None,
            links=JobLinks.of(row),
        )


class RetryLimits(Spec):
    """Limits to change; what is not given, or null, stays as it was."""

    timeout_s: int | None = Field(default=None, ge=1, le=MAX_TIMEOUT_S, description="Seconds of an attempt.")
    memory_mb: int | None = Field(
        default=None, ge=MIN_MEMORY_MB, le=MAX_MEMORY_MB, description="Mebibytes of the job's process."
    )


class RetryRequest(Spec):
    """What to change in the new try; an empty body changes nothing."""

    limits: RetryLimits = RetryLimits()
    priority: int | None = Field(default=None, ge=-MAX_PRIORITY, le=MAX_PRIORITY, description="Default: as it was.")


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

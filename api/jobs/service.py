"""What the endpoints of jobs do."""

from __future__ import annotations

from typing import Any

from api.dependencies import Services
from api.jobs import checks
from api.jobs.schemas import RetryRequest, ValidatedJob
from api.results import get_document
from domain.errors import BadRequest, Conflict, ErrorItem, NotFound, NotReady, StateForbids
from domain.jobs import TERMINAL, JobStatus
from domain.keys import Caller
from domain.specs import JobRequest
from store import audit, jobs
from store.tables import JobRow

_MAX_EVENT_SEQ = 2**31 - 1


class NoResult(Conflict):
    code, title = "no_result", "The job has no result"


def validate(services: Services, tenant: str, request: JobRequest) -> ValidatedJob:
    checks.check(services, tenant, request)
    return ValidatedJob(request=request.model_dump(mode="json"))


def submit(services: Services, caller: Caller, request: JobRequest, idempotency_key: str | None) -> JobRow:
    """The stored job, announced to the workers after the commit; for a repeated request the job that it made before,
    even if what it names is gone by now."""
    tenant = caller.principal.tenant
    if idempotency_key is not None:
        checks.check_metadata(request.metadata)  # what cannot be stored cannot be compared either
        with services.database.read() as session:
            earlier = jobs.replayed(session, request, idempotency_key, tenant=tenant)
        if earlier is not None:
            return earlier
    checks.check(services, tenant, request)
    with services.database.write() as session:
        submitted = jobs.submit(session, services.settings, request, idempotency_key=idempotency_key, **_origin(caller))
        if submitted.created:
            audit.record(session, caller, "job.submitted", target=submitted.job.id, detail={"kind": request.kind})
    if submitted.created:
        services.publish(submitted.job)
    return submitted.job


def _origin(caller: Caller) -> dict[str, Any]:
    """Where a job comes from; kept with it, for the log and the trace of the worker that runs it."""
    return {
        "tenant": caller.principal.tenant,
        "key_id": caller.principal.key_id,
        "request_id": caller.request_id,
        "traceparent": caller.traceparent,
    }


def resume(services: Services, caller: Caller, job_id: str) -> tuple[JobRow, bool]:
    """The job and whether it was paused; if so, announced like a new one."""
    with services.database.write() as session:
        row, changed = jobs.resume(session, services.settings, job_id, tenant=caller.principal.tenant)
        if changed:
            audit.record(session, caller, "job.resumed", target=job_id)
    if changed:
        services.publish(row)
    return row, changed


def retry(services: Services, caller: Caller, job_id: str, request: RetryRequest) -> tuple[JobRow, bool]:
    """The new job and whether this call made it."""
    limits = request.limits.model_dump(exclude_none=True)
    with services.database.write() as session:
        jobs.get(session, job_id, tenant=caller.principal.tenant)
        try:
            submitted = jobs.retry(
                session, services.settings, job_id, limits=limits, priority=request.priority, **_origin(caller)
            )
        except NotFound as error:
            raise StateForbids(f"{error.detail} The job cannot run again without it.") from None
        if submitted.created:
            audit.record(session, caller, "job.submitted", target=submitted.job.id, detail={"retry_of": job_id})
    if submitted.created:
        services.publish(submitted.job)
    return submitted.job, submitted.created


def event_position(text: str | None) -> int:
    """The seq that a cursor or Last-Event-ID names; 0, the beginning, without one."""
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and int(text) <= _MAX_EVENT_SEQ):
        detail = "An event's position is its seq, a whole number: give the last one you have seen."
        raise BadRequest(detail, [ErrorItem(pointer="/query/cursor", detail=detail)])
    return int(text)


def result(services: Services, tenant: str, job_id: str) -> dict[str, Any]:
    """The document that a succeeded job made."""
    with services.database.read() as session:
        job = jobs.get(session, job_id, tenant=tenant)
        if JobStatus(job.status) not in TERMINAL:
            raise NotReady(f"The job is {job.status}; its result is not there yet.", retry_after=1)
        if job.status == JobStatus.CANCELED:
            raise NoResult("The job was canceled, so it has no result.")
        if job.status == JobStatus.FAILED:
            error = job.error or {}
            raise NoResult(f"The job failed ({error.get('code')}): {error.get('detail')}")
        return get_document(session, services.blobs, str(job.result_type), str(job.result_id), tenant)

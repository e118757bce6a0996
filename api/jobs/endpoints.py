"""Endpoints of jobs."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Query, Request, Response
from fastapi.sse import EventSourceResponse
from starlette.concurrency import run_in_threadpool

from api.dependencies import CallerDep, DatabaseDep, JobId, ServicesDep, TenantDep
from api.errors import problem_responses
from api.headers import MAX_WAIT_SECONDS, IfNoneMatch, PreferDep, matches
from api.jobs import examples, follow, service
from api.jobs.schemas import JobEvent, JobEventPage, JobOut, RetryRequest, ValidatedJob
from api.pagination import Cursor, Limit, PageOut, SeriesFilter
from api.results import json_response
from api.validation import StrictRoute
from domain.documents import AnalysisOut, EvaluationOut, ForecastOut, ModelOut, href
from domain.errors import ErrorItem, InvalidParameters
from domain.jobs import JobKind, JobStatus
from domain.specs import JobRequest
from store import audit, jobs
from store.tables import JobRow

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=StrictRoute)

RETRY_AFTER_SECONDS = "1"
ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {
        "model": JobOut,
        "description": "Accepted; follow `Location`.",
        "headers": {
            "Location": {"schema": {"type": "string"}, "description": "Path of the job."},
            "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds after which to look."},
            "Preference-Applied": {
                "schema": {"type": "string"},
                "description": "The part of Prefer that was followed.",
            },
        },
    }
}
_ETAG = {"ETag": {"schema": {"type": "string"}, "description": "The job's version."}}


def job_response(row: JobRow, status: int, headers: dict[str, str] | None = None) -> Response:
    """A job with its ETag; while it has not ended, with the seconds after which to look again."""
    headers = {"ETag": f'"{row.version}"', "Cache-Control": "no-cache"} | (headers or {})
    if not follow.ended(row):
        headers["Retry-After"] = RETRY_AFTER_SECONDS
    return Response(JobOut.of(row).model_dump_json(), status, headers, "application/json")


@router.post(
    "",
    operation_id="create_job",
    summary="Ask for work",
    status_code=202,
    response_model=JobOut,
    responses={
        200: {
            "model": JobOut | ValidatedJob,
            "description": "The job has ended within `Prefer: wait`, or the request was only validated.",
        },
        **ACCEPTED,
        **problem_responses(400, 404, 413, 415, 422, 429),
    },
)
async def create_job(
    request: Annotated[JobRequest, Body(openapi_examples=examples.REQUESTS)],
    http: Request,
    services: ServicesDep,
    caller: CallerDep,
    prefer: PreferDep,
    validate_only: Annotated[
        bool, Query(description="Check the request wholly, but store and run nothing: 200.")
    ] = False,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=255,
            description="Any text of yours, new for every new request: sent again with the same request, no second job is made.",
            examples=["8e03978e-40d5-43dd-bc93-6894a57f9324"],
        ),
    ] = None,
) -> Response:
    """One request, five kinds: `lyapunov` (analysis), `train` (model), `evaluate` (a model against a series), `forecast`,
    and `reconstruct`, which analyses, tunes the forcing, trains and evaluates in one job.

    Answers 202 with the job's `Location` as soon as the job is stored; what was accepted is never lost. `Prefer: wait=N`
    waits up to 60 s for its end and then answers 200. Series, model, channels and lengths are checked before.
    """
    for name in http.query_params:
        if name != "validate_only":  # misspelt, it would start the job that was only to be checked
            detail = "is no known parameter; there is validate_only"
            raise InvalidParameters(f"/query/{name[:60]}: {detail}.", [ErrorItem(pointer="/query", detail=detail)])
    tenant = caller.principal.tenant
    if validate_only:
        checked = await run_in_threadpool(service.validate, services, tenant, request)
        return Response(checked.model_dump_json(), 200, media_type="application/json")
    row = await run_in_threadpool(service.submit, services, caller, request, idempotency_key)
    headers = {"Location": href("job", row.id)}
    if prefer.wait is not None:
        row = await follow.wait(services.database, tenant, row.id, prefer.wait)
        headers["Preference-Applied"] = f"wait={prefer.wait}"
    done = prefer.wait is not None and follow.ended(row)
    return job_response(row, 200 if done else 202, headers)


@router.get(
    "",
    operation_id="list_jobs",
    summary="List jobs, newest first",
    responses=problem_responses(400, 422),
)
def list_jobs(
    database: DatabaseDep,
    tenant: TenantDep,
    status: Annotated[JobStatus | None, Query(description="Only jobs in this state.")] = None,
    kind: Annotated[JobKind | None, Query(description="Only jobs of this kind.")] = None,
    series_id: SeriesFilter = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> PageOut[JobOut]:
    """Pages by keyset: jobs that arrive meanwhile shift nothing."""
    with database.read() as session:
        page = jobs.list_page(
            session, tenant=tenant, status=status, kind=kind, series_id=series_id, cursor=cursor, limit=limit
        )
    return PageOut(data=[JobOut.of(row) for row in page.items], next_cursor=page.next_cursor)


@router.get(
    "/{id}",
    operation_id="get_job",
    summary="Get a job",
    response_model=JobOut,
    responses={
        200: {"headers": _ETAG},
        304: {"description": "The job still has the version you know.", "headers": _ETAG},
        **problem_responses(404, 422),
    },
)
async def get_job(
    id: JobId,
    database: DatabaseDep,
    tenant: TenantDep,
    wait: Annotated[
        int,
        Query(
            ge=0,
            le=MAX_WAIT_SECONDS,
            description="Seconds to wait for the job's end, or for another version than `If-None-Match` names.",
        ),
    ] = 0,
    if_none_match: IfNoneMatch = "",
) -> Response:
    """The ETag is the job's version: with `If-None-Match` an unchanged job is a 304 without a body."""
    row = await run_in_threadpool(follow.read_job, database, tenant, id)
    if wait and not follow.ended(row):
        known = row.version if matches(if_none_match, f'"{row.version}"') else None
        if not if_none_match or known is not None:
            row = await follow.wait(database, tenant, id, wait, beyond_version=known)
    etag = f'"{row.version}"'
    if matches(if_none_match, etag):
        return Response(status_code=304, headers={"ETag": etag, "Cache-Control": "no-cache"})
    return job_response(row, 200)


@router.delete(
    "/{id}",
    operation_id="delete_job",
    summary="Delete a job that has ended",
    status_code=204,
    responses=problem_responses(404, 409),
)
def delete_job(id: JobId, database: DatabaseDep, caller: CallerDep) -> Response:
    """The receipt with its events and its Idempotency-Key; what the job found stays. 409 for a job that has not ended: cancel it
    first.
    """
    with database.write() as session:
        jobs.delete_ended(session, id, tenant=caller.principal.tenant)
        audit.record(session, caller, "job.deleted", target=id)
    return Response(status_code=204)


@router.post(
    "/{id}/cancel",
    operation_id="cancel_job",
    summary="Cancel a job",
    status_code=202,
    response_model=JobOut,
    responses={
        200: {"model": JobOut, "description": "It was asked to cancel before."},
        **ACCEPTED,
        **problem_responses(404, 409),
    },
)
def cancel_job(id: JobId, database: DatabaseDep, caller: CallerDep) -> Response:
    """A queued or paused job is canceled at once, a running one stops within about a second. 409 for a job that has
    succeeded or failed."""
    with database.write() as session:
        row, changed = jobs.cancel(session, id, tenant=caller.principal.tenant)
        if changed:
            audit.record(session, caller, "job.canceled", target=id)
    return job_response(row, 202 if changed else 200, {"Location": href("job", id)})


@router.post(
    "/{id}/pause",
    operation_id="pause_job",
    summary="Pause a job",
    status_code=202,
    response_model=JobOut,
    responses={
        200: {"model": JobOut, "description": "It was asked to pause before."},
        **ACCEPTED,
        **problem_responses(404, 409),
    },
)
def pause_job(id: JobId, database: DatabaseDep, caller: CallerDep) -> Response:
    """A queued job is paused at once; a running one keeps a checkpoint, gives its worker free, and is `pausing` until then.
    409 for a job that is canceling or has ended.
    """
    with database.write() as session:
        row, changed = jobs.pause(session, id, tenant=caller.principal.tenant)
        if changed:
            audit.record(session, caller, "job.paused", target=id)
    return job_response(row, 202 if changed else 200, {"Location": href("job", id)})


@router.post(
    "/{id}/resume",
    operation_id="resume_job",
    summary="Resume a paused job",
    status_code=202,
    response_model=JobOut,
    responses={
        200: {"model": JobOut, "description": "It is queued or running already."},
        **ACCEPTED,
        **problem_responses(404, 409),
    },
)
def resume_job(id: JobId, services: ServicesDep, caller: CallerDep) -> Response:
    """It is queued again, and goes on from its last checkpoint. 409, with `Retry-After`, while it is still pausing, and for a
    job that is canceling or has ended.
    """
    row, changed = service.resume(services, caller, id)
    return job_response(row, 202 if changed else 200, {"Location": href("job", id)})


@router.post(
    "/{id}/retry",
    operation_id="retry_job",
    summary="Retry a failed or canceled job",
    status_code=202,
    response_model=JobOut,
    responses={
        200: {"model": JobOut, "description": "The job that an earlier retry of the same job made."},
        **ACCEPTED,
        **problem_responses(400, 404, 409, 413, 415, 422, 429),
    },
)
def retry_job(
    id: JobId,
    services: ServicesDep,
    caller: CallerDep,
    request: Annotated[RetryRequest | None, Body(openapi_examples=examples.RETRIES)] = None,
) -> Response:
    """A new job (`Location`) with the same request, whose `retry_of` names this one; limits and priority may be changed. Where
    the failure is `retryable` (out of time or memory, a lost worker) it goes on from the last checkpoint. A job is retried
    once: asked again, the same new job is answered. 409 for a job that has succeeded or not ended, or whose series or
    model is gone.
    """
    row, created = service.retry(services, caller, id, request or RetryRequest())
    return job_response(row, 202 if created else 200, {"Location": href("job", row.id)})


@router.get(
    "/{id}/events",
    operation_id="list_job_events",
    summary="Follow a job's events",
    response_model=JobEventPage,
    responses={
        200: {
            "description": "A page of events, or with `Accept: text/event-stream` the stream of them.",
            "content": {
                "text/event-stream": {
                    "schema": {"type": "string", "description": "`id` is the seq, `event` the type, `data` a JobEvent."}
                }
            },
        },
        204: {"description": "The stream was asked for, the job has ended, and you have its last event."},
        **problem_responses(400, 404, 422),
    },
)
async def list_job_events(
    request: Request,
    id: JobId,
    database: DatabaseDep,
    tenant: TenantDep,
    cursor: Annotated[str | None, Query(max_length=20, description="Events after this seq.", examples=["3"])] = None,
    limit: Annotated[
        int, Query(ge=1, le=jobs.MAX_EVENTS, description="Events of a page; a stream knows no limit.")
    ] = 100,
    last_event_id: Annotated[
        str | None, Header(max_length=20, description="As `cursor`; browsers send it when they reconnect.")
    ] = None,
) -> Response:
    """Oldest first. The stream (`Accept: text/event-stream`) goes on until the event that ends the job, can be resumed by
    `Last-Event-ID`, and sends a comment every 15 s in between so that no proxy closes it.
    """
    after = service.event_position(last_event_id or cursor)
    job = await run_in_threadpool(follow.read_job, database, tenant, id)
    if "text/event-stream" in request.headers.get("accept", ""):
        if follow.ended(job) and after >= job.event_seq:
            return Response(status_code=204)  # browsers reconnect after every end of a stream, but not after this
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        after = min(after, job.event_seq)  # an event that is not there yet must not hide the one that ends the job
        return EventSourceResponse(follow.event_stream(database, id, after), headers=headers)
    rows = await run_in_threadpool(follow.read_events, database, id, after, limit)
    more = len(rows) == limit
    page = JobEventPage(data=[JobEvent.of(row) for row in rows], next_cursor=str(rows[-1].seq) if more else None)
    return Response(page.model_dump_json(), media_type="application/json")


@router.get(
    "/{id}/result",
    operation_id="get_job_result",
    summary="Get what a job found",
    response_model=AnalysisOut | ModelOut | ForecastOut | EvaluationOut,
    responses=problem_responses(404, 409),
)
def get_job_result(id: JobId, services: ServicesDep, tenant: TenantDep) -> Response:
    """The document that `result.href` names. 409 `not_ready` with `Retry-After` while the job has not ended; 409
    `no_result`, with the reason, when it has failed or was canceled.
    """
    return json_response(service.result(services, tenant, id))

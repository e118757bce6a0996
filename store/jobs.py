"""Jobs as a caller sees them: submit, look, cancel. What a worker does to a job is in `store.leases`."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import TypeAdapter
from sqlalchemy import Select, delete, func, select
from sqlalchemy.orm import Session

from domain.companions import FIELDS, Companions
from domain.errors import BadRequest, IdempotencyMismatch, NotFound, QuotaExceeded, StateForbids
from domain.ids import new_id
from domain.jobs import TERMINAL, JobKind, JobQueue, JobStatus, Progress
from domain.specs import EvaluateJob, ForecastJob, JobRequest, TrainJob, queue_of
from store.clock import now
from store.database import alone, insert_if_new
from store.pages import Page, page
from store.settings import StoreSettings
from store.tables import (
    AnalysisRow,
    IdempotencyRow,
    JobCompanionRow,
    JobEventRow,
    JobRow,
    ModelRow,
    ResourceRow,
    SeriesRow,
)
from store.tenants import quota
from store.transitions import move
from store.workers import listening

MAX_EVENTS = 500
QUOTA_RETRY_SECONDS = 10

_WAITING = (JobStatus.QUEUED, JobStatus.PAUSED)
R = TypeVar("R", bound=ResourceRow)
_request = TypeAdapter[JobRequest](JobRequest)


@dataclass(frozen=True)
class Submitted:
    job: JobRow
    created: bool  # False: the same request with the same Idempotency-Key came before


def submit(
    session: Session,
    settings: StoreSettings,
    request: JobRequest,
    *,
    tenant: str = "default",
    idempotency_key: str | None = None,
    key_id: str | None = None,
    request_id: str | None = None,
    traceparent: str | None = None,
) -> Submitted:
    """Write the job, its first event and its Idempotency-Key. Publish it after the commit (`store.queue.publish`).

    Who asked (`key_id`), in which request and trace, goes with the job, for the log of the worker that runs it.
    """
    job_id = new_id("job")
    if idempotency_key is not None:
        earlier = _take_key(session, settings, tenant, idempotency_key, request_hash(request), job_id)
        if earlier is not None:
            return Submitted(get(session, earlier, tenant=tenant), created=False)
    job = JobRow(id=job_id, tenant=tenant, key_id=key_id, request_id=request_id, traceparent=traceparent)
    return Submitted(_write(session, settings, request, job), created=True)


def retry(
    session: Session,
    settings: StoreSettings,
    job_id: str,
    *,
    limits: dict[str, Any] | None = None,
    priority: int | None = None,
    tenant: str = "default",
    key_id: str | None = None,
    request_id: str | None = None,
    traceparent: str | None = None,
) -> Submitted:
    """A new job with the request of one that has failed or was canceled, some `limits` or the priority changed; asked
    again, the same new job. It goes on from the last checkpoint where the failure was one that may pass (`retryable`)."""
    mine = (JobRow.id == job_id, JobRow.tenant == tenant)
    # The lock makes the second of two at once wait, and then find what the first has made.
    old = session.scalar(select(JobRow).where(*mine).with_for_update())
    if old is None:
        raise NotFound(f"There is no job {job_id}.")
    if old.status not in (JobStatus.FAILED, JobStatus.CANCELED):
        raise StateForbids(f"The job is {old.status}; only one that has failed or was canceled can be retried.")
    earlier = session.scalar(select(JobRow).where(JobRow.retry_of == job_id))
    if earlier is not None:
        return Submitted(earlier, created=False)
    document = {**old.request, "limits": {**old.request["limits"], **(limits or {})}}
    if priority is not None:
        document["priority"] = priority
    job = JobRow(
        id=new_id("job"),
        tenant=tenant,
        retry_of=job_id,
        checkpoint_sha256=old.checkpoint_sha256,
        key_id=key_id,
        request_id=request_id,
        traceparent=traceparent,
    )
    old.checkpoint_sha256 = None  # a checkpoint belongs to one job, which deletes it when it has a newer one
    return Submitted(_write(session, settings, _request.validate_python(document), job), created=True)


def _write(session: Session, settings: StoreSettings, request: JobRequest, job: JobRow) -> JobRow:
    """Fill in a new job, and write it with its first event."""
    job.series_id, job.model_id, companions = _pin_inputs(session, request, job.tenant)
    _check_quota(session, settings, job.tenant)
    job.kind, job.status, job.queue = request.kind, JobStatus.QUEUED, queue_of(request)
    job.request, job.rank = request_document(request), -request.priority
    job.timeout_s, job.memory_mb = request.limits.timeout_s, request.limits.memory_mb
    job.max_attempts = settings.max_attempts
    job.progress = Progress().model_dump(mode="json")
    job.dispatch_after = now(settings.redispatch_seconds)
    job.event_seq = 1
    session.add(job)
    session.flush()
    session.add(JobEventRow(job_id=job.id, seq=1, type="status", data={"status": JobStatus.QUEUED}))
    session.add_all(JobCompanionRow(job_id=job.id, series_id=id) for id in companions)
    if job.queue == JobQueue.GPU and job.queue not in listening(session):
        # Accepted nevertheless: whoever starts such workers by the length of the queue has none while it is empty.
        text = "No worker with a GPU is there at the moment; the job waits for one. Cancel it, or ask for device cpu."
        job.event_seq = 2
        session.add(JobEventRow(job_id=job.id, seq=2, type="message", data={"level": "warning", "text": text}))
    session.flush()
    return job


def _check_quota(session: Session, settings: StoreSettings, tenant: str) -> None:
    """Raise QuotaExceeded when as many jobs of the tenant wait, queued or paused, as may."""
    limit = quota(session, settings, tenant).max_queued_jobs
    if limit is None:
        return
    alone(session, f"submit {tenant}")  # two requests must not both take the last place
    waiting = select(JobRow.id).where(JobRow.tenant == tenant, JobRow.status.in_(_WAITING)).limit(limit)
    if session.scalar(select(func.count()).select_from(waiting.subquery())) == limit:
        raise QuotaExceeded(
            f"{limit} of your jobs are waiting, queued or paused, and no more may. Send the request again when one has "
            "started, or cancel one.",
            retry_after=QUOTA_RETRY_SECONDS,
        )


def replayed(session: Session, request: JobRequest, idempotency_key: str, *, tenant: str = "default") -> JobRow | None:
    """The job that the same request with the same key made before; IdempotencyMismatch when it was another request."""
    query = _keyed(tenant, idempotency_key).where(IdempotencyRow.expires_at > now())
    earlier = session.scalar(query)
    if earlier is None:
        return None
    return get(session, _same_request(earlier, request_hash(request)), tenant=tenant)


def request_document(request: JobRequest) -> dict[str, Any]:
    """A request as it is stored, with its defaults; without those that an earlier release did not know, so that a worker
    of that release can run it, and a request that was first sent to that release is recognised."""
    document: dict[str, Any] = request.model_dump(mode="json")
    for part, name, default in _added(document):
        if part.get(name, default) == default:
            part.pop(name, None)
    return document


def complete_request(document: dict[str, Any]) -> dict[str, Any]:
    """A stored request with the defaults that `request_document` left away."""
    whole: dict[str, Any] = copy.deepcopy(document)
    for part, name, default in _added(whole):
        part.setdefault(name, default)
    return whole


def _added(document: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str, Any]]:
    """What a request can hold since the first release: the part of it, the name there, and the default that means what there
    was without it."""
    yield document, "priority", 0
    yield document["limits"], "memory_mb", None
    if document["kind"] != JobKind.LYAPUNOV:
        yield from ((document, field, []) for field in FIELDS)
    params = document["params"]
    training = {JobKind.TRAIN: params, JobKind.RECONSTRUCT: params.get("train")}.get(document["kind"])
    if training:
        yield training, "channel_distributions", {}
        yield training["regularization"], "noise", "auto"
        if training["observation"]["kind"] == "convolutional":
            yield training["observation"], "loss", "auto"


def request_hash(request: JobRequest) -> str:
    """SHA-256 of a request in canonical JSON: what makes two requests the same."""
    text = json.dumps(request_document(request), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def get(session: Session, job_id: str, *, tenant: str = "default") -> JobRow:
    job = session.scalar(select(JobRow).where(JobRow.id == job_id, JobRow.tenant == tenant))
    if job is None:
        raise NotFound(f"There is no job {job_id}.")
    return job


def exists(session: Session, job_id: str) -> bool:
    """Whether the job, which the caller may see, has not been deleted."""
    return session.scalar(select(JobRow.id).where(JobRow.id == job_id)) is not None


def list_page(
    session: Session,
    *,
    tenant: str = "default",
    status: JobStatus | None = None,
    kind: JobKind | None = None,
    series_id: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[JobRow]:
    """Newest first."""
    query = select(JobRow).where(JobRow.tenant == tenant)
    if status is not None:
        query = query.where(JobRow.status == status)
    if kind is not None:
        query = query.where(JobRow.kind == kind)
    if series_id is not None:
        query = query.where(JobRow.series_id == series_id)
    return page(session, query, JobRow, "job", cursor, limit)


def events(session: Session, job_id: str, *, after: int = 0, limit: int = MAX_EVENTS) -> list[JobEventRow]:
    """The events with `seq > after`, oldest first; the caller has looked the job up and may see it."""
    if not 1 <= limit <= MAX_EVENTS:
        raise BadRequest(f"limit must be between 1 and {MAX_EVENTS}.")
    query = select(JobEventRow).where(JobEventRow.job_id == job_id, JobEventRow.seq > after)
    return list(session.scalars(query.order_by(JobEventRow.seq).limit(limit)))


def cancel(session: Session, job_id: str, *, tenant: str = "default") -> tuple[JobRow, bool]:
    """The job and whether this call changed it: one that waits is canceled at once, a running one is asked to stop."""
    mine = JobRow.tenant == tenant
    while True:
        job = move(session, job_id, JobStatus.CANCELED, mine, JobRow.status.in_((JobStatus.QUEUED, JobStatus.PAUSED)))
        job = job or move(session, job_id, JobStatus.CANCELING, mine)
        if job is not None:
            return job, True
        job = get(session, job_id, tenant=tenant)
        if job.status in (JobStatus.CANCELING, JobStatus.CANCELED):
            return job, False
        if job.status in TERMINAL:
            raise StateForbids(f"The job has {job.status}; only one that has not ended can be canceled.")
        # Between the two attempts a worker claimed it or gave it back: look again.


def pause(session: Session, job_id: str, *, tenant: str = "default") -> tuple[JobRow, bool]:
    """The job and whether this call changed it: a queued job is paused at once, a running one is asked to stop at its
    next checkpoint."""
    mine = JobRow.tenant == tenant
    while True:
        waits = JobRow.status == JobStatus.QUEUED
        job = move(session, job_id, JobStatus.PAUSED, mine, waits, values={"dispatch_after": None})
        job = job or move(session, job_id, JobStatus.PAUSING, mine)
        if job is not None:
            return job, True
        job = get(session, job_id, tenant=tenant)
        if job.status in (JobStatus.PAUSING, JobStatus.PAUSED):
            return job, False
        if job.status in (JobStatus.CANCELING, *TERMINAL):
            raise StateForbids(f"The job is {job.status}; only a queued or running job can be paused.")


def resume(session: Session, settings: StoreSettings, job_id: str, *, tenant: str = "default") -> tuple[JobRow, bool]:
    """The job and whether this call changed it: a paused job is queued again, to be published after the commit, and goes
    on from its checkpoint."""
    back = {"token": None, "dispatch_after": now(settings.redispatch_seconds), "dispatches": 0}
    paused = JobRow.status == JobStatus.PAUSED
    job = move(session, job_id, JobStatus.QUEUED, JobRow.tenant == tenant, paused, values=back)
    if job is not None:
        return job, True
    job = get(session, job_id, tenant=tenant)
    if job.status in (JobStatus.QUEUED, JobStatus.RUNNING):
        return job, False
    if job.status == JobStatus.PAUSING:
        raise StateForbids("The job is still pausing; resume it when it is paused.", retry_after=1)
    raise StateForbids(f"The job is {job.status}; only a paused job can be resumed.")


def delete_ended(session: Session, job_id: str, *, tenant: str = "default") -> None:
    """Forget a job that has ended, with its events and its Idempotency-Key; what it found stays."""
    mine = (JobRow.id == job_id, JobRow.tenant == tenant)
    query = delete(JobRow).where(*mine, JobRow.status.in_(TERMINAL)).returning(JobRow.id)
    if session.scalar(query, execution_options={"synchronize_session": False}) is None:
        status = get(session, job_id, tenant=tenant).status
        raise StateForbids(f"The job is {status}; cancel it before you delete it.")


def _take_key(session: Session, settings: StoreSettings, tenant: str, key: str, digest: str, job_id: str) -> str | None:
    """Take an Idempotency-Key for `job_id`, or answer the job that the same request made before."""
    if not (1 <= len(key) <= 255 and key.isascii() and key.isprintable()):
        raise BadRequest("Idempotency-Key must be 1 to 255 printable ASCII characters.")
    session.execute(
        delete(IdempotencyRow).where(
            IdempotencyRow.tenant == tenant, IdempotencyRow.key == key, IdempotencyRow.expires_at <= now()
        )
    )
    expires_at = now(settings.idempotency_hours * 3600)
    values = {"tenant": tenant, "key": key, "request_hash": digest, "job_id": job_id, "expires_at": expires_at}
    if insert_if_new(session, IdempotencyRow, values) is not None:
        return None
    return _same_request(session.scalars(_keyed(tenant, key)).one(), digest)


def _keyed(tenant: str, key: str) -> Select[IdempotencyRow]:
    return select(IdempotencyRow).where(IdempotencyRow.tenant == tenant, IdempotencyRow.key == key)


def _same_request(earlier: IdempotencyRow, digest: str) -> str:
    """The id of the job that an Idempotency-Key made, which must have been for the same request."""
    if earlier.request_hash != digest:
        raise IdempotencyMismatch(
            f"This Idempotency-Key was used for another request (job {earlier.job_id}); use a new key for a new request."
        )
    return earlier.job_id


def _pin_inputs(session: Session, request: JobRequest, tenant: str) -> tuple[str | None, str | None, list[str]]:
    """The series, the model and the companions of the series that the job will read, which must exist; they are locked
    against deletion until the job is committed, after which the job itself protects them."""
    model_id, own = getattr(request, "model_id", None), None
    series_id = request.series_id
    if isinstance(request, EvaluateJob | ForecastJob):
        model = _pin(session, ModelRow, "model", model_id, tenant)
        if isinstance(request, ForecastJob) and request.params.context is not None:
            return series_id, model_id, []
        own = model.document if series_id in (None, model.series_id) else None
        series_id = series_id or model.series_id
    _pin(session, SeriesRow, "series", series_id, tenant)
    if isinstance(request, TrainJob) and request.analysis_id is not None:
        _pin(session, AnalysisRow, "analysis", request.analysis_id, tenant)
    companions = {part.series_id for field in FIELDS for part in getattr(request, field, ())}
    for id in companions:
        _pin(session, SeriesRow, "series", id, tenant)
    if own is not None and isinstance(request, Companions):  # those of the model, where they are still there
        usual = {p["series_id"] for field in FIELDS if not getattr(request, field) for p in own.get(field, ())}
        query = select(SeriesRow.id).where(SeriesRow.id.in_(usual), SeriesRow.tenant == tenant)
        companions |= set(session.scalars(query.with_for_update(read=True, key_share=True)))
    return series_id, model_id, sorted(companions)


def _pin(session: Session, kind: type[R], name: str, id: str | None, tenant: str) -> R:
    row = session.scalar(
        select(kind).where(kind.id == id, kind.tenant == tenant).with_for_update(read=True, key_share=True)
    )
    if row is None:
        raise NotFound(f"There is no {name} {id}.")
    return row

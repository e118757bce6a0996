"""Endpoints of models: what they are, their files, their forecasts."""

from __future__ import annotations

import base64
import hashlib
from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Response
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool

from api.dependencies import CallerDep, DatabaseDep, ModelId, ServicesDep, TenantDep
from api.errors import problem_responses
from api.forecasts import service as forecasts
from api.forecasts.schemas import ForecastRequest
from api.headers import IfNoneMatch, PreferDep, matches
from api.jobs import follow
from api.jobs import service as jobs
from api.jobs.endpoints import ACCEPTED, job_response
from api.jobs.schemas import JobOut
from api.models import examples, service
from api.pagination import Cursor, Limit, PageOut, SeriesFilter
from api.results import IMMUTABLE, delete_document, get_document, json_response, list_documents
from api.validation import StrictRoute
from domain.documents import ForecastOut, ModelOut, href
from domain.specs import ForecastJob

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=StrictRoute)
_FILE = {"schema": {"type": "string", "format": "binary"}}


@router.get(
    "",
    operation_id="list_models",
    summary="List models, newest first",
    response_model=PageOut[ModelOut],
    responses=problem_responses(400, 422),
)
def list_models(
    services: ServicesDep, tenant: TenantDep, series_id: SeriesFilter = None, cursor: Cursor = None, limit: Limit = 50
) -> Response:
    """Without the loss curve and the sampled attractors; ask for one model to have them."""
    with services.database.read() as session:
        page = list_documents(session, "model", tenant, series_id=series_id, cursor=cursor, limit=limit)
    return json_response(page, immutable=False)


@router.get(
    "/{id}", operation_id="get_model", summary="Get a model", response_model=ModelOut, responses=problem_responses(404)
)
def get_model(id: ModelId, services: ServicesDep, tenant: TenantDep) -> Response:
    """What it is, how it was trained (every seed, what was kept and why), and its report on held-out data."""
    with services.database.read() as session:
        return json_response(get_document(session, services.blobs, "model", id, tenant))


@router.get(
    "/{id}/artifacts/{name}",
    operation_id="get_model_artifact",
    summary="Download a file of a model",
    response_class=FileResponse,
    responses={
        200: {
            "description": "The whole file; `ETag` and `Repr-Digest` are its SHA-256.",
            "content": {"application/octet-stream": _FILE, "application/json": {"schema": {"type": "object"}}},
        },
        206: {"description": "The part that `Range` asked for.", "content": {"application/octet-stream": _FILE}},
        304: {"description": "You have it already."},
        **problem_responses(400, 404, 416, 422),
    },
)
def get_model_artifact(
    id: ModelId,
    name: Annotated[str, Path(description="As `artifacts` of the model names it.", examples=["model.safetensors"])],
    services: ServicesDep,
    tenant: TenantDep,
    recording: Annotated[
        str | None,
        Query(max_length=200, description="Whose map a graph is of, for a model with a map for each recording."),
    ] = None,
    if_none_match: IfNoneMatch = "",
) -> Response:
    """`model.safetensors` holds weights, scaling and settings, and needs neither torch nor pickle to be read;
    `model.json` is the model card. `model.onnx` (the step of the map) and `encoder.onnx` (how a context becomes a state) are made
    when they are asked for; 422 `not_exportable` for a model with a map for each recording unless `recording` names one.
    """
    if name in service.GRAPHS:
        made = service.graph(services.load_model, tenant, id, name, recording)
        digest = hashlib.sha256(made)
        etag = f'"{digest.hexdigest()}"'
        headers = IMMUTABLE | {"ETag": etag, "Repr-Digest": f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"}
        if matches(if_none_match, etag):
            return Response(status_code=304, headers={"ETag": etag})
        headers["Content-Disposition"] = f'attachment; filename="{id}-{name}"'
        return Response(made, headers=headers, media_type="application/octet-stream")
    file = service.artifact(services.database, services.blobs, tenant, id, name)
    etag = f'"{file.sha256}"'
    if matches(if_none_match, etag):
        return Response(status_code=304, headers=IMMUTABLE | {"ETag": etag})
    headers = IMMUTABLE | {"ETag": etag, "Repr-Digest": f"sha-256=:{file.digest}:"}
    return FileResponse(file.path, headers=headers, media_type=file.media_type, filename=f"{id}-{name}")


@router.post(
    "/{id}/forecasts",
    operation_id="create_forecast",
    summary="Forecast with a model",
    status_code=201,
    response_model=ForecastOut,
    responses={
        201: {"headers": {"Location": {"schema": {"type": "string"}, "description": "Path of the forecast."}}},
        200: {"model": JobOut, "description": "A long forecast: the job has ended within `Prefer: wait`."},
        **ACCEPTED,
        **problem_responses(400, 404, 413, 415, 422, 429),
    },
)
async def create_forecast(
    id: ModelId,
    request: Annotated[ForecastRequest, Body(openapi_examples=examples.FORECASTS)],
    services: ServicesDep,
    caller: CallerDep,
    prefer: PreferDep,
) -> Response:
    """A short forecast is answered at once with 201 and kept; a long one (`limits` in /v1/capabilities), or any with
    `Prefer: respond-async`, becomes a job: 202 with its `Location`, or 200 with the job where it has ended within
    `Prefer: wait=N`. All say how far they can be trusted. A model with input channels needs their future values.
    """
    tenant = caller.principal.tenant
    now = not prefer.respond_async
    kept = await run_in_threadpool(
        forecasts.answer, services, tenant, id, request.spec(), request.series_id, request, now=now
    )
    if kept is not None:
        return Response(kept.text, 201, {"Location": href("forecast", kept.id)}, "application/json")
    beside = {"input_series": request.input_series, "nuisance_series": request.nuisance_series}
    job = ForecastJob(kind="forecast", model_id=id, series_id=request.series_id, params=request.spec(), **beside)
    row = await run_in_threadpool(jobs.submit, services, caller, job, None)
    headers = {"Location": href("job", row.id)}
    if prefer.respond_async:
        headers["Preference-Applied"] = "respond-async"
    elif prefer.wait is not None:
        row = await follow.wait(services.database, tenant, row.id, prefer.wait)
        headers["Preference-Applied"] = f"wait={prefer.wait}"
        if follow.ended(row):
            return job_response(row, 200, headers)
    return job_response(row, 202, headers)


@router.delete(
    "/{id}",
    operation_id="delete_model",
    summary="Delete a model",
    status_code=204,
    responses=problem_responses(404, 409),
)
def delete_model(id: ModelId, database: DatabaseDep, caller: CallerDep) -> Response:
    """Its files go with it, its evaluations and forecasts stay. 409 `in_use` while an unfinished job reads it."""
    return delete_document(database, "model", id, caller)

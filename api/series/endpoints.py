"""Endpoints of series."""

from __future__ import annotations

from typing import Annotated

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, FastAPI, Header, Query, Request, Response
from fastapi.responses import StreamingResponse

from api.dependencies import BlobsDep, CallerDep, DatabaseDep, SeriesId, ServicesDep, TenantDep
from api.errors import pointing_to, problem_responses
from api.headers import IfNoneMatch, matches
from api.pagination import Cursor, Limit, PageOut
from api.results import IMMUTABLE
from api.series import examples, exporting, service
from api.series.receiving import receive
from api.series.schemas import ChannelNames, SeriesData, SeriesFields, SeriesOut
from api.series.storing import Scratch
from api.tables import MEDIA_TYPES, Format, negotiate
from domain.errors import UnknownChannel
from store import audit, series

router = APIRouter(prefix="/v1/series", tags=["series"])

MAX_POINTS = 1_000_000
_BINARY = {"schema": {"type": "string", "format": "binary"}}
ETAG = {"ETag": {"schema": {"type": "string"}, "description": "The series' content hash."}}
LOCATION = {"Location": {"schema": {"type": "string"}, "description": "Path of the series."}}


@router.post(
    "",
    operation_id="create_series",
    summary="Upload a series",
    status_code=201,
    response_model=SeriesOut,
    responses={
        200: {"model": SeriesOut, "description": "The same series is there already.", "headers": LOCATION | ETAG},
        201: {"headers": LOCATION | ETAG},
        **problem_responses(400, 413, 415, 422, 503, 507),
    },
    openapi_extra={"requestBody": examples.REQUEST_BODY},
)
async def create_series(
    request: Request, services: ServicesDep, tenant: TenantDep, query: Annotated[SeriesFields, Query()]
) -> Response:
    """Send a file, as the part `file` of a form with the fields beside it, or as the body with the fields in the query;
    or a JSON document that holds both. CSV, NPY (1-D or 2-D), Parquet or JSON: rows are time steps, columns are channels.
    Several recordings of one system are one series: as several parts `file`, as a file with a `recording_column`, or as
    JSON `{"recordings": [...]}`.

    The file is checked wholly before anything is kept: what is wrong is answered with its rows (counted from 0, the
    header is none) and columns. Missing values are refused unless `missing` says what to do with them; every place that
    was filled or split is listed in `profile.issues`. The same content under the same name is stored once (200).
    """
    settings = services.settings
    with Scratch(services.blobs) as scratch:
        upload = await receive(request, scratch.file, settings.max_upload_bytes)
        added = await to_thread.run_sync(
            service.ingest,
            services,
            tenant,
            upload,
            query.model_dump(exclude_unset=True),
            scratch,
            limiter=parses(request.app, settings.max_parses),
        )
    return answer(added)


def answer(added: series.Added) -> Response:
    """201 for a series that is new, 200 for one that was there."""
    headers = {"Location": f"/v1/series/{added.row.id}", "ETag": service.etag(added.row)}
    body = SeriesOut.of(added.row).model_dump_json()
    return Response(body, 201 if added.created else 200, headers, "application/json")


def parses(app: FastAPI, limit: int) -> CapacityLimiter:
    """How many uploads are parsed at a time; one limiter for the life of the application."""
    if not hasattr(app.state, "parses"):
        app.state.parses = CapacityLimiter(limit)
    return app.state.parses


@router.get(
    "",
    operation_id="list_series",
    summary="List series, newest first",
    responses=problem_responses(400, 422),
)
def list_series(
    database: DatabaseDep,
    tenant: TenantDep,
    name: Annotated[str | None, Query(max_length=200, description="Only series that are called exactly so.")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> PageOut[SeriesOut]:
    """Pages by keyset: series that arrive meanwhile shift nothing."""
    with database.read() as session:
        page = series.list_page(session, tenant=tenant, name=name, cursor=cursor, limit=limit)
    return PageOut[SeriesOut](data=[SeriesOut.of(row) for row in page.items], next_cursor=page.next_cursor)


@router.get(
    "/{id}",
    operation_id="get_series",
    summary="Get a series with its profile",
    response_model=SeriesOut,
    responses={
        200: {"headers": ETAG},
        304: {"description": "You have it already: series do not change.", "headers": ETAG},
        **problem_responses(404, 422),
    },
)
def get_series(id: SeriesId, database: DatabaseDep, tenant: TenantDep, if_none_match: IfNoneMatch = "") -> Response:
    """What is known about the series; its values are under `/data`."""
    with database.read() as session:
        row = series.get(session, id, tenant=tenant)
    headers = {"ETag": service.etag(row), "Cache-Control": "private, no-cache"}
    if matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(SeriesOut.of(row).model_dump_json(), 200, headers, "application/json")


@router.delete(
    "/{id}",
    operation_id="delete_series",
    summary="Delete a series",
    status_code=204,
    response_class=Response,
    responses=problem_responses(404, 409),
)
def delete_series(id: SeriesId, database: DatabaseDep, caller: CallerDep) -> None:
    """409 while a job that has not ended reads it. Analyses, models and forecasts made from it stay."""
    with database.write() as session:
        series.delete(session, id, tenant=caller.principal.tenant)
        audit.record(session, caller, "series.deleted", target=id)


@router.get(
    "/{id}/data",
    operation_id="get_series_data",
    summary="Get the values of a series",
    response_model=SeriesData,
    responses={
        200: {
            "headers": {
                **ETAG,
                "Attractor-Decimation": {
                    "schema": {"type": "string"},
                    "description": "Present when rows were left out: how, how many were kept, of how many.",
                },
            },
            "content": {
                "text/csv": {"schema": {"type": "string"}},
                MEDIA_TYPES[Format.NPY]: _BINARY,
                MEDIA_TYPES[Format.PARQUET]: _BINARY,
            },
        },
        304: {"description": "You have it already.", "headers": ETAG},
        **problem_responses(404, 422),
    },
)
def get_series_data(
    id: SeriesId,
    database: DatabaseDep,
    blobs: BlobsDep,
    tenant: TenantDep,
    format: Annotated[Format | None, Query(description="Wins over Accept; JSON by default.")] = None,
    start: Annotated[int, Query(ge=0, description="First row.")] = 0,
    stop: Annotated[int | None, Query(ge=1, description="Row after the last; default: the end.")] = None,
    max_points: Annotated[
        int | None,
        Query(
            ge=5,
            le=MAX_POINTS,
            description="Keep at most so many rows: in each bucket those with each channel's smallest and largest value.",
        ),
    ] = None,
    channels: Annotated[
        ChannelNames, Query(max_length=4096, description="Some channels only: `x,y`, repeated, or a JSON list.")
    ] = None,
    accept: Annotated[str, Header(description="application/json, text/csv, application/x-npy or Parquet.")] = "*/*",
    if_none_match: IfNoneMatch = "",
) -> Response:
    """Streamed, in the series' own units. CSV and Parquet have the column `time` first; NPY holds the values alone, and
    NaN where values are missing (null in JSON and Parquet, an empty cell in CSV).
    """
    chosen = negotiate(format, accept)
    with database.read() as session:
        row = series.get(session, id, tenant=tenant)
    with pointing_to("/query/channels", UnknownChannel):
        columns = series.channel_indices(row, channels)
    selection = exporting.select(row, series.load_values(blobs, row), columns, start, stop, max_points)
    headers = IMMUTABLE | {"ETag": service.etag(row, chosen), "Vary": "Accept"}
    if matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if selection.decimation is not None:
        headers["Attractor-Decimation"] = "{method}; kept={kept}; of={of}".format(**selection.decimation.model_dump())
    if chosen is not Format.JSON:
        headers["Content-Disposition"] = f'attachment; filename="{id}.{chosen}"'
    if chosen is Format.NPY:
        headers["Content-Length"] = str(exporting.npy_size(selection))
    return StreamingResponse(exporting.encode(selection, chosen), 200, headers, MEDIA_TYPES[chosen])

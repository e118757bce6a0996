"""Endpoints of forecasts."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from api.dependencies import CallerDep, DatabaseDep, ForecastId, ServicesDep, TenantDep
from api.errors import problem_responses
from api.forecasts import service
from api.pagination import Cursor, Limit, ModelFilter, PageOut, SeriesFilter
from api.results import IMMUTABLE, delete_document, get_document, json_response, list_documents
from api.tables import MEDIA_TYPES, Format, encode, negotiate
from domain.documents import ForecastOut, ForecastSummary

router = APIRouter(prefix="/v1/forecasts", tags=["forecasts"])
_BINARY = {"schema": {"type": "string", "format": "binary"}}


@router.get(
    "",
    operation_id="list_forecasts",
    summary="List forecasts, newest first",
    response_model=PageOut[ForecastSummary],
    responses=problem_responses(400, 422),
)
def list_forecasts(
    services: ServicesDep,
    tenant: TenantDep,
    series_id: SeriesFilter = None,
    model_id: ModelFilter = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """Without their numbers; ask for one forecast to have them."""
    with services.database.read() as session:
        page = list_documents(
            session, "forecast", tenant, series_id=series_id, model_id=model_id, cursor=cursor, limit=limit
        )
    return json_response(page, immutable=False)


@router.get(
    "/{id}",
    operation_id="get_forecast",
    summary="Get a forecast",
    response_model=ForecastOut,
    responses={
        200: {
            "content": {
                "text/csv": {"schema": {"type": "string"}},
                MEDIA_TYPES[Format.NPY]: _BINARY,
                MEDIA_TYPES[Format.PARQUET]: _BINARY,
            }
        },
        **problem_responses(404, 422),
    },
)
def get_forecast(
    id: ForecastId,
    services: ServicesDep,
    tenant: TenantDep,
    format: Annotated[Format | None, Query(description="Wins over Accept; JSON by default.")] = None,
    accept: Annotated[str, Header(description="application/json, text/csv, application/x-npy or Parquet.")] = "*/*",
) -> Response:
    """As a table it has the columns `time`, then for each channel `NAME_median` and `NAME_qP` for each quantile P."""
    with services.database.read() as session:
        document = get_document(session, services.blobs, "forecast", id, tenant)
    chosen = negotiate(format, accept)
    headers = IMMUTABLE | {"Vary": "Accept"}
    if chosen is Format.JSON:
        response: Response = json_response(document)
        response.headers["Vary"] = "Accept"
        return response
    headers["Content-Disposition"] = f'attachment; filename="{id}.{chosen}"'
    return Response(encode(service.columns(document), chosen), headers=headers, media_type=MEDIA_TYPES[chosen])


@router.delete(
    "/{id}",
    operation_id="delete_forecast",
    summary="Delete a forecast",
    status_code=204,
    responses=problem_responses(404),
)
def delete_forecast(id: ForecastId, database: DatabaseDep, caller: CallerDep) -> Response:
    """Nothing else is made from it."""
    return delete_document(database, "forecast", id, caller)

"""Endpoints of analyses."""

from __future__ import annotations

from fastapi import APIRouter, Response

from api.dependencies import AnalysisId, CallerDep, DatabaseDep, ServicesDep, TenantDep
from api.errors import problem_responses
from api.pagination import Cursor, Limit, PageOut, SeriesFilter
from api.results import delete_document, get_document, json_response, list_documents
from domain.documents import AnalysisOut

router = APIRouter(prefix="/v1/analyses", tags=["analyses"])


@router.get(
    "",
    operation_id="list_analyses",
    summary="List analyses, newest first",
    response_model=PageOut[AnalysisOut],
    responses=problem_responses(400, 422),
)
def list_analyses(
    services: ServicesDep, tenant: TenantDep, series_id: SeriesFilter = None, cursor: Cursor = None, limit: Limit = 50
) -> Response:
    """Without their `diagnostics`; ask for one analysis to have them."""
    with services.database.read() as session:
        page = list_documents(session, "analysis", tenant, series_id=series_id, cursor=cursor, limit=limit)
    return json_response(page, immutable=False)


@router.get(
    "/{id}",
    operation_id="get_analysis",
    summary="Get an analysis",
    response_model=AnalysisOut,
    responses=problem_responses(404),
)
def get_analysis(id: AnalysisId, services: ServicesDep, tenant: TenantDep) -> Response:
    """Largest exponent and spectrum with intervals, verdict, predictability, and the diagnostics behind them."""
    with services.database.read() as session:
        return json_response(get_document(session, services.blobs, "analysis", id, tenant))


@router.delete(
    "/{id}",
    operation_id="delete_analysis",
    summary="Delete an analysis",
    status_code=204,
    responses=problem_responses(404, 409),
)
def delete_analysis(id: AnalysisId, database: DatabaseDep, caller: CallerDep) -> Response:
    """Models that were trained with it stay. 409 `in_use` while an unfinished training names it."""
    return delete_document(database, "analysis", id, caller)

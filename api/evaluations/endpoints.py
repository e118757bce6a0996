"""Endpoints of evaluations."""

from __future__ import annotations

from fastapi import APIRouter, Response

from api.dependencies import CallerDep, DatabaseDep, EvaluationId, ServicesDep, TenantDep
from api.errors import problem_responses
from api.pagination import Cursor, Limit, ModelFilter, PageOut, SeriesFilter
from api.results import delete_document, get_document, json_response, list_documents
from domain.documents import EvaluationOut

router = APIRouter(prefix="/v1/evaluations", tags=["evaluations"])


@router.get(
    "",
    operation_id="list_evaluations",
    summary="List evaluations, newest first",
    response_model=PageOut[EvaluationOut],
    responses=problem_responses(400, 422),
)
def list_evaluations(
    services: ServicesDep,
    tenant: TenantDep,
    series_id: SeriesFilter = None,
    model_id: ModelFilter = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """Without their `samples`; ask for one evaluation to have them."""
    with services.database.read() as session:
        page = list_documents(
            session, "evaluation", tenant, series_id=series_id, model_id=model_id, cursor=cursor, limit=limit
        )
    return json_response(page, immutable=False)


@router.get(
    "/{id}",
    operation_id="get_evaluation",
    summary="Get an evaluation",
    response_model=EvaluationOut,
    responses=problem_responses(404),
)
def get_evaluation(id: EvaluationId, services: ServicesDep, tenant: TenantDep) -> Response:
    """State-space and spectral distance, prediction error, valid prediction time and the model's own Lyapunov spectrum."""
    with services.database.read() as session:
        return json_response(get_document(session, services.blobs, "evaluation", id, tenant))


@router.delete(
    "/{id}",
    operation_id="delete_evaluation",
    summary="Delete an evaluation",
    status_code=204,
    responses=problem_responses(404),
)
def delete_evaluation(id: EvaluationId, database: DatabaseDep, caller: CallerDep) -> Response:
    """Nothing else is made from it."""
    return delete_document(database, "evaluation", id, caller)

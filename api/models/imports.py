"""The endpoint by which models come in; on a router of its own, as its bodies are larger than documents are."""

from __future__ import annotations

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, File, Request, Response, UploadFile

from api.dependencies import CallerDep, ServicesDep
from api.errors import problem_responses
from api.models import importing
from api.models.importing import MAX_CARD_BYTES, MAX_WEIGHTS_BYTES
from api.series.endpoints import parses
from domain.documents import ModelOut, href
from domain.errors import ErrorItem, TooLarge

router = APIRouter(prefix="/v1/models", tags=["models"])
MAX_BODY_BYTES = MAX_WEIGHTS_BYTES + MAX_CARD_BYTES + (1 << 16)  # and what a form puts around them


@router.post(
    "",
    operation_id="import_model",
    summary="Import a model",
    status_code=201,
    response_model=ModelOut,
    responses={
        201: {"headers": {"Location": {"schema": {"type": "string"}, "description": "Path of the model."}}},
        **problem_responses(400, 413, 415, 422, 503, 507),
    },
)
async def import_model(
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    file: Annotated[UploadFile, File(description="`model.safetensors`, as a model of this service has it.")],
    card: Annotated[UploadFile | None, File(description="`model.json`, its card.")] = None,
) -> Response:
    """A model that was exported here or elsewhere, for forecasts and evaluations: `origin` is then `imported`. With its card it
    has its training history and its report, which are believed as they stand; without it every measure says why it is missing.
    """
    weights = await _read(file, "file", MAX_WEIGHTS_BYTES)
    described = None if card is None else await _read(card, "card", MAX_CARD_BYTES)
    limiter = parses(request.app, services.settings.max_parses)
    out = await to_thread.run_sync(importing.store, services, caller, weights, described, limiter=limiter)
    return Response(out.model_dump_json(), 201, {"Location": href("model", out.id)}, "application/json")


async def _read(file: UploadFile, part: str, limit: int) -> bytes:
    data = await file.read(limit + 1)
    if len(data) > limit:
        detail = f"The part {part!r} is larger than {limit} bytes."
        raise TooLarge(detail, [ErrorItem(pointer=f"/{part}", detail=detail)])
    return data

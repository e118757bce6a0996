"""The report of a model, as one HTML file or as PDF."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Header, Query, Response

from api.dependencies import ModelId, ServicesDep, TenantDep
from api.errors import NotAcceptable, problem_responses
from api.figures.negotiation import quality
from api.headers import IfNoneMatch, matches
from api.reports import service
from api.reports.gathering import gather

router = APIRouter(prefix="/v1/models", tags=["models"])
# Figures are drawn one at a time anyway: who waits for that shall not hold a thread as well.
_rendering = CapacityLimiter(1)
_ETAG = {"ETag": {"schema": {"type": "string"}, "description": "Known before anything is drawn."}}
_CONTENT: dict[str, Any] = {
    "text/html": {"schema": {"type": "string"}},
    "application/pdf": {"schema": {"type": "string", "format": "binary"}},
}


class ReportFormat(StrEnum):
    HTML = "html"
    PDF = "pdf"


_ACCEPTED = {
    "text/html": ReportFormat.HTML,
    "application/pdf": ReportFormat.PDF,
    "text/*": ReportFormat.HTML,
    "application/*": ReportFormat.PDF,
    "*/*": ReportFormat.HTML,
    "": ReportFormat.HTML,
}


@router.get(
    "/{id}/report",
    operation_id="get_model_report",
    summary="Get the report of a model",
    response_class=Response,
    responses={
        200: {"content": _CONTENT, "headers": _ETAG},
        304: {"description": "You have it already.", "headers": _ETAG},
        **problem_responses(404, 406, 422),
    },
)
async def get_model_report(
    id: ModelId,
    services: ServicesDep,
    tenant: TenantDep,
    format: Annotated[ReportFormat | None, Query(description="Wins over Accept; HTML by default.")] = None,
    accept: Annotated[str, Header(description="text/html or application/pdf.")] = "*/*",
    if_none_match: IfNoneMatch = "",
) -> Response:
    """To hand on: the audit of the data, the analysis with its evidence, training, measures with their floors, a forecast,
    every setting with its reason, seeds, hashes, versions, and the sources of the methods that were used. One file that
    loads nothing. The forecast is the newest stored one of the model, or one from the first held-out row.
    """
    chosen = format or _negotiated(accept)
    found = await to_thread.run_sync(gather, services, tenant, id)
    etag = found.tag(chosen)
    headers = {"ETag": etag, "Cache-Control": "private, no-cache", "Vary": "Accept"}
    if matches(if_none_match, etag):
        return Response(status_code=304, headers=headers)
    made = await to_thread.run_sync(service.render, services, tenant, found, chosen, limiter=_rendering)
    headers["Content-Disposition"] = f'inline; filename="{id}-report.{chosen}"'
    if made.policy:
        headers["Content-Security-Policy"] = made.policy
    return Response(made.body, headers=headers, media_type=made.media_type)


def _negotiated(accept: str) -> ReportFormat:
    ranked = sorted(((quality(part), -i, part) for i, part in enumerate(accept.split(","))), reverse=True)
    for weight, _, part in ranked:
        name = part.partition(";")[0].strip().lower()
        if weight > 0 and name in _ACCEPTED:
            return _ACCEPTED[name]
    raise NotAcceptable(
        f"A report is not to be had as {accept[:100]!r}: ask for text/html or application/pdf, or use ?format=html or pdf."
    )

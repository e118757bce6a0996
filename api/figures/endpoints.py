"""Figures of results: the same two endpoints for each kind that has some."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, Header, Path, Query, Response

from api.dependencies import ServicesDep, TenantDep, checked
from api.errors import problem_responses
from api.figures import service
from api.figures.negotiation import CONTENT, choose, tag_of
from api.figures.schemas import FigureFormat, FiguresOut, FigureTheme
from api.headers import IfNoneMatch, matches
from domain.errors import ErrorItem, InvalidParameters
from figures.plotly import to_json

router = APIRouter(prefix="/v1", tags=["figures"])
MAX_PIXELS = 24_000_000  # of a PNG: 100 MB while it is drawn
# Drawing holds a lock: who waits for it shall not hold a thread as well.
_drawing = CapacityLimiter(1)
# Its styles are part of the file; nothing in it runs or is fetched.
_SVG_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
_COLLECTIONS = {"analysis": "analyses", "model": "models", "forecast": "forecasts", "evaluation": "evaluations"}

Name = Annotated[str, Path(description="As the list of figures names it.", examples=["spectrum"])]
Format = Annotated[FigureFormat | None, Query(description="Wins over Accept; Plotly JSON by default.")]
Theme = Annotated[FigureTheme, Query(description="Colours for a light or a dark page.")]
Width = Annotated[
    int | None, Query(ge=240, le=4000, description="In pixels of the page; by default as the figure needs.")
]
Height = Annotated[int | None, Query(ge=180, le=6000, description="In pixels of the page.")]
Scale = Annotated[
    float, Query(ge=0.5, le=6, description="Pixels of a PNG for each of the page: 2 is sharp, 4 is for print.")
]
Accept = Annotated[str, Header(description="Plotly JSON (application/vnd.plotly.v1+json or application/json), image/png or image/svg+xml.")]  # fmt: skip


def _lister(resource: str) -> Callable[..., FiguresOut]:
    def list_figures(services: ServicesDep, tenant: TenantDep, id: str = Depends(checked(resource))) -> FiguresOut:
        """Name, title and address of every figure, and why this result lacks others of its kind."""
        return service.listed(services, tenant, resource, id)

    return list_figures


def _getter(resource: str) -> Callable[..., Any]:
    async def get_figure(
        name: Name,
        services: ServicesDep,
        tenant: TenantDep,
        id: str = Depends(checked(resource)),
        format: Format = None,
        theme: Theme = FigureTheme.LIGHT,
        width: Width = None,
        height: Height = None,
        scale: Scale = 2.0,
        accept: Accept = "*/*",
        if_none_match: IfNoneMatch = "",
    ) -> Response:
        """Plotly JSON has `data` and `layout`, for any Plotly; PNG and SVG are the same figure, drawn."""
        chosen, media_type = choose(format, accept)
        figure = await to_thread.run_sync(service.build, services, tenant, resource, id, name)
        wide, high = width or figure.size[0], height or figure.size[1]
        if chosen is FigureFormat.PNG and wide * high * scale**2 > MAX_PIXELS:
            raise _too_large(wide, high, scale)
        body = (await to_thread.run_sync(to_json, figure, theme.value, width, height)).encode()
        etag = tag_of(body, chosen, scale)
        headers = {"ETag": etag, "Cache-Control": "private, no-cache", "Vary": "Accept"}
        if matches(if_none_match, etag):
            return Response(status_code=304, headers=headers)
        if chosen is not FigureFormat.PLOTLY:
            from figures.drawing import draw  # matplotlib takes a second to import

            body = await to_thread.run_sync(
                draw, figure, chosen.value, theme.value, width, height, scale, limiter=_drawing
            )
            headers["Content-Disposition"] = f'inline; filename="{id}-{name}.{chosen}"'
        if chosen is FigureFormat.SVG:
            headers["Content-Security-Policy"] = _SVG_POLICY
        return Response(body, headers=headers, media_type=media_type)

    return get_figure


def _too_large(width: int, height: int, scale: float) -> InvalidParameters:
    detail = f"{width} x {height} at scale {scale:g} are more than {MAX_PIXELS:,} pixels: ask for a smaller scale, or for SVG."
    return InvalidParameters(detail, [ErrorItem(pointer="/query/scale", detail=detail)])


for _resource, _collection in _COLLECTIONS.items():
    _article = "an" if _resource[0] in "aeiou" else "a"
    router.add_api_route(
        f"/{_collection}/{{id}}/figures",
        _lister(_resource),
        operation_id=f"list_{_resource}_figures",
        summary=f"List the figures of {_article} {_resource}",
        response_model=FiguresOut,
        responses=problem_responses(404),
    )
    router.add_api_route(
        f"/{_collection}/{{id}}/figures/{{name}}",
        _getter(_resource),
        operation_id=f"get_{_resource}_figure",
        summary=f"Get a figure of {_article} {_resource}",
        response_class=Response,
        responses={200: {"content": CONTENT}, 304: {"description": "You have it already."}, **problem_responses(404, 406, 422)},
    )  # fmt: skip

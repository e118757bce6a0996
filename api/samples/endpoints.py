"""Endpoints of the gallery of samples."""

from __future__ import annotations

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Body, Path, Request, Response
from fastapi.openapi.models import Example

from api.dependencies import ServicesDep, TenantDep
from api.errors import problem_responses
from api.samples import service
from api.samples.schemas import SampleOut, SampleRequest, SamplesOut
from api.series.endpoints import ETAG, LOCATION, answer, parses
from api.series.schemas import SeriesOut
from api.validation import StrictRoute
from dynamics.samples import SAMPLES

router = APIRouter(prefix="/v1/samples", tags=["samples"], route_class=StrictRoute)

_EXAMPLES: dict[str, Example] = {
    "noisy": Example(summary="2,000 rows, 2 % noise", value={"steps": 2000, "noise": 0.02, "seed": 1}),
    "default": Example(summary="As the gallery has it", value={}),
    "sequel": Example(
        summary="What truly comes after the first 10,000 rows", value={"steps": 500, "noise": 0, "skip": 10_000}
    ),
}


@router.get("", operation_id="list_samples", summary="List the samples")
def list_samples() -> SamplesOut:
    """Generated systems for trying the service: what they are, and what is known that an analysis should find."""
    return SamplesOut(data=[SampleOut.of(sample) for sample in SAMPLES.values()])


@router.post(
    "/{name}",
    operation_id="create_sample",
    summary="Make a series of a sample",
    status_code=201,
    response_model=SeriesOut,
    responses={
        200: {"model": SeriesOut, "description": "The same series is there already.", "headers": LOCATION | ETAG},
        201: {"headers": LOCATION | ETAG},
        **problem_responses(400, 404, 413, 415, 422, 503, 507),
    },
)
async def create_sample(
    name: Annotated[str, Path(description="As the list names it.", examples=["lorenz63"])],
    request: Request,
    services: ServicesDep,
    tenant: TenantDep,
    body: Annotated[SampleRequest | None, Body(openapi_examples=_EXAMPLES)] = None,
) -> Response:
    """A series like any other, checked and stored as an upload is; the same request gives the same series (200)."""
    sample = service.find(name)
    added = await to_thread.run_sync(
        service.make,
        services,
        tenant,
        sample,
        body or SampleRequest(),
        limiter=parses(request.app, services.settings.max_parses),
    )
    return answer(added)

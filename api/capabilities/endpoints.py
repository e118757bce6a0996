"""Endpoints that say what the service can do, and what its problems mean."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import version
from typing import Annotated, get_args

import numpy as np
from fastapi import APIRouter, Path

from api.capabilities.schemas import (
    ArchitectureOut,
    Capabilities,
    ForcingOut,
    Formats,
    KindOut,
    Limits,
    ProblemType,
)
from api.dependencies import SettingsDep
from api.errors import problem_responses, problem_types
from api.headers import MAX_WAIT_SECONDS
from api.jobs.checks import MAX_METADATA_BYTES
from api.settings import ApiSettings
from api.tables import Format
from domain.errors import NotFound
from domain.jobs import JobKind
from domain.limits import MAX_FORECAST_VALUES, MIN_ANALYSIS_STEPS
from domain.series import SeriesSpec
from domain.specs import MAX_HORIZON_STEPS, SPECS, TrainSpec
from domain.training_specs import GeneralizedForcingSpec, NoForcingSpec, SparseForcingSpec
from models import ARCHITECTURES, Architecture, Size
from store.pages import MAX_LIMIT

router = APIRouter(prefix="/v1", tags=["capabilities"])

_RESULTS = {
    JobKind.LYAPUNOV: "analysis",
    JobKind.TRAIN: "model",
    JobKind.FORECAST: "forecast",
    JobKind.EVALUATE: "evaluation",
    JobKind.RECONSTRUCT: "model",
}


@router.get("/capabilities", operation_id="get_capabilities", summary="What the service can do")
def get_capabilities(settings: SettingsDep) -> Capabilities:
    """Kinds of jobs with the JSON Schema of their parameters, architectures, limits, formats, problems, versions."""
    return Capabilities(
        kinds=[
            KindOut(kind=kind, result=_RESULTS[kind], params_schema=spec.model_json_schema())
            for kind, spec in SPECS.items()
        ],
        architectures=_architectures(),
        forcings=_forcings(),
        optimizers=list(get_args(TrainSpec.model_fields["optimizer"].annotation)),
        upload_schema=SeriesSpec.model_json_schema(),
        limits=_limits(settings),
        formats=Formats(upload=_upload_formats(), table=list(Format)),
        problems=[_problem_type(name) for name in problem_types()],
        versions={"attractor": version("attractor"), "api": "v1", "python": platform.python_version()},
    )


@router.get(
    "/problems/{name}",
    operation_id="get_problem_type",
    summary="What a kind of problem means",
    responses=problem_responses(404),
)
def get_problem_type(
    name: Annotated[str, Path(description="Last part of a problem's `type`.", examples=["irregular-sampling"])],
) -> ProblemType:
    """What the `type` of a problem document points to."""
    if name not in problem_types():
        raise NotFound(f"There is no kind of problem called {name[:60]!r}; /v1/capabilities lists them.")
    return _problem_type(name)


@cache
def _architectures() -> list[ArchitectureOut]:
    return [_architecture(ARCHITECTURES[name]) for name in sorted(ARCHITECTURES)]


def _architecture(architecture: type[Architecture]) -> ArchitectureOut:
    some = architecture.init(np.random.default_rng(0), Size(4, 2, 2))
    return ArchitectureOut(
        name=architecture.name,
        citation=architecture.citation,
        hidden_role=architecture.hidden_role,
        layered=architecture.layered,
        observations=["affine", "convolutional"] if architecture.squashed else ["identity", "affine", "convolutional"],
        has_jacobian_bound=architecture.jacobian_bound(some) is not None,
        has_identity=architecture.identity(some) is not None,
    )


def _forcings() -> list[ForcingOut]:
    specs = (GeneralizedForcingSpec(), SparseForcingSpec(), NoForcingSpec())
    return [ForcingOut(kind=spec.kind, description=spec.__doc__ or "") for spec in specs]


def _problem_type(name: str) -> ProblemType:
    cls = problem_types()[name]
    return ProblemType(type=f"/v1/problems/{name}", code=cls.code, title=cls.title, status=cls.status)


def _upload_formats() -> list[str]:
    literal = get_args(SeriesSpec.model_fields["format"].annotation)[0]
    return list(get_args(literal))


def _limits(settings: ApiSettings) -> Limits:
    return Limits(
        max_json_bytes=settings.max_json_bytes,
        max_upload_bytes=settings.max_upload_bytes,
        max_upload_rows=settings.max_upload_rows,
        max_upload_channels=settings.max_upload_channels,
        max_upload_values=settings.max_upload_values,
        min_analysis_steps=MIN_ANALYSIS_STEPS,
        max_horizon_steps=MAX_HORIZON_STEPS,
        max_sync_horizon_steps=settings.max_sync_horizon_steps,
        max_sync_work=settings.max_sync_work,
        max_forecast_values=MAX_FORECAST_VALUES,
        max_wait_seconds=MAX_WAIT_SECONDS,
        max_page_rows=MAX_LIMIT,
        max_metadata_bytes=MAX_METADATA_BYTES,
    )

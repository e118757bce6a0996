"""The public documents of results: what the science answers, plus ids and links. The worker builds them, the API serves them.

    job result --> AnalysisOut | ModelOut | ForecastOut | EvaluationOut --> stored as JSON --> served as it is

A document is stored once and never changes; hrefs are paths, built from ids. Lists leave out what is long.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from domain.base import Document, Instant, Warning_
from domain.companions import SeriesChannels
from domain.ids import PREFIXES
from domain.jobs import ResultRef
from domain.results import (
    ForecastResult,
    ForecastStart,
    LyapunovAnalysis,
    Predictability,
    ReconstructionReport,
    TrainingHistory,
)

_COLLECTIONS = {
    "series": "series",
    "job": "jobs",
    "analysis": "analyses",
    "model": "models",
    "forecast": "forecasts",
    "evaluation": "evaluations",
    "key": "keys",
    "webhook": "webhooks",
    "delivery": "deliveries",
    "audit": "audit-events",
}
assert _COLLECTIONS.keys() == PREFIXES.keys()

MODEL_WEIGHTS = "model.safetensors"
MODEL_CARD = "model.json"


def href(resource: str, id: str) -> str:
    """Path of one resource: `href("model", "mdl_...")` is `/v1/models/mdl_...`."""
    return f"/v1/{_COLLECTIONS[resource]}/{id}"


def artifact_href(model_id: str, name: str) -> str:
    return f"{href('model', model_id)}/artifacts/{name}"


def result_ref(resource: str, id: str) -> ResultRef:
    """What a succeeded job points at."""
    return ResultRef(type=resource, id=id, href=href(resource, id))


class AnalysisOut(LyapunovAnalysis):
    """A Lyapunov analysis of a series."""

    id: str
    series_id: str
    job_id: str
    created_at: Instant
    channels: list[str] = Field(description="Channels that were analysed, in order.")


class Artifact(Document):
    """A file that belongs to a model."""

    name: str
    media_type: str
    bytes: int
    sha256: str = Field(description="Hexadecimal SHA-256 of the content.")
    href: str


class Accompanied(Document):
    """What was recorded in series of their own; rows of these go with rows of `series_id`."""

    input_series: list[SeriesChannels] = Field(
        default_factory=list, description="Series that hold input channels, with the names of these."
    )
    nuisance_series: list[SeriesChannels] = Field(
        default_factory=list, description="Series that hold nuisance channels, with the names of these."
    )


class RecordingVector(Document):
    """A recording of a family of maps and its vector: standardised over the recordings, mean 0 and std 1."""

    name: str
    vector: list[float]


class ModelOut(Accompanied):
    """A trained model: what it is, how it was trained, how good it is on held-out data."""

    id: str
    origin: Literal["trained", "imported"] = Field(default="trained", description="By a job here, or from a file.")
    series_id: str | None = Field(description="What it learned from; null for an imported model.")
    analysis_id: str | None = Field(default=None, description="Analysis that tuned the forcing, if any.")
    job_id: str | None = Field(description="null for an imported model.")
    created_at: Instant
    architecture: str
    latent_dim: int
    hidden_dim: int = Field(description="0 for an architecture that has no such size.")
    n_parameters: int
    observation: dict[str, Any] = Field(
        description='Observation model, such as {"kind": "identity"}. Of a convolutional one also `kernel_steps`; `cut_steps`, the rows '
        "at the beginning and the end of a series of which the deconvolution tells too little; the noise that it reckons with, in standard "
        "deviations of the channels; and the rows that a forecast starts from."
    )
    forcing: dict[str, Any] = Field(description='Teacher forcing used, such as {"kind": "gtf", "alpha": 0.15}.')
    channels: list[str] = Field(description="Channels that the model observes and forecasts.")
    input_channels: list[str] = Field(
        default_factory=list, description="Channels that drive it; their future values are part of a forecast."
    )
    nuisance_channels: list[str] = Field(
        default_factory=list, description="Channels whose linear share is subtracted from the observations."
    )
    recordings: list[RecordingVector] = Field(
        default_factory=list,
        description="With `recording_dim`, those that have a map of their own; empty where all share one.",
    )
    lags: list[int] = Field(description="Delay embedding of the observations, in steps; [0] for none.")
    dt: float
    time_unit: str
    training: TrainingHistory
    report: ReconstructionReport
    artifacts: list[Artifact]


class ForecastSummary(Accompanied):
    """A forecast without its numbers, as lists have it."""

    id: str
    model_id: str
    series_id: str | None = Field(default=None, description="Series it starts from; null for a context sent along.")
    job_id: str | None = Field(default=None, description="null for a forecast that was answered at once.")
    created_at: Instant
    start: ForecastStart
    horizon_steps: int
    channels: list[str]
    time_unit: str
    predictability: Predictability
    trusted_steps: int | None = None
    inputs: Literal["request", "series"] | None = Field(
        default=None, description="Where the values of the model's input channels came from; null for a model without."
    )
    nuisance: Literal["request", "series", "mean"] | None = Field(
        default=None,
        description="Where the values of the model's nuisance channels came from; null for a model without.",
    )
    warnings: list[Warning_] = Field(default_factory=list)


class ForecastOut(Accompanied, ForecastResult):
    """A forecast by a model, in the series' own units."""

    id: str
    model_id: str
    series_id: str | None = Field(default=None, description="Series it starts from; null for a context sent along.")
    job_id: str | None = Field(default=None, description="null for a forecast that was answered at once.")
    created_at: Instant


class EvaluationOut(Accompanied, ReconstructionReport):
    """A model measured against a series."""

    id: str
    model_id: str
    series_id: str
    job_id: str
    created_at: Instant
    channels: list[str]


# Dotted paths of what lists leave out.
_LONG: dict[str, tuple[str, ...]] = {
    "analysis": ("diagnostics",),
    "model": ("training.loss", "report.samples"),
    "forecast": ("time", "median", "quantiles", "counted_channels"),
    "evaluation": ("samples",),
}
MAX_INLINE_FORECAST_VALUES = 20_000


def summary(resource: str, document: dict[str, Any]) -> dict[str, Any]:
    """The document without what is long; the original is left as it is."""
    short = dict(document)
    for path in _LONG[resource]:
        name, _, rest = path.partition(".")
        if not rest:
            short.pop(name, None)
        elif name in short:
            short[name] = {k: v for k, v in short[name].items() if k != rest}
    return short


class Encoded(str):
    """JSON that is written already: columns of documents take it as it is."""


def write_forecast(forecast: ForecastOut) -> tuple[str, dict[str, Any] | None]:
    """A forecast as JSON, for whoever asked for it and for the store; and its summary if it is long: then its row keeps
    that, and a blob the whole."""
    text = forecast.model_dump_json()
    if len(forecast.time) * len(forecast.channels) * (1 + len(forecast.quantiles)) <= MAX_INLINE_FORECAST_VALUES:
        return text, None
    return text, forecast.model_dump(mode="json", exclude=set(_LONG["forecast"]))

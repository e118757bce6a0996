"""The keyword arguments of the client's calls: those of the API, by their names there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

Auto = Literal["auto"]


class UploadOptions(TypedDict, total=False):
    """How data become a series."""

    name: str | None
    dt: float | None
    time_unit: str | None
    time_column: str | None
    recording_column: str | None
    missing: Literal["reject", "interpolate", "split"] | None
    max_gap: int | None


class JobOptions(TypedDict, total=False):
    """What every job takes."""

    priority: int | None
    limits: Mapping[str, Any] | None
    metadata: Mapping[str, Any] | None
    idempotency_key: str | None


class SeriesJobOptions(UploadOptions, JobOptions, total=False):
    """A job on a series, or on data that become one."""

    channels: Sequence[str] | None


class CompanionOptions(TypedDict, total=False):
    """Series that go with the series of the call, row by row: a Series, its id, a mapping of `series_id` and `channels`, or a list of these."""

    input_series: Any
    nuisance_series: Any


class AnalyzeOptions(SeriesJobOptions, total=False):
    """Parameters of an analysis: `LyapunovSpec` of the API."""

    method: str
    embedding_dimension: int | Auto
    embedding_delay: int | Auto
    n_exponents: int | Auto
    confidence_level: float
    budget_seconds: float
    seed: int


class TrainOptions(SeriesJobOptions, CompanionOptions, total=False):
    """Parameters of a training: `TrainSpec` of the API."""

    analysis_id: str | None
    architecture: str
    latent_dim: int | Auto
    hidden_dim: int | Auto
    layers: int | Auto
    observation: Mapping[str, Any]
    forcing: Mapping[str, Any] | Auto
    input_channels: Sequence[str]
    nuisance_channels: Sequence[str]
    channel_distributions: Mapping[str, str]
    recording_dim: int
    embedding_lags: Sequence[int] | Auto
    sequence_length: int | Auto
    batch_size: int
    updates: int | Auto
    optimizer: str
    gradient_clip: float | None
    learning_rate: Mapping[str, Any]
    regularization: Mapping[str, Any]
    seeds: int | Auto
    budget_seconds: float
    validation_fraction: float
    test_fraction: float
    split: str
    standardize: bool
    precision: Literal["float32", "float64"]
    engine: str
    device: Literal["cpu", "cuda"]
    seed: int


class ReconstructOptions(SeriesJobOptions, CompanionOptions, total=False):
    """Parameters of a reconstruction: those of the analysis, the training and the evaluation."""

    lyapunov: Mapping[str, Any]
    train: Mapping[str, Any]
    evaluate: Mapping[str, Any]


class EvaluateOptions(SeriesJobOptions, CompanionOptions, total=False):
    """Parameters of an evaluation: `EvaluateSpec` of the API."""

    start_index: int | None
    stop_index: int | None
    prediction_horizon_steps: int
    lyapunov_steps: int
    valid_prediction_threshold: float
    seed: int


class ForecastOptions(CompanionOptions, total=False):
    """Parameters of a forecast: `ForecastSpec` of the API, the values of `context` and `inputs` as arrays."""

    horizon_steps: int
    horizon_lyapunov_times: float
    start_index: int
    context: Any
    context_time_start: float
    context_inputs: Any
    context_nuisance: Any
    recording: str
    recording_vector: Sequence[float]
    inputs: Any
    nuisance: Any
    quantiles: Sequence[float]
    samples: int
    seed: int


def of(kind: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that belong to `kind`, without those that are None."""
    return {name: value for name, value in options.items() if name in kind.__annotations__ and value is not None}


def check(kind: type, options: Mapping[str, Any]) -> None:
    """Raise TypeError for a name that `kind` does not have, as Python does for its own functions."""
    if unknown := sorted(set(options) - set(kind.__annotations__)):
        raise TypeError(f"unknown argument {unknown[0]!r}; there are {', '.join(sorted(kind.__annotations__))}")


def science(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are parameters of the method itself."""
    others = {*SeriesJobOptions.__annotations__, *CompanionOptions.__annotations__, "analysis_id"}
    return {name: value for name, value in options.items() if name not in others}

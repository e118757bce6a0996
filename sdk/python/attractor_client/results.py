"""What the service answers, as frozen dataclasses. Arrays are float64, NaN where the service says null.

`raw` is the whole document as it came, with everything that has no field here. What every word and number means:
docs/guides/results.md of the service.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Quantity:
    """One number with what is needed to read it; without a value there is a reason."""

    value: float | None = None
    unit: str | None = None
    ci: tuple[float, float] | None = None
    level: float | None = None
    method: str | None = None
    reason: str | None = None

    def __str__(self) -> str:
        if self.value is None:
            return f"unknown ({self.reason})"
        interval = f" [{self.ci[0]:.4g}, {self.ci[1]:.4g}]" if self.ci else ""
        unit = f" {self.unit}" if self.unit not in (None, "", "1") else ""
        return f"{self.value:.4g}{interval}{unit}"


@dataclass(frozen=True)
class Measure(Quantity):
    """A measure of quality: never compare across variants, and no model is expected below `floor`."""

    variant: str = ""
    floor: float | None = None


@dataclass(frozen=True)
class KnownDynamics:
    """What is known of a sample's system itself: Lyapunov exponents, largest first, and its Kaplan-Yorke dimension."""

    exponents: list[float]
    unit: str = ""
    kaplan_yorke_dimension: float | None = None
    source: str = ""


@dataclass(frozen=True)
class Sample:
    """A generated system of the service's gallery; `client.sample(name)` makes a series of it."""

    name: str
    title: str
    kind: str
    channels: list[str]
    dt: float
    time_unit: str
    lambda_max: float
    known: KnownDynamics
    input_channels: list[str] = field(default_factory=list)
    equations: list[str] = field(default_factory=list)
    parameters: dict[str, float] = field(default_factory=dict)
    expect: str = ""
    citation: str = ""
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Notice:
    """Something a reader of the result must know; the result is valid nevertheless."""

    code: str
    detail: str


@dataclass(frozen=True)
class Verdict:
    """chaotic, periodic, quasi-periodic, fixed-point, noise or undecided, and why in plain words."""

    kind: str
    detail: str


@dataclass(frozen=True)
class Predictability:
    """ln 2 / lambda_max, in which an error doubles; `time` is None, with a reason, where nothing diverges."""

    time: float | None = None
    steps: int | None = None
    unit: str = ""
    reason: str | None = None


@dataclass(frozen=True, eq=False)
class LyapunovSpectrum:
    """Exponents in nats per time unit, largest first."""

    exponents: np.ndarray
    unit: str = ""
    method: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Analysis:
    """Lyapunov analysis of a series."""

    id: str
    series_id: str
    job_id: str
    created_at: datetime
    channels: list[str]
    verdict: Verdict
    lambda_max: Quantity
    lyapunov_spectrum: LyapunovSpectrum = field(compare=False)
    predictability: Predictability
    kaplan_yorke_dimension: Quantity
    ks_entropy: Quantity
    correlation_dimension: Quantity | None = None
    warnings: list[Notice] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class ValidPredictionTime:
    """First time at which the normalised error exceeds a threshold: the median over many starts."""

    threshold: float
    median_time: float | None = None
    median_lyapunov_times: float | None = None
    unit: str = ""
    reason: str | None = None


@dataclass(frozen=True)
class Report:
    """How good a model is on data that it has not seen."""

    verdict: str
    detail: str
    d_stsp: Measure
    d_h: Measure
    prediction_error: Measure
    valid_prediction_time: ValidPredictionTime
    lyapunov_spectrum: LyapunovSpectrum = field(compare=False)
    kaplan_yorke_dimension: Quantity
    warnings: list[Notice] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Evaluation(Report):
    """A report on a series that was chosen."""

    id: str = ""
    model_id: str = ""
    series_id: str = ""
    job_id: str = ""
    created_at: datetime | None = None
    channels: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ForecastStart:
    """Row and time at which a forecast begins; `index` is None for a context that was sent along."""

    index: int | None
    time: float


@dataclass(frozen=True, eq=False)
class CountedForecast:
    """A channel of counts or classes: expected counts `mean` (T,), or `probabilities` (T, K) of the K `classes`; means over the members."""

    kind: str
    mean: np.ndarray | None = None
    classes: list[float] | None = None
    probabilities: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Forecast:
    """Median and quantiles of an ensemble at every step, in the series' own units.

    `time` (T,), `median` (T, N), `quantiles` {p: (T, N)}, N channels. A forecast from a list has no numbers (T = 0).
    """

    start: ForecastStart
    horizon_steps: int
    channels: list[str]
    time_unit: str
    time: np.ndarray = field(default_factory=lambda: np.empty(0))
    median: np.ndarray = field(default_factory=lambda: np.empty(0))
    quantiles: dict[str, np.ndarray] = field(default_factory=dict)
    predictability: Predictability = Predictability()
    trusted_steps: int | None = None
    warnings: list[Notice] = field(default_factory=list)
    counted_channels: dict[str, CountedForecast] = field(default_factory=dict)
    id: str | None = None
    model_id: str | None = None
    series_id: str | None = None
    recording_vector: list[float] | None = None
    raw: dict[str, Any] = field(default_factory=dict, repr=False)

    def columns(self) -> dict[str, np.ndarray]:
        """`time`, then `NAME_median` and `NAME_qP` of every channel, (T,) each, as the service's tables have them.

        Of counts also `NAME_mean`, of classes `NAME_is_VALUE`, the probability of each.
        """
        table = {"time": self.time}
        for i, channel in enumerate(self.channels):
            table[f"{channel}_median"] = self.median[:, i]
            table |= {f"{channel}_q{p}": values[:, i] for p, values in self.quantiles.items()}
        for channel, found in self.counted_channels.items():
            if found.mean is not None:
                table[f"{channel}_mean"] = found.mean
            if found.probabilities is not None:
                odds = zip(found.classes or [], found.probabilities.T, strict=True)
                table |= {f"{channel}_is_{value:g}": column for value, column in odds}
        return table

    def to_pandas(self) -> Any:
        """The columns as a pandas DataFrame with the time as its index."""
        import pandas as pd

        return pd.DataFrame(self.columns()).set_index("time")

    def to_polars(self) -> Any:
        """The columns as a polars DataFrame."""
        import polars as pl

        return pl.DataFrame(self.columns())


@dataclass(frozen=True)
class Progress:
    """How far a job has come: `fraction` of the whole, the phase, figures such as the loss, seconds left if known."""

    fraction: float = 0.0
    phase: str = "queued"
    step: int | None = None
    total_steps: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    eta_s: float | None = None


@dataclass(frozen=True)
class Event:
    """Something that happened to a job: `type` is status, progress or message, `data` says what."""

    seq: int
    type: str
    data: dict[str, Any]
    created_at: datetime

    @property
    def ends_the_job(self) -> bool:
        return self.data.get("status") in TERMINAL


TERMINAL = frozenset({"succeeded", "failed", "canceled"})


@dataclass(frozen=True)
class JobProblem:
    """Why a job failed."""

    code: str
    detail: str
    retryable: bool = False


@dataclass(frozen=True)
class ResultRef:
    """Where a job's result is."""

    type: str
    id: str
    href: str


@dataclass(frozen=True)
class JobState:
    """A job at one moment; it is read anew with `refresh`."""

    id: str
    kind: str
    status: str
    attempt: int
    max_attempts: int
    created_at: datetime
    progress: Progress = Progress()
    priority: int = 0
    queue: str = "cpu"
    retry_of: str | None = None
    series_id: str | None = None
    model_id: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: JobProblem | None = None
    result: ResultRef | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    raw: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL


@dataclass(frozen=True)
class Segment:
    """Rows [start, stop) without a gap."""

    start: int
    stop: int
    time_start: float


@dataclass(frozen=True)
class Recording:
    """One recording of a collection: rows [start, stop) of the series."""

    name: str
    start: int
    stop: int
    time_start: float


@dataclass(frozen=True)
class Issue:
    """Something the audit of an upload found."""

    code: str
    severity: str
    detail: str
    rows: list[int] = field(default_factory=list)
    n_rows: int = 0


@dataclass(frozen=True)
class Profile:
    """What the audit of an upload found."""

    n_steps: int
    n_channels: int
    n_usable_steps: int
    duration: float
    segments: list[Segment] = field(default_factory=list)
    recordings: list[Recording] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)


@dataclass(frozen=True)
class SeriesFields:
    """An uploaded series; it never changes."""

    id: str
    name: str | None
    created_at: datetime
    n_steps: int
    n_channels: int
    channels: list[str]
    dt: float
    time_unit: str
    time_start: float
    profile: Profile
    raw: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Artifact:
    """A file of a model."""

    name: str
    media_type: str
    bytes: int
    sha256: str
    href: str


@dataclass(frozen=True)
class ModelFields:
    """A trained model; it never changes."""

    id: str
    series_id: str | None
    job_id: str | None
    created_at: datetime
    architecture: str
    latent_dim: int
    hidden_dim: int
    n_parameters: int
    channels: list[str]
    dt: float
    time_unit: str
    report: Report
    artifacts: list[Artifact]
    analysis_id: str | None = None
    origin: str = "trained"
    input_channels: list[str] = field(default_factory=list)
    nuisance_channels: list[str] = field(default_factory=list)
    lags: list[int] = field(default_factory=lambda: [0])
    raw: dict[str, Any] = field(default_factory=dict, repr=False)

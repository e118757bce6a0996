"""What the science answers. Field names are part of the public contract; units are always said."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from domain.base import Document, Measure, Quantity, Warning_


class LyapunovSpectrum(Document):
    """Lyapunov exponents, descending, in nats per time unit."""

    exponents: list[float | None] = Field(
        default_factory=list, description="null for an exponent of minus infinity or one the data cannot give."
    )
    ci: list[tuple[float, float] | None] | None = None
    level: float | None = None
    unit: str
    method: str | None = None
    reason: str | None = Field(default=None, description="Why the spectrum is empty or incomplete.")


class Evidence(Document):
    """One observation that speaks for or against a verdict."""

    test: str = Field(description="Name of the test or check, such as zero-one-test.")
    value: float | None = None
    supports: str = Field(description="Verdict it speaks for, or `none`.")
    detail: str


VerdictKind = Literal["chaotic", "periodic", "quasi-periodic", "fixed-point", "noise", "undecided"]


class Verdict(Document):
    kind: VerdictKind
    detail: str = Field(description="In plain words.")
    evidence: list[Evidence] = Field(default_factory=list)


class Predictability(Document):
    """How far ahead anything can be known: ln 2 / lambda_max, the doubling time of an error."""

    time: float | None = Field(
        default=None, description="In time units; null when nothing diverges or lambda_max is unknown."
    )
    steps: int | None = None
    unit: str = ""
    reason: str | None = None


class ForcingAdvice(Document):
    """What the spectrum says about teacher forcing: tau = ln 2 / lambda_max in steps, alpha ~ 1 - exp(-lambda_max dt) as a start."""

    interval_steps: int | None = None
    alpha: float | None = None
    reason: str | None = None


class Embedding(Document):
    """State space in which the exponents were measured."""

    kind: Literal["none", "delay", "principal-components"] = Field(
        description="`none`: the channels themselves are the state."
    )
    dimension: int
    delay_steps: int | None = None
    lags: list[int] = Field(
        default_factory=lambda: [0], description="Lags in steps that a reconstruction may use to embed the series."
    )
    reason: str = ""


class MethodEstimate(Document):
    """The largest exponent by one method, and what speaks for or against it."""

    method: Literal["fitted-model", "neighbor-divergence", "local-jacobians"]
    lambda_max: Quantity
    trusted: bool = Field(description="Whether the analysis' exponents are this method's.")
    why: str
    distance: float | None = Field(
        default=None,
        description="Distance from the trusted method's lambda_max, in standard errors of the difference; null for the trusted one, "
        "and where one of the two has no value.",
    )
    seconds: float | None = Field(default=None, description="Wall-clock seconds it took; null if it was not run.")


class LyapunovAnalysis(Document):
    """Outcome of `kind: lyapunov`; what an Analysis consists of besides its ids."""

    lambda_max: Quantity
    lyapunov_spectrum: LyapunovSpectrum
    verdict: Verdict
    predictability: Predictability
    forcing: ForcingAdvice
    kaplan_yorke_dimension: Quantity
    ks_entropy: Quantity
    correlation_dimension: Quantity = Field(
        default=Quantity(unit="1", reason="This analysis is older than the correlation dimension: run it again."),
        description="Slope of the correlation sum over its scaling region, or why there is none.",
    )
    methods: list[MethodEstimate] = Field(
        default_factory=list, description="lambda_max by every method that ran, and which of them is trusted."
    )
    embedding: Embedding
    diagnostics: dict[str, Any] = Field(
        default_factory=dict, description="Curves and tables that let a scientist judge the estimate; plain JSON."
    )
    warnings: list[Warning_] = Field(default_factory=list)
    seconds: float = 0.0


class SeedRun(Document):
    """One training run: what was tried, and why it was kept or not."""

    seed: int
    kept: bool
    why: str
    updates: int
    seconds: float
    outcome: Literal["ok", "diverged", "collapsed", "canceled"]
    final_loss: float | None = None
    validation: dict[str, float | None] = Field(default_factory=dict)


class TrainingHistory(Document):
    updates: int = Field(description="Updates of the kept run.")
    seconds: float = Field(description="Wall-clock seconds of training, compilation not counted.")
    compile_seconds: float = 0.0
    engine: str = Field(description="Which engine ran: the compiled kernels or the torch reference.")
    seeds: list[SeedRun]
    loss: list[list[float]] = Field(
        default_factory=list, description="[[update, loss], ...] of the kept run, thinned to at most 500 points."
    )
    settings: dict[str, Any] = Field(
        default_factory=dict, description="Every parameter after `auto` was resolved, with reasons under `why`."
    )
    train_steps: tuple[int, int] = Field(description="[start, stop) of the training part, in rows of the series.")
    validation_steps: tuple[int, int]
    test_steps: tuple[int, int] = Field(description="[start, stop) of the held-out part.")
    test_parts: list[tuple[int, int]] = Field(
        default_factory=list,
        description="[start, stop) of each run of held-out rows without a gap: of a collection the bounds in `test_steps` may "
        "enclose rows that trained.",
    )
    validation_parts: list[tuple[int, int]] = Field(
        default_factory=list, description="The same of the validation part."
    )


class ValidPredictionTime(Document):
    """First time at which the normalised error exceeds a threshold, over many starts."""

    threshold: float
    median_time: float | None = Field(default=None, description="In time units.")
    quartiles_time: tuple[float | None, float | None] | None = Field(
        default=None, description="Lower and upper quartile over the starts; null where it falls on censored starts."
    )
    median_lyapunov_times: float | None = None
    n_starts: int = 0
    censored: int = Field(
        default=0, description="Starts whose error stayed below the threshold to the end of the window."
    )
    unit: str = ""
    reason: str | None = None
    also: list[ValidPredictionTime] = Field(default_factory=list, description="The same at other thresholds.")


class ExponentComparison(Document):
    """The largest exponent of the data beside the model's own."""

    data: float | None = None
    model: float | None = None
    unit: str
    difference: float | None = Field(default=None, description="Model minus data.")
    standard_errors: float | None = Field(
        default=None, description="The difference over its standard error, from both intervals."
    )
    detail: str | None = Field(default=None, description="In plain words.")
    reason: str | None = Field(default=None, description="Why they cannot be compared, or the difference not weighed.")


class RecordingReport(Document):
    """How good the map of one recording of a family is, on its held-out rows."""

    name: str
    vector: list[float]
    fitted: bool = Field(
        description="Whether the vector was fitted to these very rows, training not knowing the recording."
    )
    verdict: str
    d_stsp: float | None
    d_h: float | None
    prediction_error: float | None
    lambda_max: float | None = Field(description="Largest Lyapunov exponent of its map, per time unit.")


class CountedChannelReport(Document):
    """How good a model is on a channel of counts or classes, on held-out rows; log-likelihoods are means in nats a row."""

    channel: str
    kind: Literal["poisson", "ordinal", "categorical"]
    horizon_steps: int = Field(description="Steps ahead of the last row that the prediction knows.")
    n_starts: int
    log_likelihood: float | None = Field(description="Of the recorded values, predicted by free runs of the model.")
    marginal: float | None = Field(
        description="The same of a forecast that knows the distribution over the training rows alone (negative binomial for counts)."
    )
    persistence: float | None = Field(
        description="The same of a forecast that the rate, or the odds, stay what they are."
    )
    total_variation: float | None = Field(
        description="Distance between the distributions of recorded values and of those drawn from a free run: 0 alike, 1 disjoint."
    )
    total_variation_floor: float | None = Field(description="That between the two halves of the recorded values.")
    reason: str | None = Field(default=None, description="Why there is no likelihood.")


class ReconstructionReport(Document):
    """How good a model is, measured on data it has not seen."""

    verdict: Literal["good", "fair", "poor", "diverged", "collapsed", "undecided"]
    detail: str = Field(description="In plain words, with advice where the model is not good.")
    d_stsp: Measure
    d_stsp_long: Measure | None = Field(
        default=None,
        description="d_stsp against a long generated series that carries the measurement noise: hardly biased by a short or noisy "
        "reference. A variant of its own; up to 5 coordinates.",
    )
    d_h: Measure
    prediction_error: Measure
    valid_prediction_time: ValidPredictionTime
    lyapunov_spectrum: LyapunovSpectrum
    kaplan_yorke_dimension: Quantity
    lambda_max_comparison: ExponentComparison | None = Field(
        default=None,
        description="lambda_max of the data's analysis against the model's; null in reports older than it.",
    )
    reference_steps: tuple[int, int] = Field(description="[start, stop) of the held-out rows used.")
    reference_parts: list[tuple[int, int]] = Field(
        default_factory=list, description="[start, stop) of each of several runs of them, as a collection has."
    )
    counted_channels: list[CountedChannelReport] = Field(
        default_factory=list, description="Channels of counts and classes; empty where all are Gaussian."
    )
    recordings: list[RecordingReport] = Field(
        default_factory=list,
        description="Of a family of maps, at most six of its recordings; the report itself is that of the median one.",
    )
    warnings: list[Warning_] = Field(default_factory=list)
    samples: dict[str, Any] = Field(
        default_factory=dict,
        description="`true` and `generated`: at most 5,000 rows each of the attractor in the series' units, for pictures.",
    )
    seconds: float = 0.0


class ForecastStart(Document):
    index: int | None = Field(description="Row at which the forecast begins; null for a context that was sent along.")
    time: float


class CountedForecast(Document):
    """What a forecast says of a channel of counts or classes, besides median and quantiles: means over the members, null where none is left."""

    kind: Literal["poisson", "ordinal", "categorical"]
    mean: list[float | None] | None = Field(default=None, description="(horizon_steps,): expected counts.")
    classes: list[float] | None = Field(default=None, description="(K,): the values of the classes.")
    probabilities: list[list[float | None]] | None = Field(
        default=None, description="(horizon_steps, K): the probability of each class at each step."
    )


class ForecastResult(Document):
    """Outcome of a forecast, in the series' own units."""

    start: ForecastStart
    horizon_steps: int
    channels: list[str]
    time_unit: str
    time: list[float]
    median: list[list[float | None]] = Field(
        description="(horizon_steps, N); null where no member of the ensemble is left, which a warning explains. Of channels of classes the "
        "median of ordered ones, the likeliest of others."
    )
    quantiles: dict[str, list[list[float | None]]] = Field(
        description="Likewise for each quantile; null for channels of unordered classes, which have none."
    )
    counted_channels: dict[str, CountedForecast] = Field(
        default_factory=dict, description="By name, the channels of counts and classes of a model that has any."
    )
    predictability: Predictability
    trusted_steps: int | None = Field(
        default=None,
        description="Steps until the ensemble has spread over a tenth of the attractor's own width: beyond it only statistics can be "
        "believed. `horizon_steps` when it never does; null for a single member.",
    )
    recording_vector: list[float] | None = Field(
        default=None,
        description="Of a family of maps, the vector of the one that was run; null for a model with one map.",
    )
    inputs: Literal["request", "series"] | None = Field(
        default=None,
        description="Where the values of the model's input channels came from: sent with the request, or recorded in the series "
        "after the start; null for a model without inputs.",
    )
    nuisance: Literal["request", "series", "mean"] | None = Field(
        default=None,
        description="Where the values of the model's nuisance channels came from; `mean`: from nowhere, so the forecast is of the signal "
        "alone. null for a model without.",
    )
    warnings: list[Warning_] = Field(default_factory=list)

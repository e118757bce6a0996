"""What a caller may ask for. Every field has a default or says why it must be given; `auto` is resolved from the data."""

from __future__ import annotations

import itertools
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from domain.base import Spec
from domain.jobs import JobKind

MAX_HORIZON_STEPS = 1_000_000
MAX_SYNC_HORIZON_STEPS = 10_000
Auto = Literal["auto"]
ArchitectureName = Literal["shplrnn", "clipped-shplrnn"]


class LyapunovSpec(Spec):
    """Parameters of `kind: lyapunov`."""

    method: Literal["auto", "fitted-model", "neighbor-divergence"] = Field(
        default="auto",
        description="`auto` fits a smooth model to the series and falls back on neighbour divergence where that fails.",
    )
    embedding_dimension: Auto | Annotated[int, Field(ge=1, le=20)] = Field(
        default="auto", description="Delay-embedding dimension for a scalar series."
    )
    embedding_delay: Auto | Annotated[int, Field(ge=1, le=10_000)] = Field(
        default="auto", description="Delay in steps."
    )
    n_exponents: Auto | Annotated[int, Field(ge=1, le=64)] = "auto"
    confidence_level: float = Field(default=0.9, gt=0.5, lt=1.0)
    budget_seconds: float = Field(default=20.0, gt=0, le=3600)
    seed: int = Field(default=0, ge=0, lt=2**32)


class IdentityObservationSpec(Spec):
    """x = first N latent units."""

    kind: Literal["identity"] = "identity"


class AffineObservationSpec(Spec):
    """x = B z + b, with B learned."""

    kind: Literal["affine"] = "affine"


class AutoObservationSpec(Spec):
    """Identity, or affine for more than 10 observed coordinates."""

    kind: Literal["auto"] = "auto"


ObservationSpec = Annotated[
    AutoObservationSpec | IdentityObservationSpec | AffineObservationSpec, Field(discriminator="kind")
]


class SparseForcingSpec(Spec):
    """Sparse teacher forcing: the state is replaced by the data every `interval_steps` (Mikhaeil et al. 2022)."""

    kind: Literal["stf"] = "stf"
    interval_steps: Auto | Annotated[int, Field(ge=1, le=100_000)] = Field(
        default="auto", description="`auto` is ln 2 / (lambda_max dt), the predictability time in steps."
    )


class GeneralizedForcingSpec(Spec):
    """Generalised teacher forcing: z <- (1 - alpha) z + alpha z_data before every step (Hess et al. 2023)."""

    kind: Literal["gtf"] = "gtf"
    alpha: Auto | Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        default="auto", description="Strength of the forcing."
    )
    adaptive: bool = Field(
        default=False,
        description="Re-estimate alpha during training from the Jacobian products (Hess et al. 2023, aGTF).",
    )
    estimate: Literal["arithmetic-mean", "geometric-mean", "largest-norm", "parameter-bound"] = Field(
        default="arithmetic-mean",
        description="How adaptive forcing estimates the norm of a Jacobian: norm of the mean, geometric mean of the norms, "
        "largest norm along a sequence, or a bound from the parameters.",
    )


class NoForcingSpec(Spec):
    """Plain back-propagation through time, for comparison: its gradients explode on chaotic data."""

    kind: Literal["none"] = "none"


ForcingSpec = Annotated[SparseForcingSpec | GeneralizedForcingSpec | NoForcingSpec, Field(discriminator="kind")]


class LearningRateSpec(Spec):
    peak: Annotated[float, Field(gt=0, le=1.0)] | Auto = "auto"
    final: float = Field(default=1e-6, gt=0, le=1.0)
    schedule: Literal["one-cycle", "exponential", "constant"] = "one-cycle"


class RegularizationSpec(Spec):
    l2: float = Field(default=0.0, ge=0, description="Weight decay on all parameters.")
    noise: float = Field(
        default=0.0, ge=0, le=1.0, description="Std of Gaussian noise added to the teacher signal (standardised units)."
    )
    smoothing: Auto | Literal["off"] | Annotated[int, Field(ge=5, le=999)] = Field(
        default="auto",
        description="Rows (odd) of the local cubic fits that replace the training rows. `auto`: by cross-validation for each "
        "channel, and none unless the channel shows white noise on a smooth signal. Validation, test rows and report stay as they are.",
    )

    @model_validator(mode="after")
    def _check(self) -> RegularizationSpec:
        if isinstance(self.smoothing, int) and self.smoothing % 2 == 0:
            raise ValueError("smoothing must be an odd number of rows")
        return self


class TrainSpec(Spec):
    """Parameters of `kind: train`."""

    architecture: Auto | ArchitectureName = "auto"
    latent_dim: Auto | Annotated[int, Field(ge=1, le=256)] = "auto"
    hidden_dim: Auto | Annotated[int, Field(ge=1, le=2048)] = "auto"
    observation: ObservationSpec = AutoObservationSpec()
    forcing: Auto | ForcingSpec = "auto"
    embedding_lags: (
        Auto | Annotated[list[Annotated[int, Field(ge=0, le=100_000)]], Field(min_length=1, max_length=20)]
    ) = Field(
        default="auto",
        description="Delay embedding of the observations: lags in steps, the first must be 0. `auto`: [0], or the analysis' embedding for a scalar series.",
    )
    sequence_length: Auto | Annotated[int, Field(ge=2, le=10_000)] = "auto"
    batch_size: int = Field(default=16, ge=1, le=1024)
    updates: Auto | Annotated[int, Field(ge=1, le=10_000_000)] = "auto"
    optimizer: Literal["radam"] = "radam"
    learning_rate: LearningRateSpec = LearningRateSpec()
    regularization: RegularizationSpec = RegularizationSpec()
    seeds: Auto | Annotated[int, Field(ge=1, le=64)] = Field(
        default="auto", description="How many runs are trained; the best on validation data is kept."
    )
    budget_seconds: float = Field(
        default=30.0, gt=0, le=86_400, description="Wall-clock seconds for training, compilation not counted."
    )
    validation_fraction: float = Field(
        default=0.05, gt=0, lt=0.9, description="Tail of the training part that chooses among seeds and checkpoints."
    )
    test_fraction: float = Field(
        default=0.1,
        ge=0,
        lt=0.9,
        description="Tail of the series held out for the report; never seen in training or selection.",
    )
    standardize: bool = True
    precision: Literal["float32", "float64"] = "float32"
    seed: int = Field(default=0, ge=0, lt=2**32)

    @model_validator(mode="after")
    def _check(self) -> TrainSpec:
        if self.validation_fraction + self.test_fraction >= 0.95:
            raise ValueError("validation_fraction + test_fraction must leave at least 5 % of the series for training")
        lags = self.embedding_lags
        if lags != "auto" and (lags[0] != 0 or any(b <= a for a, b in itertools.pairwise(lags))):
            raise ValueError("embedding_lags must start with 0 and increase")
        return self


class EvaluateSpec(Spec):
    """Parameters of `kind: evaluate`: a stored model against a series (by default the held-out part of its own)."""

    start_index: int | None = Field(
        default=None,
        ge=0,
        description="First step of the reference part; default: the model's held-out part, or 0 for another series.",
    )
    stop_index: int | None = Field(default=None, ge=1)
    prediction_horizon_steps: int = Field(default=20, ge=1, le=10_000)
    lyapunov_steps: int = Field(default=20_000, ge=100, le=10_000_000)
    valid_prediction_threshold: float = Field(default=0.4, gt=0, le=2.0)
    seed: int = Field(default=0, ge=0, lt=2**32)


Row = Annotated[list[float | None], Field(max_length=4096)]


class ForecastContext(Spec):
    """Recent observations sent with the request, in the series' own units and channel order, oldest first."""

    values: Annotated[list[Row], Field(min_length=1, max_length=100_000)]
    time_start: float | None = Field(default=None, description="Time of the first row of `values`; 0 when absent.")


class ForecastSpec(Spec):
    """Parameters of a forecast."""

    horizon_steps: Annotated[int, Field(ge=1, le=MAX_HORIZON_STEPS)] | None = None
    horizon_lyapunov_times: Annotated[float, Field(gt=0, le=10_000)] | None = None
    start_index: Annotated[int, Field(ge=0)] | None = Field(
        default=None,
        description="The forecast begins at this step of the stored series, from the data before it; default: the series' end.",
    )
    context: ForecastContext | None = None
    quantiles: Annotated[list[Annotated[float, Field(ge=1e-4, le=1 - 1e-4)]], Field(max_length=9)] = Field(
        default=[0.05, 0.95]
    )
    samples: int = Field(
        default=100,
        ge=1,
        le=1000,
        description="Members of the ensemble that starts within the model's own one-step uncertainty.",
    )
    seed: int = Field(default=0, ge=0, lt=2**32)

    @model_validator(mode="after")
    def _check(self) -> ForecastSpec:
        if (self.horizon_steps is None) == (self.horizon_lyapunov_times is None):
            raise ValueError("give exactly one of horizon_steps and horizon_lyapunov_times")
        if self.context is not None and self.start_index is not None:
            raise ValueError("give start_index or context, not both")
        return self


class ReconstructSpec(Spec):
    """Parameters of `kind: reconstruct`: analyse, tune the forcing, train, evaluate."""

    lyapunov: LyapunovSpec = LyapunovSpec()
    train: TrainSpec = TrainSpec()
    evaluate: EvaluateSpec = EvaluateSpec()


SPECS: dict[JobKind, type[Spec]] = {
    JobKind.LYAPUNOV: LyapunovSpec,
    JobKind.TRAIN: TrainSpec,
    JobKind.FORECAST: ForecastSpec,
    JobKind.EVALUATE: EvaluateSpec,
    JobKind.RECONSTRUCT: ReconstructSpec,
}


class JobLimits(Spec):
    timeout_s: int = Field(default=7200, ge=1, le=604_800)


class _JobRequest(Spec):
    channels: Annotated[list[str], Field(min_length=1, max_length=4096)] | None = Field(
        default=None, description="Channels to use, by name; default: all."
    )
    limits: JobLimits = JobLimits()
    metadata: dict[str, Any] = Field(
        default_factory=dict, description="Yours: stored and returned as given (at most 8 KiB as JSON)."
    )


class LyapunovJob(_JobRequest):
    kind: Literal["lyapunov"]
    series_id: str
    params: LyapunovSpec = LyapunovSpec()


class TrainJob(_JobRequest):
    kind: Literal["train"]
    series_id: str
    analysis_id: str | None = Field(
        default=None,
        description="Analysis that tunes the forcing; default: the newest of this series and channels, or a new one made first.",
    )
    params: TrainSpec = TrainSpec()


class EvaluateJob(_JobRequest):
    kind: Literal["evaluate"]
    model_id: str
    series_id: str | None = Field(default=None, description="Default: the series the model was trained on.")
    params: EvaluateSpec = EvaluateSpec()


class ForecastJob(_JobRequest):
    kind: Literal["forecast"]
    model_id: str
    series_id: str | None = Field(default=None, description="Default: the series the model was trained on.")
    params: ForecastSpec


class ReconstructJob(_JobRequest):
    kind: Literal["reconstruct"]
    series_id: str
    params: ReconstructSpec = ReconstructSpec()


JobRequest = Annotated[LyapunovJob | TrainJob | EvaluateJob | ForecastJob | ReconstructJob, Field(discriminator="kind")]

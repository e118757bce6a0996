"""What a caller may ask for. Every field has a default or says why it must be given; `auto` is resolved from the data."""

from __future__ import annotations

import itertools
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from domain.base import Spec
from domain.companions import Companions
from domain.jobs import JobKind, JobQueue
from domain.training_specs import (
    ArchitectureName,
    Auto,
    AutoObservationSpec,
    Distribution,
    ForcingSpec,
    LearningRateSpec,
    ObservationSpec,
    RegularizationSpec,
)

MAX_HORIZON_STEPS = 1_000_000
MAX_SYNC_HORIZON_STEPS = 10_000
MAX_TIME = 1e15  # beyond, a step is lost in the rounding of its time
MAX_TIMEOUT_S = 604_800
MIN_MEMORY_MB, MAX_MEMORY_MB = 256, 1_048_576
MAX_PRIORITY = 10


class LyapunovSpec(Spec):
    """Parameters of `kind: lyapunov`."""

    method: Literal["auto", "fitted-model", "neighbor-divergence", "local-jacobians"] = Field(
        default="auto",
        description="Where the exponents come from. `auto` fits a smooth model to the series and falls back on neighbour divergence "
        "where that fails; the others are measured beside it, see `methods`.",
    )
    embedding_dimension: Auto | Annotated[int, Field(ge=1, le=20)] = Field(
        default="auto", description="Delay-embedding dimension for a scalar series."
    )
    embedding_delay: Auto | Annotated[int, Field(ge=1, le=10_000)] = Field(
        default="auto", description="Delay in steps."
    )
    n_exponents: Auto | Annotated[int, Field(ge=1, le=64)] = Field(
        default="auto", description="How many exponents are reported, largest first; `auto`: all that the data carry."
    )
    confidence_level: float = Field(default=0.9, gt=0.5, lt=1.0, description="Level of the confidence intervals.")
    budget_seconds: float = Field(default=20.0, gt=0, le=3600, description="Wall-clock seconds for the analysis.")
    seed: int = Field(default=0, ge=0, lt=2**32, description="All randomness comes from it.")


class TrainSpec(Spec):
    """Parameters of `kind: train`."""

    architecture: Auto | ArchitectureName = Field(
        default="auto", description="The map that is learned; /v1/capabilities describes them. `auto`: clipped-shplrnn."
    )
    latent_dim: Auto | Annotated[int, Field(ge=1, le=256)] = Field(
        default="auto", description="Units of the latent state. `auto`: by architecture and observed coordinates."
    )
    hidden_dim: Auto | Annotated[int, Field(ge=1, le=2048)] = Field(
        default="auto",
        description="Second size of the architectures that have one: hidden units of the shallow and deep PLRNN, bases of the "
        "dendritic PLRNN, rectified units of the AL-RNN.",
    )
    layers: Auto | Annotated[int, Field(ge=1, le=8)] = Field(
        default="auto", description="Hidden layers of the deep-plrnn; no other architecture has them."
    )
    observation: ObservationSpec = Field(
        default=AutoObservationSpec(), description="How the observed coordinates are read from the latent state."
    )
    forcing: Auto | ForcingSpec = Field(
        default="auto",
        description="How training pulls the state back to the data. `auto`: generalised for the shallow "
        "and deep PLRNN, sparse with a growing interval for all others.",
    )
    input_channels: Annotated[list[str], Field(max_length=256)] = Field(
        default=[],
        description="Channels that drive the system from outside (linear coupling, z_t = F(z_(t-1)) + C s_t); they are not "
        "reconstructed, and forecasts need their future values.",
    )
    nuisance_channels: Annotated[list[str], Field(max_length=256)] = Field(
        default=[],
        description="Channels that contaminate the observations without acting on the system, such as head motion or breathing: "
        "J r_t is added to what is observed, with J learned. They are not reconstructed; forecasts take their future values, or "
        "their mean.",
    )
    channel_distributions: Annotated[dict[str, Distribution], Field(max_length=256)] = Field(
        default={},
        description="What channels hold that are not continuous, by name: `poisson` for counts (integers from 0), `ordinal` for ordered "
        "and `categorical` for unordered classes (integers, at most 20 different ones). They are read from the latent state by a generalised "
        "linear model and judged by its likelihood. Channels that are not named are `gaussian`.",
    )
    recording_dim: int = Field(
        default=0,
        ge=0,
        le=8,
        description="Of a collection: size of the vector that each recording has of its own; its map is the common one shifted along "
        "that many learned directions. 0: one map for all recordings.",
    )
    embedding_lags: (
        Auto | Annotated[list[Annotated[int, Field(ge=0, le=100_000)]], Field(min_length=1, max_length=20)]
    ) = Field(
        default="auto",
        description="Delay embedding of the observations: lags in steps, the first must be 0. `auto`: [0], or the analysis' embedding for a scalar series.",
    )
    sequence_length: Auto | Annotated[int, Field(ge=2, le=10_000)] = Field(
        default="auto", description="Steps of the sequences that training draws from the series."
    )
    batch_size: int = Field(default=16, ge=1, le=1024, description="Sequences of one update.")
    updates: Auto | Annotated[int, Field(ge=1, le=10_000_000)] = Field(
        default="auto",
        description="Parameter updates of each run. `auto`: as many as the budget affords, at most 12,000.",
    )
    optimizer: Literal["radam", "adam", "adamw"] = Field(
        default="radam", description="Rectified Adam, Adam, or Adam with decoupled weight decay."
    )
    gradient_clip: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        description="Largest Euclidean norm of the whole gradient; longer ones are scaled down to it. Default: no clipping.",
    )
    learning_rate: LearningRateSpec = Field(
        default=LearningRateSpec(), description="The learning rate over the updates."
    )
    regularization: RegularizationSpec = Field(
        default=RegularizationSpec(), description="Terms added to the loss, noise and smoothing of the data."
    )
    seeds: Auto | Annotated[int, Field(ge=1, le=64)] = Field(
        default="auto", description="How many runs are trained; the best on validation data is kept."
    )
    budget_seconds: float = Field(
        default=60.0, gt=0, le=86_400, description="Wall-clock seconds for training, compilation not counted."
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
    split: Auto | Literal["series", "each", "recordings"] = Field(
        default="auto",
        description="Of a collection: what the fractions are of. `series`: of all rows, end to end; `each`: of every recording; "
        "`recordings`: whole recordings, the last ones. `auto`: each, or recordings where there are 20 or more.",
    )
    standardize: bool = Field(
        default=True, description="Train on observed channels of mean 0 and std 1 (inputs always are)."
    )
    precision: Literal["float32", "float64"] = Field(
        default="float32", description="Floating-point numbers of training; evaluation and forecasts use float64."
    )
    engine: Auto | Literal["compiled", "torch"] = Field(
        default="auto",
        description="`compiled`: CPU kernels. `torch`: the plain reference, slower by two orders of magnitude on a CPU, and the "
        "one that runs on a GPU. `auto`: what the device wants.",
    )
    device: Literal["cpu", "cuda"] = Field(
        default="cpu", description="`cuda` needs a worker with a GPU, and uses the torch engine."
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="Seed of the first run; the others count up from it.")

    @model_validator(mode="after")
    def _check(self) -> TrainSpec:
        if self.validation_fraction + self.test_fraction >= 0.95:
            raise ValueError("validation_fraction + test_fraction must leave at least 5 % of the series for training")
        lags = self.embedding_lags
        if lags != "auto" and (lags[0] != 0 or any(b <= a for a, b in itertools.pairwise(lags))):
            raise ValueError("embedding_lags must start with 0 and increase")
        if self.device == "cuda" and self.engine == "compiled":
            raise ValueError('device cuda needs the torch engine: set engine to "torch" or "auto", or device to "cpu"')
        for name in ("input_channels", "nuisance_channels"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ValueError(f"{name} names a channel twice")
        self._check_observation()
        if self.recording_dim:
            self._check_family()
        self._check_distributions()
        return self

    @property
    def counted_channels(self) -> dict[str, Distribution]:
        """Channels that are not Gaussian."""
        return {name: kind for name, kind in self.channel_distributions.items() if kind != "gaussian"}

    def _check_distributions(self) -> None:
        for name in self.channel_distributions:
            if name in self.input_channels or name in self.nuisance_channels:
                raise ValueError(
                    f"channel_distributions names {name!r}, which is an input or a nuisance channel: only observed channels have a distribution"
                )
        excluded = {
            'observation {"kind": "convolutional"}': self.observation.kind == "convolutional",
            "nuisance_channels": bool(self.nuisance_channels),
            "recording_dim": self.recording_dim > 0,
            "embedding_lags other than [0]": self.embedding_lags not in ("auto", [0]),
        }
        for what, asked in excluded.items():
            if asked and self.counted_channels:
                name, kind = next(iter(self.counted_channels.items()))
                raise ValueError(
                    f"channel_distributions ({name!r}: {kind}) and {what} do not go together: leave one of the two away"
                )

    def _check_family(self) -> None:
        if self.split not in ("auto", "each"):
            raise ValueError(
                "recording_dim needs rows of every recording for training: leave split away, or set it to each"
            )

    def _check_observation(self) -> None:
        if both := [name for name in self.nuisance_channels if name in self.input_channels]:
            raise ValueError(
                f"{both[0]!r} is both an input and a nuisance channel: an input acts on the system, a nuisance on its observation only"
            )
        lags, what = self.embedding_lags, "nuisance_channels" if self.nuisance_channels else ""
        if self.observation.kind == "convolutional":
            what = "a convolutional observation"
        if what and lags != "auto" and lags != [0]:
            raise ValueError(f"{what} and delays do not go together: set embedding_lags to [0]")


class EvaluateSpec(Spec):
    """Parameters of `kind: evaluate`: a stored model against a series (by default the held-out part of its own)."""

    start_index: int | None = Field(
        default=None,
        ge=0,
        description="First step of the reference part; default: the model's held-out part, or 0 for another series.",
    )
    stop_index: int | None = Field(
        default=None,
        ge=1,
        description="Step after the last of the reference part; default: the end of what start_index is in.",
    )
    prediction_horizon_steps: int = Field(
        default=20, ge=1, le=10_000, description="Free steps after which the prediction error is measured."
    )
    lyapunov_steps: int = Field(
        default=20_000,
        ge=100,
        le=10_000_000,
        description="Steps of the free run that gives the model's Lyapunov spectrum.",
    )
    valid_prediction_threshold: float = Field(
        default=0.4, gt=0, le=2.0, description="Normalised error at which a prediction ceases to be valid."
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="All randomness comes from it.")


Row = Annotated[list[float | None], Field(max_length=4096)]


class ForecastContext(Spec):
    """Recent observations sent with the request, in the series' own units and channel order, oldest first."""

    values: Annotated[list[Row], Field(min_length=1, max_length=100_000)] = Field(
        description="Rows, one value per observed channel of the model."
    )
    inputs: Annotated[list[Row], Field(max_length=100_000)] | None = Field(
        default=None,
        description="The model's input channels in the same rows; needed by a model with inputs and a convolutional observation.",
    )
    nuisance: Annotated[list[Row], Field(max_length=100_000)] | None = Field(
        default=None, description="The model's nuisance channels in the same rows; needed by a model that has any."
    )
    time_start: Annotated[float, Field(ge=-MAX_TIME, le=MAX_TIME)] | None = Field(
        default=None, description="Time of the first row of `values`; 0 when absent."
    )


class ForecastSpec(Spec):
    """Parameters of a forecast."""

    horizon_steps: Annotated[int, Field(ge=1, le=MAX_HORIZON_STEPS)] | None = Field(
        default=None, description="Length of the forecast in steps; give this or horizon_lyapunov_times."
    )
    horizon_lyapunov_times: Annotated[float, Field(gt=0, le=10_000)] | None = Field(
        default=None, description="Length of the forecast in Lyapunov times, 1 / lambda_max of the model's analysis."
    )
    start_index: Annotated[int, Field(ge=0)] | None = Field(
        default=None,
        description="The forecast begins at this step of the stored series, from the data before it; default: the series' end.",
    )
    context: ForecastContext | None = Field(
        default=None, description="Recent observations to start from, in place of a stored series."
    )
    inputs: Annotated[list[Row], Field(min_length=1, max_length=MAX_HORIZON_STEPS)] | None = Field(
        default=None,
        description="Future values of the model's input channels in its order and own units, one row for each of the "
        "horizon's steps, the first for the first step; required by a model with inputs, and by no other.",
    )
    nuisance: Annotated[list[Row], Field(min_length=1, max_length=MAX_HORIZON_STEPS)] | None = Field(
        default=None,
        description="Future values of the model's nuisance channels, likewise. Default: what the series has recorded, or else their mean, "
        "which forecasts the signal alone.",
    )
    recording: Annotated[str, Field(max_length=200)] | None = Field(
        default=None,
        description="Of a model with recording_dim: the recording whose map is run. Default: the one in which the forecast starts, "
        "or, where the model does not know it, a map that is fitted to the rows before the start.",
    )
    recording_vector: Annotated[list[float], Field(min_length=1, max_length=8)] | None = Field(
        default=None, description="The vector of the map that is run, in place of a recording's."
    )
    quantiles: Annotated[list[Annotated[float, Field(ge=1e-4, le=1 - 1e-4)]], Field(max_length=9)] = Field(
        default=[0.05, 0.95], description="Quantiles of the ensemble that are reported beside its median."
    )
    samples: int = Field(
        default=100,
        ge=1,
        le=1000,
        description="Members of the ensemble that starts within the model's own one-step uncertainty.",
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="All randomness comes from it.")

    @model_validator(mode="after")
    def _check(self) -> ForecastSpec:
        if (self.horizon_steps is None) == (self.horizon_lyapunov_times is None):
            raise ValueError("give exactly one of horizon_steps and horizon_lyapunov_times")
        if self.context is not None and self.start_index is not None:
            raise ValueError("give start_index or context, not both")
        if self.recording is not None and self.recording_vector is not None:
            raise ValueError("give recording or recording_vector, not both")
        return self


class ReconstructSpec(Spec):
    """Parameters of `kind: reconstruct`: analyse, tune the forcing, train, evaluate."""

    lyapunov: LyapunovSpec = Field(default=LyapunovSpec(), description="The analysis that tunes the forcing.")
    train: TrainSpec = Field(default=TrainSpec(), description="The training.")
    evaluate: EvaluateSpec = Field(default=EvaluateSpec(), description="The report.")


SPECS: dict[JobKind, type[Spec]] = {
    JobKind.LYAPUNOV: LyapunovSpec,
    JobKind.TRAIN: TrainSpec,
    JobKind.FORECAST: ForecastSpec,
    JobKind.EVALUATE: EvaluateSpec,
    JobKind.RECONSTRUCT: ReconstructSpec,
}


class JobLimits(Spec):
    timeout_s: int = Field(
        default=7200,
        ge=1,
        le=MAX_TIMEOUT_S,
        description="Seconds after which an attempt is given up; a pause does not count.",
    )
    memory_mb: Annotated[int, Field(ge=MIN_MEMORY_MB, le=MAX_MEMORY_MB)] | None = Field(
        default=None,
        description="Mebibytes that the job's process may take before it fails as out_of_memory; default: the worker's.",
    )


class _JobRequest(Spec):
    channels: Annotated[list[str], Field(min_length=1, max_length=4096)] | None = Field(
        default=None, description="Channels to use, by name; default: all."
    )
    limits: JobLimits = JobLimits()
    priority: int = Field(
        default=0,
        ge=-MAX_PRIORITY,
        le=MAX_PRIORITY,
        description="Of two jobs that wait, the one with the higher priority starts first.",
    )
    metadata: dict[str, Any] = Field(
        default_factory=dict, description="Yours: stored and returned as given (at most 8 KiB as JSON)."
    )


class LyapunovJob(_JobRequest):
    kind: Literal["lyapunov"]
    series_id: str
    params: LyapunovSpec = LyapunovSpec()


class TrainJob(Companions, _JobRequest):
    kind: Literal["train"]
    series_id: str
    analysis_id: str | None = Field(
        default=None,
        description="Analysis that tunes the forcing; default: the newest of this series and channels, or a new one made first.",
    )
    params: TrainSpec = TrainSpec()


class EvaluateJob(Companions, _JobRequest):
    kind: Literal["evaluate"]
    model_id: str
    series_id: str | None = Field(default=None, description="Default: the series the model was trained on.")
    params: EvaluateSpec = EvaluateSpec()


class ForecastJob(Companions, _JobRequest):
    kind: Literal["forecast"]
    model_id: str
    series_id: str | None = Field(default=None, description="Default: the series the model was trained on.")
    params: ForecastSpec


class ReconstructJob(Companions, _JobRequest):
    kind: Literal["reconstruct"]
    series_id: str
    params: ReconstructSpec = ReconstructSpec()


JobRequest = Annotated[LyapunovJob | TrainJob | EvaluateJob | ForecastJob | ReconstructJob, Field(discriminator="kind")]


def queue_of(request: JobRequest) -> JobQueue:
    """Where the job waits: what trains on a GPU needs a worker that has one."""
    if isinstance(request, TrainJob):
        device = request.params.device
    else:
        device = request.params.train.device if isinstance(request, ReconstructJob) else "cpu"
    return JobQueue.GPU if device == "cuda" else JobQueue.CPU

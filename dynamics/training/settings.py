"""Every training parameter after `auto` was resolved, with the reasons: the one place where that is decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from domain.errors import ErrorItem, InvalidParameters, SeriesTooShort
from domain.limits import SHORTEST_SEQUENCE
from domain.results import LyapunovAnalysis
from domain.series import Recording
from domain.specs import TrainSpec
from dynamics.distributions import dimension
from dynamics.forcing import Forcing, decorrelation_steps, resolve_forcing, usual_alpha
from dynamics.observation_kernels import checked_kernel, loss_of
from dynamics.sizing import Sizing, choose, matrix_weights
from dynamics.training.smoothing import windows
from dynamics.training.split import Segments, Split
from models.base import Size
from models.readouts import Readouts

STEPS = 1_700_000  # updates times steps of a sequence that bring a shallow map of 600 weights near the floor
OTHER_STEPS = 2_400_000  # of other maps
GATED, GATED_STEPS = ("lstm", "gru"), 1_200_000  # which come near the floor with half as many
BUDGET_SHARE = 0.6  # at the nominal speed: machines are slower, or busy
MOST_SEEDS, FEW_SEEDS, QUICK_SECONDS = 10, 4, 5.5  # more than a few seeds only where all take a few nominal seconds
SPARSE_SEEDS = 8  # instead of a few: one in four free runs of sparsely forced maps leaves the attractor sooner or later
FEW_MOMENTS, MANY_MOMENTS = 9, 25
MANY_PARTS = 8  # stretches of training rows from which on each may be used up by two sequences
COARSE = 0.1
LONGEST_SEQUENCE, WIDE = 200, 4096
REACH, WIDE_REACH = (
    15,
    5,
)  # lengths in 1 / alpha, in which forcing forgets: at equal cost more updates beat longer sequences
NOMINAL_SPEED = 1e11  # floating-point operations per second of two ordinary cores; a figure, not a measurement,
# so that the same request trains the same model on an idle and on a busy machine
TORCH_STEP_SECONDS = 1.5e-4  # of one time step forward and backward in eager torch, whatever the size: launching it
ONE_CYCLE_PEAK, PUBLISHED_RATE = 5e-3, 1e-3
KERNEL_PEAK = 3e-3  # of a loss through a kernel: 2e-2 collapses on simulated BOLD series
# Of a loss of states that a kernel hides. They are an estimate, of short and noise-driven series as a rule, which a map soon knows by
# heart: all of this was chosen on two simulated BOLD series (docs/science/observation.md).
HIDDEN_STATES_PEAK, HIDDEN_STATES_NOISE, HIDDEN_STATES_ALPHA = 1e-2, 0.3, 0.3
MOST_VISITS = 8_500  # of one row in training
ONE_CYCLE_PEAKS = {"shplrnn": 2e-2, "clipped-shplrnn": 2e-2}  # chosen on Lorenz-63; for 100 hidden units


@dataclass(frozen=True)
class Regularisers:
    """Weights of the terms that are added to the loss: see `dynamics.training.regularization`."""

    identity: float = 0.0
    manifold_attractor: float = 0.0
    manifold_attractor_fraction: float = 0.5
    observation_condition: float = 0.0


@dataclass(frozen=True)
class Settings:
    architecture: str
    latent_dim: int
    hidden_dim: int  # 0 for architectures that have none
    layers: int  # 0 for architectures that have none
    observation: str  # identity or affine: how the state, or what a filter shows of it, is read
    kernel: list[float]  # h of a convolutional observation, an affine one of h * z; empty: none
    deconvolution_noise: float | str  # std, or auto
    loss: str  # states or observations: on which side of the kernel it is taken
    forcing: Forcing
    input_channels: list[str]
    nuisance_channels: list[str]
    lags: list[int]
    smoothing: list[int]  # rows of the local fits that replace each channel in training; 0: the data themselves
    sequence_length: int
    batch_size: int
    updates: int
    optimizer: str
    gradient_clip: float | None
    schedule: str
    peak_rate: float
    final_rate: float
    l2: float
    noise: float
    regularisers: Regularisers
    seeds: int
    moments: int  # checkpoints of each seed that are judged
    budget_seconds: float
    precision: str
    standardize: bool
    engine: str  # compiled or torch
    device: str
    seed: int
    distributions: dict[str, str] = field(default_factory=dict)  # channels that are not Gaussian
    thresholds: list[int] = field(default_factory=list)  # how many each ordinal channel has
    recording_dim: int = 0
    recordings: list[str] = field(default_factory=list)  # those that have a vector, with recording_dim > 0
    why: dict[str, str] = field(default_factory=dict)

    @property
    def size(self) -> Size:
        return Size(self.latent_dim, self.hidden_dim, self.layers)

    @property
    def loss_kernel(self) -> list[float]:
        """The kernel that the loss goes through; empty where it is taken of states."""
        return self.kernel if self.loss == "observations" else []

    @property
    def unjudged(self) -> int:
        """Steps at the beginning of a sequence that no loss is taken of: those without the kernel's whole history, z_1 being the first."""
        return max(0, len(self.loss_kernel) - 1)

    @property
    def dtype(self) -> type:
        return np.float32 if self.precision == "float32" else np.float64

    def document(self) -> dict[str, Any]:
        return asdict(self)


def resolve(
    spec: TrainSpec,
    parts: Split,
    n_channels: int,
    dt: float,
    analysis: LyapunovAnalysis | None,
    time_unit: str = "",
    readouts: Readouts | None = None,
) -> Settings:
    """Settings for these data; `n_channels` are observed (inputs and nuisance are not counted).

    Of channels with `readouts` the signals decide that stand for them.

    Raises SeriesTooShort when the split leaves less than one training sequence, InvalidParameters for what cannot be.
    """
    why: dict[str, str] = {}
    if readouts is not None:
        parts, n_channels = _signals(parts, readouts), readouts.n_coordinates
    lags = _lags(spec, n_channels, analysis, why)
    kernel = checked_kernel(spec, dt, time_unit)
    directions = None if readouts is None else dimension(readouts, [values for _, values in parts.train])
    sizing = choose(spec, n_channels * len(lags), dimension=directions)
    why |= sizing.why
    weights = matrix_weights(sizing.map, sizing.size)
    loss = loss_of(spec)
    of_states = bool(kernel) and loss == "states"
    seen = [] if of_states else kernel
    length = _sequence_length(spec, parts, lags, weights // 2, kernel, seen, why)
    smoothing = windows(spec, parts.train, n_channels, why)
    if readouts is not None:
        smoothing = [window if c in readouts.gaussian else 0 for c, window in enumerate(smoothing)]
    alone = sizing.observation == "affine" or sizing.size.latent == n_channels * len(lags)  # forcing sets all units
    tuned = alone and sizing.architecture in ONE_CYCLE_PEAKS  # what follows was measured on these
    noisy = any(smoothing) or not tuned or bool(kernel) or readouts is not None  # the signal is an estimate
    usual = HIDDEN_STATES_ALPHA if of_states else usual_alpha(sizing.observation, noisy=noisy, coarse=_coarse(parts))
    forcing, reasons = resolve_forcing(
        spec.forcing,
        analysis,
        dt,
        length,
        sparse=sizing.sparse,
        decorrelation=decorrelation_steps([values for _, values in parts.train]),
        usual=usual,
    )
    engine = _engine(spec, why)
    if spec.sequence_length == "auto" and tuned and forcing.forgetting > 0 and not seen:
        length = _remembered(length, forcing.forgetting, weights // 2, why)
    rounds = min(length, forcing.longest_interval) if alone and forcing.kind == "stf" and not seen else length
    seconds = _update_seconds(weights * length * spec.batch_size, rounds, engine)
    enough = (_enough(weights) if tuned else GATED_STEPS if sizing.architecture in GATED else OTHER_STEPS) // length
    visits = MOST_VISITS * sum(len(values) for _, values in parts.train) // (length * spec.batch_size)
    few_rows = of_states and visits < enough
    enough = max(1000, visits) if few_rows else enough
    updates, seeds = _amount(spec, seconds, enough, SPARSE_SEEDS if sizing.sparse else FEW_SEEDS, why)
    if few_rows and updates == enough and spec.updates == "auto":
        why["updates"] = (
            f"as many as take each row {MOST_VISITS:,} times, about what short simulated series were learned with"
        )
    return Settings(
        architecture=sizing.architecture,
        latent_dim=sizing.size.latent,
        hidden_dim=sizing.size.hidden,
        layers=sizing.size.layers,
        observation=sizing.observation,
        kernel=kernel,
        deconvolution_noise=spec.observation.noise if spec.observation.kind == "convolutional" else "auto",
        loss=loss,
        forcing=forcing,
        lags=lags,
        smoothing=smoothing,
        sequence_length=length,
        updates=updates,
        peak_rate=_peak_rate(spec, updates, sizing, loss, why),
        noise=_teacher_noise(spec, of_states and tuned, why),
        seeds=seeds,
        moments=_moments(seconds * updates, weights),
        engine=engine,
        thresholds=[] if readouts is None else [len(c.levels) - 1 for c in readouts.ordinal],
        **_as_asked(spec),
        why=why | reasons,
    )


def _as_asked(spec: TrainSpec) -> dict[str, Any]:
    """What is taken over as it is."""
    wanted = spec.regularization
    return {
        "input_channels": list(spec.input_channels),
        "nuisance_channels": list(spec.nuisance_channels),
        "batch_size": spec.batch_size,
        "optimizer": spec.optimizer,
        "gradient_clip": spec.gradient_clip,
        "schedule": spec.learning_rate.schedule,
        "final_rate": spec.learning_rate.final,
        "l2": wanted.l2,
        "regularisers": Regularisers(
            wanted.identity, wanted.manifold_attractor, wanted.manifold_attractor_fraction, wanted.observation_condition
        ),
        "budget_seconds": spec.budget_seconds,
        "precision": spec.precision,
        "standardize": spec.standardize,
        "device": spec.device,
        "seed": spec.seed,
        "recording_dim": spec.recording_dim,
        "distributions": dict(spec.counted_channels),
    }


def _teacher_noise(spec: TrainSpec, hidden: bool, why: dict[str, str]) -> float:
    """`hidden`: a shallow map learns states that a kernel hides."""
    if spec.regularization.noise != "auto":
        return spec.regularization.noise
    if hidden:
        why["noise"] = "without it a map knows by heart the few states that series seen through a kernel have as a rule"
    return HIDDEN_STATES_NOISE if hidden else 0.0


def _signals(parts: Split, readouts: Readouts) -> Split:
    """What stands for the rows of a split."""

    def signals(segments: Segments) -> Segments:
        return [(first, readouts.signals(readouts.rows(values))) for first, values in segments]

    return Split(signals(parts.train), signals(parts.validation), [])


def _engine(spec: TrainSpec, why: dict[str, str]) -> str:
    if spec.engine != "auto":
        return spec.engine
    if spec.device == "cuda":
        why["engine"] = "the engine that runs on a GPU"
        return "torch"
    why["engine"] = "the fast one on a CPU"
    return "compiled"


def _lags(spec: TrainSpec, n_channels: int, analysis: LyapunovAnalysis | None, why: dict[str, str]) -> list[int]:
    if spec.embedding_lags != "auto":
        return list(spec.embedding_lags)
    if spec.counted_channels:
        why["embedding_lags"] = "channels of counts or classes do not go together with delays"
        return [0]
    if spec.observation.kind == "convolutional" or spec.nuisance_channels:
        why["embedding_lags"] = "neither a kernel nor nuisance channels go together with delays"
        return [0]
    if n_channels == 1 and analysis is not None and analysis.embedding.lags[0] == 0:
        why["embedding_lags"] = "a scalar series; the delay embedding of its Lyapunov analysis"
        return list(analysis.embedding.lags)
    why["embedding_lags"] = "the channels are taken as the state" if n_channels > 1 else "no analysis gave an embedding"
    return [0]


def _sequence_length(
    spec: TrainSpec,
    parts: Split,
    lags: list[int],
    size: int,
    kernel: list[float],
    seen: list[float],
    why: dict[str, str],
) -> int:
    """Steps of a training sequence; it has to fit into the longest stretch of training rows, as has the kernel.

    `seen`: the kernel that the loss goes through, whose history takes steps of its own.
    """
    rows, history = max((len(values) for _, values in parts.train), default=0) - lags[-1], max(0, len(seen) - 1)
    wanted = SHORTEST_SEQUENCE + history if spec.sequence_length == "auto" else spec.sequence_length
    least = max(wanted + 1, SHORTEST_SEQUENCE + len(kernel))
    if kernel and rows < least:
        raise SeriesTooShort(
            f"The kernel spans {len(kernel)} rows, so it takes {least} to train on; the longest stretch of training rows has {rows}. Send a "
            "longer series, sample it less often, give a shorter kernel, or lower test_fraction or validation_fraction.",
            [ErrorItem(pointer="/params/observation/kernel")],
        )
    if rows < wanted + 1:
        lagged = f" and a largest lag of {lags[-1]} rows" if lags[-1] else ""
        raise SeriesTooShort(
            f"The longest stretch of training rows has {max(rows + lags[-1], 0)} rows; a sequence of {wanted} steps"
            f"{lagged} needs {wanted + 1 + lags[-1]}. Send longer recordings, or lower sequence_length, test_fraction or "
            "validation_fraction.",
            [ErrorItem(pointer="/params/sequence_length")],
        )
    if spec.sequence_length != "auto":
        return spec.sequence_length
    longest = LONGEST_SEQUENCE if size < WIDE else LONGEST_SEQUENCE // 4
    if len(parts.train) > 1:
        rows = _usual_rows([len(values) - lags[-1] for _, values in parts.train], history + 2 * SHORTEST_SEQUENCE)
    share = 2 if len(parts.train) >= MANY_PARTS else 4
    length = min(rows - 1, history + max(SHORTEST_SEQUENCE, min(longest, rows // share)))
    if history:
        length = min(rows - 1, history + max(SHORTEST_SEQUENCE, min(LONGEST_SEQUENCE, (rows - history) // 2)))
        why["sequence_length"] = f"{length - history} steps whose loss is taken after {history} that fill the kernel"
        return length
    why["sequence_length"] = (
        f"usual for {size} weights a layer"
        if length == longest
        else f"a quarter of the {rows} rows for training"
        if share == 4
        else f"half of the {rows} rows that all but the shortest stretches for training have"
    )
    return length


def _usual_rows(lengths: list[int], least: int) -> int:
    """The length that stretches with nine tenths of all rows reach, where it is more than `least`; else the longest."""
    ordered = sorted(lengths, reverse=True)
    held = np.cumsum(ordered)
    usual = ordered[int(np.searchsorted(held, 0.9 * held[-1]))]
    return usual if usual > least else ordered[0]


def with_recordings(settings: Settings, train: Segments, recordings: Sequence[Recording], cut: int = 0) -> Settings:
    """The settings, with those recordings in a family of which a stretch for training holds a sequence besides the `cut` rows.

    A reason under `recordings` names the others. Raises InvalidParameters for a family of fewer than two.
    """
    needed = settings.sequence_length + 1 + settings.lags[-1] + cut
    long = [first for first, values in train if len(values) >= needed]
    used = [r.name for r in recordings if any(map(r.holds, long))]
    if settings.recording_dim and len(used) < 2:
        raise InvalidParameters(
            f"recording_dim needs a collection; {len(used)} of {len(recordings)} recordings have the {needed} rows of a sequence "
            "and its start in their training part.",
            [ErrorItem(pointer="/params/recording_dim")],
        )
    unused = [r.name for r in recordings if r.name not in used]
    why = dict(settings.why)
    if unused:
        names = ", ".join(map(repr, unused[:20])) + (", ..." if len(unused) > 20 else "")
        why["recordings"] = (
            f"{len(unused)} of {len(recordings)} recordings give no training sequence, which takes {needed} rows and its start: "
            f"held out, or too short, which a lower sequence_length would mend: {names}"
        )
    return replace(settings, recordings=used if settings.recording_dim else [], why=why)


def _coarse(parts: Split) -> bool:
    """Whether a step changes the data much: 1 - autocorrelation at lag 1, mean over channels, is more than COARSE."""
    together = np.concatenate([values for _, values in parts.train])
    steps = np.concatenate([np.diff(values, axis=0) for _, values in parts.train])
    variance = together.var(axis=0)
    varying = variance > 0
    return bool(varying.any() and np.mean((steps**2).mean(axis=0)[varying] / (2 * variance[varying])) > COARSE)


def _remembered(length: int, forgetting: float, size: int, why: dict[str, str]) -> int:
    """Steps of a sequence beyond which forcing of all units leaves nothing to learn from: a multiple of 1 / alpha."""
    reach = max(LONGEST_SEQUENCE // 8, round((REACH if size < WIDE else WIDE_REACH) / forgetting))
    if reach < length:
        why["sequence_length"] = f"forcing by {forgetting:.2g} a step forgets sooner: more updates are worth more"
    return min(length, reach)


def _update_seconds(products: int, rounds: int, engine: str) -> float:
    """Nominal seconds of one update of `products` weights times steps times sequences, in `rounds` steps one after the other."""
    computing = 7.0 * products / NOMINAL_SPEED
    return computing + (rounds * TORCH_STEP_SECONDS if engine == "torch" else 0.0)


def _enough(weights: int) -> int:
    """Updates times steps; larger maps need more of them, like the root of their size."""
    return int(STEPS * min(4.0, max(1.0, (weights / 600) ** 0.5)))


def _amount(spec: TrainSpec, update_seconds: float, enough: int, few: int, why: dict[str, str]) -> tuple[int, int]:
    """Updates and seeds: decided by the problem's size, so that the clock decides nothing about the model.

    `enough` updates, `few` seeds, if the budget affords them.
    """
    affordable = BUDGET_SHARE * spec.budget_seconds / update_seconds
    least = 2 if spec.seeds == "auto" else spec.seeds
    updates = enough if spec.updates == "auto" else spec.updates
    if spec.updates == "auto" and affordable < updates * least:
        updates = max(500, int(affordable / least) // 100 * 100)
        why["updates"] = f"as many as the budget of {spec.budget_seconds:g} s affords at a nominal speed"
    elif spec.updates == "auto":
        why["updates"] = "enough for a one-cycle schedule to come near the floor"
    if spec.seeds != "auto":
        return updates, spec.seeds
    why["seeds"] = "single runs collapse in up to a third of the cases; the best on validation data is kept"
    quick = int(QUICK_SECONDS / (update_seconds * updates))
    return updates, max(2, min(int(affordable / updates), max(few, min(MOST_SEEDS, quick))))


def _moments(seconds: float, weights: int) -> int:
    """Checkpoints to judge: free runs change from one to the next, so more of them where they are cheap beside training."""
    return FEW_MOMENTS if seconds < QUICK_SECONDS or weights // 2 >= WIDE else MANY_MOMENTS


def _peak_rate(spec: TrainSpec, updates: int, sizing: Sizing, loss: str, why: dict[str, str]) -> float:
    peak = spec.learning_rate.peak
    if peak != "auto":
        return peak
    if spec.learning_rate.schedule != "one-cycle":
        why["learning_rate"] = "the published rate"
        return PUBLISHED_RATE
    filtered = spec.observation.kind == "convolutional"
    if filtered and loss == "states" and sizing.architecture in ONE_CYCLE_PEAKS:
        why["learning_rate"] = "what a loss of states that a kernel hides bears"
        return HIDDEN_STATES_PEAK * min(1.0, 100 / sizing.size.hidden)
    if filtered and loss == "observations":
        why["learning_rate"] = "what a loss through a kernel bears"
        return KERNEL_PEAK
    rate = ONE_CYCLE_PEAKS.get(sizing.architecture)
    if rate is None:
        why["learning_rate"] = f"a one-cycle schedule bears more than the published {PUBLISHED_RATE:g}"
        rate, hidden = ONE_CYCLE_PEAK, 0
    else:
        hidden = sizing.size.hidden
        why["learning_rate"] = f"the highest that holds for {updates} updates and {hidden} hidden units"
    short = updates <= (12_000 if hidden else 20_000) and hidden <= 100
    rate *= 1.0 if short else 0.5 if updates <= 100_000 else 0.25
    return rate * min(1.0, 100 / hidden) if hidden else rate

"""An ensemble of free runs, and its quantiles: what a forecast is made of. numpy only.

Members are worked on in blocks of steps, side by side: (steps, coordinates, S) with the S members last.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from domain.jobs import Progress
from domain.results import CountedForecast
from domain.specs import ForecastSpec
from dynamics.counted_forecasts import CountedReading
from dynamics.reporting import Reporter
from models.filters import convolve
from models.readouts import CATEGORICAL
from models.side_by_side import advance
from models.trained import TrainedModel

_BLOCK_VALUES = 40_000  # members x coordinates x steps worked on at once: more of them leave the processor's cache
_BLOCK_STEPS = 2_000  # keeps a block far below the 0.3 s in which a stop request must be seen
_LEAST_BLOCK_STEPS = 16
_KEPT_NORMALS = 200_000  # so many numbers of one seed are kept for the next forecast with it
_DIVERGED = 1e6  # in standard deviations: nothing that was ever observed
_TRUSTED_SPREAD = 0.1  # of the attractor's width


@dataclass(frozen=True)
class Ensemble:
    """What the runs came to, in the series' own units."""

    levels: np.ndarray  # (1 + quantiles, n_steps, N): the median, then the quantiles; NaN where no member is left
    trusted_steps: int  # until the spread exceeds a tenth of the attractor's width
    n_diverged: int
    first_divergence: int | None  # step of the first diverged member, counted from 0
    counted: dict[str, CountedForecast]  # of channels of counts and classes


def run(
    model: TrainedModel,
    context: np.ndarray,
    inputs: np.ndarray | None,
    spec: ForecastSpec,
    n_steps: int,
    reporter: Reporter,
    contamination: np.ndarray | None = None,
) -> Ensemble:
    """Members from the state after a `context` of embedded rows (context_rows, N_e), driven by standardised `inputs`.

    `inputs` (lead + n_steps, K), see `forecasting.forecast`; `contamination` (n_steps, N) is added to what is observed. The first
    `lead` steps go through what the context tells too little of, and are not read.
    """
    kicked = bool(model.step_std.any())
    all_steps = model.lead + n_steps
    normals = _Normals(spec.seed, spec.samples, model.n_observed, model.shown_steps + (all_steps if kicked else 0))
    before, n_channels = _before(model, context, normals.take(model.shown_steps), spec.samples), len(model.channels)
    z = before[-1]
    noise = _mirrored(normals.take(1) * model.reading_std, spec.samples)[0]
    columns = np.arange(n_channels) if model.readouts is None else [c.first for c in model.readouts.channels]
    noise = noise[columns] * model.std[:, None]
    counted = None if model.readouts is None else CountedReading(model, spec.seed, n_steps)
    reading = _Reading(model, noise, np.array([0.5, *spec.quantiles]), n_steps, before, contamination, counted)
    block = min(_BLOCK_STEPS, max(_LEAST_BLOCK_STEPS, _BLOCK_VALUES // (spec.samples * max(len(z), n_channels))))
    for done in range(0, all_steps, block):
        reporter.check()
        now = min(done + block, all_steps)
        pushes = None if inputs is None else _driving(model, inputs[done:now])
        if kicked:
            kicks = _kicks(model, normals.take(now - done), spec.samples)
            pushes = kicks if pushes is None else np.add(kicks, pushes, out=kicks)
        states = advance(model, z, now - done, pushes)
        z = states[-1]
        reading.read(done, states)
        reporter.report(Progress(fraction=now / all_steps, phase="forecasting", step=now, total_steps=all_steps))
    return reading.ensemble()


def _before(model: TrainedModel, context: np.ndarray, normals: np.ndarray, samples: int) -> np.ndarray:
    """The states that the observations to come depend on, (L, M, S), from standard normal numbers (L, S // 2, N_e).

    Without a kernel (L = 1) every member starts at the context's last row with an error of its measurement. With one it starts at
    a draw of the states given the context, as the deconvolution knows them: see `Filter.doubts`.
    """
    if model.filter is None:
        noise = _mirrored(normals * model.measurement_std, samples)[0]
        last = context[-1] if model.readouts is None else model.readouts.last_signal(context)
        return model.encode(last + noise.T).astype(model.dtype).T[None]
    doubts = model.filter.doubts(len(context), model.lead)  # (N, L, L)
    errors = np.einsum("nlk,ksn->lsn", doubts, normals)
    before = model.launch(context)[..., None] + _mirrored(errors @ _into_latent(model), samples)
    return before.astype(model.dtype)


class _Normals:
    """Standard normal numbers (steps, S // 2, N_e), of one stream: for the start, one for the readings, one for each step."""

    def __init__(self, seed: int, samples: int, n_observed: int, n_steps: int) -> None:
        self._shape, self._taken = (samples // 2, n_observed), 0
        few = (1 + n_steps) * samples // 2 * n_observed <= _KEPT_NORMALS
        self._all = _kept_normals(seed, (1 + n_steps, *self._shape)) if few else None
        self._rng = np.random.default_rng(seed)

    def take(self, n_steps: int) -> np.ndarray:
        """The next ones; not to be written to."""
        if self._all is None:
            return self._rng.standard_normal((n_steps, *self._shape))
        self._taken += n_steps
        return self._all[self._taken - n_steps : self._taken]


@lru_cache(maxsize=8)
def _kept_normals(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """A service forecasts again and again with one seed; drawing takes a tenth of the time of a forecast."""
    normals = np.random.default_rng(seed).standard_normal(shape)
    normals.flags.writeable = False
    return normals


def _mirrored(half: np.ndarray, samples: int, dtype: np.dtype | None = None) -> np.ndarray:
    """Errors of every member (T, N, S) from those of half of them (T, S // 2, N): none for member 0, then those given, then
    their opposites."""
    n_plus, n_minus = samples // 2, (samples - 1) // 2
    errors = np.zeros((len(half), half.shape[2], samples), half.dtype if dtype is None else dtype)
    errors[..., 1 : 1 + n_plus] = half.swapaxes(1, 2)
    np.negative(errors[..., 1 : 1 + n_minus], out=errors[..., 1 + n_plus :])
    return errors


def _driving(model: TrainedModel, inputs: np.ndarray) -> np.ndarray:
    """C s of every step, the same for all members, (T, M, 1)."""
    assert model.inputs is not None
    return (np.asarray(inputs, model.inputs.C.dtype) @ model.inputs.C.T).astype(model.dtype)[..., None]


def _kicks(model: TrainedModel, normals: np.ndarray, samples: int) -> np.ndarray:
    """The errors of the map in the latent state at every step, (T, M, S)."""
    return _mirrored((normals * model.step_std) @ _into_latent(model), samples, model.dtype)


def _into_latent(model: TrainedModel) -> np.ndarray:
    """What an error of the observation means for the latent state, (N_e, M)."""
    return model.encode(np.eye(model.n_observed)) - model.encode(np.zeros(model.n_observed))


class _Reading:
    """Reads states as measurements, block after block, and keeps what the forecast says of them."""

    def __init__(
        self,
        model: TrainedModel,
        noise: np.ndarray,
        probabilities: np.ndarray,
        n_steps: int,
        before: np.ndarray,
        contamination: np.ndarray | None,
        counted: CountedReading | None,
    ) -> None:
        self._counted = counted
        self._model, self._noise, self._probabilities = model, noise, probabilities
        self._width, self._before, self._contamination = width(model), before, contamination
        self._levels = np.empty((len(probabilities), n_steps, len(noise)))
        self._trusted: int | None = None
        self._alive = np.ones(noise.shape[1], bool)
        self._first_divergence: int | None = None

    def read(self, done: int, states: np.ndarray) -> None:
        """The states (T, M, S) of the steps from number `done` on, the first being `lead` steps before what is forecast."""
        model, n_channels = self._model, len(self._noise)
        done, shown = done - model.lead, self._shown(states)
        shown, done = (shown[-done:], 0) if done < 0 else (shown, done)
        if not len(shown):
            return
        observed = model.observe(shown.swapaxes(1, 2))
        if self._counted is None:
            embedded = np.ascontiguousarray(observed[..., :n_channels].swapaxes(1, 2))
            values = embedded * model.std[:, None]
            values += model.mean[:, None]
        else:
            embedded = observed.swapaxes(1, 2)
            with np.errstate(over="ignore", invalid="ignore"):
                values = np.ascontiguousarray(model.to_units(observed).swapaxes(1, 2))
        if not (self._alive.all() and embedded.max() < _DIVERGED and embedded.min() > -_DIVERGED):
            values[np.broadcast_to(self._gone(done, embedded)[:, None], values.shape)] = np.nan
        if self._trusted is None:
            spread = values.std(axis=2) / self._width  # NaN as soon as a member has diverged
            wide = ~(spread.max(axis=-1) <= _TRUSTED_SPREAD)
            self._trusted = done + int(wide.argmax()) if wide.any() else None
        values += self._noise
        if self._counted is not None:
            self._counted.read(done, observed, values)
        if self._contamination is not None:
            values += self._contamination[done : done + len(values), :, None]
        self._levels[:, done : done + len(values)] = _quantiles(values, self._probabilities)

    def _shown(self, states: np.ndarray) -> np.ndarray:
        """What a kernel shows of the states, those before them being remembered; without one the states."""
        if self._model.filter is None:
            return states
        together = np.concatenate([self._before[1:], states])
        self._before = together[-len(self._before) :]
        return convolve(self._model.filter.kernel, together)

    def _gone(self, done: int, embedded: np.ndarray) -> np.ndarray:
        """Which members have left every bound by when, (T, S): once gone, for ever."""
        with np.errstate(invalid="ignore"):
            gone = ~(np.abs(embedded) < _DIVERGED).all(axis=1)
        if self._first_divergence is None and gone.any():
            self._first_divergence = done + int(gone.any(axis=1).argmax())
        gone = np.logical_or.accumulate(gone | ~self._alive, axis=0)
        self._alive = ~gone[-1]
        return gone

    def ensemble(self) -> Ensemble:
        n_steps = self._levels.shape[1]
        trusted = n_steps if self._trusted is None else self._trusted
        if self._counted is not None:
            self._counted.fill(self._levels, self._probabilities)
        documents = {} if self._counted is None else self._counted.documents()
        return Ensemble(self._levels, trusted, int((~self._alive).sum()), self._first_divergence, documents)


def width(model: TrainedModel) -> np.ndarray:
    """Width of the attractor per channel, own units: the range of the training data, or 4 std where that is unknown.

    Infinite for unordered classes, whose numbers say nothing of a distance.
    """
    if model.readouts is not None and model.minimum is not None and model.maximum is not None:
        unordered = [c.kind == CATEGORICAL for c in model.readouts.channels]
        return np.where(unordered, np.inf, model.maximum - model.minimum)
    if model.minimum is None or model.maximum is None:
        return 4 * model.std
    return model.maximum - model.minimum


def _quantiles(values: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Quantiles over members at p (S + 1), the rule under which a new draw falls below with probability p: (T, N, S) -> (Q, T, N).

    Sorts `values` in place. NaN where no member is left; a member is there with all its channels, or gone with all.
    """
    if np.isfinite(values).all():
        values.sort(axis=2)
        return _quantiles_of_sorted(values, probabilities)
    levels = np.full((len(probabilities), *values.shape[:2]), np.nan)
    for t, members in enumerate(values):
        left = members[:, np.isfinite(members).all(axis=0)]
        if left.shape[1]:
            levels[:, t] = _quantiles_of_sorted(np.sort(left, axis=1), probabilities)
    return levels


def _quantiles_of_sorted(ordered: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """(..., S) -> (Q, ...): to the bit what numpy's `quantile(method="weibull")` gives, which is ten times slower."""
    n = ordered.shape[-1]
    position = np.clip(n * probabilities + probabilities - 1, 0, n - 1)
    below = np.minimum(position.astype(int), max(n - 2, 0))
    share = (position - below).reshape(-1, *[1] * (ordered.ndim - 1))
    low, high = (np.moveaxis(ordered[..., i], -1, 0) for i in (below, np.minimum(below + 1, n - 1)))
    step = high - low
    return np.where(share < 0.5, low + step * share, high - step * (1 - share))

"""Forecasts: an ensemble of free runs from the last observation, in the series' own units. numpy only.

Why an ensemble, where it starts, what its bands mean and when they lie: docs/science/forecasts.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from domain.base import Warning_
from domain.errors import ErrorItem, InvalidParameters
from domain.jobs import Progress
from domain.limits import MAX_FORECAST_VALUES
from domain.results import ForecastResult, ForecastStart, Predictability
from domain.specs import MAX_HORIZON_STEPS, ForecastSpec
from dynamics.reporting import Reporter
from models.trained import TrainedModel

_BLOCK_VALUES = 1_000_000  # members x coordinates x steps held in memory at once
_BLOCK_STEPS = 2_000  # keeps a block far below the 0.3 s in which a stop request must be seen
_DIVERGED = 1e6  # in standard deviations: nothing that was ever observed
_TRUSTED_SPREAD = 0.1  # of the attractor's width


def horizon_steps(spec: ForecastSpec, predictability: Predictability, dt: float) -> int:
    """Horizon in steps: as given, or n Lyapunov times of 1 / lambda_max each, n / (lambda_max dt), at least one step.

    lambda_max is taken from the predictability time ln 2 / lambda_max. Raises InvalidParameters when that is unknown,
    since then there is no Lyapunov time, and when the horizon exceeds MAX_HORIZON_STEPS.
    """
    if spec.horizon_steps is not None:
        return spec.horizon_steps
    assert spec.horizon_lyapunov_times is not None  # the spec takes exactly one of the two
    if predictability.time is None:
        why = predictability.reason or "lambda_max is unknown or not positive"
        raise _invalid("/horizon_lyapunov_times", f"There is no Lyapunov time ({why}); give horizon_steps instead.")
    steps = max(1, round(spec.horizon_lyapunov_times * predictability.time / math.log(2) / dt))
    if steps > MAX_HORIZON_STEPS:
        raise _invalid(
            "/horizon_lyapunov_times",
            f"{spec.horizon_lyapunov_times:g} Lyapunov times are {steps} steps; at most {MAX_HORIZON_STEPS} are forecast.",
        )
    return steps


def forecast(
    model: TrainedModel,
    context: np.ndarray,
    *,
    spec: ForecastSpec,
    start: ForecastStart,
    predictability: Predictability,
    inputs: np.ndarray | None = None,
    reporter: Reporter | None = None,
) -> ForecastResult:
    """Median and quantiles of x at start.time + k dt, k = 0 .. horizon - 1, over an ensemble of free runs.

    Member j starts at encode(x~_0 + n xi_j), moves by z <- F(z) + q xi'_j, and is read as x^ + n xi''_j, all xi ~ N(0, 1), x~_0 being
    the last embedded observation, n = `measurement_std` and q = `step_std`, which together make up the one-step error of the
    model, residual_std^2 = 2 n^2 + q^2. Member 0 has no noise, the others come in pairs of opposite signs.
    `context` (L, N), own units, L >= model.context_steps, its last row one step before `start`. `inputs` (horizon, K), own
    units, the first row at `start`, drive every member of a model that has inputs: see `forecast_inputs.future_inputs`.
    The median of a chaotic ensemble is no trajectory: beyond `trusted_steps` it tends to the mean of the attractor.
    Raises InvalidParameters for a context or a horizon that cannot be used, ValueError for inputs of another shape.
    """
    reporter = reporter or Reporter()
    n_steps = horizon_steps(spec, predictability, model.dt)
    check_size(model, spec, n_steps)
    rows = _needed_rows(model, context, sent_along=spec.context is not None)
    ensemble = _run(model, rows, _driving(model, inputs, n_steps), spec, n_steps, reporter)
    trusted = ensemble.trusted_steps if spec.samples > 1 else None
    # Not validated again: a million steps are ten million numbers, all of them checked by `_run`.
    return ForecastResult.model_construct(
        start=start,
        horizon_steps=n_steps,
        channels=list(model.channels),
        time_unit=model.time_unit,
        time=(start.time + model.dt * np.arange(n_steps)).tolist(),
        median=_rows_without_nan(ensemble.levels[0]),
        quantiles={str(q): _rows_without_nan(ensemble.levels[i]) for i, q in enumerate(spec.quantiles, 1)},
        predictability=predictability,
        trusted_steps=trusted,
        inputs=None if inputs is None else "series" if spec.inputs is None else "request",
        warnings=_warnings(model, rows, inputs, spec, n_steps, ensemble, trusted),
    )


@dataclass(frozen=True)
class _Ensemble:
    levels: np.ndarray  # (1 + quantiles, n_steps, N): the median, then the quantiles; NaN where no member is left
    trusted_steps: int
    n_diverged: int
    first_divergence: int | None  # step of the first diverged member, counted from 0


def _driving(model: TrainedModel, inputs: np.ndarray | None, n_steps: int) -> np.ndarray | None:
    """The inputs as the model takes them, (n_steps, K) standardised; None for a model without."""
    if (inputs is None) != (model.inputs is None):
        raise ValueError("inputs are needed for a model with inputs, and for no other")
    if inputs is None or model.inputs is None:
        return None
    if len(inputs) != n_steps:
        raise ValueError(f"one row of inputs is needed for each of {n_steps} steps, not {len(inputs)}")
    return model.inputs.standardise(inputs)


def _run(
    model: TrainedModel,
    rows: np.ndarray,
    inputs: np.ndarray | None,
    spec: ForecastSpec,
    n_steps: int,
    reporter: Reporter,
) -> _Ensemble:
    rng = np.random.default_rng(spec.seed)
    into_latent = model.encode(np.eye(model.n_observed)) - model.encode(np.zeros(model.n_observed))  # (N_e, M)
    start = _noise(rng, 1, spec.samples, model.measurement_std)[0]
    z = model.encode(model.embed(rows)[-1] + start).astype(model.dtype)
    measured = (_noise(rng, 1, spec.samples, model.measurement_std)[0, :, : len(model.channels)] * model.std).T
    n_channels = len(model.channels)
    probabilities = np.array([0.5, *spec.quantiles])
    levels = np.empty((len(probabilities), n_steps, n_channels))
    map_of_all, kicked = model.spread(len(z)), bool(model.step_std.any())
    block = max(1, min(_BLOCK_STEPS, _BLOCK_VALUES // (z.shape[0] * max(z.shape[1], n_channels))))
    width, trusted, first_divergence = _width(model), n_steps, None
    alive = np.ones(len(z), bool)
    for done in range(0, n_steps, block):
        reporter.check()
        size = min(block, n_steps - done)
        kicks = (_noise(rng, size, spec.samples, model.step_std) @ into_latent).astype(z.dtype) if kicked else None
        with np.errstate(over="ignore", invalid="ignore"):
            driving = None if inputs is None else inputs[done : done + size]
            states = _advance(map_of_all, z, size, kicks, driving)
            # Members last, so that what is done with all of them runs along the memory: (size, N, S).
            embedded = np.ascontiguousarray(model.observe(states)[..., :n_channels].swapaxes(1, 2))
            gone = ~(np.abs(embedded) < _DIVERGED).all(axis=1)
        if first_divergence is None and gone.any():
            first_divergence = done + int(gone.any(axis=1).argmax())
        z = states[-1]
        gone = np.logical_or.accumulate(gone | ~alive, axis=0)
        alive = ~gone[-1]
        values = embedded * model.std[:, None] + model.mean[:, None]
        if gone.any():
            values[np.broadcast_to(gone[:, None], values.shape)] = np.nan
        spread = values.std(axis=2) / width  # NaN as soon as a member has diverged
        if trusted == n_steps and (wide := ~(spread.max(axis=-1) <= _TRUSTED_SPREAD)).any():
            trusted = done + int(wide.argmax())
        levels[:, done : done + len(values)] = _quantiles(values + measured, probabilities)
        now = done + len(values)
        reporter.report(Progress(fraction=now / n_steps, phase="forecasting", step=now, total_steps=n_steps))
    return _Ensemble(levels, trusted, int((~alive).sum()), first_divergence)


def _noise(rng: np.random.Generator, n_steps: int, samples: int, std: np.ndarray) -> np.ndarray:
    """Independent errors of every member at every step, (n_steps, S, N_e): none for member 0, opposite ones for 1 and 2, 3 and 4, ..."""
    half = rng.standard_normal((n_steps, samples // 2, len(std))) * std
    noise = np.zeros((n_steps, samples, len(std)))
    noise[:, 1::2] = half
    noise[:, 2::2] = -half[:, : (samples - 1) // 2]
    return noise


def _advance(
    model: TrainedModel, z: np.ndarray, n_steps: int, kicks: np.ndarray | None, inputs: np.ndarray | None
) -> np.ndarray:
    """States after each of the steps z <- F(z) + C s + kick: z (S, M), kicks (n, S, M), inputs (n, K) -> (n, S, M)."""
    states = np.empty((n_steps, *z.shape), z.dtype)
    for t in range(n_steps):
        z = model.step(z, None if inputs is None else inputs[t])
        if kicks is not None:
            z = z + kicks[t]
        states[t] = z
    return states


def _quantiles(values: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Quantiles over members at p (S + 1), the rule under which a new draw falls below with probability p: (T, N, S) -> (Q, T, N).

    NaN where no member is left; a member is there with all its channels, or gone with all.
    """
    if np.isfinite(values).all():
        return _quantiles_of_sorted(np.sort(values, axis=2), probabilities)
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


def _width(model: TrainedModel) -> np.ndarray:
    """Width of the attractor per channel, own units: the range of the training data, or 4 std where that is unknown."""
    if model.minimum is None or model.maximum is None:
        return 4 * model.std
    return model.maximum - model.minimum


def _rows_without_nan(values: np.ndarray) -> list[list[float | None]]:
    rows: list[list[float | None]] = values.tolist()
    for t in np.flatnonzero(np.isnan(values).any(axis=1)):
        rows[t] = [None] * values.shape[1]
    return rows


def _needed_rows(model: TrainedModel, context: np.ndarray, *, sent_along: bool) -> np.ndarray:
    """The last rows of the context, as many as a state needs: (context_steps, N), finite."""
    pointer = "/context/values" if sent_along else "/start_index"
    n_channels, n_rows = len(model.channels), model.context_steps
    context = np.asarray(context, float)
    if context.ndim != 2 or context.shape[1] != n_channels:
        raise _invalid(pointer, f"The rows must hold the model's {n_channels} channels: {', '.join(model.channels)}.")
    if len(context) < n_rows:
        raise _invalid(pointer, f"The model needs {n_rows} rows to start from; there are {len(context)}.")
    rows = context[len(context) - n_rows :]
    if not np.isfinite(rows).all():
        row, column = (int(i) for i in np.argwhere(~np.isfinite(rows))[0])
        row += len(context) - n_rows
        detail = f"The value of {model.channels[column]} in row {row} of the context is missing or not finite."
        raise _invalid(f"{pointer}/{row}/{column}" if sent_along else pointer, detail, rows=[row])
    return rows


def check_size(model: TrainedModel, spec: ForecastSpec, n_steps: int) -> None:
    """Raise InvalidParameters when median and quantiles would be more than MAX_FORECAST_VALUES numbers."""
    n_channels, n_levels = len(model.channels), 1 + len(spec.quantiles)
    if n_steps * n_channels * n_levels > MAX_FORECAST_VALUES:
        pointer = "/horizon_steps" if spec.horizon_steps is not None else "/horizon_lyapunov_times"
        detail = (
            f"{n_steps} steps of {n_channels} channels with {n_levels - 1} quantiles are too many numbers; "
            f"at most {MAX_FORECAST_VALUES // (n_channels * n_levels)} steps fit, or ask for fewer quantiles."
        )
        raise _invalid(pointer, detail)


def _warnings(
    model: TrainedModel,
    rows: np.ndarray,
    inputs: np.ndarray | None,
    spec: ForecastSpec,
    n_steps: int,
    ensemble: _Ensemble,
    trusted: int | None,
) -> list[Warning_]:
    found = []
    if trusted is not None and trusted < n_steps:
        detail = (
            f"From step {trusted} on the ensemble is spread over more than a tenth of the attractor: what follows says where the "
            "system may be, not where it will be, and the median tends to the mean."
        )
        found.append(Warning_(code="horizon_beyond_predictability", detail=detail))
    if outside := _outside_training_range(model, rows):
        detail = f"{', '.join(outside)} lie outside the range seen in training; the model extrapolates."
        found.append(Warning_(code="context_outside_training_range", detail=detail))
    if inputs is not None and (outside := _outside_input_range(model, inputs)):
        detail = f"{', '.join(outside)} leave the range of inputs seen in training; the model extrapolates."
        found.append(Warning_(code="inputs_outside_training_range", detail=detail))
    if ensemble.first_divergence is not None:
        detail = (
            f"{ensemble.n_diverged} of {spec.samples} members left every bound, the first at step {ensemble.first_divergence}; "
            "median and quantiles are taken over the others, and are null where none is left."
        )
        found.append(Warning_(code="members_diverged", detail=detail))
    tail = min((min(q, 1 - q) for q in spec.quantiles), default=1.0)
    if tail * (spec.samples + 1) < 1:
        detail = f"{spec.samples} members are too few for a quantile of {tail:g}: at least {math.ceil(1 / tail) - 1} are needed."
        found.append(Warning_(code="too_few_members", detail=detail))
    return found


def _outside_training_range(model: TrainedModel, rows: np.ndarray) -> list[str]:
    """Channels whose context leaves the training range by more than a tenth of its width."""
    return _outside(rows, model.minimum, model.maximum, model.channels)


def _outside_input_range(model: TrainedModel, inputs: np.ndarray) -> list[str]:
    given = model.inputs
    return [] if given is None else _outside(inputs, given.minimum, given.maximum, given.channels)


def _outside(
    rows: np.ndarray, minimum: np.ndarray | None, maximum: np.ndarray | None, channels: list[str]
) -> list[str]:
    if minimum is None or maximum is None:
        return []
    margin = 0.1 * (maximum - minimum)
    outside = np.any((rows < minimum - margin) | (rows > maximum + margin), axis=0)
    return [channels[i] for i in np.flatnonzero(outside)]


def _invalid(pointer: str, detail: str, rows: list[int] | None = None) -> InvalidParameters:
    return InvalidParameters(detail, [ErrorItem(pointer=pointer, rows=rows, detail=detail)])

"""Forecasts: an ensemble of free runs from the last observation, in the series' own units. numpy only.

Why an ensemble, where it starts, what its bands mean and when they lie: docs/science/forecasts.md.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from domain.base import Warning_
from domain.errors import ErrorItem, InvalidParameters
from domain.limits import MAX_FORECAST_VALUES
from domain.results import ForecastResult, ForecastStart, Predictability
from domain.specs import MAX_HORIZON_STEPS, ForecastSpec
from dynamics.ensembles import Ensemble, run
from dynamics.reporting import Reporter
from models.trained import TrainedModel


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
    nuisance: np.ndarray | None = None,
    context_inputs: np.ndarray | None = None,
    context_nuisance: np.ndarray | None = None,
    reporter: Reporter | None = None,
) -> ForecastResult:
    """Median and quantiles of x at start.time + k dt, k = 0 .. horizon - 1, over an ensemble of free runs.

    Member j starts at encode(x~_0 + n xi_j), moves by z <- F(z) + q xi'_j, and is read as x^ + n xi''_j, all xi ~ N(0, 1), x~_0 being
    the last embedded observation, n = `measurement_std` and q = `step_std`, which together make up the one-step error of the
    model, residual_std^2 = 2 n^2 + q^2. Member 0 has no noise, the others come in pairs of opposite signs.
    `context` (L, N), own units, L >= model.context_steps, its last row one step before `start`. `inputs` (horizon, K), own
    units, the first row at `start`, drive every member of a model that has inputs: see `forecast_inputs.future_inputs`.
    `nuisance` (horizon, P), own units, is what J r adds; None: its mean, that is the system's signal alone. What contaminates the
    context is subtracted: `context_nuisance` (L, P). A convolutional model starts from the deconvolved context, `lead` steps before its
    end, and goes through these with `context_inputs` (L, K).
    The median of a chaotic ensemble is no trajectory: beyond `trusted_steps` it tends to the mean of the attractor.
    Raises InvalidParameters for a context or a horizon that cannot be used, ValueError for inputs of another shape.
    """
    reporter = reporter or Reporter()
    n_steps = horizon_steps(spec, predictability, model.dt)
    check_size(model, spec, n_steps)
    rows = _needed_rows(model, context, sent_along=spec.context is not None)
    embedded = model.clean(model.embed(rows), _contaminating(model, context_nuisance))[-model.context_rows :]
    driving = _driving(model, inputs, n_steps, context_inputs)
    contamination = None
    if nuisance is not None and model.nuisance is not None:
        contamination = (model.nuisance.standardise(nuisance) @ model.observation["J"].T) * model.std
    ensemble = run(model, embedded, driving, spec, n_steps, reporter, contamination)
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
        counted_channels=ensemble.counted,
        predictability=predictability,
        trusted_steps=trusted,
        inputs=None if inputs is None else "series" if spec.inputs is None else "request",
        nuisance=_source(model, nuisance, spec),
        warnings=_warnings(model, _own_rows(model, rows, context_nuisance), inputs, spec, n_steps, ensemble, trusted),
    )


def _own_rows(model: TrainedModel, rows: np.ndarray, nuisance: np.ndarray | None) -> np.ndarray:
    """The context's rows less their nuisance, own units."""
    if model.nuisance is None or nuisance is None:
        return rows
    contamination = model.nuisance.standardise(nuisance)[-len(rows) :] @ model.observation["J"].T
    return rows - contamination[:, : len(model.channels)] * model.std


def _source(
    model: TrainedModel, nuisance: np.ndarray | None, spec: ForecastSpec
) -> Literal["request", "series", "mean"] | None:
    """Where the future values of the nuisance came from."""
    if model.nuisance is None:
        return None
    return "mean" if nuisance is None else "series" if spec.nuisance is None else "request"


def _contaminating(model: TrainedModel, nuisance: np.ndarray | None) -> np.ndarray | None:
    """The nuisance of the embedded rows of the context, (., P) standardised; None for a model without."""
    if (nuisance is None) != (model.nuisance is None):
        raise ValueError("a context's nuisance is needed for a model with nuisance, and for no other")
    if nuisance is None or model.nuisance is None:
        return None
    return model.nuisance.standardise(nuisance)[-(model.context_steps - model.lags[-1]) :]


def _driving(
    model: TrainedModel, inputs: np.ndarray | None, n_steps: int, earlier: np.ndarray | None
) -> np.ndarray | None:
    """The inputs as the model takes them, (lead + n_steps, K) standardised; None for a model without."""
    if (inputs is None) != (model.inputs is None):
        raise ValueError("inputs are needed for a model with inputs, and for no other")
    if inputs is None or model.inputs is None:
        return None
    if len(inputs) != n_steps:
        raise ValueError(f"one row of inputs is needed for each of {n_steps} steps, not {len(inputs)}")
    if model.lead:
        if earlier is None or len(earlier) < model.lead:
            raise ValueError(f"the inputs of the last {model.lead} rows of the context are needed")
        inputs = np.concatenate([earlier[len(earlier) - model.lead :], inputs])
    return model.inputs.standardise(inputs)


def _rows_without_nan(values: np.ndarray) -> list[list[float | None]]:
    rows: list[list[float | None]] = values.tolist()
    for t in np.flatnonzero(np.isnan(values).any(axis=1)):
        rows[t] = [None if math.isnan(value) else value for value in values[t].tolist()]
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
    if model.readouts is not None and (wrong := model.uncounted(rows)) is not None:
        row, column, detail = wrong
        row += len(context) - n_rows
        at = f"row {row} of the context" if sent_along else f"the row {len(context) - row} before the start"
        raise _invalid(f"{pointer}/{row}/{column}" if sent_along else pointer, detail.format(at=at), rows=[row])
    return rows


def check_size(model: TrainedModel, spec: ForecastSpec, n_steps: int) -> None:
    """Raise InvalidParameters when median and quantiles would be more than MAX_FORECAST_VALUES numbers."""
    n_channels, n_levels = len(model.channels), 1 + len(spec.quantiles)
    if model.readouts is not None:  # probabilities of classes take the place of more channels
        n_channels += sum(len(c.levels) for _, c in model.readouts.others)
    if n_steps * n_channels * n_levels > MAX_FORECAST_VALUES:
        pointer = "/horizon_steps" if spec.horizon_steps is not None else "/horizon_lyapunov_times"
        detail = (
            f"{n_steps} steps of {len(model.channels)} channels with {n_levels - 1} quantiles are too many numbers; "
            f"at most {MAX_FORECAST_VALUES // (n_channels * n_levels)} steps fit, or ask for fewer quantiles."
        )
        raise _invalid(pointer, detail)


def _warnings(
    model: TrainedModel,
    rows: np.ndarray,
    inputs: np.ndarray | None,
    spec: ForecastSpec,
    n_steps: int,
    ensemble: Ensemble,
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

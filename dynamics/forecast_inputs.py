"""From where a forecast starts and how far it can be trusted; the same rules for the API and for jobs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from domain.errors import ErrorItem, InvalidParameters, SeriesTooShort
from domain.results import ForecastStart, LyapunovSpectrum, Predictability
from domain.series import Recording, Segment
from domain.specs import ForecastContext, ForecastSpec
from dynamics.families import forecasting_model, rows_before
from dynamics.recorded import Recorded
from models.trained import TrainedModel


class Given(NamedTuple):
    """What a forecast starts from and what goes with it, own units; None for what the model has not."""

    model: TrainedModel  # the map that runs: of a family, one of its maps
    vector: list[float] | None  # of that map
    values: np.ndarray  # (L, N)
    start: ForecastStart
    inputs: np.ndarray | None  # (horizon, K)
    nuisance: np.ndarray | None  # (horizon, P); None also where nothing is known of it
    context_inputs: np.ndarray | None  # (L, K), of a convolutional model
    context_nuisance: np.ndarray | None  # (L, P)

    def columns(self) -> dict[str, Any]:
        """As `forecasting.forecast` takes them."""
        return {name: getattr(self, name) for name in ("inputs", "nuisance", "context_inputs", "context_nuisance")}


def given_by_context(model: TrainedModel, spec: ForecastSpec, n_steps: int) -> Given:
    """From the rows that were sent along."""
    assert spec.context is not None
    values, start = context_values(
        spec.context, channels=model.channels, context_steps=model.context_steps, dt=model.dt
    )
    inputs, nuisance = context_columns(model, spec.context)
    future = future_inputs(model, spec, n_steps, None), future_nuisance(model, spec, n_steps, None)
    own = forecasting_model(model, spec, rows=values, inputs=inputs, nuisance=nuisance)
    return Given(*own, values, start, *future, inputs, nuisance)


def given_by_series(
    model: TrainedModel,
    spec: ForecastSpec,
    n_steps: int,
    *,
    recorded: Recorded,
    dt: float,
    recordings: Sequence[Recording] = (),
) -> Given:
    """From a stored series and those beside it, a collection of `recordings` or none.

    Raises InvalidParameters where a column that the start needs is lacking.
    """
    segments = recorded.segments
    rows, start = start_in_series(segments, start_index=spec.start_index, context_steps=model.context_steps, dt=dt)

    def past(names: list[str]) -> np.ndarray | None:
        if missing := recorded.lacks(names):
            detail = f"The series lacks the channel {missing!r}, whose values before the start are needed."
            raise _wrong("/series_id", detail)
        return recorded.past(rows, names) if names else None

    def future(names: list[str]) -> np.ndarray | None:
        return recorded.onwards(start, n_steps, names) if names and not recorded.lacks(names) else None

    values = past(model.channels)
    assert values is not None
    own: tuple[TrainedModel, list[float] | None] = (model, None)
    if model.family is not None or spec.recording is not None or spec.recording_vector is not None:
        before = rows_before(segments, start)

        def leading(names: list[str]) -> np.ndarray | None:
            found = recorded.rows(before, names) if names and not recorded.lacks(names) else None
            return found if found is not None and np.isfinite(found).all() else None

        own = forecasting_model(
            model,
            spec,
            start=start,
            recordings=recordings,
            rows=leading(model.channels),
            inputs=leading(model.input_channels),
            nuisance=leading(model.nuisance_channels),
        )
    return Given(
        *own,
        values,
        start,
        future_inputs(model, spec, n_steps, future(model.input_channels)),
        future_nuisance(model, spec, n_steps, future(model.nuisance_channels)),
        past(model.input_channels if model.lead else []),
        past(model.nuisance_channels),
    )


def start_in_series(
    segments: Sequence[Segment], *, start_index: int | None, context_steps: int, dt: float
) -> tuple[slice, ForecastStart]:
    """Rows of a stored series that a forecast starts from, and where it begins (by default at the series' end).

    The rows are the `context_steps` before the start; they must lie in one segment, so that no gap is crossed.
    Fails with InvalidParameters for an index without them, with SeriesTooShort where no index has them.
    """
    usable = [s for s in segments if s.stop - s.start >= context_steps]
    if not usable:
        raise SeriesTooShort(
            f"The model needs {context_steps} consecutive rows to start from; no segment is that long."
        )
    if start_index is None:
        index, segment = usable[-1].stop, usable[-1]
    else:
        index = start_index
        found = next((s for s in usable if s.start + context_steps <= index <= s.stop), None)
        if found is None:
            ranges = ", ".join(f"{s.start + context_steps} to {s.stop}" for s in usable[:5])
            detail = f"start_index {index} lacks {context_steps} consecutive rows before it; possible are {ranges}."
            raise InvalidParameters(detail, [ErrorItem(pointer="/start_index", detail=detail)])
        segment = found
    time = segment.time_start + (index - segment.start) * dt
    return slice(index - context_steps, index), ForecastStart(index=index, time=time)


def context_values(
    context: ForecastContext, *, channels: Sequence[str], context_steps: int, dt: float
) -> tuple[np.ndarray, ForecastStart]:
    """The observations sent along as float64 (L, N), and where the forecast begins: one step after the last of them.

    Fails with InvalidParameters for a row of the wrong width, a missing value, or fewer than `context_steps` rows.
    """
    for row, values in enumerate(context.values):
        if len(values) != len(channels):
            detail = (
                f"Row {row} has {len(values)} values; the model's {len(channels)} channels are {', '.join(channels)}."
            )
            raise InvalidParameters(detail, [ErrorItem(pointer=f"/context/values/{row}", rows=[row], detail=detail)])
        if None in values:
            column = values.index(None)
            detail = f"The value of {channels[column]} in row {row} is missing; a context has no gaps."
            raise InvalidParameters(
                detail, [ErrorItem(pointer=f"/context/values/{row}/{column}", rows=[row], detail=detail)]
            )
    if len(context.values) < context_steps:
        detail = f"The model needs {context_steps} rows to start from; the context has {len(context.values)}."
        raise InvalidParameters(detail, [ErrorItem(pointer="/context/values", detail=detail)])
    start = (context.time_start or 0.0) + len(context.values) * dt
    return np.array(context.values, dtype=np.float64), ForecastStart(index=None, time=start)


def future_inputs(
    model: TrainedModel, spec: ForecastSpec, n_steps: int, recorded: np.ndarray | None
) -> np.ndarray | None:
    """The values of the model's input channels over the forecast, own units, (n_steps, K); None for a model without inputs.

    They are those of the request, or else what the series has `recorded` from the forecast's start on, (R, K) up to the
    next gap; None where there is no series or it lacks a channel. Nothing is made up: InvalidParameters where a row, a
    value or enough rows are missing.
    """
    if model.inputs is None:
        if spec.inputs is not None:
            raise _wrong("/inputs", "The model has no input channels; leave inputs away.")
        return None
    if spec.inputs is None:
        if recorded is not None and len(recorded) >= n_steps:
            return np.asarray(recorded[:n_steps], dtype=np.float64)
        names = ", ".join(model.inputs.channels)
        known = "none are known" if recorded is None else f"the series has {len(recorded)} of them from the start on"
        detail = f"The model is driven by {names}: inputs need {n_steps} rows of them, one for each step; {known}."
        raise _wrong("/inputs", detail)
    return _sent(spec.inputs, model.inputs.channels, "inputs", n_steps, spec)


def future_nuisance(
    model: TrainedModel, spec: ForecastSpec, n_steps: int, recorded: np.ndarray | None
) -> np.ndarray | None:
    """The same of the model's nuisance channels, (n_steps, P), but None where nothing is known: their mean is then taken."""
    if model.nuisance is None:
        if spec.nuisance is not None:
            raise _wrong("/nuisance", "The model has no nuisance channels; leave nuisance away.")
        return None
    if spec.nuisance is not None:
        return _sent(spec.nuisance, model.nuisance.channels, "nuisance", n_steps, spec)
    if recorded is None or len(recorded) < n_steps:
        return None
    return np.asarray(recorded[:n_steps], dtype=np.float64)


def context_columns(model: TrainedModel, context: ForecastContext) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Inputs (L, K) and nuisance (L, P) of the rows of a context, where the model needs them; else None.

    Inputs are needed by a convolutional model, which starts within the context, and of use where a map is fitted to it.
    Raises InvalidParameters where they are missing.
    """
    found: list[np.ndarray | None] = []
    with_inputs = model.lead or (model.family is not None and context.inputs is not None)
    needed = {"inputs": model.input_channels if with_inputs else [], "nuisance": model.nuisance_channels}
    for name, channels in needed.items():
        rows: list[list[float | None]] | None = getattr(context, name)
        if not channels:
            found.append(None)
            continue
        if rows is None or len(rows) != len(context.values):
            detail = (
                f"The context has {len(context.values)} rows, and its {name} must have as many: {', '.join(channels)}; "
                f"there are {'none' if rows is None else len(rows)}."
            )
            raise _wrong(f"/context/{name}", detail)
        for row, values in enumerate(rows):
            _check_row(row, values, channels, name, "/context")
        found.append(np.array(rows, dtype=np.float64))
    return found[0], found[1]


def _sent(
    rows: list[list[float | None]], channels: Sequence[str], what: str, n_steps: int, spec: ForecastSpec
) -> np.ndarray:
    """Rows of a request, one for each step; surplus ones are allowed where the number of steps was not known to the caller."""
    for row, values in enumerate(rows[:n_steps]):
        _check_row(row, values, channels, what)
    if len(rows) < n_steps or (len(rows) > n_steps and spec.horizon_steps is not None):
        verb = "have" if what == "inputs" else "has"
        detail = f"The forecast has {n_steps} steps and needs as many rows of {', '.join(channels)}; {what} {verb} {len(rows)}."
        raise _wrong(f"/{what}", detail)
    return np.array(rows[:n_steps], dtype=np.float64)


def _check_row(row: int, values: list[float | None], channels: Sequence[str], what: str, at: str = "") -> None:
    kind = what.removesuffix("s") if what == "inputs" else what
    if len(values) != len(channels):
        detail = f"Row {row} has {len(values)} values; the model's {len(channels)} {kind} channels are {', '.join(channels)}."
        raise _wrong(f"{at}/{what}/{row}", detail, [row])
    if None in values:
        column = values.index(None)
        gaps = "inputs have no gaps" if what == "inputs" else "nuisance has no gaps"
        raise _wrong(
            f"{at}/{what}/{row}/{column}", f"The value of {channels[column]} in row {row} is missing; {gaps}.", [row]
        )


def _wrong(pointer: str, detail: str, rows: list[int] | None = None) -> InvalidParameters:
    return InvalidParameters(detail, [ErrorItem(pointer=pointer, rows=rows, detail=detail)])


def predictability_of(spectrum: LyapunovSpectrum, model: TrainedModel) -> Predictability:
    """Doubling time of an error, ln 2 / lambda, with the larger of the model's own exponent and the one measured in its data.

    Members of a forecast part as the model has it, but they part from the truth as the system has it: a model that is
    tamer than its data must not promise more than they allow. Of a driven model only its own, conditional, exponent counts:
    the data's tells how errors grow while the inputs are unknown. `time` is None, with the reason, where nothing diverges.
    """
    own = spectrum.exponents[0] if spectrum.exponents else None
    measured = model.card.get("lambda_max") if model.inputs is None else None
    known = [exponent for exponent in (own, measured) if exponent is not None]
    if not known:
        return Predictability(unit=model.time_unit, reason=spectrum.reason or "the model's largest exponent is unknown")
    if max(known) <= 0:
        given = "" if model.inputs is None else ", its inputs being given"
        reason = f"the model's largest Lyapunov exponent is not positive{given}"
        return Predictability(unit=model.time_unit, reason=reason)
    time = math.log(2) / max(known)
    return Predictability(time=time, steps=int(time / model.dt), unit=model.time_unit)

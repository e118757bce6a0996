"""From where a forecast starts and how far it can be trusted; the same rules for the API and for jobs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from domain.errors import ErrorItem, InvalidParameters, SeriesTooShort
from domain.results import ForecastStart, LyapunovSpectrum, Predictability
from domain.series import Segment
from domain.specs import ForecastContext
from models.trained import TrainedModel


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


def predictability_of(spectrum: LyapunovSpectrum, model: TrainedModel) -> Predictability:
    """Doubling time of an error, ln 2 / lambda, with the larger of the model's own exponent and the one measured in its data.

    Members of a forecast part as the model has it, but they part from the truth as the system has it: a model that is
    tamer than its data must not promise more than they allow. `time` is None, with the reason, where nothing diverges.
    """
    own = spectrum.exponents[0] if spectrum.exponents else None
    measured = model.card.get("lambda_max")
    known = [exponent for exponent in (own, measured) if exponent is not None]
    if not known:
        return Predictability(unit=model.time_unit, reason=spectrum.reason or "the model's largest exponent is unknown")
    if max(known) <= 0:
        return Predictability(unit=model.time_unit, reason="the model's largest Lyapunov exponent is not positive")
    time = math.log(2) / max(known)
    return Predictability(time=time, steps=int(time / model.dt), unit=model.time_unit)

"""How far a forecast is trusted: the larger of the model's exponent and the data's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from domain.errors import InvalidParameters
from domain.results import LyapunovSpectrum
from domain.series import Segment
from dynamics.forecast_inputs import predictability_of, start_in_series
from dynamics.recorded import recorded_from


def model(lambda_max: float | None) -> Any:
    return SimpleNamespace(card={"lambda_max": lambda_max}, dt=0.01, time_unit="s", inputs=None)


@pytest.mark.parametrize(
    ("own", "measured", "leading"),
    [(0.5, 0.9, 0.9), (1.2, 0.9, 1.2), (-0.1, 0.9, 0.9), (0.5, None, 0.5), (None, 0.9, 0.9)],
)
def test_the_larger_exponent_counts(own: float | None, measured: float | None, leading: float) -> None:
    result = predictability_of(LyapunovSpectrum(exponents=[own], unit="1/s"), model(measured))
    assert result.time == pytest.approx(np.log(2) / leading)
    assert result.steps == int(np.log(2) / leading / 0.01)
    assert (result.unit, result.reason) == ("s", None)


@pytest.mark.parametrize(
    ("own", "measured", "reason"), [(-0.1, None, "not positive"), (0.0, -0.2, "not positive"), (None, None, "unknown")]
)
def test_where_nothing_diverges_there_is_a_reason(own: float | None, measured: float | None, reason: str) -> None:
    result = predictability_of(LyapunovSpectrum(exponents=[own], unit="1/s"), model(measured))
    assert result.time is None
    assert result.steps is None
    assert reason in (result.reason or "")


def test_a_forecast_from_the_end_of_a_recording_is_not_driven_by_the_next() -> None:
    segments = [Segment(start=0, stop=50, time_start=0.0), Segment(start=50, stop=90, time_start=0.0)]
    rows, start = start_in_series(segments, start_index=50, context_steps=3, dt=0.1)
    assert (rows, start.index, start.time) == (slice(47, 50), 50, pytest.approx(5.0))
    assert recorded_from(segments, start, 20) == slice(50, 50)  # the rows from 50 on belong to another recording
    _, inside = start_in_series(segments, start_index=53, context_steps=3, dt=0.1)
    assert recorded_from(segments, inside, 20) == slice(53, 73)
    with pytest.raises(InvalidParameters, match="lacks 3 consecutive rows before it"):
        start_in_series(segments, start_index=52, context_steps=3, dt=0.1)

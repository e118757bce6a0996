"""How far a forecast is trusted: the larger of the model's exponent and the data's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from domain.results import LyapunovSpectrum
from dynamics.forecast_inputs import predictability_of


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

"""Forecasts of models with inputs: their closed form, where inputs come from, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hand_made import linear

from domain.errors import InvalidParameters
from domain.results import ForecastResult, ForecastStart, LyapunovSpectrum, Predictability
from domain.series import Segment
from domain.specs import ForecastSpec
from dynamics import ensembles
from dynamics.forecast_inputs import future_inputs, predictability_of
from dynamics.forecasting import forecast
from dynamics.recorded import recorded_from
from models import TrainedModel
from models.trained import Inputs

A, C = np.array([0.9, -0.6]), np.array([[0.5, -0.2], [1.0, 0.3]])
START = ForecastStart(index=3, time=1.5)


def driven(**fields: Any) -> TrainedModel:
    inputs = Inputs(
        ["u", "v"], np.array([3.0, -1.0]), np.array([2.0, 0.5]), C, np.array([-9.0, -4]), np.array([15.0, 2])
    )
    units = {"mean": np.array([5.0, -1.0]), "std": np.array([4.0, 2.0]), "dt": 0.5, "time_unit": "s"}
    return linear(A.tolist(), inputs=inputs, **(units | fields))


def run(model: TrainedModel, driving: np.ndarray | None, **spec: Any) -> ForecastResult:
    given = ForecastSpec(**({"horizon_steps": 12} | spec))
    rows = np.array([[7.0, 2.0]])
    unknown = Predictability(reason="not positive", unit="s")
    return forecast(model, rows, spec=given, start=START, predictability=unknown, inputs=driving)


def values(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 2)) * [2.0, 0.5] + [3.0, -1.0]


@pytest.mark.parametrize("block", [1, 5, 2000])
def test_the_forecast_is_the_closed_form(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """z_n = a^n z_0 + sum_k a^(n-1-k) C s_k; the first row of inputs drives the first step; blocks change nothing."""
    monkeypatch.setattr(ensembles, "_BLOCK_STEPS", block)
    given = values(12)
    s = (given - [3.0, -1.0]) / [2.0, 0.5]
    z, expected = (np.array([7.0, 2.0]) - [5.0, -1.0]) / [4.0, 2.0], []
    for row in s:
        z = A * z + C @ row
        expected.append(z * [4.0, 2.0] + [5.0, -1.0])
    result = run(driven(), given, samples=1, quantiles=[], inputs=given.tolist())
    assert np.array(result.median) == pytest.approx(np.array(expected))
    assert result.inputs == "request"
    assert run(driven(), given, samples=1, quantiles=[]).inputs == "series"


def test_the_spread_does_not_depend_on_the_inputs() -> None:
    model = driven(residual_std=np.array([0.1, 0.2]))
    widths = []
    for seed in (0, 1):
        result = run(model, values(12, seed), samples=200)
        widths.append(np.array(result.quantiles["0.95"]) - np.array(result.quantiles["0.05"]))
    assert widths[0] == pytest.approx(widths[1])


def test_inputs_outside_the_training_range_are_told() -> None:
    given = values(12)
    assert run(driven(), given).warnings == []
    given[4, 1] = 50.0
    (warning,) = run(driven(), given).warnings
    assert warning.code == "inputs_outside_training_range"
    assert warning.detail.startswith("v leave")


@pytest.mark.parametrize("inputs", [None, np.zeros((11, 2)), np.zeros((12, 1))])
def test_other_shapes_are_programming_errors(inputs: np.ndarray | None) -> None:
    with pytest.raises(ValueError, match="inputs"):
        run(driven(), inputs)
    with pytest.raises(ValueError, match="for no other"):
        run(replace(driven(), inputs=None), np.zeros((12, 2)))


class TestWhereInputsComeFrom:
    @staticmethod
    def resolve(n_steps: int, recorded: Any = None, model: TrainedModel | None = None, **spec: Any) -> Any:
        spec = spec if "horizon_lyapunov_times" in spec else {"horizon_steps": n_steps} | spec
        return future_inputs(model or driven(), ForecastSpec(**spec), n_steps, recorded)

    def test_the_request_comes_first(self) -> None:
        found = self.resolve(2, np.zeros((9, 2)), inputs=[[1, 2], [3, 4]])
        np.testing.assert_array_equal(found, [[1, 2], [3, 4]])

    def test_else_what_was_recorded(self) -> None:
        np.testing.assert_array_equal(self.resolve(3, np.arange(10).reshape(5, 2)), np.arange(6).reshape(3, 2))

    def test_a_horizon_in_lyapunov_times_may_leave_rows_over(self) -> None:
        found = self.resolve(2, horizon_lyapunov_times=1, inputs=[[1, 2], [3, 4], [5, 6]])
        np.testing.assert_array_equal(found, [[1, 2], [3, 4]])

    def test_a_model_without_inputs_takes_none(self) -> None:
        plain = linear([0.5])
        assert self.resolve(2, model=plain) is None
        with pytest.raises(InvalidParameters, match="no input channels"):
            self.resolve(2, model=plain, inputs=[[1], [2]])

    @pytest.mark.parametrize(
        ("recorded", "spec", "pointer", "says"),
        [
            (None, {}, "/inputs", "driven by u, v: inputs need 3 rows of them, one for each step; none are known"),
            (np.zeros((2, 2)), {}, "/inputs", "the series has 2 of them from the start on"),
            (np.zeros((9, 2)), {"inputs": [[1, 2], [3, 4]]}, "/inputs", "has 3 steps and needs as many rows of u, v"),
            (None, {"inputs": [[1, 2]] * 4}, "/inputs", "inputs have 4"),
            (None, {"horizon_lyapunov_times": 1, "inputs": [[1, 2]] * 2}, "/inputs", "3 steps and needs as many rows"),
            (None, {"inputs": [[1, 2], [3], [5, 6]]}, "/inputs/1", "Row 1 has 1 values; the model's 2 input channels"),
            (None, {"inputs": [[1, 2], [3, 4], [5, None]]}, "/inputs/2/1", "The value of v in row 2 is missing"),
        ],
    )
    def test_refusals_are_precise(self, recorded: Any, spec: dict[str, Any], pointer: str, says: str) -> None:
        with pytest.raises(InvalidParameters) as refused:
            self.resolve(3, recorded, **spec)
        (item,) = refused.value.errors
        assert item.pointer == pointer
        assert says in (item.detail or "")

    def test_recorded_rows_end_with_the_segment(self) -> None:
        segments = [Segment(start=0, stop=40, time_start=0.0), Segment(start=50, stop=90, time_start=50.0)]
        rows = [recorded_from(segments, ForecastStart(index=i, time=0.0), 10) for i in (20, 35, 40, 60, 90)]
        assert rows == [slice(20, 30), slice(35, 40), slice(40, 40), slice(60, 70), slice(90, 90)]


def test_the_exponent_of_driven_data_says_nothing_about_given_inputs() -> None:
    """The data's own exponent counts what unknown inputs add; a forecast is given them."""
    model = driven(card={"lambda_max": 2.0})
    found = predictability_of(LyapunovSpectrum(exponents=[0.5], unit="1/s"), model)
    assert found.time == pytest.approx(np.log(2) / 0.5)
    found = predictability_of(LyapunovSpectrum(exponents=[-0.1], unit="1/s"), model)
    assert found.time is None
    assert "its inputs being given" in (found.reason or "")

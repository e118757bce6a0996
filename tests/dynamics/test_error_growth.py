"""Growth of forecast errors against closed forms, naive loops and the measure of the same horizon."""

from __future__ import annotations

import numpy as np
import pytest
from hand_made import linear, lozi

from dynamics.error_growth import error_growth
from dynamics.measures import prediction_error
from models.trained import Inputs
from systems import driven_linear


def test_errors_of_a_linear_map_are_those_of_the_formula() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 2))
    model = linear([0.9, -0.5], dt=0.1)
    found = error_growth(model, [x], None, 8)
    scale = x.std(axis=0)
    for k in (1, 5, 8):
        rows = np.linspace(0, len(x) - 8 - 1, found.starts).astype(int)
        error = np.sqrt((((x[rows] * np.array([0.9, -0.5]) ** k - x[rows + k]) / scale) ** 2).mean(axis=1))
        assert found.median[k - 1] == pytest.approx(np.sort(error)[(len(error) + 1) // 2 - 1])
    assert found.time == pytest.approx(0.1 * np.arange(1, 9))


def test_persistence_is_that_of_the_measure() -> None:
    model = lozi()
    x = np.asarray(model.free_run(np.array([0.1, 0.1]), 150))
    found = error_growth(model, [x], None, 10)
    measure = prediction_error(model, [x], 10, max_starts=found.starts)
    assert found.persistence[-1] ** 2 == pytest.approx(measure.parameters["persistence"])
    assert found.median == pytest.approx(0, abs=1e-9)  # the model is the map itself


def test_errors_of_a_chaotic_map_grow_at_its_exponent() -> None:
    truth = lozi()
    x = np.asarray(truth.free_run(np.array([0.1, 0.1]), 4000))
    found = error_growth(lozi(a=1.7 + 1e-9), [x], None, 25)
    rate = np.polyfit(found.time[4:], np.log(found.median[4:]), 1)[0]
    assert rate == pytest.approx(0.47023, rel=0.15)  # Sprott 2003


def test_a_driven_map_is_told_its_inputs() -> None:
    values, inputs = driven_linear(400, 3)
    coupled = Inputs(["u"], np.zeros(1), np.ones(1), np.array([[0.5], [1.0]]))
    found = error_growth(
        linear([0.9, -0.6], inputs=coupled), [values[:200], values[200:]], [inputs[:200], inputs[200:]], 20
    )
    assert found.upper == pytest.approx(0, abs=1e-9)
    assert found.starts > 100


def test_diverged_runs_count_as_infinite_and_gaps_are_respected() -> None:
    x = np.random.default_rng(1).standard_normal((300, 1))
    found = error_growth(linear([1e200]), [x[:150], x[150:]], None, 5)
    assert np.isinf(found.median[-1])
    with pytest.raises(ValueError, match="too short"):
        error_growth(linear([0.5]), [x[:4]], None, 5)
    with pytest.raises(ValueError, match="does not vary"):
        error_growth(linear([0.5]), [np.ones((100, 1))], None, 5)

"""What forecasts need to know about a model: recovered from series whose noise is known."""

from __future__ import annotations

import numpy as np
import pytest
from hand_made import linear

from dynamics.calibration import calibrated, measurement_noise, one_step_errors
from models import TrainedModel

A = 0.99


def measured_process(n_std: float, q_std: float, seed: int = 0, n_steps: int = 40_000) -> np.ndarray:
    """s <- A s + q xi, measured as s + n xi: (T, 1)."""
    rng = np.random.default_rng(seed)
    state, rows = 1.0, np.empty(n_steps)
    for t, kick in enumerate(q_std * rng.standard_normal(n_steps)):
        state = A * state + kick
        rows[t] = state
    return (rows + n_std * rng.standard_normal(n_steps))[:, None]


@pytest.mark.parametrize(("n_std", "q_std"), [(0.3, 0.0), (0.0, 0.3), (0.2, 0.1), (0.05, 0.3)])
def test_measurement_noise_and_error_of_the_map_are_told_apart(n_std: float, q_std: float) -> None:
    series = measured_process(n_std, q_std)
    model = calibrated(linear([A]), [series[:20_000], series[20_000:]], [series])
    assert model.residual_std == pytest.approx(np.sqrt(n_std**2 * (1 + A**2) + q_std**2), rel=0.02)
    assert model.measurement_std == pytest.approx(n_std, abs=0.03)
    assert model.step_std == pytest.approx(q_std, abs=0.04)


def test_one_step_errors_are_those_of_the_map() -> None:
    embedded = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 7.0]])
    np.testing.assert_allclose(one_step_errors(linear([2.0, 0.5]), embedded), [[1.0, 3.0], [-1.0, 5.0]])


def test_segments_are_not_joined() -> None:
    """Alternating errors within each part; joined they would still alternate, reversed at the border they must not count."""
    alternating = np.array([[1.0], [-1.0], [1.0], [-1.0]])
    assert measurement_noise([alternating, -alternating]) == pytest.approx(np.sqrt(0.5))
    assert measurement_noise([np.ones((4, 1)) * [[1], [1], [-1], [-1]]]) == pytest.approx(0.0)


def test_the_range_is_that_of_the_training_data_in_own_units() -> None:
    model = linear([A, A], mean=np.array([10.0, 0.0]), std=np.array([2.0, 1.0]))
    parts = [np.array([[0.0, 1.0], [1.0, -1.0]]), np.array([[-1.0, 0.0], [0.5, 0.5], [0.1, 0.1]])]
    found = calibrated(model, [parts[1]], parts)
    assert found.minimum is not None
    assert found.maximum is not None
    assert found.minimum.tolist() == [8.0, -1.0]
    assert found.maximum.tolist() == [12.0, 1.0]


def test_a_calibrated_model_survives_its_file() -> None:
    model = calibrated(linear([A]), [measured_process(0.1, 0.1, n_steps=500)], [np.array([[1.0], [2.0]])])
    copy = TrainedModel.from_safetensors(model.to_safetensors())
    for name in ("residual_std", "noise_std", "minimum", "maximum"):
        np.testing.assert_array_equal(getattr(copy, name), getattr(model, name))
    assert TrainedModel.from_safetensors(linear([A]).to_safetensors()).noise_std is None

"""Prediction error and valid prediction time: step-by-step oracles, closed forms, published values of the mean."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from hand_made import hand_made, linear, lozi, skew_tent, tent

import naive
from dynamics.measures import d_h, d_stsp, prediction_error, valid_prediction_time
from dynamics.reporting import Interrupted, Reporter
from models import TrainedModel

PREDICTION_MODULE = import_module("dynamics.measures.prediction_error")  # the package binds its name to the function
DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="the published series are not beside this repository")


def noisy_segments(seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(n, 2)).cumsum(axis=0) / 3 for n in (40, 5, 3, 60)]


def affine_model(latent_dim: int = 3) -> TrainedModel:
    rng = np.random.default_rng(1)
    params = {
        "A": rng.uniform(0.2, 0.9, latent_dim),
        "W1": rng.normal(size=(latent_dim, 7)) / 3,
        "W2": rng.normal(size=(7, latent_dim)) / 3,
        "h1": np.zeros(latent_dim),
        "h2": rng.normal(size=7),
    }
    observation = {"B": rng.normal(size=(2, latent_dim)), "b": rng.normal(size=2)}
    return hand_made("clipped-shplrnn", params, observation=observation, mean=np.zeros(2), std=np.ones(2))


@pytest.mark.parametrize(
    "model", [linear([0.9, -0.5]), affine_model(), lozi(1.2, 0.3)], ids=["linear", "affine", "lozi"]
)
@pytest.mark.parametrize("n_steps", [1, 4])
def test_prediction_error_equals_the_loops(model: TrainedModel, n_steps: int) -> None:
    segments = noisy_segments()
    scale = np.concatenate(segments).std(axis=0)
    measure = prediction_error(model, segments, n_steps)
    assert measure.value == pytest.approx(naive.prediction_error(model, segments, n_steps, scale), rel=1e-9)
    assert measure.variant == f"mse-{n_steps}"
    assert measure.parameters["n_starts"] == sum(max(0, len(s) - n_steps) for s in segments)


def test_prediction_error_of_a_perfect_model_is_zero_and_of_the_mean_is_one() -> None:
    model = skew_tent(0.3)
    truth = model.free_run(np.array([0.2]), 500)
    assert prediction_error(model, [truth], 20).value == pytest.approx(0.0, abs=1e-12)
    white = np.random.default_rng(0).normal(2.0, 3.0, size=(5000, 2))
    mean_model = linear([0.0, 0.0])
    assert prediction_error(mean_model, [white - white.mean(axis=0)], 20).value == pytest.approx(1.0, abs=0.01)


def test_persistence_of_white_noise_is_two() -> None:
    white = np.random.default_rng(0).normal(size=(20_000, 1))
    measure = prediction_error(linear([0.0]), [white], 5)
    assert measure.parameters["persistence"] == pytest.approx(2.0, abs=0.05)


def test_prediction_error_in_blocks_equals_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    segments = noisy_segments()
    whole = prediction_error(affine_model(), segments, 4).value
    monkeypatch.setattr(PREDICTION_MODULE, "_BLOCK_VALUES", 4 * 3 * 7)
    assert prediction_error(affine_model(), segments, 4).value == pytest.approx(whole, rel=1e-12)


def test_prediction_error_spaces_its_starts_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PREDICTION_MODULE, "_MAX_START_STEPS", 1000)
    series = np.random.default_rng(0).normal(size=(5000, 1))
    measure = prediction_error(linear([0.0]), [series], 2)
    assert measure.parameters["n_starts"] == 500
    assert measure.value == pytest.approx(1.0, abs=0.2)


def test_prediction_error_of_a_diverging_model_is_null_with_a_count() -> None:
    measure = prediction_error(linear([1e200]), [np.arange(1.0, 31.0)[:, None]], 3)
    assert measure.value is None
    assert measure.reason == "27 of 27 runs left every bound within 3 steps"


@pytest.mark.parametrize(
    ("series", "reason"),
    [
        (np.empty((0, 1)), "more than 20 steps"),
        (np.ones((20, 1)), "more than 20 steps"),
        (np.ones((50, 1)), "does not vary"),
    ],
)
def test_undefined_prediction_errors_have_a_reason(series: np.ndarray, reason: str) -> None:
    measure = prediction_error(linear([0.5]), [series], 20)
    assert measure.value is None
    assert reason in (measure.reason or "")
    time = valid_prediction_time(linear([0.5]), [series], window_steps=20, lambda_max=None)
    assert time.median_time is None
    assert reason in (time.reason or "")


def test_a_stop_request_interrupts_between_blocks() -> None:
    class Stopping(Reporter):
        def should_stop(self) -> bool:
            return True

    with pytest.raises(Interrupted):
        prediction_error(linear([0.5]), [np.arange(50.0)[:, None]], 2, reporter=Stopping())


def test_valid_prediction_time_equals_the_loops() -> None:
    model, segments = lozi(1.2, 0.3), noisy_segments()
    scale = np.concatenate(segments).std(axis=0)
    result = valid_prediction_time(model, segments, window_steps=6, lambda_max=0.5)
    steps = [naive.first_exceedance(model, s, t, 0.4, scale, 6) for s in segments for t in range(len(s) - 6)]
    found = sorted(np.inf if k is None else k for k in steps)
    assert result.n_starts == len(steps)
    assert result.censored == sum(k is None for k in steps)
    expected = [found[int(np.ceil(q * len(found))) - 1] for q in (0.25, 0.5, 0.75)]
    assert result.quartiles_time is not None
    assert [result.quartiles_time[0], result.median_time, result.quartiles_time[1]] == expected
    assert result.median_lyapunov_times == pytest.approx(expected[1] * 0.5)
    assert [other.threshold for other in result.also] == [0.3]
    assert (result.also[0].median_time or 0) <= expected[1]


def test_valid_prediction_time_of_a_known_error_growth() -> None:
    """The truth grows by 1.2 a step, the model by 1.1: e(k) = x0 (1.2^k - 1.1^k) / s, exceeding 0.4 at a computable step."""
    truth, model = 1.2 ** np.arange(40.0)[:, None], linear([1.1], dt=0.5, time_unit="s")
    s = truth.std()
    expected = [next(k for k in range(1, 40) if 1.2**t * (1.2**k - 1.1**k) / s > 0.4) for t in range(10)]
    result = valid_prediction_time(model, [truth], window_steps=30, lambda_max=np.log(1.2) / 0.5)
    assert result.median_time == 0.5 * sorted(expected)[4]
    assert result.unit == "s"
    assert result.median_lyapunov_times == pytest.approx(result.median_time * np.log(1.2) / 0.5)


def test_valid_prediction_time_is_null_when_the_error_never_grows() -> None:
    model = linear([0.9])
    truth = model.free_run(np.array([1.0]), 100)
    result = valid_prediction_time(model, [truth], window_steps=50, lambda_max=None)
    assert result.median_time is None
    assert result.quartiles_time == (None, None)
    assert result.censored == result.n_starts == 50
    assert "stayed below the threshold" in (result.reason or "")


def test_a_diverged_forecast_exceeds_every_threshold() -> None:
    series = np.random.default_rng(0).normal(size=(40, 1))
    result = valid_prediction_time(linear([1e250]), [series], window_steps=5, lambda_max=-1.0)
    assert result.median_time == 1.0
    assert result.median_lyapunov_times is None
    assert "not positive" in (result.reason or "")


def lorenz_trajectory(seed: int, n_steps: int = 100_000, dt: float = 0.01) -> np.ndarray:
    """Lorenz-63 by classical Runge-Kutta, standardised, its first 5,000 steps dropped."""

    def f(x: float, y: float, z: float) -> tuple[float, float, float]:
        return 10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z

    u = tuple(np.random.default_rng(seed).normal([1.0, 1.0, 25.0]))
    rows = []
    for _ in range(n_steps + 5000):
        k1 = f(*u)
        k2 = f(*(a + dt / 2 * k for a, k in zip(u, k1, strict=True)))
        k3 = f(*(a + dt / 2 * k for a, k in zip(u, k2, strict=True)))
        k4 = f(*(a + dt * k for a, k in zip(u, k3, strict=True)))
        u = tuple(a + dt / 6 * (p + 2 * q + 2 * r + s) for a, p, q, r, s in zip(u, k1, k2, k3, k4, strict=True))
        rows.append(u)
    series = np.array(rows[5000:])
    return (series - series.mean(axis=0)) / series.std(axis=0)


@needs_data
def test_floors_of_lorenz63_are_the_published_ones() -> None:
    """An independent trajectory against the published test series: 0.09-0.16 (0.27 has been seen) and 0.052-0.069."""
    truth = np.load(DATA / "lorenz63_test.npy").astype(float)
    noisy = np.load(DATA / "lorenz63_train.npy").astype(float)
    values = [d_stsp(truth, y).value or 9.0 for y in (noisy, lorenz_trajectory(1))]
    spectra = [d_h(truth, y).value or 9.0 for y in (noisy, lorenz_trajectory(1))]
    assert 0.09 <= values[0] <= 0.16
    assert 0.05 <= values[1] <= 0.3
    assert all(0.05 <= value <= 0.07 for value in spectra)


@needs_data
def test_floor_and_mean_prediction_of_the_ecg_are_the_published_ones() -> None:
    train, test = (np.load(DATA / f"ecg_{part}.npy") for part in ("train", "test"))
    assert d_stsp(test, train).value == pytest.approx(0.29, abs=0.006)
    assert d_h(test, train).value == pytest.approx(0.060, abs=0.001)
    measure = prediction_error(linear([0.0] * 5), [test], 20, scale=np.ones(5))
    assert measure.value == pytest.approx(0.69, abs=0.005)


@needs_data
def test_white_noise_with_the_covariance_of_the_eeg_scores_as_published() -> None:
    eeg = np.load(DATA / "eeg.npy").astype(float)
    noise = np.random.default_rng(1).normal(size=eeg.shape) @ np.linalg.cholesky(np.cov(eeg.T)).T
    assert 1.4 <= (d_stsp(eeg, noise).value or 0) <= 2.0
    assert d_h(eeg, noise).value == pytest.approx(0.84, abs=0.02)


def test_the_tent_map_has_the_width_of_its_interval() -> None:
    """A guard on the hand-made map itself: slope 1.9 keeps [F(F(1/2)), F(1/2)] = [0.095, 0.95]."""
    orbit = tent(1.9).free_run(np.array([0.3]), 5000)
    assert 0.0949 <= orbit.min() < 0.12
    assert 0.93 < orbit.max() <= 0.9501

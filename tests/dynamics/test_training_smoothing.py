"""Which series are denoised before training, with which window, and that nothing else is."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from domain.errors import InvalidParameters
from domain.specs import TrainSpec
from dynamics.training.data import prepare
from dynamics.training.settings import resolve
from dynamics.training.smoothing import WINDOWS, choose_window, difference_noise, smooth
from dynamics.training.split import split

RNG = np.random.default_rng(7)
TIME = np.arange(4000) * 0.05
SMOOTH = np.cos(TIME) + 0.3 * np.cos(3 * TIME)


def lorenz63(n_steps: int, dt: float) -> np.ndarray:
    def rhs(s: np.ndarray) -> np.ndarray:
        return np.array([10 * (s[1] - s[0]), s[0] * (28 - s[2]) - s[1], s[0] * s[1] - 8 / 3 * s[2]])

    state, rows, substeps = np.array([1.0, 2.0, 20.0]), [], max(1, round(dt / 0.01))
    h = dt / substeps
    for t in range(n_steps + 200):
        for _ in range(substeps):
            k1 = rhs(state)
            k2 = rhs(state + h / 2 * k1)
            k3 = rhs(state + h / 2 * k2)
            k4 = rhs(state + h * k3)
            state = state + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        if t >= 200:
            rows.append(state)
    return np.array(rows)


def henon(n_steps: int) -> np.ndarray:
    x, y, rows = 0.1, 0.1, []
    for _ in range(n_steps + 100):
        x, y = 1 - 1.4 * x * x + y, 0.3 * x
        rows.append(x)
    return np.array(rows[100:])


def noisy(values: np.ndarray, share: float) -> np.ndarray:
    return values + share * values.std(axis=0) * RNG.standard_normal(values.shape)


@pytest.mark.parametrize("order", [6, 10])
def test_differences_measure_white_noise_and_ignore_polynomials(order: int) -> None:
    t = np.linspace(-1, 1, 20_000)
    values = 0.2 * RNG.standard_normal(t.size) + 3 * t**5 - t
    assert difference_noise([values], order) == pytest.approx(0.2, rel=0.05)


def test_a_cubic_passes_unchanged_and_a_short_series_too() -> None:
    t = np.linspace(-1, 1, 300)
    np.testing.assert_allclose(smooth(t**3 - t**2, 21), t**3 - t**2, atol=1e-12)
    np.testing.assert_array_equal(smooth(SMOOTH[:10], 21), SMOOTH[:10])


@pytest.mark.parametrize("dt", [0.01, 0.02])
def test_the_window_of_a_noisy_flow_is_near_the_best_for_the_true_signal(dt: float) -> None:
    clean = lorenz63(5000, dt)
    measured = noisy(clean, 0.05)
    for c in range(3):
        window, noise = choose_window([measured[:2500, c], measured[2500:, c]])
        errors = {w: np.mean((smooth(measured[:, c], w) - clean[:, c]) ** 2) for w in WINDOWS}
        assert errors[window] < 1.25 * min(errors.values())
        assert noise == pytest.approx(0.05 * clean[:, c].std(), rel=0.08)


@pytest.mark.parametrize(
    "values",
    [
        SMOOTH,
        lorenz63(3000, 0.01)[:, 1],
        lorenz63(3000, 0.1)[:, 1],
        noisy(lorenz63(3000, 0.1)[:, 1], 0.05),
        henon(4000),
        noisy(henon(4000), 0.05),
        RNG.standard_normal(4000),
        np.cumsum(RNG.standard_normal(4000)),
        np.round(SMOOTH[:12], 1),
    ],
    ids=["cycle", "flow", "coarse flow", "noisy coarse flow", "map", "noisy map", "white", "walk", "short"],
)
def test_clean_coarse_and_discrete_series_are_left_alone(values: np.ndarray) -> None:
    assert choose_window([values]) == (0, 0.0)


def settle(values: np.ndarray, segments=None, **regularization):
    spec = TrainSpec.model_validate({"regularization": regularization, "sequence_length": 50})
    parts = split(segments or [(0, values)], spec)
    settings = resolve(spec, parts, values.shape[1], 0.05, None)
    return parts, settings, prepare(parts, settings, [f"x{i}" for i in range(values.shape[1])])


def test_only_the_noisy_channel_is_denoised_and_only_what_sequences_are_drawn_from() -> None:
    values = np.stack([SMOOTH, noisy(SMOOTH, 0.05)], axis=1)
    parts, settings, data = settle(values)
    assert settings.smoothing[0] == 0
    assert settings.smoothing[1] > 9
    assert "1 of 2 channels" in settings.why["smoothing"]
    raw = np.concatenate(data.train)
    np.testing.assert_allclose(raw * data.std + data.mean, parts.train[0][1])
    np.testing.assert_array_equal(data.series[:, 0], raw[:, 0])
    truth = (SMOOTH[: len(raw)] - data.mean[1]) / data.std[1]
    assert np.std(data.series[:, 1] - truth) < 0.5 * np.std(raw[:, 1] - truth)
    np.testing.assert_allclose(data.validation[0] * data.std + data.mean, parts.validation[0][1])


def test_no_fit_crosses_a_gap_or_the_border_to_validation_rows() -> None:
    values = noisy(np.stack([SMOOTH, np.roll(SMOOTH, 9)], axis=1), 0.05)
    segments = [(0, values[:1500]), (1600, values[1600:])]
    _, _, data = settle(values, segments, smoothing=21)
    other = values.copy()
    other[1600:] += 100.0
    other_segments = [(0, other[:1500]), (1600, other[1600:])]
    parts, _, changed = settle(other, other_segments, smoothing=21)
    first = data.series[:1500] * data.std + data.mean
    np.testing.assert_allclose(changed.series[:1500] * changed.std + changed.mean, first, atol=1e-9)
    expected = smooth(parts.train[1][1][:, 0], 21)
    np.testing.assert_allclose(changed.series[1500:, 0] * changed.std[0] + changed.mean[0], expected, atol=1e-9)


def test_off_and_a_given_window_are_obeyed() -> None:
    values = noisy(np.stack([SMOOTH, np.roll(SMOOTH, 9)], axis=1), 0.05)
    assert settle(values, smoothing="off")[1].smoothing == [0, 0]
    assert settle(values, smoothing=31)[1].smoothing == [31, 31]
    with pytest.raises(ValidationError, match="odd"):
        TrainSpec.model_validate({"regularization": {"smoothing": 8}})
    with pytest.raises(InvalidParameters, match="901 rows is longer"):
        settle(values[:1000], smoothing=901)

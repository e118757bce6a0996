"""One long series and the same cut into many trials: measures and exponents agree, and nothing is seen across a border."""

from __future__ import annotations

import numpy as np
import pytest

from domain.results import LyapunovAnalysis
from domain.specs import EvaluateSpec, LyapunovSpec
from dynamics.evaluation import evaluate
from dynamics.lyapunov import analyze
from dynamics.lyapunov.evidence import decay_ratio, recurrence, zero_one_test
from dynamics.measures import d_h, d_h_floor, d_h_pooled, prediction_error, window_steps
from models.trained import TrainedModel

DT = 0.01


def henon(n: int) -> np.ndarray:
    out, x, y = np.empty((n, 2)), 0.1, 0.1
    for i in range(-100, n):
        x, y = 1 - 1.4 * x * x + y, 0.3 * x
        if i >= 0:
            out[i] = x, y
    return out


def lorenz(n: int, start: tuple[float, float, float] = (1.0, 1.0, 20.0)) -> np.ndarray:
    def f(x: np.ndarray) -> np.ndarray:
        return np.array([10 * (x[1] - x[0]), x[0] * (28 - x[2]) - x[1], x[0] * x[1] - 8 / 3 * x[2]])

    out, x = np.empty((n, 3)), np.array(start)
    for i in range(-1000, n):
        a = f(x)
        b = f(x + DT / 2 * a)
        c = f(x + DT / 2 * b)
        x = x + DT / 6 * (a + 2 * b + 2 * c + f(x + DT * c))
        if i >= 0:
            out[i] = x
    return out


def analysis(parts: list[np.ndarray], dt: float) -> LyapunovAnalysis:
    return analyze(parts, dt=dt, time_unit="s", spec=LyapunovSpec())


SYSTEMS = {"henon": (henon(4000), 1.0, 0.4192), "lorenz": (lorenz(10_000), DT, 0.9056)}


@pytest.mark.parametrize("name", sorted(SYSTEMS))
def test_fifty_trials_give_the_exponents_of_the_series(name: str) -> None:
    series, dt, truth = SYSTEMS[name]
    whole, cut = analysis([series], dt), analysis(np.split(series, 50), dt)
    for found in (whole, cut):
        assert found.verdict.kind == "chaotic"
        low, high = found.lambda_max.ci or (np.nan, np.nan)
        assert low < truth < high
        assert found.lambda_max.value == pytest.approx(truth, rel=0.03)
    np.testing.assert_allclose(cut.lyapunov_spectrum.exponents, whole.lyapunov_spectrum.exponents, rtol=0.02, atol=0.01)
    along, error = (np.array(cut.diagnostics[k]) for k in ("exponents_along_data", "exponents_along_data_error"))
    assert (np.abs(along - whole.lyapunov_spectrum.exponents) < 3 * error).all()


def test_segments_that_are_too_short_are_said() -> None:
    series, dt, _ = SYSTEMS["henon"]
    found = analysis([*np.split(series[:2000], 10), series[2000:2030], series[3000:3010]], dt)
    warning = next(w for w in found.warnings if w.code == "short-segments")
    assert warning.detail == "2 of 12 segments, 40 rows, are shorter than 40 rows and were left out."


def test_a_piece_that_nearly_repeats_itself_is_not_the_series() -> None:
    series, _, _ = SYSTEMS["lorenz"]
    trials = np.split(series, 50)
    alone = min(recurrence([trial], 60.0).long for trial in trials)
    assert alone < 0.02  # one of them would pass for a cycle
    assert recurrence(trials, 60.0).long > 0.05
    period = np.stack([np.sin(2 * np.pi * np.arange(6000) / 50), np.cos(2 * np.pi * np.arange(6000) / 50)], 1)
    assert recurrence(np.split(period, 40), 50.0).long < 1e-9


def test_evidence_of_short_trials() -> None:
    steps = np.arange(150)[:, None]
    decays = [np.exp(-0.04 * steps) * np.cos(0.2 * steps + p) for p in range(20)]
    assert decay_ratio(decays) < 0.05
    assert decay_ratio([*decays[:9], *(np.cos(0.2 * steps + p) for p in range(10))]) == 1.0
    assert np.isnan(zero_one_test(np.random.default_rng(0).normal(size=60), np.random.default_rng(1)))


def test_pooled_spectra_are_means_of_windows() -> None:
    rng = np.random.default_rng(0)
    x, y = (np.cumsum(rng.normal(size=(600, 2)), axis=0) * 0.1 + rng.normal(size=(600, 2)) for _ in range(2))
    assert d_h_pooled([x], [y]) == d_h(x, y)
    xs, ys = np.split(x, 12), np.split(y, 12)
    pooled = d_h_pooled(xs, ys, sigma=0.012)  # no smoothing to speak of: 0.001 bins
    spectra = []
    for parts in (xs, ys):
        power = np.mean([np.abs(np.fft.rfft(p - p.mean(axis=0), axis=0)) ** 2 for p in parts], axis=0)
        spectra.append(power / power.sum(axis=0))
    expected = np.mean(np.sqrt(0.5 * np.sum((np.sqrt(spectra[0]) - np.sqrt(spectra[1])) ** 2, axis=0)))
    assert pooled.value == pytest.approx(expected, rel=1e-9)
    assert pooled.variant == "hellinger-s0.012-pooled"
    assert pooled.parameters["windows"] == 12
    assert (window_steps([200] * 50), window_steps([9000, 900]), window_steps([100, 200, 200])) == (200, 9000, 100)
    longest = d_h_pooled([x[:560], x[560:]], [y[:560], y[560:]])
    assert longest == d_h(x[:560], y[:560])


def test_offsets_between_trials_are_no_rhythm() -> None:
    rng = np.random.default_rng(1)
    waves = [np.sin(2 * np.pi * np.arange(100) / 10 + p)[:, None] for p in rng.uniform(0, 6, 30)]
    moved = [w + 3 * rng.normal() for w in waves]  # joined end to end they would show steps, that is low frequencies
    assert d_h_pooled(waves, moved).value < 0.01
    joined = d_h(np.concatenate(waves), np.concatenate(moved)).value
    assert joined is not None
    assert joined > 0.5
    assert d_h_floor(waves).value < 0.01


def turning(rate: float) -> TrainedModel:
    """z_t = rotation by `rate`, whose free run is known."""
    c, s = np.cos(rate), np.sin(rate)
    params = {
        "A": np.array([c, c]),
        "W1": np.array([[-s, s, 0, 0], [0, 0, s, -s]]),
        "h1": np.zeros(2),
        "W2": np.array([[0.0, 1], [0, -1], [1, 0], [-1, 0]]),
        "h2": np.zeros(4),
    }
    noise = np.full(2, 1e-3)
    return TrainedModel("shplrnn", params, {}, ["x", "y"], np.zeros(2), np.ones(2), [0], 0.1, "s", noise)


def test_predictions_and_reports_of_trials_see_no_border() -> None:
    model = turning(0.3)
    phases = np.random.default_rng(2).uniform(0, 6, 40)
    trials = [np.stack([np.cos(0.3 * np.arange(30) + p), np.sin(0.3 * np.arange(30) + p)], axis=1) for p in phases]
    error = prediction_error(model, trials, 20)
    assert error.value is not None
    assert error.value < 1e-20  # one start across a border would cost about 1 / 400
    assert error.parameters["n_starts"] == 40 * 10
    report = evaluate(model, trials, spec=EvaluateSpec(), lambda_max=None, reference_steps=(0, 1200))
    assert report.d_h.value is not None
    assert report.d_h.value < 0.02
    assert report.d_h.variant == "hellinger-s20-pooled"
    assert (report.d_h.parameters["windows"], report.d_h.parameters["generated_steps"]) == (40, 1200)

"""The analysis as a whole: published exponents, controls, bad input, progress and units.

References: Lorenz-63 0.9056, 0, -14.5723 (Sprott 2003, table A.5); Henon 0.41922, -1.62319; logistic r = 4: ln 2 exactly;
Roessler (a = b = 0.2, c = 5.7) 0.0714, 0, -5.3943.
"""

from __future__ import annotations

import time

import numpy as np
import pytest

from domain.errors import ConstantSeries, InvalidParameters, NonFiniteValues, SeriesTooShort
from domain.specs import LyapunovSpec
from dynamics.lyapunov import analyze
from dynamics.reporting import Interrupted, Reporter
from systems import henon, logistic


def integrate(field, x0, n, dt, transient=1000, substeps=2):
    """Plain RK4 samples (n, m) after `transient` samples."""
    x, h, out = np.array(x0, dtype=float), dt / substeps, np.empty((n, len(x0)))
    for t in range(-transient, n):
        if t >= 0:
            out[t] = x
        for _ in range(substeps):
            a = field(x)
            b = field(x + h / 2 * a)
            c = field(x + h / 2 * b)
            d = field(x + h * c)
            x = x + h / 6 * (a + 2 * b + 2 * c + d)
    return out


def lorenz(x):
    return np.array([10 * (x[1] - x[0]), x[0] * (28 - x[2]) - x[1], x[0] * x[1] - 8 / 3 * x[2]])


def roessler(x):
    return np.array([-x[1] - x[2], x[0] + 0.2 * x[1], 0.2 + x[2] * (x[0] - 5.7)])


def van_der_pol(x):
    return np.array([x[1], (1 - x[0] ** 2) * x[1] - x[0]])


def noisy(x, share, seed):
    return x + share * x.std(axis=0) * np.random.default_rng(seed).standard_normal(x.shape)


def run(x, dt=1.0, **spec):
    return analyze([x], dt=dt, time_unit="s", spec=LyapunovSpec(**spec))


@pytest.fixture(scope="module")
def lorenz_series():
    return integrate(lorenz, [1.0, 2.0, 20.0], 10_000, 0.01)


@pytest.mark.parametrize("share", [0.0, 0.05])
def test_lorenz_clean_and_with_five_percent_noise(lorenz_series, share):
    a = run(noisy(lorenz_series, share, 7), dt=0.01)
    assert a.verdict.kind == "chaotic"
    assert a.lambda_max.unit == "1/s"
    assert a.lambda_max.value == pytest.approx(0.9056, rel=0.05)
    assert a.lambda_max.ci[0] < 0.9056 < a.lambda_max.ci[1]
    assert a.lyapunov_spectrum.exponents[1] == pytest.approx(0.0, abs=0.02)
    assert sum(a.lyapunov_spectrum.exponents) == pytest.approx(-41 / 3, rel=0.03)  # the divergence of the vector field
    assert a.kaplan_yorke_dimension.value == pytest.approx(2.062, abs=0.01)
    assert a.predictability.time == pytest.approx(np.log(2) / a.lambda_max.value)
    assert a.predictability.steps == a.forcing.interval_steps == round(a.predictability.time / 0.01)
    assert a.forcing.alpha == pytest.approx(1 - np.exp(-a.lambda_max.value * 0.01))
    assert a.embedding.kind == "none"
    assert a.embedding.lags == [0]


def test_exponents_are_per_time_unit(lorenz_series):
    seconds = run(lorenz_series[:2000], dt=0.01).lyapunov_spectrum.exponents
    milliseconds = run(lorenz_series[:2000], dt=10.0).lyapunov_spectrum.exponents
    np.testing.assert_allclose(np.array(milliseconds) * 1000, seconds, rtol=1e-9)


def test_invariance_under_an_affine_change_of_coordinates(lorenz_series):
    mixed = lorenz_series @ np.array([[2.0, 1.0, 0.3], [0.0, 1.5, -0.4], [1.0, 0.2, 0.9]]) + [100.0, -3.0, 0.5]
    before, after = run(lorenz_series, dt=0.01), run(mixed, dt=0.01)
    np.testing.assert_allclose(
        after.lyapunov_spectrum.exponents, before.lyapunov_spectrum.exponents, rtol=0.04, atol=0.03
    )


def test_henon():
    a = run(henon(5000))
    assert a.verdict.kind == "chaotic"
    np.testing.assert_allclose(a.lyapunov_spectrum.exponents, [0.41922, -1.62319], rtol=0.03)
    assert sum(a.lyapunov_spectrum.exponents) == pytest.approx(np.log(0.3), rel=1e-6)


def test_henon_from_one_coordinate():
    a = run(henon(5000)[:, :1])
    assert a.verdict.kind == "chaotic"
    assert a.embedding.kind == "delay"
    np.testing.assert_allclose(a.lyapunov_spectrum.exponents[0], 0.41922, rtol=0.04)
    assert a.embedding.lags[:2] == [0, 1]


def test_logistic_map_at_full_chaos():
    a = run(logistic(5000))
    assert a.verdict.kind == "chaotic"
    assert a.lambda_max.value == pytest.approx(np.log(2), rel=0.03)
    assert a.predictability.time == pytest.approx(1.0, rel=0.03)


def test_roessler():
    a = run(integrate(roessler, [1.0, 1.0, 0.0], 8000, 0.1), dt=0.1)
    assert a.verdict.kind == "chaotic"
    assert a.lambda_max.value == pytest.approx(0.0714, rel=0.12)
    assert a.lambda_max.ci[0] < 0.0714 < a.lambda_max.ci[1]


@pytest.mark.parametrize("share", [0.0, 0.02])
@pytest.mark.parametrize("columns", [[0, 1], [0]])
def test_limit_cycle_is_periodic(share, columns):
    x = integrate(van_der_pol, [1.0, 0.0], 5000, 0.1)[:, columns]
    a = run(noisy(x, share, 1), dt=0.1, budget_seconds=6)
    assert a.verdict.kind == "periodic"
    assert a.predictability.time is None
    assert a.predictability.reason
    assert abs(a.lambda_max.value) < 0.1


@pytest.mark.parametrize("channels", [1, 3])
def test_white_noise_is_noise_and_has_no_exponents(channels):
    a = run(np.random.default_rng(3).standard_normal((4000, channels)))
    assert a.verdict.kind == "noise"
    assert a.lambda_max.value is None
    assert a.lambda_max.reason
    assert a.lyapunov_spectrum.exponents == []


def test_correlated_noise_and_a_random_walk_are_not_chaotic():
    rng = np.random.default_rng(4)
    shocks = rng.standard_normal((4000, 2))
    ar = np.zeros_like(shocks)
    for t in range(2, len(ar)):
        ar[t] = 1.6 * ar[t - 1] - 0.8 * ar[t - 2] + shocks[t]
    for x in (ar, ar[:, :1], np.cumsum(shocks, axis=0)):
        assert run(x, budget_seconds=4).verdict.kind in ("noise", "undecided")


def test_decay_to_a_fixed_point():
    t = np.arange(3000) * 0.05
    x = np.exp(-0.1 * t)[:, None] * np.column_stack([np.cos(t), np.sin(t)])
    a = run(x, dt=0.05)
    assert a.verdict.kind == "fixed-point"
    np.testing.assert_allclose(a.lyapunov_spectrum.exponents, [-0.1, -0.1], atol=0.01)


def test_two_incommensurate_oscillations_are_a_torus():
    t = np.arange(5000) * 0.1
    x = np.column_stack([np.cos(t), np.sin(t), np.cos(np.sqrt(2) * t), np.sin(np.sqrt(2) * t)])
    assert run(x, dt=0.1).verdict.kind == "quasi-periodic"


def test_segments_give_what_the_whole_gives(lorenz_series):
    pieces = [lorenz_series[a : a + 2400].copy() for a in (0, 2500, 5000, 7500)]
    a = analyze(pieces, dt=0.01, time_unit="s", spec=LyapunovSpec())
    assert a.lambda_max.value == pytest.approx(0.9056, rel=0.05)


def test_no_estimate_crosses_a_border():
    """Jumps at the borders would ruin an exact fit: with them left out the map is recovered to rounding."""
    x = henon(3000)
    pieces = [x[0:700], x[1500:2200][::1], x[2300:3000]]
    a = analyze(pieces, dt=1.0, time_unit="step", spec=LyapunovSpec())
    assert sum(a.lyapunov_spectrum.exponents) == pytest.approx(np.log(0.3), rel=1e-6)


def test_same_input_same_answer():
    x = noisy(henon(2000), 0.01, 5)
    timed = {"seconds": True, "methods": {"__all__": {"seconds"}}}
    first, second = (run(x).model_dump(exclude=timed) for _ in range(2))
    assert first == second


def test_answer_is_plain_json(lorenz_series):
    text = run(lorenz_series[:3000], dt=0.01).model_dump_json()
    assert "NaN" not in text
    assert "Infinity" not in text


def test_many_channels_are_projected_and_it_says_so(lorenz_series):
    rng = np.random.default_rng(0)
    x = lorenz_series[:4000] @ rng.standard_normal((3, 64)) + 0.05 * rng.standard_normal((4000, 64))
    a = run(x, dt=0.01, budget_seconds=8)
    assert "projected" in {w.code for w in a.warnings}
    assert a.embedding.kind == "principal-components"
    assert a.embedding.dimension < 64


def test_a_long_series_is_thinned_and_it_says_so():
    a = run(logistic(200_000, 3.9))
    assert "subsampled" in {w.code for w in a.warnings}
    assert a.diagnostics["sampling"]["rows_used"] <= 20_000
    assert a.lambda_max.value == pytest.approx(0.4945, rel=0.05)


def test_constant_channel_is_left_out():
    x = np.column_stack([henon(1500), np.full(1500, 3.0)])
    a = run(x)
    assert "constant-channels" in {w.code for w in a.warnings}
    assert len(a.lyapunov_spectrum.exponents) == 2


def test_dependent_channels_are_rotated_out():
    x = henon(1500)
    a = run(np.column_stack([x, x @ [1.0, 2.0]]))
    assert len(a.lyapunov_spectrum.exponents) == 2
    np.testing.assert_allclose(a.lyapunov_spectrum.exponents, [0.419, -1.623], rtol=0.05)


@pytest.mark.parametrize(
    ("segments", "dt", "error"),
    [
        ([np.ones((500, 2))], 0.1, ConstantSeries),
        ([np.random.default_rng(0).standard_normal((50, 2))], 0.1, SeriesTooShort),
        ([np.random.default_rng(0).standard_normal((30, 2))] * 20, 0.1, SeriesTooShort),
        ([], 0.1, SeriesTooShort),
        ([np.full((500, 1), np.nan)], 0.1, NonFiniteValues),
        ([np.random.default_rng(0).standard_normal((500, 2))], 0.0, InvalidParameters),
        ([np.random.default_rng(0).standard_normal(500)], 0.1, InvalidParameters),
    ],
)
def test_bad_input(segments, dt, error):
    with pytest.raises(error):
        analyze(segments, dt=dt, time_unit="s", spec=LyapunovSpec())


def test_progress_rises_and_a_stop_is_heard(lorenz_series):
    class Listener(Reporter):
        def __init__(self):
            self.seen, self.stop, self.last, self.silence = [], False, time.monotonic(), 0.0

        def report(self, progress):
            self.seen.append(progress)

        def should_stop(self):
            return self.stop

    listener = Listener()
    analyze([lorenz_series[:3000]], dt=0.01, time_unit="s", spec=LyapunovSpec(), reporter=listener)
    fractions = [p.fraction for p in listener.seen]
    assert fractions == sorted(fractions)
    assert {"preparing", "fitting models", "measuring exponents", "checking"} <= {p.phase for p in listener.seen}
    listener.stop = True
    with pytest.raises(Interrupted):
        analyze([lorenz_series], dt=0.01, time_unit="s", spec=LyapunovSpec(), reporter=listener)


def test_a_regular_motion_gets_no_exponents_of_directions_it_does_not_show():
    """A sampled sine fills two dimensions; what a model does in the other directions of an embedding is not its dynamics."""
    x = np.round(np.sin(0.3 * np.arange(260)), 6)[:, None]
    result = analyze([x], dt=1.0, time_unit="", spec=LyapunovSpec())
    assert result.verdict.kind == "periodic"
    if result.lambda_max.value is None:
        assert "do not part" in (result.lambda_max.reason or "")
        assert result.lyapunov_spectrum.exponents == []
    else:
        assert abs(result.lambda_max.value) < 0.01


def test_kinks_are_followed_by_piecewise_linear_functions():
    """Chua's circuit with its ideal piecewise linear diode; the reference from the equations (48 long runs, QR) is 0.43."""

    def chua(x):
        diode = -5 / 7 * x[0] + 0.5 * (-8 / 7 + 5 / 7) * (abs(x[0] + 1) - abs(x[0] - 1))
        return np.array([15.6 * (x[1] - x[0] - diode), x[0] - x[1] + x[2], -28.0 * x[1]])

    a = run(integrate(chua, [0.7, 0.0, 0.0], 6000, 0.03, substeps=4), dt=0.03)
    assert "piecewise linear" in a.lambda_max.method
    assert a.lambda_max.value == pytest.approx(0.43, rel=0.1)
    assert a.verdict.kind == "chaotic"


def test_a_torus_under_noise_is_not_a_cycle():
    t = np.arange(6000) * 0.1
    x = (np.cos(t) + np.cos(np.sqrt(3) * t))[:, None]
    assert run(noisy(x, 0.01, 3), dt=0.1).verdict.kind == "quasi-periodic"


@pytest.mark.parametrize("columns", [[0, 1], [0]])
def test_a_single_kink_is_found_exactly(columns):
    """Lozi's map: its Jacobian has determinant -1/2 everywhere, which only a model with its kink in place reproduces."""
    x, series = np.array([0.1, 0.1]), np.empty((4000, 2))
    for t in range(-100, 4000):
        x = np.array([1 - 1.7 * abs(x[0]) + 0.5 * x[1], x[0]])
        series[max(t, 0)] = x
    a = run(series[:, columns])
    assert "1 knots" in a.lambda_max.method
    assert sum(a.lyapunov_spectrum.exponents) == pytest.approx(np.log(0.5), rel=1e-3)
    assert a.verdict.kind == "chaotic"

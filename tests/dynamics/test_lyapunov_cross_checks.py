"""What is measured beside the fitted model, against closed forms, published values and slow oracles.

References: Henon D2 = 1.22 (Sprott 2003, table A.3: 1.220 +- 0.036), Lorenz D2 = 2.05 (Grassberger & Procaccia 1983: 2.05 +- 0.01).
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import naive
from dynamics.lyapunov import surrogates
from dynamics.lyapunov.clock import Clock
from dynamics.lyapunov.correlation import correlation_dimension, correlation_sum, scaling_region
from dynamics.lyapunov.local_jacobians import _affine, _growth, local_jacobians
from dynamics.lyapunov.recurrence_plot import binned, quantify, recurrence_plot
from dynamics.lyapunov.states import channels_as_states, delay_vectors
from dynamics.lyapunov.surrogates import fitting_ends, iaaft, prediction_error, surrogate_test
from dynamics.reporting import Interrupted, Reporter
from systems import henon, logistic, lorenz


@pytest.fixture
def clock():
    return Clock(Reporter(), 600.0)


def standard(x):
    return (x - x.mean(axis=0)) / x.std(axis=0)


@pytest.fixture(scope="module")
def lorenz_series():
    return lorenz(8000)


def autoregressive(n, seed, a=1.6, b=-0.8):
    rng = np.random.default_rng(seed)
    x = np.zeros(n + 200)
    for t in range(2, n + 200):
        x[t] = a * x[t - 1] + b * x[t - 2] + rng.standard_normal()
    return x[200:, None]


# -------------------------------------------------------------------------------------------------- local Jacobians


def test_local_maps_of_a_linear_system_are_its_matrix():
    """x' = A x + b exactly: every neighbourhood gives A, so the growth is that of the matrix, whatever the neighbours."""
    rng = np.random.default_rng(0)
    a = np.array([[0.9, 0.4], [-0.3, 0.5]])
    x = rng.standard_normal((7, 30, 2))
    y = x @ a.T + [1.0, -2.0]
    here = rng.standard_normal((7, 2))
    jacobians, forecast, mean = _affine(x, y, np.ones((7, 30), bool), here, 0.0, 0.002)
    np.testing.assert_allclose(jacobians, np.broadcast_to(a, (7, 2, 2)), rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(forecast, here @ a.T + [1.0, -2.0], atol=0.01)
    np.testing.assert_allclose(mean, y.mean(axis=1), atol=1e-12)


def test_unfair_neighbours_do_not_count():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((3, 20, 2))
    y, fair = x @ np.array([[0.5, 0.2], [0.1, -0.7]]), np.ones((3, 20), bool)
    fair[:, 15:] = False
    spoiled = y.copy()
    spoiled[:, 15:] += 100.0
    here = x[:, 0]
    np.testing.assert_allclose(
        _affine(x, spoiled, fair, here, 0.0, 0.002)[0], _affine(x[:, :15], y[:, :15], fair[:, :15], here, 0.0, 0.002)[0]
    )


def test_noise_is_taken_off_the_neighbours_covariance():
    """Errors in variables: least squares would find 0.8 * 1 / (1 + 0.25); the corrected slope is 0.8."""
    rng = np.random.default_rng(2)
    truth = rng.standard_normal((50, 4000, 1))
    x, y = truth + 0.5 * rng.standard_normal(truth.shape), 0.8 * truth
    fair, here = np.ones((50, 4000), bool), np.zeros((50, 1))
    assert _affine(x, y, fair, here, 0.0, 0.002)[0].mean() == pytest.approx(0.8 / 1.25, rel=0.01)
    assert _affine(x, y, fair, here, 0.5, 0.002)[0].mean() == pytest.approx(0.8, rel=0.01)


def test_growth_of_given_jacobians_is_that_of_one_long_product():
    rng = np.random.default_rng(3)
    jacobians = rng.standard_normal((2, 40, 3, 3))
    for lane, found in zip(jacobians, _growth(jacobians), strict=True):
        q, total = np.eye(3), np.zeros(3)
        for t, j in enumerate(lane):
            q, r = np.linalg.qr(j @ q)
            total += np.log(np.abs(np.diag(r))) if t >= 4 else 0.0
        np.testing.assert_allclose(found, total / 36)
    determinants = np.log(np.abs(np.linalg.det(jacobians[:, 4:]))).mean(axis=1)
    np.testing.assert_allclose(_growth(jacobians).sum(axis=1), determinants)


def test_local_jacobians_of_henon_all_coordinates_and_one(clock):
    x = standard(henon(8000))
    for states in (channels_as_states([x]), delay_vectors([x[:, :1]], 2, 1)):
        found = local_jacobians(states, False, 1.0, 1, 0.0, clock)
        assert found.exponents[0] == pytest.approx(0.41922, rel=0.06)
        contraction = found.exponents[1]  # of delay vectors damped: they have directions that the data do not fill
        assert contraction == pytest.approx(-1.62319, rel=0.06 if states.kind == "none" else 0.25)
        assert abs(found.exponents[0] - 0.41922) < 3 * found.errors[0]
        assert found.reliable
        assert found.evolve_steps == 1


def test_local_jacobians_of_lorenz_clean_and_noisy(lorenz_series, clock):
    for share in (0.0, 0.01):
        x = standard(
            lorenz_series + share * lorenz_series.std(axis=0) * np.random.default_rng(4).standard_normal((8000, 3))
        )
        found = local_jacobians(channels_as_states([x]), True, 50.0, 50, share, clock)
        assert found.exponents[0] / 0.02 == pytest.approx(0.9056, rel=0.2)
        assert abs(found.exponents[0] / 0.02 - 0.9056) < 3 * found.errors[0] / 0.02
        assert found.reliable


def test_local_jacobians_do_not_trust_noise(clock):
    found = local_jacobians(
        channels_as_states([np.random.default_rng(5).standard_normal((5000, 3))]), False, 1.0, 1, 0.0, clock
    )
    assert found.skill < 0.1
    assert not found.reliable


def test_local_jacobians_do_not_look_across_a_border(clock):
    """Joined, a jump would be an outlier of the exact map; apart, the map is exact."""
    x = standard(henon(6000))
    whole = local_jacobians(channels_as_states([x]), False, 1.0, 1, 0.0, clock)
    pieces = local_jacobians(
        channels_as_states([x[a : a + 700] for a in range(0, 5600, 800)]), False, 1.0, 1, 0.0, clock
    )
    assert pieces.skill > 0.999
    assert pieces.exponents[0] == pytest.approx(whole.exponents[0], abs=0.05)


def test_too_few_states_give_no_jacobians(clock):
    assert local_jacobians(channels_as_states([henon(60)]), True, 60.0, 60, 0.0, clock) is None


# ------------------------------------------------------------------------------------------------------- surrogates


def test_a_surrogate_has_the_values_and_nearly_the_spectrum(lorenz_series):
    x = standard(fitting_ends(lorenz_series[::4, :1]))
    y = iaaft(x, np.random.default_rng(0), rounds=30)
    np.testing.assert_array_equal(np.sort(y, axis=0), np.sort(x, axis=0))
    before, after = (np.abs(np.fft.rfft(v[:, 0])) ** 2 for v in (x, y))
    assert np.corrcoef(x[:, 0], y[:, 0])[0, 1] < 0.3
    assert np.sum(np.abs(np.sqrt(after) - np.sqrt(before)) ** 2) < 0.01 * np.sum(before)


def test_surrogates_of_several_channels_keep_their_cross_correlation():
    shocks = np.random.default_rng(1).standard_normal((1200, 2))
    x = standard(np.column_stack([shocks[:, 0], 0.8 * np.roll(shocks[:, 0], 3) + 0.6 * shocks[:, 1]]))
    y = iaaft(x, np.random.default_rng(2), rounds=40)
    lag3 = [float(np.mean(v[3:, 1] * v[:-3, 0])) for v in (x, y)]
    assert lag3[0] > 0.75
    assert lag3[1] == pytest.approx(lag3[0], abs=0.05)
    assert abs(np.mean(x[:, 0] * y[:, 0])) < 0.2  # another realisation all the same


def test_ends_are_chosen_where_they_fit():
    t = np.arange(1000.0)
    x = (np.sin(2 * np.pi * t / 97) + 0.0)[:, None]
    kept = fitting_ends(x)
    assert 800 <= len(kept) <= 1000
    assert len(kept) % 97 in (0, 1, 96)  # whole periods close to a ring


def test_prediction_error_is_that_of_the_sorted_neighbours():
    x = standard(np.cumsum(np.random.default_rng(3).standard_normal((150, 1)), axis=0))
    m, lag, horizon = 3, 2, 2
    back = (m - 1) * lag
    states = [x[t - np.arange(m) * lag, 0] for t in range(back, 150 - horizon)]
    futures = [x[t + horizon] for t in range(back, 150 - horizon)]
    errors = [naive.local_forecast(states, futures, q, back + horizon, 6) - futures[q] for q in range(len(states))]
    assert prediction_error(x, m, lag, horizon) == pytest.approx(np.sqrt(np.mean(np.square(errors))))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("a", "b"), [(1.6, -0.8), (0.5, 0.0), (1.9, -0.92)])
def test_linear_noise_is_not_ruled_out(a, b, seed, clock):
    found = surrogate_test([standard(autoregressive(5000, seed, a, b))], False, 1.0, 1, 3, seed, clock)
    assert not found.rejected
    assert found.p * 20 == pytest.approx(round(found.p * 20))  # a rank among 19


def test_ranks_of_noise_are_uniform(clock, monkeypatch):
    """Under the null the rank p-value is uniform on 0.05, 0.1, ..., 1: mean 0.525, standard deviation 0.288."""
    monkeypatch.setattr(surrogates, "MAX_ROWS", 400)
    p = [
        surrogate_test([np.random.default_rng(s).standard_normal((400, 1))], False, 1.0, 1, 2, s, clock).p
        for s in range(40)
    ]
    assert np.mean(p) == pytest.approx(0.525, abs=4 * 0.288 / np.sqrt(40))
    assert np.mean(np.array(p) <= 0.05) < 0.2


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1])
@pytest.mark.parametrize("columns", [[0, 1, 2], [0]])
def test_lorenz_is_told_from_its_own_surrogate(lorenz_series, columns, share, clock):
    x = lorenz_series[:, columns]
    x = standard(x + share * x.std(axis=0) * np.random.default_rng(6).standard_normal(x.shape))
    found = surrogate_test([x], True, 50.0, 9, 3, 0, clock)
    assert found.rejected
    assert found.error < 0.8 * found.surrogate_errors.min()
    fake = iaaft(fitting_ends(x[::4]), np.random.default_rng(7))
    assert not surrogate_test([fake], True, 12.5, 2, 3, 0, clock).rejected


def test_a_random_walk_has_too_few_periods(clock):
    walk = standard(np.cumsum(np.random.default_rng(8).standard_normal((5000, 1)), axis=0))
    assert surrogate_test([walk[:4000]], True, 300.0, 75, 3, 0, clock) is None
    assert not surrogate_test([walk], True, 250.0, 62, 3, 0, clock).decisive


def test_surrogates_hear_a_stop():
    class Stopped(Reporter):
        def should_stop(self):
            return True

    with pytest.raises(Interrupted):
        surrogate_test([logistic(1000)], False, 1.0, 1, 2, 0, Clock(Stopped(), 600.0))


# -------------------------------------------------------------------------------------------------- recurrence plot


@given(st.integers(8, 40), st.integers(0, 5), st.floats(0.0, 1.0), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_quantification_walks_every_diagonal(n, theiler, share, seed):
    upper = np.random.default_rng(seed).random((n, n)) < share
    matrix = np.triu(upper) | np.triu(upper).T
    found = quantify(matrix, theiler)
    expected = naive.recurrence_measures(matrix.tolist(), theiler, 2)
    assert (found.rate, found.determinism, found.mean_line, found.longest_line) == pytest.approx(expected)


def test_recurrence_plot_of_a_circle_and_of_white_noise():
    t = np.arange(2000)
    circle = recurrence_plot(np.column_stack([np.cos(2 * np.pi * t / 40), np.sin(2 * np.pi * t / 40)]), True, 40.0)
    assert circle.measures.determinism == 1.0
    assert circle.every == 3
    noise = recurrence_plot(np.random.default_rng(0).standard_normal((2000, 2)), False, 1.0)
    assert noise.measures.rate == pytest.approx(0.05, abs=1e-3)
    # neighbours on a diagonal are independent: a point is alone with probability (1 - r)^2
    assert noise.measures.determinism == pytest.approx(1 - 0.95**2, abs=0.02)
    assert noise.measures.mean_line == pytest.approx(2 + 0.05 / 0.95, abs=0.05)


def test_recurrence_threshold_is_a_distance_of_the_states():
    x = standard(henon(500))
    plot = recurrence_plot(x, False, 1.0)
    expected = [[np.linalg.norm(a - b) <= plot.threshold * (1 + 1e-12) for b in x] for a in x]
    np.testing.assert_array_equal(plot.matrix, expected)


def test_binned_counts_and_compact_form():
    rng = np.random.default_rng(1)
    upper = rng.random((401, 401)) < 0.3
    matrix = np.triu(upper) | np.triu(upper).T
    size, counts = binned(matrix, 200)
    assert size == 3
    assert counts.shape == (134, 134)
    assert counts.sum() == matrix.sum()
    assert counts[5, 7] == matrix[15:18, 21:24].sum()
    document = recurrence_plot(standard(henon(2000)), False, 1.0).as_json(0.5)
    rows = document["counts"]
    assert [len(r) for r in rows] == list(range(1, 201))
    assert set("".join(rows)) <= set("0123456789")
    assert document["time_between_states"] == 0.5
    assert rows[0] == rows[199][199] == "".join(rows[0])  # three states against themselves and each other


def test_too_few_states_give_no_recurrence_plot():
    assert recurrence_plot(np.zeros((40, 1)), False, 1.0) is None
    assert recurrence_plot(np.random.default_rng(0).random((900, 1)), True, 600.0) is None


# --------------------------------------------------------------------------------------------- correlation dimension


def dimension_of(points, theiler, clock, noise=0.0, level=0.95):
    return correlation_dimension(correlation_sum(points, theiler, clock), points.shape[1], noise, level, 0, len(points))


def test_correlation_sum_counts_pairs(clock):
    points = np.random.default_rng(0).random((300, 2))
    total = correlation_sum(points, 4, clock)
    rows = np.arange(300)
    references = np.linspace(0, 299, 300).astype(int)
    for k in (-12, -20, -30):
        radius = float(np.exp(total.log_radii[k]))
        expected = naive.correlation_share(points[references].tolist(), points.tolist(), rows, references, 4, radius)
        assert total.within.sum(axis=0)[k] / total.pairs.sum() == pytest.approx(expected)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_slope_of_uniform_cubes_is_their_dimension(dimension, clock):
    points = np.random.default_rng(6).uniform(size=(8000, dimension))
    total = correlation_sum(points, 0, clock)
    assert scaling_region(total, 0.0).slope == pytest.approx(dimension, rel=0.06)
    assert total.slope(0.0) == pytest.approx(dimension, rel=0.08)


def test_correlation_dimension_of_henon_lorenz_and_a_circle(lorenz_series, clock):
    t = np.arange(6000) * 0.1
    cases = [
        (standard(henon(10_000)), 1, 1.22, 0.05),
        (standard(lorenz_series), 50, 2.05, 0.09),
        (np.column_stack([np.cos(t), np.sin(t)]), 63, 1.0, 0.03),
    ]
    for points, theiler, expected, tolerance in cases:
        found, curve = dimension_of(points, theiler, clock)
        assert found.value == pytest.approx(expected, abs=tolerance)
        assert found.ci[0] < expected < found.ci[1]
        assert found.ci[1] - found.ci[0] < 0.3
        assert curve["fit"]["last_log_radius"] - curve["fit"]["first_log_radius"] >= 1.1


@pytest.mark.parametrize("dimension", [2, 3, 6])
def test_white_noise_has_no_dimension(dimension, clock):
    states = delay_vectors([np.random.default_rng(3).standard_normal((8000, 1))], dimension, 1).pooled()
    found, _ = dimension_of(states, 1, clock)
    assert found.value is None
    assert found.reason


def test_two_well_separated_scales_have_no_single_slope(clock):
    """Small clusters on a line: slope 2 within, 0 between, 1 beyond; no region is a factor 3 wide with one slope."""
    rng = np.random.default_rng(4)
    centres = rng.uniform(0, 1, (40, 1)) * [100.0, 0.0]
    points = centres[rng.integers(0, 40, 6000)] + 0.4 * rng.standard_normal((6000, 2))
    total = correlation_sum(points, 0, clock)
    found = scaling_region(total, noise=0.3)
    assert found is None


def test_interval_covers_the_dimension_of_independent_points(clock):
    covered = 0
    for seed in range(20):
        points = np.random.default_rng(seed).uniform(size=(3000, 1)) @ np.array([[1.0, 2.0]])  # a line in a plane
        found, _ = dimension_of(points, 0, clock)
        covered += found.ci[0] < 1.0 < found.ci[1]
    assert covered >= 17

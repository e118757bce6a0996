"""Scalar flows: delay vectors at the pace of the fast motion, their metric, and what their models are chosen by."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from domain.specs import LyapunovSpec
from dynamics.lyapunov import analyze, modelling, selection
from dynamics.lyapunov.basis import whitener, with_kernel
from dynamics.lyapunov.clock import Clock
from dynamics.lyapunov.sampling import Sampling
from dynamics.lyapunov.selection import gain_by_lead
from dynamics.lyapunov.spectrum import LEAST_MODEL_ERROR, Measured, _model_variance, doubted
from dynamics.lyapunov.states import delay_vectors
from dynamics.reporting import Reporter

ROESSLER = 0.0714  # Sprott (2003), per time unit


@pytest.fixture
def clock():
    return Clock(Reporter(), 600.0)


@pytest.fixture(scope="module")
def coarse():
    """x of Roessler's system, 14 samples per turn, by RK4 with 20 steps per sample."""

    def field(u):
        return np.array([-u[1] - u[2], u[0] + 0.2 * u[1], 0.2 + u[2] * (u[0] - 5.7)])

    h, u, out = 0.42 / 20, np.array([1.0, 1.0, 0.0]), np.empty(4200)
    for t in range(-200, len(out)):
        for _ in range(20):
            a = field(u)
            b = field(u + h / 2 * a)
            c = field(u + h / 2 * b)
            u = u + h / 6 * (a + 2 * b + 2 * c + field(u + h * c))
        if t >= 0:
            out[t] = u[0]
    return out[:, None]


def test_pace_is_the_period_or_the_fast_motion_beside_slow_wandering():
    assert Sampling(True, 20.0, 0.06, 0.9, 1).pace == 20.0
    assert Sampling(True, 100.0, 0.1, 0.9, 1).pace == pytest.approx(35.0)
    assert Sampling(True, 100.0, 0.0, 0.9, 1).pace == 100.0


@pytest.mark.parametrize("tau", [1, 2, 4])
def test_forecasts_of_delay_vectors_span_the_pace_whatever_the_delay(tau):
    states = delay_vectors([np.zeros((100, 1))], 3, tau, tau, True)
    assert modelling._horizon(states, False, 20.0) * tau == 20
    assert modelling._horizon(replace(states, of_flow=False), False, 20.0) == modelling.MAP_HORIZON


def test_a_whitened_metric_counts_every_direction_alike():
    rng = np.random.default_rng(4)
    states = rng.standard_normal((4000, 3)) @ np.array([[1.0, 0.9, 0.8], [0.0, 0.3, 0.2], [0.0, 0.0, 0.02]])
    covariance = np.cov(states.T)
    for power in (0.5, 1.0):
        turned = np.cov((states @ whitener(states, power)).T)
        assert np.trace(turned) == pytest.approx(np.trace(covariance))
        assert np.linalg.cond(turned) == pytest.approx(np.linalg.cond(covariance) ** (1.0 - power), rel=1e-6)
    np.testing.assert_allclose(whitener(states, 0.0), np.eye(3), atol=1e-12)


def test_a_coarse_flow_is_measured(coarse):
    a = analyze([coarse], dt=0.42, time_unit="", spec=LyapunovSpec(confidence_level=0.95, budget_seconds=600.0))
    assert a.verdict.kind == "chaotic"
    assert a.lambda_max.value == pytest.approx(ROESSLER, rel=0.2)
    assert a.lambda_max.ci[0] < ROESSLER < a.lambda_max.ci[1]


def test_gain_by_lead_compares_models_of_different_steps():
    def model(linear, stride, curve):
        return SimpleNamespace(is_linear=linear, curve=np.array(curve), states=SimpleNamespace(stride=stride))

    leads, gains = gain_by_lead(
        [model(True, 2, [0.2, 0.4]), model(True, 1, [0.2, 0.3, 0.4, 0.5]), model(False, 2, [0.1, 0.4])]
    )
    np.testing.assert_array_equal(leads, [2, 3, 4])
    np.testing.assert_allclose(gains, np.log([2.0, np.sqrt(0.2 * 0.4) / 0.2, 1.0]), atol=1e-12)


def test_stiffer_refits_end_at_the_largest_ridge(coarse, clock):
    states = delay_vectors([coarse / coarse.std()], 3, 1, 1, True)
    basis = with_kernel(states.pooled(), 30, 1.0, np.eye(3))
    found = selection.fit_candidate(states, basis, False, 0, 10, clock, selection.bound_of(states))
    ridges = [c.ridge for c in selection.refitted(replace(found, ridge=1e-12), (1.0, 1e3, 1e6))]
    np.testing.assert_allclose(ridges, [1e-12, 1e-9, 1e-6])
    ridges = [c.ridge for c in selection.refitted(replace(found, ridge=1e-4), (1.0, 1e3, 1e6))]
    np.testing.assert_allclose(ridges, [1e-4])


def test_an_exponent_off_zero_widens_the_interval():
    exact = _model_variance(np.array([0.1, 0.0, -1.0]), True)
    assert exact == pytest.approx((0.1 * LEAST_MODEL_ERROR) ** 2)
    assert _model_variance(np.array([0.1, -0.05, -1.0]), True) == pytest.approx(exact + 0.025**2)
    assert _model_variance(np.array([0.1, -0.5, -1.0]), True) == pytest.approx(
        exact + 0.05**2
    )  # no more than the rate itself


def scored(linear, nonlinear):
    """A linear and a nonlinear candidate with these forecast errors by lead."""
    return [
        SimpleNamespace(
            states=SimpleNamespace(of_flow=True, stride=4),
            curve=np.array(curve),
            is_linear=curve is linear,
            score=float(np.mean(np.log(curve))),
        )
        for curve in (linear, nonlinear)
    ]


SPENT = ([0.1, 0.5, 0.8], [0.05, 0.4, 0.8])  # nothing is known of the third step, yet the first are forecast


@pytest.mark.parametrize(
    ("curves", "is_spent"),
    [
        (SPENT, True),
        (([0.1, 0.5, 0.8], [0.01, 0.02, 0.04]), False),  # forecast to the end
        (([0.5, 0.8, 0.9], [0.45, 0.8, 0.9]), False),  # noise: no shorter time scale helps
    ],
)
def test_forecasts_are_spent_where_only_the_first_steps_are_known(curves, is_spent):
    assert modelling.spent(scored(*curves)) is is_spent


@pytest.mark.parametrize(
    ("searches", "pace"),
    [
        ([([0.1, 0.3, 0.5], [0.02, 0.1, 0.2])], 20.0),
        ([SPENT, ([0.1, 0.3, 0.5], [0.02, 0.1, 0.2])], 10.0),
        ([SPENT, SPENT], 40.0),
        (
            [([0.02, 0.1, 0.2], [0.019, 0.09, 0.19])],
            40.0,
        ),  # over half the pace a linear model is as good: noise is like that
    ],
)
def test_a_shorter_time_scale_is_kept_only_where_it_shows_more(searches, pace, clock):
    asked, before = [], scored(*SPENT)

    def search_at(shorter):
        asked.append(shorter)
        return scored(*searches[len(asked) - 1]), [shorter]

    found, places, kept = modelling.on_shorter_scale(before, [40.0], 40.0, search_at, clock)
    assert kept == pace
    assert asked == [20.0, 10.0][: len(searches)]
    assert places == [pace]
    assert (found is before) is (pace == 40.0)


def test_another_method_that_disagrees_widens_the_interval():
    covariance = np.array([[0.01, 0.002], [0.002, 0.03]])
    measured = Measured(np.array([0.5, -1.0]), covariance, "free run", np.zeros(2), np.zeros(2), None, 0, [])
    found = doubted(measured, 0.2)
    np.testing.assert_allclose(found.covariance, [[0.1, 0.002], [0.002, 0.03]])
    np.testing.assert_array_equal(measured.covariance, [[0.01, 0.002], [0.002, 0.03]])

"""State spaces: several channels that show a part of the state get delays; few rows get many models, of which the middle one counts."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from domain.specs import LyapunovSpec
from dynamics.lyapunov import analyze, fitting, selection, spaces, trials, verdict
from dynamics.lyapunov.basis import polynomial
from dynamics.lyapunov.clock import Clock
from dynamics.lyapunov.evidence import mixing
from dynamics.lyapunov.model import SmoothModel
from dynamics.lyapunov.noise_channels import noise_channels
from dynamics.lyapunov.states import channels_as_states, delay_vectors
from dynamics.reporting import Reporter


def generalized_henon(n):
    """(n, 3) of x' = 1.76 - y^2 - 0.1 z, y' = x, z' = y (Baier & Klein 1990), and its exponents by QR of its own Jacobian."""
    u, q, out, total = np.array([0.1, 0.2, 0.3]), np.eye(3), np.empty((n, 3)), np.zeros(3)
    for t in range(-1000, n):
        jacobian = np.array([[0.0, -2 * u[1], -0.1], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        u = np.array([1.76 - u[1] ** 2 - 0.1 * u[2], u[0], u[1]])
        q, r = np.linalg.qr(jacobian @ q)
        if t >= 0:
            out[t] = u
            total += np.log(np.abs(np.diag(r)))
    return out, np.sort(total / n)[::-1]


@pytest.fixture(scope="module")
def hyperchaos():
    return generalized_henon(6000)


def run(x, **spec):
    return analyze([x], dt=1.0, time_unit="", spec=LyapunovSpec(confidence_level=0.95, budget_seconds=600.0, **spec))


def test_delay_vectors_of_channels_are_blocks():
    x = np.arange(20.0).reshape(10, 2)
    states = delay_vectors([x], 3, 2, 2)
    assert (states.dimension, states.n_lags, states.n_new, states.window_steps) == (6, 3, 2, 5)
    np.testing.assert_array_equal(states.paths[0][0], [*x[4], *x[2], *x[0]])
    np.testing.assert_array_equal(states.observed[0], x[4:])
    np.testing.assert_array_equal(states.paths[0] @ states.readout.T, x[4:])
    assert channels_as_states([x]).n_lags == 1


def test_a_map_of_delayed_channels_shifts_all_blocks_but_the_first():
    rng = np.random.default_rng(0)
    states = delay_vectors([rng.standard_normal((400, 2))], 3, 1)
    regression = fitting.step_regression(states, polynomial(6, 2))
    assert regression.targets.shape[1] == 2
    model = SmoothModel(polynomial(6, 2), fitting.refit(regression, 1e-13), False)
    starts = states.paths[0][:5]
    following = model.forecast(starts, 1, Clock(Reporter(), 600.0))[:, 0]
    np.testing.assert_allclose(following[:, 2:], starts[:, :4], atol=1e-12)


def test_channels_that_show_a_part_of_a_map_get_delays(hyperchaos):
    x, truth = hyperchaos
    found = run(x[:, [0, 2]])
    assert found.embedding.kind == "delay"
    assert found.embedding.lags[:2] == [0, 1]
    assert "do not close" in found.embedding.reason
    assert found.verdict.kind == "chaotic"
    np.testing.assert_allclose(found.lyapunov_spectrum.exponents[:2], truth[:2], rtol=0.03)
    assert found.lambda_max.ci[0] < truth[0] < found.lambda_max.ci[1]


def test_channels_that_are_the_state_get_none(hyperchaos):
    x, truth = hyperchaos
    noisy = x[:3000] + 0.01 * x.std(axis=0) * np.random.default_rng(1).standard_normal((3000, 3))
    for series in (x[:3000], noisy):
        found = run(series)
        assert (found.embedding.kind, found.embedding.dimension) == ("none", 3)
        assert found.lambda_max.value == pytest.approx(truth[0], rel=0.05)


def test_linear_noise_of_which_a_part_is_seen_is_not_chaos():
    rng = np.random.default_rng(3)
    a = np.array([[0.9, 0.4, 0.0], [-0.4, 0.9, 0.2], [0.0, -0.3, 0.8]])
    a *= 0.97 / np.max(np.abs(np.linalg.eigvals(a)))
    x = np.zeros((3000, 3))
    for t in range(1, len(x)):
        x[t] = a @ x[t - 1] + 0.1 * rng.standard_normal(3)
    assert run(x[:, :2]).verdict.kind in ("noise", "undecided")


def candidate(curve, stride=1):
    return SimpleNamespace(curve=np.array(curve), states=SimpleNamespace(stride=stride))


def test_channels_are_doubted_only_beyond_the_noise():
    vague = candidate([0.05, 0.06, 0.5, 0.9])
    assert spaces.in_doubt(vague, 10.0, 0.0)
    assert not spaces.in_doubt(vague, 10.0, 0.02)
    assert not spaces.in_doubt(candidate([0.01, 0.01, 0.01]), 20.0, 0.0)


def test_forecasts_of_different_steps_are_compared_at_the_same_leads():
    assert spaces.forecast_ratio(candidate([0.1, 0.2, 0.3, 0.4]), candidate([0.1, 0.2], 2)) == pytest.approx(2.0)
    assert spaces.forecast_ratio(candidate([0.1]), candidate([0.1], 2)) == 0.0


def test_the_middle_of_the_models_that_forecast_about_as_well_counts():
    def trial(score, free, off_zero):
        return trials.Trial(SimpleNamespace(score=score), 0.0, free, True, off_zero)

    found = [trial(-3.0, 0.9, 0.3), trial(-2.9, 0.1, 0.0), trial(-2.8, 0.2, 0.1), trial(-2.0, 0.15, 0.0)]
    assert trials._middle(found, True).free == 0.2
    assert trials._middle(found[:2], True).free == 0.1  # of two the one with an exponent at zero
    assert trials._middle(found, False).free == 0.9
    assert trials._middle([], True) is None


def test_fewer_rows_carry_more_models_and_very_few_none():
    rng = np.random.default_rng(5)
    long, short = (delay_vectors([rng.standard_normal((n, 1))], 3, 2, 2, True) for n in (6000, 400))
    whole = [selection.delayed_basis(s, *selection.DELAYED_MENU[0]) for s in (long, short)]
    assert [len(b.centres) for b in whole] == [selection.EXPLORING_RADIAL, short.n_rows // 2 - 10]
    works = [selection.work_of(s, b, selection.EXPLORING_ROWS) for s, b in zip((long, short), whole, strict=True)]
    assert selection.WORK_OF_MENU / works[0] < 15 < 200 < selection.WORK_OF_MENU / works[1]
    assert selection.delayed_basis(delay_vectors([rng.standard_normal((40, 1))], 3, 2, 2, True), 1.0, 0.5) is None


def test_a_drift_keeps_the_halves_of_time_apart():
    rng = np.random.default_rng(2)
    assert mixing(rng.standard_normal((4000, 2)), 1) == pytest.approx(0.5, abs=0.06)
    angle = 0.7 * np.arange(4000)  # two circles, one after the other
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    assert mixing(np.where(np.arange(4000)[:, None] < 2000, circle, 2.0 * circle), 5) == 0.0
    assert np.isnan(mixing(rng.standard_normal((60, 2)), 1))


def test_a_rising_tone_is_not_chaos():
    angle = np.cumsum(np.linspace(0.55, 0.15, 2000))
    found = run(np.sin(angle)[:, None])
    drift = next(e for e in found.verdict.evidence if e.test == "stationarity")
    assert drift.value < verdict.DRIFTING
    assert found.verdict.kind != "chaotic"


def test_flat_neighbourhoods_of_a_cycle_leave_no_number_that_is_none():
    x, out = 0.3, np.empty((1500, 1))
    for t in range(-2000, len(out)):
        x = 3.5 * x * (1 - x)
        if t >= 0:
            out[t] = x
    found = run(out)
    assert found.verdict.kind == "periodic"
    local = next(m for m in found.methods if m.method == "local-jacobians").lambda_max
    assert local.value is None or np.all(np.isfinite(local.ci))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_channel_of_noise_beside_a_good_one_is_named_and_left_out(hyperchaos, seed):
    x, truth = hyperchaos
    noise = np.random.default_rng(seed).standard_normal((3000, 1))
    beside = np.hstack([np.ones((3000, 1)), x[:3000, :2], noise, x[:3000, 2:]])
    found = run(beside)
    warning = next(w for w in found.warnings if w.code == "noise-channels")
    assert "[3]" in warning.detail  # the constant one before it still counts
    assert found.verdict.kind == "chaotic"
    assert found.lambda_max.value == pytest.approx(truth[0], rel=0.05)


def coupled_logistic(n, r=4.0, channels=8):
    """A ring of logistic maps: no channel is linearly correlated with anything, yet all are deterministic."""
    x, out = np.random.default_rng(3).uniform(size=channels), np.empty((n, channels))
    for t in range(n):
        f = r * x * (1 - x)
        x = 0.9 * f + 0.05 * (np.roll(f, 1) + np.roll(f, -1))
        out[t] = x
    return out


def test_channels_of_wild_chaos_and_of_noise_alone_are_kept(hyperchaos):
    lattice = coupled_logistic(3000)
    assert noise_channels(lattice) == []
    folded = np.cos(5 * np.arccos(np.clip(hyperchaos[0][:3000, :1] / 2, -1, 1)))  # five branches
    assert noise_channels(np.hstack([hyperchaos[0][:3000], folded])) == []
    assert noise_channels(np.random.default_rng(2).standard_normal((3000, 3))) == []  # nothing to keep beside it
    assert noise_channels(np.hstack([lattice, np.random.default_rng(2).standard_normal((3000, 1))])) == [8]

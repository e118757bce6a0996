"""The parts of the analysis, each against a closed form, a slow oracle, an order of convergence or an invariant."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import naive
from dynamics.lyapunov import derived, fitting, shooting, tangents
from dynamics.lyapunov.basis import polynomial, polynomial_size, whitener, with_hinges, with_kernel
from dynamics.lyapunov.clock import Clock
from dynamics.lyapunov.divergence import diverge, straight_region
from dynamics.lyapunov.embedding import choose_delay, choose_dimension
from dynamics.lyapunov.evidence import decay_ratio, recurrence, zero_one_test
from dynamics.lyapunov.model import SmoothModel
from dynamics.lyapunov.sampling import decimate, inspect, thin
from dynamics.lyapunov.smoothing import smooth
from dynamics.lyapunov.spectrum import batch_covariance, resembles
from dynamics.lyapunov.states import channels_as_states, delay_vectors
from dynamics.reporting import Reporter


@pytest.fixture
def clock():
    return Clock(Reporter(), 600.0)


def linear_model(matrix, is_flow, substeps=1):
    m = len(matrix)
    return SmoothModel(polynomial(m, 1), np.vstack([np.zeros(m), np.transpose(matrix)]), is_flow, substeps, bound=1e12)


def henon_model():
    """x' = 1 - 1.4 x^2 + y, y' = 0.3 x over the monomials 1, x, y, x^2, xy, y^2."""
    weights = np.zeros((6, 2))
    weights[0, 0], weights[3, 0], weights[2, 0], weights[1, 1] = 1.0, -1.4, 1.0, 0.3
    return SmoothModel(polynomial(2, 2), weights, False)


def lorenz_model(substeps=1, scale=0.01):
    """Lorenz-63 in its own units, time in steps of `scale`."""
    basis = polynomial(3, 2)
    weights = np.zeros((basis.size, 3))
    names = {tuple(sorted(p)): j for j, p in enumerate(monomials(basis))}
    for monomial, column, value in [
        ((0,), 0, -10.0), ((1,), 0, 10.0), ((0,), 1, 28.0), ((1,), 1, -1.0), ((0, 2), 1, -1.0), ((0, 1), 2, 1.0), ((2,), 2, -8 / 3),
    ]:  # fmt: skip
        weights[names[monomial], column] = value * scale
    return SmoothModel(basis, weights, True, substeps, bound=1e3)


def free(model, start, n_steps, k, clock):
    """Log growth of every step and states of one free run; all lanes run from the same start."""
    start = np.asarray(start, dtype=float)
    x, v = tangents.to_lanes(np.tile(start, (16, 1))), tangents.unit_vectors(len(start), k)
    logs, path = tangents.free(model.arrays, x, v, k, n_steps, 1)
    assert np.isfinite(path).all()
    np.testing.assert_array_equal(path, path[:, :1].repeat(16, axis=1))
    return logs[:, 0], path[:, 0]


def monomials(basis):
    out = [()]
    for j in range(1, len(basis.parents)):
        out.append((*out[basis.parents[j]], int(basis.variables[j])))
    return out


@given(st.integers(1, 4), st.integers(1, 5))
@settings(max_examples=15, deadline=None)
def test_polynomial_basis_holds_every_monomial_once(m, degree):
    found = [tuple(sorted(p)) for p in monomials(polynomial(m, degree))]
    assert len(found) == len(set(found)) == polynomial_size(m, degree)
    assert max(len(p) for p in found) == degree


@pytest.mark.parametrize("kind", ["radial", "whitened radial", "cubic splines", "piecewise linear"])
def test_features_and_jacobian_against_plain_python(kind):
    rng = np.random.default_rng(0)
    states = rng.standard_normal((200, 3))
    states[:, 2] = 0.3 * states[:, 1] + 0.1 * states[:, 2]
    if "radial" in kind:
        basis = with_kernel(states, 12, 1.3, whitener(states, 0.7 if "whitened" in kind else 0.0))
    else:
        basis = with_hinges(states, 2, 5, 3 if "cubic" in kind else 1)
    model = SmoothModel(basis, rng.standard_normal((basis.size, 3)), True)
    x = rng.standard_normal(3)
    np.testing.assert_allclose(
        tangents.design(model.arrays, x[None])[0], naive.smooth_features(monomials(basis), basis, x), rtol=1e-12
    )
    step, jac = 1e-6, np.empty((3, 3))
    for i in range(3):
        ahead, behind = (
            naive.smooth_features(monomials(basis), basis, x + s * step * np.eye(3)[i]) @ model.weights for s in (1, -1)
        )
        jac[:, i] = (ahead - behind) / (2 * step)
    np.testing.assert_allclose(model.jacobians(x[None])[0], jac, rtol=1e-6, atol=1e-6)


def test_qr_exponents_of_a_diagonal_map(clock):
    model = linear_model(np.diag([1.1, 0.8]), is_flow=False)
    growth = model.growth_along(np.zeros((50, 2)), 2, clock)
    np.testing.assert_allclose(growth, np.tile(np.log([1.1, 0.8]), (50, 1)), rtol=1e-12)


def test_qr_exponents_of_a_shear_reveal_both_eigenvalues(clock):
    model = linear_model(np.array([[2.0, 5.0], [0.0, 0.5]]), is_flow=False)
    growth = model.growth_along(np.zeros((400, 2)), 2, clock)
    np.testing.assert_allclose(growth[100:].mean(axis=0), np.log([2.0, 0.5]), rtol=1e-6)


def test_tangent_of_a_linear_flow_is_its_matrix_exponential(clock):
    model = linear_model(np.array([[-0.1, 1.0], [-1.0, -0.1]]), is_flow=True, substeps=8)
    growth, _ = free(model, [1.0, 0.0], 100, 2, clock)
    np.testing.assert_allclose(growth.mean(axis=0), [-0.1, -0.1], atol=1e-5)


@pytest.mark.parametrize("build", [henon_model, lambda: lorenz_model(2)])
def test_qr_against_the_long_product_in_extended_arithmetic(build, clock):
    """The oracle multiplies finite-difference Jacobians of single steps and orthogonalises with numpy's QR."""
    model = build()
    m = model.dimension
    start = np.full(m, 0.1) if m == 2 else np.array([1.0, 2.0, 20.0])
    growth, path = free(model, start, 200, m, clock)

    def step(x):
        return tangents.forecasts(model.arrays, x[None], 1)[0, 0]

    np.testing.assert_allclose(growth.sum(axis=0), naive.qr_log_growth(step, path), rtol=2e-5, atol=1e-4)


def test_henon_exponents_sum_to_the_log_determinant_at_every_step(clock):
    growth, _ = free(henon_model(), [0.1, 0.1], 2000, 2, clock)
    np.testing.assert_allclose(growth.sum(axis=1), np.log(0.3), rtol=1e-9)


def test_lorenz_volume_contracts_at_its_divergence(clock):
    growth, _ = free(lorenz_model(4), [1.0, 2.0, 20.0], 3000, 3, clock)
    assert growth.sum(axis=1).mean() / 0.01 == pytest.approx(-41 / 3, rel=1e-6)


def test_integrator_converges_at_fourth_order(clock):
    """Halving the step divides the error after one time unit by 2^4, for the state and for its tangent."""
    start = np.array([[1.0, 2.0, 20.0]])

    def at_end(substeps):
        model = lorenz_model(substeps, scale=0.05)
        state = tangents.forecasts(model.arrays, start, 10)[0, -1]
        growth = free(model, start[0], 10, 3, clock)[0].sum(axis=0)
        return np.concatenate([state, growth])

    exact = at_end(128)
    errors = np.array([np.linalg.norm(at_end(n) - exact) for n in (4, 8, 16)])
    slopes = np.log2(errors[:-1] / errors[1:])
    assert np.all(slopes > 3.5)
    assert np.all(slopes < 4.7)


def test_weak_form_recovers_a_vector_field_exactly():
    """A rotation, sampled 40 times per period: weights to 1e-6 although no derivative was ever taken."""
    t = 2 * np.pi / 40 * np.arange(2000)
    states = channels_as_states([np.column_stack([np.cos(t), np.sin(t)])])
    regression = fitting.weak_regression(states, polynomial(2, 1), 8)
    w = 2 * np.pi / 40
    np.testing.assert_allclose(fitting.refit(regression, 1e-22), [[0, 0], [0, w], [-w, 0]], atol=2e-6)


def test_weak_form_converges_with_the_width_of_its_window():
    t = 0.5 * np.arange(3000)
    states = channels_as_states([np.column_stack([np.cos(t), np.sin(t)])])
    errors = [
        abs(fitting.refit(fitting.weak_regression(states, polynomial(2, 1), h), 1e-22)[2, 0] + 0.5) for h in (4, 6, 9)
    ]
    assert errors[0] > 10 * errors[1] > 50 * errors[2]


def gaussian_process(states: np.ndarray, targets: np.ndarray, at: np.ndarray, width: float, noise: float) -> np.ndarray:
    """Posterior mean k(x, X) (K + n s^2 I)^-1 y, Rasmussen & Williams 2006, eq. 2.25; k a Gaussian plus all quadratics."""

    def covariance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        distance = np.sum((a[:, None] - b[None]) ** 2, axis=2)
        i, j = np.triu_indices(a.shape[1])
        terms = [np.hstack([np.ones((len(x), 1)), x, x[:, i] * x[:, j]]) for x in (a, b)]
        return np.exp(-distance / (2.0 * width**2)) + terms[0] @ terms[1].T

    inner = covariance(states, states) + noise * len(states) * np.eye(len(states))
    return covariance(at, states) @ np.linalg.solve(inner, targets)


def test_models_with_a_norm_are_means_of_gaussian_processes():
    """With a Gaussian on every state the subset of regressors is the whole process."""
    rng = np.random.default_rng(6)
    x = np.sin(0.9 * np.arange(120) + 0.3 * np.cumsum(rng.standard_normal(120)))[:, None]
    states = delay_vectors([x], 3, 1, 1)
    basis = with_kernel(states.pooled(), 200, 0.8, np.eye(3))
    start, targets = states.paths[0][:-1], states.paths[0][1:, :1]
    for ridge in (1e-2, 1e-4):
        regression = fitting.step_regression(states, basis)
        model = SmoothModel(basis, fitting.refit(regression, ridge), False)
        expected = gaussian_process(start, targets, start + 0.1, 0.8, ridge)
        found = tangents.design(model.arrays, start + 0.1) @ model.weights[:, :1]
        np.testing.assert_allclose(found, expected, atol=2e-5)
        np.testing.assert_allclose(
            regression.fitted(model.weights), tangents.design(model.arrays, start) @ model.weights[:, :1], atol=1e-6
        )


def test_gaussians_that_others_make_up_for_are_left_out():
    states = np.random.default_rng(7).standard_normal((500, 2))
    narrow, wide = (with_kernel(states, 300, width, np.eye(2)) for width in (0.05, 4.0))
    assert len(narrow.centres) > 250
    assert len(wide.centres) < 100
    for basis in (narrow, wide):
        distance = np.sum((basis.centres[:, None] - basis.centres[None]) ** 2, axis=2)
        np.testing.assert_allclose(basis.factor @ basis.factor.T, np.exp(-basis.gamma * distance), atol=1e-12)
        assert np.all(np.diag(basis.factor) > 0.0)


def test_draws_of_weights_with_a_norm_scatter_about_the_fit(clock):
    """Every block once is the fit itself; blocks drawn with replacement are not."""

    class EveryBlockOnce:
        def multinomial(self, n: int, shares: np.ndarray) -> np.ndarray:
            return np.ones(len(shares), dtype=int)

    x = np.random.default_rng(8).standard_normal((600, 1))
    states = delay_vectors([x], 2, 1, 1)
    regression = fitting.step_regression(states, with_kernel(states.pooled(), 40, 1.0, np.eye(2)))
    fit = fitting.refit(regression, 1e-3)
    np.testing.assert_allclose(fitting.resampled(regression, 1e-3, 1, EveryBlockOnce(), clock)[0], fit, atol=1e-8)
    draws = fitting.resampled(regression, 1e-3, 200, np.random.default_rng(9), clock)
    gap = np.mean([regression.fitted(d) for d in draws], axis=0) - regression.fitted(fit)
    spread = np.std([regression.fitted(d) for d in draws], axis=0)
    assert np.sqrt(np.mean(gap**2)) < 0.3 * np.sqrt(np.mean(spread**2))


def test_a_norm_and_heavy_tails_leave_the_normal_equations_solvable():
    x = np.random.default_rng(10).standard_cauchy((800, 1))
    states = delay_vectors([x], 3, 1, 1)
    basis = with_kernel(states.pooled(), 200, 0.5, whitener(states.pooled(), 0.5))
    for weights, _, loss in fitting.solutions(fitting.step_regression(states, basis)):
        assert np.isfinite(weights).all()
        assert np.isfinite(loss)


def test_shift_of_delay_vectors_is_exact():
    x = np.random.default_rng(1).standard_normal((500, 1))
    states = delay_vectors([x], 3, 2, 2)
    np.testing.assert_array_equal(states.paths[0][5], [x[9, 0], x[7, 0], x[5, 0]])
    weights = fitting.refit(fitting.step_regression(states, polynomial(3, 2)), 1e-9)
    model = SmoothModel(polynomial(3, 2), weights, False, bound=1e6)
    ahead = tangents.forecasts(model.arrays, states.paths[0][:20], 1)[:, 0]
    assert model.shifts
    np.testing.assert_array_equal(ahead[:, 1:], states.paths[0][:20, :2])
    assert not model.with_weights(weights * 1.001).shifts


def test_multiple_shooting_removes_the_bias_of_noise(clock):
    """Henon with 3 % noise: one-step regression shrinks the quadratic term, shooting does not, and its errors are honest."""
    rng = np.random.default_rng(2)
    _, path = free(henon_model(), [0.1, 0.1], 3000, 2, clock)
    seen = path + 0.03 * rng.standard_normal(path.shape)
    states = channels_as_states([seen])
    first = SmoothModel(
        polynomial(2, 2), fitting.refit(fitting.step_regression(states, polynomial(2, 2)), 1e-12), False
    )
    found = shooting.refine(first, states, states.observed, 4, 0.03, clock)
    assert found is not None
    assert found.noise == pytest.approx(0.03, rel=0.05)
    truth = henon_model().weights[found.rows, found.columns]
    error = found.model.weights[found.rows, found.columns] - truth
    before = first.weights[found.rows, found.columns] - truth
    assert np.linalg.norm(error) < 0.3 * np.linalg.norm(before)
    assert np.mean((error / np.sqrt(np.diag(found.covariance))) ** 2) < 3.0


def test_lanes_do_not_disturb_one_another(clock):
    """One lane that diverges is lost alone; the others go on as if they were by themselves."""
    model = henon_model()
    starts = np.full((16, 2), 0.1) + 0.01 * np.arange(16)[:, None]
    starts[5] = 20.0
    x, v = tangents.to_lanes(starts), tangents.unit_vectors(2, 2)
    logs, path = tangents.free(model.arrays, x, v, 2, 300, 1)
    assert np.isnan(path[-1, 5]).all()
    others = [i for i in range(16) if i != 5]
    assert np.isfinite(path[:, others]).all()
    np.testing.assert_allclose(logs[:, others].sum(axis=2), np.log(0.3), rtol=1e-9)
    alone = free(model, starts[9], 300, 2, clock)
    np.testing.assert_array_equal(path[:, 9], alone[1])


def test_growth_along_a_path_in_lanes_agrees_with_one_long_walk():
    """Sixteen stretches with an approach each, against the plain product of numpy's QR along the whole path."""
    model, clock = henon_model(), Clock(Reporter(), 600.0)
    path = free(model, [0.1, 0.1], 2000, 2, clock)[1]
    growth = model.growth_along(path, 2, clock)
    assert growth.shape == (2000, 2)
    q, expected = np.eye(2), []
    for jac in model.jacobians(path):
        q, r = np.linalg.qr(jac @ q)
        expected.append(np.log(np.abs(np.diag(r))))
    np.testing.assert_allclose(growth[50:], np.array(expected)[50:], rtol=1e-6, atol=1e-6)


def test_steps_adapt_to_the_jacobian_and_keep_the_answer(clock):
    """Lorenz with steps as long as |J| h allows, against sixteen fixed steps: the same flow over one sampling step."""
    start = np.array([[1.0, 2.0, 20.0], [-5.0, -8.0, 14.0]])
    model = lorenz_model(16, scale=0.05)
    adaptive = model.resolved(start)
    assert adaptive.tolerance > 0.0
    np.testing.assert_allclose(
        adaptive.forecast(start, 3, clock), model.forecast(start, 3, clock), rtol=2e-4, atol=2e-4
    )


def test_pruning_finds_the_terms_of_henon(clock):
    """Of twelve weights the equations need four; with 1 % noise the others are removed, and what is left gets closer to the truth."""
    rng = np.random.default_rng(12)
    path = free(henon_model(), [0.1, 0.1], 3000, 2, clock)[1]
    states = channels_as_states([path + 0.01 * rng.standard_normal(path.shape)])
    basis = polynomial(2, 2)
    first = SmoothModel(basis, fitting.refit(fitting.step_regression(states, basis), 1e-12), False)
    full = shooting.refine(first, states, states.observed, 4, 0.01, clock)
    lean = shooting.pruned(full)
    np.testing.assert_array_equal(lean.weights != 0.0, henon_model().weights != 0.0)
    again = shooting.refine(lean, states, states.observed, 4, 0.01, clock)
    truth = henon_model().weights
    assert np.linalg.norm(again.model.weights - truth) < np.linalg.norm(full.model.weights - truth)
    assert shooting.pruned(again) is None


def test_smoother_finds_noise_and_leaves_a_clean_curve_alone():
    t = np.arange(4000) * 0.05
    clean = np.sin(t) + 0.3 * np.sin(2.3 * t)
    noisy = clean + 0.1 * np.random.default_rng(3).standard_normal(len(t))
    smoothed, sigma = smooth(noisy)
    assert sigma == pytest.approx(0.1, rel=0.06)
    assert np.std((smoothed - clean)[50:-50]) < 0.04
    assert smooth(clean)[1] < 1e-3


def test_kaplan_yorke_and_entropy_of_known_spectra():
    assert derived.kaplan_yorke(np.array([0.9056, 0.0, -14.5723])) == pytest.approx(2.06215, abs=1e-5)
    assert derived.kaplan_yorke(np.array([0.1, -0.2, -5.0])) == pytest.approx(1.5)
    assert derived.kaplan_yorke(np.array([-0.1, -0.2])) == 0.0
    assert np.isnan(derived.kaplan_yorke(np.array([0.5, 0.1])))
    assert derived.ks_entropy(np.array([0.4, 0.1, -2.0])) == pytest.approx(0.5)


def test_predictability_and_forcing_follow_from_lambda_max():
    p = derived.predictability(np.log(2), 0.1, "s", None)
    assert (p.time, p.steps) == (1.0, 10)
    assert derived.predictability(-0.1, 0.1, "s", None).time is None
    f = derived.forcing_advice(np.log(2), 0.1, None)
    assert f.interval_steps == 10
    assert f.alpha == pytest.approx(1 - 2**-0.1)


def test_zero_one_test_separates_chaos_from_a_cycle():
    rng = np.random.default_rng(4)
    x = np.empty(2000)
    x[0] = 0.3
    for t in range(1999):
        x[t + 1] = 3.97 * x[t] * (1 - x[t])
    assert zero_one_test(x, rng) > 0.95
    assert zero_one_test(np.cos(1.7 * np.arange(2000)), rng) < 0.1


def test_recurrence_of_a_cycle_a_torus_and_noise():
    t = 0.3 * np.arange(4000)
    cycle = recurrence([np.cos(t)[:, None]], 21)
    torus = recurrence([np.column_stack([np.cos(t), np.cos(np.sqrt(2) * t)])], 18)
    noise = recurrence([np.random.default_rng(5).standard_normal((4000, 2))], 1)
    assert cycle.long < 1e-3
    assert cycle.short < 1e-2
    assert torus.long < 1e-2 < torus.short
    assert noise.long > 0.8


def test_decay_is_seen_and_growth_is_not_decay():
    t = np.arange(2000)
    assert decay_ratio([(np.exp(-t / 300) * np.cos(0.2 * t))[:, None]]) < 0.05
    assert decay_ratio([(np.exp(t / 300) * np.cos(0.2 * t))[:, None]]) == 1.0


def test_divergence_of_neighbours_on_the_henon_attractor(clock):
    _, path = free(henon_model(), [0.1, 0.1], 5000, 2, clock)
    found = diverge(channels_as_states([path]), 1, 20, 0.0, clock)
    assert found.slope == pytest.approx(0.419, rel=0.12)
    assert found.straightness > 0.98


def test_straight_region_of_a_made_curve():
    curve = np.concatenate([[0.0, 1.5], 1.5 + 0.5 * np.arange(1, 12), np.full(10, 7.2)])
    first, last = straight_region(curve)
    assert np.polyfit(np.arange(first, last + 1), curve[first : last + 1], 1)[0] == pytest.approx(0.5, rel=0.05)


def test_delay_and_dimension_of_a_sine_and_of_henon(clock):
    sine = [np.sin(2 * np.pi / (29 * np.sqrt(2)) * np.arange(4000) + 0.1)[:, None]]
    delay = choose_delay(sine, True, 41.0, clock).steps
    assert 5 <= delay <= 12
    assert choose_dimension(sine, delay, 40, clock)[0] == 2
    _, path = free(henon_model(), [0.1, 0.1], 4000, 2, clock)
    assert choose_delay([path[:, :1]], False, 1.0, clock).steps == 1
    assert choose_dimension([path[:, :1]], 1, 1, clock)[0] == 2


def test_a_random_walk_that_nears_its_end_does_not_decay():
    """The benchmark's walk: its distance from where it ends shrinks throughout, its own swing does not."""
    walk = np.cumsum(np.random.default_rng(11).standard_normal((10_000, 2)), axis=0)
    pieces = np.array_split(walk, 10)
    distance = np.array([np.sqrt(np.mean((p - pieces[-1].mean(axis=0)) ** 2)) for p in pieces])
    assert distance[-1] < 0.2 * distance[0]
    assert decay_ratio([walk]) > 0.5


def test_a_map_that_dwells_is_no_flow():
    """Holmes' cubic map stays on one side for long, so its lag-1 autocorrelation is 0.78; yet it jumps."""
    x = np.array([0.3, 0.2])
    series = np.empty((5000, 2))
    for t in range(5000):
        series[t] = x
        x = np.array([x[1], -0.2 * x[0] + 2.77 * x[1] - x[1] ** 3])
    found = inspect([series / series.std(axis=0)])
    assert found.lag_one > 0.7
    assert not found.is_flow


def test_sampling_of_flows_and_maps():
    sine = np.sin(2 * np.pi / 30 * np.arange(5000))[:, None]
    found = inspect([sine])
    assert found.is_flow
    assert found.period_steps == pytest.approx(30, rel=0.1)
    assert not inspect([np.random.default_rng(7).standard_normal((1000, 2))]).is_flow
    assert inspect([np.sin(2 * np.pi / 900 * np.arange(20_000))[:, None]]).stride > 5


def test_thinning_takes_views_spread_over_the_series():
    x = np.arange(1_000_000, dtype=float)[:, None]
    blocks = thin([x], 8000)
    assert sum(len(b) for b in blocks) == 8000
    assert all(np.shares_memory(b, x) for b in blocks)
    assert blocks[0][0, 0] == 0.0
    assert blocks[-1][-1, 0] == 999_999.0
    np.testing.assert_array_equal(decimate([x[:10]], 4)[0], [[1.5], [5.5]])


def test_batch_covariance_of_correlated_rows():
    """AR(1) with phi = 0.8: the variance of the mean is 1 / (1 - phi)^2 / T times that of the shocks."""
    rng = np.random.default_rng(8)
    x = np.zeros(60_000)
    shocks = rng.standard_normal(len(x))
    for t in range(1, len(x)):
        x[t] = 0.8 * x[t - 1] + shocks[t]
    assert batch_covariance(x[:, None])[0, 0] == pytest.approx(25.0 / len(x), rel=0.6)


def test_a_run_that_shrinks_does_not_resemble_the_data():
    x = np.random.default_rng(9).standard_normal((1000, 2))
    assert resembles(x + 0.05, x)
    assert not resembles(0.2 * x, x)
    assert not resembles(x + 2.0, x)

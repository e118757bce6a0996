"""d_stsp against dense histograms, quadrature and closed forms; its invariants; its undefined cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.integrate import quad
from scipy.stats import norm

import naive
from dynamics.measures import d_stsp, d_stsp_binned, d_stsp_binned_2s, d_stsp_mixture

clouds = st.integers(1, 3).flatmap(
    lambda n: st.tuples(
        *(
            hnp.arrays(float, st.tuples(st.integers(2, 40), st.just(n)), elements=st.floats(-100, 100, width=32))
            for _ in range(2)
        )
    )
)


def gaussian_clouds(n_channels: int, seed: int = 0, n: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(n_channels, n_channels))
    return rng.normal(size=(n, n_channels)) @ mixing, rng.normal(0.3, 1.2, size=(n + 500, n_channels)) @ mixing


@pytest.mark.parametrize("n_channels", [1, 2, 3])
def test_binned_30_equals_dense_histograms(n_channels: int) -> None:
    x, y = gaussian_clouds(n_channels)
    edges = [np.linspace(c.min() - 0.1 * c.std(), c.max() + 0.1 * c.std(), 31) for c in x.T]
    measure = d_stsp_binned(x, y)
    assert measure.value == pytest.approx(naive.histogram_divergence(x, y, edges), rel=1e-9)
    assert measure.variant == "binned-30"
    assert 0 < measure.parameters["generated_inside"] <= 1


def test_sparse_counting_equals_dense_counting_in_five_dimensions() -> None:
    """30^5 cells are numbered sparsely; 8^5 densely: at 8 bins both ways must agree with the dense oracle."""
    x, y = gaussian_clouds(5, n=800)
    edges = [np.linspace(c.min() - 0.1 * c.std(), c.max() + 0.1 * c.std(), 17) for c in x.T]
    assert 16**5 > 1_000_000 > 8**5  # 16 bins take the sparse branch
    assert d_stsp_binned(x, y, bins=16).value == pytest.approx(naive.histogram_divergence(x, y, edges), rel=1e-9)


def test_binned_10_2s_equals_dense_histograms_without_their_lowest_bins() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2000, 2)), rng.normal(0.2, 0.8, size=(1500, 2))
    counts = [np.histogramdd(v, bins=[np.linspace(-2 * s, 2 * s, 11) for s in x.std(axis=0)])[0] for v in (x, y)]
    for c in counts:
        c[0, :] = c[:, 0] = 0
    p, q = ((c + 1e-5) / (c + 1e-5).sum() for c in counts)
    measure = d_stsp_binned_2s(x, y)
    assert measure.value == pytest.approx(float((p * np.log(p / q)).sum()), rel=1e-9)
    assert measure.variant == "binned-10-2s"


def test_mixture_of_two_points_equals_quadrature() -> None:
    """x = -1, 1 (already standardised): p is a mixture of two unit Gaussians; KL by numerical integration."""
    x, y = np.array([[-1.0], [1.0]]), np.array([[-2.0], [0.0], [1.5]])

    def log_mixture(u: float, centres: np.ndarray) -> float:
        return float(np.log(np.mean(norm.pdf(u, loc=centres.ravel()))))

    exact, _ = quad(lambda u: np.exp(log_mixture(u, x)) * (log_mixture(u, x) - log_mixture(u, y)), -12, 12)
    measure = d_stsp_mixture(x, y, n_samples=200_000)
    error = float(measure.parameters["monte_carlo_standard_error"])  # type: ignore[arg-type]
    assert error < 0.002
    assert measure.value == pytest.approx(exact, abs=4 * error)
    assert measure.variant == "gmm-1.0"


def test_mixture_of_gaussian_clouds_equals_the_gaussian_divergence() -> None:
    """Clouds N(0, I) and N(m, S) blurred by sigma^2 = 1 are N(0, 2 I) and N(m, S + I); their KL has a closed form."""
    rng = np.random.default_rng(5)
    mean, deviations = np.array([0.5, -0.3]), np.array([0.6, 1.4])
    x = rng.normal(size=(10_000, 2))
    y = mean + deviations * rng.normal(size=(10_000, 2))
    p_var, q_var = np.full(2, 2.0), deviations**2 + 1
    exact = 0.5 * float(np.sum(p_var / q_var + mean**2 / q_var - 1 + np.log(q_var / p_var)))
    measure = d_stsp_mixture(x, y, n_samples=5000)
    assert measure.value == pytest.approx(exact, abs=0.03)


def test_mixture_keeps_samples_without_density() -> None:
    """Dropping the samples where q underflows would call this far-away cloud a good model; log-sum-exp does not."""
    x = np.random.default_rng(0).normal(size=(500, 8))
    measure = d_stsp_mixture(x, x + 100.0)
    assert measure.value is not None
    assert measure.value > 8 * 90**2 / 2 / 2  # half the squared distance, roughly


def test_the_number_of_coordinates_chooses_the_variant() -> None:
    rng = np.random.default_rng(0)
    assert d_stsp(rng.normal(size=(50, 5)), rng.normal(size=(50, 5))).variant == "binned-30"
    assert d_stsp(rng.normal(size=(50, 6)), rng.normal(size=(50, 6))).variant == "gmm-1.0"
    with pytest.raises(ValueError, match="use d_stsp_mixture"):
        d_stsp_binned(np.zeros((5, 6)), np.zeros((5, 6)))


@given(clouds)
@settings(max_examples=150, deadline=None)
def test_a_divergence_is_never_negative_and_zero_for_itself(pair: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = pair
    for measure in (d_stsp_binned, d_stsp_binned_2s, lambda a, b: d_stsp_mixture(a, b, n_samples=50)):
        itself, other = measure(x, x), measure(x, y)
        assert itself.value is None or itself.value == pytest.approx(0.0, abs=1e-9)
        assert (itself.value is None) == (itself.reason is not None)
        assert (other.value is None) == (other.reason is not None)
        if other.value is not None and other.variant.startswith("binned"):
            assert other.value >= 0.0
    if (np.ptp(x, axis=0) > 0).all():
        assert d_stsp_binned(x, x).value is not None


@given(
    st.integers(0, 2**32 - 1),
    hnp.arrays(float, 2, elements=st.floats(0.01, 50)),
    hnp.arrays(float, 2, elements=st.floats(-20, 20)),
)
@settings(max_examples=40, deadline=None)
def test_rescaling_and_shifting_both_series_changes_nothing(seed: int, scale: np.ndarray, shift: np.ndarray) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(200, 2)), rng.normal(0.1, 1.1, size=(200, 2))
    moved = d_stsp_mixture(x * scale + shift, y * scale + shift).value
    assert moved == pytest.approx(d_stsp_mixture(x, y).value, rel=1e-6, abs=1e-9)
    # powers of two keep every float exact, so that no point can cross a bin's edge by rounding
    scale = 2.0 ** np.round(np.log2(scale))
    assert d_stsp_binned(x * scale, y * scale).value == d_stsp_binned(x, y).value
    assert d_stsp_binned_2s(x * scale, y * scale).value == d_stsp_binned_2s(x, y).value


@given(st.permutations(range(30)))
@settings(max_examples=20, deadline=None)
def test_order_in_time_does_not_matter(order: list[int]) -> None:
    x, y = gaussian_clouds(2, n=30)
    assert d_stsp_binned(x, y[order]).value == d_stsp_binned(x, y[:30]).value


def test_points_outside_and_not_finite_are_dropped_from_histograms() -> None:
    x, y = gaussian_clouds(2)
    bad = np.array([[np.nan, 0.0], [np.inf, 0.0], [0.0, -np.inf], [1e308, -1e308], [1e9, 0.0]])
    assert d_stsp_binned(x, np.vstack([bad, y])).value == d_stsp_binned(x, y).value
    assert d_stsp_binned_2s(x, np.vstack([bad, y])).value == d_stsp_binned_2s(x, y).value


@pytest.mark.parametrize(
    ("x", "y", "reason"),
    [
        (np.empty((0, 2)), np.ones((3, 2)), "true series is empty"),
        (np.eye(2), np.empty((0, 2)), "generated series is empty"),
        (np.array([[0.0, 1.0], [np.nan, 2.0]]), np.eye(2), "true series is not finite at row 1"),
        (np.array([[0.0, 1.0], [1.0, np.inf]]), np.eye(2), "true series is not finite at row 1"),
        (np.array([[0.0, 1.0], [1.0, 1.0]]), np.eye(2), "coordinate 1 of the true series does not vary"),
    ],
)
def test_undefined_values_are_null_with_a_reason(x: np.ndarray, y: np.ndarray, reason: str) -> None:
    for measure in (d_stsp, d_stsp_binned, d_stsp_binned_2s, d_stsp_mixture):
        result = measure(x, y)
        assert result.value is None
        assert reason in (result.reason or "")


def test_an_empty_histogram_is_undefined_not_16() -> None:
    x, _ = gaussian_clouds(2)
    for y in (np.full((100, 2), 1e6), np.full((100, 2), np.nan)):
        assert d_stsp_binned(x, y).reason == "no generated point lies inside the histogram"
    assert "no true point" in (d_stsp_binned_2s(x + 1000, x + 1000).reason or "")
    diverged = np.vstack([x[:10], np.full((5, 2), np.inf)])
    assert d_stsp_mixture(x, diverged).reason == "the generated series is not finite from row 10 on"


def test_a_constant_generated_series_scores_badly_but_is_defined() -> None:
    x, y = gaussian_clouds(3)
    collapsed = d_stsp_binned(x, np.tile(x.mean(axis=0), (3000, 1))).value
    assert collapsed is not None
    assert collapsed > 3 * (d_stsp_binned(x, y).value or 0)


def test_shapes_that_do_not_match_are_a_bug_of_the_caller() -> None:
    for x, y in (
        (np.zeros((3, 2)), np.zeros((3, 1))),
        (np.zeros(3), np.zeros(3)),
        (np.zeros((3, 0)), np.zeros((3, 0))),
    ):
        with pytest.raises(ValueError, match="same N"):
            d_stsp(x, y)

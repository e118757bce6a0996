"""d_h against the Fourier sum written out, scipy's spectra, bounds and invariants; its undefined cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import naive
from dynamics.measures import d_h

pairs = st.tuples(st.integers(2, 60), st.integers(1, 3)).flatmap(
    lambda shape: st.tuples(*(hnp.arrays(float, shape, elements=st.floats(-1e3, 1e3, width=32)) for _ in range(2)))
)


def coloured(seed: int, n: int, frequency: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.arange(n)
    return np.stack([np.sin(frequency * t), np.cos(0.7 * frequency * t)], axis=1) + 0.5 * rng.normal(size=(n, 2))


@pytest.mark.parametrize(("n", "sigma"), [(120, 2.0), (121, 2.0), (90, 20.0), (17, 20.0)])
def test_equals_the_definition_written_out(n: int, sigma: float) -> None:
    """Also where the window is wider than the whole spectrum and is reflected more than once (n = 17, 90)."""
    x, y = coloured(0, n, 0.3), coloured(1, n, 0.5)
    assert d_h(x, y, sigma=sigma).value == pytest.approx(naive.spectral_distance(x, y, sigma), rel=1e-6, abs=1e-7)


def test_two_far_tones_are_almost_disjoint_and_two_near_ones_almost_equal() -> None:
    t = np.arange(20_000)
    tone = {f: np.sin(2 * np.pi * f * t)[:, None] for f in (0.01, 0.0101, 0.2)}
    far, near = d_h(tone[0.01], tone[0.2]).value, d_h(tone[0.01], tone[0.0101]).value
    assert far == pytest.approx(1.0, abs=1e-3)
    # Gaussians of sigma 20 bins, 2 bins apart: sqrt(1 - exp(-(2 / 20)^2 / 8))
    assert near == pytest.approx(np.sqrt(1 - np.exp(-((2 / 20) ** 2) / 8)), rel=0.02)


@given(pairs)
@settings(max_examples=150, deadline=None)
def test_bounds_symmetry_and_zero_for_itself(pair: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = pair
    forth, back, itself = d_h(x, y), d_h(y, x), d_h(x, x)
    assert (forth.value is None) == (forth.reason is not None)
    assert itself.value is None or itself.value == 0.0
    if forth.value is not None and back.value is not None:
        assert 0.0 <= forth.value <= 1.0
        assert forth.value == pytest.approx(back.value, abs=1e-12)


@given(st.floats(1e-3, 1e3), st.floats(-1e3, 1e3), st.booleans())
@settings(max_examples=50, deadline=None)
def test_units_and_offsets_do_not_matter(scale: float, shift: float, flip: bool) -> None:
    x, y = coloured(0, 500, 0.3), coloured(1, 500, 0.35)
    moved = (-1 if flip else 1) * scale * y + shift
    assert d_h(x, moved).value == pytest.approx(d_h(x, y).value, rel=1e-6)


def test_reversing_time_does_not_matter() -> None:
    x, y = coloured(0, 500, 0.3), coloured(1, 500, 0.35)
    assert d_h(x, y[::-1]).value == pytest.approx(d_h(x, y).value, rel=1e-9)


def test_values_near_the_largest_float_are_no_trouble() -> None:
    x, y = coloured(0, 500, 0.3), coloured(1, 500, 0.35)
    assert d_h(x, y * 1e307).value == pytest.approx(d_h(x, y).value, rel=1e-9)


@pytest.mark.parametrize(
    ("x", "y", "reason"),
    [
        (np.empty((0, 1)), np.empty((0, 1)), "the true series has only 0 steps"),
        (np.ones((1, 1)), np.ones((1, 1)), "the true series has only 1 steps"),
        (np.arange(5.0)[:, None], np.full((5, 1), 3.0), "the generated series does not vary in coordinate 0"),
        (np.arange(5.0)[:, None], np.zeros((5, 1)), "the generated series does not vary in coordinate 0"),
        (np.arange(5.0)[:, None], np.array([[0.0], [1], [np.nan], [2], [3]]), "not finite from row 2 on"),
        (np.array([[0.0], [np.inf]]), np.array([[0.0], [1.0]]), "the true series is not finite from row 1 on"),
    ],
)
def test_undefined_values_are_null_with_a_reason(x: np.ndarray, y: np.ndarray, reason: str) -> None:
    result = d_h(x, y)
    assert result.value is None
    assert reason in (result.reason or "")
    assert result.variant == "hellinger-s20"


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="one shape"):
        d_h(np.zeros((5, 1)), np.zeros((6, 1)))

"""Thinning, spectra and scales against what nobody here wrote."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from figures.parts import Axis, Figure, Line, Panel, Points, Reference, limits
from figures.reconstruction import power_spectrum
from figures.thinning import keep_extremes
from figures.words import Scale, interval, scale_for


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5000), st.integers(1, 4), st.integers(20, 400), st.integers(0, 2**32 - 1))
def test_thinning_keeps_both_ends_and_every_extreme(n: int, curves: int, most: int, seed: int) -> None:
    values = np.random.default_rng(seed).standard_normal((curves, n))
    kept = keep_extremes(*values, most=most)
    assert len(kept) <= max(most, 3 * curves + 2)
    assert (np.diff(kept) > 0).all()
    assert {0, n - 1} <= set(kept.tolist())
    for curve in values:
        assert curve[kept].max() == curve.max()
        assert curve[kept].min() == curve.min()


def test_a_spike_and_a_gap_survive() -> None:
    values = np.zeros(100_000)
    values[54_321], values[77_000:77_010] = 9.0, np.nan
    kept = keep_extremes(values, most=200)
    assert 54_321 in kept
    assert np.isnan(values[kept]).any()


def test_the_power_spectrum_is_that_of_scipy() -> None:
    rng = np.random.default_rng(3)
    x = np.cumsum(rng.standard_normal((3000, 2)), axis=0)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    length = len(x) // 6
    frequency, power = power_spectrum(x, 0.25)
    f, p = scipy.signal.welch(z, 4.0, "hann", length, length - length // 2, detrend="constant", axis=0)
    assert frequency == pytest.approx(f[1:])
    assert power[:-1] == pytest.approx(p[1:-1], rel=1e-9)


def test_a_sine_peaks_at_its_frequency() -> None:
    t = np.arange(4000) * 0.01
    frequency, power = power_spectrum(np.sin(2 * np.pi * 3.0 * t)[:, None], 0.01)
    assert frequency[power[:, 0].argmax()] == pytest.approx(3.0, abs=0.15)


def test_a_scale_is_plain_until_one_exponent_dwarfs_the_others() -> None:
    assert scale_for(np.array([0.9, 0.0, -2.0]), 0.9) == Scale(None)
    scale = scale_for(np.array([0.9, 0.0, -14.6]), 0.9)
    assert scale.linear_to == 0.9
    values = np.array([0.9, 0.0, -14.6])
    assert 0.9 * np.sinh(scale(values)) == pytest.approx(values)
    texts = [text for _, text in scale.axis("λ", values).ticks or []]
    assert "0" in texts
    assert "1" in texts
    assert "−10" in texts


def test_limits_hold_all_that_is_drawn_but_not_references() -> None:
    points = Points(
        np.array([1.0, 2.0]), np.array([3.0, 4.0]), "data", low=np.array([0.0, 1.0]), high=np.array([5.0, 6.0])
    )
    panel = Panel(Axis("x"), Axis("y"), [points, Reference(100.0, "y")])
    low, high = limits(panel, "y")
    assert low < 0
    assert 6 < high < 7
    logarithmic = Panel(Axis("x"), Axis("y", log=True), [Line(np.arange(3.0), np.array([0.0, 1e-3, 10.0]), "data")])
    assert 0 < limits(logarithmic, "y")[0] < 1e-3


def test_an_empty_panel_has_limits_all_the_same() -> None:
    panel = Panel(Axis("x"), Axis("y", log=True), [Line(np.zeros(0), np.zeros(0), "data")])
    assert limits(panel, "x") == (0.0, 1.0)
    assert limits(panel, "y") == (1.0, 10.0)
    assert Figure("t", "", [panel]).names == []


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ((0.887, 0.924), "0.887 to 0.924"),
        ((2.0618, 2.0631), "2.062 to 2.063"),
        ((-14.5392, -14.5021), "−14.54 to −14.5"),
        ((2.0, 2.0), "2 to 2"),
    ],
)
def test_the_ends_of_an_interval_can_be_told_apart(ends, said):
    assert interval(ends, None) == f"90 % interval {said}"

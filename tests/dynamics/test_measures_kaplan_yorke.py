"""Kaplan-Yorke dimension: closed forms, published values, an oracle that interpolates."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import naive
from dynamics.measures import kaplan_yorke_dimension


@pytest.mark.parametrize(
    ("exponents", "dimension"),
    [
        ([0.9056, 0.0, -14.5723], 2.06215),  # Lorenz-63, Sprott 2003
        ([0.41922, -1.62319], 1.25827),  # Henon, Sprott 2003
        ([0.0714, 0.0, -5.3943], 2.01324),  # Roessler, Sprott 2003
        ([math.log(2)], 1.0),  # a chaotic map of the interval
        ([math.log(2), math.log(0.3)], 1 + math.log(2) / -math.log(0.3)),  # skew product with contraction 0.3
        ([0.0, -1.0, -2.0], 1.0),  # limit cycle
        ([0.0, 0.0, -1.0], 2.0),  # torus
        ([-0.1, -0.2], 0.0),  # fixed point
        ([0.5, 0.2, -0.1], 3.0),  # volumes grow: bounded by the number of exponents
        ([1.0, -1.0], 2.0),  # volumes are kept: Arnold's cat map
        ([0.5, -math.inf], 1.0),
        ([-2.0, 1.0], 1.5),  # any order
    ],
)
def test_closed_forms_and_published_values(exponents: list[float], dimension: float) -> None:
    result = kaplan_yorke_dimension(exponents)
    assert result.value == pytest.approx(dimension, abs=2e-4)
    assert result.unit == "1"
    assert result.reason is None


# Multiples of 1/64: their sums are exact, so that no rounding decides on which side of zero a sum falls.
@given(st.lists(st.integers(-1280, 1280).map(lambda i: i / 64), min_size=1, max_size=10))
def test_equals_the_zero_of_the_interpolated_sums(exponents: list[float]) -> None:
    value = kaplan_yorke_dimension(exponents).value
    assert value is not None
    assert value == pytest.approx(naive.kaplan_yorke(exponents), abs=1e-9)
    assert 0 <= value <= len(exponents)


@given(st.lists(st.integers(-40, 40), min_size=1, max_size=8), st.sampled_from([0.25, 0.5, 2.0, 64.0]))
def test_the_unit_of_time_does_not_matter(exponents: list[int], factor: float) -> None:
    scaled = kaplan_yorke_dimension([e * factor for e in exponents])
    assert scaled.value == pytest.approx(kaplan_yorke_dimension(exponents).value, abs=1e-9)


@pytest.mark.parametrize(
    ("exponents", "reason"),
    [
        ([], "no exponents"),
        ([0.5, math.nan], "not finite"),
        ([math.inf, -1.0], "not finite"),
        ([0.5, None], "do not sum to a negative"),
        ([None], "do not sum"),
    ],
)
def test_undefined_dimensions_have_a_reason(exponents: list[float | None], reason: str) -> None:
    result = kaplan_yorke_dimension(exponents)
    assert result.value is None
    assert reason in (result.reason or "")


def test_an_unknown_smallest_exponent_does_not_matter_when_the_known_ones_suffice() -> None:
    assert kaplan_yorke_dimension([0.9, 0.0, -14.0, None]).value == pytest.approx(2 + 0.9 / 14)

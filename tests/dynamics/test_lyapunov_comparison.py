"""Methods side by side: distances in standard errors, words for them, and nothing trusted where there are no exponents."""

from __future__ import annotations

import numpy as np
import pytest

from domain.specs import LyapunovSpec
from dynamics.lyapunov import analyze
from dynamics.lyapunov.comparison import Setting, _entry, _Estimate, agreement
from dynamics.lyapunov.surrogates import fitting_ends, iaaft
from systems import lorenz

SETTING = Setting(dt=0.5, unit="1/s", level=0.95, asked="auto", reason=None)


def estimate(method, value, error):
    return _Estimate(method, value, error, "Said.", 0.1, "how")


def entries(other, setting=SETTING, reference=(0.4, 0.03)):
    trusted = estimate("fitted-model", *reference)
    return [_entry(e, trusted, setting) for e in (trusted, estimate("local-jacobians", *other))]


@pytest.mark.parametrize(
    ("other", "distance", "words"),
    [
        ((0.44, 0.04), 0.8, "Agrees with the trusted method."),
        ((0.405, 0.0), 1 / 6, "Agrees with the trusted method."),
        ((0.48, 0.04), 1.6, "within both errors"),
        ((0.60, 0.04), 4.0, "Differs"),
        ((0.70, 0.40), 0.3 / np.hypot(0.03, 0.4), "Too uncertain"),
    ],
)
def test_distance_and_words(other, distance, words):
    trusted, found = entries(other)
    assert trusted.trusted
    assert trusted.distance is None
    assert found.distance == pytest.approx(distance)
    assert words in found.why
    assert found.lambda_max.value == pytest.approx(other[0] / 0.5)
    half = (found.lambda_max.ci[1] - found.lambda_max.ci[0]) / 2
    assert half == pytest.approx(1.959964 * other[1] / 0.5)


def test_agreement_is_the_nearest_one():
    found = entries((0.44, 0.04))
    third = _entry(estimate("neighbor-divergence", 0.55, 0.04), estimate("fitted-model", 0.4, 0.03), SETTING)
    evidence = agreement([*found, third])
    assert evidence.value == pytest.approx(0.8)
    assert "3.0 standard errors" in evidence.detail
    assert agreement(found[:1]) is None


def test_no_value_has_no_distance_and_says_why():
    _, found = entries((None, 0.0))
    assert found.lambda_max.value is None
    assert found.lambda_max.reason == found.why == "Said."
    assert found.distance is None


def test_nothing_is_trusted_without_exponents():
    setting = Setting(0.5, "1/s", 0.95, "auto", "It is noise.")
    trusted, found = entries((0.4, 0.04), setting)
    assert not trusted.trusted
    assert trusted.lambda_max.reason == "It is noise."
    assert found.lambda_max.value == pytest.approx(0.8)  # what other tools would answer with
    assert found.distance is None
    assert agreement([trusted, found]) is None


def test_asked_for_and_doubt_are_said():
    assert entries((0.4, 0.04), Setting(0.5, "1/s", 0.95, "fitted-model", None))[0].why.startswith("Asked for.")
    assert "with doubt" in entries((0.4, 0.04), Setting(0.5, "1/s", 0.95, "auto", None, undecided=True))[0].why


@pytest.mark.parametrize("columns", [[0, 1, 2], [0]])
def test_a_surrogate_of_lorenz_is_noise_and_lorenz_under_noise_is_chaotic(columns):
    x = lorenz(6000)[:, columns]
    noisy = x + 0.01 * x.std(axis=0) * np.random.default_rng(1).standard_normal(x.shape)
    closed = fitting_ends(x)
    fake = iaaft((closed - closed.mean(axis=0)) / closed.std(axis=0), np.random.default_rng(0), rounds=60)
    verdicts = [
        analyze([s], dt=0.02, time_unit="s", spec=LyapunovSpec(budget_seconds=600)).verdict.kind for s in (noisy, fake)
    ]
    assert verdicts == ["chaotic", "noise"]

"""The data's largest exponent beside the model's: standard errors from intervals, and why there may be none."""

from __future__ import annotations

import numpy as np
import pytest
from hand_made import lozi
from scipy.stats import norm

from domain.base import Quantity
from domain.results import LyapunovSpectrum
from domain.specs import EvaluateSpec
from dynamics.evaluation import evaluate
from dynamics.exponent_comparison import compare_lambda_max


def data(value=0.9, error=0.03, level=0.95):
    half = float(norm.ppf(0.5 + level / 2)) * error
    return Quantity(value=value, unit="1/s", ci=(value - half, value + half), level=level)


def spectrum(value=0.8, error=0.04, level=0.9):
    half = float(norm.ppf(0.5 + level / 2)) * error
    return LyapunovSpectrum(exponents=[value, -1.0], ci=[(value - half, value + half), None], level=level, unit="1/s")


def test_distance_in_standard_errors_of_the_difference():
    """0.03 and 0.04 make 0.05: a difference of -0.1 is -2 standard errors, whatever the levels of the intervals."""
    found = compare_lambda_max(data(), spectrum())
    assert found.standard_errors == pytest.approx(-2.0)
    assert found.difference == pytest.approx(-0.1)
    assert (found.data, found.model, found.unit, found.reason) == (0.9, 0.8, "1/s", None)
    assert "-11 %" in found.detail
    assert "2.0 standard errors" in found.detail
    assert "more than both" in compare_lambda_max(data(error=0.003), spectrum(error=0.004)).detail
    assert "within" in compare_lambda_max(data(), spectrum(0.85)).detail


@pytest.mark.parametrize(
    ("given", "model", "driven", "words"),
    [
        (None, spectrum(), False, "no Lyapunov analysis"),
        (Quantity(reason="It is noise.", unit="1/s"), spectrum(), False, "It is noise."),
        (data(), LyapunovSpectrum(unit="1/s", reason="every free run of the model diverges"), False, "diverges"),
        (data(), spectrum(), True, "driven"),
        (data(), LyapunovSpectrum(exponents=[0.8], ci=None, unit="1/s"), False, "no interval"),
        (Quantity(value=0.9, unit="1/s"), spectrum(), False, "no interval"),
        (data(error=0.0), spectrum(error=0.0), False, "no width"),
    ],
)
def test_no_weight_without_a_reason(given, model, driven, words):
    found = compare_lambda_max(given, model, driven=driven)
    assert found.standard_errors is None
    assert words in found.reason


def test_the_report_compares_a_model_with_its_own_series():
    """The Lozi map has 0.47023 (Sprott 2003), given as the data's with 0.47 +- 0.01 at 95 %."""
    model = lozi()
    rows = model.free_run(np.full(model.latent_dim, 0.3), 3000)[500:]
    series = model.to_units(model.observe(rows))
    known = Quantity(value=0.47, unit="1/step", ci=(0.46, 0.48), level=0.95)
    plain = {"lambda_max": 0.47, "reference_steps": (0, len(series))}
    report = evaluate(model, [series], spec=EvaluateSpec(lyapunov_steps=5000), data_lambda_max=known, **plain)
    found = report.lambda_max_comparison
    assert found.model == report.lyapunov_spectrum.exponents[0]
    assert abs(found.standard_errors) < 3
    assert found.difference == pytest.approx(found.model - 0.47)
    bare = evaluate(model, [series], spec=EvaluateSpec(lyapunov_steps=2000), **plain)
    assert "no Lyapunov analysis" in bare.lambda_max_comparison.reason

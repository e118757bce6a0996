"""What `auto` forcing becomes, and the estimates of adaptive forcing on maps whose Jacobians are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from domain.base import Quantity
from domain.results import (
    Embedding,
    ForcingAdvice,
    LyapunovAnalysis,
    LyapunovSpectrum,
    Predictability,
    Verdict,
)
from domain.training_specs import GeneralizedForcingSpec, NoForcingSpec, SparseForcingSpec
from dynamics.forcing import estimate_alpha, resolve_forcing
from models import ShPLRNN


def analysis(lambda_max: float | None) -> LyapunovAnalysis:
    quantity = Quantity(value=lambda_max, reason=None if lambda_max is not None else "unknown", unit="1/s")
    return LyapunovAnalysis(
        lambda_max=quantity,
        lyapunov_spectrum=LyapunovSpectrum(unit="1/s"),
        verdict=Verdict(kind="chaotic", detail=""),
        predictability=Predictability(),
        forcing=ForcingAdvice(),
        kaplan_yorke_dimension=Quantity(reason="not needed"),
        ks_entropy=Quantity(reason="not needed"),
        embedding=Embedding(kind="none", dimension=3),
    )


def test_sparse_forcing_waits_for_one_doubling_of_an_error() -> None:
    forcing, why = resolve_forcing(SparseForcingSpec(), analysis(0.906), 0.01, 200)
    assert forcing.interval_steps == round(math.log(2) / 0.00906) == 77
    assert "ln 2" in why["interval_steps"]
    forcing, why = resolve_forcing(SparseForcingSpec(), None, 0.01, 200)
    assert forcing.interval_steps == 200
    forcing, why = resolve_forcing(SparseForcingSpec(interval_steps=5), analysis(0.906), 0.01, 200)
    assert (forcing.interval_steps, why) == (5, {})


@pytest.mark.parametrize("lambda_max", [None, -0.3, 0.0, 0.906])
def test_generalised_forcing_has_a_usual_strength(lambda_max: float | None) -> None:
    forcing, why = resolve_forcing("auto", analysis(lambda_max), 0.01, 200)
    assert (forcing.kind, forcing.alpha) == ("gtf", 0.15)
    assert set(why) == {"forcing", "alpha"}


def test_a_map_that_diverges_within_a_step_is_forced_harder() -> None:
    forcing, _ = resolve_forcing(GeneralizedForcingSpec(), analysis(math.log(2)), 1.0, 200)
    assert forcing.alpha == pytest.approx(0.5)


def test_no_forcing_is_none() -> None:
    forcing, _ = resolve_forcing(NoForcingSpec(), analysis(0.9), 0.01, 200)
    assert (forcing.kind, forcing.alpha, forcing.interval_steps) == ("none", 0.0, 0)


@pytest.mark.parametrize("estimate", ["arithmetic-mean", "geometric-mean", "largest-norm"])
def test_estimates_of_a_linear_map_are_exact(estimate: str) -> None:
    """J = diag(2, 1/2) everywhere: ||J|| = 2, so alpha = 1/2 balances it."""
    params = {
        "A": np.array([2.0, 0.5]),
        "W1": np.zeros((2, 1)),
        "W2": np.ones((1, 2)),
        "h1": np.zeros(2),
        "h2": np.zeros(1),
    }
    states = np.random.default_rng(0).standard_normal((4, 10, 2))
    assert estimate_alpha(ShPLRNN, params, states, estimate) == pytest.approx(0.5)


def test_the_parameter_bound_is_a_bound() -> None:
    params = ShPLRNN.init(np.random.default_rng(1), 3, 9)
    states = np.random.default_rng(2).standard_normal((4, 30, 3))
    assert estimate_alpha(ShPLRNN, params, states, "parameter-bound") >= estimate_alpha(
        ShPLRNN, params, states, "largest-norm"
    )
    assert estimate_alpha(ShPLRNN, params, states, "largest-norm") >= estimate_alpha(
        ShPLRNN, params, states, "geometric-mean"
    )

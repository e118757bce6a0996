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
from domain.specs import TrainSpec
from domain.training_specs import GeneralizedForcingSpec, NoForcingSpec, SparseForcingSpec
from dynamics.forcing import Forcing, estimate_alpha, resolve_forcing
from dynamics.training.schedule import forcing_schedule
from models import ARCHITECTURES, LSTM, ShPLRNN, Size


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


def test_squashed_maps_are_forced_sparsely() -> None:
    forcing, why = resolve_forcing("auto", analysis(0.906), 0.01, 200, squashed=True)
    assert (forcing.kind, forcing.interval_steps) == ("stf", 77)
    assert set(why) == {"forcing", "interval_steps"}
    asked, _ = resolve_forcing(GeneralizedForcingSpec(), analysis(0.906), 0.01, 200, squashed=True)
    assert asked.kind == "gtf"


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


BOUNDED = [
    name for name, a in ARCHITECTURES.items() if a.jacobian_bound(a.init(np.random.default_rng(0), Size(4, 2, 2)))
]


@pytest.mark.parametrize("name", BOUNDED)
def test_the_parameter_bound_is_a_bound(name: str) -> None:
    architecture = ARCHITECTURES[name]
    params = architecture.init(np.random.default_rng(1), Size(4, 3, 2))
    states = np.random.default_rng(2).standard_normal((4, 30, 4))
    estimates = [
        estimate_alpha(architecture, {k: 5 * v for k, v in params.items()}, states, estimate)
        for estimate in ("parameter-bound", "largest-norm", "geometric-mean")
    ]
    assert estimates == sorted(estimates, reverse=True)
    assert estimates[0] > 0


def test_no_bound_is_invented() -> None:
    assert "lstm" not in BOUNDED
    assert len(BOUNDED) >= 9
    params = LSTM.init(np.random.default_rng(1), Size(4))
    with pytest.raises(ValueError, match="no bound"):
        estimate_alpha(LSTM, params, np.zeros((1, 1, 4)), "parameter-bound")


def test_annealing_is_geometric_and_knows_no_blocks() -> None:
    spec = GeneralizedForcingSpec(alpha=1.0, final_alpha=0.01)
    forcing, _ = resolve_forcing(spec, None, 0.01, 200)
    alphas, intervals = forcing_schedule(forcing, 0, 101, 101)
    np.testing.assert_allclose(alphas[[0, 25, 50, 100]], [1, 10**-0.5, 0.1, 0.01], rtol=1e-12)
    assert not intervals.any()
    spec = SparseForcingSpec(interval_steps=5, final_interval_steps=80, spread_steps=2.5)
    forcing, _ = resolve_forcing(spec, None, 0.01, 200)
    assert (forcing.spread_steps, forcing.longest_interval) == (2.5, 88)
    whole = forcing_schedule(forcing, 0, 41, 41)
    np.testing.assert_allclose(whole[1][[0, 10, 20, 40]], [5, 10, 20, 80], rtol=1e-12)
    for k, part in enumerate(whole):
        blocks = [forcing_schedule(forcing, first, 7, 41)[k] for first in range(0, 35, 7)]
        np.testing.assert_array_equal(np.concatenate(blocks), part[:35])
    assert not whole[0].any()


def test_what_is_not_annealed_stays() -> None:
    alphas, intervals = forcing_schedule(Forcing("gtf", alpha=0.15), 3, 4, 10)
    np.testing.assert_array_equal(alphas, [0.15] * 4)
    np.testing.assert_array_equal(intervals, [0.0] * 4)
    _, intervals = forcing_schedule(Forcing("stf", interval_steps=7), 0, 1, 1)
    np.testing.assert_array_equal(intervals, [7.0])


@pytest.mark.parametrize(
    ("forcing", "says"),
    [
        ({"adaptive": True, "final_alpha": 0.1}, "leave final_alpha away or set adaptive to false"),
        ({"alpha": 0, "final_alpha": 0.1}, "needs an alpha above 0"),
    ],
)
def test_contradictory_annealing_is_refused(forcing: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        TrainSpec.model_validate({"forcing": {"kind": "gtf"} | forcing})

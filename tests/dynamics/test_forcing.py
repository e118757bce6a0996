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
from dynamics.forcing import Forcing, decorrelation_steps, estimate_alpha, resolve_forcing
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
    forcing, why = resolve_forcing(SparseForcingSpec(interval_steps=5), analysis(0.906), 0.01, 200)
    assert (forcing.interval_steps, why) == (5, {})


@pytest.mark.parametrize(
    ("decorrelation", "length", "interval"),
    [(24, 200, 36), (1, 200, 2), (400, 200, 50), (None, 200, 25), (400, 20, 20)],
)
def test_without_an_exponent_the_series_itself_says_how_long(
    decorrelation: float | None, length: int, interval: int
) -> None:
    forcing, why = resolve_forcing(SparseForcingSpec(), None, 0.01, length, decorrelation=decorrelation)
    assert forcing.interval_steps == interval
    assert "no positive lambda_max" in why["interval_steps"] or "neither" in why["interval_steps"]


def test_decorrelation_of_known_processes() -> None:
    """Autoregression x_t = a x_{t-1} + noise: a^k < 1/e first at k = ceil(-1 / ln a); a cosine: at acos(1/e) of a period."""
    rng = np.random.default_rng(0)
    noise, walk = rng.standard_normal(200_000), np.empty(200_000)
    walk[0] = 0
    for t in range(1, len(walk)):
        walk[t] = 0.9 * walk[t - 1] + noise[t]
    wave = np.cos(2 * np.pi * np.arange(20_000) / 90)
    assert decorrelation_steps([walk[:, None]]) == math.ceil(-1 / math.log(0.9)) == 10
    assert (
        decorrelation_steps([wave[:, None], wave[:50, None]])
        == math.ceil(90 * math.acos(1 / math.e) / 2 / math.pi)
        == 18
    )
    three = np.column_stack([noise[:20_000], wave, np.full(20_000, 3.0)])  # the constant one has no correlation
    assert decorrelation_steps([three]) == (1 + 18) / 2
    assert decorrelation_steps([np.ones((100, 2))]) is None


@pytest.mark.parametrize("lambda_max", [None, -0.3, 0.0, 0.906])
def test_generalised_forcing_has_a_usual_strength(lambda_max: float | None) -> None:
    forcing, why = resolve_forcing("auto", analysis(lambda_max), 0.01, 200)
    assert (forcing.kind, forcing.alpha) == ("gtf", 0.15)
    assert set(why) == {"forcing", "alpha"}


def test_a_map_that_diverges_within_a_step_is_forced_harder() -> None:
    forcing, _ = resolve_forcing(GeneralizedForcingSpec(), analysis(math.log(2)), 1.0, 200)
    assert forcing.alpha == pytest.approx(0.5)


def test_maps_forced_sparsely_see_longer_and_longer_stretches() -> None:
    forcing, why = resolve_forcing("auto", analysis(0.906), 0.01, 200, sparse=True)
    assert (forcing.kind, forcing.interval_steps, forcing.final_interval_steps) == ("stf", 10, 38)
    assert set(why) == {"forcing", "interval_steps"}
    assert "0.5 of ln 2 / (lambda_max dt) = 76.5 steps" in why["interval_steps"]
    forcing, _ = resolve_forcing("auto", None, 0.01, 200, sparse=True, decorrelation=24)
    assert (forcing.interval_steps, forcing.final_interval_steps) == (9, 36)
    forcing, _ = resolve_forcing("auto", analysis(math.log(2)), 1.0, 200, sparse=True)
    assert (forcing.interval_steps, forcing.final_interval_steps) == (2, 8)  # an error doubles in one step
    forcing, _ = resolve_forcing("auto", None, 1.0, 200, sparse=True, decorrelation=1)
    assert (forcing.interval_steps, forcing.final_interval_steps) == (2, 8)
    forcing, _ = resolve_forcing("auto", None, 1.0, 6, sparse=True)
    assert forcing.final_interval_steps == 6
    asked, _ = resolve_forcing(GeneralizedForcingSpec(), analysis(0.906), 0.01, 200, sparse=True)
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

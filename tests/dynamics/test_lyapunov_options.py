"""What a caller can ask for: method, embedding, number of exponents, confidence level, budget."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import norm

from domain.specs import LyapunovSpec
from dynamics.lyapunov import analyze, clock, verdict
from dynamics.lyapunov.evidence import Recurrence
from dynamics.lyapunov.surrogates import SurrogateTest
from systems import henon, logistic


def run(*segments, dt=1.0, **spec):
    return analyze(list(segments), dt=dt, time_unit="s", spec=LyapunovSpec(**spec))


def codes(analysis):
    return {w.code for w in analysis.warnings}


def test_neighbour_divergence_of_the_logistic_map_is_ln_2():
    a = run(logistic(5000), method="neighbor-divergence")
    assert a.lambda_max.value == pytest.approx(np.log(2), rel=0.1)
    assert a.lambda_max.ci[0] < np.log(2) < a.lambda_max.ci[1]
    assert "Rosenstein" in a.lambda_max.method
    assert len(a.lyapunov_spectrum.exponents) == 1
    assert a.kaplan_yorke_dimension.value is None
    assert a.kaplan_yorke_dimension.reason


def test_neighbour_divergence_of_henon_is_per_time_unit():
    found = run(henon(4000), dt=0.5, method="neighbor-divergence")
    assert found.lambda_max.value == pytest.approx(0.41922 / 0.5, rel=0.15)
    curve = found.diagnostics["divergence"]
    assert curve["slope"] == pytest.approx(found.lambda_max.value)
    assert 0 <= curve["fit_first_step"] < curve["fit_last_step"]


def test_fitted_model_is_never_replaced_when_asked_for():
    a = run(logistic(3000, 3.9), method="fitted-model")
    assert "QR" in a.lambda_max.method
    assert a.lambda_max.value == pytest.approx(0.4945, rel=0.05)


def test_local_jacobians_of_henon_are_trusted_when_asked_for():
    a = run(henon(5000), dt=0.5, method="local-jacobians")
    np.testing.assert_allclose(a.lyapunov_spectrum.exponents, [0.41922 / 0.5, -1.62319 / 0.5], rtol=0.06)
    assert a.lambda_max.ci[0] < 0.41922 / 0.5 < a.lambda_max.ci[1]
    assert "Sano" in a.lambda_max.method
    assert a.kaplan_yorke_dimension.value == pytest.approx(1.258, abs=0.03)
    assert [m.method for m in a.methods if m.trusted] == ["local-jacobians"]
    assert a.verdict.kind == "chaotic"
    one = run(henon(2000), method="local-jacobians", n_exponents=1)
    assert len(one.lyapunov_spectrum.exponents) == 1


@pytest.mark.parametrize("method", ["auto", "fitted-model", "neighbor-divergence", "local-jacobians"])
def test_every_method_is_answered_beside_the_trusted_one(method):
    a = run(henon(3000), dt=0.5, method=method)
    found = {m.method: m for m in a.methods}
    assert set(found) == {"fitted-model", "neighbor-divergence", "local-jacobians"}
    trusted = found.pop("fitted-model" if method == "auto" else method)
    assert trusted.trusted
    assert trusted.distance is None
    assert trusted.lambda_max.value == a.lambda_max.value
    assert trusted.lambda_max.ci == pytest.approx(a.lambda_max.ci)
    level = a.lambda_max.level
    for other in found.values():
        assert not other.trusted
        assert other.why
        assert other.seconds > 0
        assert other.lambda_max.value == pytest.approx(0.41922 / 0.5, rel=0.2)
        halves = [(m.lambda_max.ci[1] - m.lambda_max.ci[0]) / 2 for m in (trusted, other)]
        error = np.hypot(*halves) / norm.ppf(0.5 + level / 2)
        assert other.distance == pytest.approx(abs(other.lambda_max.value - trusted.lambda_max.value) / error)
    agreement = next(e for e in a.verdict.evidence if e.test == "method-agreement")
    assert agreement.value == pytest.approx(min(m.distance for m in found.values()))


def test_no_method_is_trusted_with_noise():
    a = run(np.random.default_rng(2).standard_normal((2000, 2)))
    assert not any(m.trusted for m in a.methods)
    assert all("No method is trusted" in m.why for m in a.methods if m.lambda_max.value is not None)
    assert next(m for m in a.methods if m.method == "fitted-model").lambda_max.value is None
    assert all(m.distance is None for m in a.methods)
    surrogates = next(e for e in a.verdict.evidence if e.test == "surrogates")
    assert surrogates.supports in ("noise", "none")
    assert a.diagnostics["surrogates"]["rank_p_value"] >= 0.05
    assert a.correlation_dimension.value is None
    assert "noise" in a.correlation_dimension.reason


def test_too_few_states_for_neighbours_fall_back_and_say_so():
    x = np.round(np.sin(0.3 * np.arange(260)), 6)[:, None]
    a = run(x, method="local-jacobians")
    assert "no-neighbours" in codes(a)
    assert "local-jacobians" in next(w.detail for w in a.warnings if w.code == "no-neighbours")


def test_sampling_advice_in_numbers_and_words():
    t = np.arange(6000)
    sine = np.column_stack([np.cos(2 * np.pi * t / 400), np.sin(2 * np.pi * t / 400)])
    found = run(sine, budget_seconds=3).diagnostics["sampling"]
    assert found["samples_per_period"] == pytest.approx(400, rel=0.1)
    assert found["use_every_steps"] >= 5
    assert f"Oversampled {found['use_every_steps']}x: use every" in found["advice"]
    assert found["correlation_time_steps"] == pytest.approx(400 * np.arccos(np.exp(-1)) / (2 * np.pi), abs=8)
    coarse = np.column_stack([np.cos(2 * np.pi * t[:900] / 9.3), np.sin(2 * np.pi * t[:900] / 9.3)])
    few = run(coarse, budget_seconds=3).diagnostics["sampling"]
    assert "Coarsely sampled: 9 samples per mean period. Sample at least 2x as often" in few["advice"]
    assert "every one counts" in run(henon(1000)).diagnostics["sampling"]["advice"]


def test_recurrence_plot_and_dimension_are_in_the_answer():
    a = run(henon(3000), dt=0.5)
    plot = a.diagnostics["recurrence_plot"]
    assert plot["states"] == 600
    assert len(plot["counts"]) == 200
    assert plot["recurrence_rate"] == pytest.approx(0.05, abs=1e-3)
    assert 0.5 < plot["determinism"] < 1
    assert a.correlation_dimension.value == pytest.approx(1.22, abs=0.08)
    assert len(a.model_dump_json()) < 120_000


def test_given_embedding_is_used_and_reported():
    a = run(henon(3000)[:, :1], embedding_dimension=3, embedding_delay=2)
    assert a.embedding.dimension == 3
    assert a.embedding.delay_steps == 2
    assert a.embedding.lags == [0, 2, 4]
    assert "as asked for" in a.embedding.reason


def test_two_delays_suffice_for_henon():
    a = run(henon(3000)[:, :1], embedding_dimension=2, embedding_delay=1)
    np.testing.assert_allclose(a.lyapunov_spectrum.exponents, [0.41922, -1.62319], rtol=0.04)


def test_an_embedding_for_several_channels_is_refused_by_a_warning():
    plain, asked = run(henon(1500)), run(henon(1500), embedding_dimension=5, embedding_delay=3)
    assert "embedding-ignored" in codes(asked) - codes(plain)
    assert asked.lambda_max == plain.lambda_max


@pytest.mark.parametrize(("asked", "given"), [(1, 1), (2, 2), (64, 2)])
def test_number_of_exponents(asked, given):
    a = run(henon(2000), n_exponents=asked)
    assert len(a.lyapunov_spectrum.exponents) == len(a.lyapunov_spectrum.ci) == given
    assert a.lambda_max.value == pytest.approx(0.41922, rel=0.05)


def test_one_exponent_does_not_close_the_spectrum():
    a = run(henon(2000), n_exponents=1)
    assert a.kaplan_yorke_dimension.value is None
    assert a.kaplan_yorke_dimension.reason


def test_interval_widens_with_the_level_by_the_normal_quantiles():
    half = []
    for level in (0.6827, 0.9545):
        q = run(henon(2000), confidence_level=level).lambda_max
        assert q.level == level
        assert q.ci[0] + q.ci[1] == pytest.approx(2 * q.value)
        half.append((q.ci[1] - q.ci[0]) / 2)
    assert half[1] / half[0] == pytest.approx(2.0, rel=1e-3)


def test_scalar_segments_are_not_joined():
    """Every pair across a border would be an outlier of the exact map."""
    x = logistic(4000)
    a = run(x[:900], x[1500:2500], x[2600:], x[:30])  # the last is too short to count
    assert a.lambda_max.value == pytest.approx(np.log(2), rel=0.03)
    assert a.diagnostics["sampling"]["rows"] == 900 + 1000 + 1400


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "wolf"}, {"embedding_dimension": 0}, {"embedding_dimension": 21}, {"embedding_delay": 0}, {"n_exponents": 0},
        {"confidence_level": 1.0}, {"confidence_level": 0.5}, {"budget_seconds": 0}, {"seed": -1},
    ],
)  # fmt: skip
def test_wrong_options_are_refused(wrong):
    with pytest.raises(ValidationError):
        LyapunovSpec(**wrong)


@pytest.fixture
def slow_machine(monkeypatch):
    """Every look at the clock takes a second of the budget."""
    ticks = itertools.count()
    monkeypatch.setattr(clock, "monotonic", lambda: float(next(ticks)))


@pytest.mark.parametrize("columns", [[0, 1], [0]])
@pytest.mark.usefixtures("slow_machine")
def test_a_spent_budget_still_gives_an_answer_and_says_so(columns):
    a = run(henon(2000)[:, columns], budget_seconds=1)
    assert a.verdict.kind == "chaotic"
    assert a.lambda_max.value == pytest.approx(0.41922, rel=0.1)
    assert a.lambda_max.ci[0] < a.lambda_max.value < a.lambda_max.ci[1]
    assert "budget-cut-search" in codes(a)


@pytest.mark.usefixtures("slow_machine")
def test_a_spent_budget_never_says_noise():
    a = run(np.random.default_rng(0).standard_normal((2000, 2)), budget_seconds=1)
    assert a.verdict.kind == "undecided"
    assert "budget" in a.verdict.detail


def test_an_ample_budget_is_not_reported_as_cut():
    assert "budget-cut-search" not in codes(run(henon(1500), budget_seconds=600))


def test_exponents_are_withheld_where_no_nonlinear_model_was_found(monkeypatch):
    """A linear model's exponents say nothing about a series that might be anything."""
    monkeypatch.setattr(verdict, "PREDICTABLE", 2.0)  # anything counts as predictable
    a = run(np.random.default_rng(1).standard_normal((1500, 2)))
    assert a.verdict.kind == "undecided"
    assert a.lambda_max.value is None
    assert a.lambda_max.reason
    assert a.predictability.time is None


def surrogates(sigmas, n=19, rows=1000):
    """A test whose data lie `sigmas` standard deviations of the surrogates' errors below their mean."""
    errors = 1.0 + 0.01 * np.linspace(-1, 1, n)
    return SurrogateTest(float(1.0 - sigmas * np.std(errors, ddof=1)), errors, 10, rows)


FINDINGS = {
    "is_flow": True, "period_steps": 30.0, "lambda_max": -0.1, "lambda_low": -0.2, "lambda_high": 0.0, "sum_of_exponents": -1.0,
    "nearest_zero": -3.0, "linear_error": 0.8, "model_error": 0.8, "gain_error": 0.02, "horizon_steps": 30, "noise": 0.01,
    "recurrence": Recurrence(0.9, 400, 0.9), "decay": 1.0, "zero_one": 1.0, "dimension": 4.5, "free_run": False, "linear_best": True,
    "whole_spectrum": True, "space_dimension": 5, "surrogates": surrogates(0.0),
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({}, "noise"),
        ({"dimension": 2.5}, "undecided"),
        ({"dimension": 2.0, "space_dimension": 2}, "noise"),
        ({"linear_error": 0.12, "model_error": 0.12}, "undecided"),
        ({"search_cut": True}, "undecided"),
        ({"surrogates": surrogates(20.0)}, "undecided"),  # ruled out as linear noise, though no model was found
        ({"surrogates": surrogates(1.0)}, "noise"),
        ({"surrogates": None}, "undecided"),  # a flow of too few periods
        ({"surrogates": None, "is_flow": False}, "noise"),
        ({"surrogates": surrogates(-1.0)}, "noise"),
        ({"early_gain": 0.3}, "undecided"),  # no better over the whole horizon, but at some lead
        ({"early_gain": 0.05}, "noise"),
    ],
)
def test_noise_is_not_said_against_evidence(change, kind):
    assert verdict.judge(verdict.Findings(**(FINDINGS | change))).kind == kind


CHAOS = {
    "lambda_max": 0.02, "lambda_low": 0.015, "lambda_high": 0.025, "linear_error": 0.7, "model_error": 0.35, "free_run": True,
    "linear_best": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"surrogates": None}, "chaotic"),
        ({"surrogates": surrogates(0.0, rows=300)}, "chaotic"),  # a short series may hide it
        ({"surrogates": surrogates(10.0)}, "chaotic"),
        ({"surrogates": surrogates(0.0)}, "undecided"),
        ({"surrogates": surrogates(2.5)}, "undecided"),  # no surrogate is as predictable, by chance
        ({"surrogates": surrogates(0.0), "model_error": 0.02}, "chaotic"),  # forecasts no linear noise would allow
        (
            {"surrogates": surrogates(0.0), "model_error": 0.2},
            "undecided",
        ),  # exp(x) of linear noise x is forecast like that
        ({"surrogates": surrogates(0.0), "model_error": 0.02, "free_run": False}, "undecided"),
    ],
)
def test_chaos_is_not_said_of_a_series_as_predictable_as_linear_noise(change, kind):
    found = verdict.judge(verdict.Findings(**(FINDINGS | CHAOS | change)))
    assert found.kind == kind
    if (test := change["surrogates"]) is not None:
        item = next(e for e in found.evidence if e.test == "surrogates")
        assert item.value == pytest.approx(test.sigmas)
        assert item.supports == (
            "none" if test.rows < 360 else "chaotic" if test.rejected else "noise" if test.p > 0.1 else "none"
        )


@pytest.mark.parametrize(
    ("rivals", "kind"),
    [
        ((0.01, 0.03, 0.05, 0.02, 0.04), "chaotic"),  # they disagree on how fast errors grow, not on whether they do
        ((0.01, 0.03, 0.05, 0.02), "undecided"),  # too few
        ((0.01, 0.03, 0.05, 0.02, -0.01), "undecided"),
        ((0.01, 0.03, 0.05, 0.02, 0.0005), "undecided"),  # 0.015 a period: a cycle's, measured badly
        ((), "undecided"),
    ],
)
def test_models_that_agree_on_growth_outweigh_a_wide_interval(rivals, kind):
    wide = {"lambda_low": -0.01, "lambda_high": 0.05, "surrogates": surrogates(10.0), "rivals": rivals}
    assert verdict.judge(verdict.Findings(**(FINDINGS | CHAOS | wide))).kind == kind
    falls = wide | {"lambda_max": -0.001}
    assert verdict.judge(verdict.Findings(**(FINDINGS | CHAOS | falls))).kind == "undecided"


@pytest.mark.parametrize(
    ("free_run", "neighbours", "kind"),
    [
        (False, 0.004, "undecided"),  # as a strange nonchaotic attractor under noise: the model alone sees growth
        (False, 0.018, "chaotic"),
        (False, float("nan"), "chaotic"),  # too few neighbours to ask
        (True, 0.004, "chaotic"),  # a model that lives on the attractor by itself needs no witness
    ],
)
def test_growth_that_only_a_failing_model_sees_is_not_chaos(free_run, neighbours, kind):
    change = {"surrogates": surrogates(10.0), "free_run": free_run, "neighbours_high": neighbours}
    assert verdict.judge(verdict.Findings(**(FINDINGS | CHAOS | change))).kind == kind


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"neighbours_high": 0.6}, "chaotic"),
        ({"neighbours_high": 0.4}, "undecided"),  # its delay vectors fold: a strange nonchaotic attractor through one coordinate
        ({"neighbours_high": 0.4, "is_flow": True}, "chaotic"),  # neighbours of a flow are too slow for many reasons
        ({"free_run": False, "lambda_max": 0.09, "lambda_low": 0.07}, "undecided"),  # the same under noise, by a failing model
        ({"free_run": False, "lambda_max": 0.14, "lambda_low": 0.09}, "undecided"),
        ({"free_run": False, "lambda_max": 0.14, "lambda_low": 0.11}, "chaotic"),
        ({"free_run": True, "lambda_max": 0.09, "lambda_low": 0.07}, "chaotic"),
    ],
)  # fmt: skip
def test_a_map_is_chaotic_where_neighbours_part_and_growth_is_not_slow(change, kind):
    found = CHAOS | {"is_flow": False, "period_steps": 1.0, "lambda_max": 0.5, "lambda_low": 0.4, "lambda_high": 0.6}
    found |= {"surrogates": surrogates(10.0), "neighbours_high": 0.7}
    assert verdict.judge(verdict.Findings(**(FINDINGS | found | change))).kind == kind

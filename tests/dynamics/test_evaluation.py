"""Evaluation of models that are known exactly: their spectra, their measures against oracles, and the verdict on each kind of failure."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hand_made import clipped_tent, hand_made, linear, lozi, skew_tent, tent, tent_with_contraction

import naive
from domain.jobs import Progress
from domain.results import ReconstructionReport
from domain.specs import EvaluateSpec
from dynamics.evaluation import LONG_RUN_STEPS, MAX_SAMPLE_ROWS, N_STARTS, evaluate
from dynamics.kernels import free_run
from dynamics.measures import d_h, d_stsp_binned, d_stsp_mixture, kaplan_yorke_dimension
from dynamics.model_spectrum import model_spectrum
from dynamics.reporting import Interrupted, Reporter
from models import TrainedModel


def orbit(model: TrainedModel, n_steps: int, start: float = 0.3) -> np.ndarray:
    """A stretch of the model's own attractor, own units: what a perfect model of the data must reproduce."""
    states = model.free_run(np.full(model.latent_dim, start), n_steps + 500)[500:]
    return model.to_units(model.observe(states))


def assess(
    model: TrainedModel, segments: list[np.ndarray], lambda_max: float | None = None, **spec: Any
) -> ReconstructionReport:
    spec.setdefault("lyapunov_steps", 2000)
    n = sum(len(s) for s in segments)
    return evaluate(model, segments, spec=EvaluateSpec(**spec), lambda_max=lambda_max, reference_steps=(0, n))


def codes(report: ReconstructionReport) -> set[str]:
    return {warning.code for warning in report.warnings}


class TestSpectrum:
    @pytest.mark.parametrize(
        ("model", "exponents"),
        [
            (tent(1.9), [np.log(1.9)]),
            (clipped_tent(1.9), [np.log(1.9)]),
            (tent_with_contraction(1.9, 0.4), [np.log(1.9), np.log(0.4)]),
            (linear([0.5, -0.9]), [np.log(0.9), np.log(0.5)]),
        ],
        ids=["tent", "clipped tent", "tent with contraction", "linear"],
    )
    def test_is_exact_where_the_slopes_are_constant(self, model: TrainedModel, exponents: list[float]) -> None:
        timed = replace(model, dt=0.25, time_unit="s")
        states = np.full((N_STARTS, model.latent_dim), 0.3) + 0.01 * np.arange(N_STARTS)[:, None]
        spectrum, dimension = model_spectrum(timed, states, 5000)
        assert spectrum.exponents == pytest.approx([e / 0.25 for e in exponents], abs=1e-4)
        assert spectrum.unit == "1/s"
        assert dimension.value == pytest.approx(kaplan_yorke_dimension(exponents).value, abs=1e-4)

    def test_of_the_skew_tent_is_the_entropy_of_its_peak(self) -> None:
        c = 0.37
        exact = -c * np.log(c) - (1 - c) * np.log(1 - c)
        spectrum, _ = model_spectrum(skew_tent(c), orbit(skew_tent(c), 50), 100_000)
        assert spectrum.exponents[0] == pytest.approx(exact, abs=0.005)
        assert spectrum.ci is not None
        assert spectrum.ci[0] is not None
        low, high = spectrum.ci[0]
        assert exact - 0.01 < low < high < exact + 0.01

    def test_of_the_lozi_map_sums_to_its_contraction_and_equals_the_published_one(self) -> None:
        spectrum, dimension = model_spectrum(lozi(1.7, 0.5), orbit(lozi(), 50, 0.1), 200_000)
        first, second = spectrum.exponents
        assert first is not None
        assert second is not None
        assert first + second == pytest.approx(np.log(0.5), abs=1e-9)
        assert first == pytest.approx(0.47023, abs=0.003)
        assert dimension.value == pytest.approx(1.40419, abs=0.003)

    def test_equals_gram_schmidt_step_by_step(self) -> None:
        rng = np.random.default_rng(4)
        params = {
            "A": [0.5, -0.4],
            "W1": rng.normal(size=(2, 20)) / 8,
            "W2": rng.normal(size=(20, 2)),
            "h1": rng.normal(size=2),
            "h2": rng.normal(size=20),
        }
        model = hand_made("shplrnn", params)
        states = np.tile(rng.normal(size=2), (5, 1))
        spectrum, _ = model_spectrum(model, states, 2500)
        oracle = naive.lyapunov_qr(model, states[0], 500, 200)
        assert np.isfinite(oracle).all()
        assert spectrum.exponents == pytest.approx(oracle.tolist(), abs=1e-6)

    def test_a_direction_that_dies_at_once_is_null_with_a_reason(self) -> None:
        spectrum, dimension = model_spectrum(linear([0.5, 0.0]), np.ones((5, 2)), 1000)
        assert spectrum.exponents == [pytest.approx(np.log(0.5)), None]
        assert "contracts to nothing" in (spectrum.reason or "")
        assert dimension.value == 0.0

    def test_without_a_state_that_stays_there_is_no_spectrum(self) -> None:
        spectrum, dimension = model_spectrum(linear([0.5]), np.empty((0, 1)), 1000)
        assert spectrum.exponents == []
        assert spectrum.reason == dimension.reason == "every free run of the model diverges"


def test_a_perfect_model_is_good_and_at_its_floors() -> None:
    model = lozi()
    report = assess(model, [orbit(model, 3000, 0.1)], lambda_max=0.47)
    assert report.verdict == "good"
    assert report.detail.startswith("The free-running model matches the attractor")
    assert report.d_stsp.value is not None
    assert report.d_stsp.floor is not None
    assert report.d_stsp.value < report.d_stsp.floor
    assert report.d_stsp_long is not None
    assert report.d_stsp_long.value == pytest.approx(report.d_stsp_long.parameters["own_level"], abs=0.05)
    assert report.d_h.value == pytest.approx(report.d_h.floor, abs=0.03)
    assert report.prediction_error.value == pytest.approx(0, abs=1e-9)
    assert report.valid_prediction_time.reason is not None
    assert "stayed below" in report.valid_prediction_time.reason
    assert codes(report) == set()
    assert ReconstructionReport.model_validate_json(report.model_dump_json()) is not None


def test_the_numbers_are_those_of_the_protocol() -> None:
    """One free run from the first test point, 1.25 T steps, the first quarter dropped; the report's median is over five."""
    data, model = orbit(lozi(), 800, 0.1), lozi(1.65, 0.45)
    report = assess(model, [data])
    runs = free_run(model, data[::160], 1000)[200:].swapaxes(0, 1)
    stsp, spectral = ([m(data, y).value for y in runs] for m in (d_stsp_binned, d_h))
    assert report.d_stsp.value == pytest.approx(np.median(stsp))
    assert report.d_stsp.parameters["first_start"] == pytest.approx(stsp[0])
    assert report.d_h.value == pytest.approx(np.median(spectral))
    assert report.d_stsp.floor == pytest.approx(d_stsp_binned(data[:400], data[400:]).value)
    assert report.d_h.floor == pytest.approx(d_h(data[:400], data[400:]).value)
    assert report.prediction_error.value == pytest.approx(naive.prediction_error(model, [data], 20, data.std(axis=0)))
    assert report.d_stsp_long is not None
    assert report.d_stsp_long.parameters["generated_steps"] == LONG_RUN_STEPS
    assert report.d_stsp_long.variant == "binned-30-long"


def test_six_coordinates_use_the_mixture_and_no_long_run() -> None:
    rng = np.random.default_rng(0)
    observation = {"B": rng.normal(size=(6, 2)), "b": rng.normal(size=6)}
    units = {"mean": np.zeros(6), "std": np.ones(6), "residual_std": np.zeros(6)}
    model = linear([0.999, 0.99], observation=observation, channels=list("abcdef"), **units)
    data = rng.normal(size=(300, 6))
    report = assess(model, [data])
    runs = [model.observe(model.free_run(model.encode(data[60 * b]), 375)[75:]) for b in range(N_STARTS)]
    assert report.d_stsp.variant == "gmm-1.0"
    assert report.d_stsp.value == pytest.approx(np.median([d_stsp_mixture(data, y).value for y in runs]))
    assert report.d_stsp_long is None


def test_units_do_not_matter() -> None:
    """The same model and data, once as they are and once in other units (powers of 2: no rounding that chaos would amplify)."""
    data, model = orbit(lozi(), 600, 0.1), lozi(1.65, 0.45)
    moved = replace(model, std=np.array([16.0, 0.125]), dt=0.5, time_unit="s")
    plain, other = assess(model, [data], 0.4), assess(moved, [data * moved.std + moved.mean], 0.8)
    for name in ("d_stsp", "d_h", "prediction_error"):
        assert getattr(other, name).value == pytest.approx(getattr(plain, name).value, rel=1e-6), name
    assert other.verdict == plain.verdict
    assert other.valid_prediction_time.median_time == pytest.approx(
        0.5 * (plain.valid_prediction_time.median_time or 0)
    )
    assert other.valid_prediction_time.median_lyapunov_times == plain.valid_prediction_time.median_lyapunov_times
    assert other.lyapunov_spectrum.exponents == pytest.approx([2 * (e or 0) for e in plain.lyapunov_spectrum.exponents])


def test_a_delay_embedded_model_is_measured_in_its_embedded_space() -> None:
    """F(x_t, x_{t-1}) of the Henon-like Lozi map: y = b x_{t-1}, so (x_t, x_{t-1}) are its delay coordinates."""
    a, b = 1.7, 0.5
    params = {
        "A": [a, 0.0],
        "W1": [[-2 * a, b, 0.0], [0.0, 0.0, 1.0]],
        "W2": [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]],
        "h1": [1.0 - 10.0 * b, -10.0],
        "h2": [0.0, 10.0, 10.0],
    }
    model = hand_made("shplrnn", params, mean=np.zeros(1), std=np.ones(1), channels=["x"], lags=[0, 1])
    series = orbit(lozi(a, b), 1500, 0.1)[:, :1]
    report = assess(model, [series], lambda_max=0.47)
    assert report.verdict == "good"
    assert report.prediction_error.value == pytest.approx(0, abs=1e-9)
    assert report.lyapunov_spectrum.exponents == pytest.approx([0.47, -1.163], abs=0.02)
    assert np.shape(report.samples["true"])[1] == 1
    assert report.prediction_error.parameters["n_starts"] == 1500 - 1 - 20


def test_no_measure_crosses_a_gap() -> None:
    data = orbit(lozi(), 900, 0.1)
    report = assess(lozi(), [data[:400], data[450:]])
    assert report.prediction_error.parameters["n_starts"] == 400 - 20 + 450 - 20
    assert report.prediction_error.value == pytest.approx(0, abs=1e-9)
    assert report.d_h.parameters["generated_steps"] == 800  # two windows of the shorter piece
    assert report.d_stsp.parameters["generated_steps"] == 850


class TestVerdict:
    data = orbit(lozi(), 1500, 0.1)

    def test_diverged(self) -> None:
        report = assess(linear([1.5, 0.5]), [self.data], 0.47)
        assert report.verdict == "diverged"
        assert "clipped-shplrnn" in report.detail
        assert report.lyapunov_spectrum.reason == "every free run of the model diverges"
        assert report.d_h.value is None
        assert report.samples["generated"] == []
        json.loads(report.model_dump_json())

    def test_collapsed_onto_a_fixed_point(self) -> None:
        report = assess(linear([0.9, 0.5]), [self.data], 0.47)
        assert report.verdict == "collapsed"
        assert "fixed point" in report.detail
        assert report.kaplan_yorke_dimension.value == 0.0

    def test_collapsed_onto_a_cycle(self) -> None:
        """x -> -x, y -> -y keeps swapping two points although the data are chaotic."""
        report = assess(linear([-1.0, -1.0]), [self.data], 0.47)
        assert report.verdict == "collapsed"
        assert "settles on a cycle" in report.detail
        assert "lambda_max_differs" in codes(report)

    def test_a_cycle_is_no_collapse_where_the_data_cycle(self) -> None:
        angle = 0.1
        rotation = {
            "A": [0.0, 0.0],
            "W1": [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]],
            "W2": [[1.0, 0.0], [0.0, 1.0]],
            "h1": [10 * (np.sin(angle) - np.cos(angle)), -10 * (np.sin(angle) + np.cos(angle))],
            "h2": [10.0, 10.0],
        }
        t = angle * np.arange(1500)
        circle = np.stack([np.cos(t), np.sin(t)], axis=1)
        report = assess(hand_made("shplrnn", rotation), [circle], 0.0)
        assert report.verdict == "good"
        assert report.lyapunov_spectrum.exponents == pytest.approx([0.0, 0.0], abs=1e-6)

    def test_poor_and_fair_by_distance(self) -> None:
        rank = ["good", "fair", "poor"]
        verdicts = [assess(lozi(a, b), [self.data], 0.47).verdict for a, b in ((1.7, 0.5), (1.6, 0.5), (1.4, 0.2))]
        assert verdicts[0] == "good"
        assert verdicts[2] == "poor"
        assert rank.index(verdicts[0]) <= rank.index(verdicts[1]) <= rank.index(verdicts[2])

    def test_some_lost_runs_are_a_warning(self) -> None:
        """Four of five starts lie on the attractor of the tent, the fifth beyond its foot, from where it falls to minus infinity."""
        model = skew_tent(0.37)
        data = orbit(model, 1000)
        data[600] = 1.5
        report = assess(model, [data])
        assert "lost_runs" in codes(report)
        assert report.verdict in ("good", "fair")
        assert report.d_h.parameters["undefined_starts"] == 1

    @pytest.mark.parametrize("segments", [[], [np.zeros((0, 2))], [data[:40], data[:50]]])
    def test_too_short_a_reference_is_undecided_but_has_a_spectrum(self, segments: list[np.ndarray]) -> None:
        report = assess(lozi(), segments)
        assert report.verdict == "undecided"
        assert "at least 100 are needed" in report.detail
        for measure in (report.d_stsp, report.d_h, report.prediction_error):
            assert measure.value is None
            assert "at least 100" in (measure.reason or "")
        assert report.lyapunov_spectrum.exponents == pytest.approx([0.47, -1.16], abs=0.05)

    def test_a_constant_reference_is_answered_with_reasons(self) -> None:
        report = assess(lozi(), [np.ones((200, 2))])
        assert report.verdict in ("poor", "undecided", "diverged")
        assert "does not vary" in (report.d_stsp.reason or "")
        assert "does not vary" in (report.d_h.reason or "")
        assert "does not vary" in (report.prediction_error.reason or "")


def test_warnings_tell_what_limits_the_numbers() -> None:
    model = lozi(residual_std=np.array([0.05, 0.05]), dt=0.01)
    report = assess(model, [orbit(lozi(), 500, 0.1)], lambda_max=1.0)
    assert {"reference_short", "lambda_max_differs"} <= codes(report)
    contracting = tent_with_contraction(1.9, 0.01)
    assert "contracting_exponents" in codes(assess(contracting, [orbit(contracting, 500)], np.log(1.9)))


def test_pictures_are_bounded_and_in_the_series_units() -> None:
    model = replace(clipped_tent(1.9), mean=np.array([100.0]), std=np.array([20.0]))
    report = assess(model, [orbit(model, 12_000)])
    true, generated = np.array(report.samples["true"]), np.array(report.samples["generated"])
    assert report.samples["every"] == 3
    assert len(true) == len(generated) == 4000 <= MAX_SAMPLE_ROWS
    for rows in (true, generated):
        assert 101 < rows.min() < rows.max() < 120


def test_the_same_arguments_give_the_same_report() -> None:
    data = orbit(lozi(), 500, 0.1)
    first, second = (assess(lozi(1.65, 0.45), [data], 0.47).model_copy(update={"seconds": 0.0}) for _ in range(2))
    assert first == second


def test_progress_is_told_and_a_stop_is_obeyed() -> None:
    class Listening(Reporter):
        def __init__(self, patience: int) -> None:
            self.patience, self.asked, self.heard = patience, 0, []  # type: ignore[var-annotated]

        def report(self, progress: Progress) -> None:
            self.heard.append(progress.fraction)

        def should_stop(self) -> bool:
            self.asked += 1
            return self.asked > self.patience

    data = orbit(lozi(), 500, 0.1)

    def run(reporter: Reporter) -> None:
        evaluate(lozi(), [data], spec=EvaluateSpec(), lambda_max=None, reference_steps=(0, 500), reporter=reporter)

    patient = Listening(10**9)
    run(patient)
    assert patient.heard == sorted(patient.heard)
    assert patient.heard[-1] == 1.0
    for patience in range(0, patient.asked, 3):
        with pytest.raises(Interrupted):
            run(Listening(patience))

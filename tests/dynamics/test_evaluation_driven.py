"""Evaluation, calibration and choice of models with inputs: linear driven maps, of which everything is known."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hand_made import hand_made, linear

import naive
from domain.results import ReconstructionReport
from domain.specs import EvaluateSpec
from dynamics import model_spectrum as spectra
from dynamics.calibration import calibrated, one_step_errors
from dynamics.evaluation import evaluate
from dynamics.measures import d_h, d_stsp_binned
from dynamics.model_spectrum import driven_spectrum
from dynamics.training.selection import RUN_STEPS, Referee
from models import ARCHITECTURES, Size, TrainedModel
from models.trained import Drive, Inputs
from systems import driven_linear

CONTRACTION, COUPLING = (0.9, -0.6), ((0.5,), (1.0,))


def model_of(coupling: Any = COUPLING, contraction: Any = CONTRACTION, **fields: Any) -> TrainedModel:
    """The driven linear map in units of its own: inputs are shifted and scaled, observations too."""
    inputs = Inputs(["u"], np.array([3.0]), np.array([2.0]), np.asarray(coupling, float))
    units = {"mean": np.array([5.0, -1.0]), "std": np.array([4.0, 2.0])} | fields
    return linear(list(contraction), inputs=inputs, **units)


def data(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Observations and inputs in the model's units."""
    x, s = driven_linear(n, seed, CONTRACTION, COUPLING)
    return x * [4.0, 2.0] + [5.0, -1.0], s * 2.0 + 3.0


def assess(
    model: TrainedModel, segments: list[np.ndarray], inputs: list[np.ndarray] | None, lambda_max: float | None = None
) -> ReconstructionReport:
    n = sum(len(s) for s in segments)
    spec = EvaluateSpec(lyapunov_steps=2000)
    return evaluate(model, segments, inputs=inputs, spec=spec, lambda_max=lambda_max, reference_steps=(0, n))


def test_the_true_model_is_good_and_its_exponents_are_conditional() -> None:
    x, s = data(2000)
    report = assess(model_of(dt=0.5, time_unit="s"), [x], [s], lambda_max=0.3)
    assert report.verdict == "good", report.detail
    assert report.prediction_error.value == pytest.approx(0, abs=1e-20)
    assert report.d_stsp.value == pytest.approx(0, abs=0.02)
    assert report.d_h.value == pytest.approx(0, abs=1e-3)
    assert report.d_stsp_long is None, "longer series would need inputs that nobody has"
    assert report.lyapunov_spectrum.exponents == pytest.approx(np.log([0.9, 0.6]) / 0.5, abs=1e-2)
    assert "conditional exponents" in (report.lyapunov_spectrum.method or "")
    assert "recorded" in str(report.d_stsp.parameters["inputs"])
    assert report.valid_prediction_time.censored == report.valid_prediction_time.n_starts > 0
    assert "lambda_max_differs" not in {w.code for w in report.warnings}


def test_the_numbers_are_those_of_the_protocol() -> None:
    """Starts in the first quarter, driven by the rows that follow, compared with the other three quarters of the same rows."""
    x, s = data(800)
    model = model_of([[0.4], [0.8]])
    report = assess(model, [x], [s])
    embedded, driving = model.embed(x), (s - 3.0) / 2.0
    runs = []
    for row in (0, 40, 80, 120, 160):
        z, path = embedded[row], []
        for t in range(row + 1, 800):
            z = model.step(z, driving[t])
            path.append(z)
        runs.append(np.array(path)[200 - row - 1 :])
    truth = embedded[200:]
    assert all(len(run) == len(truth) == 600 for run in runs)
    stsp, spectral = ([m(truth, run).value for run in runs] for m in (d_stsp_binned, d_h))
    assert report.d_stsp.value == pytest.approx(np.median(stsp))
    assert report.d_h.value == pytest.approx(np.median(spectral))
    assert report.d_stsp.floor == pytest.approx(d_stsp_binned(truth[:300], truth[300:]).value)
    errors = []
    for row in range(780):
        z = embedded[row]
        for t in range(row + 1, row + 21):
            z = model.step(z, driving[t])
        errors.append(np.mean(((z - embedded[row + 20]) / embedded.std(axis=0)) ** 2))
    assert report.prediction_error.value == pytest.approx(np.mean(errors))
    assert report.samples["true"][0] == pytest.approx(x[200], rel=1e-5)


def test_no_run_goes_on_after_its_inputs() -> None:
    """The first row of inputs belongs to a step that nobody saw; a run that wrapped would read it next."""
    x, s = data(600)
    poisoned = s.copy()
    poisoned[0] = 1e12
    plain, other = (assess(model_of(), [x], [inputs]) for inputs in (s, poisoned))
    assert other.model_copy(update={"seconds": 0.0}) == plain.model_copy(update={"seconds": 0.0})


def test_other_inputs_than_the_recorded_ones_show() -> None:
    report = assess(model_of(), [data(2000)[0]], [data(2000, seed=9)[1]])
    assert report.prediction_error.value is not None
    assert report.prediction_error.value > 1
    assert report.verdict in ("fair", "poor")


def test_a_gap_separates_the_inputs_too() -> None:
    x, s = data(900)
    report = assess(model_of(), [x[:400], x[450:]], [s[:400], s[450:]])
    assert report.prediction_error.value == pytest.approx(0, abs=1e-20)
    assert report.prediction_error.parameters["n_starts"] == 380 + 430
    assert report.d_stsp.parameters["generated_steps"] == 300 + 338
    assert report.d_h.parameters["generated_steps"] == 600
    assert report.d_stsp.value == pytest.approx(0, abs=0.02)


def test_pieces_too_short_for_a_run_are_undecided() -> None:
    x, s = data(300)
    pieces = [slice(k, k + 15) for k in range(0, 300, 15)]
    report = assess(model_of(), [x[p] for p in pieces], [s[p] for p in pieces])
    assert report.verdict == "undecided"
    assert "without a gap" in report.detail
    assert report.lyapunov_spectrum.exponents == []
    assert "rows of the reference without a gap are needed" in (report.lyapunov_spectrum.reason or "")


def test_inputs_are_aligned_with_the_latest_row_of_a_delay_vector() -> None:
    """x_t = 0.8 x_{t-1} - 0.3 x_{t-2} + s_t, with (x_t, x_{t-1}) as the state."""
    rng = np.random.default_rng(3)
    s = rng.normal(size=(700, 1))
    x = np.zeros((700, 1))
    for t in range(2, 700):
        x[t] = 0.8 * x[t - 1] - 0.3 * x[t - 2] + s[t]
    params = {
        "A": [0.8, 0.0],
        "W1": [[-0.3, 0.0], [0.0, 1.0]],
        "W2": [[0.0, 1.0], [1.0, 0.0]],
        "h1": [0.3 * 100, -100.0],
        "h2": [100.0, 100.0],  # always open
    }
    inputs = Inputs(["u"], np.zeros(1), np.ones(1), np.array([[1.0], [0.0]]))
    model = hand_made("shplrnn", params, mean=np.zeros(1), std=np.ones(1), channels=["x"], lags=[0, 1], inputs=inputs)
    assert assess(model, [x], [s]).prediction_error.value == pytest.approx(0, abs=1e-20)


@pytest.mark.parametrize("inputs", [None, [np.zeros((300, 2))], [np.zeros((299, 1))]])
def test_missing_and_wrong_inputs_are_programming_errors(inputs: Any) -> None:
    with pytest.raises(ValueError, match="inputs"):
        assess(model_of(), [data(300)[0]], inputs)


class TestSpectrum:
    def test_of_a_driven_nonlinear_map_equals_gram_schmidt_along_the_recorded_inputs(self) -> None:
        rng = np.random.default_rng(4)
        params = {k: np.asarray(v) for k, v in ARCHITECTURES["vanilla-rnn"].init(rng, Size(2)).items()}
        params["W"] = 1.4 * rng.normal(size=(2, 2))
        inputs = Inputs(["u"], np.zeros(1), np.ones(1), rng.normal(size=(2, 1)))
        model = replace(linear([0.5, 0.5]), architecture="vanilla-rnn", params=params, inputs=inputs)
        drive = rng.normal(size=(3001, 1))
        path = model.free_run(np.zeros((1, 2)), 3000, Drive(drive, np.ones(1, int)))[:, 0]
        embedded = np.vstack([np.zeros((1, 2)), path])
        spectrum, _ = driven_spectrum(model, embedded, drive, 2000)
        runs, transient = 5, 150
        estimates = []
        for row in np.linspace(0, 3000 - transient - 400, runs).astype(int):
            frame, logs = np.eye(2), np.zeros(2)
            for t in range(transient + 400):
                frame, r = np.linalg.qr(model.jacobian(embedded[row + t]) @ frame)
                logs += np.log(np.abs(np.diag(r))) * (t >= transient)
            estimates.append(logs / 400)
        assert spectrum.exponents == pytest.approx(np.mean(estimates, axis=0).tolist(), abs=1e-9)

    def test_of_a_wide_map_is_the_leading_part_within_seconds(self) -> None:
        rng, size = np.random.default_rng(5), Size(320)
        params = ARCHITECTURES["lstm"].init(rng, size)
        params["U"] = 3 * params["U"]
        observation = {"B": rng.normal(size=(3, 160)), "b": np.zeros(3)}
        fields = {"mean": np.zeros(3), "std": np.ones(3), "residual_std": np.zeros(3)}
        model = hand_made("lstm", params, observation=observation, channels=list("abc"), **fields)
        states = model.free_run(rng.normal(size=(5, 320)) / 4, 200)[-1]
        spectra.model_spectrum(model, states, 100)  # compiles
        began = time.perf_counter()
        spectrum, dimension = spectra.model_spectrum(model, states, 20_000)
        assert time.perf_counter() - began < 10
        k = len(spectrum.exponents)
        assert 2 <= k < 320
        assert f"the {k} leading of 320 exponents" in (spectrum.reason or "")
        assert dimension.value is not None or "known exponents" in (dimension.reason or "")

    def test_leading_exponents_are_those_of_the_whole_spectrum(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rng = np.random.default_rng(6)
        model = hand_made(
            "vanilla-rnn", ARCHITECTURES["vanilla-rnn"].init(rng, Size(8)), mean=np.zeros(8), std=np.ones(8)
        )
        model.params["W"][:] = 2.5 * rng.normal(size=(8, 8)) / np.sqrt(8)
        states = model.free_run(rng.normal(size=(5, 8)), 500)[-1]
        whole, _ = spectra.model_spectrum(model, states, 5000)
        monkeypatch.setattr(spectra, "_SPECTRUM_WORK", 3500 * (9 * 72 + 2 * (64 * 3 + 2 * 8 * 9)))
        part, dimension = spectra.model_spectrum(model, states, 20_000)
        assert len(part.exponents) == 3
        oracle = [naive.lyapunov_qr(model, z, 500, 200) for z in states]
        assert part.exponents == pytest.approx(np.mean(oracle, axis=0)[:3].tolist(), abs=1e-8)
        assert part.exponents == pytest.approx(whole.exponents[:3], abs=0.05)
        if sum(e or 0 for e in part.exponents) >= 0:
            assert dimension.value is None


class TestCalibration:
    def test_one_step_errors_use_the_input_of_the_step(self) -> None:
        x, s = data(200)
        model = model_of()
        driving = (s - 3.0) / 2.0
        assert np.abs(one_step_errors(model, model.embed(x), driving)).max() < 1e-12
        assert np.abs(one_step_errors(model, model.embed(x), driving[::-1])).max() > 0.5

    def test_the_range_of_the_inputs_is_kept(self) -> None:
        x, s = data(300)
        model, driving = model_of(), (s - 3.0) / 2.0
        embedded = model.embed(x)
        found = calibrated(
            model,
            [embedded[200:]],
            [embedded[:200]],
            validation_inputs=[driving[200:]],
            train_inputs=[driving[:200]],
        )
        assert found.inputs is not None
        assert found.inputs.minimum == pytest.approx(s[:200].min(axis=0))
        assert found.inputs.maximum == pytest.approx(s[:200].max(axis=0))
        assert found.residual_std == pytest.approx(np.zeros(2), abs=1e-12)

    def test_a_driven_model_is_not_calibrated_without_its_inputs(self) -> None:
        embedded = model_of().embed(data(100)[0])
        with pytest.raises(ValueError, match="with the inputs of its data"):
            calibrated(model_of(), [embedded], [embedded])


class TestReferee:
    @staticmethod
    def known(n: int = 1200) -> Any:
        x, s = data(n)
        embedded, driving = model_of().embed(x), (s - 3.0) / 2.0
        cut, middle = n - 200, n // 2 - 100
        train, validation = [embedded[:middle], embedded[middle:cut]], [embedded[cut:]]
        return SimpleNamespace(
            train=train,
            validation=validation,
            train_signals=train,
            validation_signals=validation,
            filter=None,
            readouts=None,
            train_owners=[],
            validation_owners=[],
            train_inputs=[driving[:middle], driving[middle:cut]],
            validation_inputs=[driving[cut:]],
        )

    def test_ranks_the_true_coupling_first(self) -> None:
        referee = Referee(self.known())
        true, weak, none = (referee.judge(model_of(np.multiply(COUPLING, share), dt=0.1)) for share in (1.0, 0.7, 0.0))
        assert true.outcome == "ok"
        assert true.prediction_error == pytest.approx(0, abs=1e-20)
        assert true.score < weak.score < none.score
        assert none.outcome == "collapsed"

    def test_drives_its_runs_by_the_known_inputs_end_to_end(self) -> None:
        """Runs of the true model, which forgets its start, lie on the data as long as no seam is near."""
        known = self.known()
        referee = Referee(known)
        drive = referee._drive(1)
        assert drive is not None
        rows = np.concatenate([*known.train, *known.validation])
        run = model_of().free_run(referee.starts, 50, drive)
        for b, row in enumerate(referee.start_rows[:5]):
            np.testing.assert_allclose(run[:, b], rows[row + 1 : row + 51], atol=1e-9)
        later = referee._drive(1 + RUN_STEPS)
        assert later is not None
        np.testing.assert_array_equal(later.at(0), drive.at(RUN_STEPS))

"""Models whose states are seen through a kernel, with nuisance: settings, estimates, training data, evaluation, forecasts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hand_made import linear

from domain.errors import DomainError, InvalidParameters, SeriesTooShort
from domain.results import ForecastStart, Predictability
from domain.series import Segment
from domain.specs import EvaluateSpec, ForecastSpec, TrainSpec
from dynamics.evaluation import evaluate
from dynamics.forecast_inputs import given_by_context, given_by_series
from dynamics.forecasting import forecast
from dynamics.observation_kernels import kernel_of, loss_of
from dynamics.recorded import Recorded
from dynamics.reporting import Reporter
from dynamics.training import train
from dynamics.training.data import prepare
from dynamics.training.deconvolution import estimate
from dynamics.training.settings import resolve
from dynamics.training.split import split
from models.filters import Filter, convolve, haemodynamic
from models.trained import Inputs, Nuisance, TrainedModel

KERNEL = np.array([0.1, 0.4, 0.3, 0.2])
TURN = 0.999 * np.array([[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]])
J = np.array([[0.5, -1.0], [0.3, 0.2]])


def linear_model(**changes: Any) -> TrainedModel:
    """z -> TURN z + C s, x = B (KERNEL * z) + b + J r, exact and without noise; the deconvolution takes the noise for tiny."""
    params = {"A": np.diag(TURN), "W": TURN - np.diag(np.diag(TURN)), "h": np.zeros(2)}
    params = {"A": params["A"], "W1": params["W"] @ np.array([[1.0, 0, -1, 0], [0, 1, 0, -1]]),
              "W2": np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]]), "h1": np.zeros(2), "h2": np.zeros(4)}  # fmt: skip
    observation = {"B": np.array([[1.0, 0.5], [-0.5, 1.0]]), "b": np.array([0.2, -0.1]), "J": J}
    filter = Filter(KERNEL, np.full(2, 0.9), np.full(2, 1e9), np.full(2, 1e-6), cut=(0, 3))
    nuisance = Nuisance(["r0", "r1"], np.array([1.0, 0.0]), np.array([2.0, 1.0]))
    inputs = Inputs(["s"], np.zeros(1), np.ones(1), np.array([[0.3], [0.1]]))
    model = TrainedModel(
        "shplrnn", params, observation, ["a", "b"], np.array([3.0, 0.0]), np.array([2.0, 1.0]), [0], 0.1, "s",
        residual_std=np.zeros(2), noise_std=np.zeros(2), inputs=inputs, nuisance=nuisance, filter=filter,
    )  # fmt: skip
    return replace(model, **changes)


def recording(model: TrainedModel, n: int) -> np.ndarray:
    """Rows [a, b, s, r0, r1] that the model makes."""
    rng = np.random.default_rng(0)
    s, r = np.sin(0.37 * np.arange(n + 3)), rng.standard_normal((n, 2))
    z, states = np.array([1.0, 0.0]), []
    for t in range(n + 3):
        z = TURN @ z + model.inputs.C[:, 0] * s[t]  # type: ignore[union-attr]
        states.append(z)
    x = model.observe(convolve(KERNEL, np.array(states))) + r @ J.T
    return np.column_stack([x * model.std + model.mean, s[3:], r * [2, 1] + [1, 0]])


def exact_filter(n_steps: int) -> Filter:
    return Filter(KERNEL, np.full(2, 0.9), np.full(2, 1e9), np.full(2, 1e-6), cut=(0, n_steps))


CHANNELS = ["a", "b", "s", "r0", "r1"]


class TestForecast:
    @pytest.mark.parametrize("lead", [2, 5])
    def test_an_exact_model_goes_on_exactly(self, lead: int) -> None:
        model = linear_model(filter=exact_filter(lead))
        rows = recording(model, 160)
        spec = ForecastSpec(horizon_steps=30, samples=3, start_index=120)
        given = given_by_series(
            model,
            spec,
            30,
            recorded=Recorded([(CHANNELS, [Segment(start=0, stop=160, time_start=0.0)], rows)]),
            dt=0.1,
        )
        found = forecast(
            model, given.values, spec=spec, start=given.start, predictability=Predictability(), **given.columns()
        )
        assert (found.inputs, found.nuisance) == ("series", "series")
        np.testing.assert_allclose(found.median, rows[120:150, :2], atol=0.15)  # the context is deconvolved, not known

    def test_bands_hold_for_a_linear_system_through_a_kernel(self) -> None:
        """z_t = 0.9 z_{t-1} + e through three taps with noise, and the model is that: nine of ten new measurements lie in the band."""
        kernel, a, q, noise, n_rows = np.array([0.5, 0.3, 0.2]), 0.9, 0.3, 0.1, 3000
        rng, z = np.random.default_rng(0), np.zeros(n_rows + 2)
        for t in range(1, len(z)):
            z[t] = a * z[t - 1] + q * rng.standard_normal()
        x = convolve(kernel, z[:, None]) + noise * rng.standard_normal((n_rows, 1))
        quality = q**2 / (1 - a**2) / noise**2
        model = linear(
            [a], residual_std=np.full(1, q), noise_std=np.zeros(1),
            filter=Filter(kernel, np.array([a]), np.array([quality]), np.full(1, noise)),
        )  # fmt: skip
        inside = []
        for k, start in enumerate(range(100, n_rows - 10, 9)):
            spec = ForecastSpec(horizon_steps=6, samples=100, seed=k)
            found = forecast(
                model, x[start - 6 : start], spec=spec, start=ForecastStart(index=start, time=0.0), predictability=Predictability()
            )  # fmt: skip
            low, high = (np.array(found.quantiles[p], float) for p in ("0.05", "0.95"))
            inside.append(((x[start : start + 6] >= low) & (x[start : start + 6] <= high))[:, 0])
        share = np.mean(inside, axis=0)
        assert len(inside) > 300
        assert share == pytest.approx(0.9, abs=0.05)  # 3 binomial standard deviations

    def test_without_nuisance_the_signal_is_forecast(self) -> None:
        model = linear_model()
        rows = recording(model, 160)
        context = {
            "values": rows[:120, :2].tolist(),
            "inputs": rows[:120, 2:3].tolist(),
            "nuisance": rows[:120, 3:].tolist(),
        }
        future = {"inputs": rows[120:150, 2:3].tolist()}
        spec = ForecastSpec.model_validate({"horizon_steps": 30, "samples": 3, "context": context, **future})
        given = given_by_context(model, spec, 30)
        found = forecast(
            model, given.values, spec=spec, start=given.start, predictability=Predictability(), **given.columns()
        )
        assert found.nuisance == "mean"
        signal = rows[120:150, :2] - ((rows[120:150, 3:] - [1, 0]) / [2, 1]) @ J.T * [2, 1]
        np.testing.assert_allclose(found.median, signal, atol=0.15)

    def test_a_context_without_its_nuisance_is_refused(self) -> None:
        spec = ForecastSpec.model_validate(
            {"horizon_steps": 3, "context": {"values": [[0.0, 0.0]] * 20}, "inputs": [[0.0]] * 3}
        )
        with pytest.raises(InvalidParameters) as caught:
            given_by_context(linear_model(), spec, 3)
        assert caught.value.errors[0].pointer == "/context/inputs"
        with pytest.raises(InvalidParameters, match="needs 8 rows"):
            forecast(
                linear_model(), np.zeros((5, 2)), spec=spec, start=ForecastStart(index=None, time=0.0),
                predictability=Predictability(), inputs=np.zeros((3, 1)),
            )  # fmt: skip


def test_a_model_file_keeps_kernel_and_nuisance() -> None:
    model = linear_model()
    again = TrainedModel.from_safetensors(model.to_safetensors())
    assert again.to_safetensors() == model.to_safetensors()
    assert again.filter is not None
    np.testing.assert_array_equal(again.filter.kernel, KERNEL)
    assert again.filter.cut == (0, 3)
    assert again.nuisance_channels == ["r0", "r1"]
    assert again.observation_document() == {
        "kind": "convolutional", "kernel_steps": 4, "cut_steps": [0, 3], "noise_std": [1e-6, 1e-6], "context_steps": 8,
    }  # fmt: skip


def test_evaluation_is_of_what_the_kernel_shows() -> None:
    model = linear_model()
    rows = recording(model, 700)
    report = evaluate(
        model, [rows[93:, :2]], inputs=[rows[93:, 2:3]], nuisance=[rows[93:, 3:]], lead_in=[7], spec=EvaluateSpec(lyapunov_steps=200),
        lambda_max=None, reference_steps=(100, 700),
    )  # fmt: skip
    assert report.prediction_error.value is not None
    assert report.prediction_error.value < 1e-3
    assert report.prediction_error.parameters["n_starts"] == 600 - 20
    assert report.d_h.value is not None
    assert report.d_h.value < 0.02
    np.testing.assert_allclose(
        [e for e in report.lyapunov_spectrum.exponents if e is not None], np.log(0.999) / 0.1, atol=1e-3
    )


def test_the_estimate_finds_noise_and_persistence() -> None:
    rng = np.random.default_rng(1)
    z = np.zeros(6100)
    for t in range(1, len(z)):
        z[t] = 0.8 * z[t - 1] + rng.standard_normal()
    kernel = haemodynamic(1.0)
    clean = np.convolve(z, kernel, "valid")
    x = (clean / clean.std() + 0.1 * rng.standard_normal(len(clean)))[:, None]
    found = estimate(kernel, "auto", [x])
    assert found.noise_std[0] == pytest.approx(0.1, rel=0.1)
    assert found.persistence[0] == pytest.approx(0.8, abs=0.1)
    assert found.signal_to_noise[0] == pytest.approx((z.std() / clean.std() / 0.1) ** 2, rel=0.5)
    assert estimate(kernel, 0.3, [x]).noise_std[0] == 0.3


WRONG: dict[str, tuple[dict[str, Any], str, type[DomainError]]] = {
    "kernel longer than the sequence": (
        {"sequence_length": 20, "observation": {"kind": "convolutional", "loss": "observations"}},
        "raise sequence_length",
        InvalidParameters,
    ),
    "series too short": ({"test_fraction": 0.8}, "shorter kernel", SeriesTooShort),
    "unknown unit": ({"time_unit": "scan"}, "repetition_time", InvalidParameters),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_is_refused_with_advice(name: str) -> None:
    changes, words, kind = WRONG[name]
    changes = dict(changes)
    unit = changes.pop("time_unit", "s")
    spec = TrainSpec.model_validate({"observation": {"kind": "convolutional"}, **changes})
    values = np.random.default_rng(0).standard_normal((300, 2))
    with pytest.raises(kind, match=words):
        resolve(spec, split([(0, values)], spec), 2, 0.5, None, unit)


def test_a_kernel_that_hides_the_mean_is_refused() -> None:
    spec = TrainSpec.model_validate(
        {"observation": {"kind": "convolutional", "kernel": {"kind": "given", "values": [1, -1]}}}
    )
    with pytest.raises(InvalidParameters, match="hides the mean"):
        kernel_of(spec.observation.kernel, 1.0, "s")  # type: ignore[union-attr]


def test_delays_and_a_kernel_do_not_go_together() -> None:
    with pytest.raises(ValueError, match=r"set embedding_lags to \[0\]"):
        TrainSpec.model_validate({"observation": {"kind": "convolutional"}, "embedding_lags": [0, 3]})
    with pytest.raises(ValueError, match="both an input and a nuisance"):
        TrainSpec(input_channels=["a"], nuisance_channels=["a"])


def test_sequences_keep_away_from_the_cut_ends_and_nuisance_is_regressed_off() -> None:
    model = linear_model()
    rows = recording(model, 400)
    spec = TrainSpec.model_validate(
        {
            "observation": {"kind": "convolutional", "kernel": {"kind": "given", "values": KERNEL.tolist()}},
            "input_channels": ["s"], "nuisance_channels": ["r0", "r1"], "sequence_length": 30, "test_fraction": 0.0,
        }
    )  # fmt: skip
    parts = split([(0, rows)], spec)
    data = prepare(parts, resolve(spec, parts.select([0, 1]), 2, 0.1, None), CHANNELS)
    assert data.filter is not None
    left, right = data.filter.cut
    n = len(data.series)
    assert data.starts[0] == left
    assert data.starts[-1] == n - right - 30 - 1
    scale = np.array([2.0, 1.0])
    expected = J * scale[:, None] / data.std[:, None] * data.nuisance_std / [2, 1]
    np.testing.assert_allclose(data.contamination, expected, atol=0.15)
    assert len(data.validation_signals[0]) == 400 - n


@pytest.mark.parametrize("nuisance", [[], ["r0", "r1"]])
def test_a_loss_of_states_is_of_the_deconvolved_series_alone(nuisance: list[str]) -> None:
    rows = recording(linear_model(), 400)[:, [0, 1, 2, 3, 4] if nuisance else [0, 1, 2]]
    observation = {"kind": "convolutional", "kernel": {"kind": "given", "values": KERNEL.tolist()}, "loss": "states"}
    spec = TrainSpec.model_validate(
        {
            "observation": observation,
            "input_channels": ["s"],
            "nuisance_channels": nuisance,
            "sequence_length": 3,
            "test_fraction": 0.0,
        }
    )
    parts, names = split([(0, rows)], spec), CHANNELS[: rows.shape[1]]
    settings = resolve(spec, parts.select([0, 1]), 2, 0.1, None)
    data = prepare(parts, settings, names)
    assert (settings.loss_kernel, settings.unjudged, settings.noise) == ([], 0, 0.3)
    np.testing.assert_allclose(data.series * data.scale, data.train_signals[0], rtol=1e-12)
    np.testing.assert_allclose(data.series.std(axis=0), 1)
    np.testing.assert_array_equal(data.signal, data.series)
    assert not data.nuisance.any()
    asked = spec.model_copy(update={"updates": 40, "seeds": 1, "hidden_dim": 4, "latent_dim": 2})
    found, _ = train(
        [(0, rows)], channels=names, dt=0.1, time_unit="s", spec=asked, analysis=None, reporter=Reporter(), threads=1
    )
    states = found.encode(data.train_signals[0])  # B takes them to the series' units, before and after training
    assert np.mean(states.var(axis=0)) == pytest.approx(1, abs=0.3)
    np.testing.assert_allclose(found.observe(states), data.train_signals[0], atol=1e-4)
    if nuisance:
        np.testing.assert_allclose(found.observation["J"], data.contamination, rtol=1e-6)


def test_the_loss_is_of_states_unless_nuisance_has_to_be_separated() -> None:
    for given, expected in (({}, "states"), ({"nuisance_channels": ["r"]}, "observations")):
        spec = TrainSpec.model_validate({"observation": {"kind": "convolutional"}, **given})
        assert loss_of(spec) == expected


def test_training_through_a_kernel_and_nuisance_recovers_the_signal() -> None:
    """Both are known; what is left of the series after them must be forecast better than by its persistence."""
    model = linear_model()
    rows = recording(model, 600)
    spec = TrainSpec.model_validate(
        {
            "observation": {"kind": "convolutional", "kernel": {"kind": "given", "values": KERNEL.tolist()}},
            "input_channels": ["s"], "nuisance_channels": ["r0", "r1"], "architecture": "clipped-shplrnn", "latent_dim": 2, "hidden_dim": 20,
            "updates": 1500, "seeds": 1, "sequence_length": 40, "forcing": {"kind": "gtf", "alpha": 0.3}, "test_fraction": 0.25,
            "learning_rate": {"peak": 0.02},
        }
    )  # fmt: skip
    found, history = train(
        [(0, rows)], channels=CHANNELS, dt=0.1, time_unit="s", spec=spec, analysis=None, reporter=Reporter(), threads=1
    )
    assert found.observation_kind == "convolutional"
    assert history.settings["kernel"] == pytest.approx(KERNEL)
    learned = found.observation["J"] * found.std[:, None] / found.nuisance.std  # type: ignore[union-attr]
    np.testing.assert_allclose(learned, J * model.std[:, None] / [2, 1], atol=0.05)
    report = evaluate(
        found, [rows[443:, :2]], inputs=[rows[443:, 2:3]], nuisance=[rows[443:, 3:]], lead_in=[7],
        spec=EvaluateSpec(lyapunov_steps=200), lambda_max=None, reference_steps=(450, 600),
    )  # fmt: skip
    assert report.prediction_error.value is not None
    assert report.prediction_error.value < 0.5  # persistence scores 2.6

"""A rotation seen through two continuous channels, counts and classes: trained, reported and forecast."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from domain.results import ForecastStart, Predictability, ReconstructionReport
from domain.specs import EvaluateSpec, ForecastSpec, TrainSpec
from dynamics.evaluation import evaluate
from dynamics.forecasting import forecast
from dynamics.measures.predictive_likelihood import negative_binomial, total_variation
from dynamics.reporting import Reporter
from dynamics.training import train
from models import TrainedModel

CHANNELS = ["x", "y", "spikes", "stage", "place"]
KINDS = {"spikes": "poisson", "stage": "ordinal", "place": "categorical"}
ROWS, TEST = 3000, 600


def rotation() -> np.ndarray:
    """x, y on a circle with noise; spikes of log rate 1 + 0.8 x; stages of predictor 3 y; places of logits 3 x and 3 y."""
    rng, angle = np.random.default_rng(0), 0.11 * np.arange(ROWS)
    x, y = np.cos(angle), np.sin(angle)
    stage = np.searchsorted([-1.5, 1.5], 3 * y + rng.logistic(size=ROWS)) + 1
    place = (np.stack([0 * x, 3 * x, 3 * y], axis=1) + rng.gumbel(size=(ROWS, 3))).argmax(axis=1)
    noisy = np.stack([x, y], axis=1) + 0.02 * rng.standard_normal((ROWS, 2))
    return np.column_stack([noisy, rng.poisson(np.exp(1 + 0.8 * x)), stage, place]).astype(float)


@pytest.fixture(scope="module")
def trained() -> tuple[TrainedModel, ReconstructionReport]:
    spec = TrainSpec.model_validate(
        {
            "channel_distributions": KINDS, "updates": 1200, "seeds": 1, "hidden_dim": 20, "sequence_length": 40,
            "test_fraction": TEST / ROWS, "forcing": {"kind": "gtf", "alpha": 0.15},
        }
    )  # fmt: skip
    values = rotation()
    model, history = train(
        [(0, values)],
        channels=CHANNELS,
        dt=1.0,
        time_unit="s",
        spec=spec,
        analysis=None,
        reporter=Reporter(),
        threads=1,
    )
    assert {run.outcome for run in history.seeds} == {"ok"}
    before = model.context_rows - 1
    start, stop = history.test_steps
    report = evaluate(
        model, [values[start - before : stop]], lead_in=[before], spec=EvaluateSpec(prediction_horizon_steps=10),
        lambda_max=None, reference_steps=(start, stop),
    )  # fmt: skip
    return model, report


def test_a_rotation_is_predicted_in_every_channel(trained) -> None:
    """Ten steps ahead likelihoods are near those of the truth, far above the marginal's and persistence's."""
    model, report = trained
    assert model.observation_kind == "affine"
    assert model.counted_channels == ["spikes", "stage", "place"]
    found = {c.channel: c for c in report.counted_channels}
    values = rotation()
    held_out = values[-TEST:]
    rate = np.exp(1 + 0.8 * np.cos(0.11 * np.arange(ROWS)))[-TEST:]
    truth = stats.poisson.logpmf(held_out[:, 2], rate).mean()
    spikes = found["spikes"]
    assert truth - 0.1 < spikes.log_likelihood < truth + 0.1
    for channel in found.values():
        assert channel.log_likelihood > channel.marginal + 0.05
        assert channel.log_likelihood > channel.persistence
        assert channel.total_variation < 0.12
    assert report.prediction_error.value < 0.1
    counts = values[: ROWS - TEST, 2]
    expected = negative_binomial(held_out[:, 2], counts.mean(), counts.var()).mean()
    assert spikes.marginal == pytest.approx(expected, abs=0.03)  # training rows are fewer by those for validation


def test_forecasts_from_the_series_end(trained) -> None:
    model, _ = trained
    spec = ForecastSpec(horizon_steps=40, samples=200)
    found = forecast(
        model, rotation(), spec=spec, start=ForecastStart(index=ROWS, time=float(ROWS)), predictability=Predictability()
    )
    angle = 0.11 * (ROWS + np.arange(40))
    np.testing.assert_allclose(found.counted_channels["spikes"].mean, np.exp(1 + 0.8 * np.cos(angle)), rtol=0.35)
    likeliest = np.array(found.counted_channels["stage"].probabilities).argmax(axis=1)
    clear = np.abs(np.sin(angle)) > 0.8
    np.testing.assert_array_equal(likeliest[clear], np.where(np.sin(angle[clear]) > 0, 2, 0))
    again = TrainedModel.from_safetensors(model.to_safetensors())
    assert again.readouts is not None
    assert again.to_safetensors() == model.to_safetensors()


def test_negative_binomial_equals_scipy() -> None:
    counts = np.arange(12.0)
    exact = stats.nbinom.logpmf(counts, 3.0**2 / (5.0 - 3.0), 3.0 / 5.0)
    np.testing.assert_allclose(negative_binomial(counts, 3.0, 5.0), exact, rtol=1e-10)
    np.testing.assert_allclose(negative_binomial(counts, 3.0, 2.0), stats.poisson.logpmf(counts, 3.0), rtol=1e-10)
    assert total_variation(np.array([0, 0, 1, 1]), np.array([1, 1, 2, 2])) == 0.5

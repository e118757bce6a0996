"""Forecasts of channels of counts and classes: means, quantiles and probabilities against those of the members themselves."""

from __future__ import annotations

import numpy as np
import pytest
from channel_cases import counted_model, waves
from scipy import stats

from domain.errors import InvalidParameters
from domain.results import ForecastResult, ForecastStart, Predictability
from domain.specs import ForecastSpec
from dynamics.forecasting import forecast
from models import TrainedModel

LEVELS = [0.1, 0.9]


def made(model: TrainedModel, rows: np.ndarray, **changes: object) -> ForecastResult:
    spec = ForecastSpec.model_validate({"horizon_steps": 60, "quantiles": LEVELS, "samples": 400} | changes)
    start = ForecastStart(index=None, time=0.0)
    return forecast(model, rows, spec=spec, start=start, predictability=Predictability(time=None))


def test_a_single_run_is_read_out_as_it_is() -> None:
    """Without noise every member is the same: means and probabilities are those of one free run, quantiles those of scipy."""
    model, context = counted_model(), waves(300, 5)[0]
    model.residual_std[:], model.noise_std[:] = 0.0, 0.0  # type: ignore[index]
    found = made(model, context, samples=1000)
    state = model.launch(model.embed(context)[-model.context_rows :])[0]
    observed = model.observe(model.free_run(state, 60))
    _, poisson, ordinal, categorical = model.readouts.channels  # type: ignore[union-attr]
    rate = model.readouts.rate(observed, poisson)  # type: ignore[union-attr]
    np.testing.assert_allclose(found.counted_channels["n"].mean, rate, rtol=1e-6)
    for q in LEVELS:
        counts = np.array(found.quantiles[str(q)], float)[:, 1]
        low, high = (stats.poisson.ppf(q + d, rate) for d in (-0.06, 0.06))
        assert ((low <= counts) & (counts <= high)).all()
    for name, channel in (("stage", ordinal), ("class", categorical)):
        odds = model.readouts.probabilities(observed, channel, model.thresholds)  # type: ignore[union-attr]
        np.testing.assert_allclose(found.counted_channels[name].probabilities, odds, rtol=1e-6, atol=1e-9)
    below = np.cumsum(model.readouts.probabilities(observed, ordinal, model.thresholds), axis=1)  # type: ignore[union-attr]
    expected = [1 + np.searchsorted(row, 0.9) for row in below]
    np.testing.assert_array_equal(np.array(found.quantiles["0.9"], float)[:, 2], expected)
    assert np.isnan(np.array(found.quantiles["0.9"], float)[:, 3]).all()
    likeliest = [0.0, 10.0, 20.0]
    np.testing.assert_array_equal(
        np.array(found.median)[:, 3],
        np.array(likeliest)[model.readouts.probabilities(observed, categorical, None).argmax(axis=1)],  # type: ignore[union-attr]
    )


def test_an_ensemble_is_reproducible_and_sums_to_one() -> None:
    model, context = counted_model(), waves(300, 5)[0]
    found = made(model, context, horizon_steps=3000)
    assert found.model_dump_json() == made(model, context, horizon_steps=3000).model_dump_json()
    ForecastResult.model_validate(found.model_dump())
    for name in ("stage", "class"):
        np.testing.assert_allclose(np.sum(found.counted_channels[name].probabilities, axis=1), 1, rtol=1e-9)
    rows = found.quantiles["0.1"], found.median, found.quantiles["0.9"]
    counts = [np.array(level, float)[:, 1] for level in rows]
    assert (np.diff([np.zeros(3000), *counts], axis=0) >= 0).all()


def test_a_context_that_holds_no_counts_is_refused() -> None:
    model, context = counted_model(), waves(300, 5)[0]
    context[295, 1] = 1.5
    sent = {"values": [[0.0, 0.0, 1.0, 0.0]]}  # only that it was sent along counts here
    with pytest.raises(
        InvalidParameters, match=r"The value 1\.5 of n in row 295 of the context is none that the model"
    ) as error:
        made(model, context, context=sent)
    assert error.value.errors[0].pointer == "/context/values/295/1"
    with pytest.raises(InvalidParameters, match="rows to start from; there are 3"):
        made(model, context[:3])

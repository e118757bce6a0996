"""A downloaded model with channels of counts and classes forecasts what the service forecasts."""

from __future__ import annotations

import numpy as np
import pytest
from channel_cases import counted_model, waves

from attractor_client import DataError, LocalModel
from attractor_client._documents import build
from attractor_client.results import Forecast
from domain.results import ForecastStart, Predictability
from domain.specs import ForecastSpec
from dynamics.forecasting import forecast


def test_local_forecasts_of_counts_and_classes_are_those_of_the_service() -> None:
    model, context = counted_model(), waves(400, 5)[0]
    given = {"horizon_steps": 500, "samples": 61, "quantiles": [0.1, 0.9], "seed": 4}
    unknown, start = Predictability(reason="not asked"), ForecastStart(index=None, time=40.0)
    expected = forecast(model, context, spec=ForecastSpec(**given), start=start, predictability=unknown)
    local = LocalModel.from_bytes(model.to_safetensors())
    assert local.context_steps == model.context_steps
    found = local.forecast(context, **given)
    np.testing.assert_allclose(found.median, np.array(expected.median, float), rtol=1e-9)
    for q, values in expected.quantiles.items():
        np.testing.assert_allclose(found.quantiles[q], np.array(values, float), rtol=1e-9)
    served = build(Forecast, expected.model_dump(mode="json"))  # what the client reads from the service's answer
    assert found.counted_channels.keys() == served.counted_channels.keys() == {"n", "stage", "class"}
    np.testing.assert_allclose(found.counted_channels["n"].mean, served.counted_channels["n"].mean, rtol=1e-9)
    for name in ("stage", "class"):
        odds = served.counted_channels[name].probabilities
        np.testing.assert_allclose(found.counted_channels[name].probabilities, odds, rtol=1e-9, atol=1e-12)
        assert found.counted_channels[name].classes == served.counted_channels[name].classes
    assert found.columns().keys() == served.columns().keys() > {"n_mean", "stage_is_1", "class_is_20"}
    assert found.trusted_steps == expected.trusted_steps
    context[399, 3] = 5
    with pytest.raises(DataError, match=r"The value 5 of class in row 399 of the context is none .* takes 0, 10, 20"):
        local.forecast(context, **given)

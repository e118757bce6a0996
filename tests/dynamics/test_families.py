"""A family of maps in use: its file, the map of a forecast, vectors fitted to new rows, reports recording by recording."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from domain.errors import InvalidParameters
from domain.results import ForecastStart
from domain.series import Recording, Segment
from domain.specs import EvaluateSpec, ForecastSpec
from dynamics.families import fit_vector, forecasting_model, rows_before
from dynamics.family_evaluation import evaluate_recordings
from models.families import Family
from models.trained import FAMILY_FORMAT, TrainedModel

ANGLES = {"slow": 0.2, "fast": 0.45}


def turning(angle: float) -> dict[str, np.ndarray]:
    """A shallow PLRNN that rotates the plane: z_1' = c z_1 - s z_2, since relu(u) - relu(-u) = u."""
    c, s = np.cos(angle), np.sin(angle)
    return {
        "A": np.array([c, c]),
        "W1": np.array([[-s, s, 0, 0], [0, 0, s, -s]]),
        "h1": np.zeros(2),
        "W2": np.array([[0.0, 1], [0, -1], [1, 0], [-1, 0]]),
        "h2": np.zeros(4),
    }


def model() -> TrainedModel:
    """Rotations by 0.2 and 0.45: the vectors -1 and 1."""
    slow, fast = (turning(angle) for angle in ANGLES.values())
    common = {k: (slow[k] + fast[k]) / 2 for k in slow}
    directions = {k: (fast[k] - slow[k])[None] / 2 for k in slow}
    family = Family(list(ANGLES), np.array([[-1.0], [1.0]]), directions)
    noise = np.full(2, 1e-3)
    return TrainedModel("shplrnn", common, {}, ["x", "y"], np.zeros(2), np.ones(2), [0], 0.1, "s", noise, family=family)


def circle(angle: float, rows: int, phase: float = 0.3) -> np.ndarray:
    turns = angle * np.arange(rows) + phase
    return np.stack([np.cos(turns), np.sin(turns)], axis=1)


def spec(**given: Any) -> ForecastSpec:
    return ForecastSpec(horizon_steps=3, **given)


def test_each_recording_has_its_map_and_the_file_keeps_them() -> None:
    for kept in (model(), TrainedModel.from_safetensors(model().to_safetensors())):
        for name, angle in ANGLES.items():
            own = kept.of(name)
            assert own.family is None
            for key, value in turning(angle).items():
                np.testing.assert_allclose(own.params[key], value, atol=1e-15)
        assert kept.family is not None
        assert kept.n_parameters == 24 + 2 + 24  # the common map, two vectors, one direction
    assert FAMILY_FORMAT.encode() in model().to_safetensors()
    unknown, alone = model().of(-1), replace(model(), family=None)
    assert unknown.family is None
    np.testing.assert_array_equal(unknown.params["W1"], model().params["W1"])
    assert alone.of("anything").params is alone.params


def test_a_vector_is_fitted_to_rows_of_an_unknown_recording() -> None:
    for vector in (-1.0, 0.4, 1.0):
        own = model().of(np.array([vector]))
        z, rows = np.array([0.8, -0.3]), []
        for _ in range(60):
            rows.append(z)
            z = own.step(z)
        found = fit_vector(model(), [np.array(rows[:30]), np.array(rows[30:])])
        assert found == pytest.approx([vector], abs=1e-6)
    with pytest.raises(ValueError, match="5 steps are too few to fit 1 numbers: 10 needed"):
        fit_vector(model(), [circle(0.2, 6)])


RECORDINGS = [
    Recording(name="fast", start=0, stop=50, time_start=0),
    Recording(name="new", start=50, stop=100, time_start=0),
]
SEGMENTS = [Segment(start=0, stop=50, time_start=0), Segment(start=50, stop=100, time_start=0)]


@pytest.mark.parametrize(
    ("given", "index", "expected"),
    [
        ({}, 50, 1.0),  # from the end of a recording that the model knows
        ({"recording": "slow"}, 50, -1.0),
        ({"recording_vector": [0.25]}, 50, 0.25),
        ({}, 80, -1.0),  # one that it does not know: fitted to its 30 rows
    ],
)
def test_the_map_of_a_forecast(given: dict[str, Any], index: int, expected: float) -> None:
    table = np.concatenate([circle(0.45, 50), circle(0.2, 50)])
    start = ForecastStart(index=index, time=0.0)
    before = rows_before(SEGMENTS, start)
    assert before == slice(0 if index == 50 else 50, index)
    own, vector = forecasting_model(model(), spec(**given), start=start, recordings=RECORDINGS, rows=table[before])
    assert vector == pytest.approx([expected], abs=1e-6)
    np.testing.assert_allclose(own.params["A"], model().of(np.array(vector)).params["A"])


@pytest.mark.parametrize(
    ("given", "message", "pointer"),
    [
        ({"recording": "nobody"}, "knows no recording 'nobody'; it knows slow, fast", "/recording"),
        ({"recording_vector": [1.0, 2.0]}, "vectors of 1 numbers", "/recording_vector"),
        ({}, "name a recording, or give recording_vector", "/recording"),
    ],
)
def test_what_names_no_map_is_refused(given: dict[str, Any], message: str, pointer: str) -> None:
    with pytest.raises(InvalidParameters, match=message) as caught:
        forecasting_model(model(), spec(**given), rows=circle(0.2, 4))
    assert caught.value.errors[0].pointer == pointer


def test_a_model_with_one_map_takes_no_recording() -> None:
    alone = replace(model(), family=None)
    assert forecasting_model(alone, spec()) == (alone, None)
    with pytest.raises(InvalidParameters, match="one map for all recordings"):
        forecasting_model(alone, spec(recording="slow"))


def test_reports_are_made_recording_by_recording() -> None:
    segments = [circle(0.2, 150), circle(0.45, 150), circle(0.45, 150, 2.0), circle(0.2, 150)]
    names = ["slow", "fast", "fast", "new"]
    report = evaluate_recordings(
        model(), segments, names=names, lead_in=[0] * 4, spec=EvaluateSpec(), reference_steps=(0, 600), lambda_max=1.0
    )
    assert [(line.name, line.fitted) for line in report.recordings] == [("slow", False), ("fast", False), ("new", True)]
    assert [line.vector[0] for line in report.recordings] == pytest.approx([-1, 1, -1], abs=1e-6)
    for line in report.recordings:
        assert line.prediction_error == pytest.approx(0, abs=1e-9)  # under another's map it would be of order one
    assert "the median of 3 by verdict and d_stsp, under its own map" in report.detail

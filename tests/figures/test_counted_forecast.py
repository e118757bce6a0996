"""The figure of a forecast with counts and classes: quantiles of the one, probabilities of the other."""

from __future__ import annotations

import numpy as np

from figures.catalogue import Measured, Sources
from figures.drawing import draw
from figures.forecasts import FIGURES
from figures.parts import Band, Cells, Line
from figures.plotly import to_plotly


def test_classes_are_drawn_as_probabilities() -> None:
    time = np.arange(3.0)
    odds = [[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]]
    document = {
        "channels": ["spikes", "stage"], "time": time.tolist(), "horizon_steps": 3, "time_unit": "s", "start": {"index": 9, "time": 0.0},
        "median": [[1.0, 7.0], [2.0, 3.0], [2.0, 3.0]], "quantiles": {"0.05": [[0.0, None]] * 3, "0.95": [[4.0, None]] * 3},
        "predictability": {"time": None, "unit": "s", "reason": "not known"}, "trusted_steps": None,
        "counted_channels": {
            "spikes": {"kind": "poisson", "mean": [1.5] * 3, "classes": None, "probabilities": None},
            "stage": {"kind": "categorical", "mean": None, "classes": [3.0, 7.0], "probabilities": odds},
        },
    }  # fmt: skip
    measured = Measured(np.array([-1.0, 0.0, 1.0]), np.array([[1.0, 7.0], [0.0, 3.0], [2.0, 7.0]]))
    figure = FIGURES[0].build(Sources(document=document, measured=measured))
    spikes, stage = figure.panels
    assert [type(mark) for mark in spikes.marks if isinstance(mark, Band | Cells)] == [Band]
    cells = next(mark for mark in stage.marks if isinstance(mark, Cells))
    np.testing.assert_array_equal(cells.z, np.array(odds).T)
    assert stage.y.ticks == [(0.0, "3"), (1.0, "7")]
    np.testing.assert_array_equal(next(mark for mark in stage.marks if isinstance(mark, Line)).y, [1, 0, 1])
    picture = draw(figure, "png")
    assert len(picture) > 5000
    assert to_plotly(figure)["data"]

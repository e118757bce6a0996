"""Plotly's own validators accept every figure; what callers have named is shown as they wrote it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import plotly.io
import pytest

from figures.catalogue import Measured, Sources
from figures.of import DEFINITIONS
from figures.parts import Axis, Band, Figure, Line, Panel
from figures.plotly import to_json, to_plotly

MOST_BYTES = 300_000


@pytest.fixture
def every(
    analysis: dict[str, Any], noise: dict[str, Any], model_sources: Sources, forecast_sources: Sources
) -> list[tuple[str, Figure]]:
    def figures() -> Iterator[tuple[str, Figure]]:
        evaluation = Sources(model_sources.document["report"], None, growth=model_sources.growth, dt=0.5, time_unit="s")
        for resource, sources in (
            ("analysis", Sources(analysis)),
            ("analysis", Sources(noise)),
            ("model", model_sources),
            ("evaluation", evaluation),
            ("forecast", forecast_sources),
        ):
            for definition in DEFINITIONS[resource]:
                if definition.lacks(sources.document) is None:
                    yield f"{resource} {definition.name}", definition.build(sources)

    return list(figures())


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_plotly_takes_every_figure(every: list[tuple[str, Figure]], theme: str) -> None:
    assert {name for name, _ in every} == {
        f"{r} {d.name}" for r, definitions in DEFINITIONS.items() for d in definitions
    }
    for name, figure in every:
        text = to_json(figure, theme)
        assert len(text.encode()) < MOST_BYTES, name
        found = plotly.io.from_json(text, skip_invalid=False)  # raises for what is no Plotly
        assert len(found.data) >= 1, name
        assert found.layout.title.text, name


def test_the_longest_and_widest_forecast_stays_small() -> None:
    steps, names = 20_000, [f"channel {i}" for i in range(30)]
    values = np.random.default_rng(0).standard_normal((steps, len(names)))
    forecast = {
        "start": {"index": 0, "time": 0.0},
        "horizon_steps": steps,
        "channels": names,
        "time_unit": "s",
        "time": (np.arange(steps) * 0.01).tolist(),
        "median": values,
        "quantiles": {str(q): values + q for q in (0.01, 0.05, 0.1, 0.25, 0.75, 0.9, 0.95, 0.99)},
        "predictability": {"time": 0.5, "steps": 50, "unit": "s", "reason": None},
        "trusted_steps": 40,
    }
    measured = Measured(np.arange(6000) * 0.03, values[:6000, :6])
    figure = DEFINITIONS["forecast"][0].build(Sources(forecast, measured=measured))
    assert len(figure.panels) == 6
    assert "first 6 of 30 channels" in figure.subtitle
    assert len(to_json(figure)) < MOST_BYTES
    drawn = {m.name: m for m in figure.panels[0].marks if isinstance(m, Band)}["1 to 99 % of the ensemble"]
    assert drawn.high.max() == values[:, 0].max() + 0.99  # the extremes are there


def test_every_axis_is_labelled_and_every_figure_explained(every: list[tuple[str, Figure]]) -> None:
    for name, figure in every:
        assert figure.subtitle.endswith((".", ")")), f"{name}: {figure.subtitle}"
        for panel in figure.panels:
            assert panel.x.label, name
            assert panel.y.label or panel.y.ticks is not None, name


def test_numbers_are_rounded_and_what_is_not_there_is_null() -> None:
    line = Line(np.array([0.0, 1.0, 2.0]), np.array([1 / 3, np.nan, np.inf]), "data", "a")
    found = to_plotly(Figure("t", "s.", [Panel(Axis("x"), Axis("y"), [line])]))
    assert found["data"][0]["y"] == [0.333333, None, None]
    assert found["data"][0]["x"] == [0, 1, 2]


def test_names_of_callers_are_text_not_markup() -> None:
    name = '<b>x</b> & $y_1$ <a href="javascript:alert(1)">'
    line = Line(np.arange(3.0), np.arange(3.0), "data", name)
    text = to_json(Figure(name, "", [Panel(Axis(name), Axis(name), [line], name)]))
    assert "<b>x" not in text
    assert "<a" not in text
    layout = json.loads(text)["layout"]
    assert layout["xaxis"]["title"]["text"] == '&lt;b&gt;x&lt;/b&gt; &amp; $y_1$ &lt;a href="javascript:alert(1)"&gt;'


def test_panels_lie_inside_and_do_not_overlap() -> None:
    panels = [Panel(Axis("x"), Axis("y"), [Line(np.arange(3.0), np.arange(3.0), "data")]) for _ in range(6)]
    for share in (True, False):
        layout = to_plotly(Figure("t", "s.", panels, columns=2, size=(900, 900), share_x=share))["layout"]
        boxes = [(layout[f"xaxis{n}"]["domain"], layout[f"yaxis{n}"]["domain"]) for n in ("", "2", "3", "4", "5", "6")]
        for i, (x, y) in enumerate(boxes):
            assert 0 <= x[0] < x[1] <= 1
            assert 0 <= y[0] < y[1] <= 1
            for u, v in boxes[:i]:
                assert x[1] < u[0] or u[1] < x[0] or y[1] < v[0] or v[1] < y[0]

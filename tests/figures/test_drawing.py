"""PNG and SVG: the asked size, the theme's colours, the same bytes again, also from many threads."""

from __future__ import annotations

import dataclasses
import io
from concurrent.futures import ThreadPoolExecutor
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from figures.catalogue import Sources
from figures.drawing import draw
from figures.of import DEFINITIONS
from figures.parts import Axis, Band, Bars, Cells, Curve, Figure, Line, Note, Panel, Points, Reference, Region, TopAxis
from figures.themes import THEMES, rgb

X = np.linspace(0.1, 5, 40)


def everything() -> Figure:
    """Every kind of mark once."""
    flat = Panel(
        Axis("time in s", tight=True),
        Axis("$x_1$", note="(compressed)"),
        [
            Region(1, 2, "x", "model", "region"),
            Band(X, np.sin(X) - 0.2, np.sin(X) + 0.2, "data", "band"),
            Line(X, np.sin(X), "data", "line"),
            Points(X[:3], X[:3], "model", "points", low=X[:3] - 0.1, high=X[:3] + 0.1),
            Reference(0.5, "y", "ink", "reference"),
            Bars(X[:3], X[:3], "third", "bars"),
            Note(2, 2, "note"),
        ],
        "panel",
        top=TopAxis("Lyapunov times", 0.0, 2.0),
    )
    cells = Panel(
        Axis("i"), Axis("j", log=False), [Cells(np.arange(4.0), np.arange(3.0), np.arange(12.0).reshape(3, 4), "n")]
    )
    return Figure("Everything", "One of each.", [flat, cells], columns=2, size=(700, 400))


def test_a_png_has_the_size_and_the_colours_that_were_asked_for() -> None:
    image = Image.open(io.BytesIO(draw(everything(), "png", "dark", width=500, height=320, scale=1.5)))
    assert image.size == (750, 480)
    pixels = {tuple(int(v) for v in p[:3]) for p in np.asarray(image.convert("RGB")).reshape(-1, 3)}
    dark = THEMES["dark"]
    assert rgb(dark.paper) in pixels
    assert rgb(dark.roles["data"]) in pixels
    assert rgb(dark.roles["model"]) in pixels
    assert rgb(THEMES["light"].paper) not in pixels


def test_an_svg_is_well_formed_and_fetches_and_runs_nothing() -> None:
    root = ElementTree.fromstring(draw(everything(), "svg"))
    assert (root.get("width"), root.get("height")) == ("504pt", "288pt")  # 700 x 400 at 100 to the inch
    for element in root.iter():
        assert element.tag.rpartition("}")[2] not in ("script", "foreignObject", "a")
        for name, value in element.attrib.items():
            assert not name.startswith("on")
            if name.endswith("href"):
                assert value.startswith(("#", "data:image/png;base64,"))


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_threads_draw_the_same_bytes(kind: str) -> None:
    alone = draw(everything(), kind)
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda _: draw(everything(), kind), range(3)))
    assert together == [alone] * 3


def test_boxes_in_space_are_drawn() -> None:
    axes = [Axis(name) for name in "xyz"]
    panels = [
        Panel(axes[0], axes[1], [Curve(np.sin(9 * X), np.cos(7 * X), X, role, width=3.0)], role, axes[2])
        for role in ("data", "model")
    ]
    figure = Figure("Space", "Two boxes.", panels, columns=2, size=(700, 400))
    pixels = np.asarray(Image.open(io.BytesIO(draw(figure, "png", scale=1))).convert("RGB")).reshape(-1, 3)
    for role in ("data", "model"):
        assert (np.abs(pixels.astype(int) - rgb(THEMES["light"].roles[role])).sum(axis=1) < 30).sum() > 100


def test_figures_of_documents_are_drawn(analysis: dict, model_sources: Sources, forecast_sources: Sources) -> None:
    for resource, sources, names in (
        ("analysis", Sources(analysis), {"spectrum", "evidence", "recurrence", "sampling"}),
        ("model", model_sources, {"attractor", "power-spectra", "prediction-error", "training"}),
        ("forecast", forecast_sources, {"forecast"}),
    ):
        for definition in DEFINITIONS[resource]:
            if definition.name in names:
                image = Image.open(io.BytesIO(draw(definition.build(sources), "png", scale=0.5)))
                assert np.asarray(image.convert("L")).std() > 5, definition.name


@pytest.mark.filterwarnings("ignore:constrained_layout not applied")
def test_a_figure_too_small_for_its_words_is_drawn_nevertheless() -> None:
    figure = dataclasses.replace(everything(), subtitle="Some words more. " * 40)
    image = Image.open(io.BytesIO(draw(figure, "png", width=240, height=180, scale=1)))
    assert image.size == (240, 180)

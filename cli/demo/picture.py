"""The picture: attractor and reconstruction, forecast with band and horizon, spectra of data and model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure

from figures.catalogue import Measured, Sources
from figures.drawing import draw_panel, drawing
from figures.of import find
from figures.parts import Panel
from figures.themes import LIGHT

FORECAST_CHANNELS = 3


def draw(
    path: Path,
    title: str,
    analysis: dict[str, Any] | None,
    model: dict[str, Any],
    forecast: dict[str, Any],
    measured_time: np.ndarray,
    measured: np.ndarray,
) -> None:
    """Write the picture to `path`; `measured` (T, N) is the stored series around the forecast's start, at `measured_time` (T,)."""
    made = Sources(model, analysis, dt=model["dt"], time_unit=model["time_unit"], lags=tuple(model["lags"]))
    ahead = Sources(forecast, measured=Measured(measured_time, measured))
    with drawing("light"):
        figure = Figure(figsize=(12, 9.2), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(title, fontsize=14, color=LIGHT.text)
        top, bottom = np.asarray(figure.subfigures(2, 1, height_ratios=[1, 1]))
        left, right = np.asarray(bottom.subfigures(1, 2, width_ratios=[2.1, 1]))
        _place(top, _panels("model", "attractor", made), columns=2)
        _place(left, _panels("forecast", "forecast", ahead)[:FORECAST_CHANNELS], columns=1, keys=3)
        _place(right, _panels("model", "spectrum", made), columns=1, keys=2)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)


def _panels(resource: str, name: str, sources: Sources) -> Sequence[Panel]:
    """Of the figure that the service would draw; none where the result lacks it."""
    definition = find(resource, name)
    assert definition is not None
    return [] if definition.lacks(sources.document) else definition.build(sources).panels


def _place(part: SubFigure, panels: Sequence[Panel], columns: int, keys: int = 0) -> None:
    """Panels in rows of `columns`, with a legend of so many columns above them."""
    rows = -(-len(panels) // columns)
    for i, panel in enumerate(panels):
        axes: Any = part.add_subplot(rows, columns, i + 1, projection="3d" if panel.z is not None else None)
        draw_panel(axes, panel, LIGHT, label_x=i >= len(panels) - columns)
        if i == 0 and keys:
            handles, names = axes.get_legend_handles_labels()
            part.legend(handles, names, loc="outside upper left", ncols=keys, frameon=False, fontsize=9)

"""The picture: attractor and reconstruction, forecast with band and horizon, spectra of data and model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import AsinhLocator, NullLocator, StrMethodFormatter

DATA, MODEL, INK = "#0b66c3", "#d1540a", "#17212b"
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
    figure = Figure(figsize=(12, 8.6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=14, color=INK)
    top, bottom = np.asarray(figure.subfigures(2, 1, height_ratios=[1.15, 1]))
    _attractors(top, model, analysis)
    left, right = np.asarray(bottom.subfigures(1, 2, width_ratios=[2.1, 1]))
    _forecast(left, forecast, measured_time, measured)
    _spectra(right.subplots(), analysis, model["report"]["lyapunov_spectrum"])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _attractors(figure: SubFigure, model: dict[str, Any], analysis: dict[str, Any] | None) -> None:
    samples, channels = model["report"]["samples"], model["channels"]
    delay = (analysis["embedding"]["delay_steps"] if analysis else None) or 1
    pictures = [
        ("the data (held out)", samples["true"], DATA),
        ("the reconstruction, running freely", samples["generated"], MODEL),
    ]
    limits: list[tuple[float, float]] = []
    for place, (name, rows, colour) in enumerate(pictures, start=1):
        points = _coordinates(np.array(rows, dtype=float), delay)
        dimensions = points.shape[1]
        axes: Any = figure.add_subplot(1, 2, place, projection="3d" if dimensions == 3 else None)
        axes.plot(*points.T, color=colour, linewidth=0.45)
        axes.set_title(name, fontsize=11, color=colour)
        limits = limits or [(float(np.nanmin(c)), float(np.nanmax(c))) for c in points.T]
        axes.set(xlim=limits[0], ylim=limits[1])
        names = channels[:3] if len(channels) > 1 else [f"{channels[0]}(t - {delay} steps)", f"{channels[0]}(t)"]
        axes.set_xlabel(names[0])
        axes.set_ylabel(names[1])
        if dimensions == 3:
            axes.set_zlim(*limits[2])
            axes.set_zlabel(names[2])
            axes.view_init(elev=12, azim=-58)
            axes.set_box_aspect((4, 4, 3.2), zoom=1.25)
            axes.locator_params(nbins=5)
            axes.tick_params(labelsize=8)


def _coordinates(rows: np.ndarray, delay: int) -> np.ndarray:
    """What is drawn: the first three channels, two, or one against itself `delay` steps before."""
    if rows.shape[1] == 1:
        return np.column_stack([rows[:-delay, 0], rows[delay:, 0]])
    return rows[:, :3]


def _forecast(figure: SubFigure, forecast: dict[str, Any], measured_time: np.ndarray, measured: np.ndarray) -> None:
    channels = forecast["channels"][:FORECAST_CHANNELS]
    grid: np.ndarray = figure.subplots(len(channels), 1, sharex=True, squeeze=False)[:, 0]
    time, median = np.array(forecast["time"]), np.array(forecast["median"], dtype=float)
    low, high = (np.array(forecast["quantiles"][q], dtype=float) for q in ("0.05", "0.95"))
    horizon = forecast["predictability"]["time"]
    start = forecast["start"]["time"]
    for k, (name, axes) in enumerate(zip(channels, grid, strict=True)):
        axes.plot(measured_time, measured[:, k], color=DATA, linewidth=1, label="measured")
        axes.fill_between(time, low[:, k], high[:, k], color=MODEL, alpha=0.25, linewidth=0, label="5 % to 95 %")
        axes.plot(time, median[:, k], color=MODEL, linewidth=1.5, label="forecast")
        axes.axvline(start, color=INK, linewidth=0.8)
        if horizon is not None:
            axes.axvline(start + horizon, color=INK, linewidth=1, linestyle="--", label="predictability horizon")
        axes.set_ylabel(name)
        axes.margins(x=0)
    grid[0].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False, fontsize=9)
    grid[-1].set_xlabel(f"time in {forecast['time_unit']}")


def _spectra(axes: Axes, analysis: dict[str, Any] | None, model: dict[str, Any]) -> None:
    spectra = [("model", model, MODEL, 0.12)]
    if analysis is not None:
        spectra.insert(0, ("data", analysis["lyapunov_spectrum"], DATA, -0.12))
    for name, spectrum, colour, shift in spectra:
        values = np.array(spectrum["exponents"], dtype=float)
        intervals = [
            pair or (value, value) for pair, value in zip(spectrum["ci"] or [None] * len(values), values, strict=True)
        ]
        bars = np.abs(np.array(intervals, dtype=float).reshape(-1, 2).T - values)
        axes.errorbar(np.arange(1, len(values) + 1) + shift, values, bars, fmt="o", color=colour, capsize=3, label=name)
    axes.axhline(0, color=INK, linewidth=0.8, linestyle=":")
    # asinh: one strongly negative exponent shall not flatten the others.
    largest = [abs(spectrum["exponents"][0] or 0.0) for _, spectrum, _, _ in spectra if spectrum["exponents"]]
    width = max([1e-6, *largest])
    axes.set_yscale("asinh", linear_width=width)
    axes.yaxis.set(major_locator=AsinhLocator(width, numticks=7, base=0), major_formatter=StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.15, y=0.12)
    axes.set_xticks(range(1, max((len(s["exponents"]) for _, s, _, _ in spectra), default=0) + 1))
    axes.set(xlabel="exponent", title="Lyapunov spectrum", ylabel=f"λ in {model['unit']} (compressed scale)")
    axes.legend(frameon=False)

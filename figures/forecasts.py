"""The figure of a forecast: a fan of quantiles, the horizon of predictability, and what was measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from figures.catalogue import Definition, Sources
from figures.parts import Axis, Band, Cells, Figure, Line, Mark, Panel, Reference, TopAxis, array
from figures.thinning import MOST_POINTS, keep_extremes
from figures.words import num, sentence, time_axis, with_unit

CHANNELS = 6
MOST_COLUMNS = 400  # of the colours of classes
MOST_NUMBERS = 30_000  # of all panels: some 250 kB of JSON


def pairs_of_levels(quantiles: dict[str, Any]) -> list[tuple[str, str]]:
    """Quantiles that belong together, the widest pair first: lowest with highest, and so on inwards."""
    levels = sorted(quantiles, key=float)
    return [(levels[i], levels[-1 - i]) for i in range(len(levels) // 2)]


def _percent(level: str) -> str:
    return num(100 * float(level), 4)


def fan_panels(forecast: dict[str, Any], measured: Any, most: int = CHANNELS) -> list[Panel]:
    """One panel for each of the first channels: band by band, the median, and the measured series where there is one."""
    time, median = array(forecast["time"]), array(forecast["median"])
    quantiles = {level: array(rows) for level, rows in forecast["quantiles"].items()}
    bands = [(low, high, quantiles[low], quantiles[high]) for low, high in pairs_of_levels(quantiles)]
    shown = forecast["channels"][:most]
    # A band has four numbers for each row, a line two.
    rows_each = int(np.clip(MOST_NUMBERS / (len(shown) * (4 * len(bands) + 4)), 100, MOST_POINTS))
    panels = []
    counted, across = forecast.get("counted_channels") or {}, time_axis(forecast["time_unit"], tight=True)
    if counted:  # colours are wider than lines: all panels show the same stretch
        first = float(time[0]) if measured is None else min(float(time[0]), float(measured.time[0]))
        across = replace(across, limits=(first, float(time[-1])))
    for k, name in enumerate(shown):
        top = _lyapunov_axis(forecast) if k == 0 else None
        if counted.get(name, {}).get("classes"):
            known_values = None if measured is None else (measured.time, measured.values[:, k])
            panels.append(Panel(across, *_classes(name, forecast, counted[name], known_values), top=top))
            continue
        marks: list[Mark] = []
        rows = keep_extremes(median[:, k], *(curve[:, k] for _, _, *both in bands for curve in both), most=rows_each)
        for low, high, lower, upper in bands:
            said = f"{_percent(low)} to {_percent(high)} % of the ensemble"
            marks.append(Band(time[rows], lower[rows, k], upper[rows, k], "model", said, 0.5 / (1 + len(bands))))
        if measured is not None:
            known = keep_extremes(measured.values[:, k], most=rows_each)
            marks.append(Line(measured.time[known], measured.values[known, k], "data", "measured", width=1.4))
        marks.append(Line(time[rows], median[rows, k], "model", "median forecast", "dash", 1.8))
        marks += _moments(forecast)
        panels.append(Panel(across, Axis(name), marks, top=top))
    return panels


def _classes(name: str, forecast: dict[str, Any], odds: dict[str, Any], measured: Any) -> tuple[Axis, list[Mark]]:
    """The probability of each class at each step as colours, and the classes that were measured."""
    classes, time = array(odds["classes"]), array(forecast["time"])
    every = -(-len(time) // MOST_COLUMNS)
    numbers = np.arange(len(classes), dtype=float)
    marks: list[Mark] = [
        Cells(time[::every], numbers, array(odds["probabilities"])[::every].T, "probability", most=1.0)
    ]
    if measured is not None:
        known, values = measured
        rows = keep_extremes(values, most=MOST_COLUMNS)
        there = np.isin(values[rows], classes)
        at = np.where(there, np.searchsorted(classes, np.where(there, values[rows], classes[0])), np.nan)
        marks.append(Line(known[rows], at, "fifth", "measured class", width=1.4))
    marks += _moments(forecast)
    ticks = [(float(number), num(value, 6)) for number, value in zip(numbers, classes, strict=True)]
    return Axis(name, limits=(-0.5, len(classes) - 0.5), ticks=ticks), marks


def _moments(forecast: dict[str, Any]) -> list[Mark]:
    """Where the forecast starts, where an error has doubled, where the ensemble has spread: as far as it reaches."""
    start, last = forecast["start"]["time"], forecast["time"][-1]
    horizon, trusted = forecast["predictability"]["time"], forecast.get("trusted_steps")
    marks: list[Mark] = [Reference(start, "x", "ink", "start of the forecast", "solid")]
    if horizon is not None and start + horizon <= last:
        marks.append(Reference(start + horizon, "x", "fourth", "predictability horizon: an error has doubled", "dash"))
    if trusted and trusted < forecast["horizon_steps"]:
        at = forecast["time"][trusted - 1]
        marks.append(Reference(at, "x", "third", "ensemble spread over a tenth of the attractor", "dot"))
    return marks


def _lyapunov_axis(forecast: dict[str, Any]) -> TopAxis | None:
    """The doubling time of an error is ln 2 Lyapunov times."""
    doubling = forecast["predictability"]["time"]
    if doubling is None:
        return None
    return TopAxis("Lyapunov times after the start", forecast["start"]["time"], doubling / float(np.log(2.0)))


def _fan(sources: Sources) -> Figure:
    forecast = sources.document
    panels, total = fan_panels(forecast, sources.measured), len(forecast["channels"])
    doubling, steps = forecast["predictability"], forecast["horizon_steps"]
    said = (
        sentence(doubling.get("reason") or "how far it can be trusted is not known")
        if doubling["time"] is None
        else f"An error doubles every {with_unit(doubling['time'], doubling['unit'])}; far beyond that only statistics can be believed."
    )
    more = f" The first {len(panels)} of {total} channels." if total > len(panels) else ""
    return Figure(
        f"Forecast over {steps:,} steps",
        f"{said}{more}",
        panels,
        size=(960, 200 + 150 * len(panels) + 110 * (len(panels) == 1)),
        share_x=True,
    )


def _no_forecast(forecast: dict[str, Any]) -> str | None:
    return None if len(forecast["time"]) > 1 else "A forecast of a single step has no curve."


FIGURES = [
    Definition(
        "forecast",
        "Forecast with its intervals",
        "Median and quantiles of the ensemble, the horizon of predictability, and what was measured.",
        _fan,
        _no_forecast,
        frozenset({"measured"}),
    )
]

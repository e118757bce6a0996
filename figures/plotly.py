"""A figure as Plotly JSON: `data` and `layout` of https://plotly.com/javascript/reference/, as any Plotly reads it.

Everything is a trace, reference lines and regions too, so that the legend names them. Texts that come from callers
(channel names, units) are escaped: Plotly reads a little HTML in them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from figures.parts import (
    Axis,
    Band,
    Bars,
    Cells,
    Curve,
    Figure,
    Line,
    Mark,
    Note,
    Panel,
    Points,
    Reference,
    Region,
    limits,
)
from figures.themes import THEMES, Theme, ThemeName, rgb
from figures.words import LETTER, wrapped

DIGITS = 6  # significant ones: more than any eye tells apart
SIDES = {"l": 78, "r": 28, "b": 62}
LINE_HEIGHT, LEGEND_ROW = 18, 24
GAP_X, GAP_Y, GAP_SHARED = 92, 92, 34  # pixels between panels
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif'
KEY = 48  # pixels of a key of the legend


def to_plotly(figure: Figure, theme: ThemeName = "light", width: int | None = None, height: int | None = None) -> dict:
    """The figure as plain JSON values. Without a width it takes that of its container."""
    writer = _Writer(figure, THEMES[theme], (width or figure.size[0], height or figure.size[1]))
    layout = writer.layout()
    layout |= {"height": writer.size[1]} | ({"width": width} if width else {"autosize": True})
    return {"data": writer.traces, "layout": layout}


def to_json(figure: Figure, theme: ThemeName = "light", width: int | None = None, height: int | None = None) -> str:
    return json.dumps(
        to_plotly(figure, theme, width, height), ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )


def numbers(values: np.ndarray) -> list[Any]:
    """Rounded to what can be seen; NaN and infinity are null."""
    flat = np.asarray(values, dtype=float)
    if flat.ndim > 1:
        return [numbers(row) for row in flat]
    if np.isfinite(flat).all() and (flat == np.rint(flat)).all() and (np.abs(flat) < 1e6).all():
        return flat.astype(int).tolist()
    return [_number(v) for v in flat.tolist()]


def _number(value: float) -> float | int | None:
    if not np.isfinite(value):
        return None
    rounded = float(f"{value:.{DIGITS}g}")
    return int(rounded) if rounded == int(rounded) and abs(rounded) < 1e15 else rounded


def _text(text: str) -> str:
    return escape(text, quote=False).replace("\n", "<br>")


def _rgba(colour: str, opacity: float) -> str:
    return f"rgba({','.join(map(str, rgb(colour)))},{opacity:g})"


@dataclass(frozen=True)
class _Place:
    """Where a panel is: its number in names such as x2, and its box in parts of the plotting area."""

    number: int
    x: tuple[float, float]
    y: tuple[float, float]

    def key(self, axis: str) -> str:
        return axis if self.number == 1 else f"{axis}{self.number}"


class _Writer:
    """Traces, axes and annotations of one figure."""

    def __init__(self, figure: Figure, theme: Theme, size: tuple[int, int]) -> None:
        self.figure, self.theme, self.size = figure, theme, size
        self.subtitle = wrapped(figure.subtitle, size[0] - 28)
        self.lines = 1 + self.subtitle.count("\n") + bool(self.subtitle)
        self.traces: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.axes: dict[str, Any] = {}
        self.named: set[str] = set()
        self.margin = SIDES | {"t": self._head(), "l": self._left()}
        if any(isinstance(m, Cells) and m.bar for p in figure.panels for m in p.marks):
            self.margin["r"] = 100
        for place, panel in zip(self._places(), figure.panels, strict=True):
            self._panel(place, panel)

    def _head(self) -> int:
        """Pixels above the panels: title, subtitle, legend, and titles of the panels or a top axis."""
        below = 24 if any(p.title for p in self.figure.panels[: self.figure.columns]) else 8
        below += 40 if any(p.top for p in self.figure.panels[: self.figure.columns]) else 0
        return 22 + self.lines * LINE_HEIGHT + self._legend_rows() * LEGEND_ROW + below

    def _left(self) -> int:
        """Pixels beside the panels for the longest label of a tick."""
        ticks = [text for p in self.figure.panels for _, text in p.y.ticks or []]
        longest = max((len(line) for text in ticks for line in text.split("\n")), default=0)
        titled = any(p.y.label for p in self.figure.panels)
        return max(SIDES["l"], int(18 + LETTER * longest + 34 * titled))

    def _legend_rows(self) -> int:
        """Plotly gives every entry the width of the widest one."""
        if not self.figure.names:
            return 0
        widest = KEY + LETTER * max(len(name) for name in self.figure.names)
        per_row = max(1, int((self.size[0] - SIDES["l"] - SIDES["r"]) / widest))
        return -(-len(self.figure.names) // per_row)

    def _places(self) -> list[_Place]:
        figure = self.figure
        width = self.size[0] - self.margin["l"] - self.margin["r"]
        height = max(60, self.size[1] - self.margin["t"] - self.margin["b"])
        gap_x, gap_y = GAP_X / width, (GAP_SHARED if figure.share_x else GAP_Y) / height
        column = (1 - gap_x * (figure.columns - 1)) / figure.columns
        shares = np.array(figure.row_shares or [1.0] * figure.rows)
        heights = shares / shares.sum() * (1 - gap_y * (figure.rows - 1))
        places = []
        for i in range(len(figure.panels)):
            row, left = i // figure.columns, (i % figure.columns) * (column + gap_x)
            top = 1 - float(heights[:row].sum()) - gap_y * row
            places.append(_Place(i + 1, (left, min(1.0, left + column)), (max(0.0, top - float(heights[row])), top)))
        return places

    def _panel(self, place: _Place, panel: Panel) -> None:
        if panel.title:
            self._panel_title(place, panel.title)
        if panel.z is not None:
            self._scene(place, panel)
            return
        for direction, axis in (("x", panel.x), ("y", panel.y)):
            self.axes[f"{direction}axis{place.number if place.number > 1 else ''}"] = self._axis(
                place, panel, direction, axis
            )
        for mark in panel.marks:
            self._mark(place, panel, mark)
        if panel.top is not None:
            self._top(place, panel)

    def _panel_title(self, place: _Place, title: str) -> None:
        self.annotations.append(
            {
                "text": f"<b>{_text(title)}</b>",
                "xref": "paper",
                "yref": "paper",
                "x": place.x[0],
                "y": place.y[1],
                "xanchor": "left",
                "yanchor": "bottom",
                "yshift": 4,
                "showarrow": False,
                "font": {"size": 13},
            }
        )

    def _axis(self, place: _Place, panel: Panel, direction: str, axis: Axis) -> dict[str, Any]:
        low, high = limits(panel, direction)
        bottom = not self.figure.share_x or place.number > len(self.figure.panels) - self.figure.columns
        label = f"{axis.label}\n{axis.note}" if axis.note else axis.label
        found: dict[str, Any] = {
            "domain": list(place.x if direction == "x" else place.y),
            "anchor": place.key("y" if direction == "x" else "x"),
            "range": [float(np.log10(low)), float(np.log10(high))] if axis.log else [low, high],
            "type": "log" if axis.log else "linear",
            "gridcolor": self.theme.grid,
            "linecolor": self.theme.roles["muted"],
            "showline": True,
            "zeroline": False,
            "ticks": "outside",
            "tickcolor": self.theme.roles["muted"],
            "ticklen": 4,
        }
        if axis.log:
            found |= {"dtick": "D1" if high / low < 20 else 1, "exponentformat": "power"}
        if direction == "y" or bottom:
            found["title"] = {"text": _text(label), "standoff": 8, "font": {"size": 12}}
        else:
            found["showticklabels"] = False
        if self.figure.share_x and direction == "x" and place.number > self.figure.columns:
            found["matches"] = _Place((place.number - 1) % self.figure.columns + 1, (0, 0), (0, 0)).key("x")
        if axis.ticks is not None:
            found |= {
                "tickmode": "array",
                "tickvals": [t for t, _ in axis.ticks],
                "ticktext": [_text(s) for _, s in axis.ticks],
            }
            found.pop("dtick", None)
        if panel.square and direction == "y":
            found |= {"scaleanchor": place.key("x"), "constrain": "domain"}
        elif panel.square:
            found["constrain"] = "domain"
        return found

    def _top(self, place: _Place, panel: Panel) -> None:
        """A second x axis above; Plotly draws it only if a trace is on it."""
        assert panel.top is not None
        number = 100 + place.number
        low, high = ((v - panel.top.origin) / panel.top.unit for v in limits(panel, "x"))
        self.axes[f"xaxis{number}"] = {
            "overlaying": place.key("x"),
            "anchor": place.key("y"),
            "side": "top",
            "range": [low, high],
            "title": {"text": _text(panel.top.label), "standoff": 4, "font": {"size": 12}},
            "tickmode": "auto",
            "showgrid": False,
            "zeroline": False,
            "ticks": "outside",
            "ticklen": 4,
            "tickcolor": self.theme.roles["muted"],
            "linecolor": self.theme.roles["muted"],
            "showline": True,
        }
        self.traces.append(
            {
                "type": "scatter",
                "x": [low, high],
                "y": [None, None],
                "xaxis": f"x{number}",
                "yaxis": place.key("y"),
                "showlegend": False,
                "hoverinfo": "skip",
            }
        )

    def _scene(self, place: _Place, panel: Panel) -> None:
        name = "scene" if place.number == 1 else f"scene{place.number}"
        scene: dict[str, Any] = {
            "domain": {"x": list(place.x), "y": list(place.y)},
            "aspectmode": "cube",
            "camera": {"eye": {"x": 1.15, "y": -1.65, "z": 0.55}, "center": {"x": 0, "y": 0, "z": -0.12}},
        }
        for direction in ("x", "y", "z"):
            scene[f"{direction}axis"] = {
                "title": {"text": _text(getattr(panel, direction).label)},
                "range": list(limits(panel, direction)),
                "gridcolor": self.theme.grid,
                "backgroundcolor": self.theme.paper,
                "color": self.theme.text,
                "nticks": 5,
                "showspikes": False,
            }
        self.axes[name] = scene
        for mark in panel.marks:
            assert isinstance(mark, Curve)
            self.traces.append(
                {
                    "type": "scatter3d",
                    "mode": "lines",
                    "scene": name,
                    "x": numbers(mark.x),
                    "y": numbers(mark.y),
                    "z": numbers(mark.z),
                    "line": {"color": self.theme.roles[mark.role], "width": 2 * mark.width},
                }
                | self._legend(mark.name)
            )

    def _legend(self, name: str) -> dict[str, Any]:
        """Marks of one name are one entry of the legend, and are hidden together."""
        first = bool(name) and name not in self.named
        self.named.add(name)
        return {"name": _text(name), "legendgroup": _text(name), "showlegend": first} if name else {"showlegend": False}

    def _mark(self, place: _Place, panel: Panel, mark: Mark) -> None:
        if isinstance(mark, Note):
            self._note(place, panel, mark)
            return
        written = self._written(panel, mark)
        name = "" if isinstance(mark, Cells) else mark.name
        here = {"xaxis": place.key("x"), "yaxis": place.key("y")}
        if isinstance(mark, Cells) and mark.bar:
            written["colorbar"] |= {"y": sum(place.y) / 2, "len": place.y[1] - place.y[0]}
        self.traces.append(written | here | ({} if isinstance(mark, Cells) else self._legend(name)))

    def _written(self, panel: Panel, mark: Mark) -> dict[str, Any]:
        colour = "" if isinstance(mark, Cells | Note) else self.theme.roles[mark.role]
        match mark:
            case Line():
                return _line(mark.x, mark.y, colour, mark.width, mark.dash)
            case Points():
                return _points(mark, colour, self.theme.paper)
            case Band():
                known = np.isfinite(mark.low) & np.isfinite(mark.high)
                x, low, high = mark.x[known], mark.low[known], mark.high[known]
                outline = np.concatenate([x, x[::-1]]), np.concatenate([high, low[::-1]])
                return _filled(*outline, _rgba(colour, mark.opacity))
            case Region():
                low, high = limits(panel, "y" if mark.axis == "x" else "x")
                along, over = [mark.start, mark.stop, mark.stop, mark.start], [low, low, high, high]
                x, y = (along, over) if mark.axis == "x" else (over, along)
                return _filled(np.array(x), np.array(y), _rgba(colour, mark.opacity))
            case Reference():
                at, across = [mark.at, mark.at], list(limits(panel, "y" if mark.axis == "x" else "x"))
                x, y = (at, across) if mark.axis == "x" else (across, at)
                return _line(np.array(x), np.array(y), colour, 1.3, mark.dash) | {"hoverinfo": "name"}
            case Bars():
                return _bars(mark, colour)
            case Cells():
                return _cells(mark, self.theme)
        raise TypeError(f"no Plotly trace for {type(mark).__name__}")

    def _note(self, place: _Place, panel: Panel, note: Note) -> None:
        x, y = (float(np.log10(value)) if axis.log else value for value, axis in ((note.x, panel.x), (note.y, panel.y)))
        self.annotations.append(
            {
                "text": _text(note.text),
                "xref": place.key("x"),
                "yref": place.key("y"),
                "x": x,
                "y": y,
                "xanchor": note.anchor,
                "yanchor": "middle",
                "align": note.anchor,
                "showarrow": False,
                "font": {"size": 12, "color": self.theme.roles[note.role]},
            }
        )

    def layout(self) -> dict[str, Any]:
        theme = self.theme
        title = f"<b>{_text(self.figure.title)}</b>"
        if self.subtitle:
            title += f'<br><span style="font-size:12px">{_text(self.subtitle)}</span>'
        legend_top = 1 - (18 + self.lines * LINE_HEIGHT) / self.size[1]
        return {
            "title": {
                "text": title,
                "x": 0.012,
                "xanchor": "left",
                "y": 1,
                "yanchor": "top",
                "pad": {"t": 24},
                "font": {"size": 15},
            },
            "margin": self.margin,
            "paper_bgcolor": theme.paper,
            "plot_bgcolor": theme.paper,
            "font": {"family": FONT, "size": 12, "color": theme.text},
            "hoverlabel": {"font": {"family": FONT}},
            "legend": {
                "orientation": "h",
                "x": 0,
                "xanchor": "left",
                "y": legend_top,
                "yref": "container",
                "yanchor": "top",
                "bgcolor": "rgba(0,0,0,0)",
            },
            "annotations": self.annotations,
            "bargap": 0.2,
            "barmode": "overlay",
            **self.axes,
        }


def _line(x: np.ndarray, y: np.ndarray, colour: str, width: float, dash: str) -> dict[str, Any]:
    line = {"color": colour, "width": width, "dash": dash}
    return {"type": "scatter", "mode": "lines", "x": numbers(x), "y": numbers(y), "line": line}


def _filled(x: np.ndarray, y: np.ndarray, colour: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": numbers(x),
        "y": numbers(y),
        "fill": "toself",
        "fillcolor": colour,
        "line": {"width": 0, "color": colour},
        "hoverinfo": "skip",
    }


def _points(mark: Points, colour: str, paper: str) -> dict[str, Any]:
    written: dict[str, Any] = {
        "type": "scatter",
        "mode": "markers",
        "x": numbers(mark.x),
        "y": numbers(mark.y),
        "marker": {
            "color": paper if mark.hollow else colour,
            "size": mark.size,
            "symbol": mark.symbol,
            "line": {"color": colour, "width": 2 if mark.hollow else 0},
        },
    }
    if mark.low is not None and mark.high is not None:
        centre = mark.y if mark.bars == "y" else mark.x
        written[f"error_{mark.bars}"] = {
            "type": "data",
            "symmetric": False,
            "array": numbers(mark.high - centre),
            "arrayminus": numbers(centre - mark.low),
            "color": colour,
            "thickness": 2,
            "width": 4,
        }
    if mark.texts is not None:
        written |= {"text": [_text(t) for t in mark.texts], "hovertemplate": "%{text}<extra></extra>"}
    return written


def _bars(mark: Bars, colour: str) -> dict[str, Any]:
    written: dict[str, Any] = {
        "type": "bar",
        "orientation": "v" if mark.along == "y" else "h",
        "x": numbers(mark.x),
        "y": numbers(mark.y),
        "width": mark.width,
        "marker": {"color": colour},
    }
    if mark.texts is not None:
        hover = {"hovertext": [_text(t) for t in mark.texts], "hoverinfo": "text"}
        written |= hover
    return written


def _cells(mark: Cells, theme: Theme) -> dict[str, Any]:
    written: dict[str, Any] = {
        "type": "heatmap",
        "x": numbers(mark.x),
        "y": numbers(mark.y),
        "z": numbers(mark.z),
        "zmin": 0,
        "zmax": float(np.nanmax(mark.z)) or 1.0 if mark.most is None else mark.most,
        "colorscale": [[0, theme.cells[0]], [0.5, theme.cells[1]], [1, theme.cells[2]]],
        "showscale": mark.bar,
    }
    if mark.bar:
        written["colorbar"] = {
            "title": {"text": _text(mark.label), "side": "right", "font": {"size": 12}},
            "thickness": 12,
            "outlinewidth": 0,
        }
    return written

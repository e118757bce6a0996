"""What a figure consists of: panels, axes and marks, independent of who draws them.

Colours are roles, not values: a theme gives them. Everything that must not touch the data (reference lines, shaded
regions) has a name in the legend instead of words inside the panel, so that nothing ever overlaps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Role = str  # data, model, third, fourth, fifth, muted or ink: `themes` has a colour for each
Dash = str  # solid, dash or dot
Symbol = str  # circle, diamond, square or x
Direction = str  # x, y or z

PADDING = 0.05  # of the span of the data, on both sides


@dataclass(frozen=True)
class Axis:
    """`ticks`: places (in the axis' own coordinates) and their texts, where the usual numbers will not do."""

    label: str
    log: bool = False
    limits: tuple[float, float] | None = None
    tight: bool = False  # no padding: the data go from edge to edge
    ticks: list[tuple[float, str]] | None = None
    note: str = ""  # a second line of the label, such as how the scale is compressed


@dataclass(frozen=True)
class TopAxis:
    """The x axis in other units, on top: value = (x - origin) / unit."""

    label: str
    origin: float
    unit: float


@dataclass(frozen=True)
class Line:
    """(K,) against (K,); NaN interrupts it."""

    x: np.ndarray
    y: np.ndarray
    role: Role
    name: str = ""
    dash: Dash = "solid"
    width: float = 1.6


@dataclass(frozen=True)
class Curve:
    """A line in space."""

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    role: Role
    name: str = ""
    width: float = 0.8


@dataclass(frozen=True)
class Points:
    """Single points, with intervals from `low` to `high` (absolute, along `bars`) where given; `texts` say more on hovering."""

    x: np.ndarray
    y: np.ndarray
    role: Role
    name: str = ""
    symbol: Symbol = "circle"
    size: float = 8.0
    hollow: bool = False
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    bars: Direction = "y"
    texts: list[str] | None = None


@dataclass(frozen=True)
class Band:
    x: np.ndarray
    low: np.ndarray
    high: np.ndarray
    role: Role
    name: str = ""
    opacity: float = 0.25


@dataclass(frozen=True)
class Bars:
    """Upright from zero, or lying where `along` is x (then `x` are the lengths)."""

    x: np.ndarray
    y: np.ndarray
    role: Role
    name: str = ""
    along: Direction = "y"
    width: float = 0.6
    texts: list[str] | None = None


@dataclass(frozen=True)
class Cells:
    """A picture of (len(y), len(x)) values at the cells' centres; `label` says what the colours count."""

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    label: str
    most: float | None = None  # value of the strongest colour
    bar: bool = True  # whether the colours' key is drawn


@dataclass(frozen=True)
class Reference:
    """A straight line across the panel, at a value of one axis."""

    at: float
    axis: Direction
    role: Role = "ink"
    name: str = ""
    dash: Dash = "dash"


@dataclass(frozen=True)
class Region:
    """A shaded stretch of one axis, across the panel."""

    start: float
    stop: float
    axis: Direction = "x"
    role: Role = "muted"
    name: str = ""
    opacity: float = 0.14


@dataclass(frozen=True)
class Note:
    """Words beside a place of the panel, where there is room for them."""

    x: float
    y: float
    text: str
    anchor: Literal["left", "center", "right"] = "left"
    role: Role = "ink"


Mark = Line | Curve | Points | Band | Bars | Cells | Reference | Region | Note


@dataclass(frozen=True)
class Panel:
    x: Axis
    y: Axis
    marks: Sequence[Mark]
    title: str = ""
    z: Axis | None = None  # with it the panel is a box to be looked into
    top: TopAxis | None = None
    square: bool = False


@dataclass(frozen=True)
class Figure:
    """Panels in rows of `columns`; `size` in pixels (CSS) of the whole as it is drawn by default."""

    title: str
    subtitle: str
    panels: list[Panel]
    columns: int = 1
    size: tuple[int, int] = (900, 480)
    share_x: bool = False  # panels of one column have one x axis: labelled at the bottom
    row_shares: list[float] = field(default_factory=list)  # relative heights of the rows; equal where empty

    @property
    def rows(self) -> int:
        return -(-len(self.panels) // self.columns)

    @property
    def names(self) -> list[str]:
        """Entries of the legend, in the order in which they first occur."""
        marks = [mark for panel in self.panels for mark in panel.marks if not isinstance(mark, Note | Cells)]
        return list(dict.fromkeys(mark.name for mark in marks if mark.name))


def limits(panel: Panel, direction: Direction) -> tuple[float, float]:
    """The range of an axis: as given, else what its marks span and a little more. Both drawers use it, so both show the same."""
    axis: Axis = getattr(panel, direction) or Axis("")
    if axis.limits is not None:
        return axis.limits
    values = np.concatenate([np.zeros(0), *(_extent(mark, direction) for mark in panel.marks)])
    values = values[np.isfinite(values) & ((values > 0) if axis.log else True)]
    if values.size == 0:
        return (1.0, 10.0) if axis.log else (0.0, 1.0)
    low, high = float(values.min()), float(values.max())
    if axis.log:
        low, high = np.log10(low), np.log10(high)
    span = high - low or (1.0 if axis.log else 0.2 * abs(high) or 1.0)
    pad = 0.5 * span if high == low else 0.0 if axis.tight else PADDING * span
    low, high = float(low - pad), float(high + pad)
    return (10.0**low, 10.0**high) if axis.log else (low, high)


def _extent(mark: Mark, direction: str) -> np.ndarray:
    """Values along one axis that must be in sight."""
    match mark:
        case Reference() | Note():
            return np.zeros(0)  # they are shown where the data are
        case Region():
            return np.zeros(0)
        case Band():
            return np.concatenate([mark.low, mark.high]) if direction == "y" else mark.x
        case Bars():
            ends = getattr(mark, direction)
            if direction == mark.along:
                return np.append(ends, 0.0)
            return np.concatenate([ends - mark.width / 2, ends + mark.width / 2])
        case Points() if direction == mark.bars and mark.low is not None and mark.high is not None:
            return np.concatenate([getattr(mark, direction), mark.low, mark.high])
        case Cells():
            return edges(getattr(mark, direction))
    return np.asarray(getattr(mark, direction, np.zeros(0)))


def edges(centres: np.ndarray) -> np.ndarray:
    """Borders of evenly spaced cells: (K,) -> (K + 1,)."""
    step = (centres[-1] - centres[0]) / (len(centres) - 1) if len(centres) > 1 else 1.0
    return np.append(centres - step / 2, centres[-1] + step / 2)


def array(values: Sequence[float | None] | np.ndarray) -> np.ndarray:
    """Values of a document: null becomes NaN."""
    return np.array(values, dtype=float)

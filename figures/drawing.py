"""A figure drawn with matplotlib, as PNG or SVG.

No pyplot, hence no global list of figures. Matplotlib promises nothing about threads, so one figure is drawn at a time in a
process; the options that it only knows as global ones are set while the lock is held.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure as Canvas
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator

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
    edges,
    limits,
)
from figures.themes import THEMES, Theme, ThemeName
from figures.words import LETTER, num, wrapped

PIXELS_PER_INCH = 100.0
_POINT = 72.0 / PIXELS_PER_INCH  # of a pixel
_TITLE, _LABEL, _TICK = 15 * _POINT, 12 * _POINT, 11 * _POINT
_LEAST_SHARE = 0.3  # of a figure's height for its panels
_DASHES = {"solid": "-", "dash": (0, (5, 3)), "dot": (0, (1, 2))}
_SYMBOLS = {"circle": "o", "diamond": "D", "square": "s", "x": "X"}
_KEY, _ROW = 54.0, 20.0  # pixels of a key and a row of the legend
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_lock = threading.Lock()
_OPTIONS: Any = {
    "text.parse_math": False,  # a channel may be called $x
    "svg.fonttype": "path",  # looks the same wherever it is opened
    "svg.hashsalt": "attractor",  # the same figure gives the same bytes
    "path.simplify_threshold": 0.2,
    "axes.unicode_minus": True,
}


@contextmanager
def drawing(theme: ThemeName) -> Iterator[None]:
    """Whatever is composed and saved herein is so with the room's options, and by nobody else at the same time."""
    with _lock, mpl.rc_context(_OPTIONS | {"grid.color": THEMES[theme].grid}):
        yield


def draw(
    figure: Figure,
    kind: str,
    theme: ThemeName = "light",
    width: int | None = None,
    height: int | None = None,
    scale: float = 2.0,
) -> bytes:
    """The figure in a file of `kind` png or svg: `width` and `height` in pixels of the page, of which a PNG has `scale` squared for each."""
    size = (width or figure.size[0], height or figure.size[1])
    with drawing(theme):
        canvas = compose(figure, THEMES[theme], size)
        file = io.BytesIO()
        metadata = {"Title": figure.title} | ({"Date": None} if kind == "svg" else {})
        dpi = PIXELS_PER_INCH * (scale if kind == "png" else 1.0)
        canvas.savefig(file, format=kind, dpi=dpi, facecolor=canvas.get_facecolor(), metadata=metadata)
        return file.getvalue()


def compose(figure: Figure, theme: Theme, size: tuple[int, int]) -> Canvas:
    """Everything on its place, not yet rendered."""
    canvas = Canvas(figsize=(size[0] / PIXELS_PER_INCH, size[1] / PIXELS_PER_INCH), facecolor=theme.paper)
    FigureCanvasAgg(canvas)
    engine = ConstrainedLayoutEngine(h_pad=0.05, w_pad=0.06, hspace=0.03, wspace=0.04)
    canvas.set_layout_engine(engine)  # before any key of colours: it decides how room is made for them
    grid = canvas.add_gridspec(figure.rows, figure.columns, height_ratios=figure.row_shares or None)
    for i, panel in enumerate(figure.panels):
        row, column = divmod(i, figure.columns)
        axes: Any = canvas.add_subplot(grid[row, column], projection="3d" if panel.z is not None else None)
        last = i >= len(figure.panels) - figure.columns
        draw_panel(axes, panel, theme, label_x=last or not figure.share_x)
    head = _head(canvas, figure, theme, size)
    if any(panel.z is not None for panel in figure.panels):  # boxes leave room about them as it is
        canvas.set_layout_engine(None)
        canvas.subplots_adjust(left=0.012, right=0.94, bottom=0.03, top=1 - (head + 14) / size[1], wspace=0.06)
    else:
        # Where the words alone fill a small figure, they lie over the panels: no layout has room for less than nothing.
        engine.set(rect=(0.004, 0.008, 0.99, max(1 - head / size[1] - 0.008, _LEAST_SHARE)))
    return canvas


def _head(canvas: Canvas, figure: Figure, theme: Theme, size: tuple[int, int]) -> float:
    """Title, subtitle and legend at the top; the pixels that they take."""
    width, height = size
    left, used = 14 / width, 10.0

    def place(text: str, points: float, **style: Any) -> None:
        nonlocal used
        canvas.text(left, 1 - used / height, text, fontsize=points, va="top", color=theme.text, **style)
        used += points / _POINT * 1.32 * (1 + text.count("\n"))

    place(figure.title, _TITLE, fontweight="bold")
    if figure.subtitle:
        place(wrapped(figure.subtitle, width - 28), _LABEL)
    if not figure.names:
        return used + 4
    handles = _handles(canvas)
    found = [(handles[name], name) for name in figure.names if name in handles]
    columns = _columns([name for _, name in found], width - 28)
    canvas.legend(
        [h for h, _ in found],
        [name for _, name in found],
        loc="upper left",
        bbox_to_anchor=(left - 2 / width, 1 - used / height),
        borderaxespad=0.2,
        borderpad=0.1,
        ncols=columns,
        frameon=False,
        fontsize=_LABEL,
        labelcolor=theme.text,
        handlelength=1.9,
        columnspacing=1.6,
        labelspacing=0.25,
    )
    return used + 6 + _ROW * -(-len(found) // columns)


def _columns(names: list[str], width: float) -> int:
    """As many columns as fit; matplotlib fills them downwards, the first ones with one more, each as wide as its widest entry."""
    for columns in range(len(names), 1, -1):
        parts = np.array_split(np.array([len(name) for name in names]), columns)
        if sum(_KEY + LETTER * int(part.max()) for part in parts) <= width:
            return columns
    return 1


def _handles(canvas: Canvas) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for axes in canvas.axes:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(name, handle)
    return found


def draw_panel(axes: Any, panel: Panel, theme: Theme, label_x: bool = True) -> None:
    """One panel into axes that somebody else has placed; three-dimensional axes for a panel with z."""
    _style(axes, theme)
    if panel.title:
        axes.set_title(panel.title, loc="left", fontsize=13 * _POINT, fontweight="bold", color=theme.text)
    for mark in panel.marks:
        _mark(axes, panel, mark, theme)
    axes.set_xlim(limits(panel, "x"))
    axes.set_ylim(limits(panel, "y"))
    if panel.z is not None:
        _space(axes, panel)
        return
    _ticks(axes.xaxis, panel.x)
    _ticks(axes.yaxis, panel.y)
    axes.set_ylabel(_label(panel.y), fontsize=_LABEL)
    if label_x:
        axes.set_xlabel(_label(panel.x), fontsize=_LABEL)
    else:
        axes.tick_params(labelbottom=False)
    if panel.square:
        axes.set_aspect("equal")
    if panel.top is not None:
        _top(axes, panel, theme)


def _label(axis: Axis) -> str:
    return f"{axis.label}\n{axis.note}" if axis.note else axis.label


def _style(axes: Any, theme: Theme) -> None:
    axes.set_facecolor(theme.paper)
    axes.tick_params(labelsize=_TICK, colors=theme.text, which="both")
    for name in ("xaxis", "yaxis", "zaxis"):
        if (axis := getattr(axes, name, None)) is not None:
            axis.label.set_color(theme.text)
    if axes.name == "3d":
        return
    axes.tick_params(color=theme.roles["muted"], which="both", length=3.5)
    axes.grid(color=theme.grid, linewidth=0.6)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_color(theme.roles["muted"])
        spine.set_visible(side in ("left", "bottom"))


def _ticks(axis: Any, asked: Axis) -> None:
    if asked.log:
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
        low, high = axis.get_view_interval()
        axis.set_major_formatter(FuncFormatter(lambda v, _: _power(v)))
        if high / low > 1e3:
            axis.set_minor_locator(NullLocator())
        axis.set_minor_formatter(FuncFormatter(lambda v, _: _power(v)) if high / low < 20 else NullFormatter())
    elif asked.ticks is None:
        axis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    if asked.ticks is not None:
        axis.set_major_locator(FixedLocator([place for place, _ in asked.ticks]))
        axis.set_ticklabels([text for _, text in asked.ticks])
        axis.set_minor_locator(NullLocator())


def _power(value: float) -> str:
    """Powers of ten as such, other numbers as they are; the library's own way needs its mathematical text."""
    exponent = np.log10(value)
    if abs(exponent - round(exponent)) > 1e-9 or abs(exponent) < 2.5:
        return num(value)
    return f"10{str(round(exponent)).translate(_SUPERSCRIPTS)}"


def _space(axes: Any, panel: Panel) -> None:
    assert panel.z is not None
    axes.patch.set_visible(False)  # it would cover the labels of the box beside it
    axes.set_zlim(limits(panel, "z"))
    axes.set_xlabel(panel.x.label, fontsize=_LABEL)
    axes.set_ylabel(panel.y.label, fontsize=_LABEL)
    axes.set_zlabel(panel.z.label, fontsize=_LABEL)
    axes.view_init(elev=14, azim=-58)
    axes.set_box_aspect((4, 4, 3.4), zoom=1.06)
    axes.locator_params(nbins=5)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color((0, 0, 0, 0))


def _top(axes: Axes, panel: Panel, theme: Theme) -> None:
    assert panel.top is not None
    origin, unit = panel.top.origin, panel.top.unit
    top = axes.secondary_xaxis(
        "top", functions=(lambda x: (np.asarray(x) - origin) / unit, lambda u: np.asarray(u) * unit + origin)
    )
    top.set_xlabel(panel.top.label, fontsize=_LABEL, color=theme.text)
    top.tick_params(labelsize=_TICK, labelcolor=theme.text, color=theme.roles["muted"])
    top.spines["top"].set_color(theme.roles["muted"])


def _mark(axes: Any, panel: Panel, mark: Mark, theme: Theme) -> None:
    match mark:
        case Line():
            style = {"linewidth": mark.width * _POINT, "linestyle": _DASHES[mark.dash], "color": theme.roles[mark.role]}
            axes.plot(mark.x, mark.y, label=mark.name, **style)
        case Curve():
            axes.plot(
                mark.x, mark.y, mark.z, label=mark.name, linewidth=mark.width * _POINT, color=theme.roles[mark.role]
            )
        case Points():
            _points(axes, mark, theme)
        case Band():
            colour = theme.roles[mark.role]
            axes.fill_between(
                mark.x, mark.low, mark.high, color=colour, alpha=mark.opacity, linewidth=0, label=mark.name
            )
        case Bars():
            place = axes.bar if mark.along == "y" else axes.barh
            ends = (mark.x, mark.y) if mark.along == "y" else (mark.y, mark.x)
            place(*ends, mark.width, color=theme.roles[mark.role], label=mark.name)
        case Cells():
            _cells(axes, mark, theme)
        case Reference():
            across = axes.axvline if mark.axis == "x" else axes.axhline
            style = {"linewidth": 1.3 * _POINT, "linestyle": _DASHES[mark.dash], "color": theme.roles[mark.role]}
            across(mark.at, label=mark.name, **style)
        case Region():
            shade = axes.axvspan if mark.axis == "x" else axes.axhspan
            colour = theme.roles[mark.role]
            shade(mark.start, mark.stop, color=colour, alpha=mark.opacity, linewidth=0, label=mark.name)
        case Note():
            colour = theme.roles[mark.role]
            axes.text(mark.x, mark.y, mark.text, ha=mark.anchor, va="center", fontsize=_LABEL, color=colour)


def _points(axes: Any, mark: Points, theme: Theme) -> None:
    colour, errors = theme.roles[mark.role], None
    if mark.low is not None and mark.high is not None:
        centre = mark.y if mark.bars == "y" else mark.x
        errors = np.abs(np.array([centre - mark.low, mark.high - centre]))
    axes.errorbar(
        mark.x,
        mark.y,
        **{f"{mark.bars}err": errors},
        fmt=_SYMBOLS[mark.symbol],
        color=colour,
        markersize=mark.size * _POINT,
        markerfacecolor=theme.paper if mark.hollow else colour,
        markeredgewidth=1.4,
        elinewidth=1.5,
        capsize=2.5,
        label=mark.name,
    )


def _cells(axes: Any, mark: Cells, theme: Theme) -> None:
    colours = LinearSegmentedColormap.from_list("cells", theme.cells)
    x, y = edges(mark.x), edges(mark.y)
    most = float(np.nanmax(mark.z)) or 1.0 if mark.most is None else mark.most
    picture = axes.imshow(
        mark.z,
        cmap=colours,
        vmin=0,
        vmax=most,
        origin="lower",
        extent=(x[0], x[-1], y[0], y[-1]),
        aspect="auto",
        interpolation="nearest",
    )
    axes.grid(visible=False)
    if mark.bar:
        bar = axes.figure.colorbar(picture, ax=axes, fraction=0.05, pad=0.02)
        bar.set_label(mark.label, fontsize=_LABEL, color=theme.text)
        bar.ax.tick_params(labelsize=_TICK, colors=theme.text)
        bar.outline.set_visible(False)

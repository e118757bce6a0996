"""Figures of results: which there are, as Plotly for notebooks and pages, as PNG and SVG files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from attractor_client._documents import build
from attractor_client._operations import Bound, operation
from attractor_client._protocol import Request, Steps, call

_COLLECTIONS = {"ana": "analyses", "mdl": "models", "fct": "forecasts", "evl": "evaluations"}
Theme = Literal["light", "dark"]


@dataclass(frozen=True)
class FigureInfo:
    """A figure that a result has, or, with a `reason`, one that it lacks."""

    name: str
    title: str
    shows: str = ""
    reason: str | None = None


@dataclass(frozen=True)
class Figure:
    """A figure as Plotly has it: {"data": ..., "layout": ...}. In a notebook it draws itself."""

    name: str
    plotly: dict[str, Any] = field(repr=False)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {"application/vnd.plotly.v1+json": self.plotly, "text/plain": repr(self)}

    def to_plotly(self) -> Any:
        """The same as a `plotly.graph_objects.Figure`, to be changed; needs plotly."""
        import plotly.graph_objects

        return plotly.graph_objects.Figure(self.plotly)


class FigureCalls(Bound):
    """`result`: an analysis, a model, a forecast, an evaluation, or the id of one."""

    @operation
    def figures(self, result: Any) -> Steps[list[FigureInfo]]:
        """Which figures a result has, and at the end, with the reason, which it lacks."""
        document = (yield from call(self._policy, Request("GET", f"{_path(result)}/figures"))).document
        return [build(FigureInfo, entry) for entry in (*document["data"], *document["missing"])]

    @operation
    def figure(self, result: Any, name: str, *, theme: Theme = "light") -> Steps[Figure]:
        """One figure as Plotly JSON. Raises NotFound for a name that there is not, and says which there are."""
        request = Request("GET", f"{_path(result)}/figures/{name}", params={"format": "plotly", "theme": theme})
        return Figure(name, (yield from call(self._policy, request)).document)

    @operation
    def save_figure(
        self,
        result: Any,
        name: str,
        path: str | Path,
        *,
        theme: Theme = "light",
        width: int | None = None,
        height: int | None = None,
        scale: float | None = None,
    ) -> Steps[Path]:
        """Write a figure to `path`, whose ending says how: .png, .svg, or .json for Plotly.

        `width` and `height` in pixels of a page, `scale` the pixels of a PNG for each of them (4 for print).
        """
        path = Path(path)
        kinds = {".png": "png", ".svg": "svg", ".json": "plotly"}
        if path.suffix.lower() not in kinds:
            raise ValueError(f"{path.name!r} must end in .png, .svg or .json: the ending says what is written.")
        options = {"theme": theme, "width": width, "height": height, "scale": scale}
        params = {"format": kinds[path.suffix.lower()], **{k: v for k, v in options.items() if v is not None}}
        reply = yield from call(self._policy, Request("GET", f"{_path(result)}/figures/{name}", params=params))
        path.write_bytes(reply.content)
        return path


def _path(result: Any) -> str:
    id = result if isinstance(result, str) else getattr(result, "id", None)
    collection = _COLLECTIONS.get(str(id).partition("_")[0])
    if not id:
        raise ValueError("This result has no id: it was made here, not by the service, which draws what it has stored.")
    if collection is None:
        raise ValueError(f"{id!r} has no figures: analyses, models, forecasts and evaluations have some.")
    return f"/v1/{collection}/{id}"

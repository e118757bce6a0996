"""Which form of a figure a caller wants, and the tag by which it is known again."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from typing import Any

from api.errors import NotAcceptable
from api.figures.schemas import FigureFormat

PLOTLY = "application/vnd.plotly.v1+json"
MEDIA_TYPES = {
    PLOTLY: FigureFormat.PLOTLY,
    "application/json": FigureFormat.PLOTLY,
    "image/png": FigureFormat.PNG,
    "image/svg+xml": FigureFormat.SVG,
}
_OWN = {FigureFormat.PLOTLY: "application/json", FigureFormat.PNG: "image/png", FigureFormat.SVG: "image/svg+xml"}
_WILD = {"*/*": "application/json", "application/*": "application/json", "image/*": "image/png", "": "application/json"}
_FIGURE = {"type": "object", "required": ["data", "layout"], "description": "A figure of Plotly."}
_FILE = {"type": "string", "format": "binary"}
CONTENT: dict[str, Any] = {
    media_type: {"schema": _FIGURE if form is FigureFormat.PLOTLY else _FILE} for media_type, form in MEDIA_TYPES.items()
}  # fmt: skip


def choose(asked: FigureFormat | None, accept: str) -> tuple[FigureFormat, str]:
    """Format and media type: `?format=` wins, else the preferred one of Accept (RFC 9110, 12.5.1) that there is; NotAcceptable if none."""
    if asked is not None:
        return asked, _OWN[asked]
    ranked = sorted(((quality(part), -i, part) for i, part in enumerate(accept.split(","))), reverse=True)
    for weight, _, part in ranked:
        name = part.partition(";")[0].strip().lower()
        media_type = _WILD.get(name, name)
        if weight > 0 and media_type in MEDIA_TYPES:
            return MEDIA_TYPES[media_type], media_type
    raise NotAcceptable(
        f"A figure is not to be had as {accept[:100]!r}: ask for {', '.join(MEDIA_TYPES)}, or use ?format=plotly, png or svg."
    )


def quality(media_range: str) -> float:
    """The weight `q` of a media range; 1 where there is none, 0 where it is nonsense."""
    for parameter in media_range.split(";")[1:]:
        name, _, value = parameter.strip().partition("=")
        if name.lower() == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0


def tag_of(plotly: bytes, chosen: FigureFormat, scale: float) -> str:
    """An ETag that is known before anything is drawn: the figure's own JSON, and what decides how it is drawn."""
    drawn_by = "" if chosen is FigureFormat.PLOTLY else f"{version('matplotlib')} {scale:g}"
    digest = hashlib.sha256(f"{chosen} {drawn_by} {version('attractor')} ".encode() + plotly)
    return f'"{digest.hexdigest()[:32]}"'

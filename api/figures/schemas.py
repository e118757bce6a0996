"""What is said about figures, and how they may be asked for."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from domain.base import Document


class FigureFormat(StrEnum):
    PLOTLY = "plotly"
    PNG = "png"
    SVG = "svg"


class FigureTheme(StrEnum):
    LIGHT = "light"
    DARK = "dark"


class FigureOut(Document):
    """A figure of a result."""

    name: str
    title: str
    shows: str = Field(description="What is to be seen.")
    href: str = Field(description="Plotly JSON there; PNG or SVG by `Accept` or `?format=`.")


class MissingFigure(Document):
    """A figure that other results of this kind have."""

    name: str
    title: str
    reason: str = Field(description="Why this result does not have it.")


class FiguresOut(Document):
    """The figures of one result."""

    data: list[FigureOut]
    missing: list[MissingFigure] = Field(description="Figures for which this result lacks the data.")

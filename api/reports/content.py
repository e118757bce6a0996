"""What a report consists of, whoever sets it: sections of paragraphs, facts, tables and figures. All text is plain text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from figures.parts import Figure


@dataclass(frozen=True)
class Text:
    text: str
    strong: bool = False


@dataclass(frozen=True)
class Facts:
    """Names and what they are."""

    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Table:
    """`numbers`: columns that are set to the right."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    numbers: frozenset[int] = frozenset()
    shares: Sequence[float] = ()  # of the width, where columns differ much


@dataclass(frozen=True)
class Picture:
    figure: Figure
    text: str  # for those who do not see it
    height: int | None = None  # in pixels, where the figure's own is more than it needs here

    @property
    def size(self) -> tuple[int, int]:
        return self.figure.size[0], self.height or self.figure.size[1]


@dataclass(frozen=True)
class Items:
    """A list, such as of warnings or references."""

    texts: Sequence[str]
    ordered: bool = False


Block = Text | Facts | Table | Picture | Items


@dataclass(frozen=True)
class Section:
    title: str
    blocks: list[Block]


@dataclass(frozen=True)
class Report:
    """`summary` stands before the sections; `made` is the model's own moment: a report of it is the same at any time."""

    title: str
    subtitle: str
    summary: list[Block]
    sections: list[Section]
    made: str  # RFC 3339
    version: str

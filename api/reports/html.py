"""A report as one HTML file that loads nothing. Text is escaped by the template engine; figures are images, so nothing in
them runs either."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from api.reports.content import Block, Picture, Report

MEDIA_TYPE = "text/html"
# Nothing runs, nothing is fetched, wherever the file is opened.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


@cache
def _template() -> Template:
    loader = FileSystemLoader(Path(__file__).parent)
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template("report.html")


def render(report: Report) -> bytes:
    return _template().render(report=report, kinds=_kinds, svg=_svg).encode()


def _kinds(blocks: Sequence[Block]) -> list[tuple[str, Block]]:
    return [(type(block).__name__, block) for block in blocks]


def _svg(picture: Picture) -> str:
    from figures.drawing import draw  # matplotlib takes a second to import

    return base64.b64encode(draw(picture.figure, "svg", height=picture.height)).decode()

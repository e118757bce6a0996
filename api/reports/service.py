"""A report, from the store to the bytes. Runs in a thread."""

from __future__ import annotations

from dataclasses import dataclass

from api.dependencies import Services
from api.figures import service as figures
from api.figures.service import Result
from api.reports import html
from api.reports.gathering import Gathered, forecast
from api.reports.sections import build
from domain.errors import NotFound
from figures.parts import Figure


@dataclass(frozen=True)
class Made:
    body: bytes
    media_type: str
    policy: str | None = None


def render(services: Services, tenant: str, found: Gathered, form: str) -> Made:
    """`form`: html or pdf."""
    document, origin = forecast(services, tenant, found)
    results = {
        "model": Result("model", found.model, found.model, found.analysis),
        "analysis": found.analysis and Result("analysis", found.analysis, None, None),
        "forecast": document and Result("forecast", document, None, None),
    }

    def draw(kind: str, name: str) -> Figure:
        result = results[kind]
        if not result:
            raise NotFound(f"There is no {kind}.")
        return figures.figure_of(services, tenant, result, name)

    report = build(found, document, origin, draw)
    if form == "html":
        return Made(html.render(report), f"{html.MEDIA_TYPE}; charset=utf-8", html.POLICY)
    from api.reports import pdf  # its library takes a while to import

    return Made(pdf.render(report), pdf.MEDIA_TYPE)

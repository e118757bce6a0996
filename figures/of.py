"""Which figures each kind of result has."""

from __future__ import annotations

from figures import evidence, exponents, forecasts, reconstruction
from figures.catalogue import Definition

DEFINITIONS: dict[str, list[Definition]] = {
    "analysis": [*exponents.FIGURES, *evidence.FIGURES],
    "model": reconstruction.MODEL_FIGURES,
    "forecast": forecasts.FIGURES,
    "evaluation": reconstruction.REPORT_FIGURES,
}


def find(resource: str, name: str) -> Definition | None:
    return next((d for d in DEFINITIONS[resource] if d.name == name), None)

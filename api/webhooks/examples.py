"""Example requests for the OpenAPI document; tests send them."""

from __future__ import annotations

from typing import Any

from fastapi.openapi.models import Example

_NEW: dict[str, tuple[str, dict[str, Any]]] = {
    "everything": ("Told when any job ends", {"url": "https://example.org/attractor"}),
    "failures": (
        "Told of failures only",
        {"url": "https://hooks.example.org:8443/jobs?team=lab", "events": ["job.failed"], "description": "on-call"},
    ),
}
_CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "pause": ("Send nothing for now", {"enabled": False}),
    "move": ("Another address, other events", {"url": "https://example.org/new", "events": ["job.succeeded"]}),
}


def _examples(found: dict[str, tuple[str, dict[str, Any]]]) -> dict[str, Example]:
    return {name: Example(summary=summary, value=value) for name, (summary, value) in found.items()}


NEW, CHANGES = _examples(_NEW), _examples(_CHANGES)

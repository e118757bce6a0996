"""Which key may do what: the one place where endpoints have their scopes. By resource, so that a new endpoint of a known
resource has one by itself; of an unknown resource no OpenAPI document can be made (`declared`)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from domain.keys import Scope

READING = ("GET", "HEAD", "OPTIONS")
PREFIX = "/v1/"


@dataclass(frozen=True)
class Rule:
    """What a request needs: a key (where keys are demanded), and a scope of it (None: any key will do)."""

    key: bool
    scope: Scope | None = None


OPEN = Rule(key=False)
ANY_KEY = Rule(key=True)
_RESULTS = (Scope.RESULTS_READ, Scope.RESULTS_WRITE)
# Under /v1/, by the first part of the path: to read, and to do anything else.
RESOURCES: dict[str, tuple[Scope | None, Scope | None]] = {
    "series": (Scope.SERIES_READ, Scope.SERIES_WRITE),
    "samples": (None, Scope.SERIES_WRITE),
    "jobs": (Scope.JOBS_READ, Scope.JOBS_WRITE),
    "analyses": _RESULTS,
    "models": _RESULTS,
    "forecasts": _RESULTS,
    "evaluations": _RESULTS,
    "webhooks": (Scope.WEBHOOKS, Scope.WEBHOOKS),
    "keys": (Scope.ADMIN, Scope.ADMIN),
    "audit-events": (Scope.ADMIN, Scope.ADMIN),
    "me": (None, None),
}
# What says nothing about anybody: documentation.
OPEN_RESOURCES = ("capabilities", "problems")
_EXCEPTIONS = (
    ("POST", re.compile(r"/v1/models/[^/]+/forecasts"), Rule(True, Scope.JOBS_WRITE)),
    ("GET", re.compile(r"/v1/jobs/[^/]+/result"), Rule(True, Scope.RESULTS_READ)),
    ("GET", re.compile(r"/metrics"), Rule(True, Scope.METRICS)),
)


def rule_for(method: str, path: str) -> Rule:
    """The rule of a request. Outside /v1/ there are the page, the documentation and the health checks, open to all."""
    for exception, pattern, rule in _EXCEPTIONS:
        if method == exception and pattern.fullmatch(path):
            return rule
    if not path.startswith(PREFIX):
        return OPEN
    resource = _resource(path)
    if resource in OPEN_RESOURCES:
        return OPEN
    reading, other = RESOURCES.get(resource, (None, None))
    return Rule(True, reading if method in READING else other)


def declared(method: str, path: str) -> Rule:
    """The rule of an operation; LookupError where somebody has added a resource, and not said here who may use it."""
    if path.startswith(PREFIX) and _resource(path) not in {*RESOURCES, *OPEN_RESOURCES}:
        raise LookupError(f"{path}: name the scopes of this resource in api/auth/rules.py")
    return rule_for(method, path)


def _resource(path: str) -> str:
    return path.removeprefix(PREFIX).split("/", 1)[0]

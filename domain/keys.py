"""Keys: what they look like, what they allow, and who a request comes from.

A key reads `atr_` + 8 characters that may be shown (they tell keys apart in lists) + 32 secret ones (190 random bits) + 6
of a checksum, so that a key that was cut or mistyped is told from one that is unknown, and scanners for leaked secrets
recognise it.
"""

from __future__ import annotations

import re
import secrets
import string
import zlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

PREFIX: Final = "atr_"
DEFAULT_TENANT: Final = "default"
TENANT: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_ALPHABET: Final = string.digits + string.ascii_letters
_SHOWN, _SECRET, _CHECK = 8, 32, 6
_FORM: Final = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{_SHOWN + _SECRET + _CHECK}}}")


class Scope(StrEnum):
    """What a key allows."""

    SERIES_READ = "series:read"
    SERIES_WRITE = "series:write"
    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    RESULTS_READ = "results:read"
    RESULTS_WRITE = "results:write"
    WEBHOOKS = "webhooks"
    METRICS = "metrics"
    ADMIN = "admin"


SCOPES: Final[dict[Scope, str]] = {
    Scope.SERIES_READ: "List, look at and download series.",
    Scope.SERIES_WRITE: "Upload and delete series.",
    Scope.JOBS_READ: "List and follow jobs.",
    Scope.JOBS_WRITE: "Ask for work, and control it: jobs and forecasts.",
    Scope.RESULTS_READ: "Read analyses, models with their files, evaluations and forecasts.",
    Scope.RESULTS_WRITE: "Delete results.",
    Scope.WEBHOOKS: "Manage webhooks and their deliveries.",
    Scope.METRICS: "Read the service's metrics.",
    Scope.ADMIN: "Manage the keys of the tenant, and read its audit events.",
}
# What a key gets that is made without naming scopes: all of a tenant's work, and nothing about the service or its keys.
WORK: Final = tuple(scope for scope in Scope if scope not in (Scope.METRICS, Scope.ADMIN))


@dataclass(frozen=True)
class Principal:
    """Whose data a request may touch, and how; without keys the one tenant there is, with every scope."""

    tenant: str = DEFAULT_TENANT
    key_id: str | None = None
    scopes: frozenset[Scope] = field(default=frozenset(Scope))


@dataclass(frozen=True)
class Caller:
    """Who does something, for the audit and for the jobs that come of it: a principal, the address, request and trace."""

    principal: Principal
    address: str | None = None
    request_id: str | None = None
    traceparent: str | None = None


def new_key() -> str:
    """A fresh key; nobody can guess it, and nothing but its holder knows it."""
    body = "".join(secrets.choice(_ALPHABET) for _ in range(_SHOWN + _SECRET))
    return PREFIX + body + _checksum(body)


def is_key(text: str) -> bool:
    """Whether `text` has the form of a key, and its checksum is right."""
    if _FORM.fullmatch(text) is None:
        return False
    body, check = text[len(PREFIX) : -_CHECK], text[-_CHECK:]
    return _checksum(body) == check


def contains_key(text: str) -> bool:
    """Whether something in `text` looks like a key."""
    return _FORM.search(text) is not None


def hint(key: str) -> str:
    """The part of a key that may be shown."""
    return key[: len(PREFIX) + _SHOWN]


def _checksum(body: str) -> str:
    """CRC-32 in base 62."""
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(_CHECK):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits

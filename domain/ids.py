"""Ids: a prefix that tells the resource, and a UUIDv7, so that ids sort by creation time (RFC 9562, section 5.7)."""

from __future__ import annotations

import re
import secrets
import time
from datetime import datetime
from typing import Final
from uuid import UUID

PREFIXES: Final = {
    "series": "ser",
    "job": "job",
    "analysis": "ana",
    "model": "mdl",
    "forecast": "fct",
    "evaluation": "evl",
    "key": "key",
    "webhook": "whk",
    "delivery": "dlv",
    "audit": "aud",
}
_PATTERN: Final = re.compile(rf"({'|'.join(PREFIXES.values())})_[0-9a-f]{{32}}")


def uuid7() -> UUID:
    """A UUID of version 7: 48 bits of Unix milliseconds, then 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    value = (
        (milliseconds & (1 << 48) - 1) << 80
        | 0x7 << 76
        | secrets.randbits(12) << 64
        | 0b10 << 62
        | secrets.randbits(62)
    )
    return UUID(int=value)


def new_id(resource: str) -> str:
    """A fresh id such as `job_0191f3c2...`; `resource` is a key of PREFIXES."""
    return f"{PREFIXES[resource]}_{uuid7().hex}"


def earliest_id(resource: str, moment: datetime) -> str:
    """The least id that may have been made at `moment` or later; what was made before has a lesser one."""
    return f"{PREFIXES[resource]}_{int(moment.timestamp() * 1000) << 80:032x}"


def is_id(text: str, resource: str) -> bool:
    """Whether `text` has the form of an id of `resource`."""
    return _PATTERN.fullmatch(text) is not None and text.startswith(PREFIXES[resource] + "_")

"""The request headers that change how an answer is given: preferences and preconditions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header

MAX_WAIT_SECONDS = 60


@dataclass(frozen=True)
class Preferences:
    """What RFC 7240 `Prefer` asked for; what is malformed or unknown is ignored, as the RFC wants it."""

    wait: int | None = None
    respond_async: bool = False


def parse_prefer(header: str) -> Preferences:
    """`respond-async, wait=10` -> Preferences(wait=10, respond_async=True); the first of two equal names counts."""
    wait, respond_async = None, False
    for preference in header.split(","):
        name, _, value = preference.split(";")[0].strip().partition("=")
        value = value.strip().strip('"')
        if name.strip().lower() == "respond-async" and not value:
            respond_async = True
        elif name.strip().lower() == "wait" and wait is None and value.isascii() and value.isdigit():
            wait = min(int(value[:9]), MAX_WAIT_SECONDS)
    return Preferences(wait, respond_async)


async def _preferences(
    prefer: Annotated[
        str,
        Header(
            max_length=500,
            description="`wait=N` (at most 60) holds the answer back until the job has ended; `respond-async` asks for a job.",
            examples=["wait=30"],
        ),
    ] = "",
) -> Preferences:
    return parse_prefer(prefer)


PreferDep = Annotated[Preferences, Depends(_preferences)]
IfNoneMatch = Annotated[str, Header(max_length=1000, description="ETag of the answer you have: 304 if it still holds.")]


def matches(if_none_match: str, etag: str) -> bool:
    """Whether the caller has this version already (weak comparison, RFC 9110, section 13.1.2)."""
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag.removeprefix("W/") in tags

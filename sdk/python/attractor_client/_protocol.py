"""What is said to the service, without any input or output: generators that yield what is to be done.

    operation --(Send, Sleep, Open, NextLine, Item)--> driver --(Reply, line, exception)--> operation

Every operation of the client is such a generator, written once; `_drivers` has the two loops that carry them out, one
that blocks and one for asyncio. Tests drive operations with scripts, without a socket and without waiting.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar

from attractor_client.errors import DeadlineExceeded, RequestRefused, ServiceUnreachable, refusal

T = TypeVar("T")
Steps = Generator[Any, Any, T]
"""An operation: yields effects, is sent their outcomes, returns a T."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0  # seconds
_REFUSED_FOR_NOW = frozenset({429, 503})  # nothing was done: any request may be repeated
_BROKEN_ON_THE_WAY = frozenset({502, 504})  # something may have been done


@dataclass(frozen=True)
class File:
    """A part of a form: its name, its media type, and its bytes or where they lie."""

    name: str
    media_type: str
    content: bytes | Path
    part: str = "file"


@dataclass(frozen=True)
class Request:
    """One HTTP request. `repeatable`: sent twice, it does no more than once."""

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    json: Any = None
    form: Mapping[str, str] | None = None
    files: Sequence[File] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True


@dataclass(frozen=True)
class Reply:
    """What came back; `headers` have lower-case names."""

    status: int
    headers: Mapping[str, str]
    content: bytes = b""

    @property
    def document(self) -> Any:
        return json.loads(self.content)


@dataclass(frozen=True)
class Send:
    """Answered by a Reply, or ServiceUnreachable is thrown; `seconds` is the time left for it."""

    request: Request
    seconds: float


@dataclass(frozen=True)
class Sleep:
    seconds: float


@dataclass(frozen=True)
class Open:
    """Open a stream of lines: answered by a Reply, whose content is empty unless it is an error."""

    request: Request
    seconds: float


@dataclass(frozen=True)
class NextLine:
    """Answered by the next line of the open stream, None at its end."""


@dataclass(frozen=True)
class Item:
    """One value of an iteration."""

    value: Any


@dataclass(frozen=True)
class Policy:
    """How patient the client is. `timeout` seconds are for a whole call with all its tries."""

    timeout: float = 60.0
    max_retries: int = 4
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random


class Deadline:
    """A moment at which a call has to be over; None: never."""

    def __init__(self, policy: Policy, seconds: float | None) -> None:
        self._clock = policy.clock
        self._end = None if seconds is None else policy.clock() + seconds

    def left(self) -> float:
        return float("inf") if self._end is None else self._end - self._clock()


def call(policy: Policy, request: Request, timeout: float | None = None) -> Steps[Reply]:
    """Send a request, again where that is safe, until it is answered or the time is up.

    Safe is: whatever never reached the service or was refused for now (429, 503), and repeatable requests also when the
    connection broke afterwards. `Retry-After` is honoured; otherwise pauses grow from half a second, with jitter.
    Raises RequestRefused, ServiceUnreachable, DeadlineExceeded.
    """
    deadline = Deadline(policy, policy.timeout if timeout is None else timeout)
    tries = 0
    while True:
        problem: RequestRefused | ServiceUnreachable
        try:
            reply = yield Send(request, deadline.left())
        except ServiceUnreachable as error:
            if deadline.left() <= 0:
                raise DeadlineExceeded(f"{request.method} {request.path}: no answer in time ({error}).") from error
            problem, pause, again = error, None, request.repeatable or not error.sent
        else:
            if reply.status < 400:
                return reply
            problem = refused(reply)
            pause = problem.retry_after
            again = reply.status in _REFUSED_FOR_NOW or (request.repeatable and reply.status in _BROKEN_ON_THE_WAY)
        if not again or tries >= policy.max_retries:
            raise problem
        pause = backoff(policy, tries) if pause is None else pause
        if pause >= deadline.left():
            raise problem
        yield Sleep(pause)
        tries += 1


def backoff(policy: Policy, tries: int) -> float:
    """Seconds before try number `tries` + 1: doubling, between half and the whole of it."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**tries) * (0.5 + 0.5 * policy.jitter())


def refused(reply: Reply) -> RequestRefused:
    """The error that a reply stands for, also when a proxy in between wrote it."""
    try:
        problem = reply.document
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {"detail": reply.content[:500].decode("utf-8", "replace").strip()}
    problem.setdefault("request_id", reply.headers.get("x-request-id"))
    return refusal(reply.status, problem, retry_after(reply.headers.get("retry-after")))


def retry_after(header: str | None) -> float | None:
    """Seconds that `Retry-After` asks for, as a number or a date; None without one that can be read."""
    if not header:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def page_after_page(policy: Policy, request: Request, limit: int | None, make: Callable[[Any], Any]) -> Steps[None]:
    """Every item of a list, newest first, at most `limit`; a page is fetched when the one before is used up."""
    left = float("inf") if limit is None else limit
    cursor = None
    while left > 0:
        params = {**request.params, "limit": int(min(100, left)), **({"cursor": cursor} if cursor else {})}
        page = (yield from call(policy, replace(request, params=params))).document
        for document in page["data"]:
            yield Item(make(document))
            left -= 1
        cursor = page["next_cursor"]
        if cursor is None:
            return

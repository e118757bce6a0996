"""The two loops that carry out operations over HTTP: one that blocks, one for asyncio. All else is shared."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from typing import Any, TypeVar

import httpx

from attractor_client._protocol import File, Item, NextLine, Open, Policy, Reply, Request, Send, Sleep, Steps
from attractor_client.errors import DeadlineExceeded, ServiceUnreachable

T = TypeVar("T")
_CONNECT_SECONDS = 10.0
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


def _advance(steps: Steps[Any], outcome: Any) -> Any:
    """Hand the outcome of the last effect to the operation; its next effect."""
    return steps.throw(outcome) if isinstance(outcome, Exception) else steps.send(outcome)


def _unreachable(error: httpx.HTTPError, request: Request | None) -> ServiceUnreachable:
    what = "the stream of events" if request is None else f"{request.method} {request.path}"
    reason = str(error) or type(error).__name__
    return ServiceUnreachable(f"{what}: {reason}", sent=not isinstance(error, _NEVER_SENT))


def _limits(seconds: float) -> httpx.Timeout:
    left = None if seconds == float("inf") else max(seconds, 0.001)
    return httpx.Timeout(left, connect=_CONNECT_SECONDS if left is None else min(_CONNECT_SECONDS, left))


def _arguments(request: Request, stack: ExitStack) -> dict[str, Any]:
    """What httpx is told; a file is opened anew for every try."""
    arguments: dict[str, Any] = {"headers": dict(request.headers)}
    if request.params:
        arguments["params"] = {k: v for k, v in request.params.items() if v is not None}
    if request.json is not None:
        arguments["json"] = request.json
    if request.files:
        arguments["data"] = dict(request.form or {})
        arguments["files"] = [(file.part, (file.name, _body(file, stack), file.media_type)) for file in request.files]
    return arguments


def _body(file: File, stack: ExitStack) -> Any:
    return file.content if isinstance(file.content, bytes) else stack.enter_context(file.content.open("rb"))


def _reply(response: httpx.Response, content: bytes) -> Reply:
    return Reply(response.status_code, {k.lower(): v for k, v in response.headers.items()}, content)


class _Body:
    """Collects the pieces of an answer and stops when the time is up: httpx limits only the wait for each piece."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._pieces: list[bytes] = []

    def add(self, piece: bytes) -> None:
        self._pieces.append(piece)
        if time.monotonic() > self._end:
            raise DeadlineExceeded("the answer did not arrive in time")

    def whole(self) -> bytes:
        return b"".join(self._pieces)


class _Stream(ExitStack):
    """The stream of lines that one operation has open."""

    lines: Iterator[str] = iter(())


class _AsyncStream(AsyncExitStack):
    lines: AsyncIterator[str]


class Blocking:
    """Carries operations out in the calling thread."""

    def __init__(self, http: httpx.Client, policy: Policy, sleep: Callable[[float], None] = time.sleep) -> None:
        self.http = http
        self.policy = policy
        self._sleep = sleep

    def run(self, steps: Steps[T]) -> T:
        """The operation's result."""
        outcome: Any = None
        with _Stream() as stream:
            while True:
                try:
                    effect = _advance(steps, outcome)
                except StopIteration as end:
                    return end.value
                outcome = self._perform(effect, stream)

    def iterate(self, steps: Steps[Any]) -> Iterator[Any]:
        """The operation's items, one by one."""
        outcome: Any = None
        with _Stream() as stream:
            while True:
                try:
                    effect = _advance(steps, outcome)
                except StopIteration:
                    return
                if isinstance(effect, Item):
                    yield effect.value
                    outcome = None
                else:
                    outcome = self._perform(effect, stream)

    def _perform(self, effect: Any, stream: _Stream) -> Any:
        try:
            match effect:
                case Send(request, seconds):
                    return self._send(request, seconds)
                case Sleep(seconds):
                    return self._sleep(seconds)
                case Open(request, seconds):
                    return self._open(request, seconds, stream)
                case NextLine():
                    return next(stream.lines, None)
        except httpx.HTTPError as error:
            return _unreachable(error, getattr(effect, "request", None))
        except ServiceUnreachable as error:
            return error
        raise TypeError(f"no such effect: {effect!r}")

    def _send(self, request: Request, seconds: float) -> Reply:
        body = _Body(seconds)
        with ExitStack() as stack:
            arguments = _arguments(request, stack)
            stream = self.http.stream(request.method, request.path, timeout=_limits(seconds), **arguments)
            response = stack.enter_context(stream)
            for piece in response.iter_bytes():
                body.add(piece)
        return _reply(response, body.whole())

    def _open(self, request: Request, seconds: float, stream: _Stream) -> Reply:
        stream.close()
        opened = self.http.stream(request.method, request.path, timeout=_limits(seconds), headers=dict(request.headers))
        response = stream.enter_context(opened)
        stream.lines = response.iter_lines()
        return _reply(response, response.read() if response.is_error else b"")


class Asynchronous:
    """Carries operations out in the running event loop."""

    def __init__(self, http: httpx.AsyncClient, policy: Policy, sleep: Callable[[float], Any] = asyncio.sleep) -> None:
        self.http = http
        self.policy = policy
        self._sleep = sleep

    async def run(self, steps: Steps[T]) -> T:
        """The operation's result."""
        outcome: Any = None
        async with _AsyncStream() as stream:
            while True:
                try:
                    effect = _advance(steps, outcome)
                except StopIteration as end:
                    return end.value
                outcome = await self._perform(effect, stream)

    async def iterate(self, steps: Steps[Any]) -> AsyncIterator[Any]:
        """The operation's items, one by one."""
        outcome: Any = None
        async with _AsyncStream() as stream:
            while True:
                try:
                    effect = _advance(steps, outcome)
                except StopIteration:
                    return
                if isinstance(effect, Item):
                    yield effect.value
                    outcome = None
                else:
                    outcome = await self._perform(effect, stream)

    async def _perform(self, effect: Any, stream: _AsyncStream) -> Any:
        try:
            match effect:
                case Send(request, seconds):
                    return await self._send(request, seconds)
                case Sleep(seconds):
                    return await self._sleep(seconds)
                case Open(request, seconds):
                    return await self._open(request, seconds, stream)
                case NextLine():
                    return await anext(stream.lines, None)
        except httpx.HTTPError as error:
            return _unreachable(error, getattr(effect, "request", None))
        except ServiceUnreachable as error:
            return error
        raise TypeError(f"no such effect: {effect!r}")

    async def _send(self, request: Request, seconds: float) -> Reply:
        body = _Body(seconds)
        with ExitStack() as stack:
            arguments = _arguments(request, stack)
            stream = self.http.stream(request.method, request.path, timeout=_limits(seconds), **arguments)
            async with stream as response:
                async for piece in response.aiter_bytes():
                    body.add(piece)
        return _reply(response, body.whole())

    async def _open(self, request: Request, seconds: float, stream: _AsyncStream) -> Reply:
        await stream.aclose()
        opened = self.http.stream(request.method, request.path, timeout=_limits(seconds), headers=dict(request.headers))
        response = await stream.enter_async_context(opened)
        stream.lines = response.aiter_lines()
        return _reply(response, await response.aread() if response.is_error else b"")

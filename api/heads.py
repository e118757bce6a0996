"""HEAD for every path that answers GET (RFC 9110, section 9.3.2): the same headers, and no body."""

from __future__ import annotations

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Heads:
    """Asks for the GET and sends what it begins with; a stream that would follow is ended there."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif scope["method"] == "HEAD":
            await self._head(scope, receive, send)
        else:
            await self.app(scope, receive, _allowing_head(send))

    async def _head(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with anyio.create_task_group() as group:

            async def send_head(message: Message) -> None:
                if message["type"] == "http.response.start":
                    await _allowing_head(send)(message)
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                    if Headers(scope=message).get("content-type", "").startswith("text/event-stream"):
                        group.cancel_scope.cancel()
                elif message.get("more_body"):
                    group.cancel_scope.cancel()

            state = {**scope.get("state", {}), "asked_method": "HEAD"}
            await self.app({**scope, "method": "GET", "state": state}, receive, send_head)


def _allowing_head(send: Send) -> Send:
    """`send` with HEAD named in the Allow header of a 405, wherever GET is."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 405:
            headers = MutableHeaders(scope=message)
            methods = [name.strip() for name in headers.get("allow", "").split(",")]
            if "GET" in methods and "HEAD" not in methods:
                headers["allow"] = ", ".join([*methods, "HEAD"])
        await send(message)

    return sending

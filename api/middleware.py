"""What every answer carries: security headers, and a problem document when it is an error."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import from_status, problem

# The page comes with the service and needs nothing from anywhere else.
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
}


class Envelope:
    """Around whatever answers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        plain: Message | None = None

        async def send_in_envelope(message: Message) -> None:
            nonlocal plain
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                if message["status"] >= 400 and headers.get("content-type", "").startswith("text/plain"):
                    # The framework's own plain-text answers: bodies over the limit, bad ranges.
                    plain = message
                    return
            if plain is None:
                await send(message)
            elif not message.get("more_body"):
                error = from_status(plain["status"], message.get("body", b"").decode())
                kept = {k: v for k, v in Headers(scope=plain).items() if k not in ("content-type", "content-length")}
                await problem(error, scope["state"]["request_id"], kept)(scope, receive, send)

        await self.app(scope, receive, send_in_envelope)

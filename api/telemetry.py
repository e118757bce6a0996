"""What is known of every request afterwards: one log line, its time in the metrics, a span. Never keys, never bodies."""

from __future__ import annotations

import logging
import re
import time
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domain.ids import uuid7
from store import logs, metrics
from store.tracing import Span, Tracer

log = logging.getLogger("attractor.access")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
OTHER = "other"  # the files of the page, and paths that nothing serves: their names are the caller's choice
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
UPLOAD = ("POST", "/v1/series")
CLIENT_GONE = 499  # nginx' word for a request whose answer nobody waited for


class Telemetry:
    """Gives every HTTP request its id and its place in a trace, before anything else of ours sees it.

    `scope["state"]` holds `request_id` and `traceparent`; every answer carries both as headers.
    """

    def __init__(self, app: ASGIApp, tracer: Tracer) -> None:
        self.app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else f"req_{uuid7().hex}"
        span = self._tracer.start(_method(scope), headers.get("traceparent"), kind="server")
        scope.setdefault("state", {}).update(request_id=request_id, traceparent=span.traceparent)
        with logs.bound(request_id=request_id, trace_id=span.trace_id):
            await self._measured(scope, receive, send, span)

    async def _measured(self, scope: Scope, receive: Receive, send: Send, span: Span) -> None:
        begun = time.perf_counter()
        status: int | None = None
        whole = False

        async def noting(message: Message) -> None:
            nonlocal status, whole
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = scope["state"]["request_id"]
                headers["traceparent"] = span.traceparent
            elif message["type"] == "http.response.body":
                whole = not message.get("more_body", False)
            await send(message)

        error: str | None = None
        try:
            await self.app(scope, receive, noting)
        except BaseException as raised:
            error = type(raised).__name__
            status = status or (500 if isinstance(raised, Exception) else CLIENT_GONE)
            raise
        finally:
            _report(scope, span, status or CLIENT_GONE, time.perf_counter() - begun, error, whole)


def _report(scope: Scope, span: Span, status: int, seconds: float, error: str | None, whole: bool) -> None:
    method, route = _method(scope), _route(scope)
    metrics.HTTP_REQUESTS.labels(method, route, str(status)).observe(seconds)
    fields: dict[str, Any] = {"method": method, "route": route, "status": status, "ms": round(seconds * 1000, 2)}
    state = scope["state"]
    if "problem" in state:
        fields["code"] = state["problem"]
    if "caller" in state:
        fields["tenant"] = state["caller"].principal.tenant
    if not whole:
        fields["cut_short"] = True
    _count(method, route, status, state.get("problem"))
    log.info("%s %s %d", method, route, status, extra=fields)
    span.rename(f"{method} {route}")
    span.set({"http.request.method": method, "http.route": route, "http.response.status_code": status})
    span.end(error or (f"status {status}" if status >= 500 else None))


def _count(method: str, route: str, status: int, problem: str | None) -> None:
    if problem is None:
        if (method, route) == UPLOAD and status in (200, 201):
            metrics.UPLOADS.labels("yes" if status == 201 else "no").inc()
    elif (method, route) == UPLOAD:
        metrics.UPLOAD_REJECTS.labels(problem).inc()
    if problem == "blob_damaged":
        metrics.BLOBS_DAMAGED.inc()
    if status in (401, 403):
        metrics.AUTHENTICATION_REFUSALS.labels(problem or str(status)).inc()
    elif status == 429:
        metrics.RATE_LIMITED.labels(problem or str(status)).inc()


def _method(scope: Scope) -> str:
    """The method that was asked for: HEAD is served as GET. Anything else would be a label of the caller's choice."""
    method = scope["state"].get("asked_method", scope["method"]) if "state" in scope else scope["method"]
    return method if method in _METHODS else OTHER


def _route(scope: Scope) -> str:
    return str(getattr(scope.get("route"), "path", OTHER))

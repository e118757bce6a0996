"""One request, followed from the API into the worker: W3C trace context always, OpenTelemetry spans when asked for.

Without OTEL_EXPORTER_OTLP_ENDPOINT, or without the packages of the extra `production`, spans are only the identifiers
that log lines carry and that the next process goes on from: nothing is kept and nothing is sent. With both, they are
sent over OTLP/HTTP in the background; the usual OTEL_* variables apply.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

log = logging.getLogger(__name__)

# https://www.w3.org/TR/trace-context/#traceparent-header; a later version may say more after the flags.
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1
Kind = Literal["internal", "server", "consumer"]
Attributes = Mapping[str, str | int | float]


class Span:
    """A piece of work within a trace."""

    def __init__(self, trace_id: str, span_id: str, flags: int) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.flags = flags

    @property
    def traceparent(self) -> str:
        """What the work that this one causes is given."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"

    def set(self, attributes: Attributes) -> None:
        """Say more about the work."""

    def rename(self, name: str) -> None:
        """The work is known by another name now, such as the route of a request."""

    def end(self, error: str | None = None) -> None:
        """The work is done; `error` says why it failed."""


class Tracer:
    """Makes spans that are identifiers and nothing else."""

    def start(
        self, name: str, parent: str | None = None, *, kind: Kind = "internal", attributes: Attributes | None = None
    ) -> Span:
        """Begin a span; `parent` is a traceparent, and one that is malformed counts as none."""
        found = parse(parent)
        trace_id, flags = (found[0], found[2]) if found else (secrets.token_hex(16), 0)
        return Span(trace_id, secrets.token_hex(8), flags)

    @contextmanager
    def span(
        self, name: str, parent: str | None = None, *, kind: Kind = "internal", attributes: Attributes | None = None
    ) -> Iterator[Span]:
        """A span that lasts as long as the block; an exception is its error."""
        span = self.start(name, parent, kind=kind, attributes=attributes)
        try:
            yield span
        except BaseException as error:
            span.end(type(error).__name__)
            raise
        span.end()

    def close(self) -> None:
        """Send what has not been sent."""


def parse(traceparent: str | None) -> tuple[str, str, int] | None:
    """(trace id, span id, flags) of a traceparent; None for one that the standard calls invalid."""
    match = _TRACEPARENT.fullmatch(traceparent or "")
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == "ff" or (version == "00" and more) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    return trace_id, span_id, int(flags, 16) & _SAMPLED


def make_tracer(service: str) -> Tracer:
    """The tracer of this process; call it after forks."""
    if not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") and not os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        return Tracer()
    try:
        from store.otlp import ExportingTracer
    except ImportError as error:
        log.warning(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but %s is not installed: no traces are sent. "
            "Install attractor[production].",
            error.name,
        )
        return Tracer()
    return ExportingTracer(service)

"""Spans that leave the process: OpenTelemetry over OTLP/HTTP. Imported only where traces are asked for."""

from __future__ import annotations

import os
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from store.tracing import Attributes, Kind, Span, Tracer, parse

_KINDS = {"internal": SpanKind.INTERNAL, "server": SpanKind.SERVER, "consumer": SpanKind.CONSUMER}


class ExportingTracer(Tracer):
    """Sends spans in batches from a thread of its own; a receiver that is away costs nothing but its spans."""

    def __init__(self, service: str) -> None:
        named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": service}
        self._provider = TracerProvider(resource=Resource.create(named))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("attractor")

    def start(
        self, name: str, parent: str | None = None, *, kind: Kind = "internal", attributes: Attributes | None = None
    ) -> Span:
        return _Exported(self._tracer.start_span(name, _remote(parent), _KINDS[kind], dict(attributes or {})))

    def close(self) -> None:
        self._provider.shutdown()


class _Exported(Span):
    def __init__(self, span: trace.Span) -> None:
        found = span.get_span_context()
        super().__init__(f"{found.trace_id:032x}", f"{found.span_id:016x}", int(found.trace_flags))
        self._span = span

    def set(self, attributes: Attributes) -> None:
        self._span.set_attributes(dict(attributes))

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def end(self, error: str | None = None) -> None:
        if error is not None:
            self._span.set_status(Status(StatusCode.ERROR, error))
        self._span.end()


def _remote(traceparent: str | None) -> Any:
    """The parent as the library wants it: a context with a span of another process."""
    found = parse(traceparent)
    # Not the ambient context, which may hold a span of somebody else's instrumentation.
    empty = trace.set_span_in_context(trace.INVALID_SPAN)
    if found is None:
        return empty
    trace_id, span_id, flags = found
    context = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(flags))
    return trace.set_span_in_context(trace.NonRecordingSpan(context), empty)

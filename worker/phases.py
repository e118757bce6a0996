"""What an attempt spends its time on: a span for each phase, and its seconds in the metrics."""

from __future__ import annotations

import time

from store import metrics
from store.tracing import Span, Tracer


class Phases:
    """Follows the phases of one attempt at a job of `kind`; `parent` is the traceparent of the attempt."""

    def __init__(self, tracer: Tracer, kind: str, parent: str) -> None:
        self._tracer = tracer
        self._kind = kind
        self._parent = parent
        self._current: tuple[str, float, Span] | None = None

    def enter(self, phase: str | None) -> None:
        """The attempt has come to this phase, or is still in it; None: it has ended."""
        if self._current is not None:
            name, since, span = self._current
            if name == phase:
                return
            metrics.PHASE_SECONDS.labels(self._kind, name).observe(time.monotonic() - since)
            span.end()
        self._current = None if phase is None else (phase, time.monotonic(), self._tracer.start(phase, self._parent))

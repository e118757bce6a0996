"""The time an analysis may take, and its voice: one object that science calls between short pieces of work."""

from __future__ import annotations

import time

from domain.jobs import Progress
from dynamics.reporting import Reporter


class Clock:
    """Counts a budget of wall-clock seconds and speaks with the reporter.

    `tick` must be called at least every 0.3 s; it raises `Interrupted` when the work shall stop and publishes progress at
    most four times a second.
    """

    def __init__(self, reporter: Reporter, budget_seconds: float) -> None:
        self._reporter = reporter
        self._budget = budget_seconds
        self._start = time.monotonic()
        self._published = -1.0
        self._phase = ("starting", 0.0, 0.0)

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._start

    def restart(self) -> None:
        """Begin to count anew: what went before (compilation) is not in the budget."""
        self._start = time.monotonic()

    def left(self) -> float:
        """Fraction of the budget that is left, 0 when it is spent."""
        return max(0.0, 1.0 - self.elapsed / self._budget)

    def enter(self, phase: str, start: float, stop: float) -> None:
        """Begin a phase that covers the fractions [start, stop) of the whole."""
        self._phase = (phase, start, stop)
        self._published = -1.0
        self.tick()

    def tick(self, fraction: float = 0.0) -> None:
        """One sign of life; `fraction` of the present phase is done."""
        self._reporter.check()
        now = time.monotonic()
        if now - self._published < 0.25:
            return
        self._published = now
        phase, start, stop = self._phase
        done = start + (stop - start) * min(1.0, max(0.0, fraction))
        self._reporter.report(Progress(fraction=min(1.0, done), phase=phase))

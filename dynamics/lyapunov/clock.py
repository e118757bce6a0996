"""The time an analysis may take, and its voice: one object that science calls between short pieces of work."""

from __future__ import annotations

from time import monotonic

from domain.jobs import Progress
from dynamics.reporting import Reporter

USUAL_RATE = 4e9  # floating-point operations per second of the kernels, until measured


class Clock:
    """Counts a budget of wall-clock seconds, measures how fast the kernels are, and speaks with the reporter.

    `tick` must be called at least every 0.3 s; it raises `Interrupted` when the work shall stop and publishes progress at
    most four times a second.
    """

    def __init__(self, reporter: Reporter, budget_seconds: float) -> None:
        self._reporter = reporter
        self._budget = budget_seconds
        self._rate = USUAL_RATE
        self.search_cut = False  # the search for a model ended before it had seen enough of its candidates
        self._start = monotonic()
        self._published = -1.0
        self._phase = ("starting", 0.0, 0.0)

    @property
    def elapsed(self) -> float:
        return monotonic() - self._start

    def restart(self) -> None:
        """Begin to count anew: what went before (compilation) is not in the budget."""
        self._start = monotonic()

    def left(self) -> float:
        """Fraction of the budget that is left, 0 when it is spent."""
        return max(0.0, 1.0 - self.elapsed / self._budget)

    def spent_since(self, began: float) -> float:
        """Fraction of the budget used since `elapsed` was `began`, also beyond the budget's end."""
        return (self.elapsed - began) / self._budget

    def worked(self, flops: float, began: float) -> None:
        """Kernels did `flops` since `elapsed` was `began`: keeps the running mean of their rate."""
        seconds = self.elapsed - began
        if seconds > 5e-3:
            self._rate = 0.7 * self._rate + 0.3 * flops / seconds

    def flops_within(self, seconds: float) -> float:
        """Operations that fit into `seconds` at the rate seen so far."""
        return self._rate * seconds

    def run_seconds(self) -> float:
        """Longest time for one run of a model: a twentieth of the budget, a fifth of that once it is nearly spent."""
        return self._budget / (20.0 if self.left() > 0.1 else 100.0)

    def enter(self, phase: str, start: float, stop: float) -> None:
        """Begin a phase that covers the fractions [start, stop) of the whole."""
        self._phase = (phase, start, stop)
        self._published = -1.0
        self.tick()

    def tick(self, fraction: float = 0.0) -> None:
        """One sign of life; `fraction` of the present phase is done."""
        self._reporter.check()
        now = monotonic()
        if now - self._published < 0.25:
            return
        self._published = now
        phase, start, stop = self._phase
        done = start + (stop - start) * min(1.0, max(0.0, fraction))
        self._reporter.report(Progress(fraction=min(1.0, done), phase=phase))

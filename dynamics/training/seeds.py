"""One training run from one seed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from dynamics.kernels.block import Learner
from dynamics.training.engines import Engine
from dynamics.training.schedule import forcing_schedule, learning_rates
from dynamics.training.selection import Judgement

BLOCK_SECONDS = 0.1  # cancel, progress and budget are looked at between blocks
FIRST_JUDGED = 0.76  # share of a run after which checkpoints are judged by their free runs
KEPT_LOSSES = 500
MEASURED_SECONDS = 1.0  # before the speed is believed


@dataclass
class SeedState:
    """All that is known about one run; `learner` and `best_theta` with `update` and `total` determine the rest."""

    seed: int
    total: int
    learner: Learner
    update: int = 0
    seconds: float = 0.0
    finished: bool = False
    diverged: bool = False
    capped: bool = False
    best: Judgement | None = None
    best_theta: np.ndarray | None = None
    best_update: int = 0
    judged: list[Judgement] = field(default_factory=list)
    losses: list[tuple[int, float]] = field(default_factory=list)

    def copy(self) -> SeedState:
        learner = Learner(*(part.copy() for part in self.learner))
        return replace(self, learner=learner, judged=list(self.judged), losses=list(self.losses))

    def candidates(self, moments: int) -> list[int]:
        """Updates after which a checkpoint is judged."""
        return sorted({max(1, round(self.total * share)) for share in np.linspace(FIRST_JUDGED, 1.0, moments)})


class SeedRunner:
    """Advances one run block by block until it is done, stopped or out of time."""

    def __init__(
        self, engine: Engine, state: SeedState, judge: Callable[[np.ndarray], Judgement], deadline: float
    ) -> None:
        self.engine, self.state, self.judge, self.deadline = engine, state, judge, deadline
        self.workspace = engine.workspace(state.learner)
        self.speed = 0.0  # updates per second of the last block
        self.done, self.spent = 0, 0.0  # updates and seconds here, judging included

    def run(self, stop: threading.Event, publish: Callable[[SeedState], None]) -> None:
        """`publish` receives a copy of the state after every block, for progress and checkpoints."""
        state = self.state
        while not state.finished and not stop.is_set():
            began, before = time.perf_counter(), state.update
            self._block()
            elapsed = time.perf_counter() - began
            self.done, self.spent = self.done + state.update - before, self.spent + elapsed
            state.seconds += elapsed
            self._respect(self.deadline)
            publish(state.copy())

    def _block(self) -> None:
        state, settings = self.state, self.engine.settings
        candidates = state.candidates(settings.moments)
        target = next((c for c in candidates if c > state.update), state.total)
        size = min(target - state.update, max(1, int(self.speed * BLOCK_SECONDS)))
        rates = learning_rates(
            settings.schedule, settings.peak_rate, settings.final_rate, state.update, size, state.total
        )
        began = time.perf_counter()
        done, losses = self.engine.advance(state.learner, self.workspace, state.update, rates, *self._forcing(size))
        self.speed = size / max(time.perf_counter() - began, 1e-6)
        self._note(losses)
        state.update += done
        if done < size:
            state.diverged = state.finished = True
        elif state.update in candidates:
            self._consider()
            state.finished = state.update >= state.total

    def _forcing(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Strengths and intervals of the next `size` updates; the strength starts from the run's own, which replacements raise."""
        state, forcing = self.state, self.engine.settings.forcing
        own = replace(forcing, alpha=float(state.learner.alpha[0]))
        return forcing_schedule(own, state.update, size, state.total)

    def _note(self, losses: np.ndarray) -> None:
        """Keep about KEPT_LOSSES points of the loss."""
        every = max(1, self.state.total // KEPT_LOSSES)
        first = self.state.update + 1
        for k in range(-first % every, len(losses), every):
            self.state.losses.append((first + k, float(losses[k])))

    def _consider(self) -> None:
        state = self.state
        judgement = self.judge(state.learner.theta)
        state.judged.append(judgement)
        if state.best is None or judgement.score < state.best.score:
            state.best, state.best_theta, state.best_update = judgement, state.learner.theta.copy(), state.update

    def _respect(self, deadline: float) -> None:
        """Shorten the run, schedule included, when at its mean speed it would end after the deadline; the history says so."""
        state, remaining = self.state, deadline - time.perf_counter()
        if state.finished or self.spent < min(MEASURED_SECONDS, remaining):
            return
        affordable = state.update + int(self.done / self.spent * max(0.0, remaining))
        if affordable < state.total:
            state.total, state.capped = max(affordable, state.update + 1), True

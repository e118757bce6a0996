"""Several seeds side by side on the cores, within a budget, with progress, cancel and checkpoints."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np

from domain.jobs import Progress
from dynamics.reporting import Interrupted, Reporter
from dynamics.training import checkpoint
from dynamics.training.engines import Engine
from dynamics.training.seeds import SeedRunner, SeedState
from dynamics.training.selection import Judgement

POLL_SECONDS, REPORT_SECONDS, CHECKPOINT_SECONDS = 0.1, 0.5, 5.0
ENOUGH_RUNS = 4
FURTHER_RUNS = 2  # where the best of the first is lost from some states
USABLE_BUDGET = 0.97  # the rest is for choosing and building the model


class Ensemble:
    """Trains `settings.seeds` runs, replaces failed ones where fewer than ENOUGH_RUNS are left, and keeps what each of them found."""

    def __init__(
        self,
        engine: Engine,
        judge: Callable[[np.ndarray], Judgement],
        reporter: Reporter,
        fingerprint: str,
        threads: int,
    ) -> None:
        self.engine, self.judge, self.reporter = engine, judge, reporter
        self.fingerprint, self.threads = fingerprint, threads
        self.states: list[SeedState] = []
        self.published: dict[int, SeedState] = {}
        self.stop = threading.Event()
        self.before = 0.0  # seconds spent by earlier attempts
        self.began = self.saved = self.reported = time.perf_counter()
        self.dropped: set[int] = set()  # runs not begun for lack of time

    @property
    def seconds(self) -> float:
        return self.before + time.perf_counter() - self.began

    def run(self, settled: Callable[[list[SeedState]], bool] = lambda states: True) -> list[SeedState]:
        """Every run that was started, in the order of the seeds; FURTHER_RUNS more where the first are not `settled`."""
        settings = self.engine.settings
        self.began = self.saved = time.perf_counter()
        self._resume()
        self._add(settings.seeds)
        self._wave()
        begun = [s for s in self.states[: settings.seeds] if s.finished]
        missing = max(0, min(ENOUGH_RUNS, len(begun)) - sum(map(_good, begun)))
        if missing > 0 and self._remaining() > 0:
            self._add(settings.seeds + missing)
            self._wave()
        if self._remaining() > 0 and not self.dropped and not settled(self._started()):
            self._add(settings.seeds + missing + FURTHER_RUNS)
            self._wave()
        return self._started()

    def _started(self) -> list[SeedState]:
        return [s for s in self.states if s.update > 0 or s.finished]

    def _add(self, count: int) -> None:
        settings = self.engine.settings
        for k in range(len(self.states), count):
            seed = (settings.seed + k) % 2**32
            learner = self.engine.learner(seed)
            if k >= settings.seeds:
                learner.alpha[0] = settings.forcing.replacement_alpha(k - settings.seeds)
            self.states.append(SeedState(seed, settings.updates, learner))

    def _resume(self) -> None:
        data = self.reporter.load_checkpoint()
        found = checkpoint.load(data, self.fingerprint) if data is not None else None
        if found is not None:
            self.states, self.before = found
            self.published = dict(enumerate(self.states))

    def _remaining(self) -> float:
        return self.engine.settings.budget_seconds * USABLE_BUDGET - self.seconds

    def _wave(self) -> None:
        pending = [k for k, s in enumerate(self.states) if not s.finished and k not in self.dropped]
        lock = threading.Lock()

        def work() -> None:
            while not self.stop.is_set():
                with lock:
                    if not pending:
                        return
                    k = pending.pop(0)
                if self._too_late(self.states[k]):
                    self.dropped.add(k)
                    continue
                deadline = time.perf_counter() + self._remaining()
                runner = SeedRunner(self.engine, self.states[k], self.judge, deadline)
                runner.run(self.stop, lambda state, k=k: self.published.__setitem__(k, state))  # type: ignore[misc]

        n_workers = max(1, min(self.threads, len(pending)))
        with ThreadPoolExecutor(n_workers, thread_name_prefix="seed") as pool:
            futures = [pool.submit(work) for _ in range(n_workers)]
            try:
                self._watch(futures)
            except BaseException:
                self.stop.set()
                raise
        for future in futures:
            future.result()

    def _too_late(self, state: SeedState) -> bool:
        """Whether a run not yet begun would be cut short: better none than one whose learning rate never fell."""
        done = [s.seconds for s in self.states if s.finished and not s.diverged]
        return state.update == 0 and bool(done) and self._remaining() < 0.9 * statistics.median(done)

    def _watch(self, futures: list) -> None:
        while wait(futures, timeout=POLL_SECONDS).not_done:
            if any(f.done() and f.exception() for f in futures):
                self.stop.set()
                return
            now = time.perf_counter()
            if self.reporter.should_stop():
                self.stop.set()
                wait(futures)
                self._save()
                raise Interrupted
            if now - self.reported > REPORT_SECONDS:
                self.reported = now
                self.reporter.report(self._progress())
            if now - self.saved > CHECKPOINT_SECONDS:
                self.saved = now
                self._save()

    def _save(self) -> None:
        states = [self.published.get(k, state) for k, state in enumerate(self.states)]
        self.reporter.save_checkpoint(checkpoint.dump(states, self.seconds, self.fingerprint))

    def _progress(self) -> Progress:
        states = [self.published.get(k, state) for k, state in enumerate(self.states)]
        total, done = sum(s.total for s in states), sum(s.total if s.finished else s.update for s in states)
        spent = time.perf_counter() - self.began
        fraction = min(1.0, done / max(total, 1))
        metrics = {"seeds_finished": float(sum(s.finished for s in states)), "seeds": float(len(states))}
        running = [s.losses[-1][1] for s in states if s.losses and not s.finished] or [
            s.losses[-1][1] for s in states if s.losses
        ]
        if running and np.isfinite(running).all():
            metrics["loss"] = float(np.mean(running))
        remaining = spent * (1 - fraction) / fraction if fraction > 0.01 and spent > 0.3 else None
        if remaining is not None:
            remaining = min(remaining, max(0.0, self._remaining()))
        return Progress(
            fraction=fraction, phase="training", step=done, total_steps=total, metrics=metrics, eta_s=remaining
        )


def _good(state: SeedState) -> bool:
    return state.best is not None and state.best.outcome == "ok"

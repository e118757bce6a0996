"""One handler per kind of job: load, call the science, save."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from domain.jobs import JobKind
from worker.context import Context, Outcome
from worker.handlers.evaluate import run as evaluate
from worker.handlers.forecast import run as forecast
from worker.handlers.lyapunov import run as lyapunov
from worker.handlers.reconstruct import run as reconstruct
from worker.handlers.train import run as train

HANDLERS: Mapping[JobKind, Callable[[Context], Outcome]] = {
    JobKind.LYAPUNOV: lyapunov,
    JobKind.TRAIN: train,
    JobKind.EVALUATE: evaluate,
    JobKind.FORECAST: forecast,
    JobKind.RECONSTRUCT: reconstruct,
}

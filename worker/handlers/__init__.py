"""One handler per kind of job: load, call the science, save."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from domain.jobs import JobKind
from worker.context import Context, Outcome
from worker.handlers.evaluate import run as run_evaluate
from worker.handlers.forecast import run as run_forecast
from worker.handlers.lyapunov import run as run_lyapunov
from worker.handlers.reconstruct import run as run_reconstruct
from worker.handlers.train import run as run_train

HANDLERS: Mapping[JobKind, Callable[[Context], Outcome]] = {
    JobKind.LYAPUNOV: run_lyapunov,
    JobKind.TRAIN: run_train,
    JobKind.EVALUATE: run_evaluate,
    JobKind.FORECAST: run_forecast,
    JobKind.RECONSTRUCT: run_reconstruct,
}

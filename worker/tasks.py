"""The one task: a wake-up call with a job's id."""

from __future__ import annotations

from collections.abc import Callable

from celery import Celery
from celery.exceptions import WorkerShutdown

from store.queue import RUN_JOB
from worker.runner import Runner


def register(celery: Celery, runner: Runner, must_exit: Callable[[], bool]) -> None:
    """Give `celery` the task."""

    @celery.task(name=RUN_JOB)
    def run_job(job_id: str) -> None:
        runner.run(job_id)
        if must_exit():
            raise WorkerShutdown(0)

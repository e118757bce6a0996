"""Composition root of a worker: Celery, with one runner and one reconciler in every process that runs jobs.

Prefork (several jobs at a time): the main process computes nothing, opens no database connection and has no thread of
ours, so that its forks begin clean. Solo (one at a time): the main process runs the jobs itself.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any

from celery import Celery, signals
from celery.exceptions import SecurityWarning, WorkerShutdown

from store import logs
from store.database import Database
from store.queue import make_celery, publish
from worker.drain import DrainFlag
from worker.handlers import HANDLERS
from worker.reconciler import Reconciler
from worker.runner import Runner
from worker.settings import WorkerSettings
from worker.tasks import register

# The runner says what happens to a job; the message that announced it is no news. A queue of files has no host name.
_QUIETER = {
    "celery.worker.strategy": logging.WARNING,
    "celery.app.trace": logging.WARNING,
    "celery.worker.consumer.connection": logging.WARNING,
    "kombu.connection": logging.ERROR,
}


class Worker:
    """A Celery worker and what its processes hold."""

    def __init__(self, settings: WorkerSettings) -> None:
        self.settings = settings
        self.celery: Celery = make_celery(settings)
        self.celery.conf.update(worker_hijack_root_logger=False, worker_redirect_stdouts=False)
        self._solo = settings.processes == 1
        self._drain = DrainFlag()
        self._runner: Runner | None = None
        self._reconciler: Reconciler | None = None
        register(self.celery, self._my_runner, must_exit=lambda: self._solo and self._drain.is_set())
        for signal, receiver in (
            (signals.worker_process_init, self._start_process),
            (signals.worker_process_shutdown, self._stop_process),
            (signals.worker_shutting_down, self._shut_down),
            (signals.worker_shutdown, self._stop_process),
        ):
            signal.connect(receiver, weak=False)

    def run(self) -> int:
        """Work until SIGINT or SIGTERM; the exit status."""
        consumer = self.celery.Worker(
            pool_cls="solo" if self._solo else "prefork",
            concurrency=self.settings.processes,
            loglevel=self.settings.log_level,
            quiet=True,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        )
        consumer.start()
        return int(consumer.exitcode or 0)

    def _start_process(self, **_: Any) -> None:
        """In every process that will run jobs, after the fork (solo: in the only one)."""
        database = Database(self.settings)
        self._runner = Runner(self.settings, database, HANDLERS, draining=self._drain.is_set)
        self._reconciler = Reconciler(
            self.settings, database, self._runner.blobs, lambda job_id, queue: publish(self.celery, job_id, queue)
        )
        self._reconciler.start()

    def _stop_process(self, **_: Any) -> None:
        if self._reconciler is not None and self._runner is not None:
            self._reconciler.stop()
            self._runner.database.close()

    def _shut_down(self, **_: Any) -> None:
        """In the main process, inside its signal handler."""
        self._drain.set()
        if self._solo and self._runner is not None and not self._runner.busy:
            # Celery's own way out of an idle solo worker waits for the queue twice, 4 s in all. Nothing can be lost by
            # leaving at once: a message that has just been taken names a job that is still queued in the database.
            raise WorkerShutdown(0)

    def _my_runner(self) -> Runner:
        assert self._runner is not None, "the worker process has not been initialised"
        return self._runner


def run_worker(settings: WorkerSettings) -> int:
    """Run a worker in this process until it is told to stop."""
    logs.configure(settings.log_format, settings.log_level)
    for name, level in _QUIETER.items():
        logging.getLogger(name).setLevel(level)
    # Celery warns root of pickled messages; ours are JSON, and no other is accepted.
    warnings.simplefilter("ignore", SecurityWarning)
    return Worker(settings).run()

"""Composition root of a worker: Celery hears of jobs, a runner runs them, a reconciler sweeps.

One process with a database engine, a template of the processes of its jobs, and as many threads that wait for a job to
end as it runs jobs at a time. It computes nothing itself, so its threads are always there for the leases.
"""

from __future__ import annotations

import logging
import os
import socket
import warnings
from typing import Any

from celery import Celery, signals
from celery.exceptions import SecurityWarning, WorkerShutdown

from store import logs
from store.blobs import make_blobs
from store.database import Database
from store.queue import QUEUES, make_celery, publish_again
from store.tracing import make_tracer
from worker.pool import SlotPool
from worker.processes import HANDLERS, Template
from worker.reconciler import Reconciler
from worker.runner import Runner
from worker.settings import WorkerSettings
from worker.tasks import register
from worker.webhooks import Sender

# The runner says what happens to a job; the message that announced it is no news. A queue of files has no host name.
_QUIETER = {
    "celery.worker.strategy": logging.WARNING,
    "celery.app.trace": logging.WARNING,
    "celery.worker.consumer.connection": logging.WARNING,
    "kombu.connection": logging.ERROR,
}


class Worker:
    """A Celery worker and what it holds. `handlers`: where the science of each kind of job is, as `module:name`."""

    def __init__(self, settings: WorkerSettings, handlers: str = HANDLERS) -> None:
        self.settings = settings
        self.celery: Celery = make_celery(settings)
        self.celery.conf.update(worker_hijack_root_logger=False, worker_redirect_stdouts=False)
        self._solo = settings.embedded_broker
        self._draining = False
        name = f"{socket.gethostname()}:{os.getpid()}"
        self._database = Database(settings)
        self._template = Template(settings, handlers)
        self._tracer = make_tracer("attractor-worker")
        self._runner = Runner(
            settings, self._database, self._template, name=name, draining=lambda: self._draining, tracer=self._tracer
        )
        self._reconciler = Reconciler(
            settings,
            self._database,
            make_blobs(settings),
            lambda job_id, queue: publish_again(self.celery, job_id, queue),
            name=name,
        )
        self._sender = Sender(settings, self._database)
        register(self.celery, self._runner, must_exit=lambda: self._solo and self._draining)
        signals.worker_shutting_down.connect(self._shut_down, weak=False)

    def run(self) -> int:
        """Work until SIGINT or SIGTERM; the exit status."""
        self._template.start()
        self._reconciler.start()
        self._sender.start()
        consumer = self.celery.Worker(
            pool_cls="solo" if self._solo else SlotPool,
            concurrency=self.settings.jobs_at_once,
            queues=[QUEUES[queue] for queue in self.settings.queues],
            loglevel=self.settings.log_level,
            quiet=True,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        )
        try:
            consumer.start()
        finally:
            self._reconciler.stop()
            self._sender.stop()
            self._template.stop()
            self._database.close()
            self._tracer.close()
        return int(consumer.exitcode or 0)

    def _shut_down(self, **_: Any) -> None:
        """Inside Celery's signal handler."""
        self._draining = True
        if self._solo and not self._runner.busy:
            # Celery's own way out of an idle solo worker waits for the queue twice, 4 s in all. Nothing can be lost by
            # leaving at once: a message that has just been taken names a job that is still queued in the database.
            raise WorkerShutdown(0)


def run_worker(settings: WorkerSettings, handlers: str = HANDLERS) -> int:
    """Run a worker in this process until it is told to stop."""
    logs.configure(settings.log_format, settings.log_level)
    for name, level in _QUIETER.items():
        logging.getLogger(name).setLevel(level)
    # Celery warns root of pickled messages; ours are JSON, and no other is accepted.
    warnings.simplefilter("ignore", SecurityWarning)
    return Worker(settings, handlers).run()

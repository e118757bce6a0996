"""The thread that makes sure that no job is lost: sweeps at start and every few seconds, and publishes what it finds.
It also says that its worker lives."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from sqlalchemy.exc import DBAPIError

from store import metrics, workers
from store.blobs import Blobs
from store.database import Database
from store.expiry import expire
from store.sweep import sweep, sweep_blobs
from worker.settings import WorkerSettings

log = logging.getLogger(__name__)
BLOB_SWEEP_SECONDS = 600.0


class Reconciler(threading.Thread):
    """Runs in every worker; any number may sweep at the same time. `name` is the worker's."""

    def __init__(
        self,
        settings: WorkerSettings,
        database: Database,
        blobs: Blobs,
        publish: Callable[[str, str], bool],
        *,
        name: str,
    ) -> None:
        super().__init__(name="reconciler", daemon=True)
        self._settings = settings
        self._database = database
        self._blobs = blobs
        self._publish = publish
        self._worker = name
        self._stopped = threading.Event()

    def run(self) -> None:
        threading.Thread(target=self._tidy, name="tidying", daemon=True).start()
        while not self._stopped.is_set():
            try:
                self.say_that_we_live()
                self.sweep()
                with self._database.write() as session:
                    expire(session, self._settings)
            except DBAPIError as error:
                metrics.SWEEP_FAILURES.inc()
                log.warning("no sweep, the database is away: %s", type(error.orig).__name__)
            except Exception:  # a thread that ended here would leave every lost job lost
                metrics.SWEEP_FAILURES.inc()
                log.exception("a sweep failed")
            self._stopped.wait(self._settings.sweep_seconds)

    def _tidy(self) -> None:
        """Blobs that nobody names. In a thread of its own: there may be a million, and an expired lease is not to wait."""
        while not self._stopped.is_set():
            try:
                sweep_blobs(self._database, self._blobs)
            except Exception:  # the next one may succeed
                metrics.SWEEP_FAILURES.inc()
                log.exception("a sweep of blobs failed")
            self._stopped.wait(BLOB_SWEEP_SECONDS)

    def sweep(self) -> None:
        """One round."""
        with self._database.write() as session:
            swept = sweep(session, self._settings)
            workers.forget_silent(session, self._settings)
        for fate in ("requeued", "failed", "canceled", "paused"):
            for job_id in getattr(swept, fate):
                log.warning("%s: lease or time limit expired, %s", job_id, fate)
                metrics.LEASE_EXPIRIES.labels(fate).inc()
        for job_id, queue in swept.publish:
            if not self._publish(job_id, queue):
                break  # the broker is away: each of the others would wait for it as long, and is published again later

    def say_that_we_live(self) -> None:
        settings = self._settings
        with self._database.write() as session:
            workers.is_here(
                session,
                self._worker,
                queues=[str(queue) for queue in settings.queues],
                processes=settings.jobs_at_once,
                metrics=metrics.snapshot(),
            )

    def stop(self) -> None:
        """An orderly end: the worker is not missed."""
        self._stopped.set()
        self.join(timeout=1.0)
        try:
            with self._database.write() as session:
                workers.is_gone(session, self._worker)
        except DBAPIError as error:
            log.warning("the database is away, a sweep will forget this worker: %s", type(error.orig).__name__)

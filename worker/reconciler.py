"""The thread that makes sure that no job is lost: sweeps at start and every few seconds, and publishes what it finds."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from sqlalchemy.exc import DBAPIError

from store.blobs import Blobs
from store.database import Database
from store.settings import StoreSettings
from store.sweep import sweep, sweep_blobs

log = logging.getLogger(__name__)
BLOB_SWEEP_SECONDS = 600.0


class Reconciler(threading.Thread):
    """Runs in every process that runs jobs; any number may sweep at the same time."""

    def __init__(
        self, settings: StoreSettings, database: Database, blobs: Blobs, publish: Callable[[str, str], object]
    ) -> None:
        super().__init__(name="reconciler", daemon=True)
        self._settings = settings
        self._database = database
        self._blobs = blobs
        self._publish = publish
        self._stopped = threading.Event()

    def run(self) -> None:
        blob_rounds = max(1, round(BLOB_SWEEP_SECONDS / self._settings.sweep_seconds))
        rounds = 0
        while not self._stopped.is_set():
            try:
                self.sweep()
                if rounds % blob_rounds == 0:
                    sweep_blobs(self._database, self._blobs)
            except DBAPIError as error:
                log.warning("no sweep, the database is away: %s", type(error.orig).__name__)
            except Exception:  # a thread that ended here would leave every lost job lost
                log.exception("a sweep failed")
            rounds += 1
            self._stopped.wait(self._settings.sweep_seconds)

    def sweep(self) -> None:
        """One round."""
        with self._database.write() as session:
            swept = sweep(session, self._settings)
        for fate in ("requeued", "failed", "canceled", "paused"):
            for job_id in getattr(swept, fate):
                log.warning("%s: lease or time limit expired, %s", job_id, fate)
        for job_id, queue in swept.publish:
            self._publish(job_id, queue)

    def stop(self) -> None:
        self._stopped.set()
        self.join(timeout=1.0)

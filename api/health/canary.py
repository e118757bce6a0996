"""Watches, whenever anybody looks, whether workers take jobs, and says once when that changes."""

from __future__ import annotations

import logging
import threading

from store.database import Database
from store.settings import StoreSettings
from store.staffing import Staffing, staffing

log = logging.getLogger(__name__)


class Canary:
    """One per process; any thread may look."""

    def __init__(self, settings: StoreSettings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._lock = threading.Lock()
        self._known: dict[str, str] = {}

    def look(self) -> Staffing:
        """The state of things. A queue that has begun, or ceased, to be stuck or without workers is logged."""
        with self._database.read() as session:
            found = staffing(session, self._settings)
        wrong = found.unserved | found.stuck
        with self._lock:
            for queue in wrong.keys() - self._known.keys():
                log.warning("jobs are not taken: %s", wrong[queue], extra={"queue": queue})
            for queue in self._known.keys() - wrong.keys():
                log.info("jobs of the queue %s are taken again", queue, extra={"queue": queue})
            self._known = wrong
        return found

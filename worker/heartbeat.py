"""The thread beside a running job: keeps its lease, writes its progress, learns why it should stop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from enum import StrEnum
from types import TracebackType
from typing import Self

from sqlalchemy.exc import DBAPIError

from domain.jobs import Progress
from store import leases
from store.database import Database
from store.leases import Lease, LeaseLost

log = logging.getLogger(__name__)


class StopReason(StrEnum):
    """Why a job must not go on."""

    LEASE_LOST = "lease lost"
    CANCELED = "canceled"
    PAUSED = "paused"
    TIMED_OUT = "timed out"
    SHUTDOWN = "shutdown"


class Heartbeat:
    """Renews `lease` from a thread of its own while the `with` block lasts.

    Every `poll_seconds` it makes one short transaction: the newest progress if there is one, else a renewal. What the
    database answers, and whether this process shuts down, becomes `stop_reason`; asking for it costs no database call.
    """

    def __init__(self, database: Database, lease: Lease, *, poll_seconds: float, draining: Callable[[], bool]) -> None:
        self._database = database
        self._lease = lease
        self._pause = min(poll_seconds, lease.seconds / 3)
        self._draining = draining
        self._ended = threading.Event()
        in_context = copy_context().run  # its lines name the job, like all others
        self._thread = threading.Thread(
            target=in_context, args=(self._run,), name=f"heartbeat {lease.job_id}", daemon=True
        )
        self._progress: Progress | None = None
        self._renewed = time.monotonic()
        self._told: StopReason | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        # A beat that hangs in a dead connection is left behind: its write is fenced like every other.
        self._thread.join(timeout=1.0)

    def report(self, progress: Progress) -> None:
        """Have this written at the next beat, unless a newer one comes first."""
        self._progress = progress

    def lose(self) -> None:
        """Another write has found the lease gone."""
        self._told = StopReason.LEASE_LOST

    @property
    def stop_reason(self) -> StopReason | None:
        if self._told is None and time.monotonic() - self._renewed > self._lease.seconds:
            # The database was away for the whole lease, or this process was frozen: another worker may have the job.
            self.lose()
        if self._told is not None:
            return self._told
        return StopReason.SHUTDOWN if self._draining() else None

    def _run(self) -> None:
        while not self._ended.wait(self._pause):
            started = time.monotonic()
            try:
                self._beat(started)
            except LeaseLost:
                if not self._ended.is_set():
                    self.lose()
                return
            except DBAPIError as error:
                log.warning("%s: no heartbeat, the database is away: %s", self._lease.job_id, type(error.orig).__name__)
            except Exception:  # if it lasts, the lease is lost, and that is noticed; if not, the job need not be
                log.exception("%s: no heartbeat", self._lease.job_id)

    def _beat(self, started: float) -> None:
        progress, self._progress = self._progress, None
        renew = progress is None or started - self._renewed >= self._lease.seconds / 3
        with self._database.write() as session:
            if progress is not None:
                pulse = leases.report(session, self._lease, progress)
            if renew:
                pulse = leases.heartbeat(session, self._lease)
        if renew:
            # Counted from before the transaction: the database's own count began later.
            self._renewed = started
        if pulse.cancel:
            self._told = StopReason.CANCELED  # also of one that was to be paused
        elif pulse.pause:
            self._told = self._told or StopReason.PAUSED
        elif pulse.timed_out:
            self._told = self._told or StopReason.TIMED_OUT

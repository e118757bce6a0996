"""What a handler is given and what it gives back."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from sqlalchemy.exc import DBAPIError

from domain.jobs import Progress
from domain.specs import JobRequest
from dynamics.reporting import Reporter
from store import checkpoints
from store.blobs import BlobDamaged, Blobs
from store.database import Database
from store.leases import Lease, LeaseLost
from store.tables import Base, JobRow, ResultRow
from worker.heartbeat import Heartbeat

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Context:
    """One claimed job, and the means to do it."""

    job: JobRow
    request: JobRequest
    database: Database
    blobs: Blobs
    reporter: Reporter
    threads: int = 1  # seeds that training may run at once


@dataclass(frozen=True)
class Outcome:
    """What a job made: the result it answers, and whatever else is written in the same transaction."""

    result: ResultRow
    more: tuple[Base, ...] = ()


class JobReporter(Reporter):
    """The science's line to the store: progress and stop requests by way of the heartbeat, checkpoints at once."""

    def __init__(self, database: Database, blobs: Blobs, lease: Lease, heartbeat: Heartbeat) -> None:
        self._database = database
        self._blobs = blobs
        self._lease = lease
        self._heartbeat = heartbeat

    def report(self, progress: Progress) -> None:
        self._heartbeat.report(progress)

    def should_stop(self) -> bool:
        return self._heartbeat.stop_reason is not None

    def save_checkpoint(self, data: bytes) -> None:
        try:
            checkpoints.save(self._database, self._blobs, self._lease, data)
        except LeaseLost:
            self._heartbeat.lose()
        except DBAPIError as error:
            # The heartbeat decides when the database has been away for too long; until then the work goes on.
            log.warning("%s: checkpoint not kept: %s", self._lease.job_id, type(error.orig).__name__)

    def load_checkpoint(self) -> bytes | None:
        try:
            return checkpoints.load(self._database, self._blobs, self._lease.job_id)
        except (FileNotFoundError, BlobDamaged) as error:
            log.warning("%s: starting from the beginning, its checkpoint is unusable: %s", self._lease.job_id, error)
            return None

"""What a handler is given and what it gives back."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from domain.specs import JobRequest
from dynamics.reporting import Interrupted, Reporter
from store.blobs import DISK_FULL, BlobRef, Blobs, BlobsUnavailable
from store.database import Database
from store.tables import Base, JobRow, ResultRow

log = logging.getLogger(__name__)
T = TypeVar("T")
PATIENCE_SECONDS = 30.0
PAUSE_SECONDS = 2.0


@dataclass(frozen=True)
class Task:
    """What the process of a job is told: plain data that crosses into it as JSON."""

    job_id: str
    tenant: str
    kind: str
    queue: str
    request: dict[str, Any]
    progress: dict[str, Any]
    memory_mb: int

    @classmethod
    def of(cls, job: JobRow, memory_mb: int) -> Task:
        return cls(job.id, job.tenant, job.kind, job.queue, job.request, job.progress, memory_mb)


@dataclass(frozen=True)
class Context:
    """One job, and the means to do it."""

    task: Task
    request: JobRequest
    database: Database  # to read
    blobs: Blobs
    reporter: Reporter
    threads: int = 1  # seeds that training may run at once

    def keep(self, data: bytes) -> BlobRef:
        """A blob of the result."""
        return self.patiently(lambda: self.blobs.put(data))

    def patiently(self, work: Callable[[], T]) -> T:
        """What `work` does with blobs, again for a while as long as their storage is full or away: an attempt, and the
        hours that it may have taken, are worth more. Raises its OSError in the end, Interrupted when the job is to stop."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return work()
            except OSError as error:
                waits = isinstance(error, BlobsUnavailable) or error.errno in DISK_FULL
                if not waits or time.monotonic() > give_up:
                    raise
                if self.reporter.should_stop():
                    raise Interrupted from error
                log.warning("the storage of files fails, trying again: %s", error)
            time.sleep(PAUSE_SECONDS)


@dataclass(frozen=True)
class Outcome:
    """What a job made: the result it answers, and whatever else is written in the same transaction."""

    result: ResultRow
    more: tuple[Base, ...] = ()

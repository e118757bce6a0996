"""What a handler is given and what it gives back."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

from domain.specs import JobRequest
from dynamics.reporting import Interrupted, Reporter
from store.blobs import DISK_FULL, BlobRef, Blobs, BlobsUnavailable
from store.database import Database
from store.tables import Base, JobRow, ResultRow

log = logging.getLogger(__name__)
KEEP_PATIENCE_SECONDS = 30.0
KEEP_PAUSE_SECONDS = 2.0


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
        """A blob of the result. A storage that is full or away is waited for, for a while: the work is done, and doing it
        again costs more. Raises OSError when it is not available in time, Interrupted when the job is to stop."""
        give_up = time.monotonic() + KEEP_PATIENCE_SECONDS
        while True:
            try:
                return self.blobs.put(data)
            except OSError as error:
                waits = isinstance(error, BlobsUnavailable) or error.errno in DISK_FULL
                if not waits or time.monotonic() > give_up:
                    raise
                if self.reporter.should_stop():
                    raise Interrupted from error
                log.warning("the result cannot be kept, trying again: %s", error)
            time.sleep(KEEP_PAUSE_SECONDS)


@dataclass(frozen=True)
class Outcome:
    """What a job made: the result it answers, and whatever else is written in the same transaction."""

    result: ResultRow
    more: tuple[Base, ...] = ()

"""What a handler is given and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from domain.specs import JobRequest
from dynamics.reporting import Reporter
from store.blobs import Blobs
from store.database import Database
from store.tables import Base, JobRow, ResultRow


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


@dataclass(frozen=True)
class Outcome:
    """What a job made: the result it answers, and whatever else is written in the same transaction."""

    result: ResultRow
    more: tuple[Base, ...] = ()

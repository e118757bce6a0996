"""Jobs: kinds, states and the one table of transitions between them."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from pydantic import Field

from domain.base import Document


class JobKind(StrEnum):
    LYAPUNOV = "lyapunov"
    TRAIN = "train"
    FORECAST = "forecast"
    EVALUATE = "evaluate"
    RECONSTRUCT = "reconstruct"


class JobStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    CANCELING = "canceling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


class JobQueue(StrEnum):
    """Where a job waits: for any worker, or for one with a GPU."""

    CPU = "cpu"
    GPU = "gpu"


TERMINAL: Final = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED})

# from -> to. Every change of a job's status is one conditional UPDATE along one of these arrows, plus its event row.
TRANSITIONS: Final[dict[JobStatus, frozenset[JobStatus]]] = {
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.PAUSED, JobStatus.CANCELED}),
    JobStatus.RUNNING: frozenset(
        {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.PAUSING, JobStatus.CANCELING, JobStatus.QUEUED}
    ),
    JobStatus.PAUSING: frozenset({JobStatus.PAUSED, JobStatus.CANCELING, JobStatus.SUCCEEDED, JobStatus.FAILED}),
    JobStatus.PAUSED: frozenset({JobStatus.QUEUED, JobStatus.CANCELED}),
    # A job may end in the very moment in which it is asked to cancel: the truthful state wins.
    JobStatus.CANCELING: frozenset({JobStatus.CANCELED, JobStatus.SUCCEEDED, JobStatus.FAILED}),
    JobStatus.SUCCEEDED: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELED: frozenset(),
}


def sources_of(target: JobStatus) -> frozenset[JobStatus]:
    """The states from which `target` may be reached."""
    return frozenset(s for s, targets in TRANSITIONS.items() if target in targets)


class ErrorCode(StrEnum):
    """`error.code` of a failed job."""

    INVALID_DATA = "invalid_data"
    DIVERGED = "diverged"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    WORKER_LOST = "worker_lost"
    INTERNAL = "internal"


RETRYABLE: Final = frozenset({ErrorCode.TIMEOUT, ErrorCode.OUT_OF_MEMORY, ErrorCode.WORKER_LOST, ErrorCode.INTERNAL})


class JobError(Document):
    """Why a job failed."""

    code: ErrorCode
    detail: str = Field(description="What happened, and what to do about it.")
    retryable: bool


class Progress(Document):
    """How far a job has come."""

    fraction: float = Field(default=0.0, ge=0.0, le=1.0)
    phase: str = Field(
        default="queued", description='What is being done, such as "compiling", "training", "evaluating".'
    )
    step: int | None = None
    total_steps: int | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    eta_s: float | None = Field(
        default=None, description="Estimated seconds until the end of the job; null while unknown."
    )


class ResultRef(Document):
    """Where a succeeded job left its result."""

    type: str = Field(description="analysis, model, forecast or evaluation")
    id: str
    href: str

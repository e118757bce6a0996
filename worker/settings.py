"""Settings of a worker process, read once in its composition root from ATTRACTOR_* variables."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import psutil
from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from domain.jobs import JobQueue
from store.settings import StoreSettings

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)


class WorkerSettings(StoreSettings):
    """How many jobs a worker runs at a time, and on how many threads each computes."""

    concurrency: int = Field(
        default=0,
        ge=0,
        description="Jobs at a time, each in a process of its own; 0: one per core. Always 1 with the embedded queue.",
    )
    queues: Annotated[list[JobQueue], NoDecode] = Field(
        default=[JobQueue.CPU],
        min_length=1,
        description="Jobs that this worker takes, separated by commas: cpu; on a machine with a GPU gpu, or both.",
    )
    threads: int = Field(default=0, ge=0, description="Threads per job; 0: the cores shared among the processes.")
    train_threads: int = Field(default=0, ge=0, description="Seeds trained at a time; 0: as many as threads per job.")
    poll_seconds: float = Field(
        default=0.5, gt=0, le=1.0, description="How often progress is written and a cancellation noticed."
    )

    job_memory_mb: int = Field(
        default=0,
        ge=0,
        description="Mebibytes that the process of one job may take, whatever the job asks for; "
        "0: four fifths of the memory of the machine or container, shared among the jobs at a time.",
    )
    stop_grace_seconds: float = Field(
        default=3.0, gt=0, description="A job that was asked to stop and has not stopped after this is killed."
    )

    @field_validator("queues", mode="before")
    @classmethod
    def _separated(cls, value: Any) -> Any:
        return [name.strip() for name in value.split(",")] if isinstance(value, str) else value

    @property
    def jobs_at_once(self) -> int:
        """More than one takes Redis: whoever listens to the queue of files takes messages that it has no hand free for."""
        return 1 if self.embedded_broker else self.concurrency or os.cpu_count() or 1

    @property
    def job_threads(self) -> int:
        return self.threads or max(1, (os.cpu_count() or 1) // self.jobs_at_once)

    @property
    def memory_limit_mb(self) -> int:
        """Of the process of one job."""
        return self.job_memory_mb or int(0.8 * machine_memory_mb() / self.jobs_at_once)

    @property
    def seeds_at_once(self) -> int:
        return self.train_threads or self.job_threads

    def thread_variables(self) -> dict[str, str]:
        """What gives every job its share of the cores, where the operator has not set it; for the environment of a process
        that has not imported numpy, numba or torch yet. Numba's workqueue layer lives with torch's OpenMP in one process."""
        wanted = dict.fromkeys(_THREAD_VARIABLES, str(self.job_threads)) | {"NUMBA_THREADING_LAYER": "workqueue"}
        return {name: os.environ.get(name, value) for name, value in wanted.items()}


def machine_memory_mb() -> int:
    """Memory of this machine, or of the container that it pretends to be."""
    total = psutil.virtual_memory().total
    for file in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        try:
            total = min(total, int(file.read_text()))
        except (OSError, ValueError):
            continue  # no such file here, or the word for "as much as there is"
    return total // (1 << 20)

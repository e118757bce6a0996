"""Settings of a worker process, read once in its composition root from ATTRACTOR_* variables."""

from __future__ import annotations

import os

from pydantic import Field

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
        description="Jobs at a time, each in a process; 0: one per core. Always 1 with the embedded queue.",
    )
    threads: int = Field(default=0, ge=0, description="Threads per job; 0: the cores shared among the processes.")
    train_threads: int = Field(default=0, ge=0, description="Seeds trained at a time; 0: as many as threads per job.")
    poll_seconds: float = Field(
        default=0.5, gt=0, le=1.0, description="How often progress is written and a cancellation noticed."
    )

    @property
    def processes(self) -> int:
        """Processes that run jobs. One is the worker itself (solo), more are forked from it (prefork), which the embedded
        queue does not stand: a worker whose idle child is killed then waits for ever."""
        return 1 if self.embedded_broker else self.concurrency or os.cpu_count() or 1

    @property
    def job_threads(self) -> int:
        return self.threads or max(1, (os.cpu_count() or 1) // self.processes)

    @property
    def seeds_at_once(self) -> int:
        return self.train_threads or self.job_threads

    def cap_threads(self) -> None:
        """Give every job its share of the cores; must come before the first import of numpy, numba or torch.

        Numba's workqueue layer is the one that survives a fork and lives with torch's OpenMP in one process; the science
        of a worker process runs in one thread, which is what that layer asks for.
        """
        for name in _THREAD_VARIABLES:
            os.environ.setdefault(name, str(self.job_threads))
        os.environ.setdefault("NUMBA_THREADING_LAYER", "workqueue")

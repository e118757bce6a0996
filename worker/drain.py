"""One flag, set in a worker's main process, seen by every process forked from it: shut down, give jobs back."""

from __future__ import annotations

import mmap


class DrainFlag:
    """A byte of shared memory: no lock, so that a signal handler may set it at any moment. Make it before the fork."""

    def __init__(self) -> None:
        self._byte = mmap.mmap(-1, 1)

    def set(self) -> None:
        self._byte[0] = 1

    def is_set(self) -> bool:
        return self._byte[0] != 0

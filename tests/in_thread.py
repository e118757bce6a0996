"""Jobs in a thread instead of a process: the same code on both sides of the same wire, and science that a test can write
down where it is needed. What takes a process, such as killing it, is tested with one (test_processes.py)."""

from __future__ import annotations

import socket
import threading

from worker.context import Task
from worker.job_process import Handlers, Means, perform
from worker.settings import WorkerSettings
from worker.wire import Wire


class InThread:
    """One job's thread."""

    def __init__(self, settings: WorkerSettings, handlers: Handlers) -> None:
        mine, its = socket.socketpair()
        self.wire, self._its = Wire(mine), its
        self._thread = threading.Thread(target=self._run, args=(settings, handlers))
        self._thread.start()

    def _run(self, settings: WorkerSettings, handlers: Handlers) -> None:
        wire = Wire(self._its)
        (message,) = wire.wait()
        perform(wire, Task(**message["task"]), settings, Means.of(settings), handlers, when_alone=lambda: None)
        self._its.shutdown(socket.SHUT_RDWR)

    def has_begun(self) -> bool:
        return True

    def kill(self) -> None:
        raise AssertionError("a thread cannot be killed")

    def memory_mb(self) -> None:
        return None

    def wait(self, seconds: float) -> None:
        return None

    def close(self) -> None:
        self._thread.join()
        self._its.close()
        self.wire.close()


class ThreadLauncher:
    def __init__(self, settings: WorkerSettings, handlers: Handlers) -> None:
        self._settings, self._handlers = settings, handlers

    def launch(self) -> InThread:
        return InThread(self._settings, self._handlers)

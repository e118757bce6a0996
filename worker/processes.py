"""Processes for jobs, as the worker sees them: launched from a template, spoken to over a wire, watched and killed."""

from __future__ import annotations

import json
import logging
import os
import select
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Protocol

import psutil
from pydantic import SecretStr

from worker.settings import WorkerSettings
from worker.template import TOLD
from worker.wire import Wire

log = logging.getLogger(__name__)
HANDLERS = "worker.handlers:HANDLERS"
_STOP_SECONDS = 2.0


class JobProcess(Protocol):
    """Where one job runs."""

    wire: Wire

    def has_begun(self) -> bool:
        """Whether there is a process; False while the science is still being imported."""

    def kill(self) -> None:
        """End it at once; the wire ends soon after."""

    def memory_mb(self) -> float | None:
        """Resident memory in mebibytes; None when there is nothing to measure."""

    def wait(self, seconds: float) -> int | None:
        """The status of `os.waitpid`, waiting for so long; None when it is not known."""

    def close(self) -> None:
        """Leave nothing of it behind."""


class Launcher(Protocol):
    """Whatever runs jobs apart from the worker."""

    def launch(self) -> JobProcess: ...


class Forked:
    """A process that was forked for one job."""

    def __init__(self, end: socket.socket, watcher: socket.socket) -> None:
        self.wire = Wire(end)
        self._watcher = watcher
        self._told = b""
        self._process: psutil.Process | None = None

    def has_begun(self) -> bool:
        self._listen(0.0)
        return len(self._told) >= TOLD.size

    def kill(self) -> None:
        self._watcher.shutdown(socket.SHUT_WR)

    def memory_mb(self) -> float | None:
        self._listen(0.0)
        if len(self._told) != TOLD.size:
            return None  # not begun, or ended
        try:
            if self._process is None:
                self._process = psutil.Process(TOLD.unpack(self._told)[0])
            return self._process.memory_info().rss / (1 << 20)
        except psutil.Error:
            return None

    def wait(self, seconds: float) -> int | None:
        end = time.monotonic() + seconds
        while len(self._told) < 2 * TOLD.size and (left := end - time.monotonic()) > 0:
            if not self._listen(left):
                break
        return TOLD.unpack_from(self._told, TOLD.size)[0] if len(self._told) == 2 * TOLD.size else None

    def close(self) -> None:
        self._watcher.close()  # if it still runs, the template kills it
        self.wire.close()

    def _listen(self, seconds: float) -> bool:
        """Take what the template tells; False once nothing more will come."""
        poll = select.poll()
        poll.register(self._watcher, select.POLLIN)
        if not poll.poll(seconds * 1000):
            return True
        try:
            data = self._watcher.recv(2 * TOLD.size - len(self._told))
        except ConnectionError:
            data = b""
        self._told += data
        return bool(data)


class Template:
    """A process with the science imported, from which those of the jobs are forked (`worker.template`); started again
    when it is lost."""

    def __init__(self, settings: WorkerSettings, handlers: str = HANDLERS) -> None:
        self._settings = settings
        self._handlers = handlers
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def start(self) -> None:
        """Let it begin with its imports, which take seconds; jobs that are launched meanwhile wait for them."""
        with self._lock:
            self._start()

    def launch(self) -> Forked:
        with self._lock:
            try:
                return self._launch()
            except OSError:
                log.warning("the template of job processes was lost; starting it again")
                self._start()
                return self._launch()

    def stop(self) -> None:
        with self._lock:
            self._end()

    def _launch(self) -> Forked:
        if self._control is None:
            self._start()
        assert self._control is not None
        (mine, its), (watching, watched) = socket.socketpair(), socket.socketpair()
        try:
            socket.send_fds(self._control, [b"!"], [its.fileno(), watched.fileno()])
        except OSError:
            mine.close()
            watching.close()
            raise
        finally:
            its.close()
            watched.close()
        return Forked(mine, watching)

    def _start(self) -> None:
        self._end()
        self._control, its = socket.socketpair()
        with its:
            # -P: whatever lies in the directory we were started in must not be taken for one of our packages.
            command = [sys.executable, "-P", "-m", "worker.template", str(its.fileno()), self._handlers]
            environment = os.environ | self._settings.thread_variables()
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, env=environment, pass_fds=(its.fileno(),), start_new_session=True
            )
        assert self._process.stdin is not None
        with self._process.stdin as stdin:
            stdin.write(_as_json(self._settings))

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()  # it may be in the middle of its imports
                self._process.wait()
        self._control = self._process = None


def _as_json(settings: WorkerSettings) -> bytes:
    """Settings with their secrets, for another process of this worker."""

    def plain(value: Any) -> str:
        return value.get_secret_value() if isinstance(value, SecretStr) else str(value)

    return json.dumps(settings.model_dump(), default=plain).encode()


def oom_kills() -> int:
    """How often this machine's kernel has ended a process for lack of memory; 0 where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)

"""`python -P -m worker.template FD HANDLERS`: has the science imported, computes nothing, and forks a process for each job.

A process of a job starts within milliseconds that way, although importing the science takes seconds; and since this one
runs no kernel, has no thread of its own and no connection open, its forks begin as clean as if they had been spawned. Started and spoken to
by `worker.processes`: settings come by stdin, and over the socket FD, for every job, two more sockets: one for the job's
own process, one on which its pid and at last its exit status are told. Whose other end is closed is killed.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import struct
import sys
from typing import NoReturn

from sqlalchemy.exc import DBAPIError

from worker.job_process import Handlers, Means, main_of_job
from worker.settings import WorkerSettings

TOLD = struct.Struct("!q")
_PR_SET_PDEATHSIG = 1


class Template:
    """The loop: fork when a job comes, tell when its process ends, kill it when nobody wants it any more."""

    def __init__(self, control: socket.socket, settings: WorkerSettings, means: Means, handlers: Handlers) -> None:
        self._control = control
        self._settings = settings
        self._means = means
        self._handlers = handlers
        self._watchers: dict[int, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._ended, ended = socket.socketpair()
        for end in (self._ended, ended):
            end.setblocking(False)
        self._write_ended = ended
        signal.set_wakeup_fd(ended.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._selector.register(control, selectors.EVENT_READ)
        self._selector.register(self._ended, selectors.EVENT_READ)

    def run(self) -> None:
        """Until the worker is gone; then the processes of its jobs go as well."""
        alive = True
        while alive:
            for key, _ in self._selector.select():
                if key.fileobj is self._control:
                    alive = self._launch()
                elif key.fileobj is self._ended:
                    self._ended.recv(4096)
                    self._reap()
                else:
                    self._kill(key.data)
        for pid in self._watchers:
            os.kill(pid, signal.SIGKILL)

    def _launch(self) -> bool:
        data, fds, _, _ = socket.recv_fds(self._control, 1, 2)
        if not data:
            return False
        end, watcher = (socket.socket(fileno=fd) for fd in fds)
        template = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            print(f"no process for a job: {error}", file=sys.stderr, flush=True)  # noqa: T201 - the worker logs the rest
            end.close()
            watcher.close()
            return True
        if pid == 0:
            self._become_a_job(end, watcher, template)
        end.close()
        self._watchers[pid] = watcher
        self._selector.register(watcher, selectors.EVENT_READ, pid)
        _tell(watcher, pid)
        return True

    def _become_a_job(self, end: socket.socket, watcher: socket.socket, template: int) -> NoReturn:
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._selector.close()
            for other in (self._control, self._ended, self._write_ended, watcher, *self._watchers.values()):
                other.close()
            _die_with(template)
            status = main_of_job(end, self._settings, self._means, self._handlers)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)  # nothing of the template's is to be ended twice

    def _kill(self, pid: int) -> None:
        """Its worker has closed the socket. A process that has not been waited for still has its number."""
        watcher = self._watchers.get(pid)
        if watcher is None:
            return  # it has ended, and was waited for a moment ago: one select told both
        self._selector.unregister(watcher)
        os.kill(pid, signal.SIGKILL)

    def _reap(self) -> None:
        while self._watchers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            watcher = self._watchers.pop(pid)
            if watcher in self._selector.get_map():
                self._selector.unregister(watcher)
            _tell(watcher, status)
            watcher.close()


def _tell(watcher: socket.socket, number: int) -> None:
    try:
        watcher.sendall(TOLD.pack(number))
    except OSError:
        return  # the worker does not listen any more, and that is heard by select


def _die_with(parent: int) -> None:
    """End when `parent` does, however it ends (Linux; elsewhere the end of the socket is noticed by a thread)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _warm_up() -> None:
    """What Numba prepares at its first use, a quarter of a second: no kernel is compiled or run."""
    from numba.core.registry import cpu_target

    cpu_target.typing_context.refresh()
    cpu_target.target_context.refresh()


def main(fd: int, path: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the worker is who is asked to stop, and hears of the end of its sockets
    settings = WorkerSettings(**json.load(sys.stdin))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    module, _, name = path.partition(":")
    handlers: Handlers = getattr(importlib.import_module(module), name)
    if "gpu" in settings.queues:
        importlib.import_module("torch")  # imported, not used: a fork of a process that has used it hangs
    _warm_up()
    means = Means.of(settings)
    try:
        means.rehearse()
    except DBAPIError as error:
        print(f"jobs start more slowly, the database is away: {error.orig}", file=sys.stderr, flush=True)  # noqa: T201
    gc.collect()
    gc.freeze()  # so that collections in the jobs do not copy the pages that they share
    Template(socket.socket(fileno=fd), settings, means, handlers).run()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

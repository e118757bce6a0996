"""Science that does what science must not: for processes of jobs, by the name of the series' first channel."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sqlalchemy import QueuePool, inspect

from domain.ids import new_id
from domain.jobs import JobKind, Progress
from domain.specs import LyapunovJob
from store.tables import AnalysisRow, SeriesRow
from worker.context import Context, Outcome


def succeed(context: Context) -> Outcome:
    """Well-behaved; its document says where it ran, and what it found there."""
    pool = context.database.engine.pool
    assert isinstance(pool, QueuePool)
    document = {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "threads": len(os.listdir("/proc/self/task")),
        "tables_are_mapped": inspect(SeriesRow).configured,
        "connections": pool.checkedin() + pool.checkedout(),
    }
    return Outcome(AnalysisRow(id=new_id("analysis"), channels=["x0"], channels_hash="0" * 64, document=document))


def _say(context: Context, phase: str) -> None:
    context.reporter.report(Progress(fraction=0.5, phase=phase))


def allocate(context: Context) -> Outcome:
    """A little more all the time, and all of it is used."""
    kept = []
    while True:
        kept.append(np.ones(4 << 20))
        time.sleep(0.01)


def allocate_at_once(context: Context) -> Outcome:
    kept = np.ones(1 << 33)
    raise AssertionError(kept.shape)


def abort(context: Context) -> Outcome:
    os.abort()


def segfault(context: Context) -> Outcome:
    ctypes.string_at(0)
    raise AssertionError("not reached")


def kill(context: Context) -> Outcome:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("not reached")


def leave(context: Context) -> Outcome:
    os._exit(3)


def sys_exit(context: Context) -> Outcome:
    sys.exit(3)


def recurse(context: Context) -> Outcome:
    return recurse(context)


def sleep(context: Context) -> Outcome:
    """Hears no stop."""
    _say(context, "sleeping")
    time.sleep(600)
    raise AssertionError("not reached")


def hold_the_gil(context: Context) -> Outcome:
    """As a compiler does: not even the thread that listens runs."""
    _say(context, "holding")
    time.sleep(0.1)
    ctypes.PyDLL(None).sleep(600)
    raise AssertionError("not reached")


def print_garbage(context: Context) -> Outcome:
    os.write(1, bytes(range(256)) * 10)
    sys.stdout.write("\x00 no news\n")
    return succeed(context)


def _sockets() -> list[socket.socket]:
    return [found for found in gc.get_objects() if isinstance(found, socket.socket) and found.fileno() >= 0]


def garble(context: Context) -> Outcome:
    """Writes into whatever sockets there are."""
    for found in _sockets():
        found.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    time.sleep(600)
    raise AssertionError("not reached")


def close_everything(context: Context) -> Outcome:
    """And has nobody left to tell its result."""
    os.closerange(3, 256)
    return succeed(context)


def fall_silent(context: Context) -> Outcome:
    """Says nothing any more, and goes on."""
    for found in _sockets():
        found.shutdown(socket.SHUT_WR)
    time.sleep(600)
    raise AssertionError("not reached")


def fall_silent_and_leave(context: Context) -> Outcome:
    """As a process that takes its time to end: who kills it meanwhile does not learn why it ended."""
    threading.Timer(0.3, os._exit, [3]).start()
    return fall_silent(context)


def checkpoint_and_die(context: Context) -> Outcome:
    """Gets one step further in each attempt."""
    before = context.reporter.load_checkpoint() or b""
    if len(before) == 2:
        return succeed(context)
    context.reporter.save_checkpoint(before + b"x")
    return kill(context)


def count_processes(context: Context) -> Outcome:
    _say(context, str(os.getpid()))
    while True:
        context.reporter.check()
        time.sleep(0.01)


SCIENCE: dict[str, Callable[[Context], Outcome]] = {
    f.__name__: f
    for f in (
        succeed, allocate, allocate_at_once, abort, segfault, kill, leave, sys_exit, recurse, sleep, hold_the_gil,
        print_garbage, garble, close_everything, fall_silent, fall_silent_and_leave, checkpoint_and_die,
        count_processes,
    )
}  # fmt: skip


def run(context: Context) -> Outcome:
    assert isinstance(context.request, LyapunovJob)
    return SCIENCE[context.request.metadata["science"]](context)


HANDLERS = dict.fromkeys(JobKind, run)
HERE = Path(__file__).parent

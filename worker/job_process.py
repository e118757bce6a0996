"""One job in a process of its own: what it is comes over a wire, what becomes of it goes back over it.

It reads the database and writes blobs. It writes nothing else: progress, the names of checkpoints and the rows of the
result are the worker's to write, as long as it holds the lease. So a process that is killed loses and doubles nothing.
"""

from __future__ import annotations

import logging
import os
import queue
import resource
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from domain.errors import NotFound
from domain.jobs import JobKind, JobQueue, Progress
from domain.specs import JobRequest
from dynamics.reporting import Interrupted, Reporter
from store import checkpoints, series
from store.blobs import BlobDamaged, Blobs, make_blobs
from store.database import Database
from worker.context import Context, Outcome, Task
from worker.failures import failure
from worker.rows import packed
from worker.settings import WorkerSettings
from worker.wire import Message, Wire

log = logging.getLogger(__name__)
Handler = Callable[[Context], Outcome]
Handlers = Mapping[JobKind, Handler]
OOM_SCORE = 500  # of a thousand: when memory runs out, the kernel is to choose the job and not the worker
_request = TypeAdapter[JobRequest](JobRequest)


@dataclass(frozen=True)
class Means:
    """What a process of a job works with. Made in the template, so that no job pays for imports, the mapping of tables
    or the compilation of statements; without an open connection, which two processes must not share."""

    database: Database  # to read
    blobs: Blobs

    @classmethod
    def of(cls, settings: WorkerSettings) -> Means:
        return cls(Database(settings), make_blobs(settings))

    def rehearse(self) -> None:
        """Read what every job reads, once, and let the connection go. Raises DBAPIError when the database is away."""
        try:
            checkpoints.load(self.database, self.blobs, "")
            with suppress(NotFound), self.database.read() as session:
                series.get(session, "")
        finally:
            self.database.close()


def main_of_job(end: socket.socket, settings: WorkerSettings, means: Means, handlers: Handlers) -> int:
    """The whole life of a process that serves one job; its exit status."""
    wire = Wire(end)
    try:
        (message,) = wire.wait()
        task = Task(**message["task"])
        logging.basicConfig(handlers=[_ToTheWorker(wire)], level=settings.log_level, force=True)
        _limit_memory(task)
        perform(wire, task, settings, means, handlers, when_alone=lambda: os._exit(1))
    except (EOFError, OSError):
        return 1  # the worker is gone
    return 0


def perform(
    wire: Wire,
    task: Task,
    settings: WorkerSettings,
    means: Means,
    handlers: Handlers,
    *,
    when_alone: Callable[[], None],
) -> None:
    """Do the job and say how it ended: `done` with its rows, `interrupted`, or `failed`. `when_alone` is called, from
    another thread, when the worker is gone."""
    reporter = WireReporter(wire, task, means.database, means.blobs)
    threading.Thread(target=reporter.listen, args=(when_alone,), name="wire", daemon=True).start()
    try:
        wire.send(_attempt(task, settings, means, reporter, handlers))
    finally:
        means.database.close()


def _attempt(task: Task, settings: WorkerSettings, means: Means, reporter: Reporter, handlers: Handlers) -> Message:
    try:
        reporter.report(Progress.model_validate(task.progress | {"phase": "starting"}))
        request = _request.validate_python(task.request)
        outcome = handlers[JobKind(task.kind)](
            Context(task, request, means.database, means.blobs, reporter, threads=settings.seeds_at_once)
        )
        return {"done": packed(outcome.result, *outcome.more)}
    except Interrupted:
        return {"interrupted": True}
    except BaseException as error:  # noqa: BLE001 - whatever a job does, it says how it ended
        if isinstance(error, MemoryError):
            _lift_memory_limit()  # saying so takes memory, too
        return {"failed": failure(error)}


class WireReporter(Reporter):
    """The science's line to its worker."""

    def __init__(self, wire: Wire, task: Task, database: Database, blobs: Blobs) -> None:
        self._wire = wire
        self._task = task
        self._database = database
        self._blobs = blobs
        self._stop = threading.Event()
        self._answers: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def report(self, progress: Progress) -> None:
        self._wire.send({"progress": progress.model_dump(mode="json")})

    def should_stop(self) -> bool:
        return self._stop.is_set()

    def save_checkpoint(self, data: bytes) -> None:
        """Returns when the checkpoint is kept, or known not to be."""
        try:
            sha256 = checkpoints.put(self._blobs, self._task.job_id, data)
        except OSError as error:
            log.warning("checkpoint not kept: %s", error)
            return
        self._wire.send({"checkpoint": sha256})
        if not self._answers.get():
            self._stop.set()

    def load_checkpoint(self) -> bytes | None:
        try:
            return checkpoints.load(self._database, self._blobs, self._task.job_id)
        except (FileNotFoundError, BlobDamaged) as error:
            log.warning("starting from the beginning, the checkpoint is unusable: %s", error)
            return None

    def listen(self, when_alone: Callable[[], None]) -> None:
        """Hear the worker until it is gone."""
        try:
            while True:
                for message in self._wire.wait():
                    if "stop" in message:
                        self._stop.set()
                    elif "kept" in message:
                        self._answers.put(message["kept"])
        except (EOFError, OSError):
            self._stop.set()
            self._answers.put(False)
            when_alone()


class _ToTheWorker(logging.Handler):
    """Lines of this process appear in the worker's log, in its format and under the job's id."""

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self._wire = wire

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            text += "\n" + "".join(traceback.format_exception(*record.exc_info)).rstrip()
        try:
            self._wire.send({"log": {"name": record.name, "level": record.levelno, "text": text}})
        except OSError:
            self.handleError(record)


def _limit_memory(task: Task) -> None:
    """Have allocations beyond the limit fail as MemoryError. What is allocated and never touched counts as well, so the
    worker's watch over what is really used is the limit, and this one the net for a single large step."""
    if sys.platform != "linux":
        return
    Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))
    if task.queue == JobQueue.GPU:
        return  # drivers of GPUs reserve far more than they use
    data = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (data + task.memory_mb * (1 << 20), resource.RLIM_INFINITY))


def _lift_memory_limit() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

"""One attempt, seen from the worker: what the process of the job says is written, and what it must obey is enforced."""

from __future__ import annotations

import logging
import os
import signal
import time
from contextlib import suppress
from dataclasses import asdict, dataclass

from sqlalchemy.exc import DBAPIError

from domain.jobs import ErrorCode, Progress
from store import checkpoints, metrics
from store.blobs import Blobs
from store.database import Database
from store.leases import Lease, LeaseLost
from store.tables import Base, ResultRow
from worker.context import Task
from worker.heartbeat import Heartbeat
from worker.phases import Phases
from worker.processes import JobProcess, oom_kills
from worker.rows import unpacked
from worker.settings import WorkerSettings
from worker.wire import Garbled, Message

log = logging.getLogger(__name__)
WATCH_SECONDS = 0.1
CHECKPOINT_PATIENCE_SECONDS = 5.0
EXIT_SECONDS = 1.0  # from the end of the wire to the process's own, which says why it ended; after that it is killed
DEATH_SECONDS = 5.0  # from a kill to the end of the wire, at most; a process that the kernel cannot end is left behind
MEMORY_ADVICE = "Try a smaller model or a shorter series."


@dataclass(frozen=True)
class Done:
    """The work is done, and this is to be written."""

    result: ResultRow
    more: tuple[Base, ...]


@dataclass(frozen=True)
class Failed:
    """The work failed, or its process died; `try_again` when another attempt may do better."""

    code: ErrorCode
    detail: str
    try_again: bool = False


@dataclass(frozen=True)
class Stopped:
    """The work has stopped, by itself or by force, without a result."""


Report = Done | Failed | Stopped


class Attempt:
    """Runs in the thread that took the job, until the job's process has said how it ended or is no more."""

    def __init__(
        self,
        settings: WorkerSettings,
        database: Database,
        blobs: Blobs,
        process: JobProcess,
        task: Task,
        lease: Lease,
        heartbeat: Heartbeat,
        phases: Phases,
    ) -> None:
        self._settings = settings
        self._database = database
        self._blobs = blobs
        self._process = process
        self._task = task
        self._lease = lease
        self._heartbeat = heartbeat
        self._asked: float | None = None  # since when it is to stop
        self._killed: float | None = None
        self._too_large: float | None = None  # mebibytes, when they were too many
        self._oom_kills = oom_kills()
        self._phases = phases

    def run(self) -> Report:
        try:
            self._process.wire.send({"task": asdict(self._task)})
            report = None
            while report is None:
                report = self._hear()
                if report is None:
                    self._enforce()
        except (EOFError, OSError):
            report = self._after_death()
        except Garbled as error:
            log.error("the process of the job speaks no language of ours: %s", error)
            report = Failed(ErrorCode.INTERNAL, "The job's process failed: what it said was no message.", True)
        self._phases.enter(None)
        return report

    def _hear(self) -> Report | None:
        for message in self._process.wire.receive(WATCH_SECONDS):
            report = self._obey(message)
            if report is not None:
                return report
        if self._killed is not None and time.monotonic() - self._killed > DEATH_SECONDS:
            raise EOFError
        return None

    def _obey(self, message: Message) -> Report | None:
        """What one message asks for. Raises `Garbled` for one that no process of ours can have sent."""
        try:
            match message:
                case {"progress": given}:
                    self._progress(Progress.model_validate(given))
                case {"checkpoint": sha256}:
                    self._process.wire.send({"kept": self._keep(sha256)})
                case {"log": {"name": name, "level": level, "text": text}}:
                    logging.getLogger(name).log(level, "%s", text)
                case {"done": rows}:
                    return Done(*unpacked(rows))
                case {"interrupted": True}:
                    return Stopped()
                case {"failed": {"code": code, "detail": detail, "try_again": again, "log": text} as told}:
                    if told.get("damaged_blob"):
                        metrics.BLOBS_DAMAGED.inc()
                    if text:
                        log.error("failed: %s", text)
                    return Failed(ErrorCode(code), detail, again)
                case _:
                    raise ValueError(f"no such message: {', '.join(message)[:100]}")
        except (KeyError, TypeError, ValueError) as error:
            raise Garbled(str(error)) from error
        return None

    def _progress(self, progress: Progress) -> None:
        self._heartbeat.report(progress)
        self._phases.enter(progress.phase)

    def _keep(self, sha256: str) -> bool:
        """Name a checkpoint in the job's row; False when the job is not ours any more."""
        patience = min(CHECKPOINT_PATIENCE_SECONDS, self._lease.seconds / 3)
        try:
            checkpoints.adopt(self._database, self._blobs, self._lease, sha256, patience_seconds=patience)
        except LeaseLost:
            self._heartbeat.lose()
            return False
        except DBAPIError as error:
            # The heartbeat decides when the database has been away for too long; until then the work goes on.
            log.warning("checkpoint not kept: %s", type(error.orig).__name__)
        return True

    def _enforce(self) -> None:
        """Its limits, and what others want of it."""
        moment = time.monotonic()
        memory = self._process.memory_mb()
        if memory is not None and memory > self._task.memory_mb and self._killed is None:
            self._too_large = memory
            self._kill(f"it takes {memory:.0f} MiB and may take {self._task.memory_mb}")
        reason = self._heartbeat.stop_reason
        if reason is not None and self._asked is None:
            self._asked = moment
            if not self._process.has_begun():
                raise EOFError  # there is nobody to ask, and nothing to wait for
            with suppress(OSError):  # it is gone; what it said last may still be to be heard
                self._process.wire.send({"stop": True})
        if (
            self._asked is not None
            and self._killed is None
            and moment - self._asked > self._settings.stop_grace_seconds
        ):
            self._kill(f"{reason}, and it has not stopped within {self._settings.stop_grace_seconds:g} s")

    def _kill(self, because: str) -> None:
        log.warning("killing the process of the job: %s", because)
        self._killed = time.monotonic()
        self._process.kill()

    def _after_death(self) -> Report:
        """The process is gone, or has closed its wire, and all that it said has been heard."""
        if self._too_large is not None:
            metrics.JOB_PROCESS_DEATHS.labels("memory limit").inc()
            detail = (
                f"The job's process took {self._too_large:.0f} MiB of memory and may take {self._task.memory_mb}. "
                + MEMORY_ADVICE
            )
            return Failed(ErrorCode.OUT_OF_MEMORY, detail)
        if self._asked is not None:
            return Stopped()
        status = self._process.wait(EXIT_SECONDS)
        silent = status is None
        if silent:
            self._process.kill()
            status = self._process.wait(DEATH_SECONDS)
        report, cause = _why_it_died(status, silent=silent, starved=oom_kills() > self._oom_kills)
        metrics.JOB_PROCESS_DEATHS.labels(cause).inc()
        log.error("the process of the job died: %s", cause)
        return report


def _why_it_died(status: int | None, *, silent: bool, starved: bool) -> tuple[Failed, str]:
    """What to say of a process that ended without a word, and the cause in one; `silent`: it had closed its wire and went
    on until we killed it; `starved`: the kernel has ended processes for lack of memory meanwhile."""
    if status is None:
        return Failed(ErrorCode.WORKER_LOST, "The job's process was lost.", True), "lost"
    if not os.WIFSIGNALED(status):
        code = os.waitstatus_to_exitcode(status)
        detail = f"The job's process ended by itself with exit status {code} and without a result."
        return Failed(ErrorCode.INTERNAL, detail, True), "exit"
    number = signal.Signals(os.WTERMSIG(status))
    if number == signal.SIGKILL and silent:
        detail = "The job's process closed its connection without a result and did not end; it was killed."
        return Failed(ErrorCode.INTERNAL, detail, True), "silence"
    if number == signal.SIGKILL and starved:
        detail = "Memory ran out, and the system ended the job's process. " + MEMORY_ADVICE
        return Failed(ErrorCode.OUT_OF_MEMORY, detail, True), "out of memory"
    if number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        return Failed(ErrorCode.WORKER_LOST, f"The job's process was killed ({number.name}).", True), number.name
    return Failed(ErrorCode.INTERNAL, f"The job's process crashed ({number.name}).", True), number.name

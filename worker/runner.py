"""One job from claim to end. The database decides everything: who may run it, who may end it, and whether it still may."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Mapping
from functools import partial

from pydantic import TypeAdapter
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from domain.errors import DomainError
from domain.jobs import RETRYABLE, ErrorCode, JobError, JobKind, Progress
from domain.specs import JobRequest
from dynamics.reporting import Diverged, Interrupted
from store import leases
from store.blobs import Blobs
from store.database import Database, is_transient
from store.leases import Lease, LeaseLost
from store.tables import JobRow
from worker.context import Context, JobReporter, Outcome
from worker.heartbeat import Heartbeat, StopReason
from worker.settings import WorkerSettings

log = logging.getLogger(__name__)
Handler = Callable[[Context], Outcome]
Ending = Callable[[Session], JobRow]
CLAIM_PATIENCE_SECONDS = 5.0  # a job that stays queued is published again
_request = TypeAdapter[JobRequest](JobRequest)


class Runner:
    """Runs jobs in this process, one at a time."""

    def __init__(
        self,
        settings: WorkerSettings,
        database: Database,
        handlers: Mapping[JobKind, Handler],
        *,
        draining: Callable[[], bool] = lambda: False,
    ) -> None:
        self.database = database
        self.blobs = Blobs(settings.blobs_dir)
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self.busy = False
        self._settings = settings
        self._handlers = handlers
        self._draining = draining

    def run(self, job_id: str) -> None:
        """Claim the job and run it; nothing happens if there is nothing to take, such as after a doubled message."""
        self.busy = True
        try:
            if self._draining():
                return  # still queued in the database: the next worker's sweep publishes it
            claim = partial(leases.claim, job_id=job_id, worker=self.name, lease_seconds=self._settings.lease_seconds)
            claimed = self.database.transact(claim, patience_seconds=CLAIM_PATIENCE_SECONDS)
            if claimed is None:
                log.info("%s: nothing to take", job_id)
                return
            self.run_claimed(*claimed)
        finally:
            self.busy = False

    def run_claimed(self, job: JobRow, lease: Lease) -> None:
        """Do the work and end the attempt, exactly one way; the one place that a process per job would replace."""
        log.info("%s: %s, attempt %d", job.id, job.kind, job.attempt)
        try:
            ended = self.database.transact(self._work(job, lease), patience_seconds=lease.seconds)
            log.info("%s: %s", job.id, ended.status)
        except LeaseLost:
            log.warning("%s: the lease was lost; nothing is written", job.id)
        except DBAPIError as error:
            log.error("%s: not ended, the database is away (%s); a sweep will", job.id, type(error.orig).__name__)

    def _work(self, job: JobRow, lease: Lease) -> Ending:
        """How the attempt is to be ended. Raises LeaseLost when it is no longer ours to end."""
        pulse = Heartbeat(self.database, lease, poll_seconds=self._settings.poll_seconds, draining=self._draining)
        with pulse as heartbeat:
            try:
                outcome = self._handle(job, lease, heartbeat)
            except Interrupted:
                return _after_interruption(heartbeat.stop_reason, job, lease)
            except Exception as error:  # noqa: BLE001 - whatever a job does, it ends and the worker goes on
                return _after_error(error, job, lease)
        return lambda session: leases.finish(session, lease, outcome.result, *outcome.more)

    def _handle(self, job: JobRow, lease: Lease, heartbeat: Heartbeat) -> Outcome:
        reporter = JobReporter(self.database, self.blobs, lease, heartbeat)
        reporter.report(Progress.model_validate(job.progress | {"phase": "starting"}))
        request = _request.validate_python(job.request)
        context = Context(
            job=job,
            request=request,
            database=self.database,
            blobs=self.blobs,
            reporter=reporter,
            threads=self._settings.seeds_at_once,
        )
        return self._handlers[JobKind(job.kind)](context)


def _after_interruption(reason: StopReason | None, job: JobRow, lease: Lease) -> Ending:
    match reason:
        case StopReason.LEASE_LOST:
            raise LeaseLost(job.id)
        case StopReason.CANCELED:
            return partial(leases.acknowledge_cancel, lease=lease)
        case StopReason.SHUTDOWN:
            return partial(leases.release, lease=lease)
        case StopReason.TIMED_OUT:
            detail = f"Not done after {job.timeout_s} s. Raise limits.timeout_s, or ask for less."
            return _failing(lease, ErrorCode.TIMEOUT, detail)
    log.error("%s: the work stopped although nobody asked it to", job.id)
    return _failing(lease, ErrorCode.INTERNAL, "The work stopped although nobody asked it to.")


def _after_error(error: Exception, job: JobRow, lease: Lease) -> Ending:
    match error:
        case LeaseLost():
            raise error
        case DomainError():
            return _failing(lease, ErrorCode.INVALID_DATA, error.detail)
        case Diverged():
            return _failing(lease, ErrorCode.DIVERGED, str(error))
        case MemoryError():
            log.error("%s: out of memory", job.id)
            detail = "The job needs more memory than there is. Try a smaller model or a shorter series."
            return _failing(lease, ErrorCode.OUT_OF_MEMORY, detail)
    log.error("%s: failed", job.id, exc_info=error)
    # The message of an unexpected error may hold anything, such as the database's password: it stays in the log.
    detail = f"An unexpected {type(error).__name__}; the worker's log has its traceback under this job's id."
    return _failing(lease, ErrorCode.INTERNAL, detail, try_again=isinstance(error, DBAPIError) and is_transient(error))


def _failing(lease: Lease, code: ErrorCode, detail: str, *, try_again: bool = False) -> Ending:
    error = JobError(code=code, detail=detail, retryable=code in RETRYABLE)
    return partial(leases.fail, lease=lease, error=error, try_again=try_again)

"""Jobs from claim to end. The database decides everything: who may run one, who may end it, and whether it still may."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from domain.jobs import ErrorCode, JobError, JobStatus
from store import leases, logs, metrics, workers
from store.blobs import make_blobs
from store.database import Database
from store.leases import Lease, LeaseLost
from store.tables import JobRow
from store.tracing import Tracer
from worker.attempt import Attempt, Done, Failed, Report
from worker.context import Task
from worker.failures import job_error
from worker.heartbeat import Heartbeat, StopReason
from worker.phases import Phases
from worker.processes import Launcher
from worker.settings import WorkerSettings

log = logging.getLogger(__name__)
Ending = Callable[[Session], JobRow]
CLAIM_PATIENCE_SECONDS = 5.0  # a job that stays queued is published again
# What an attempt's end is called where attempts are counted.
_OUTCOMES = {JobStatus.QUEUED: "requeued"}
_BAD = ("failed", "requeued", "lease_lost", "interrupted")


class Runner:
    """Runs jobs, each in a process of its own and at most one in each thread that calls `run`."""

    def __init__(
        self,
        settings: WorkerSettings,
        database: Database,
        launcher: Launcher,
        *,
        name: str,
        draining: Callable[[], bool] = lambda: False,
        tracer: Tracer | None = None,
    ) -> None:
        self.database = database
        self.blobs = make_blobs(settings)
        self._settings = settings
        self._launcher = launcher
        self._name = name
        self._draining = draining
        self._tracer = tracer or Tracer()
        self._lock = threading.Lock()
        self._running = 0

    @property
    def busy(self) -> bool:
        return self._running > 0

    def run(self, announced: str) -> None:
        """A message has come: run what is due, one job after the other, until nothing is. Which job the message was about
        does not matter; there may be none left, such as after a doubled message."""
        self._count(+1)
        try:
            while not self._draining():  # a job that stays queued is published again by the next worker's sweep
                claimed = self.database.transact(self._claim, patience_seconds=CLAIM_PATIENCE_SECONDS)
                if claimed is None:
                    log.debug("%s was announced: nothing to take", announced)
                    return
                job, lease = claimed
                if job.attempt == 1:
                    waited = (job.updated_at - job.created_at).total_seconds()
                    metrics.START_SECONDS.labels(job.queue).observe(waited)
                if self._traced(job, lease) == "requeued":
                    return  # whatever made it fail is given time: until the next message, which a sweep sends
        finally:
            self._count(-1)

    def _claim(self, session: Session) -> tuple[JobRow, Lease] | None:
        claimed = leases.claim_next(
            session,
            self._settings,
            worker=self._name,
            queues=self._settings.queues,
            lease_seconds=self._settings.lease_seconds,
        )
        if claimed is not None:
            workers.has_claimed(session, self._name)
        return claimed

    def _traced(self, job: JobRow, lease: Lease) -> str:
        """Run the job within the trace of the request that it came from; how its attempt ended, in one word."""
        attributes: dict[str, str | int | float] = {
            "job.id": job.id,
            "job.kind": job.kind,
            "job.attempt": job.attempt,
            "job.queue": job.queue,
        }
        span = self._tracer.start(f"attempt {job.kind}", job.traceparent, kind="consumer", attributes=attributes)
        fields = {"tenant": job.tenant, "request_id": job.request_id, "trace_id": span.trace_id}
        outcome = "interrupted"
        try:
            with logs.bound(job_id=job.id, attempt=job.attempt, **fields):
                outcome = self._run_claimed(job, lease, Phases(self._tracer, job.kind, span.traceparent))
        finally:
            span.set({"job.outcome": outcome})
            span.end(outcome if outcome in _BAD else None)
        return outcome

    def _run_claimed(self, job: JobRow, lease: Lease, phases: Phases) -> str:
        """Do the work and end the attempt, exactly one way; which, in one word."""
        log.info("%s: %s, attempt %d", job.id, job.kind, job.attempt)
        try:
            ended = self.database.transact(self._work(job, lease, phases), patience_seconds=lease.seconds)
        except LeaseLost:
            log.warning("%s: the lease was lost; nothing is written", job.id)
            outcome = "lease_lost"
        except DBAPIError as error:
            log.error("%s: not ended, the database is away (%s); a sweep will", job.id, type(error.orig).__name__)
            outcome = "lease_lost"
        else:
            log.info("%s: %s", job.id, ended.status)
            released = ended.status == JobStatus.QUEUED and ended.attempt < lease.attempt
            outcome = "released" if released else _OUTCOMES.get(JobStatus(ended.status), ended.status)
        metrics.ATTEMPTS.labels(job.kind, outcome).inc()
        return outcome

    def _work(self, job: JobRow, lease: Lease, phases: Phases) -> Ending:
        """How the attempt is to be ended. Raises LeaseLost when it is no longer ours to end."""
        task = Task.of(job, self._memory_mb(job))
        poll_seconds = self._settings.poll_seconds
        with Heartbeat(self.database, lease, poll_seconds=poll_seconds, draining=self._draining) as heartbeat:
            try:
                process = self._launcher.launch()
            except OSError as error:
                log.error("the job's process cannot be started: %s", error)
                detail = "The worker could not start a process for the job."
                return _failing(lease, job_error(ErrorCode.WORKER_LOST, detail), try_again=True)
            try:
                attempt = Attempt(self._settings, self.database, self.blobs, process, task, lease, heartbeat, phases)
                return _ending(attempt.run(), heartbeat.stop_reason, job, lease)
            finally:
                process.close()

    def _memory_mb(self, job: JobRow) -> int:
        most = self._settings.memory_limit_mb
        return most if job.memory_mb is None else min(job.memory_mb, most)

    def _count(self, change: int) -> None:
        with self._lock:
            self._running += change


def _ending(report: Report, reason: StopReason | None, job: JobRow, lease: Lease) -> Ending:
    match report:
        case Done(result, more):
            return lambda session: leases.finish(session, lease, result, *more)
        case Failed(code, detail, again):
            return _failing(lease, job_error(code, detail), try_again=again)
    match reason:
        case StopReason.LEASE_LOST:
            raise LeaseLost(job.id)
        case StopReason.CANCELED:
            return partial(leases.acknowledge_cancel, lease=lease)
        case StopReason.PAUSED:
            return partial(leases.acknowledge_pause, lease=lease)
        case StopReason.SHUTDOWN:
            return partial(leases.release, lease=lease)
        case StopReason.TIMED_OUT:
            detail = f"Not done after {job.timeout_s} s. Raise limits.timeout_s, or ask for less."
            return _failing(lease, job_error(ErrorCode.TIMEOUT, detail))
    log.error("%s: the work stopped although nobody asked it to", job.id)
    return _failing(lease, job_error(ErrorCode.INTERNAL, "The work stopped although nobody asked it to."))


def _failing(lease: Lease, error: JobError, *, try_again: bool = False) -> Ending:
    return partial(leases.fail, lease=lease, error=error, try_again=try_again)

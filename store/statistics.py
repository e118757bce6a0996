"""What the database knows of the service's state: for metrics, readiness and `attractor doctor`.

Everything but the number of jobs by status touches only jobs that wait or run, by the indexes of the sweep and of the
claims, so its cost does not depend on how many jobs have ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, func, select, text
from sqlalchemy.orm import Session

from store.clock import now
from store.metrics import Snapshot
from store.settings import StoreSettings
from store.tables import JobRow, WebhookDeliveryRow, WebhookRow, WorkerRow
from store.waiting import QUEUED, heads


@dataclass(frozen=True)
class Waiting:
    """The queued jobs of one queue and kind."""

    queue: str
    kind: str
    jobs: int
    oldest_s: float  # since it was queued, or queued again


@dataclass(frozen=True)
class Held:
    """The jobs that workers hold, of one queue, kind and status."""

    queue: str
    kind: str
    status: str
    jobs: int
    expired: int  # whose lease has run out: a sweep is due


@dataclass(frozen=True)
class Worker:
    """A worker that has been heard of."""

    name: str
    release: str
    queues: tuple[str, ...]
    processes: int
    running: int  # jobs that it holds
    seen_s: float  # ago
    claimed_s: float | None  # ago; None: never


@dataclass(frozen=True)
class Webhooks:
    """The outbox."""

    due: int  # messages that are to be sent, now or later
    late_s: float  # how long the oldest has been waiting for its next attempt
    failing: int  # webhooks whose last message did not arrive
    disabled: int


def waiting(session: Session) -> list[Waiting]:
    query = (
        select(JobRow.queue, JobRow.kind, func.count(), func.min(JobRow.updated_at), now())
        .where(QUEUED)
        .group_by(JobRow.queue, JobRow.kind)
    )
    return [Waiting(q, kind, jobs, _ago(oldest, moment)) for q, kind, jobs, oldest, moment in session.execute(query)]


def held(session: Session) -> list[Held]:
    expired = func.count().filter(JobRow.lease_until <= now())
    query = (
        select(JobRow.queue, JobRow.kind, JobRow.status, func.count(), expired)
        .where(JobRow.lease_until.is_not(None))
        .group_by(JobRow.queue, JobRow.kind, JobRow.status)
    )
    return [Held(*row) for row in session.execute(query)]


def by_status(session: Session) -> dict[str, int]:
    """How many jobs there are of each status: reads an index from end to end, so ask seldom."""
    query = select(JobRow.status, func.count()).group_by(JobRow.status)
    return {str(status): jobs for status, jobs in session.execute(query)}


def workers(session: Session) -> list[Worker]:
    """Those that the sweep has not forgotten yet, the ones heard of last first."""
    running = (
        select(JobRow.worker, func.count().label("jobs"))
        .where(JobRow.lease_until.is_not(None))
        .group_by(JobRow.worker)
        .subquery()
    )
    query = (
        select(
            WorkerRow.name,
            WorkerRow.release,
            WorkerRow.queues,
            WorkerRow.processes,
            func.coalesce(running.c.jobs, 0),
            WorkerRow.seen_at,
            WorkerRow.claimed_at,
            now(),
        )
        .outerjoin(running, running.c.worker == WorkerRow.name)
        .order_by(WorkerRow.seen_at.desc())
    )
    return [
        Worker(
            name,
            release,
            tuple(queues),
            processes,
            jobs,
            _ago(seen, moment),
            _ago(claimed, moment) if claimed else None,
        )
        for name, release, queues, processes, jobs, seen, claimed, moment in session.execute(query)
    ]


def snapshots(session: Session) -> dict[str, Snapshot]:
    """What every worker has counted, by its name."""
    query = select(WorkerRow.name, WorkerRow.metrics).where(WorkerRow.metrics.is_not(None))
    return {name: counted for name, counted in session.execute(query) if counted}


def webhooks(session: Session) -> Webhooks:
    due = select(func.count(), func.min(WebhookDeliveryRow.next_attempt_at), now()).where(
        WebhookDeliveryRow.next_attempt_at.is_not(None)
    )
    jobs, oldest, moment = session.execute(due).one()
    broken = select(
        func.count().filter(and_(WebhookRow.failing_since.is_not(None), WebhookRow.disabled_at.is_(None))),
        func.count().filter(WebhookRow.disabled_at.is_not(None)),
    )
    return Webhooks(jobs, _ago(oldest, moment) if oldest else 0.0, *session.execute(broken).one())


def claimable(session: Session, settings: StoreSettings, queue: str) -> float | None:
    """How long the job that has waited longest among those that are due next, one of each tenant that may run one more,
    has been waiting; None when there is none. While workers take jobs this stays short, however long the queue is."""
    ids = [
        job_id for _rank, _running, job_id, _tenant, _limit in session.execute(heads(settings.max_running_jobs, queue))
    ]
    if not ids:
        return None
    oldest, moment = session.execute(select(func.min(JobRow.updated_at), now()).where(JobRow.id.in_(ids), QUEUED)).one()
    return None if oldest is None else _ago(oldest, moment)


def database_bytes(session: Session) -> int:
    """The size of the database on its disk."""
    if session.get_bind().dialect.name == "sqlite":
        query = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
    else:
        query = "SELECT pg_database_size(current_database())"
    return int(session.scalar(text(query)) or 0)


def _ago(moment: datetime, present: datetime) -> float:
    return max(0.0, (present - moment).total_seconds())

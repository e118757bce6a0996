"""Which of the waiting jobs is due first. What it costs depends on how many tenants have jobs waiting and how many jobs
run, not on how many jobs wait or have ended."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Select, func, literal_column, or_, select
from sqlalchemy.orm import Session

from domain.jobs import JobStatus
from store.database import alone
from store.settings import StoreSettings
from store.tables import JobRow, TenantRow

HELD = (JobStatus.RUNNING, JobStatus.PAUSING, JobStatus.CANCELING)  # by a worker
# Literally: an index of the queued jobs alone serves no query whose status is a parameter.
QUEUED = JobRow.status == literal_column("'queued'")


def due(session: Session, settings: StoreSettings, queues: Sequence[str]) -> Iterator[str]:
    """Ids of queued jobs that may run now, the most urgent first, at most one of each tenant and queue; what another
    transaction is claiming is left away. Each is to be claimed in this transaction before the next is asked for.

    Tenants that run equally many jobs draw lots: by the age of their jobs, the one that has submitted a thousand first
    would be served alone whenever all workers are free again.
    """
    found = [(*row, queue) for queue in queues for row in session.execute(heads(settings.max_running_jobs, queue))]
    random.shuffle(found)
    for *_, tenant, limit, queue in sorted(found, key=lambda head: head[:2]):
        if limit:
            alone(session, "claim")  # two workers must not both take a tenant's last place
            if session.scalar(_running(tenant)) >= limit:
                continue
        job_id = session.scalar(_first(queue, tenant).with_for_update(skip_locked=True))
        if job_id is not None:
            yield job_id


@cache
def heads(max_running_jobs: int, queue: str) -> Select[Any]:
    """(rank, running, job id, tenant, limit) of the most urgent job of each tenant that may run one more; limit 0: none.
    `max_running_jobs`: of tenants that have no limit of their own.

    The tenants are found by leaping from one to the next in the index, the job of each is the first of its part. Every
    claim asks this, and to build the statement takes as long as to execute it: it is built once.
    """
    here = (QUEUED, JobRow.queue == queue)
    waiting = select(func.min(JobRow.tenant).label("tenant")).where(*here).cte("waiting", recursive=True)
    following = select(func.min(JobRow.tenant)).where(*here, JobRow.tenant > waiting.c.tenant)
    waiting = waiting.union_all(
        select(following.correlate(waiting).scalar_subquery()).where(waiting.c.tenant.is_not(None))
    )
    running = _running(waiting.c.tenant).correlate(waiting).scalar_subquery()
    limit = func.coalesce(TenantRow.max_running_jobs, max_running_jobs)
    head = _first(queue, waiting.c.tenant).correlate(waiting)
    rank = head.with_only_columns(JobRow.rank)
    return (
        select(rank.scalar_subquery(), running, head.scalar_subquery(), waiting.c.tenant, limit)
        .select_from(waiting)
        .outerjoin(TenantRow, TenantRow.name == waiting.c.tenant)
        .where(waiting.c.tenant.is_not(None), or_(limit == 0, running < limit))
    )


def _running(tenant: Any) -> Select[int]:
    return select(func.count()).select_from(JobRow).where(JobRow.tenant == tenant, JobRow.status.in_(HELD))


def _first(queue: str, tenant: Any) -> Select[str]:
    mine = (QUEUED, JobRow.queue == queue, JobRow.tenant == tenant)
    return select(JobRow.id).where(*mine).order_by(JobRow.rank, JobRow.id).limit(1)

"""Tenants: whose data it is, and how much of the service they may use. A tenant without a row has the defaults."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, select, union
from sqlalchemy.orm import Session

from domain.errors import NotFound
from domain.jobs import JobStatus
from domain.keys import Caller
from store import audit
from store.clock import now
from store.database import insert_if_new
from store.settings import StoreSettings
from store.tables import JobRow, KeyRow, TenantRow

_WAITING = (JobStatus.QUEUED, JobStatus.PAUSED)
_AT_WORK = (JobStatus.RUNNING, JobStatus.PAUSING, JobStatus.CANCELING)


@dataclass(frozen=True)
class Quota:
    """What a tenant may use; None: no limit."""

    max_running_jobs: int | None
    max_queued_jobs: int | None
    requests_per_minute: int | None


@dataclass(frozen=True)
class Usage:
    """What a tenant uses of its quotas."""

    running_jobs: int
    queued_jobs: int  # or paused


def quota(session: Session, settings: StoreSettings, tenant: str) -> Quota:
    """The tenant's own limits, and the settings' where it has none of its own."""
    row = session.get(TenantRow, tenant)

    def limit(name: str) -> int | None:
        own = getattr(row, name, None)
        return (getattr(settings, name) if own is None else own) or None

    return Quota(limit("max_running_jobs"), limit("max_queued_jobs"), limit("requests_per_minute"))


def usage(session: Session, tenant: str) -> Usage:
    """How many jobs of the tenant run, and wait."""

    def count(states: tuple[JobStatus, ...]) -> int:
        of_tenant: ColumnElement[bool] = JobRow.tenant == tenant
        return session.scalar(select(func.count()).where(of_tenant, JobRow.status.in_(states))) or 0

    return Usage(count(_AT_WORK), count(_WAITING))


def names(session: Session) -> list[str]:
    """Every tenant that has a row, a key or a job."""
    everywhere = union(select(TenantRow.name), select(KeyRow.tenant), select(JobRow.tenant).distinct())
    return sorted(session.scalars(everywhere))


def get(session: Session, tenant: str) -> TenantRow:
    """The tenant's row; NotFound where it has none."""
    row = session.get(TenantRow, tenant)
    if row is None:
        raise NotFound(f"There is no tenant {tenant[:80]!r}. It comes into being with its first key.")
    return row


def set_limits(session: Session, caller: Caller, tenant: str, limits: dict[str, int | None]) -> TenantRow:
    """Give a tenant limits of its own: names as in `Quota`; 0 is no limit, None what the settings say."""
    insert_if_new(session, TenantRow, {"name": tenant})
    row = get(session, tenant)
    for name, limit in limits.items():
        setattr(row, name, limit)
    audit.record(session, caller, "tenant.changed", target=tenant, detail=dict(limits))
    session.flush()
    return row


def disable(session: Session, caller: Caller, tenant: str, *, disabled: bool = True) -> TenantRow:
    """Refuse, or accept again, every key of the tenant. Its data and its jobs stay as they are."""
    row = get(session, tenant)
    row.disabled_at = now() if disabled else None
    audit.record(session, caller, "tenant.disabled" if disabled else "tenant.enabled", target=tenant)
    session.flush()
    session.refresh(row)
    return row

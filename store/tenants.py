"""Tenants: whose data it is, and how much of the service they may use. A tenant without a row has the defaults."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from store.settings import StoreSettings
from store.tables import TenantRow


@dataclass(frozen=True)
class Quota:
    """What a tenant may use; None: no limit."""

    max_running_jobs: int | None
    max_queued_jobs: int | None
    requests_per_minute: int | None


def quota(session: Session, settings: StoreSettings, tenant: str) -> Quota:
    """The tenant's own limits, and the settings' where it has none of its own."""
    row = session.get(TenantRow, tenant)

    def limit(name: str) -> int | None:
        own = getattr(row, name, None)
        return (getattr(settings, name) if own is None else own) or None

    return Quota(limit("max_running_jobs"), limit("max_queued_jobs"), limit("requests_per_minute"))

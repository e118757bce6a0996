"""Quotas: a tenant's own, else the settings'."""

from __future__ import annotations

from store.database import Database
from store.settings import StoreSettings
from store.tables import TenantRow
from store.tenants import Quota, quota


def test_a_tenant_without_limits_of_its_own_has_the_defaults(database: Database) -> None:
    with database.read() as session:
        assert quota(session, StoreSettings(), "acme") == Quota(None, None, None)
        settings = StoreSettings(max_running_jobs=2, max_queued_jobs=50, requests_per_minute=600)
        assert quota(session, settings, "acme") == Quota(2, 50, 600)


def test_its_own_limits_come_first_and_zero_means_none(database: Database) -> None:
    settings = StoreSettings(max_running_jobs=2, max_queued_jobs=50, requests_per_minute=600)
    with database.write() as session:
        session.add(TenantRow(name="acme", max_running_jobs=7, max_queued_jobs=0))
    with database.read() as session:
        assert quota(session, settings, "acme") == Quota(7, None, 600)
        assert quota(session, settings, "other") == Quota(2, 50, 600)

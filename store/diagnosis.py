"""What an operator's tools ask of the database: which server it is, its clock, its connections, the blobs named last."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CompoundSelect, func, select, text, union_all
from sqlalchemy.orm import Session

from store.clock import now
from store.tables import ArtifactRow, ForecastRow, SeriesRow, WebhookRow

NEWEST = 5


def server(session: Session) -> tuple[str, tuple[int, ...]]:
    """The database's name and version."""
    if session.get_bind().dialect.name == "sqlite":
        version = str(session.scalar(select(func.sqlite_version())))
        return "SQLite", tuple(int(part) for part in version.split("."))
    number = int(session.scalar(text("SHOW server_version_num")) or 0)
    return "PostgreSQL", (number // 10_000, number % 10_000)


def clock(session: Session) -> datetime:
    return session.scalars(select(now())).one()


def connections(session: Session) -> tuple[int, int] | None:
    """Connections in use and those there can be, on a server that counts them."""
    if session.get_bind().dialect.name == "sqlite":
        return None
    used = session.scalar(text("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"))
    most = "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
    return int(used or 0), int(session.scalar(text(most)) or 0)


def newest_blobs(session: Session) -> tuple[list[str], list[str]]:
    """Names of the blobs that API processes wrote last, and those that workers did."""
    uploaded = select(SeriesRow.blob_sha256).order_by(SeriesRow.id.desc()).limit(NEWEST)
    trained = select(ArtifactRow.sha256).order_by(ArtifactRow.model_id.desc()).limit(NEWEST)
    return list(session.scalars(uploaded)), list(session.scalars(trained))


def broken_webhooks(session: Session) -> list[str]:
    """Ids of webhooks whose last messages did not arrive, or that were given up."""
    broken = WebhookRow.failing_since.is_not(None) | WebhookRow.disabled_because.is_not(None)
    return list(session.scalars(select(WebhookRow.id).where(broken).order_by(WebhookRow.id).limit(20)))


def named_blobs(session: Session) -> set[str]:
    """Every blob that a series, a model or a forecast cannot do without. Checkpoints come and go, and can be missed."""
    names: CompoundSelect[str] = union_all(
        select(SeriesRow.blob_sha256),
        select(ArtifactRow.sha256),
        select(ForecastRow.blob_sha256).where(ForecastRow.blob_sha256.is_not(None)),
    )
    return set(session.scalars(names))


def missing_blobs(session: Session, present: set[str]) -> set[str]:
    """Blobs that rows name and that are not among those `present`."""
    return named_blobs(session) - present

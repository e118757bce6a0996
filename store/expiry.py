"""What is kept for a time only: ended jobs with their events, results, series, checkpoints of failed jobs,
Idempotency-Keys. Ids tell when a row was made, so the oldest are found through the primary key, however many there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Select, delete, select, tuple_, update
from sqlalchemy.orm import Session

from domain.ids import earliest_id
from domain.jobs import TERMINAL
from store import audit
from store.clock import now
from store.settings import StoreSettings
from store.tables import (
    AnalysisRow,
    EvaluationRow,
    ForecastRow,
    IdempotencyRow,
    JobRow,
    ModelRow,
    ResourceRow,
    SeriesRow,
)
from store.usage import in_use

RESULTS = {"analysis": AnalysisRow, "model": ModelRow, "forecast": ForecastRow, "evaluation": EvaluationRow}
BATCH = 100  # rows of a kind in one round: what is deleted with them (events) may be many more


@dataclass(frozen=True)
class Expired:
    """How many rows of each kind are gone."""

    jobs: int = 0
    results: int = 0
    series: int = 0
    checkpoints: int = 0
    keys: int = 0
    audit: int = 0


def expire(session: Session, settings: StoreSettings) -> Expired:
    """One round, in a transaction of its own; any number of workers at the same time. Files become orphans, which
    `store.sweep.sweep_blobs` deletes."""
    moment = session.scalars(select(now())).one()
    return Expired(
        jobs=_jobs(session, moment, settings.job_retention_days),
        results=sum(_unused(session, moment, settings.result_retention_days, *kind) for kind in RESULTS.items()),
        series=_unused(session, moment, settings.series_retention_days, "series", SeriesRow),
        checkpoints=_checkpoints(session, moment, settings.checkpoint_retention_days),
        keys=_keys(session),
        audit=_audit(session, moment, settings.audit_retention_days),
    )


def _audit(session: Session, moment: datetime, days: float) -> int:
    return audit.expire(session, moment - timedelta(days=days), limit=BATCH) if days else 0


def _jobs(session: Session, moment: datetime, days: float) -> int:
    if not days:
        return 0
    before = moment - timedelta(days=days)
    old = select(JobRow.id).where(
        JobRow.id < earliest_id("job", before), JobRow.status.in_(TERMINAL), JobRow.finished_at < before
    )
    return _delete(session, JobRow, _locked(session, old, JobRow))


def _unused(session: Session, moment: datetime, days: float, name: str, row: type[ResourceRow]) -> int:
    """Rows that were made so long ago, and that no unfinished job needs."""
    if not days:
        return 0
    before = moment - timedelta(days=days)
    old = select(row.id).where(row.id < earliest_id(name, before), row.created_at < before, ~in_use(row))
    # Looked at again once they are locked: a job may have been submitted meanwhile, and none can be any more.
    return _delete(session, row, _locked(session, old, row), unused=True)


def _locked(session: Session, old: Select[str], row: type[ResourceRow]) -> list[str]:
    query = old.order_by(row.id).limit(BATCH).with_for_update(skip_locked=True, of=row)
    return list(session.scalars(query))


def _delete(session: Session, row: type[ResourceRow], ids: list[str], *, unused: bool = False) -> int:
    if not ids:
        return 0
    query = delete(row).where(row.id.in_(ids))
    query = query.where(~in_use(row)) if unused else query
    return len(session.scalars(query.returning(row.id), execution_options={"synchronize_session": False}).all())


def _checkpoints(session: Session, moment: datetime, days: float) -> int:
    """Of jobs that have ended; those that may still go on keep theirs. Few rows have one, and they have an index."""
    if not days:
        return 0
    old = (JobRow.checkpoint_sha256.is_not(None), JobRow.finished_at < moment - timedelta(days=days))
    query = update(JobRow).where(*old).values(checkpoint_sha256=None).returning(JobRow.id)
    return len(session.scalars(query, execution_options={"synchronize_session": False}).all())


def _keys(session: Session) -> int:
    key = tuple_(IdempotencyRow.tenant, IdempotencyRow.key)
    old = select(IdempotencyRow.tenant, IdempotencyRow.key).where(IdempotencyRow.expires_at <= now())
    ids = session.execute(old.order_by(IdempotencyRow.expires_at).limit(10 * BATCH)).all()
    expired = delete(IdempotencyRow).where(key.in_([tuple(row) for row in ids]), IdempotencyRow.expires_at <= now())
    return len(session.execute(expired.returning(IdempotencyRow.key)).all()) if ids else 0

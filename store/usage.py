"""What the jobs that have not ended still read: none of it may be deleted under them."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Select, and_, delete, false, select
from sqlalchemy.orm import Session

from domain.errors import InUse, NotFound
from domain.jobs import TERMINAL, JobStatus
from store.tables import AnalysisRow, JobRow, ModelRow, ResourceRow, SeriesRow

ACTIVE = tuple(status for status in JobStatus if status not in TERMINAL)
# What jobs read, and how a job says so; nothing reads forecasts and evaluations.
_READS: dict[type[ResourceRow], ColumnElement[bool]] = {
    SeriesRow: JobRow.series_id == SeriesRow.id,
    ModelRow: JobRow.model_id == ModelRow.id,
    AnalysisRow: and_(
        JobRow.series_id == AnalysisRow.series_id, JobRow.request["analysis_id"].as_string() == AnalysisRow.id
    ),
}


def in_use(kind: type[ResourceRow]) -> ColumnElement[bool]:
    """Whether an unfinished job reads this row of `kind`."""
    if kind not in _READS:
        return false()
    return _readers(kind).correlate(kind).exists()


def delete_unused(session: Session, kind: type[ResourceRow], name: str, id: str, *, tenant: str) -> None:
    """Delete a row, `name` being what callers call it; NotFound, or InUse while a job that has not ended reads it."""
    mine = (kind.id == id, kind.tenant == tenant)
    # The lock waits for a submission that has pinned the row, and makes later ones wait for this.
    if session.scalar(select(kind.id).where(*mine).with_for_update()) is None:
        raise NotFound(f"There is no {name} {id}.")
    jobs = list(session.scalars(_readers(kind).where(kind.id == id).limit(5))) if kind in _READS else []
    if jobs:
        raise InUse(f"Jobs that have not ended read this {name}: {', '.join(jobs)}. Wait for them or cancel them.")
    session.execute(delete(kind).where(*mine))


def _readers(kind: type[ResourceRow]) -> Select[str]:
    """Ids of the unfinished jobs that read a row of `kind`."""
    return select(JobRow.id).where(_READS[kind], JobRow.status.in_(ACTIVE))

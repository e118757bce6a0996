"""What the jobs that have not ended still read: none of it may be deleted under them."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Select, and_, delete, false, or_, select
from sqlalchemy.orm import Session

from domain.errors import InUse, NotFound
from domain.jobs import TERMINAL, JobStatus
from store.tables import AnalysisRow, JobCompanionRow, JobRow, ModelRow, ResourceRow, SeriesRow

ACTIVE = tuple(status for status in JobStatus if status not in TERMINAL)
# What jobs read, and the ways in which a job says so, each with an index; nothing reads forecasts and evaluations.
_READS: dict[type[ResourceRow], tuple[ColumnElement[bool], ...]] = {
    SeriesRow: (
        JobRow.series_id == SeriesRow.id,
        and_(JobRow.id == JobCompanionRow.job_id, JobCompanionRow.series_id == SeriesRow.id),
    ),
    ModelRow: (JobRow.model_id == ModelRow.id,),
    AnalysisRow: (
        and_(JobRow.series_id == AnalysisRow.series_id, JobRow.request["analysis_id"].as_string() == AnalysisRow.id),
    ),
}


def in_use(kind: type[ResourceRow]) -> ColumnElement[bool]:
    """Whether an unfinished job reads this row of `kind`."""
    if kind not in _READS:
        return false()
    return or_(*(readers.correlate(kind).exists() for readers in _readers(kind)))


def delete_unused(session: Session, kind: type[ResourceRow], name: str, id: str, *, tenant: str) -> None:
    """Delete a row, `name` being what callers call it; NotFound, or InUse while a job that has not ended reads it."""
    mine = (kind.id == id, kind.tenant == tenant)
    # The lock waits for a submission that has pinned the row, and makes later ones wait for this.
    if session.scalar(select(kind.id).where(*mine).with_for_update()) is None:
        raise NotFound(f"There is no {name} {id}.")
    if jobs := [job for readers in _readers(kind) for job in session.scalars(readers.where(kind.id == id).limit(5))]:
        raise InUse(f"Jobs that have not ended read this {name}: {', '.join(jobs)}. Wait for them or cancel them.")
    session.execute(delete(kind).where(*mine))


def _readers(kind: type[ResourceRow]) -> list[Select[str]]:
    """Ids of the unfinished jobs that read a row of `kind`, for each way in which they may."""
    return [select(JobRow.id).where(reads, JobRow.status.in_(ACTIVE)) for reads in _READS.get(kind, ())]

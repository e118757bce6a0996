"""What jobs found: analyses, models with their artifacts, forecasts, evaluations."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from domain.errors import NotFound
from store.pages import Page, page
from store.tables import AnalysisRow, ArtifactRow, ForecastRow, ResultRow
from store.usage import delete_unused

R = TypeVar("R", bound=ResultRow)


def get(session: Session, kind: type[R], result_id: str, *, tenant: str = "default") -> R:
    """One result, such as `get(session, ModelRow, "mdl_...")`."""
    row = session.scalar(select(kind).where(kind.id == result_id, kind.tenant == tenant))
    if row is None:
        raise NotFound(f"There is no {kind.resource} {result_id}.")
    return row


def require(session: Session, kind: type[ResultRow], result_id: str, *, tenant: str = "default") -> None:
    """NotFound unless there is this result; its document is not read."""
    if session.scalar(select(kind.id).where(kind.id == result_id, kind.tenant == tenant)) is None:
        raise NotFound(f"There is no {kind.resource} {result_id}.")


def list_page(
    session: Session,
    kind: type[R],
    *,
    tenant: str = "default",
    series_id: str | None = None,
    model_id: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[R]:
    """Newest first; `model_id` only where rows have one (forecasts, evaluations)."""
    query = select(kind).where(kind.tenant == tenant)
    if series_id is not None:
        query = query.where(kind.series_id == series_id)
    if model_id is not None:
        query = query.where(kind.__table__.c.model_id == model_id)
    return page(session, query, kind, kind.resource, cursor, limit)


def delete(session: Session, kind: type[ResultRow], result_id: str, *, tenant: str = "default") -> None:
    """Forget a result, a model with its files; InUse while a job that has not ended reads it. What was made from it stays.

    Blobs that nothing else names are deleted by the sweep after `orphan_hours`.
    """
    delete_unused(session, kind, kind.resource, result_id, tenant=tenant)


def analysis_of(
    session: Session, series_id: str, channels: Sequence[str], *, tenant: str = "default"
) -> AnalysisRow | None:
    """The newest analysis of these channels of this series."""
    query = select(AnalysisRow).where(
        AnalysisRow.tenant == tenant,
        AnalysisRow.series_id == series_id,
        AnalysisRow.channels_hash == channels_hash(channels),
    )
    return session.scalar(query.order_by(AnalysisRow.id.desc()).limit(1))


def channels_hash(channels: Sequence[str]) -> str:
    """What makes two choices of channels the same: names and order."""
    return hashlib.sha256(json.dumps(list(channels)).encode()).hexdigest()


def artifacts(session: Session, model_id: str) -> list[ArtifactRow]:
    """The files of a model, by name; the caller has looked the model up and may see it."""
    return list(session.scalars(select(ArtifactRow).where(ArtifactRow.model_id == model_id).order_by(ArtifactRow.name)))


def artifact(session: Session, model_id: str, name: str) -> ArtifactRow:
    row = session.get(ArtifactRow, (model_id, name))
    if row is None:
        raise NotFound(f"Model {model_id} has no artifact {name!r}.")
    return row


def save_forecast(session: Session, row: ForecastRow, *, tenant: str = "default") -> ForecastRow:
    """Keep a forecast that was answered at once, without a job."""
    row.tenant = tenant
    session.add(row)
    session.flush()
    return row

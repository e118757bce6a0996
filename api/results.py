"""Results as callers see them: the stored document, with what its row's columns say on top."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Response
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session

from domain.documents import summary
from domain.keys import Caller
from store import audit, results
from store.blobs import Blobs
from store.database import Database
from store.tables import AnalysisRow, EvaluationRow, ForecastRow, ModelRow, ResultRow

_ROWS: dict[str, type[ResultRow]] = {r.resource: r for r in (AnalysisRow, ModelRow, ForecastRow, EvaluationRow)}
_COLUMNS = ("id", "series_id", "analysis_id", "model_id", "job_id", "channels")
# Results never change: a browser may keep what it has, for this caller only.
IMMUTABLE = {"Cache-Control": "private, max-age=31536000, immutable"}


def document_of(row: ResultRow, blobs: Blobs) -> dict[str, Any]:
    """The whole public document."""
    blob = getattr(row, "blob_sha256", None)
    return _with_columns(row, json.loads(blobs.read(blob)) if blob else row.document)


def _with_columns(row: ResultRow, document: dict[str, Any]) -> dict[str, Any]:
    columns = {name: getattr(row, name) for name in _COLUMNS if hasattr(row, name)}
    columns["created_at"] = row.created_at.isoformat(timespec="microseconds").replace("+00:00", "Z")
    return {**columns, **document, **columns}


def get_document(session: Session, blobs: Blobs, resource: str, id: str, tenant: str) -> dict[str, Any]:
    return document_of(results.get(session, _ROWS[resource], id, tenant=tenant), blobs)


def list_documents(
    session: Session,
    resource: str,
    tenant: str,
    *,
    cursor: str | None,
    limit: int,
    series_id: str | None = None,
    model_id: str | None = None,
) -> dict[str, Any]:
    """A page of summaries, newest first."""
    page = results.list_page(
        session, _ROWS[resource], tenant=tenant, series_id=series_id, model_id=model_id, cursor=cursor, limit=limit
    )
    data = [_with_columns(row, summary(resource, row.document)) for row in page.items]
    return {"data": data, "next_cursor": page.next_cursor}


def delete_document(database: Database, resource: str, id: str, caller: Caller) -> Response:
    """204: it is gone."""
    with database.write() as session:
        results.delete(session, _ROWS[resource], id, tenant=caller.principal.tenant)
        audit.record(session, caller, f"{resource}.deleted", target=id)
    return Response(status_code=204)


def json_response(document: dict[str, Any], *, immutable: bool = True) -> JSONResponse:
    """Stored documents go out as they are: they were validated when they were made."""
    return JSONResponse(document, headers=IMMUTABLE if immutable else {"Cache-Control": "no-cache"})

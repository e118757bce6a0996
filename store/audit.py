"""Audit events: what somebody did, or was refused. Append-only; of a person they hold the address and the key's id."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from domain.ids import earliest_id, new_id
from domain.keys import Caller
from store.pages import Page, page
from store.tables import AuditRow

OK, REFUSED = "ok", "refused"


def record(
    session: Session,
    caller: Caller,
    action: str,
    *,
    target: str | None = None,
    outcome: str = OK,
    detail: dict[str, Any] | None = None,
) -> None:
    """Append an event to the caller's transaction: it is kept exactly if what it tells of is."""
    session.add(
        AuditRow(
            id=new_id("audit"),
            tenant=caller.principal.tenant,
            action=action,
            outcome=outcome,
            key_id=caller.principal.key_id,
            target=target,
            address=caller.address,
            request_id=caller.request_id,
            detail=detail or {},
        )
    )


def list_page(
    session: Session,
    *,
    tenant: str | None,
    action: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[AuditRow]:
    """Newest first; `tenant` None: of all tenants, and those that belong to none."""
    query = select(AuditRow)
    if tenant is not None:
        query = query.where(AuditRow.tenant == tenant)
    if action is not None:
        query = query.where(AuditRow.action == action)
    return page(session, query, AuditRow, "audit", cursor, limit)


def expire(session: Session, before: datetime, *, limit: int) -> int:
    """Forget the oldest events from before that instant, at most `limit` of them; says how many. Ids tell when."""
    old = select(AuditRow.id).where(AuditRow.id < earliest_id("audit", before)).order_by(AuditRow.id).limit(limit)
    return len(session.scalars(delete(AuditRow).where(AuditRow.id.in_(old)).returning(AuditRow.id)).all())

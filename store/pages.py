"""Keyset pagination: newest first, by id. A page costs the same however deep it lies, and rows that arrive meanwhile
shift nothing: no row that was there is missed or seen twice."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Select
from sqlalchemy.orm import Session

from domain.errors import BadRequest
from domain.ids import is_id
from store.tables import ResourceRow

MAX_LIMIT = 200
R = TypeVar("R", bound=ResourceRow)


@dataclass(frozen=True)
class Page(Generic[R]):
    items: list[R]
    next_cursor: str | None


def page(session: Session, query: Select[Any], row: type[R], resource: str, cursor: str | None, limit: int) -> Page[R]:
    """The rows of `query` (over `row`) that follow `cursor`; `next_cursor` is None on the last page."""
    if not 1 <= limit <= MAX_LIMIT:
        raise BadRequest(f"limit must be between 1 and {MAX_LIMIT}.")
    if cursor is not None:
        query = query.where(row.id < decode(cursor, resource))
    found = list(session.scalars(query.order_by(row.id.desc()).limit(limit + 1)))
    more = len(found) > limit
    return Page(found[:limit], encode(found[limit - 1].id) if more else None)


def encode(last_id: str) -> str:
    return base64.urlsafe_b64encode(last_id.encode()).decode().rstrip("=")


def decode(cursor: str, resource: str) -> str:
    """The id in a cursor; BadRequest for anything that no list of `resource` gave out."""
    try:
        text = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)).decode("ascii")
    except (binascii.Error, UnicodeError):
        text = ""
    if not is_id(text, resource) or encode(text) != cursor:
        raise BadRequest("cursor is not one that this list gave out: pass `next_cursor` as it came, or leave it away.")
    return text

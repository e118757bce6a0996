"""Keyset pages: ids sort by creation time, so a cursor is the id of the last row seen, made opaque."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

from fastapi import Query

from domain.errors import BadRequest, ErrorItem
from domain.ids import is_id

Limit = Annotated[int, Query(ge=1, le=100, description="Rows of a page.")]
Cursor = Annotated[str | None, Query(max_length=200, description="`next_cursor` of the page before.")]


def encode_cursor(last_id: str) -> str:
    return base64.urlsafe_b64encode(last_id.encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None, resource: str) -> str | None:
    """Id after which the page begins, None for the first page."""
    if cursor is None:
        return None
    try:
        last_id = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode("ascii")
    except (binascii.Error, UnicodeError, ValueError):
        last_id = ""
    if not is_id(last_id, resource):
        detail = "This is no cursor of this list: give `next_cursor` of the page before, unchanged."
        raise BadRequest(detail, [ErrorItem(pointer="/query/cursor", detail=detail)])
    return last_id


def page(rows: list[Any], limit: int) -> tuple[list[Any], str | None]:
    """`rows` holds up to limit + 1 rows: the page, and the cursor of the next one if there is one."""
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], encode_cursor(rows[limit - 1].id)

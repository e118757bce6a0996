"""Query parameters of lists; the pages themselves are made in `store.pages`."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from store.pages import MAX_LIMIT

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Rows of a page.")]
Cursor = Annotated[str | None, Query(max_length=200, description="`next_cursor` of the page before.")]

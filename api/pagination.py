"""Lists: their query parameters and their form; the pages themselves are cut in `store.pages`."""

from __future__ import annotations

from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import Field

from domain.base import Document
from store.pages import MAX_LIMIT

D = TypeVar("D")

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Rows of a page.")]
Cursor = Annotated[str | None, Query(max_length=200, description="`next_cursor` of the page before.")]

SeriesFilter = Annotated[str | None, Query(pattern="^ser_[0-9a-f]{32}$", description="Only those of this series.")]
ModelFilter = Annotated[str | None, Query(pattern="^mdl_[0-9a-f]{32}$", description="Only those of this model.")]


class PageOut(Document, Generic[D]):
    """A page of a list, newest first."""

    data: list[D]
    next_cursor: str | None = Field(
        default=None, description="Give it as `cursor` for the next page; null on the last."
    )

"""The database's clock is the only clock: leases of workers on machines with different clocks must compare.

`now(seconds)` is an SQL expression, the instant of the statement plus an offset. Instants come back aware, in UTC.
SQLite keeps them as text with microseconds, which sorts as time does; its own clock has milliseconds.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, DateTime, Dialect, Float, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator


class Moment(TypeDecorator[datetime]):
    """An instant: `timestamptz` on PostgreSQL, UTC text on SQLite; aware in Python either way."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("naive datetime: instants are aware, in UTC")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class now(FunctionElement[datetime]):
    """The database's clock at the start of the statement, plus `seconds` (a number or a numeric column)."""

    type = Moment()
    inherit_cache = True
    name = "now"

    def __init__(self, seconds: float | ColumnElement[Any] | InstrumentedAttribute[int] = 0.0) -> None:
        super().__init__(literal(float(seconds), Float()) if isinstance(seconds, int | float) else seconds)


@compiles(now, "sqlite")
def _sqlite(element: now, compiler: Any, **kw: Any) -> str:
    offset = compiler.process(element.clauses, **kw)
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', printf('%+.3f seconds', {offset}))"


@compiles(now, "postgresql")
def _postgresql(element: now, compiler: Any, **kw: Any) -> str:
    # Not now(), which is the start of the transaction; not clock_timestamp(), which no index can serve.
    return f"(statement_timestamp() + make_interval(secs => {compiler.process(element.clauses, **kw)}))"

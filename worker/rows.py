"""Rows of results on their way from the process of a job to its worker, as JSON."""

from __future__ import annotations

from typing import Any

from sqlalchemy import inspect

from store.tables import AnalysisRow, ArtifactRow, Base, EvaluationRow, ForecastRow, ModelRow, ResultRow

_TABLES: dict[str, type[Base]] = {
    row.__tablename__: row for row in (AnalysisRow, ModelRow, ArtifactRow, ForecastRow, EvaluationRow)
}


def packed(*rows: Base) -> list[dict[str, Any]]:
    """The tables and the values that have been set."""
    return [{"table": row.__tablename__, "values": _values(row)} for row in rows]


def unpacked(given: list[dict[str, Any]]) -> tuple[ResultRow, tuple[Base, ...]]:
    """The result, and what is written with it. Raises KeyError, TypeError or ValueError for what no job can have made."""
    result, *more = (_TABLES[row["table"]](**row["values"]) for row in given)
    if not isinstance(result, ResultRow):
        raise ValueError(f"a {result.__tablename__} is no result")
    return result, tuple(more)


def _values(row: Base) -> dict[str, Any]:
    given = inspect(row).dict
    return {c.key: given[c.key] for c in inspect(type(row)).column_attrs if c.key in given}

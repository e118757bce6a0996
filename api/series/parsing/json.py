"""JSON documents: small by their limit, so they are read whole; numbers only, null for what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic_core import from_json

from api.series.parsing.table import Columns, Limits, Table, resolve
from api.series.parsing.text import Clock, Unread, refuse_unread
from domain.errors import ErrorItem, InvalidParameters, MalformedFile, TooLarge
from domain.series import SeriesSpec
from dynamics.audit.places import Places

_NUMBERS = frozenset({int, float, type(None)})


def read_document(path: Path, limits: Limits) -> dict[str, Any]:
    """The document in the file; a bare list stands for its `values`."""
    size = path.stat().st_size
    if size > limits.json_bytes:
        raise TooLarge(
            f"The JSON document has {size} bytes; at most {limits.json_bytes} are accepted. Send long series as CSV, "
            "NPY or Parquet."
        )
    try:
        document = from_json(path.read_bytes().removeprefix(b"\xef\xbb\xbf"), allow_inf_nan=False)
    except ValueError as error:
        raise MalformedFile(f"The document is not JSON: {error}. A missing value is null, not NaN.") from error
    if isinstance(document, list):
        document = {"values": document}
    if not isinstance(document, dict) or not isinstance(document.get("values"), list | dict):
        raise MalformedFile(
            'The document must have "values": a list of rows, [[1.0, 2.0], ...], a list of numbers, or an object of '
            'columns, {"x": [1.0, ...], "y": [...]}.',
            [ErrorItem(pointer="/values", detail="must be a list or an object")],
        )
    return document


def open_json(values: list[Any] | dict[str, Any], times: Any, spec: SeriesSpec, limits: Limits) -> Table:
    """`values` as rows, as one channel or as named columns; `times` beside them or None."""
    header = list(values) if isinstance(values, dict) else None
    cells = _from_columns(values) if isinstance(values, dict) else _from_rows(values)
    columns = resolve(header, len(cells), spec, limits)
    clock = Clock(columns, spec.dt)
    unread = [Unread(name) for name in columns.channels]
    array = np.empty((len(cells[0]), len(columns.indices)))
    for i, index in enumerate(columns.indices):
        array[:, i] = _numbers(cells[index], unread[i])
    time = _times(columns, cells, times, clock)
    refuse_unread([clock.unread, *unread], len(array))
    return Table(columns, iter([(time, array)]), dates=bool(clock.dates), origin=clock.origin)


def _from_columns(values: dict[str, Any]) -> list[Sequence[Any]]:
    for name, column in values.items():
        if not isinstance(column, list):
            raise MalformedFile(f"Column {name[:40]!r} must be a list of numbers.", [ErrorItem(pointer="/values")])
    lengths = {name: len(column) for name, column in values.items()}
    if not values or max(lengths.values()) == 0:
        raise MalformedFile("values is empty.", [ErrorItem(pointer="/values", detail="is empty")])
    if len(set(lengths.values())) > 1:
        shortest, longest = min(lengths, key=lengths.__getitem__), max(lengths, key=lengths.__getitem__)
        raise MalformedFile(
            f"The columns must have the same length: {shortest[:40]!r} has {lengths[shortest]} values, "
            f"{longest[:40]!r} has {lengths[longest]}.",
            [ErrorItem(pointer="/values", detail="columns of different lengths")],
        )
    return list(values.values())


def _from_rows(values: list[Any]) -> list[Sequence[Any]]:
    if not values:
        raise MalformedFile("values is empty.", [ErrorItem(pointer="/values", detail="is empty")])
    if not isinstance(values[0], list):
        return [values]
    width = len(values[0])
    uneven = Places()
    uneven.add(np.array([i for i, row in enumerate(values) if not isinstance(row, list) or len(row) != width]))
    if uneven.total or width == 0:
        raise MalformedFile(
            f"Every row must be a list of the same length, that of row 0 ({width}); {uneven.total} are not.",
            [ErrorItem(pointer="/values", rows=uneven.rows, detail=f"rows that are no list of {width}")],
        )
    return list(zip(*values, strict=True))


def _numbers(column: Sequence[Any], unread: Unread) -> np.ndarray:
    if set(map(type, column)) <= _NUMBERS:
        try:
            return np.array(column, dtype=np.float64)
        except OverflowError:
            pass  # integers too large for float64: found below
    bad = [row for row, cell in enumerate(column) if not _is_number(cell)]
    if bad:
        unread.add(np.array(bad), str(column[bad[0]]).encode("utf-8", "backslashreplace"))
    return np.full(len(column), np.nan)


def _is_number(cell: Any) -> bool:
    return cell is None or type(cell) is float or (type(cell) is int and abs(cell) < 2**1023)


def _times(columns: Columns, cells: list[Sequence[Any]], beside: Any, clock: Clock) -> np.ndarray | None:
    n_rows = len(cells[0])
    if beside is None:
        if columns.time is None:
            return None
        column = cells[columns.time]
    elif columns.time is not None:
        raise InvalidParameters(
            f"The times are given twice: as `time` and as column {columns.time_name!r}.", [ErrorItem(pointer="/time")]
        )
    elif not isinstance(beside, list) or len(beside) != n_rows:
        raise MalformedFile(
            f"time must be a list with one entry for each of the {n_rows} rows.", [ErrorItem(pointer="/time")]
        )
    else:
        column = beside
    if set(map(type, column)) <= {str, type(None)}:
        return clock.from_text(
            pa.array([c if c is None else c.encode("utf-8", "replace") for c in column], pa.binary()), 0
        )
    return clock.from_numbers(_numbers(column, clock.unread))

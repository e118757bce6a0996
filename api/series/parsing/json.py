"""JSON documents: small by their limit, so they are read whole; numbers only, null for what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic_core import from_json

from api.series.parsing.recordings import Labels, naming
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
    if isinstance(document, dict) and isinstance(document.get("recordings"), list | dict):
        if "values" in document:
            raise MalformedFile(
                'The document has "values" and "recordings": one of them is enough.', [ErrorItem(pointer="/recordings")]
            )
        return document
    if not isinstance(document, dict) or not isinstance(document.get("values"), list | dict):
        raise MalformedFile(
            'The document must have "values": a list of rows, [[1.0, 2.0], ...], a list of numbers, or an object of '
            'columns, {"x": [1.0, ...], "y": [...]}; or "recordings": a list or an object of several of them.',
            [ErrorItem(pointer="/values", detail="must be a list or an object")],
        )
    return document


def tables_of(document: dict[str, Any], spec: SeriesSpec, limits: Limits) -> list[tuple[str, Table]]:
    """The document's `values`, or each of its `recordings` with its name; takes them, and the times, out of it."""
    times = document.pop("time", None)
    if "recordings" not in document:
        return [("", open_json(document.pop("values"), times, spec, limits, document.pop("recording", None)))]
    recordings = document.pop("recordings")
    parts = recordings if isinstance(recordings, dict) else {str(i): part for i, part in enumerate(recordings)}
    if not parts:
        raise MalformedFile("recordings is empty.", [ErrorItem(pointer="/recordings", detail="is empty")])
    clocks = _clocks(times, parts, isinstance(recordings, dict))
    tables = []
    for name, part in parts.items():
        pointer = f"/recordings/{name[:40]}"
        if not isinstance(part, list | dict):
            detail = "must be a list of rows, a list of numbers, or an object of columns"
            raise MalformedFile(f"Recording {name[:40]!r} {detail}.", [ErrorItem(pointer=pointer, detail=detail)])
        with naming(name):
            tables.append((name, open_json(part, clocks.get(name), spec, limits)))
    return tables


def _clocks(times: Any, parts: dict[str, Any], named: bool) -> dict[str, Any]:
    """The times of every recording, given as a list or an object like the recordings themselves."""
    if times is None:
        return {}
    clocks = times if named else dict(enumerate(times)) if isinstance(times, list) else None
    if not isinstance(clocks, dict) or set(map(str, clocks)) != set(parts):
        kind = "an object with the names" if named else "a list with as many lists"
        raise MalformedFile(f"time must be {kind} of recordings.", [ErrorItem(pointer="/time")])
    return {str(name): clock for name, clock in clocks.items()}


def open_json(
    values: list[Any] | dict[str, Any], times: Any, spec: SeriesSpec, limits: Limits, recording: Any = None
) -> Table:
    """`values` as rows, as one channel or as named columns; `times` and `recording`, a name for each row, beside them or None."""
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
    labels = _labels(columns, cells, recording)
    return Table(columns, iter([(time, array)]), dates=bool(clock.dates), origin=clock.origin, labels=labels)


def _labels(columns: Columns, cells: list[Sequence[Any]], beside: Any) -> Labels | None:
    if beside is None and columns.recording is None:
        return None
    if beside is not None and columns.recording is not None:
        raise InvalidParameters(
            "The recordings are named twice: as `recording` and as a column.", [ErrorItem(pointer="/recording")]
        )
    names = beside if columns.recording is None else cells[columns.recording]
    if not isinstance(names, Sequence) or isinstance(names, str) or len(names) != len(cells[0]):
        raise MalformedFile(
            f"recording must be a list with a name for each of the {len(cells[0])} rows.",
            [ErrorItem(pointer="/recording")],
        )
    bad = [row for row, name in enumerate(names) if not isinstance(name, str | int | None) or isinstance(name, bool)]
    if bad:
        detail = f"The name of the recording in row {bad[0]} is neither text nor a whole number."
        raise MalformedFile(detail, [ErrorItem(pointer="/recording", rows=bad[:20])])
    labels = Labels("recording")
    labels.add(pa.array([None if name is None else str(name) for name in names], pa.string()))
    return labels


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

"""Parquet files: converted by a process of its own, which a damaged file may end, then read in batches."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from api.series.parsing import parquet_process
from api.series.parsing.recordings import labels_of
from api.series.parsing.table import (
    Block,
    Columns,
    Limits,
    Table,
    beyond_exact_integers,
    quoted,
    resolve,
    rounding_issues,
)
from api.series.parsing.text import Clock, hopeless, refuse_unread
from domain.errors import ErrorItem, MalformedFile, NonNumericValues, TooLarge, column_pointer
from domain.series import SeriesSpec
from dynamics.audit import Places


def open_parquet(path: Path, spec: SeriesSpec, limits: Limits) -> Table:
    """A flat table of numbers; the time column may hold timestamps, dates or ISO 8601 text."""
    converted = path.with_name(path.name + ".arrow")
    try:
        _convert(path, converted, limits)
        reader = pa.ipc.open_file(pa.OSFile(str(converted)))
    finally:
        # What is open stays readable, and nothing is left whatever happens.
        converted.unlink(missing_ok=True)
    names = reader.schema.names
    columns = resolve(names, len(names), spec, limits)
    _check_types(reader.schema, columns)
    table = Table(columns, iter(()), labels=labels_of(columns))
    table.blocks = _blocks(reader, columns, spec.dt, table)
    return table


def _convert(path: Path, converted: Path, limits: Limits) -> None:
    arguments = [str(path), str(converted), str(limits.rows), str(limits.values)]
    program = [sys.executable, "-I", parquet_process.__file__]
    done = subprocess.run([*program, *arguments], capture_output=True, check=False)
    if done.returncode == parquet_process.TOO_LARGE:
        raise TooLarge(f"The file has more than {limits.rows} rows or {limits.values} values: send a part of it.")
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip() if done.returncode == parquet_process.DAMAGED else ""
        raise MalformedFile(f"The Parquet file cannot be read: {said or 'it is damaged, or its pages are too large'}.")


def _check_types(schema: pa.Schema, columns: Columns) -> None:
    bad = [schema.field(i) for i in columns.indices if not _is_number(schema.field(i).type)]
    if columns.time is not None and not _is_time(schema.field(columns.time).type):
        bad.append(schema.field(columns.time))
    if columns.recording is not None and not _is_label(schema.field(columns.recording).type):
        bad.append(schema.field(columns.recording))
    if bad:
        kinds = ", ".join(f"{field.name[:40]!r} ({str(field.type)[:40]})" for field in bad[:20])
        raise NonNumericValues(
            f"{len(bad)} columns hold no numbers: {kinds}. Remove or convert them; times belong into one column that "
            f"is named t or time, or that `time_column` names. Columns: {quoted(schema.names)}.",
            [ErrorItem(pointer=column_pointer(f.name), detail=f"type {str(f.type)[:80]}") for f in bad[:20]],
        )


def _is_number(kind: pa.DataType) -> bool:
    types = pa.types
    return types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_boolean(kind)


def _is_date(kind: pa.DataType) -> bool:
    return pa.types.is_timestamp(kind) or pa.types.is_date(kind)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_label(kind: pa.DataType) -> bool:
    return _is_text(kind) or _is_number(kind) or (pa.types.is_dictionary(kind) and _is_text(kind.value_type))


def _is_time(kind: pa.DataType) -> bool:
    return _is_number(kind) or _is_date(kind) or _is_text(kind)


def _blocks(reader: pa.RecordBatchFileReader, columns: Columns, dt: float | None, table: Table) -> Iterator[Block]:
    clock = None if columns.time is None else Clock(columns, dt)
    integers = [i for i, at in enumerate(columns.indices) if pa.types.is_integer(reader.schema.field(at).type)]
    rounded, row = Places(), 0
    for number in range(reader.num_record_batches):
        batch = reader.get_batch(number)
        times = None
        if clock is not None and columns.time is not None:
            times = _times(batch.column(columns.time), clock, row)
        if table.labels is not None:
            table.labels.add(batch.column(columns.recording))
        values = np.empty((len(batch), len(columns.indices)))
        for i, index in enumerate(columns.indices):
            values[:, i] = _numbers(batch.column(index))
        rounded.add(row + beyond_exact_integers(values[:, integers]))
        yield times, values
        row += len(batch)
        if clock is not None and hopeless([clock.unread]):
            break
    if clock is not None:
        refuse_unread([clock.unread], row)
        table.dates, table.origin = bool(clock.dates), clock.origin
    table.issues += rounding_issues(rounded)


def _numbers(array: pa.Array) -> np.ndarray:
    """float64, NaN where null."""
    return array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def _times(array: pa.Array, clock: Clock, row: int) -> np.ndarray:
    if _is_text(array.type):
        return clock.from_text(array.cast(pa.binary()), row)
    if not _is_date(array.type):
        return clock.from_numbers(_numbers(array))
    try:
        return clock.from_timestamps(array.cast(pa.timestamp("ns")))
    except pa.ArrowInvalid as error:
        raise MalformedFile(f"A date after row {row} lies outside the years 1678 to 2261.") from error

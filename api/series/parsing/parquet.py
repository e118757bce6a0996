"""Parquet files: limits are checked against the footer, row groups are read in pieces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

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
from api.series.parsing.text import Clock, refuse_unread
from domain.errors import ErrorItem, MalformedFile, NonNumericValues, TooLarge, TooManyChannels, column_pointer
from domain.series import SeriesSpec
from dynamics.audit.places import BLOCK_VALUES, Places

_MAX_BYTES_PER_VALUE = 64  # uncompressed; numbers have 8, dates as text about 30


def open_parquet(path: Path, spec: SeriesSpec, limits: Limits) -> Table:
    """A flat table of numbers; the time column may hold timestamps, dates or ISO 8601 text."""
    try:
        file = pq.ParquetFile(
            path,
            # Read as needed, not whole column chunks ahead; counts and strings of the footer are bounded.
            pre_buffer=False,
            buffer_size=1 << 16,
            thrift_string_size_limit=64 << 20,
            thrift_container_size_limit=1_000_000,
        )
    except (pa.ArrowException, OSError) as error:
        raise MalformedFile(f"The Parquet file cannot be read: {error}.") from error
    footer = file.metadata
    if footer.num_rows > limits.rows:
        raise TooLarge(f"The file has {footer.num_rows} rows; at most {limits.rows} are accepted.")
    if footer.num_columns > limits.channels + 1:
        raise TooManyChannels(
            f"The file has {footer.num_columns} columns; at most {limits.channels} channels are accepted."
        )
    _check_sizes(footer)
    schema = file.schema_arrow
    columns = resolve(schema.names, len(schema.names), spec, limits)
    _check_types(schema, columns)
    table = Table(columns, iter(()))
    table.blocks = _blocks(file, columns, spec.dt, table)
    return table


def _check_sizes(footer: pq.FileMetaData) -> None:
    """Refuse what would unpack to far more than its values need."""
    for group in range(footer.num_row_groups):
        for column in range(footer.num_columns):
            chunk = footer.row_group(group).column(column)
            if chunk.total_uncompressed_size > _MAX_BYTES_PER_VALUE * chunk.num_values + (1 << 20):
                raise TooLarge(
                    f"Column {chunk.path_in_schema[:40]!r} of row group {group} unpacks to "
                    f"{chunk.total_uncompressed_size} bytes for {chunk.num_values} values: more than numbers need."
                )


def _check_types(schema: pa.Schema, columns: Columns) -> None:
    bad = [schema.field(i) for i in columns.indices if not _is_number(schema.field(i).type)]
    if columns.time is not None and not _is_time(schema.field(columns.time).type):
        bad.append(schema.field(columns.time))
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


def _is_time(kind: pa.DataType) -> bool:
    return _is_number(kind) or _is_date(kind) or _is_text(kind)


def _blocks(file: pq.ParquetFile, columns: Columns, dt: float | None, table: Table) -> Iterator[Block]:
    clock = None if columns.time is None else Clock(columns, dt)
    rounded, row = Places(), 0
    integers = [i for i, at in enumerate(columns.indices) if pa.types.is_integer(file.schema_arrow.field(at).type)]
    names = [file.schema_arrow.names[i] for i in columns.used]
    size = max(1, BLOCK_VALUES // len(names))
    try:
        for batch in file.iter_batches(batch_size=size, columns=names, use_threads=False):
            arrays = [batch.column(name) for name in names]
            times = None if clock is None else _times(arrays.pop(0), clock, row)
            values = np.empty((len(batch), len(arrays)))
            for i, array in enumerate(arrays):
                values[:, i] = _numbers(array)
            rounded.add(row + beyond_exact_integers(values[:, integers]))
            yield times, values
            row += len(batch)
    except (pa.ArrowException, OSError) as error:
        raise MalformedFile(f"The Parquet file is damaged after row {row}: {error}.") from error
    if clock is not None:
        refuse_unread([clock.unread])
        table.dates, table.origin = clock.dates, clock.origin
    table.issues += rounding_issues(rounded)


def _numbers(array: pa.Array) -> np.ndarray:
    """float64, NaN where null."""
    return array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def _times(array: pa.Array, clock: Clock, row: int) -> np.ndarray:
    if _is_text(array.type):
        return clock.from_text(array.cast(pa.binary()), row)
    if _is_date(array.type):
        return clock.from_timestamps(array.cast(pa.timestamp("ns")))
    return clock.from_numbers(_numbers(array))

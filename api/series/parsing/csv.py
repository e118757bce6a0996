"""CSV files: Arrow's streaming reader splits them into cells, in blocks of a megabyte."""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv

from api.series.parsing.dialect import Dialect, read_dialect
from api.series.parsing.recordings import labels_of
from api.series.parsing.table import Block, Columns, Limits, Table, resolve
from api.series.parsing.text import MAX_UNREAD, MISSING, Clock, Unread, hopeless, read_numbers, refuse_unread
from domain.errors import ErrorItem, MalformedFile
from domain.series import SeriesSpec
from dynamics.audit.places import Places

_NAMES = {"\t": "tab", ";": "semicolon", ",": "comma", " ": "blank"}


def open_csv(path: Path, spec: SeriesSpec, limits: Limits) -> Table:
    """A table of numbers as text; see `read_dialect` for what is found out from its first lines."""
    with path.open("rb") as file:
        head = file.read(limits.line_bytes + 1)
    dialect = read_dialect(head, whole=len(head) <= limits.line_bytes, max_line_bytes=limits.line_bytes)
    columns = resolve(dialect.header, dialect.n_columns, spec, limits)
    details = {
        "separator": _NAMES[dialect.separator],
        "decimal_sign": "comma" if dialect.decimal_comma else "point",
        "header": "no" if dialect.header is None else "yes",
    }
    table = Table(columns, iter(()), details, labels=labels_of(columns))
    table.blocks = _blocks(path, dialect, columns, spec.dt, limits, table)
    return table


def _blocks(
    path: Path, dialect: Dialect, columns: Columns, dt: float | None, limits: Limits, table: Table
) -> Iterator[Block]:
    clock = None if columns.time is None else Clock(columns, dt)
    channels = [Unread(name) for name in columns.channels]
    unread = [*([] if clock is None else [clock.unread]), *channels]
    ragged = _Ragged(dialect)
    row = 0
    for batch in _batches(path, dialect, limits, ragged):
        cells = batch.columns
        times = None
        if clock is not None and columns.time is not None:
            times = clock.from_text(cells[columns.time], row, decimal_comma=dialect.decimal_comma)
        if table.labels is not None and columns.recording is not None:
            table.labels.add(cells[columns.recording])
        values = np.empty((len(batch), len(columns.indices)))
        for i, index in enumerate(columns.indices):
            values[:, i] = read_numbers(cells[index], row, channels[i], decimal_comma=dialect.decimal_comma)
        yield times, values
        row += len(batch)
        if hopeless(unread):
            break
    ragged.refuse()
    refuse_unread(unread, row)
    if clock is not None:
        table.dates, table.origin = bool(clock.dates), clock.origin


def _batches(path: Path, dialect: Dialect, limits: Limits, ragged: _Ragged) -> Iterator[pa.RecordBatch]:
    if dialect.n_columns == 1:
        _drop_blank_end(path)
    if path.stat().st_size <= dialect.offset:
        return
    names = [str(i) for i in range(dialect.n_columns)]
    with path.open("rb") as file:
        file.seek(dialect.offset)
        try:
            yield from arrow_csv.open_csv(
                pa.PythonFile(_Utf8File(file), "r"),
                read_options=arrow_csv.ReadOptions(use_threads=False, block_size=limits.line_bytes, column_names=names),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=dialect.separator,
                    invalid_row_handler=ragged,
                    # A blank line among several columns is no row; in a single column it is a missing value.
                    ignore_empty_lines=dialect.n_columns > 1,
                ),
                convert_options=arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.binary()),
                    null_values=list(MISSING),
                    strings_can_be_null=True,
                ),
            )
        except UnicodeDecodeError as error:
            raise _not_utf8(path, dialect.offset) from error
        except pa.ArrowInvalid as error:
            ragged.refuse()
            _refuse_long_line(path, dialect.offset, limits.line_bytes)
            raise MalformedFile(f"The file cannot be split into rows: {error}.") from error


class _Utf8File(io.RawIOBase):
    """Hands a file on and raises UnicodeDecodeError for what is no UTF-8, which Arrow meets in silence."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        piece = self._file.read(-1 if size is None else size)
        self._decoder.decode(piece, final=not piece)
        return piece


def _not_utf8(path: Path, offset: int) -> MalformedFile:
    row = 0
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            try:
                line.decode()
            except UnicodeDecodeError as error:
                byte = line[error.start]
                return MalformedFile(
                    f"Row {row} is not UTF-8: byte 0x{byte:02x} in {line[:60].decode('utf-8', 'replace')!r}. "
                    "Save the file as UTF-8.",
                    [ErrorItem(rows=[row], detail=f"byte 0x{byte:02x}")],
                )
            row += bool(line.strip())
    raise AssertionError("the file was UTF-8 after all")


class _Ragged:
    """Counts the rows that have more or fewer cells than the first."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._places = Places()
        self._first = ""

    def __call__(self, row: arrow_csv.InvalidRow) -> str:
        if not self._places.total:
            self._first = f"row {row.number - 1} has {row.actual_columns} ({row.text[:60]!r})"
        self._places.add(np.array([row.number - 1]))
        return "skip" if self._places.total <= MAX_UNREAD else "error"

    def refuse(self) -> None:
        if not self._places.total:
            return
        uneven = f"{self._places.total} rows" + (" or more" if self._places.total > MAX_UNREAD else "")
        expected = f"{self._dialect.n_columns} cells (separated by {_NAMES[self._dialect.separator]})"
        raise MalformedFile(
            f"Every row must have {expected} like the first line; {self._first}. {uneven} are uneven. "
            "A cell that holds the separator must be in double quotes.",
            [ErrorItem(rows=self._places.rows, detail=f"{uneven} without {expected}")],
        )


def _drop_blank_end(path: Path) -> None:
    """Cut line ends off the end of the file: the blank lines after the last value are no missing values."""
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        while size > 0:
            start = max(0, size - 4096)
            file.seek(start)
            kept = start + len(file.read(size - start).rstrip(b"\r\n"))
            file.truncate(kept)
            if kept > start:
                return
            size = kept


def _refuse_long_line(path: Path, offset: int, max_line_bytes: int) -> None:
    """Fail if a line is longer than a block, naming its row."""
    row, length = 0, 0
    with path.open("rb") as file:
        file.seek(offset)
        while piece := file.readline(max_line_bytes + 1):
            length = len(piece)
            if length > max_line_bytes:
                raise MalformedFile(
                    f"Row {row} is longer than {max_line_bytes} bytes.",
                    [ErrorItem(rows=[row], detail=f"longer than {max_line_bytes} bytes")],
                )
            row += bool(piece.strip())

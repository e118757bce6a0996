"""Cells of text into numbers and times, a block of a column at a time; what cannot be read is named by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from api.series.parsing.table import Columns
from domain.errors import NonNumericValues
from dynamics.audit.places import Places

MISSING = ("", "NA", "N/A", "#N/A", "NaN", "nan", "NAN", "null", "NULL", "None")
MAX_UNREAD = 100_000
_MISSING_BYTES = frozenset(word.encode() for word in MISSING)
_NANOSECONDS = 1_000_000_000


@dataclass
class Unread:
    """Cells of one column that are no numbers: where, and what the first one says."""

    column: str
    expected: str = "a number"
    places: Places = field(default_factory=Places)
    example: str = ""

    def add(self, rows: np.ndarray, example: bytes) -> None:
        if not self.places.total:
            self.example = repr(example[:40].decode("utf-8", "replace"))
        self.places.add(rows)


def hopeless(columns: Sequence[Unread]) -> bool:
    """Whether so much could not be read that reading on tells nothing new."""
    return sum(column.places.total for column in columns) > MAX_UNREAD


def refuse_unread(columns: Sequence[Unread], n_rows: int) -> None:
    """Fail if any column holds cells that could not be read, among the rows read so far."""
    bad = [column for column in columns if column.places.total]
    if not bad:
        return
    first = bad[0]
    total = sum(column.places.total for column in bad)
    more = f"In {n_rows} rows there are {total} such cells, in {len(bad)} columns. " if total > 1 else ""
    raise NonNumericValues(
        f"Column {first.column!r}, row {first.places.rows[0]}: {first.example} is not {first.expected}. {more}"
        "Correct the file, leave the cell empty if the value is missing, or remove the column.",
        [
            u.places.error_item(u.column, f"not {u.expected}, first {u.example}; {u.places.total} cells")
            for u in bad[:20]
        ],
    )


def read_numbers(cells: pa.Array, first_row: int, unread: Unread, *, decimal_comma: bool = False) -> np.ndarray:
    """A binary array as float64, NaN where null; from Arrow's parser, or one by one where that refuses the block."""
    text = cells.view(pa.string())
    if decimal_comma:
        text = pc.replace_substring(text, ",", ".")
    for attempt in (lambda: text, lambda: _without_blanks(text)):
        try:
            return attempt().cast(pa.float64()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:
            continue
    return _one_by_one(text, first_row, unread)


def _without_blanks(text: pa.Array) -> pa.Array:
    trimmed = pc.ascii_trim_whitespace(text)
    return pc.if_else(pc.is_in(trimmed, pa.array(MISSING)), None, trimmed)


def _one_by_one(text: pa.Array, first_row: int, unread: Unread) -> np.ndarray:
    numbers, bad = np.full(len(text), np.nan), []
    cells = text.view(pa.binary()).to_pylist()
    for row, cell in enumerate(cells):
        cell = b"" if cell is None else cell.strip()
        if cell in _MISSING_BYTES:
            continue
        try:
            # Python reads 1_000 as a number; nobody who writes a table does.
            numbers[row] = float("" if b"_" in cell else cell)
        except ValueError:
            bad.append(row)
    if bad:
        unread.add(first_row + np.array(bad), cells[bad[0]])
    return numbers


class Clock:
    """Reads the time column: numbers as they are, row counters in units of dt, dates as seconds from the first."""

    def __init__(self, columns: Columns, dt: float | None) -> None:
        self.unread = Unread(columns.time_name, "a number or an ISO 8601 date")
        self.dates: bool | None = None  # until the first cell is seen
        self.origin = 0.0
        self._scale = (dt or 1.0) if columns.counts_steps else 1.0
        self._first: int | None = None
        self._zoned: bool | None = None

    def from_numbers(self, numbers: np.ndarray) -> np.ndarray:
        return numbers * self._scale

    def from_text(self, cells: pa.Array, first_row: int, *, decimal_comma: bool = False) -> np.ndarray:
        """Dates if the first cell that is not empty is one; a column does not change its mind."""
        if self.dates is None:
            first = next((cell for cell in cells.to_pylist() if cell and cell.strip()), None)
            self.dates = None if first is None else _date(first) is not None
        if not self.dates:
            return self.from_numbers(read_numbers(cells, first_row, self.unread, decimal_comma=decimal_comma))
        text = pc.ascii_trim_whitespace(cells.view(pa.string()))
        for zoned, kind in ((False, pa.timestamp("ns")), (True, pa.timestamp("ns", "UTC"))):
            try:
                moments = text.cast(kind)
            except pa.ArrowInvalid:
                continue
            if self._zoned in (None, zoned):
                self._zoned = zoned
                return self.from_timestamps(moments)
        return self.from_timestamps(self._dates_one_by_one(cells.to_pylist(), first_row))

    def from_timestamps(self, moments: pa.Array) -> np.ndarray:
        """Exact nanoseconds from the first moment, divided once."""
        self.dates = True
        valid = moments.is_valid().to_numpy(zero_copy_only=False)
        ns = moments.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
        if self._first is None:
            if not valid.any():
                return np.full(len(ns), np.nan)
            self._first = int(ns[valid][0])
            self.origin = self._first / _NANOSECONDS
        return np.where(valid, (ns - self._first) / _NANOSECONDS, np.nan)

    def _dates_one_by_one(self, cells: list[bytes | None], first_row: int) -> pa.Array:
        moments: list[int | None] = []
        bad = []
        for row, cell in enumerate(cells):
            moment = _date(cell or b"")
            if self._zoned is None and moment is not None:
                self._zoned = moment.tzinfo is not None
            # A column that names a zone in some rows only cannot be put in order.
            readable = moment is not None and (moment.tzinfo is not None) == self._zoned
            moments.append(_nanoseconds(moment) if moment is not None and readable else None)
            if not readable and (cell or b"").strip() not in _MISSING_BYTES:
                bad.append(row)
        if bad:
            self.unread.add(first_row + np.array(bad), cells[bad[0]] or b"")
        return pa.array(moments, pa.int64()).cast(pa.timestamp("ns"))


def _date(cell: bytes) -> datetime | None:
    text = cell.strip().decode("utf-8", "replace")
    # A bare number is never a date, though 20240101 could be one.
    if "-" not in text[1:]:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _nanoseconds(moment: datetime) -> int | None:
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    delta = aware - datetime(1970, 1, 1, tzinfo=UTC)
    ns = (delta.days * 86_400 + delta.seconds) * _NANOSECONDS + delta.microseconds * 1000
    return ns if abs(ns) < 2**62 else None

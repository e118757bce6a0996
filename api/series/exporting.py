"""Rows of a stored series as JSON, CSV, NPY or Parquet, in pieces: an answer of any length needs little memory."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from api.series.schemas import Decimation
from api.series.storing import npy_header
from api.tables import FORMULA, Format
from domain.errors import ErrorItem, InvalidParameters
from dynamics.audit.places import blocks
from store.tables import SeriesRow


@dataclass(frozen=True)
class Selection:
    """Which rows and channels of a series are wanted; `rows` are kept rows, or all of [start, stop) for None."""

    row: SeriesRow
    values: np.ndarray
    columns: list[int]
    start: int
    stop: int
    rows: np.ndarray | None = None
    decimation: Decimation | None = None

    @property
    def channels(self) -> list[str]:
        return [self.row.channels[i] for i in self.columns]

    @property
    def n_rows(self) -> int:
        return self.stop - self.start if self.rows is None else len(self.rows)

    @property
    def is_collection(self) -> bool:
        return bool(self.row.profile.get("recordings"))

    def blocks(self) -> Iterator[Rows]:
        for block in blocks(self.n_rows, self.values.shape[1]):
            if self.rows is None:
                rows = np.arange(self.start + block.start, self.start + block.stop)
                part = self.values[rows[0] : rows[-1] + 1]
            else:
                rows = self.rows[block]
                part = self.values[rows]
            names = row_recordings(self.row, rows) if self.is_collection else None
            yield Rows(names, row_times(self.row, rows), np.ascontiguousarray(part[:, self.columns]))


class Rows(NamedTuple):
    """A block of rows: the recording of each (k,), of a collection; times (k,); values (k, N)."""

    recording: np.ndarray | None
    times: np.ndarray
    values: np.ndarray


def row_times(row: SeriesRow, rows: np.ndarray) -> np.ndarray:
    """Times of rows: the clock of their segment, or of the one before them in a gap of the same recording."""
    parts = [*(row.profile.get("recordings") or []), *row.profile["segments"]]
    clocks = {0: row.time_start} | {p["start"]: p["time_start"] for p in parts}
    starts = np.array(sorted(clocks))
    times = np.array([clocks[start] for start in starts.tolist()])
    at = np.searchsorted(starts, rows, side="right") - 1
    return times[at] + (rows - starts[at]) * row.dt


def row_recordings(row: SeriesRow, rows: np.ndarray) -> np.ndarray:
    """Names (k,) of the recordings that rows of a collection lie in."""
    recordings = row.profile["recordings"]
    starts = np.array([r["start"] for r in recordings])
    names = np.array([r["name"] for r in recordings], dtype=object)
    return names[np.searchsorted(starts, rows, side="right") - 1]


def select(
    row: SeriesRow, values: np.ndarray, columns: list[int], start: int, stop: int | None, max_points: int | None
) -> Selection:
    """Rows [start, stop) of some columns, thinned to at most `max_points`; fails for rows that are not there."""
    stop = row.n_steps if stop is None else stop
    for name, value, ok in (("start", start, start < row.n_steps), ("stop", stop, start < stop <= row.n_steps)):
        if not ok:
            raise InvalidParameters(
                f"{name} = {value} is out of range: the series has {row.n_steps} rows, and start < stop.",
                [ErrorItem(pointer=f"/query/{name}", detail=f"the series has {row.n_steps} rows")],
            )
    if len(set(columns)) < len(columns):
        raise InvalidParameters("channels names one of them twice.", [ErrorItem(pointer="/query/channels")])
    whole = Selection(row, values, columns, start, stop)
    if max_points is None or stop - start <= max_points:
        return whole
    return _decimated(whole, max_points)


def _decimated(whole: Selection, max_points: int) -> Selection:
    """Min-max decimation: the rows with each channel's smallest and largest value in each bucket, a row of every gap,
    and both ends. Nothing is averaged, every extreme is kept.
    """
    per_bucket = 2 * len(whole.columns) + 1
    if max_points < per_bucket + 2:
        raise InvalidParameters(
            f"max_points = {max_points} is too few to keep the extremes of {len(whole.columns)} channels: "
            f"at least {per_bucket + 2}, or choose fewer channels.",
            [ErrorItem(pointer="/query/max_points", detail=f"must be at least {per_bucket + 2}")],
        )
    size = -(-(whole.stop - whole.start) // ((max_points - 2) // per_bucket))
    kept = [np.array([whole.start, whole.stop - 1])]
    for first in range(whole.start, whole.stop, size):
        part = np.asarray(whole.values[first : min(first + size, whole.stop)])[:, whole.columns]
        missing = np.isnan(part)
        kept.append(first + np.where(missing, np.inf, part).argmin(axis=0))
        kept.append(first + np.where(missing, -np.inf, part).argmax(axis=0))
        kept.append(first + np.flatnonzero(missing.any(axis=1))[:1])
    rows = np.unique(np.concatenate(kept))
    decimation = Decimation(kept=len(rows), of=whole.n_rows, bucket_steps=size)
    return Selection(whole.row, whole.values, whole.columns, whole.start, whole.stop, rows, decimation)


def encode(selection: Selection, format: Format) -> Iterator[bytes]:
    """The pieces of the answer's body."""
    return {Format.JSON: _json, Format.CSV: _csv, Format.NPY: _npy, Format.PARQUET: _parquet}[format](selection)


def _json(selection: Selection) -> Iterator[bytes]:
    row = selection.row
    head = {
        "series_id": row.id,
        "start": selection.start,
        "stop": selection.stop,
        "dt": row.dt,
        "time_unit": row.time_unit,
        "channels": selection.channels,
        "decimation": selection.decimation and selection.decimation.model_dump(),
        "null_reason": "missing in the upload: a gap between segments" if _has_gaps(row) else None,
        "rows": None if selection.rows is None else selection.rows.tolist(),
    }
    if not selection.is_collection:
        head["recording"] = None
    yield json.dumps(head)[:-1].encode()
    for name in ("recording", "time", "values") if selection.is_collection else ("time", "values"):
        separator = f', "{name}": ['
        for block in selection.blocks():
            part = getattr(block, "times" if name == "time" else name)
            missing = np.zeros(1) if name == "recording" else np.isnan(part)
            listed = (np.where(missing, np.array(None), part) if missing.any() else part).tolist()
            yield (separator + json.dumps(listed)[1:-1]).encode()
            separator = ", "
        yield b"]"
    yield b"}"


def _has_gaps(row: SeriesRow) -> bool:
    return sum(s["stop"] - s["start"] for s in row.profile["segments"]) < row.n_steps


def _npy(selection: Selection) -> Iterator[bytes]:
    yield npy_header((selection.n_rows, len(selection.columns)))
    for block in selection.blocks():
        yield block.values.tobytes()


def npy_size(selection: Selection) -> int:
    return 128 + 8 * selection.n_rows * len(selection.columns)


def _csv(selection: Selection) -> Iterator[bytes]:
    # A spreadsheet would run a name that begins like a formula.
    names = [f"'{name}" if name.startswith(FORMULA) else name for name in _table_names(selection)]
    options = arrow_csv.WriteOptions(include_header=True)
    for block in selection.blocks():
        piece = io.BytesIO()
        arrow_csv.write_csv(_batch(names, block), piece, options)
        yield piece.getvalue()
        options = arrow_csv.WriteOptions(include_header=False)


def _parquet(selection: Selection) -> Iterator[bytes]:
    names = _table_names(selection)
    sink = _Pieces()
    kinds = [pa.string()] * selection.is_collection + [pa.float64()] * (1 + len(selection.channels))
    schema = pa.schema([pa.field(name, kind) for name, kind in zip(names, kinds, strict=True)])
    with pq.ParquetWriter(pa.PythonFile(sink, "w"), schema) as writer:
        for block in selection.blocks():
            writer.write_batch(_batch(names, block))
            yield sink.taken()
    yield sink.taken()


def column_names(channels: Sequence[str]) -> list[str]:
    """Names of a table's columns: the time, called `time` unless a channel is, and the channels."""
    candidates = ("time", "t", "timestamp", *(f"time_{i}" for i in range(len(channels))))
    return [next(name for name in candidates if name not in channels), *channels]


def _table_names(selection: Selection) -> list[str]:
    """The same, after the recording of a collection."""
    return ["recording"] * selection.is_collection + column_names(selection.channels)


def _batch(names: Sequence[str], rows: Rows) -> pa.RecordBatch:
    """Missing values are null (an empty cell), never NaN."""
    columns = [pa.array(rows.times), *(pa.array(column, mask=np.isnan(column)) for column in rows.values.T.copy())]
    if rows.recording is not None:
        columns.insert(0, pa.array(rows.recording, pa.string()))
    return pa.record_batch(columns, names=list(names))


class _Pieces(io.RawIOBase):
    """A file that hands out what was written to it."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def write(self, data: object) -> int:
        piece = bytes(data)  # type: ignore[call-overload]
        self._pieces.append(piece)
        self._position += len(piece)
        return len(piece)

    def taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)

"""NPY files: the header is read and checked before a single value, and nothing is ever unpickled."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import BinaryIO

import numpy as np
import pyarrow as pa
from numpy.lib import format as npy_format

from api.series.parsing.recordings import labels_of
from api.series.parsing.table import Block, Columns, Limits, Table, beyond_exact_integers, resolve, rounding_issues
from api.series.parsing.text import Clock
from domain.errors import MalformedFile
from domain.series import SeriesSpec
from dynamics.audit.places import Places, blocks

_MAX_HEADER = 10_000
_KINDS = {
    "O": "pickled Python objects, which are never loaded",
    "c": "complex numbers: save the real and the imaginary parts as two columns",
    "V": "records: save a plain 2-D array",
    "U": "text",
    "S": "text",
    "M": "dates: save seconds as numbers, or use CSV or Parquet",
    "m": "durations: save seconds as numbers",
}


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, int]
    fortran_order: bool
    dtype: np.dtype
    offset: int


def open_npy(path: Path, spec: SeriesSpec, limits: Limits) -> Table:
    """A 1-D (T,) or 2-D (T, N) array of real numbers of any type and order."""
    with path.open("rb") as file:
        header = _read_header(file, path.stat().st_size)
    columns = resolve(None, header.shape[1], spec, limits)
    table = Table(columns, iter(()), {"dtype": str(header.dtype)}, labels=labels_of(columns))
    table.blocks = _blocks(path, header, columns, spec.dt, table)
    return table


def _read_header(file: BinaryIO, size: int) -> _Header:
    start = file.read(12)
    if len(start) < 12:
        raise MalformedFile(f"The NPY file is cut off in its header: it has {size} bytes.")
    version = (start[6], start[7])
    if version not in ((1, 0), (2, 0)):
        raise MalformedFile(f"NPY version {version[0]}.{version[1]} is not supported: save a plain array of numbers.")
    # Looked at first, because numpy reads as much as the length says.
    length = int.from_bytes(start[8:10] if version == (1, 0) else start[8:12], "little")
    if length > _MAX_HEADER:
        raise MalformedFile(f"The NPY header claims {length} bytes; a plain array needs fewer than {_MAX_HEADER}.")
    file.seek(8)
    read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
    try:
        shape, fortran_order, dtype = read(file, max_header_size=_MAX_HEADER)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError, TokenError) as error:
        raise MalformedFile("The NPY header cannot be read: save the array again with numpy.save.") from error
    if dtype.hasobject or dtype.kind not in "biuf":
        raise MalformedFile(f"The NPY file holds {_KINDS.get(dtype.kind, f'values of type {dtype}')}.")
    if len(shape) not in (1, 2) or 0 in shape or min(shape) < 0:
        raise MalformedFile(f"The array has shape {shape}; (T,) or (T, N) is expected, time steps first.")
    declared, there = math.prod(shape) * dtype.itemsize, size - file.tell()
    if declared != there:
        raise MalformedFile(
            f"The NPY header declares {declared} bytes of data (shape {shape}, {dtype}), but the file holds {there}: "
            + ("it was cut off." if there < declared else "something was appended.")
        )
    return _Header((shape[0], shape[1] if len(shape) == 2 else 1), fortran_order, dtype, file.tell())


def _blocks(path: Path, header: _Header, columns: Columns, dt: float | None, table: Table) -> Iterator[Block]:
    clock = None if columns.time is None else Clock(columns, dt)
    rounded = Places()
    with path.open("rb") as file:
        for rows in blocks(*header.shape):
            part = _read(file, header, rows)
            if table.labels is not None:
                table.labels.add(pa.array(part[:, columns.recording].astype(np.float64)))
            values = part[:, columns.indices].astype(np.float64, order="C")
            rounded.add(rows.start + _rounded_rows(part[:, columns.indices], values))
            times = None if clock is None else clock.from_numbers(part[:, columns.time].astype(np.float64))
            yield times, values
    table.issues += rounding_issues(rounded)


def _read(file: BinaryIO, header: _Header, rows: slice) -> np.ndarray:
    n_rows, n_columns = header.shape
    size, count = header.dtype.itemsize, rows.stop - rows.start
    if not header.fortran_order:
        file.seek(header.offset + rows.start * n_columns * size)
        return np.fromfile(file, header.dtype, count * n_columns).reshape(count, n_columns)
    part = np.empty((count, n_columns), header.dtype)
    for column in range(n_columns):
        file.seek(header.offset + (column * n_rows + rows.start) * size)
        part[:, column] = np.fromfile(file, header.dtype, count)
    return part


def _rounded_rows(given: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Rows in which the step to float64 may have lost digits."""
    if given.dtype.kind in "iu":
        return beyond_exact_integers(values)
    return np.flatnonzero(((given != values) & ~np.isnan(values)).any(axis=1))

"""Columns of numbers as CSV, NPY or Parquet, chosen by `?format=` or by Accept."""

from __future__ import annotations

import io
from enum import StrEnum

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet


class Format(StrEnum):
    JSON = "json"
    CSV = "csv"
    NPY = "npy"
    PARQUET = "parquet"


MEDIA_TYPES = {
    Format.JSON: "application/json",
    Format.CSV: "text/csv",
    Format.NPY: "application/x-npy",
    Format.PARQUET: "application/vnd.apache.parquet",
}
# What a spreadsheet would take for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def negotiate(asked: Format | None, accept: str) -> Format:
    """`?format=` wins; else the first media type of Accept that is known; else JSON."""
    if asked is not None:
        return asked
    known = {media_type: f for f, media_type in MEDIA_TYPES.items()}
    for media_range in accept.split(","):
        found = known.get(media_range.split(";")[0].strip().lower())
        if found is not None:
            return found
    return Format.JSON


def encode(columns: dict[str, np.ndarray], format: Format) -> bytes:
    """A table of float64 columns of one length; NPY is a structured array with the columns' names."""
    buffer = io.BytesIO()
    if format is Format.NPY:
        table = np.empty(len(next(iter(columns.values()))), dtype=[(name, np.float64) for name in columns])
        for name, values in columns.items():
            table[name] = values
        np.save(buffer, table, allow_pickle=False)
    elif format is Format.PARQUET:
        pa.parquet.write_table(_table(columns), buffer)
    else:
        safe = {f"'{name}" if name.startswith(FORMULA) else name: values for name, values in columns.items()}
        pa.csv.write_csv(_table(safe), buffer)
    return buffer.getvalue()


def _table(columns: dict[str, np.ndarray]) -> pa.Table:
    """Values that are not there are null (an empty cell), never NaN."""
    return pa.table({name: pa.array(values, mask=~np.isfinite(values)) for name, values in columns.items()})

"""Arrays, tables and files as uploads. Whether data are good enough is the service's to say, which names rows and columns."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from pathlib import Path
from typing import Any

import numpy as np

from attractor_client._protocol import File
from attractor_client.errors import DataError

_MEDIA_TYPES = {
    ".csv": "text/csv",
    ".tsv": "text/csv",
    ".txt": "text/csv",
    ".npy": "application/x-npy",
    ".parquet": "application/vnd.apache.parquet",
    ".json": "application/json",
}
_HINT = "Several recordings are a list of arrays (T, N), or a mapping of names to arrays."
_NANOSECONDS = 1e9
_RELATIVE_ERROR = 1e-3  # of a step: what times as float64 may lose


@dataclass(frozen=True)
class Table:
    """Columns of numbers with names, and times where the data have them.

    `values` (T, N) float64; `times` (T,) in `time_unit`; `dt` where it is known exactly.
    """

    values: np.ndarray
    channels: list[str] | None = None
    times: np.ndarray | None = None
    time_name: str = "time"
    time_unit: str | None = None
    dt: float | None = None


def as_upload(
    data: Any, fields: Mapping[str, Any], channels: Sequence[str] | None = None
) -> tuple[list[File], dict[str, str]]:
    """The files and the form fields of an upload; `fields` are the caller's and win. Raises DataError."""
    given = dict(fields)
    column = given.get("recording_column")
    if column is not None and type(data).__module__.partition(".")[0] in ("pandas", "polars"):
        data = _by_column(data, str(given.pop("recording_column")))
    parts = _recordings(data)
    if parts is None:
        file, described = _one(data, given, channels)
        return [file], described
    uploads = [(name, *_one(part, given, channels)) for name, part in parts.items()]
    described = uploads[0][2]
    for name, _, other in uploads:
        differing = sorted(k for k in {*described, *other} if described.get(k) != other.get(k))
        if differing:
            raise DataError(f"Recording {name!r} differs from {uploads[0][0]!r} in {', '.join(differing)}.")
    return [replace(file, name=name + Path(file.name).suffix) for name, file, _ in uploads], described


def _recordings(data: Any) -> dict[str, Any] | None:
    """Recordings by name: those of a mapping, of a list of tables, paths or arrays (T, N), or of an array (R, T, N)."""
    if isinstance(data, Mapping):
        parts = {str(name): part for name, part in data.items()}
    elif isinstance(data, np.ndarray) and data.ndim == 3:
        parts = {str(i): part for i, part in enumerate(data)}
    elif isinstance(data, list | tuple) and data and all(map(_is_recording, data)):
        parts = {str(i): part for i, part in enumerate(data)}
        if all(isinstance(part, str | Path) for part in data):
            names = [Path(part).stem for part in data]
            parts = dict(zip(names, data, strict=True)) if len(set(names)) == len(names) else parts
    else:
        return None
    if not parts:
        raise DataError("There is no recording in the mapping.")
    bad = next((name for name in parts if not name.strip() or "/" in name or "\\" in name), None)
    if bad is not None:
        raise DataError(f"{bad!r} cannot be the name of a recording: it must be text without slashes.")
    return parts


def _is_recording(part: Any) -> bool:
    table = type(part).__module__.partition(".")[0] in ("pandas", "polars")
    return table or isinstance(part, str | Path) or (isinstance(part, np.ndarray) and part.ndim == 2)


def _by_column(data: Any, column: str) -> dict[str, Any]:
    """The rows of a table by what a column says, in the order in which it says it first."""
    if column not in data.columns:
        raise DataError(f"The table has no column {column!r} to take the recordings from.")
    if type(data).__module__.startswith("pandas"):
        if data[column].isna().any():
            raise DataError(f"Column {column!r} does not name the recording of every row.")
        return {str(name): part.drop(columns=column) for name, part in data.groupby(column, sort=False)}
    parts = data.partition_by(column, maintain_order=True)
    return {str(part[column][0]): part.drop(column) for part in parts}


def _one(data: Any, fields: Mapping[str, Any], channels: Sequence[str] | None) -> tuple[File, dict[str, str]]:
    if isinstance(data, str | Path):
        return _file(Path(data)), form(dict(fields) | ({"channels": list(channels)} if channels else {}))
    table = as_table(data)
    names = list(channels) if channels is not None else table.channels
    n_channels = table.values.shape[1]
    if names is not None and len(names) != n_channels:
        raise DataError(f"channels gives {len(names)} names for {n_channels} columns.")
    given = {k: v for k, v in (("dt", table.dt), ("time_unit", table.time_unit)) if v is not None} | dict(fields)
    values = table.values
    if table.times is not None and "time_column" not in given:
        names = [table.time_name, *(names or [f"x{i}" for i in range(n_channels)])]
        given["time_column"] = table.time_name
        values = np.column_stack([table.times, values])
    if names is not None:
        given["channels"] = names
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(values), allow_pickle=False)
    return File("series.npy", _MEDIA_TYPES[".npy"], buffer.getvalue()), form(given)


def form(fields: Mapping[str, Any]) -> dict[str, str]:
    """Form fields as text: names of channels as a JSON list, numbers with all their digits."""
    return {k: json.dumps(v) if isinstance(v, list) else str(v) for k, v in fields.items()}


def _file(path: Path) -> File:
    if not path.is_file():
        hint = "; an id has 32 digits after ser_" if path.name.startswith("ser_") else ""
        raise DataError(f"There is no file {str(path)!r}{hint}; give a path, an array, a table, or the id of a series.")
    return File(path.name, _MEDIA_TYPES.get(path.suffix.lower(), "application/octet-stream"), path)


def as_table(data: Any) -> Table:
    """Columns of numbers from an array (T,) or (T, N), nested lists, or a table or column of pandas or polars."""
    library = type(data).__module__.partition(".")[0]
    if library == "pandas":
        return _from_pandas(data)
    if library == "polars":
        return _from_polars(data)
    return Table(_two_dimensional(data))


def _two_dimensional(data: Any) -> np.ndarray:
    try:
        values = np.asarray(data)
        values = values.astype(np.float64) if values.dtype.kind in "biufO" else values
    except (TypeError, ValueError) as error:
        raise DataError(f"The data are no table of numbers: {error}. {_HINT}") from error
    if values.dtype.kind != "f":
        raise DataError(f"The data hold values of type {values.dtype}; real numbers are needed.")
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or 0 in values.shape:
        raise DataError(f"The data have shape {np.shape(data)}; (T,) or (T, N) is needed, time steps first. {_HINT}")
    return values


def _from_pandas(data: Any) -> Table:
    columns = data.to_frame(data.name if data.name is not None else "x0") if data.ndim == 1 else data
    arrays = {str(name): columns[name].to_numpy() for name in columns.columns}
    if len(arrays) < columns.shape[1]:
        raise DataError("Column names must differ.")
    index = columns.index.to_timestamp() if hasattr(columns.index, "to_timestamp") else columns.index
    if index.nlevels > 1:
        raise DataError("The table has an index of several levels: give one series at a time.")
    numbers = index.to_numpy()
    if _counts(numbers):
        return _with_times(arrays, None, "time")
    if getattr(index, "tz", None) is not None:
        numbers = index.tz_convert("UTC").tz_localize(None).to_numpy()
    name = str(index.name or ("time" if numbers.dtype.kind in "mM" else "index"))
    return _with_times(arrays, numbers, name)


def _from_polars(data: Any) -> Table:
    columns = data.to_frame() if not hasattr(data, "columns") else data
    return _with_times({name or "x0": columns[name].to_numpy() for name in columns.columns}, None, "time")


def _counts(index: np.ndarray) -> bool:
    """Whether an index says nothing but the number of the row."""
    return index.dtype.kind in "iu" and bool((np.diff(index) == 1).all())


def _with_times(arrays: dict[str, np.ndarray], index: np.ndarray | None, name: str) -> Table:
    """The one column of dates, or the index, as times; all else as values."""
    arrays = {key: _utc(array) for key, array in arrays.items()}
    dated = [key for key, array in arrays.items() if array.dtype.kind in "mM"]
    if len(dated) > 1 or (dated and index is not None):
        raise DataError(f"There is more than one column of times ({', '.join(dated)} and others): keep one.")
    if dated:
        name, index = dated[0], arrays.pop(dated[0])
    if not arrays:
        raise DataError("The table has a column of times and nothing else.")
    values = np.column_stack([_numbers(key, array) for key, array in arrays.items()])
    if not len(values):
        raise DataError("The table has no rows.")
    if index is None:
        return Table(values, list(arrays))
    if index.dtype.kind not in "mM":
        return Table(values, list(arrays), _numbers(name, index), name)
    times, dt = _seconds(index)
    return Table(values, list(arrays), times, name, "s", dt)


def _utc(array: np.ndarray) -> np.ndarray:
    """Columns of Python or pandas moments as datetime64, all others as they are."""
    if array.dtype.kind == "O" and len(array) and hasattr(array[0], "isoformat"):
        moments = [m.astimezone(UTC).replace(tzinfo=None) if getattr(m, "tzinfo", None) else m for m in array]
        return np.array(moments, dtype="datetime64[ns]")
    return array


def _numbers(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "biuf":
        try:
            array = np.array([np.nan if value is None else value for value in array], dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"Column {name!r} holds no numbers ({array.dtype}): convert or drop it.") from error
    return array.astype(np.float64)


def _seconds(moments: np.ndarray) -> tuple[np.ndarray, float | None]:
    """Dates or durations as seconds, since 1970 where float64 is fine enough for that, else since the first; exact dt."""
    if np.isnat(moments).any():
        raise DataError(f"The time of row {int(np.isnat(moments).argmax())} is missing.")
    unit = "datetime64[ns]" if moments.dtype.kind == "M" else "timedelta64[ns]"
    ticks = moments.astype(unit).astype(np.int64)
    steps = np.diff(ticks)
    dt = float(steps[0] / _NANOSECONDS) if len(steps) and (steps == steps[0]).all() else None
    smallest = np.abs(steps[steps != 0]).min(initial=np.iinfo(np.int64).max) / _NANOSECONDS
    if np.spacing(np.abs(ticks).max() / _NANOSECONDS) > _RELATIVE_ERROR * smallest:
        ticks = ticks - ticks[0]
    return ticks / _NANOSECONDS, dt if dt is None or dt > 0 else None

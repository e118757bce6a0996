"""What every format is read into: named columns of numbers, in blocks, so that no file is ever whole in memory."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from domain.errors import ErrorItem, InvalidParameters, MalformedFile, TooManyChannels
from domain.series import SeriesIssue, SeriesSpec
from dynamics.audit.places import Places

Block = tuple[np.ndarray | None, np.ndarray]
"""Times (k,) or None, and values (k, N), both float64; NaN where a cell is empty."""

_TIME = re.compile(
    r"(?:t|(?i:times?|timestamps?|date|datetime|date_time))"  # T is a temperature
    r"(?:\s*[(\[](?P<unit>[^)\]]{1,20})[)\]]|\s*/\s*(?P<over>\w{1,20})|_(?P<suffix>ns|us|ms|s|sec|seconds|min|minutes|h|hours|d|days))?"
)
# Row counters, as pandas writes them; the empty name counts only in the first column.
_STEPS = re.compile(r"|index|steps?|unnamed: 0|__index_level_0__", re.IGNORECASE)
_MAX_NAME = 200


@dataclass(frozen=True)
class Limits:
    """How much an upload may hold."""

    rows: int
    channels: int
    values: int
    json_bytes: int
    line_bytes: int = 1 << 20


@dataclass(frozen=True)
class Columns:
    """Which column of a file is what. `counts_steps`: the time column counts rows instead of measuring time."""

    channels: list[str]
    indices: list[int]
    time: int | None = None
    time_name: str = "time"
    time_unit: str = ""
    counts_steps: bool = False


@dataclass
class Table:
    """A file that is open for reading; `blocks` may be read once, the rest is complete after that."""

    columns: Columns
    blocks: Iterator[Block]
    details: dict[str, str] = field(default_factory=dict)
    issues: list[SeriesIssue] = field(default_factory=list)
    dates: bool = False
    origin: float = 0.0
    """What the times are counted from: seconds since 1970 if they are dates, else 0."""


def resolve(header: Sequence[str] | None, n_columns: int, spec: SeriesSpec, limits: Limits) -> Columns:
    """Name the columns and find the time column; `header` is None for a file without names."""
    if n_columns > limits.channels + 1:
        raise TooManyChannels(
            f"The file has {n_columns} columns; at most {limits.channels} channels are accepted. "
            "Is it transposed? Rows are time steps, columns are channels."
        )
    names = None if header is None else [name.strip() for name in header]
    time = _find_time(names or [], n_columns, spec.time_column)
    if spec.channels is not None and time is None and len(spec.channels) == n_columns:
        names = list(spec.channels)
        time = _find_time(names, n_columns, spec.time_column)
    elif spec.channels is not None:
        names = _with_time("time" if names is None else names[time or 0], time, spec.channels, n_columns)
    if time is None and spec.time_column is not None:
        raise _no_such_column(spec.time_column, names, n_columns)
    if names is None:
        names = _with_time("time", time, [f"x{i}" for i in range(n_columns - (time is not None))], n_columns)
    return _columns(names, time)


def is_clock_name(name: str) -> bool:
    return _TIME.fullmatch(name) is not None


def _find_time(names: Sequence[str], n_columns: int, wanted: str | None) -> int | None:
    """The column that is called so or has this index; or, if none is asked for, the first that is called like a clock."""
    if wanted is not None:
        if wanted in names:
            return names.index(wanted)
        return int(wanted) if wanted.isascii() and wanted.isdigit() and int(wanted[:9]) < n_columns else None
    measured = (i for i, name in enumerate(names) if is_clock_name(name))
    counted = (i for i, name in enumerate(names) if _STEPS.fullmatch(name) and (name or i == 0))
    return next(measured, next(counted, None))


def _with_time(time_name: str, time: int | None, channels: Sequence[str], n_columns: int) -> list[str]:
    """Names of all columns: the channels, and the time column at its place."""
    names = list(channels)
    if time is not None:
        names.insert(time, time_name)
    if len(names) != n_columns:
        expected = n_columns - (time is not None)
        besides = "" if time is None else f" besides the time column {time_name!r}"
        raise InvalidParameters(
            f"channels gives {len(channels)} names, but the file has {expected} columns{besides}.",
            [ErrorItem(pointer="/channels", detail=f"must have {expected} names")],
        )
    return names


def _no_such_column(wanted: str, names: Sequence[str] | None, n_columns: int) -> InvalidParameters:
    there = f"has no names, only {n_columns} columns, counted from 0" if names is None else "has " + quoted(names)
    return InvalidParameters(
        f"There is no column {wanted!r} to take the time from: the file {there}.",
        [ErrorItem(pointer="/time_column", detail="no such column")],
    )


def quoted(names: Sequence[str]) -> str:
    """The first names, for a sentence."""
    return ", ".join(repr(name[:40]) for name in names[:20]) + (", ..." if len(names) > 20 else "")


def _columns(names: list[str], time: int | None) -> Columns:
    indices = [i for i in range(len(names)) if i != time]
    channels = [names[i] for i in indices]
    _check_names(channels, indices)
    if time is None:
        return Columns(channels, indices)
    match = _TIME.fullmatch(names[time])
    unit = (match["unit"] or match["over"] or match["suffix"] or "") if match else ""
    return Columns(
        channels=channels,
        indices=indices,
        time=time,
        time_name=names[time] or "index",
        time_unit=unit.strip() if unit.isprintable() else "",
        counts_steps=match is None and _STEPS.fullmatch(names[time]) is not None,
    )


def _check_names(channels: list[str], indices: list[int]) -> None:
    if not channels:
        raise MalformedFile("The file has a time column and nothing else: there is no channel in it.")
    for name, index in zip(channels, indices, strict=True):
        if not name:
            raise MalformedFile(
                f"Column {index} (counted from 0) has no name: name it in the header, or remove it if the lines end "
                "with a separator.",
                [ErrorItem(pointer=f"/columns/{index}", detail="has no name")],
            )
        if len(name) > _MAX_NAME or not name.isprintable():
            raise MalformedFile(
                f"The name of column {index} (counted from 0) is not printable text of at most {_MAX_NAME} characters.",
                [ErrorItem(pointer=f"/columns/{index}", detail=repr(name[:40]))],
            )
    twice = [name for name, count in Counter(channels).items() if count > 1]
    if twice:
        raise MalformedFile(
            f"Column names must differ: {', '.join(map(repr, twice[:5]))} appears more than once. "
            "Rename them in the header, or give `channels`.",
            [ErrorItem(pointer="/channels", detail=f"{name!r} appears more than once") for name in twice[:20]],
        )


def beyond_exact_integers(values: np.ndarray) -> np.ndarray:
    """Rows of (k, N) with numbers from 2^53 on, of which float64 does not hold every integer."""
    return np.flatnonzero((np.abs(values) >= 2.0**53).any(axis=1))


def rounding_issues(rounded: Places) -> list[SeriesIssue]:
    if not rounded.total:
        return []
    detail = f"{rounded.total} rows hold numbers with more digits than float64 has; they may have been rounded."
    return [rounded.issue("rounded_to_float64", "warning", detail)]

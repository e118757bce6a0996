"""What every format is read into: named columns of numbers, in blocks, so that no file is ever whole in memory."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from domain.errors import ErrorItem, InvalidParameters, MalformedFile, TooManyChannels
from domain.series import SeriesIssue, SeriesSpec
from dynamics.audit.places import Places

if TYPE_CHECKING:
    from api.series.parsing.recordings import Labels

Block = tuple[np.ndarray | None, np.ndarray]
"""Times (k,) or None, and values (k, N), both float64; NaN where a cell is empty."""

_TIME = re.compile(
    r"(?:t|(?i:times?|timestamps?|date|datetime|date_time))"  # T is a temperature
    r"(?:\s*[(\[](?P<unit>[^)\]]{1,20})[)\]]|\s*/\s*(?P<over>\w{1,20})|_(?P<suffix>ns|us|ms|s|sec|seconds|min|minutes|h|hours|d|days))?"
)
# Row counters, as pandas writes them; the empty name counts only in the first column.
_STEPS = re.compile(r"|index|steps?|unnamed: 0|__index_level_0__", re.IGNORECASE)
RECORDING = "recording"
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
    recording: int | None = None
    recording_name: str = "recording"
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
    labels: Labels | None = None
    """Which rows belong to which recording, where a column or a list says so."""


def resolve(header: Sequence[str] | None, n_columns: int, spec: SeriesSpec, limits: Limits) -> Columns:
    """Name the columns and find the time column; `header` is None for a file without names."""
    if n_columns > limits.channels + 1:
        raise TooManyChannels(
            f"The file has {n_columns} columns; at most {limits.channels} channels are accepted. "
            "Is it transposed? Rows are time steps, columns are channels."
        )
    names = None if header is None else [name.strip() for name in header]
    recording = _find_recording(names, n_columns, spec.recording_column)
    time = _find_time(names or [], n_columns, spec.time_column, recording)
    if spec.channels is not None and time is None and len(spec.channels) + (recording is not None) == n_columns:
        names = _with_others(names, {RECORDING: recording}, spec.channels, n_columns)
        time = _find_time(names, n_columns, spec.time_column, recording)
    elif spec.channels is not None:
        names = _with_others(names, {"time": time, RECORDING: recording}, spec.channels, n_columns)
    if time is None and spec.time_column is not None:
        raise _no_such_column("time", spec.time_column, names, n_columns)
    if names is None:
        numbered = [f"x{i}" for i in range(n_columns - (time is not None) - (recording is not None))]
        names = _with_others(names, {"time": time, RECORDING: recording}, numbered, n_columns)
    return _columns(names, time, recording)


def is_clock_name(name: str) -> bool:
    return _TIME.fullmatch(name) is not None


def _find_recording(names: Sequence[str] | None, n_columns: int, wanted: str | None) -> int | None:
    """The column that is called so or has this index; or, if none is asked for, the one called `recording`."""
    if wanted is None:
        return next((i for i, name in enumerate(names or []) if name == RECORDING), None)
    found = _find(names or [], n_columns, wanted)
    if found is None:
        raise _no_such_column("recording", wanted, names, n_columns)
    return found


def _find(names: Sequence[str], n_columns: int, wanted: str) -> int | None:
    if wanted in names:
        return names.index(wanted)
    return int(wanted) if wanted.isascii() and wanted.isdigit() and int(wanted[:9]) < n_columns else None


def _find_time(names: Sequence[str], n_columns: int, wanted: str | None, recording: int | None) -> int | None:
    """The column that is called so or has this index; or, if none is asked for, the first that is called like a clock."""
    if wanted is not None:
        found = _find(names, n_columns, wanted)
        if found is not None and found == recording:
            raise InvalidParameters(
                f"Column {wanted!r} cannot be both the time and the recording.", [ErrorItem(pointer="/time_column")]
            )
        return found
    measured = (i for i, name in enumerate(names) if is_clock_name(name) and i != recording)
    counted = (i for i, name in enumerate(names) if _STEPS.fullmatch(name) and (name or i == 0) and i != recording)
    return next(measured, next(counted, None))


def _with_others(
    header: Sequence[str] | None, others: dict[str, int | None], channels: Sequence[str], n_columns: int
) -> list[str]:
    """Names of all columns: the channels, and at their places those that are none, by what they are."""
    there = sorted((at, what if header is None else header[at]) for what, at in others.items() if at is not None)
    names = list(channels)
    for at, name in there:
        names.insert(at, name)
    if len(names) != n_columns:
        expected = n_columns - len(there)
        kinds = {at: what for what, at in others.items() if at is not None}
        besides = " and ".join(f"the {kinds[at]} column {name!r}" for at, name in there)
        raise InvalidParameters(
            f"channels gives {len(channels)} names, but the file has {expected} columns{besides and ' besides '}{besides}.",
            [ErrorItem(pointer="/channels", detail=f"must have {expected} names")],
        )
    return names


def _no_such_column(what: str, wanted: str, names: Sequence[str] | None, n_columns: int) -> InvalidParameters:
    there = f"has no names, only {n_columns} columns, counted from 0" if names is None else "has " + quoted(names)
    return InvalidParameters(
        f"There is no column {wanted!r} to take the {what} from: the file {there}.",
        [ErrorItem(pointer=f"/{what}_column", detail="no such column")],
    )


def quoted(names: Sequence[str]) -> str:
    """The first names, for a sentence."""
    return ", ".join(repr(name[:40]) for name in names[:20]) + (", ..." if len(names) > 20 else "")


def _columns(names: list[str], time: int | None, recording: int | None) -> Columns:
    indices = [i for i in range(len(names)) if i not in (time, recording)]
    channels = [names[i] for i in indices]
    _check_names(channels, indices)
    label = "recording" if recording is None else names[recording] or str(recording)
    if time is None:
        return Columns(channels, indices, recording=recording, recording_name=label)
    match = _TIME.fullmatch(names[time])
    unit = (match["unit"] or match["over"] or match["suffix"] or "") if match else ""
    return Columns(
        channels=channels,
        indices=indices,
        time=time,
        recording=recording,
        recording_name=label,
        time_name=names[time] or "index",
        time_unit=unit.strip() if unit.isprintable() else "",
        counts_steps=match is None and _STEPS.fullmatch(names[time]) is not None,
    )


def _check_names(channels: list[str], indices: list[int]) -> None:
    if not channels:
        raise MalformedFile("The file has a time or recording column and nothing else: there is no channel in it.")
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

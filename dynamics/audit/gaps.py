"""What is done with missing values and missing steps: refuse them, fill them, or split the series at them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from domain.errors import ErrorItem, InvalidSeries, IrregularSampling, NonFiniteValues, SeriesTooShort
from domain.series import MissingPolicy, SeriesIssue, SeriesSpec
from dynamics.audit.places import Allocate, Places, blocks, runs
from dynamics.audit.sampling import MAX_MAGNITUDE, Sampling

MIN_SEGMENT_STEPS = 2  # the shortest run that holds one step of the dynamics
MAX_SEGMENTS = 10_000
_MAX_NAMED_COLUMNS = 20


@dataclass
class Missing:
    """Where values are missing or not finite."""

    rows: np.ndarray  # bool (T,): any channel is missing here
    by_channel: list[Places]

    @property
    def total(self) -> int:
        return sum(places.total for places in self.by_channel)


@dataclass
class Treated:
    """A series after the policy: `segments` are the [start, stop) of its usable runs, `recordings` those of its recordings."""

    values: np.ndarray
    segments: list[tuple[int, int]]
    recordings: list[tuple[int, int]]
    origins: list[int]  # the uploaded row that each segment begins with
    issues: list[SeriesIssue] = field(default_factory=list)


def find_missing(values: np.ndarray, channels: Sequence[str]) -> Missing:
    """Count what is not finite; fails for numbers too large to compute with."""
    n_rows, n_channels = values.shape
    missing = Missing(np.zeros(n_rows, bool), [Places() for _ in range(n_channels)])
    huge = [Places() for _ in range(n_channels)]
    for block in blocks(n_rows, n_channels):
        part = np.asarray(values[block])
        finite = np.isfinite(part)
        missing.rows[block] = ~finite.all(axis=1)
        _add(missing.by_channel, block.start, ~finite)
        _add(huge, block.start, finite & (np.abs(part) > MAX_MAGNITUDE))
    if any(places.total for places in huge):
        items = [
            p.error_item(c, f"{p.total} values are beyond {MAX_MAGNITUDE:g}")
            for c, p in zip(channels, huge, strict=True)
            if p.total
        ]
        raise InvalidSeries(
            f"Values beyond {MAX_MAGNITUDE:g} cannot be computed with: choose another unit, or mark them as missing.",
            items[:_MAX_NAMED_COLUMNS],
        )
    return missing


def _add(places: list[Places], first_row: int, mask: np.ndarray) -> None:
    for channel in np.flatnonzero(mask.any(axis=0)):
        places[channel].add(first_row + np.flatnonzero(mask[:, channel]))


def treat(
    values: np.ndarray,
    missing: Missing,
    sampling: Sampling,
    channels: Sequence[str],
    spec: SeriesSpec,
    allocate: Allocate,
    recordings: Sequence[tuple[int, int]],
) -> Treated:
    """Apply `spec.missing`; every filled or split place is named in `issues`.

    `recordings`: the rows [start, stop) of each, end to end. Nothing is filled across their borders, no segment crosses one.
    """
    if not missing.total and not len(sampling.gap_rows):
        return _treated(values, list(recordings), recordings, list(recordings))
    if spec.missing is MissingPolicy.REJECT:
        raise _rejection(values, missing, sampling, channels)
    if spec.missing is MissingPolicy.SPLIT:
        return _split(values, missing, sampling, channels, allocate, recordings)
    return _interpolate(values, missing, sampling, channels, spec.max_gap, allocate, recordings)


def _treated(
    values: np.ndarray,
    segments: Sequence[tuple[int, int]],
    uploaded: Sequence[tuple[int, int]],
    recordings: list[tuple[int, int]],
    issues: Sequence[SeriesIssue] = (),
) -> Treated:
    """Without the segments that hold no step; `uploaded` are their rows before anything was inserted."""
    long = [i for i, (start, stop) in enumerate(segments) if stop - start >= MIN_SEGMENT_STEPS]
    if not long:
        raise SeriesTooShort(f"No recording has {MIN_SEGMENT_STEPS} consecutive rows, the least that holds one step.")
    return Treated(values, [segments[i] for i in long], recordings, [uploaded[i][0] for i in long], list(issues))


def _rejection(values: np.ndarray, missing: Missing, sampling: Sampling, channels: Sequence[str]) -> NonFiniteValues:
    said, items = [], []
    if missing.total:
        said.append(f"{missing.total} of {values.size} values are missing or not finite ({_counts(missing, channels)})")
        items += _missing_items(missing, channels)
    if len(sampling.gap_rows):
        said.append(_gap_sentence(sampling))
        items.append(_places(sampling.gap_rows).error_item(sampling.column, said[-1]))
    return NonFiniteValues(
        f"{'; '.join(said)}. Complete the series, or choose missing=interpolate (fills up to max_gap steps) or "
        "missing=split (cuts the series there).",
        items,
    )


def _counts(missing: Missing, channels: Sequence[str]) -> str:
    counts = [f"{c!r}: {p.total}" for c, p in zip(channels, missing.by_channel, strict=True) if p.total]
    return ", ".join(counts[:5]) + (f" and {len(counts) - 5} more channels" if len(counts) > 5 else "")


def _missing_items(missing: Missing, channels: Sequence[str]) -> list[ErrorItem]:
    return [
        p.error_item(c, f"{p.total} values are missing or not finite")
        for c, p in zip(channels, missing.by_channel, strict=True)
        if p.total
    ][:_MAX_NAMED_COLUMNS]


def _gap_sentence(sampling: Sampling) -> str:
    return (
        f"{int(sampling.missing_steps.sum())} steps are missing in the time column {sampling.column!r}, "
        f"before {len(sampling.gap_rows)} rows"
    )


def _places(rows: np.ndarray) -> Places:
    places = Places()
    places.add(rows)
    return places


def _split(
    values: np.ndarray,
    missing: Missing,
    sampling: Sampling,
    channels: Sequence[str],
    allocate: Allocate,
    recordings: Sequence[tuple[int, int]],
) -> Treated:
    # A run ends where values are missing, where the clock jumps, and with its recording.
    borders = np.array([start for start, _ in recordings])
    starts, stops = _cut(*runs(~missing.rows), np.union1d(sampling.gap_rows, borders))
    long_enough = stops - starts >= MIN_SEGMENT_STEPS
    if long_enough.sum() > MAX_SEGMENTS:
        raise NonFiniteValues(
            f"Splitting would leave {long_enough.sum()} pieces, more than {MAX_SEGMENTS}: so often interrupted a series "
            "cannot be learned from. Choose missing=interpolate, or upload a cleaner part.",
            _missing_items(missing, channels),
        )
    if not long_enough.any():
        raise SeriesTooShort(
            f"After splitting at missing values no {MIN_SEGMENT_STEPS} consecutive rows are left: choose "
            "missing=interpolate, or leave out the channels that are mostly missing.",
            _missing_items(missing, channels),
        )
    issues = _split_issues(missing, sampling, channels, starts[~long_enough])
    if missing.total:
        values = _with_nan(values, allocate)
    segments = list(zip(starts[long_enough].tolist(), stops[long_enough].tolist(), strict=True))
    return _treated(values, segments, segments, list(recordings), issues)


def _split_issues(
    missing: Missing, sampling: Sampling, channels: Sequence[str], isolated: np.ndarray
) -> list[SeriesIssue]:
    issues = []
    if missing.total:
        places = _places(np.flatnonzero(missing.rows))
        detail = f"The series is split at {places.total} rows with missing values ({_counts(missing, channels)})."
        issues.append(places.issue("split_at_missing", "warning", detail))
    if len(sampling.gap_rows):
        detail = f"The series is split at gaps in time: {_gap_sentence(sampling)}."
        issues.append(_places(sampling.gap_rows).issue("split_at_gap", "warning", detail, sampling.column))
    if len(isolated):
        detail = f"{len(isolated)} rows stand alone between gaps and belong to no segment."
        issues.append(_places(isolated).issue("isolated_rows", "info", detail))
    return issues


def _cut(starts: np.ndarray, stops: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The runs [starts, stops), cut once more before each row of `at` that lies inside one."""
    run = np.searchsorted(starts, at, side="right") - 1
    inside = (run >= 0) & (at > starts[run]) & (at < stops[run]) if len(starts) else np.zeros(len(at), bool)
    return np.sort(np.concatenate([starts, at[inside]])), np.sort(np.concatenate([stops, at[inside]]))


def _with_nan(values: np.ndarray, allocate: Allocate) -> np.ndarray:
    """A copy in which everything that is not finite is the same NaN."""
    result = allocate(values.shape)
    for block in blocks(*values.shape):
        part = np.asarray(values[block])
        result[block] = np.where(np.isfinite(part), part, np.nan)
    return result


def _interpolate(
    values: np.ndarray,
    missing: Missing,
    sampling: Sampling,
    channels: Sequence[str],
    max_gap: int,
    allocate: Allocate,
    recordings: Sequence[tuple[int, int]],
) -> Treated:
    _check_fillable_steps(sampling, len(values), max_gap)
    row_of = _new_rows(len(values), sampling)
    filled = allocate((int(row_of[-1]) + 1, values.shape[1]))
    inserted = np.ones(len(filled), bool)
    inserted[row_of] = False
    filled[np.flatnonzero(inserted)] = np.nan
    for block in blocks(*values.shape):
        filled[row_of[block]] = np.asarray(values[block])
    stretched = [(int(row_of[start]), int(row_of[stop - 1]) + 1) for start, stop in recordings]
    for index, channel in enumerate(channels):
        for start, stop in stretched:
            # One column at a time: that much memory is bounded by the number of rows.
            filled[start:stop, index] = _fill(np.array(filled[start:stop, index]), channel, max_gap, row_of, start)
    issues = _fill_issues(missing, channels, sampling, row_of, inserted)
    return _treated(filled, stretched, recordings, stretched, issues)


def _check_fillable_steps(sampling: Sampling, n_rows: int, max_gap: int) -> None:
    off = _places(sampling.gap_rows[sampling.off_grid])
    if off.total:
        detail = f"{off.total} gaps are no whole number of steps of dt = {sampling.dt:.6g}"
        raise IrregularSampling(
            f"{detail}: they cannot be filled. Choose missing=split, or resample the series.",
            [off.error_item(sampling.column, detail)],
        )
    long = _places(sampling.gap_rows[sampling.missing_steps > max_gap])
    if long.total:
        longest = int(sampling.missing_steps.max())
        raise NonFiniteValues(
            f"{long.total} gaps in time are longer than max_gap = {max_gap} steps (the longest: {longest}). "
            "Choose missing=split, or a larger max_gap.",
            [long.error_item(sampling.column, f"gaps longer than {max_gap} steps")],
        )
    if sampling.missing_steps.sum() > n_rows:
        raise NonFiniteValues(
            f"{_gap_sentence(sampling)}: more would be invented than was measured ({n_rows} rows). "
            "Choose missing=split.",
            [_places(sampling.gap_rows).error_item(sampling.column, "gaps in time")],
        )


def _new_rows(n_rows: int, sampling: Sampling) -> np.ndarray:
    """The row that each uploaded row has once the missing steps are inserted."""
    shift = np.zeros(n_rows, np.int64)
    shift[sampling.gap_rows] = sampling.missing_steps
    return np.arange(n_rows) + np.cumsum(shift)


def _fill(column: np.ndarray, channel: str, max_gap: int, row_of: np.ndarray, first: int) -> np.ndarray:
    """Straight lines between the known neighbours of each run of missing values; known values stay as they are.

    `column` begins with row `first` of the stored series.
    """
    known = np.isfinite(column)
    if known.all():
        return column
    starts, stops = runs(~known)
    at_end = (starts == 0) | (stops == len(column))
    too_long = stops - starts > max_gap
    if (at_end | too_long).any():
        places = _places(np.searchsorted(row_of, first + starts[at_end | too_long]))
        what = (
            "the channel begins or ends with missing values, which have no neighbour on one side"
            if at_end.any()
            else f"gaps longer than max_gap = {max_gap} steps (the longest: {(stops - starts).max()})"
        )
        raise NonFiniteValues(
            f"Channel {channel!r} cannot be interpolated: {what}. Choose missing=split, or "
            + ("cut the series there." if at_end.any() else "a larger max_gap."),
            [places.error_item(channel, what)],
        )
    rows = np.arange(len(column))
    column[~known] = np.interp(rows[~known], rows[known], column[known])
    return column


def _fill_issues(
    missing: Missing,
    channels: Sequence[str],
    sampling: Sampling,
    row_of: np.ndarray,
    inserted: np.ndarray,
) -> list[SeriesIssue]:
    """Rows are rows of the stored series."""
    issues = []
    for channel, places in zip(channels, missing.by_channel, strict=True):
        if places.total:
            moved = Places(row_of[places.rows].tolist(), places.total)
            detail = f"{places.total} missing values of {channel!r} were filled by linear interpolation."
            issues.append(moved.issue("interpolated_values", "warning", detail, channel))
    if inserted.any():
        places = _places(np.flatnonzero(inserted))
        detail = f"{_gap_sentence(sampling)}; these rows were inserted by linear interpolation."
        issues.append(places.issue("interpolated_steps", "warning", detail, sampling.column))
    return issues

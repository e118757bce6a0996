"""What a time column says: the sampling interval, and where steps are missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from domain.errors import (
    DuplicateTimes,
    ErrorItem,
    InvalidParameters,
    InvalidSeries,
    IrregularSampling,
    NonFiniteValues,
    UnorderedTimes,
)
from dynamics.audit.places import Places, blocks

STEP_TOLERANCE = 0.01  # of dt: how far one step may be off
DT_TOLERANCE = 1e-3  # relative: a wrong dt scales every exponent by the same factor
GAP_STEPS = 1.5  # a step longer than this many dt is a gap, a shorter one is irregular
MAX_MAGNITUDE = 1e100  # squares and sums of anything smaller stay finite
_SAMPLED_STEPS = 100_001


@dataclass(frozen=True)
class Sampling:
    """The clock of a series, read from `column`; before row `gap_rows[i]`, `missing_steps[i]` steps are missing."""

    column: str
    dt: float
    gap_rows: np.ndarray
    missing_steps: np.ndarray
    off_grid: np.ndarray  # the gap is no whole number of steps


def even_sampling(dt: float, column: str) -> Sampling:
    """The clock of a series that came without times."""
    none = np.zeros(0, np.int64)
    return Sampling(column, dt, none, none, none.astype(bool))


def read_sampling(times: np.ndarray, dt: float | None, column: str) -> Sampling:
    """The clock behind a time column; `dt` as the caller gave it, or None.

    The interval is the mean of the regular steps, rounded to the shortest decimal number that explains the times
    within their floating-point rounding: 0.01 stays 0.01. Fails with the rows for times that are missing, unordered,
    repeated or uneven, and for a `dt` that contradicts them.
    """
    _check_finite(times, column)
    _check_increasing(times, column)
    typical = _typical_step(times)
    regular, gap_rows, gap_lengths = _classify(times, typical, column)
    measured = (times[-1] - times[0] - gap_lengths.sum()) / regular if regular else typical
    if dt is None:
        dt = _shortest_decimal(measured, regular, times)
    elif abs(dt - measured) > max(DT_TOLERANCE, STEP_TOLERANCE / len(times)) * measured:
        raise InvalidParameters(
            f"dt = {dt:g} contradicts the time column {column!r}, whose steps are {measured:.6g}: "
            "leave dt away, or correct the times.",
            [ErrorItem(pointer="/dt", detail=f"the time column says {measured:.6g}")],
        )
    steps = np.rint(gap_lengths / dt)
    off_grid = np.abs(gap_lengths - steps * dt) > STEP_TOLERANCE * dt + _rounding(times)
    return Sampling(column, dt, gap_rows, steps.astype(np.int64) - 1, off_grid)


def _check_finite(times: np.ndarray, column: str) -> None:
    missing, huge = Places(), Places()
    for block in blocks(len(times)):
        part = np.asarray(times[block])
        missing.add(block.start + np.flatnonzero(~np.isfinite(part)))
        huge.add(block.start + np.flatnonzero(np.isfinite(part) & (np.abs(part) > MAX_MAGNITUDE)))
    if missing.total:
        detail = f"{missing.total} of {len(times)} times are missing or not finite."
        raise NonFiniteValues(
            f"{detail} Every row needs a time: remove those rows, or leave the time column out and give dt.",
            [missing.error_item(column, detail)],
        )
    if huge.total:
        detail = f"{huge.total} times are beyond {MAX_MAGNITUDE:g}."
        raise InvalidSeries(f"{detail} Choose another unit of time.", [huge.error_item(column, detail)])


def _count(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}."


def _check_increasing(times: np.ndarray, column: str) -> None:
    duplicate, unordered = Places(), Places()
    for start, steps in _steps(times):
        duplicate.add(start + np.flatnonzero(steps == 0))
        unordered.add(start + np.flatnonzero(steps < 0))
    if unordered.total:
        detail = _count(
            unordered.total, "row is earlier than the row before it", "rows are earlier than the row before them"
        )
        raise UnorderedTimes(
            f"{detail} Sort the rows by {column!r}; if the file holds several recordings one after another, "
            "upload each by itself.",
            [unordered.error_item(column, detail)],
        )
    if duplicate.total:
        detail = _count(
            duplicate.total, "row has the time of the row before it", "rows have the time of the row before them"
        )
        raise DuplicateTimes(
            f"{detail} Keep one row for each time, or print the times with more digits.",
            [duplicate.error_item(column, detail)],
        )


def _steps(times: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(row, times[row:] - times[row-1:]) block by block: step i of a block ends at row + i."""
    for block in blocks(len(times) - 1):
        yield block.start + 1, np.diff(np.asarray(times[block.start : block.stop + 1]))


def _typical_step(times: np.ndarray) -> float:
    """Median step; of at most 100,001 steps spread evenly over the series."""
    last = len(times) - 2
    at = np.unique(np.linspace(0, last, min(last + 1, _SAMPLED_STEPS)).astype(np.int64))
    return float(np.median(times[at + 1] - times[at]))


def _classify(times: np.ndarray, typical: float, column: str) -> tuple[int, np.ndarray, np.ndarray]:
    """How many steps are regular, and the rows and lengths of the gaps."""
    slack = STEP_TOLERANCE * typical + _rounding(times)
    irregular, regular, rows, lengths = Places(), 0, [], []
    for start, steps in _steps(times):
        fits = np.abs(steps - typical) <= slack
        gap = ~fits & (steps > GAP_STEPS * typical)
        regular += int(fits.sum())
        irregular.add(start + np.flatnonzero(~fits & ~gap))
        rows.append(start + np.flatnonzero(gap))
        lengths.append(steps[gap])
    if irregular.total:
        detail = f"{irregular.total} of {len(times) - 1} steps differ from dt = {typical:.6g} by more than 1 %."
        raise IrregularSampling(
            f"{detail} Resample the series onto an even grid; if only the printed times are rounded, leave the time "
            "column out and give dt.",
            [irregular.error_item(column, detail)],
        )
    return regular, np.concatenate(rows), np.concatenate(lengths)


def _rounding(times: np.ndarray) -> float:
    """How far a difference of two of these times may be off because they are float64."""
    return 2 * float(np.spacing(max(abs(float(times[0])), abs(float(times[-1])))))


def _shortest_decimal(dt: float, n_steps: int, times: np.ndarray) -> float:
    slack = 4 * _rounding(times)
    candidates = (float(f"{dt:.{digits}g}") for digits in range(1, 18))
    return next((c for c in candidates if abs(c - dt) * n_steps <= slack), dt)

"""Recordings of a collection: each has its own clock, nothing crosses from one to the next, and errors say which it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from domain.errors import ErrorItem, InvalidParameters, InvalidSeries, IrregularSampling
from domain.series import SeriesIssue
from dynamics.audit.places import Places
from dynamics.audit.sampling import Sampling, even_sampling, read_sampling

_MAX_ITEMS = 40
_MAX_NAMES = 20


@dataclass(frozen=True)
class RecordingRows:
    """Rows [start, stop) of a table that are one recording; its times are counted from `origin`.

    `own_rows`: it came as a file or list of its own, so that errors count its rows from 0.
    """

    name: str
    start: int
    stop: int
    origin: float = 0.0
    own_rows: bool = True

    @property
    def n_rows(self) -> int:
        return self.stop - self.start


def read_clocks(times: np.ndarray, dt: float | None, column: str, recordings: Sequence[RecordingRows]) -> Sampling:
    """The one clock that all recordings share, each read from its own times; rows are those of the whole table.

    Fails with IrregularSampling for recordings of unequal intervals, and as `read_sampling` does.
    """
    long = [r for r in recordings if r.n_rows > 1]
    if not long:
        return even_sampling(dt or 1.0, column)
    reference = max(long, key=lambda r: r.n_rows)
    common = _read(times, dt, column, reference).dt if dt is None else dt
    found = []
    for recording in long:
        try:
            found.append((recording, _read(times, common, column, recording)))
        except InvalidParameters as error:
            if dt is not None:
                raise InvalidParameters(f"Recording {recording.name!r}: {error.detail}", error.errors) from error
            steps = float(np.median(np.diff(np.asarray(times[recording.start : recording.stop]))))
            detail = f"Its steps are {steps:.6g}, those of recording {reference.name!r} {common:.6g}."
            raise IrregularSampling(
                f"{detail} All recordings of one series must have the same interval: resample them, or upload them "
                "as several series.",
                [_at(recording, column, detail)],
            ) from error
    rows = np.concatenate([s.gap_rows + r.start for r, s in found])
    missing = np.concatenate([s.missing_steps for _, s in found])
    return Sampling(column, common, rows, missing, np.concatenate([s.off_grid for _, s in found]))


def _at(recording: RecordingRows, column: str, detail: str) -> ErrorItem:
    places = Places()
    places.add(np.array([recording.start]))
    return places.error_item(column, detail)


def _read(times: np.ndarray, dt: float | None, column: str, recording: RecordingRows) -> Sampling:
    try:
        return read_sampling(times[recording.start : recording.stop], dt, column)
    except InvalidSeries as error:
        for item in error.errors:
            item.rows = None if item.rows is None else [row + recording.start for row in item.rows]
        raise


@contextmanager
def named(recordings: Sequence[RecordingRows]) -> Iterator[None]:
    """Errors inside, whose rows are those of the whole table, name the recording and count rows as the uploader does."""
    try:
        yield
    except InvalidSeries as error:
        if not recordings:
            raise
        items = [part for item in error.errors for part in _by_recording(item, recordings)][:_MAX_ITEMS]
        first = next((item for item in items if item.rows), None)
        where = "" if first is None or not first.rows else f"Recording {first.recording!r}, row {first.rows[0]}: "
        raise type(error)(where + error.detail, items) from error


def _by_recording(item: ErrorItem, recordings: Sequence[RecordingRows]) -> list[ErrorItem]:
    if not item.rows:
        return [item]
    starts = [r.start for r in recordings]
    groups: dict[int, list[int]] = {}
    for row in item.rows:
        groups.setdefault(int(np.searchsorted(starts, row, side="right")) - 1, []).append(row)
    return [
        item.model_copy(
            update={
                "recording": recordings[i].name,
                "rows": [row - recordings[i].start * recordings[i].own_rows for row in rows],
            }
        )
        for i, rows in groups.items()
    ]


def short_recordings(recordings: Sequence[RecordingRows], least: int) -> list[SeriesIssue]:
    """A warning that names the recordings of fewer than `least` rows, which nothing can be learned from."""
    short = [r for r in recordings if r.n_rows < least]
    if not short:
        return []
    names = ", ".join(repr(r.name) for r in short[:_MAX_NAMES]) + (", ..." if len(short) > _MAX_NAMES else "")
    places = Places()
    places.add(np.array([r.start for r in short]))
    few = f"{len(short)} of {len(recordings)} recordings have fewer than {least} rows and are not used: {names}."
    return [places.issue("short_recordings", "warning", few)]

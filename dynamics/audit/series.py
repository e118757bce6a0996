"""The audit of a series: nothing is changed that the caller did not ask for, and all that is found is said."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from domain.errors import ErrorItem, InvalidParameters, SeriesTooShort
from domain.series import Recording, Segment, SeriesIssue, SeriesProfile, SeriesSpec
from dynamics.audit.gaps import MIN_SEGMENT_STEPS, find_missing, treat
from dynamics.audit.places import Allocate, Places
from dynamics.audit.recordings import RecordingRows, named, read_clocks, short_recordings
from dynamics.audit.sampling import MAX_MAGNITUDE, even_sampling
from dynamics.audit.statistics import channel_profiles, check_variation, find_outliers, find_quantised, moments

FEW_STEPS = 500


@dataclass(frozen=True)
class AuditedSeries:
    """A series fit to be stored: `values` float64 (T, N), NaN only outside the segments of its profile."""

    values: np.ndarray
    dt: float
    time_unit: str
    time_start: float
    profile: SeriesProfile


def audit(
    values: np.ndarray,
    times: np.ndarray | None,
    channels: Sequence[str],
    spec: SeriesSpec,
    *,
    time_column: str = "time",
    time_origin: float = 0.0,
    allocate: Allocate = np.empty,
    recordings: Sequence[RecordingRows] = (),
) -> AuditedSeries:
    """Check a series and apply its policy for missing values.

    `values` float64 (T, N), NaN where missing; `times` float64 (T,) or None, counted from `time_origin`; both may be
    memory maps and are read in blocks, never written. `recordings` are those of a collection, end to end, each with a clock
    of its own; errors name the one they are in. The result holds `values` itself, or a new array from
    `allocate` if rows were filled. Two consecutive rows are the least that can be stored: one step of the dynamics
    (analyses need more and say so). Fails with the `InvalidSeries` that names rows and columns.
    """
    if len(values) < MIN_SEGMENT_STEPS:
        raise SeriesTooShort(f"The series has {_plural(len(values), 'row')}; at least {MIN_SEGMENT_STEPS} are needed.")
    dt = _checked(spec.dt)
    parts = recordings or [RecordingRows("", 0, len(values), time_origin)]
    with named(recordings):
        sampling = (
            even_sampling(dt or 1.0, time_column) if times is None else read_clocks(times, dt, time_column, parts)
        )
        missing = find_missing(values, channels)
        treated = treat(values, missing, sampling, channels, spec, allocate, [(r.start, r.stop) for r in parts])
    clock = _Clock(parts, times, sampling.dt)
    segments = [
        Segment(start=start, stop=stop, time_start=clock.at(row))
        for (start, stop), row in zip(treated.segments, treated.origins, strict=True)
    ]
    profile = _profile(
        treated.values,
        channels,
        [places.total for places in missing.by_channel],
        sampling.dt,
        segments,
        _remarks(times, spec, segments) + short_recordings(recordings, MIN_SEGMENT_STEPS) + treated.issues,
    )
    if recordings:
        profile.recordings = [
            Recording(name=r.name, start=start, stop=stop, time_start=clock.at(r.start))
            for r, (start, stop) in zip(recordings, treated.recordings, strict=True)
        ]
        profile.duration = (profile.n_steps - len(recordings)) * sampling.dt
    return AuditedSeries(
        values=treated.values,
        dt=sampling.dt,
        time_unit=spec.time_unit or ("step" if times is None and spec.dt is None else ""),
        time_start=clock.at(0),
        profile=profile,
    )


class _Clock:
    """Times of uploaded rows: those of the time column, or counted from the first row of each recording."""

    def __init__(self, recordings: Sequence[RecordingRows], times: np.ndarray | None, dt: float) -> None:
        self._recordings, self._times, self._dt = recordings, times, dt
        self._starts = [r.start for r in recordings]

    def at(self, row: int) -> float:
        recording = self._recordings[bisect_right(self._starts, row) - 1]
        since = (row - recording.start) * self._dt if self._times is None else float(self._times[row])
        return recording.origin + since


def _checked(dt: float | None) -> float | None:
    if dt is not None and not 1 / MAX_MAGNITUDE <= dt <= MAX_MAGNITUDE:
        raise InvalidParameters(
            f"dt = {dt:g} cannot be computed with: choose another unit of time.", [ErrorItem(pointer="/dt")]
        )
    return dt


def _remarks(times: np.ndarray | None, spec: SeriesSpec, segments: Sequence[Segment]) -> list[SeriesIssue]:
    issues = []
    if times is None and spec.dt is None:
        detail = "Neither dt nor a time column was given: one step is the unit of time, and rates are per step."
        issues.append(Places().issue("dt_assumed", "info", detail))
    elif not spec.time_unit:
        detail = "No unit of time was given: times and rates are in the unnamed unit of dt. Upload with time_unit to name it."
        issues.append(Places().issue("time_unit_unknown", "info", detail))
    usable = sum(s.stop - s.start for s in segments)
    if usable < FEW_STEPS:
        detail = f"{usable} usable steps are few: most estimates want at least {FEW_STEPS}."
        issues.append(Places().issue("few_steps", "warning", detail))
    return issues


def _profile(
    values: np.ndarray,
    channels: Sequence[str],
    n_missing: Sequence[int],
    dt: float,
    segments: list[Segment],
    issues: list[SeriesIssue],
) -> SeriesProfile:
    found = moments(values)
    profiles = channel_profiles(found, channels, n_missing)
    issues = issues + check_variation(profiles)
    issues += find_outliers(values, found, channels) + find_quantised(found, profiles)
    return SeriesProfile(
        n_steps=len(values),
        n_channels=len(channels),
        n_usable_steps=sum(s.stop - s.start for s in segments),
        duration=(len(values) - 1) * dt,
        channels=profiles,
        segments=segments,
        issues=issues,
    )


def _plural(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"

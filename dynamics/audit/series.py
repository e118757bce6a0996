"""The audit of a series: nothing is changed that the caller did not ask for, and all that is found is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from domain.errors import ErrorItem, InvalidParameters, SeriesTooShort
from domain.series import Segment, SeriesIssue, SeriesProfile, SeriesSpec
from dynamics.audit.gaps import MIN_SEGMENT_STEPS, find_missing, treat
from dynamics.audit.places import Allocate, Places
from dynamics.audit.sampling import MAX_MAGNITUDE, even_sampling, read_sampling
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
) -> AuditedSeries:
    """Check a series and apply its policy for missing values.

    `values` float64 (T, N), NaN where missing; `times` float64 (T,) or None, counted from `time_origin`; both may be
    memory maps and are read in blocks, never written. The result holds `values` itself, or a new array from
    `allocate` if rows were filled. Two consecutive rows are the least that can be stored: one step of the dynamics
    (analyses need more and say so). Fails with the `InvalidSeries` that names rows and columns.
    """
    if len(values) < MIN_SEGMENT_STEPS:
        raise SeriesTooShort(f"The series has {_plural(len(values), 'row')}; at least {MIN_SEGMENT_STEPS} are needed.")
    dt = _checked(spec.dt)
    sampling = even_sampling(dt or 1.0, time_column) if times is None else read_sampling(times, dt, time_column)
    missing = find_missing(values, channels)
    treated = treat(values, missing, sampling, channels, spec, allocate)
    # An interpolated series has one segment, which begins at row 0 of either.
    starts = [start * sampling.dt if times is None else float(times[start]) for start, _ in treated.segments]
    segments = [
        Segment(start=start, stop=stop, time_start=time_origin + time)
        for (start, stop), time in zip(treated.segments, starts, strict=True)
    ]
    return AuditedSeries(
        values=treated.values,
        dt=sampling.dt,
        time_unit=spec.time_unit or ("step" if times is None and spec.dt is None else ""),
        time_start=time_origin + (0.0 if times is None else float(times[0])),
        profile=_profile(
            treated.values,
            channels,
            [places.total for places in missing.by_channel],
            sampling.dt,
            segments,
            _remarks(times, spec, segments) + treated.issues,
        ),
    )


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

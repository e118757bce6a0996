"""Per-channel statistics in blocks, and what they reveal: channels that do not vary, outliers, quantisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from domain.errors import ConstantSeries, ErrorItem, column_pointer
from domain.series import ChannelProfile, SeriesIssue
from dynamics.audit.places import Places, blocks

MAX_UNIQUE = 1000
OUTLIER_STDS = 10.0
FEW_LEVELS = 64
NEARLY_CONSTANT = 1e-10


@dataclass
class Moments:
    """Count, mean, sum of squared deviations, extremes and distinct values of each channel; NaN is left out."""

    count: np.ndarray
    mean: np.ndarray
    squares: np.ndarray
    minimum: np.ndarray
    maximum: np.ndarray
    unique: list[np.ndarray]

    @property
    def std(self) -> np.ndarray:
        return np.sqrt(self.squares / self.count)


def moments(values: np.ndarray) -> Moments:
    """Statistics of (T, N) values in one pass, blocks merged as in Chan, Golub and LeVeque (1983), eq. 2.1.

    Every channel must hold at least one finite value, and none beyond 1e100.
    """
    n = values.shape[1]
    m = Moments(
        np.zeros(n, np.int64), np.zeros(n), np.zeros(n), np.full(n, np.inf), np.full(n, -np.inf), [np.zeros(0)] * n
    )
    for block in blocks(*values.shape):
        part = np.asarray(values[block])
        finite = np.isfinite(part)
        count = finite.sum(axis=0)
        mean = np.where(finite, part, 0.0).sum(axis=0) / np.maximum(count, 1)
        squares = (np.where(finite, part - mean, 0.0) ** 2).sum(axis=0)
        total = np.maximum(m.count + count, 1)
        delta = mean - m.mean
        m.mean += delta * count / total
        m.squares += squares + delta**2 * (m.count * count / total)
        m.count += count
        m.minimum = np.minimum(m.minimum, np.where(finite, part, np.inf).min(axis=0))
        m.maximum = np.maximum(m.maximum, np.where(finite, part, -np.inf).max(axis=0))
        for channel in range(n):
            if len(m.unique[channel]) < MAX_UNIQUE:
                new = part[finite[:, channel], channel]
                m.unique[channel] = np.unique(np.concatenate([m.unique[channel], new]))[:MAX_UNIQUE]
    return m


def channel_profiles(m: Moments, channels: Sequence[str], n_missing: Sequence[int]) -> list[ChannelProfile]:
    return [
        ChannelProfile(
            name=name,
            minimum=m.minimum[i],
            maximum=m.maximum[i],
            # The rounding of a mean must not put it outside the extremes.
            mean=float(np.clip(m.mean[i], m.minimum[i], m.maximum[i])),
            std=0.0 if m.minimum[i] == m.maximum[i] else float(m.std[i]),
            n_missing=n_missing[i],
            n_unique=len(m.unique[i]),
        )
        for i, name in enumerate(channels)
    ]


def check_variation(profiles: Sequence[ChannelProfile]) -> list[SeriesIssue]:
    """Warnings for channels that do not vary; fails when none does."""
    constant = [p for p in profiles if p.minimum == p.maximum]
    if len(constant) == len(profiles):
        which = f"channel {profiles[0].name!r} is" if len(profiles) == 1 else f"all {len(profiles)} channels are"
        raise ConstantSeries(
            f"The series does not vary: {which} constant. There are no dynamics in it to analyse or to learn.",
            [ErrorItem(pointer=column_pointer(p.name), detail=f"always {p.minimum:g}") for p in constant[:20]],
        )
    issues = [
        Places().issue(
            "constant_channel",
            "warning",
            f"Channel {p.name!r} is always {p.minimum:g}: leave it out of analyses.",
            p.name,
        )
        for p in constant
    ]
    for p in profiles:
        largest = max(abs(p.minimum), abs(p.maximum))
        if 0 < p.maximum - p.minimum <= NEARLY_CONSTANT * largest:
            detail = f"Channel {p.name!r} varies by less than {NEARLY_CONSTANT:g} of its size: mostly rounding is left."
            issues.append(Places().issue("nearly_constant_channel", "warning", detail, p.name))
    return issues


def find_outliers(values: np.ndarray, m: Moments, channels: Sequence[str]) -> list[SeriesIssue]:
    """Values further than 10 standard deviations from the mean: spikes of the recording more often than dynamics."""
    places = [Places() for _ in channels]
    reach = OUTLIER_STDS * m.std
    if not (np.maximum(m.maximum - m.mean, m.mean - m.minimum) > reach).any():
        return []
    for block in blocks(*values.shape):
        far = np.abs(np.asarray(values[block]) - m.mean) > reach
        for channel in np.flatnonzero(far.any(axis=0)):
            places[channel].add(block.start + np.flatnonzero(far[:, channel]))
    return [
        p.issue(
            "outliers",
            "warning",
            f"{p.total} values of {c!r} are further than 10 standard deviations from its mean.",
            c,
        )
        for c, p, s in zip(channels, places, m.squares, strict=True)
        if p.total and s > 0
    ]


def find_quantised(m: Moments, profiles: Sequence[ChannelProfile]) -> list[SeriesIssue]:
    """Channels with few distinct values: coarse digitisation breaks neighbour searches and slopes."""
    return [
        Places().issue(
            "few_levels",
            "info",
            f"Channel {p.name!r} takes only {p.n_unique} distinct values in {count} rows: quantised, or exactly periodic.",
            p.name,
        )
        for p, count in zip(profiles, m.count.tolist(), strict=True)
        if 1 < p.n_unique <= FEW_LEVELS and p.n_unique * 10 < count
    ]

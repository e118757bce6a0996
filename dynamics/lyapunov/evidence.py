"""Tests on the series itself that speak for or against chaos, independent of the fitted model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.spatial import cKDTree

MAX_CORRELATION_ROWS = 131_072
MIN_ZERO_ONE_ROWS = 100
MIXING_STATES = 1000


def _growth_correlations(x: np.ndarray, frequencies: np.ndarray, n_cut: int, damping: float) -> np.ndarray:
    """Correlation with time of the damped mean-square displacement, for every frequency."""
    phase = np.outer(frequencies, np.arange(1, len(x) + 1))
    walk = np.cumsum(x * np.exp(1j * phase), axis=1)
    kept = len(x) - n_cut
    lags = np.arange(1, n_cut + 1)
    moved = np.array([np.mean(np.abs(walk[:, lag : lag + kept] - walk[:, :kept]) ** 2, axis=1) for lag in lags]).T
    mean = float(x.mean())
    wave = (1.0 - np.cos(np.outer(frequencies, lags))) / (1.0 - np.cos(frequencies))[:, None]
    d = moved - mean**2 * wave + damping * mean**2 * np.sin(np.sqrt(2.0) * lags)
    d -= d.mean(axis=1, keepdims=True)
    time = lags - lags.mean()
    scale = np.sqrt(np.sum(d**2, axis=1) * np.sum(time**2))
    return np.asarray(np.where(scale > 0.0, d @ time / np.where(scale > 0.0, scale, 1.0), 0.0))


def zero_one_test(x: np.ndarray, rng: np.random.Generator, max_rows: int = 1500, n_frequencies: int = 40) -> float:
    """K of the 0-1 test for chaos of a scalar series: near 1 for chaos (and noise), near 0 for regular motion.

    Median over random frequencies c of the correlation of mean-square displacement with time
    (Gottwald & Melbourne 2009, eq. 2.3, 2.7 and 3.1; damped as in Dawes & Freeland 2008). Fails for oversampled
    series (K -> 0), which must be thinned first, and cannot tell chaos from noise. NaN for fewer than 100 rows.
    """
    if len(x) < MIN_ZERO_ONE_ROWS:
        return float("nan")
    x = np.ascontiguousarray(x[:max_rows] - np.mean(x[:max_rows])) / max(float(np.std(x[:max_rows])), 1e-300)
    frequencies = rng.uniform(np.pi / 5, 4 * np.pi / 5, n_frequencies)
    return float(np.median(_growth_correlations(x, frequencies, len(x) // 10, 0.5)))


@dataclass(frozen=True)
class Recurrence:
    """Smallest mean squared return distances, over twice the variance, of the worst channel."""

    long: float  # over lags from ten periods to half the longest segment
    long_lag: int
    short: float  # over lags from half a period to eight periods


def recurrence(segments: list[np.ndarray], period_steps: float) -> Recurrence:
    """How closely the series repeats itself: min over lags of mean |x_(t+lag) - x_t|^2 / (2 variance).

    At long lags: 0 (plus the noise share) for periodic and quasi-periodic motion, of order 1 where correlations decay.
    At short lags it is near 0 for a cycle of few turns only, not for a torus. Segments are pooled, each counting at the lags
    up to half of it: one short stretch of chaos may well nearly repeat itself, many do not.
    """
    chosen = _longest(segments, MAX_CORRELATION_ROWS)
    pooled = np.concatenate(chosen)
    mean, variance = pooled.mean(axis=0), pooled.var(axis=0)
    varies = variance > 1e-18
    n = len(chosen[0])
    first = int(min(max(10 * period_steps, 8), n // 4))
    if not varies.any():
        return Recurrence(0.0, first, 0.0)
    lags = np.arange(1, n // 2)
    squares, pairs = np.zeros((len(lags), int(varies.sum()))), np.zeros(len(lags))
    for part in chosen:
        found = _return_squares((part - mean)[:, varies])
        squares[: len(found)] += found
        pairs[: len(found)] += len(part) - lags[: len(found)]
    distance = squares / (pairs[:, None] * 2.0 * variance[varies])
    worst = np.maximum(distance.max(axis=1), 0.0)
    best = first - 1 + int(np.argmin(worst[first - 1 :]))
    short = worst[max(0, int(0.5 * period_steps) - 1) : max(1, int(8 * period_steps))]
    return Recurrence(float(worst[best]), int(lags[best]), float(short.min()) if len(short) else 1.0)


def _longest(segments: list[np.ndarray], max_rows: int) -> list[np.ndarray]:
    """The longest segments, the longest first, of at most `max_rows` rows in all."""
    chosen, left = [], max_rows
    for part in sorted(segments, key=len, reverse=True):
        if left < 2:
            break
        chosen.append(part[:left])
        left -= len(chosen[-1])
    return chosen


def _return_squares(x: np.ndarray) -> np.ndarray:
    """Sum over t of (x_(t+lag) - x_t)^2 for lags 1 .. T / 2 - 1: (T, N) -> (lags, N)."""
    n = len(x)
    size = fft.next_fast_len(2 * n)
    overlap = fft.irfft(np.abs(fft.rfft(x, size, axis=0)) ** 2, size, axis=0)[:n]
    energy = np.concatenate([np.zeros((1, x.shape[1])), np.cumsum(x**2, axis=0)])
    lags = np.arange(1, max(1, n // 2))
    both = energy[n - lags] + energy[n] - energy[lags]  # sum of both squares over the overlapping rows
    return np.asarray(both - 2.0 * overlap[lags])


def decay_ratio(segments: list[np.ndarray]) -> float:
    """Amplitude late in the series over amplitude early on, where the amplitude never grows again; 1 where it does.

    Amplitudes are rms deviations in ten equal stretches of a segment from the mean of the last one; the median over the
    segments that are at least half as long as the longest, at most fifty of them.
    """
    longest = sorted(segments, key=len, reverse=True)[:50]
    return float(np.median([_decay_of(x) for x in longest if 2 * len(x) >= len(longest[0])]))


def _decay_of(x: np.ndarray) -> float:
    pieces = np.array_split(x, 10)
    rest = pieces[-1].mean(axis=0)
    amplitude = np.array([float(np.sqrt(np.mean((p - rest) ** 2))) for p in pieces])
    if amplitude[0] <= 0 or np.any(amplitude[1:] > 1.1 * amplitude[:-1] + 0.02 * amplitude[0]):
        return 1.0
    swing = [float(np.sqrt(np.mean((p - p.mean(axis=0)) ** 2))) for p in (pieces[0], pieces[-1])]
    # a random walk, too, may come ever closer to where it ends, but it goes on swinging about every place on its way
    return max(float(amplitude[-1] / amplitude[0]), swing[1] / max(swing[0], 1e-300))


def mixing(points: np.ndarray, theiler: int) -> float:
    """Share of states (T, m) whose nearest neighbour more than `theiler` rows away lies in the other half of time.

    About a half where the law of motion stays the same, near 0 where it drifts: then every time has states of its own
    (Kennel 1997, Phys. Rev. E 56, 316). NaN where fewer than 100 states have such a neighbour at hand.
    """
    n = len(points)
    query = np.linspace(0, n - 1, min(MIXING_STATES, n)).astype(int)
    near = cKDTree(points).query(points[query], k=min(n, 2 * min(theiler, 100) + 6))[1]
    fair = np.abs(near - query[:, None]) > theiler
    known = fair.any(axis=1)
    if np.count_nonzero(known) < 100:
        return float("nan")
    neighbour = near[np.arange(len(query)), np.argmax(fair, axis=1)][known]
    return float(np.mean((neighbour < n // 2) != (query[known] < n // 2)))

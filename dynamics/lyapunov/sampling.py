"""How the series is sampled: flow or map, mean period, oversampling; and the part of a long series that is used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import signal

MAX_PERIODOGRAM_ROWS = 131_072
PACE = 3.5  # pace times bandwidth at most
MAX_FLOOR = (
    0.07  # share of a flat background, about the noise's share of the variance, above which a series is no flow's
)


@dataclass(frozen=True)
class Sampling:
    """`period_steps`: 1 / mean frequency of the power above the noise floor; 1 for a map."""

    is_flow: bool
    period_steps: float
    bandwidth: float  # frequency (cycles per step) below which 99 % of the power above the floor lies
    lag_one: float  # median lag-1 autocorrelation of the channels
    stride: int  # every stride-th step carries all the information

    @property
    def pace(self) -> float:
        """Time scale of the fast motion in steps: the period, or less where slow wandering dominates the power.

        1 / bandwidth is about 0.4 periods of systems like Lorenz' or Roessler's; of a motion that wanders between cells, less.
        """
        return max(min(self.period_steps, PACE / max(self.bandwidth, 1e-9)), 1.0)


def _power(segments: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, float]:
    """Welch power, channels normalised and averaged, over the segments that hold its window; the noise floor taken off, and its share."""
    longest = sorted(segments, key=len, reverse=True)
    window = min(len(longest[0]), 2048)
    kept = [s for s in longest if len(s) >= window][: max(1, MAX_PERIODOGRAM_ROWS // window)]
    pooled = np.concatenate(kept)
    scale = pooled.std(axis=0)
    varies = scale > 0
    total, rows = np.zeros(window // 2 + 1), 0
    for s in kept:
        s = s[:MAX_PERIODOGRAM_ROWS]
        x = (s - s.mean(axis=0))[:, varies] / scale[varies]
        frequency, power = signal.welch(x, nperseg=window, axis=0, detrend="linear")
        total, rows = total + len(s) * power.mean(axis=1), rows + len(s)
    total /= rows
    floor = float(np.median(total[len(total) * 3 // 4 :]))
    return frequency, np.maximum(total - 2.0 * floor, 0.0), floor / max(float(total.mean()), 1e-300)


def lag_autocorrelation(segments: list[np.ndarray], lag: int = 1) -> np.ndarray:
    """Autocorrelation per channel at `lag`, pairs within segments only."""
    pooled = np.concatenate(segments)
    mean, variance = pooled.mean(axis=0), pooled.var(axis=0)
    total, pairs = np.zeros(pooled.shape[1]), 0
    for s in segments:
        if len(s) > lag:
            c = s - mean
            total += np.sum(c[lag:] * c[:-lag], axis=0)
            pairs += len(s) - lag
    return total / max(pairs, 1) / np.where(variance > 0, variance, 1.0)


def inspect(segments: list[np.ndarray]) -> Sampling:
    """Flow or map, and the time scales.

    A flow sampled with at least about eight points per period has lag-1 autocorrelation above cos(2 pi / 8) = 0.7;
    a map's series jumps: much of its power lies at the highest frequencies. Coarser flows are treated as the map that their
    sampling makes of them, which keeps the exponents.
    """
    lag_one = float(np.median(lag_autocorrelation(segments)))
    if lag_one < 0.7:
        return Sampling(False, 1.0, 0.5, lag_one, 1)
    frequency, power, floor = _power(segments)
    total = float(power.sum())
    if total <= 0.0 or floor > MAX_FLOOR:
        return Sampling(False, 1.0, 0.5, lag_one, 1)
    longest = max(len(s) for s in segments)
    mean_frequency = max(float(np.sum(frequency * power)) / total, 2.0 / longest)
    bandwidth = float(frequency[np.searchsorted(np.cumsum(power), 0.99 * total)])
    period = 1.0 / mean_frequency
    stride = int(max(1, min(period / 40.0, 1.0 / (16.0 * max(bandwidth, 1e-9)))))
    return Sampling(True, period, bandwidth, lag_one, stride)


def decimate(segments: list[np.ndarray], stride: int) -> list[np.ndarray]:
    """Means of `stride` consecutive rows: a linear filter, which leaves the exponents as they are."""
    if stride == 1:
        return segments
    out = []
    for s in segments:
        n = len(s) // stride
        if n > 0:
            out.append(s[: n * stride].reshape(n, stride, -1).mean(axis=1))
    return out


def thin(segments: list[np.ndarray], max_rows: int, n_blocks: int = 8) -> list[np.ndarray]:
    """At most about `max_rows` rows as contiguous blocks, spread evenly over the series; views, never copies."""
    total = sum(len(s) for s in segments)
    if total <= max_rows:
        return segments
    length = max_rows // n_blocks
    longest = sorted(segments, key=len, reverse=True)
    if len(longest[0]) < length:  # many short segments: take the longest ones
        chosen, rows = [], 0
        for s in longest:
            if rows >= max_rows:
                break
            chosen.append(s)
            rows += len(s)
        return chosen
    spare = [s for s in segments if len(s) >= length]
    room = sum(len(s) for s in spare)
    blocks = []
    for s in spare:
        count = max(1, round(n_blocks * len(s) / room))
        starts = np.linspace(0, len(s) - length, count).astype(int) if count > 1 else [(len(s) - length) // 2]
        blocks += [s[start : start + length] for start in starts]
    return blocks

"""The intensity of counted events from the counts around each row: what a latent state is forced to where counts were recorded. numpy only.

    m_t = (sum_k w_k y_{t+k} + 1/2) / (sum_k w_k + 1 / (2 mean)),    w_k = exp(-k^2 / (2 h^2)), |k| <= 3 h

is a kernel estimate with half an event of the mean rate added, which keeps its logarithm finite and nearly unbiased. Where the window
lacks one side, at the ends of a series, its centre of mass k' is not t: log m_t is carried back to t along the slope of the
log-intensity, one step of Fisher scoring from no slope, with a slope of one a bandwidth as the prior's std:

    b_t = (sum w_k k y_{t+k} - k' sum w_k y_{t+k}) / (m_t (sum w_k k^2 - k'^2 sum w_k) + h^2),    log m_t - b_t k'

Sources: Silverman 1986 (kernels); Cox 1955, "Some statistical methods connected with series of events" (half an event); Loader 1999,
"Local Regression and Likelihood" (boundaries).
"""

from __future__ import annotations

import math

import numpy as np

REACH = 3.0  # bandwidths: what lies beyond weighs less than 1.1 %


def reach(bandwidth: float) -> int:
    """Rows on either side of a row that its estimate looks at."""
    return math.ceil(REACH * bandwidth)


def log_intensity(events: np.ndarray, bandwidth: float, mean: float) -> np.ndarray:
    """log m at every row of a series without gaps: (T,) -> (T,)."""
    events, width = np.asarray(events, float), reach(bandwidth)
    if len(events) <= 2 * width:
        return _ends(events, bandwidth, mean)
    found = np.empty(len(events))
    weights = _weights(bandwidth)
    inner = np.convolve(events, weights, "valid")
    found[width : len(events) - width] = np.log((inner + 0.5) / (weights.sum() + 0.5 / mean))
    found[:width] = _ends(events[: 2 * width], bandwidth, mean)[:width]
    found[len(events) - width :] = _ends(events[len(events) - 2 * width :], bandwidth, mean)[width:]
    return found


def last_log_intensity(events: np.ndarray, bandwidth: float, mean: float) -> np.ndarray:
    """That of the last row of contexts (..., C), as `log_intensity` has it at a series' end: (...)."""
    width = reach(bandwidth)
    events = np.asarray(events, float)[..., -width - 1 :]
    k = np.arange(events.shape[-1]) - (events.shape[-1] - 1)
    w = np.exp(-((k / bandwidth) ** 2) / 2)
    return _carried(events @ w, events @ (w * k), w.sum(), w @ k, w @ k**2, bandwidth, mean)


def left_out(events: np.ndarray, bandwidth: float, mean: float) -> np.ndarray:
    """m of every row (T,) from the rows around it without itself, to choose a bandwidth by."""
    events, weights, width = np.asarray(events, float), _weights(bandwidth), reach(bandwidth)
    weights[width] = 0.0
    around = np.convolve(events, weights)[width : width + len(events)]
    there = np.convolve(np.ones(len(events)), weights)[width : width + len(events)]
    return (around + 0.5) / (there + 0.5 / mean)


def _weights(bandwidth: float) -> np.ndarray:
    k = np.arange(-reach(bandwidth), reach(bandwidth) + 1)
    return np.exp(-((k / bandwidth) ** 2) / 2)


def _ends(events: np.ndarray, bandwidth: float, mean: float) -> np.ndarray:
    """All rows of a short stretch, each with what its window holds of it."""
    weights, width, n = _weights(bandwidth)[::-1], reach(bandwidth), len(events)
    k = np.arange(width, -width - 1, -1)  # np.convolve turns the weights round

    def moment(values: np.ndarray, order: int) -> np.ndarray:
        return np.convolve(values, weights * k**order)[width : width + n]

    ones = np.ones(n)
    sums = (moment(events, 0), moment(events, 1), moment(ones, 0), moment(ones, 1), moment(ones, 2))
    return _carried(*sums, bandwidth, mean)


def _carried(
    y0: np.ndarray, y1: np.ndarray, s0: np.ndarray, s1: np.ndarray, s2: np.ndarray, bandwidth: float, mean: float
) -> np.ndarray:
    """log m carried from the window's centre of mass to its row; y, s: moments of the events and of the window."""
    intensity, centre = (y0 + 0.5) / (s0 + 0.5 / mean), s1 / s0
    slope = (y1 - centre * y0) / (intensity * (s2 - centre * s1) + bandwidth**2)
    return np.asarray(np.log(intensity) - slope * centre)

"""Which training sequences are drawn how often: the rarer the states they pass through, the oftener.

Drawn evenly, sequences seldom show what happens away from the bulk of the attractor, such as near its saddles or in the
spikes of a heartbeat. Maps are then free there, and put spurious fixed points where the data are thin. Not used where many
coordinates are read out from few units: in an EEG the rare states are but large noise, and rhythms became worse.
"""

from __future__ import annotations

import numpy as np

BINS = 8  # a coordinate
EXPONENT = 0.5  # of the number of rows in a cell; 0 would draw evenly, 1 let every visited cell count the same
MOST_DRAWS = 2_000_000


def leading_axes(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre (N,) and axes (N, d): up to three coordinates are taken as they are, more projected onto three principal directions."""
    n = points.shape[1]
    if n <= 3:
        return np.zeros(n), np.eye(n)
    center = points.mean(axis=0)
    _, directions = np.linalg.eigh(np.cov(points.T))
    return center, directions[:, ::-1][:, :3]


def balanced(rows: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
    """Starts repeated in proportion to their sequence's weight, so that drawing evenly among them draws by weight.

    The weight of a sequence is the mean of n^(-1/2) over its steps, n the number of rows in the step's cell of a coarse
    histogram. `rows` (R, N_e); `starts` (S,) of sequences of `length` steps; returns about 2 S of them, in order.
    """
    center, axes = leading_axes(rows)
    points = (rows - center) @ axes
    low, spread = points.min(axis=0), np.ptp(points, axis=0)
    cells = np.minimum((BINS * (points - low) / np.where(spread > 0, spread, 1)).astype(np.int64), BINS - 1)
    _, cell, counts = np.unique(
        np.ravel_multi_index(tuple(cells.T), (BINS,) * points.shape[1]), return_inverse=True, return_counts=True
    )
    passed = np.concatenate([[0.0], np.cumsum(counts[cell] ** -EXPONENT)])
    share = np.cumsum(passed[starts + length] - passed[starts])
    draws = max(len(starts), min(2 * len(starts), MOST_DRAWS))
    return starts[np.searchsorted(share, (np.arange(draws) + 0.5) / draws * share[-1])]

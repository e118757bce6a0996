"""Fewer points for the same picture: every extreme is kept, nothing is averaged."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

MOST_POINTS = 1500


def keep_extremes(*curves: np.ndarray, most: int = MOST_POINTS) -> np.ndarray:
    """Rows (ascending) with each curve's smallest and largest value in each of so many equal buckets that at most `most` rows
    are left, both ends among them. curves: (K,) each; NaN counts as missing, and one row of every bucket's NaN is kept.
    """
    n = len(curves[0])
    if n <= most:
        return np.arange(n)
    per_bucket = 3 * len(curves)
    starts = np.linspace(0, n, max(1, (most - 2) // per_bucket) + 1).astype(int)
    kept = [np.array([0, n - 1])]
    for first, stop in pairwise(starts):
        for curve in curves:
            part = curve[first:stop]
            missing = np.isnan(part)
            kept.append(first + np.flatnonzero(missing)[:1])
            if not missing.all():
                kept.append(first + np.array([np.nanargmin(part), np.nanargmax(part)]))
    return np.unique(np.concatenate(kept))

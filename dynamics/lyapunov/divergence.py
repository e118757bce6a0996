"""Neighbour divergence: the mean log distance of initially close states as a function of time, and its linear part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from dynamics.lyapunov.clock import Clock
from dynamics.lyapunov.states import States

MAX_REFERENCES = 2000
REGION_ERROR = 1.0 / 6.0  # of the slope: what the choice of the region adds to its standard error


@dataclass(frozen=True)
class Divergence:
    """<ln d(t)> over pairs, and the straight part of it."""

    steps: np.ndarray  # (H,)
    mean_log: np.ndarray  # (H,)
    first: int  # fitted region [first, last] as indices into `steps`
    last: int
    slope: float  # per step
    error: float  # standard error of the slope over groups of reference points
    rise: float  # rise over the fitted region, nats
    straightness: float  # R^2 of the fit
    n_pairs: int

    def as_json(self) -> dict[str, object]:
        return {
            "steps": [int(s) for s in self.steps],
            "mean_log_distance": [float(v) for v in self.mean_log],
            "fit_first_step": int(self.steps[self.first]),
            "fit_last_step": int(self.steps[self.last]),
            "slope_per_step": self.slope,
            "slope_error": self.error,
            "rise_nats": self.rise,
            "r_squared": self.straightness,
            "pairs": self.n_pairs,
        }


def _pairs(
    points: np.ndarray, path_of: np.ndarray, room: np.ndarray, theiler: int, horizon: int, floor: float
) -> np.ndarray:
    """(n, 2) indices of reference states and their nearest neighbours, apart in time and farther than the noise."""
    able = np.nonzero(room > horizon)[0]
    if len(able) < 20:
        return np.empty((0, 2), dtype=int)
    tree = cKDTree(points[able])
    query = able[np.linspace(0, len(able) - 1, min(MAX_REFERENCES, len(able))).astype(int)]
    distances, neighbours = tree.query(points[query], k=min(len(able), 30 + theiler))
    neighbours = able[neighbours]
    far_in_time = (np.abs(neighbours - query[:, None]) > theiler) | (path_of[neighbours] != path_of[query][:, None])
    fair = far_in_time & (distances > floor)
    rows = np.nonzero(fair.any(axis=1))[0]
    return np.column_stack([query[rows], neighbours[rows, np.argmax(fair[rows], axis=1)]])


def diverge(states: States, theiler: int, horizon: int, noise: float, clock: Clock) -> Divergence | None:
    """Rosenstein's curve (Rosenstein, Collins & De Luca 1993, eq. 13) and its most trustworthy straight region.

    The slope of the straight region estimates lambda_max per step. Fails (overestimates) where noise makes neighbours
    part, and cannot tell noise from chaos: a check, and a fallback. None for too few pairs.
    """
    points = states.pooled()
    lengths = [len(p) for p in states.paths]
    path_of = np.repeat(np.arange(len(lengths)), lengths)
    room = np.concatenate([np.arange(n, 0, -1) for n in lengths])
    clock.tick()
    if len(points) > 60_000:  # the tree, not the pairs' futures, is thinned
        room = np.where(np.arange(len(points)) % (len(points) // 60_000 + 1) == 0, room, 0)
    pairs = _pairs(points, path_of, room, min(theiler, 200), horizon, 2.0 * noise)
    if len(pairs) < 40:
        return None
    logs = np.empty((horizon + 1, len(pairs)))
    for h in range(horizon + 1):
        if h % 50 == 0:
            clock.tick()
        gap = np.linalg.norm(points[pairs[:, 0] + h] - points[pairs[:, 1] + h], axis=1)
        logs[h] = np.log(np.maximum(gap, 1e-12))
    curve = logs.mean(axis=1)
    first, last = straight_region(curve)
    groups = np.array_split(np.arange(len(pairs)), 10)
    time = np.arange(first, last + 1)
    slopes = [float(np.polyfit(time, logs[first : last + 1, g].mean(axis=1), 1)[0]) for g in groups]
    slope = float(np.polyfit(time, curve[first : last + 1], 1)[0])
    residual = curve[first : last + 1] - np.polyval(np.polyfit(time, curve[first : last + 1], 1), time)
    spread = float(np.var(curve[first : last + 1])) or 1.0
    return Divergence(
        np.arange(horizon + 1),
        curve,
        first,
        last,
        slope,
        float(np.std(slopes, ddof=1) / np.sqrt(10)),
        float(curve[last] - curve[first]),
        1.0 - float(np.var(residual)) / spread,
        len(pairs),
    )


def straight_region(curve: np.ndarray) -> tuple[int, int]:
    """First and last index of the region in which the curve rises straightest and farthest.

    Among windows that stay below 85 % of the way from the start to saturation: the largest of (rise)(R^2 - penalty).
    """
    n = len(curve)
    saturation = float(np.max(curve))
    top = curve[0] + 0.85 * (saturation - curve[0])
    end = int(np.argmax(curve >= top)) if np.any(curve >= top) else n - 1
    end = max(end, min(n - 1, 4))
    best, region = -np.inf, (0, end)
    grid = np.unique(np.linspace(0, end, min(end + 1, 40)).astype(int))
    for a in grid:
        for b in grid:
            if b - a < max(3, end // 4):
                continue
            x = np.arange(a, b + 1)
            line = np.polyfit(x, curve[a : b + 1], 1)
            residual = float(np.sqrt(np.mean((curve[a : b + 1] - np.polyval(line, x)) ** 2)))
            value = line[0] * (b - a) - 12.0 * residual
            if value > best:
                best, region = value, (int(a), int(b))
    return region

"""Correlation sum and dimension with an automatic scaling region and an interval (Grassberger & Procaccia 1983)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from domain.base import Quantity
from dynamics.lyapunov.clock import Clock

MAX_REFERENCES = 500
MAX_POINTS = 5000
N_BLOCKS = 20
STEP = 0.125  # of ln r
SPAN = 24.0  # nats of radii below the largest distance that are looked at
FEWEST_PAIRS = 60  # within the smallest radius
LARGEST_SHARE = 0.1  # of all pairs within the largest radius
SHORTEST = 1.1  # nats: a scaling region covers at least a factor 3 in radius
TOLERANCE = 0.10  # of the slope: how far local slopes may lie from it
FLATTEST = 0.1  # smaller slopes come from series that take few values, whose states are a few points
LOCAL = 4  # steps over which a local slope is taken
FILLS = 0.9  # of the dimension of the space: a larger slope is a lower bound at best
RESAMPLES = 200


@dataclass(frozen=True)
class CorrelationSum:
    """C(r), the share of pairs nearer than r, over reference states in blocks of consecutive ones."""

    log_radii: np.ndarray  # (R,)
    within: np.ndarray  # (B, R) pairs nearer than r, per block of reference states
    pairs: np.ndarray  # (B,)

    @property
    def log_share(self) -> np.ndarray:
        return _log_share(self.within.sum(axis=0), self.pairs.sum())

    def slope(self, noise: float) -> float:
        """Mean slope between the radii of 0.1 % and 3 % of the pairs, at most a factor 8, above three times the noise; NaN
        where that leaves less than a factor 1.4. A number for every series, whether or not it has a dimension."""
        y = self.log_share
        x, y = self.log_radii[np.isfinite(y)], y[np.isfinite(y)]
        outer = float(np.interp(np.log(0.03), y, x))
        inner = max(float(np.interp(np.log(0.001), y, x)), outer - np.log(8.0), np.log(max(3.0 * noise, 1e-300)))
        if not inner < outer - 0.35:
            return float("nan")
        return float((np.log(0.03) - np.interp(inner, x, y)) / (outer - inner))


@dataclass(frozen=True)
class Scaling:
    """The straight part of ln C(ln r), indices [first, last] into the radii."""

    first: int
    last: int
    slope: float
    wander: float  # root mean square of the local slopes about the slope


def correlation_sum(points: np.ndarray, theiler: int, clock: Clock) -> CorrelationSum:
    """C(r) of states (T, m): 500 reference states against 5,000, pairs within `theiler` rows left out (Theiler 1986).

    Reference states come in 20 blocks of the time axis, so that resampling blocks respects serial dependence.
    """
    rows = np.arange(0, len(points), max(1, -(-len(points) // MAX_POINTS)))
    references = np.linspace(0, len(points) - 1, min(MAX_REFERENCES, len(points))).astype(int)
    thin = np.ascontiguousarray(points[rows].T)
    top = float(np.log(np.linalg.norm(np.ptp(points, axis=0)))) + STEP
    n_bins = int(SPAN / STEP)
    within, pairs = [], []
    for block in np.array_split(references, N_BLOCKS):
        clock.tick()
        square = np.zeros((len(block), len(rows)))
        for coordinate, here in zip(thin, points[block].T, strict=True):
            difference = coordinate - here[:, None]
            square += difference * difference
        square = square[np.abs(rows - block[:, None]) > theiler]
        pairs.append(len(square))
        bins = np.floor((0.5 * np.log(np.maximum(square, 1e-300)) - top) / STEP).astype(int) + n_bins
        within.append(np.cumsum(np.bincount(np.clip(bins, 0, n_bins - 1), minlength=n_bins)))
    radii = top + STEP * (np.arange(n_bins) + 1 - n_bins)  # the upper edge of each bin
    return CorrelationSum(radii, np.array(within), np.array(pairs))


def _log_share(within: np.ndarray, pairs: float) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(within / max(float(pairs), 1.0)))


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    x = x - x.mean()
    return float(x @ y / (x @ x))


def scaling_region(total: CorrelationSum, noise: float) -> Scaling | None:
    """The longest range of radii in which the local slopes stay within 10 % of the slope; None where none covers a factor 3.

    Radii hold at least 60 pairs and at most a tenth of them, and exceed three times the noise. Of equally long ranges the
    straightest counts.
    """
    counts = total.within.sum(axis=0)
    able = (counts >= FEWEST_PAIRS) & (counts <= LARGEST_SHARE * total.pairs.sum())
    able &= total.log_radii >= (np.log(3.0 * noise) if noise > 0 else -np.inf)
    places = np.nonzero(able)[0]
    if len(places) < 2:
        return None
    x, y = total.log_radii, total.log_share
    best: Scaling | None = None
    shortest = int(np.ceil(SHORTEST / STEP))
    for a in range(places[0], places[-1] - shortest + 1):
        for b in range(places[-1], a + shortest - 1, -1):
            if best is not None and b - a < best.last - best.first:
                break
            slope = _slope(x[a : b + 1], y[a : b + 1])
            local = (y[a + LOCAL : b + 1] - y[a : b + 1 - LOCAL]) / (LOCAL * STEP)
            off = np.abs(local - slope)
            if slope < FLATTEST or off.max() > TOLERANCE * slope:
                continue
            found = Scaling(a, b, slope, float(np.sqrt(np.mean(off**2))))
            if best is None or b - a > best.last - best.first or found.wander < best.wander:
                best = found
    return best


def correlation_dimension(
    total: CorrelationSum, space_dimension: int, noise: float, level: float, seed: int, n_rows: int
) -> tuple[Quantity, dict[str, object]]:
    """D_2 = d ln C / d ln r over the scaling region, with an interval from resampled blocks of reference states and from how
    far the local slopes wander; a reason where there is no such region or the states fill their space as noise would.

    The second answer is the curve, for diagnostics. More than 2 log10 T is beyond what T states can show
    (Eckmann & Ruelle 1992, Physica D 56, 185).
    """
    found = scaling_region(total, noise)
    method = "slope of the correlation sum (Grassberger-Procaccia)"
    curve = _curve(total, found)
    if found is None:
        why = "No range of radii, a factor 3 wide, in which the correlation sum has one slope: no dimension can be read from it."
        return Quantity(reason=why, unit="1", method=method), curve
    most = min(FILLS * space_dimension, 2.0 * np.log10(n_rows)) if space_dimension > 1 else np.inf
    if found.slope > most:
        why = (
            f"The slope, {found.slope:.2g}, is not below what the {space_dimension} coordinates and {n_rows} states can show "
            f"({most:.2g}): the states fill their space as noise does, or more coordinates are needed."
        )
        return Quantity(reason=why, unit="1", method=method), curve
    low, high = _interval(total, found, level, np.random.default_rng([seed, 6]))
    value = Quantity(value=found.slope, unit="1", ci=(low, high), level=level, method=method)
    return value, curve


def _interval(total: CorrelationSum, found: Scaling, level: float, rng: np.random.Generator) -> tuple[float, float]:
    span = slice(found.first, found.last + 1)
    x, blocks = total.log_radii[span], len(total.pairs)
    slopes = []
    for _ in range(RESAMPLES):
        chosen = rng.integers(0, blocks, blocks)
        share = _log_share(total.within[chosen, span].sum(axis=0), float(total.pairs[chosen].sum()))
        if np.isfinite(share).all():
            slopes.append(_slope(x, share))
    low, high = np.quantile(slopes, [0.5 - 0.5 * level, 0.5 + 0.5 * level])
    # a deviation of the local slopes that is no accident of the sample: lacunarity, curvature, noise
    return float(found.slope - np.hypot(found.slope - low, found.wander)), float(
        found.slope + np.hypot(high - found.slope, found.wander)
    )


def _curve(total: CorrelationSum, found: Scaling | None) -> dict[str, object]:
    y = total.log_share
    kept = np.nonzero(total.within.sum(axis=0) >= FEWEST_PAIRS)[0]
    fit = None
    if found is not None:
        fit = {
            "first_log_radius": float(total.log_radii[found.first]),
            "last_log_radius": float(total.log_radii[found.last]),
            "slope": found.slope,
        }
    return {
        "log_radius": [round(float(v), 4) for v in total.log_radii[kept]],
        "log_share": [round(float(v), 4) for v in y[kept]],
        "fit": fit,
    }

"""Exponents from local-linear maps: Jacobians by least squares on neighbours, multiplied by QR (Sano & Sawada 1985).

No global model is fitted, so the estimate is independent of the fitted-model method; it is also less accurate, and blind
where neighbourhoods are flat: Sano & Sawada 1985, Phys. Rev. Lett. 55, 1082; Eckmann et al. 1986, Phys. Rev. A 34, 4971.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from dynamics.lyapunov.clock import Clock
from dynamics.lyapunov.states import States

LANES = 16
MIN_LANES = 4  # in which every state has neighbours
MAX_JACOBIANS = 2000
MAX_TREE_POINTS = 40_000
NEIGHBOURS = (3, 6, 12)  # per unknown of one row of the affine map
STEPS_PER_PERIOD = 12  # of the local maps of a flow
FLAT, FLAT_DELAYED = (
    0.002,
    0.02,
)  # of a neighbourhood's radius: thinner directions are damped; delay vectors have spurious ones
BIAS, BIAS_DELAYED = 0.1, 0.2  # of lambda_max: standard error for what neither time nor the number of neighbours shows
SKILLED = 0.5  # share of the variance of neighbours' images that trustworthy local maps explain
MAX_SCATTER = 0.25  # of lambda_max between numbers of neighbours
SILENT = 256  # reference states between two signs of life


@dataclass(frozen=True)
class LocalJacobians:
    """Exponents per sampling step, descending, -inf for a direction in which every neighbourhood is flat."""

    exponents: np.ndarray  # (m,)
    errors: np.ndarray  # (m,) standard errors: batch means, scatter between numbers of neighbours, and bias
    skill: float  # 1 - (error of the local maps) / (variance of the neighbours' images), of states that were left out
    scatter: float  # of lambda_max between numbers of neighbours, per sampling step
    n_neighbours: int
    evolve_steps: int
    n_jacobians: int

    @property
    def reliable(self) -> bool:
        top = abs(float(self.exponents[0]))
        return self.skill > SKILLED and self.scatter < max(MAX_SCATTER * top, 2.0 * float(self.errors[0]))

    def as_json(self, dt: float) -> dict[str, object]:
        return {
            "exponents": [float(v) / dt if np.isfinite(v) else None for v in self.exponents],
            "errors": [float(v) / dt if np.isfinite(v) else None for v in self.errors],
            "skill": self.skill,
            "neighbours": self.n_neighbours,
            "evolve_steps": self.evolve_steps,
            "jacobians": self.n_jacobians,
        }


def local_jacobians(
    states: States, is_flow: bool, period_steps: float, theiler: int, noise: float, clock: Clock
) -> LocalJacobians | None:
    """The whole spectrum from local affine maps x(t + s) = J x(t) + c on the k nearest states, T log T.

    `states`: channels, or delay vectors, whose Jacobian is a companion matrix over one delay (only the new coordinate is
    fitted). Neighbours within `theiler` steps in time do not count. k is the one whose maps forecast the left-out states
    best. `noise`: standard deviation per coordinate; thinner directions are damped. None where there are too few states, or
    too few neighbours.
    """
    delayed = states.kind == "delay" and len(states.readout) == 1
    evolve = states.delay if delayed else max(1, round(period_steps / STEPS_PER_PERIOD)) if is_flow else 1
    limit = MAX_JACOBIANS * 4 // max(4, states.dimension)
    stretches = _stretches([len(p) for p in states.paths], evolve, limit)
    if stretches is None:
        return None
    points = states.pooled()
    fresh = 1 if delayed else states.dimension
    counts = [c * (states.dimension + 1) for c in NEIGHBOURS]
    maps, errors, spread, whole = _fits(
        points, _usable(states, evolve), stretches, evolve, fresh, counts, theiler, noise, clock
    )
    if not maps or np.count_nonzero(whole) < MIN_LANES:
        return None
    found = []
    for jacobians in maps:
        clock.tick()
        jacobians = jacobians[whole]
        found.append(_growth(_companion(jacobians) if fresh < states.dimension else jacobians) / evolve)
    best = int(np.argmin(errors))
    tops = [float(g.mean(axis=0).max()) for g in found]
    known = [t for t in tops if np.isfinite(t)]  # minus infinity where every neighbourhood is flat
    scatter = float(np.std(known, ddof=1)) if len(known) > 1 else abs(tops[best])
    unseen = (BIAS_DELAYED if delayed else BIAS) * abs(tops[best])
    skill, n = 1.0 - errors[best] / spread, stretches[whole].size
    return _summary(found[best], skill, scatter, unseen, counts[best], evolve, n)


def _summary(
    growth: np.ndarray, skill: float, scatter: float, unseen: float, k: int, evolve: int, n: int
) -> LocalJacobians:
    """`growth` (B, m): mean log growth of each lane, in nats per sampling step."""
    with np.errstate(invalid="ignore"):
        mean, spread = growth.mean(axis=0), growth.std(axis=0, ddof=1) / np.sqrt(len(growth))
    order = np.argsort(-mean)
    errors = np.sqrt(spread**2 + scatter**2 + unseen**2)[order]
    return LocalJacobians(mean[order], errors, float(skill), scatter, k, evolve, n)


def _stretches(lengths: list[int], evolve: int, limit: int) -> np.ndarray | None:
    """(L, n) pooled row numbers of reference states, `evolve` apart within a lane, lanes spread evenly over the paths."""
    starts = np.cumsum([0, *lengths[:-1]])
    per_lane = max(1, min(limit, sum(lengths) // evolve) // LANES)
    while per_lane >= 8:
        room = [n - 1 - per_lane * evolve for n in lengths]  # last start, so that the last image exists
        places = [np.arange(s, s + r + 1) for s, r in zip(starts, room, strict=True) if r >= 0]
        if places and sum(len(p) for p in places) >= LANES:
            pooled = np.concatenate(places)
            first = pooled[np.linspace(0, len(pooled) - 1, LANES).astype(int)]
            return np.asarray(first[:, None] + evolve * np.arange(per_lane))
        per_lane //= 2
    return None


def _usable(states: States, evolve: int) -> np.ndarray:
    """Pooled rows whose image `evolve` steps later lies in the same path, thinned to what a tree should hold."""
    lengths = [len(p) for p in states.paths]
    room = np.concatenate([np.arange(n, 0, -1) for n in lengths])
    able = np.nonzero(room > evolve)[0]
    return np.asarray(able[:: max(1, -(-len(able) // MAX_TREE_POINTS))])


def _fits(
    points: np.ndarray,
    able: np.ndarray,
    stretches: np.ndarray,
    evolve: int,
    fresh: int,
    counts: list[int],
    theiler: int,
    noise: float,
    clock: Clock,
) -> tuple[list[np.ndarray], np.ndarray, float, np.ndarray]:
    """For each number of neighbours the Jacobians (L, n, fresh, m) and the mean squared error of the left-out states, and
    the mean squared distance of a state's image from the mean image of its neighbours; and which lanes found enough of them."""
    tree, rows = cKDTree(points[able]), stretches.ravel()
    k = min(len(able), counts[-1] + 2 * min(theiler, 20) + 1)
    counts = [c for c in counts if c <= k]
    parts: list[list[np.ndarray]] = [[] for _ in counts]
    flat = FLAT if fresh == points.shape[1] else FLAT_DELAYED
    missed, spread, enough = np.zeros(len(counts)), 0.0, []
    for a in range(0, len(rows), SILENT):
        clock.tick()
        some = rows[a : a + SILENT]
        near = able[tree.query(points[some], k=k)[1]]
        fair = np.abs(near - some[:, None]) > theiler
        nearest = np.argsort(~fair, axis=1, kind="stable")[:, : counts[-1]]  # the fair ones first, by distance
        near, fair = np.take_along_axis(near, nearest, axis=1), np.take_along_axis(fair, nearest, axis=1)
        x, y = points[near], points[near + evolve, :fresh]
        enough.append(fair.sum(axis=1) >= min(counts[0], fair.shape[1]))
        here, image = points[some], points[some + evolve, :fresh]
        for i, count in enumerate(counts):
            jacobians, forecast, mean = _affine(x[:, :count], y[:, :count], fair[:, :count], here, noise, flat)
            parts[i].append(jacobians)
            missed[i] += np.sum((forecast - image) ** 2)
        spread += float(np.sum((mean - image) ** 2))
    shape = (*stretches.shape, fresh, points.shape[1])
    whole = np.asarray(np.concatenate(enough).reshape(stretches.shape).all(axis=1))
    return [np.concatenate(p).reshape(shape) for p in parts], missed / len(rows), max(spread / len(rows), 1e-300), whole


def _affine(
    x: np.ndarray, y: np.ndarray, fair: np.ndarray, here: np.ndarray, noise: float, flat: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Least squares of images y (R, k, fresh) on neighbours x (R, k, m) around states (R, m), all neighbourhoods at once.

    Jacobians (R, fresh, m), forecasts of the states' images and the neighbours' mean images (R, fresh). Noise adds its
    variance to every direction of the neighbours' covariance, which would flatten the Jacobian: it is taken off where more
    is left than taken (errors in variables: Fuller 1987). Directions thinner than `flat` radii are damped.
    """
    weight = fair[:, :, None].astype(float)
    total = np.maximum(weight.sum(axis=1), 1.0)
    centre, image = (np.sum(v * weight, axis=1) / total for v in (x, y))
    x, y = (x - centre[:, None]) * weight, y - image[:, None]
    turned = x.transpose(0, 2, 1)
    square = turned @ x
    floor = (flat**2 * np.trace(square, axis1=1, axis2=2) + 1e-300)[:, None]
    values, vectors = np.linalg.eigh(square)
    excess = total * noise**2
    values = np.where(values > 2.0 * excess, values - excess, values) + floor
    slopes = vectors @ ((vectors.transpose(0, 2, 1) @ (turned @ y)) / values[:, :, None])
    jacobians = slopes.transpose(0, 2, 1)
    return jacobians, image + (jacobians @ (here - centre)[:, :, None])[:, :, 0], image


def _companion(rows: np.ndarray) -> np.ndarray:
    """(L, n, m, m) Jacobians of delay vectors over one delay from their first rows (L, n, 1, m)."""
    m = rows.shape[-1]
    full = np.zeros((*rows.shape[:2], m, m))
    full[:, :, :1] = rows
    full[:, :, np.arange(1, m), np.arange(m - 1)] = 1.0
    return full


def _growth(jacobians: np.ndarray) -> np.ndarray:
    """Mean log |R_ii| per map of every lane, (L, m), by QR; a tenth of each lane goes by while the vectors turn into place."""
    lanes, n, m, _ = jacobians.shape
    q, total, settling = np.broadcast_to(np.eye(m), (lanes, m, m)), np.zeros((lanes, m)), n // 10
    with np.errstate(divide="ignore"):
        for t in range(n):
            q, r = np.linalg.qr(jacobians[:, t] @ q)
            if t >= settling:
                total += np.log(np.abs(np.diagonal(r, axis1=1, axis2=2)))
    return total / (n - settling)

"""Maximum-likelihood refinement under observation noise: multiple shooting by Gauss-Newton.

Fitting on noisy states is biased (errors in variables). Here the states are free: short windows of the model's own
trajectories are laid through the raw observations, one initial state per window, the weights common to all
(Bock 1983; Baake et al. 1992). The inverse of the normal matrix is the covariance of the weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dynamics.lyapunov import tangents
from dynamics.lyapunov.clock import Clock
from dynamics.lyapunov.kernels import LANES
from dynamics.lyapunov.model import SmoothModel
from dynamics.lyapunov.states import States

MAX_PARAMETERS = 400
MAX_SAMPLES = 24_000
MIN_SAMPLES = 1500
FLOPS_PER_ROUND = 8e8
FLOPS_PER_CALL = 1e8  # between two signs of life
MIN_TIME_LEFT = 0.35  # of the analysis' budget: below it no further round is begun


@dataclass(frozen=True)
class Refinement:
    """Outcome of multiple shooting."""

    model: SmoothModel
    covariance: np.ndarray  # (P, P) of the free weights
    rows: np.ndarray  # (P,) their places in the weights
    columns: np.ndarray
    noise: float  # rms residual, standard deviations
    starts: np.ndarray  # (S, m) initial states of the windows
    n_observations: int = 1

    def draw(self, n: int, rng: np.random.Generator) -> list[np.ndarray]:
        """Weights drawn from their Gaussian posterior."""
        values, vectors = np.linalg.eigh(self.covariance)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        out = []
        for _ in range(n):
            weights = self.model.weights.copy()
            weights[self.rows, self.columns] += root @ rng.standard_normal(len(values))
            out.append(weights)
        return out


def pruned(found: Refinement) -> SmoothModel | None:
    """The model without weights that the data do not need, None where they need all of them.

    The weight whose removal, all others following, raises the cost least is set to 0 as long as that is less than ln N squared
    standard deviations of the noise, N the number of observations (Hassibi & Stork 1993; Schwarz 1978).
    """
    places = (found.rows, found.columns)
    w, c = found.model.weights[places].copy(), found.covariance.copy()
    kept = np.ones(len(w), dtype=bool)
    while kept.sum() > 1:
        rise = np.where(kept, w**2 / np.maximum(np.diag(c), 1e-300), np.inf)
        i = int(np.argmin(rise))
        if rise[i] > np.log(found.n_observations):
            break
        w -= c[:, i] * (w[i] / c[i, i])
        c -= np.outer(c[:, i], c[i]) / c[i, i]
        kept[i], w[i] = False, 0.0
        c[i], c[:, i] = 0.0, 0.0
    if kept.all():
        return None
    weights = found.model.weights.copy()
    weights[places] = np.where(kept, w, 0.0)
    return found.model.with_weights(weights)


def _affordable(model: SmoothModel, n_parameters: int, n_observed: int) -> int:
    """Samples whose sensitivities one round can compute."""
    m, p = model.dimension, n_parameters
    stages = 4 * model.mean_substeps if model.is_flow else 1
    flops = stages * (m * m * (m + p) + model.basis.size * m * m) + n_observed * (m + p) ** 2
    return int(min(MAX_SAMPLES, FLOPS_PER_ROUND / flops))


def _windows(states: States, raw: list[np.ndarray], length: int, limit: int) -> tuple[np.ndarray, np.ndarray]:
    starts, data = [], []
    for path, seen in zip(states.paths, raw, strict=True):
        for a in range(0, len(path) - length + 1, length):
            starts.append(path[a])
            data.append(seen[a : a + length])
    every = max(1, int(np.ceil(len(starts) * length / limit)))
    return np.array(starts[::every]), np.ascontiguousarray(np.array(data[::every]) - states.offset)


def _system(
    model: SmoothModel,
    rows: np.ndarray,
    columns: np.ndarray,
    starts: np.ndarray,
    data: np.ndarray,
    readout: np.ndarray,
    noise: float,
    clock: Clock,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Blocks of the normal equations over all windows, computed in pieces."""
    lost = data.shape[1] * data.shape[2] * max(noise, 0.3) ** 2
    p = len(rows)
    q = model.dimension + p
    per_window = data.shape[1] * (data.shape[2] * q**2 + 4 * model.mean_substeps * model.dimension**2 * q)
    batch = LANES * max(1, int(FLOPS_PER_CALL / (LANES * per_window)))
    costs, h_ss, h_sp, g_s, h_pp, g_p = [], [], [], [], np.zeros((p, p)), np.zeros(p)
    for a in range(0, len(starts), batch):
        clock.tick()
        cost, ss, sp, s, pp, g = tangents.shoot(
            model.arrays, rows, columns, starts[a : a + batch], data[a : a + batch], readout, lost
        )
        costs.append(cost)
        h_ss.append(ss)
        h_sp.append(sp)
        g_s.append(s)
        h_pp += pp
        g_p += g
    return np.concatenate(costs), np.concatenate(h_ss), np.concatenate(h_sp), np.concatenate(g_s), h_pp, g_p


def refine(
    model: SmoothModel,
    states: States,
    raw: list[np.ndarray],
    window: int,
    noise: float,
    clock: Clock,
    max_rounds: int = 12,
) -> Refinement | None:
    """Levenberg-Marquardt on weights and initial states; None where it cannot start or never gains.

    raw: observations as measured, (T_i, p), aligned with `states.paths`. Cost: S n (m + P)^2 per round.
    """
    rows, columns = (np.ascontiguousarray(a) for a in np.nonzero(model.weights))
    if states.kind == "delay":  # the other coordinates are shifted copies, not fitted
        rows, columns = rows[columns < states.n_new], columns[columns < states.n_new]
    limit = _affordable(model, len(rows), len(states.readout))
    if len(rows) > MAX_PARAMETERS or limit < MIN_SAMPLES or clock.left() < MIN_TIME_LEFT:
        return None
    starts, data = _windows(states, raw, window, limit)
    if len(starts) < 5 or data.size < 2 * starts.size + 4 * len(rows):
        return None
    readout = np.ascontiguousarray(states.readout)
    scale = np.sqrt(np.mean(tangents.design(model.arrays, states.pooled()[::7]) ** 2, axis=0))[rows]
    prior = 1e-8 * data.size * scale**2  # keeps unidentifiable combinations where the regression left them
    centre = model.weights[rows, columns]
    damping, system = 1e-3, _system(model, rows, columns, starts, data, readout, noise, clock)
    best = float(system[0].sum())
    for _ in range(max_rounds):
        if clock.left() < MIN_TIME_LEFT:
            break
        _, h_ss, h_sp, g_s, h_pp, g_p = system
        damped = (
            h_ss
            + damping * np.einsum("sii->si", h_ss)[:, :, None] * np.eye(h_ss.shape[1])
            + 1e-9 * np.eye(h_ss.shape[1])
        )
        eliminated = np.linalg.solve(damped, np.concatenate([h_sp, g_s[:, :, None]], axis=2))
        flat = h_sp.reshape(-1, len(rows))
        schur = h_pp - flat.T @ eliminated[:, :, :-1].reshape(-1, len(rows))
        pull = prior * (centre - model.weights[rows, columns])
        right = g_p - flat.T @ eliminated[:, :, -1].ravel() + pull
        change = np.linalg.solve(schur + np.diag(prior + damping * np.diag(h_pp) * 1e-2), right)
        clock.tick()
        weights = model.weights.copy()
        weights[rows, columns] += change
        moved = starts + eliminated[:, :, -1] - eliminated[:, :, :-1] @ change
        trial = model.with_weights(weights)
        attempt = _system(trial, rows, columns, moved, data, readout, noise, clock)
        cost = float(attempt[0].sum())
        if cost < best:
            gain = (best - cost) / best
            model, starts, system, best, damping = trial, moved, attempt, cost, damping / 5.0
            if gain < 1e-4:
                break
        else:
            damping *= 10.0
            if damping > 1e3:
                break
    return _finish(model, rows, columns, starts, data, system, prior)


def _finish(
    model: SmoothModel,
    rows: np.ndarray,
    columns: np.ndarray,
    starts: np.ndarray,
    data: np.ndarray,
    system: tuple[np.ndarray, ...],
    prior: np.ndarray,
) -> Refinement:
    cost, h_ss, h_sp, _, h_pp, _ = system
    freedom = data.size - starts.size - len(rows)
    variance = float(cost.sum()) / freedom
    inner = np.linalg.solve(h_ss + 1e-9 * np.eye(h_ss.shape[1]), h_sp)
    schur = h_pp - h_sp.reshape(-1, len(rows)).T @ inner.reshape(-1, len(rows))
    precision = schur + np.diag(prior)
    size = np.sqrt(np.diag(precision))
    covariance = variance * np.linalg.pinv(precision / np.outer(size, size), hermitian=True) / np.outer(size, size)
    return Refinement(replace(model), covariance, rows, columns, float(np.sqrt(variance)), starts, data.size)

"""Compiled kernels: a smooth model x -> W' phi(x), its RK4 flow or one-step map, its tangent dynamics and QR.

Legend: m state dimension, K features, k tangent vectors. Time is counted in sampling steps. Features are monomials,
each built from an earlier one by one multiplication, followed by Gaussian radial functions exp(-gamma |x - c|^2).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

TINY = 1e-300


class Arrays(NamedTuple):
    """A model as the kernels see it."""

    parents: np.ndarray  # (K_poly,) monomial j is monomial parents[j] times x[variables[j]]; monomial 0 is 1
    variables: np.ndarray  # (K_poly,)
    centres: np.ndarray  # (K - K_poly, m)
    gamma: float
    weights: np.ndarray  # (K, m)
    substeps: int  # RK4 steps per sampling step; 0: the model is a map, one application per step
    bound: float  # |x_i| beyond this counts as divergence


@njit(cache=True, nogil=True)
def features(model, x, phi):
    """phi(x), (K,)."""
    phi[0] = 1.0
    n_poly = model.parents.shape[0]
    for j in range(1, n_poly):
        phi[j] = phi[model.parents[j]] * x[model.variables[j]]
    for c in range(model.centres.shape[0]):
        r2 = 0.0
        for i in range(x.shape[0]):
            r2 += (x[i] - model.centres[c, i]) ** 2
        phi[n_poly + c] = np.exp(-model.gamma * r2)


@njit(cache=True, nogil=True)
def design(model, xs):
    """Features of many states: (T, m) -> (T, K)."""
    out = np.empty((xs.shape[0], model.weights.shape[0]))
    for t in range(xs.shape[0]):
        features(model, xs[t], out[t])
    return out


@njit(cache=True, nogil=True)
def value(model, x, phi, out):
    """out = W' phi(x)."""
    features(model, x, phi)
    m = x.shape[0]
    for i in range(m):
        out[i] = 0.0
    for j in range(phi.shape[0]):
        for i in range(m):
            out[i] += phi[j] * model.weights[j, i]


@njit(cache=True, nogil=True)
def value_jacobian(model, x, phi, dphi, out, jac):
    """out = W' phi(x) and jac[i, l] = d out_i / d x_l."""
    value(model, x, phi, out)
    m = x.shape[0]
    n_poly = model.parents.shape[0]
    for i in range(m):
        dphi[0, i] = 0.0
    for j in range(1, n_poly):
        p, v = model.parents[j], model.variables[j]
        for i in range(m):
            dphi[j, i] = dphi[p, i] * x[v]
        dphi[j, v] += phi[p]
    for c in range(model.centres.shape[0]):
        factor = -2.0 * model.gamma * phi[n_poly + c]
        for i in range(m):
            dphi[n_poly + c, i] = factor * (x[i] - model.centres[c, i])
    for i in range(m):
        for n in range(m):
            jac[i, n] = 0.0
    for j in range(phi.shape[0]):
        for i in range(m):
            w = model.weights[j, i]
            if w != 0.0:
                for n in range(m):
                    jac[i, n] += w * dphi[j, n]


@njit(cache=True, nogil=True)
def escaped(model, x):
    for i in range(x.shape[0]):  # noqa: SIM110 - compiled
        if not abs(x[i]) <= model.bound:
            return True
    return False


@njit(cache=True, nogil=True)
def advance(model, rows, columns, x, v, phi, dphi, jac, s, w):
    """(x, v) <- (F(x), DF(x) v) over one sampling step, in place.

    The last P = len(rows) of the q columns of v (m, q) are derivatives by the weights at (rows, columns). No Jacobian is
    computed where q is 0. Scratch: phi (K,), dphi (K, m), jac (m, m), s (3, m), w (3, m, q).
    """
    m, q = v.shape
    first = q - rows.shape[0]
    stages = 4 if model.substeps > 0 else 1
    h = 1.0 / max(1, model.substeps)
    for _ in range(max(1, model.substeps)):
        for i in range(m):
            s[1, i], s[2, i] = 0.0, x[i]
            for c in range(q):
                w[1, i, c], w[2, i, c] = 0.0, v[i, c]
        for stage in range(stages):
            if q == 0:
                value(model, s[2], phi, s[0])
            else:
                value_jacobian(model, s[2], phi, dphi, s[0], jac)
            for i in range(m):
                for c in range(q):
                    total = 0.0
                    for n in range(m):
                        total += jac[i, n] * w[2, n, c]
                    w[0, i, c] = total
            for e in range(rows.shape[0]):
                w[0, columns[e], first + e] += phi[rows[e]]
            weight = 2.0 if stage == 1 or stage == 2 else 1.0
            ahead = h if stage == 2 else 0.5 * h
            for i in range(m):
                s[1, i] += weight * s[0, i]
                s[2, i] = x[i] + ahead * s[0, i]
                for c in range(q):
                    w[1, i, c] += weight * w[0, i, c]
                    w[2, i, c] = v[i, c] + ahead * w[0, i, c]
        for i in range(m):
            x[i] = s[1, i] if stages == 1 else x[i] + h / 6.0 * s[1, i]
            for c in range(q):
                v[i, c] = w[1, i, c] if stages == 1 else v[i, c] + h / 6.0 * w[1, i, c]


@njit(cache=True, nogil=True)
def orthonormalize(v, logs):
    """Modified Gram-Schmidt of the columns of v, in place; logs[j] = log R_jj (-690 for a vanished column)."""
    m, k = v.shape
    for j in range(k):
        for _ in range(2):  # twice is enough (Kahan-Parlett): the columns may be almost parallel
            for i in range(j):
                dot = 0.0
                for r in range(m):
                    dot += v[r, i] * v[r, j]
                for r in range(m):
                    v[r, j] -= dot * v[r, i]
        norm = 0.0
        for r in range(m):
            norm += v[r, j] ** 2
        norm = np.sqrt(norm)
        logs[j] = np.log(max(norm, TINY))
        if norm > TINY:
            for r in range(m):
                v[r, j] /= norm


@njit(cache=True, nogil=True)
def growth(model, rows, columns, path, free, x, v, logs):
    """Log growth of the tangent vectors v (m, k), written to logs (T, k); x (m,) and v are changed in place.

    Along `path` (T, m): each step starts at path[t]; where the model overflows the row is NaN and v starts anew.
    In free run: from x, the states are written to `path`; ends early where the run leaves the bound. Returns the steps done.
    """
    n, m = path.shape
    k = v.shape[1]
    size = model.weights.shape[0]
    phi, dphi = np.empty(size), np.empty((size, m))
    jac, s, w = np.empty((m, m)), np.empty((3, m)), np.empty((3, m, k))
    for t in range(n):
        for i in range(m):
            if free:
                path[t, i] = x[i]
            else:
                x[i] = path[t, i]
        advance(model, rows, columns, x, v, phi, dphi, jac, s, w)
        orthonormalize(v, logs[t])
        lost = escaped(model, x)
        if free:
            if lost:
                return t
            continue
        for c in range(k):
            lost = lost or not np.isfinite(logs[t, c])
        if lost:
            for c in range(k):
                logs[t, c] = np.nan
                for r in range(m):
                    v[r, c] = 1.0 if r == c else 0.0
    return n


@njit(cache=True, nogil=True)
def runs(model, rows, columns, starts, states, derivatives):
    """Free runs (S, n, m) from starts (S, m), the first entry being the start itself; NaN from where a run is out of bounds.

    derivatives (S, n, m, q), q = m + P: by the initial state and by the weights at (rows, columns); q = 0 for none.
    """
    n_runs, n, m = states.shape
    q = derivatives.shape[3]
    size = model.weights.shape[0]
    x, v, phi, dphi = np.empty(m), np.empty((m, q)), np.empty(size), np.empty((size, m))
    jac, s, w = np.empty((m, m)), np.empty((3, m)), np.empty((3, m, q))
    for a in range(n_runs):
        for i in range(m):
            x[i] = starts[a, i]
            for c in range(q):
                v[i, c] = 1.0 if i == c else 0.0
        alive = True
        for t in range(n):
            if t > 0 and alive:
                advance(model, rows, columns, x, v, phi, dphi, jac, s, w)
                alive = not escaped(model, x)
            for i in range(m):
                states[a, t, i] = x[i] if alive else np.nan
                for c in range(q):
                    derivatives[a, t, i, c] = v[i, c]


def none() -> np.ndarray:
    """No free weights."""
    return np.empty(0, dtype=np.int64)


def growth_along(model: Arrays, path: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Log growth (T, k) of the tangent vectors v (m, k) (changed in place), each step restarted at path[t].

    Steps over which the model overflows are NaN, and v starts anew.
    """
    logs = np.empty((len(path), v.shape[1]))
    growth(model, none(), none(), path, False, path[0].copy(), v, logs)
    return logs


def growth_free(model: Arrays, x: np.ndarray, v: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Log growth (done, k) and states (done, m) of a free run of n steps from x; x and v are changed in place.

    Ends early where the run leaves the bound.
    """
    logs, path = np.empty((n, v.shape[1])), np.empty((n, len(x)))
    done = growth(model, none(), none(), path, True, x, v, logs)
    return logs[:done], path[:done]


def forecasts(model: Arrays, starts: np.ndarray, horizon: int) -> np.ndarray:
    """Free runs (S, horizon, m) from starts (S, m), the first entry one step ahead; NaN once out of bounds."""
    states = np.empty((len(starts), horizon + 1, starts.shape[1]))
    runs(model, none(), none(), starts, states, np.empty((*states.shape, 0)))
    return states[:, 1:]


def shoot(
    model: Arrays,
    rows: np.ndarray,
    columns: np.ndarray,
    starts: np.ndarray,
    data: np.ndarray,
    readout: np.ndarray,
    initial: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Gauss-Newton blocks of multiple shooting: one free initial state per window, weights in common.

    rows, columns (P,): the free entries of the weights. starts (S, m): initial states; data (S, n, p): observations, the
    first at the initial state; readout (p, m), x_observed = readout @ state. Returns, per window, the residual sum of
    squares (`initial` where the run left the bound) and  H_ss (m, m), H_sp (m, P), g_s (m,), and the sums over windows
    H_pp (P, P), g_p (P,).
    """
    m = starts.shape[1]
    states = np.empty((*data.shape[:2], m))
    derivatives = np.empty((*states.shape, m + len(rows)))
    runs(model, rows, columns, starts, states, derivatives)
    lost = ~np.isfinite(states).all(axis=(1, 2))
    states[lost], derivatives[lost] = 0.0, 0.0
    residual = data - states @ readout.T
    residual[lost] = 0.0
    residual = residual.reshape(len(data), -1)
    seen = np.matmul(readout, derivatives).reshape(*residual.shape, -1)
    own, shared = seen[:, :, :m], seen[:, :, m:]
    turned, flat = own.transpose(0, 2, 1), shared.reshape(-1, len(rows))
    cost = np.where(lost, initial, np.sum(residual**2, axis=1))
    gradient = (turned @ residual[:, :, None])[:, :, 0]
    return cost, turned @ own, turned @ shared, gradient, flat.T @ flat, flat.T @ residual.ravel()


def warm_up() -> None:
    """Compile (or load from the cache) every kernel, on a linear one-dimensional model."""
    model = Arrays(np.array([0, 0]), np.array([0, 0]), np.empty((0, 1)), 0.0, np.array([[0.0], [-0.1]]), 1, 10.0)
    x, v = np.ones(1), np.ones((1, 1))
    design(model, np.ones((2, 1)))
    value_jacobian(model, x, np.empty(2), np.empty((2, 1)), np.empty(1), np.empty((1, 1)))
    growth_along(model, np.ones((2, 1)), v)
    forecasts(model, np.ones((2, 1)), 2)

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
    jac[:, :] = 0.0
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
def advance(model, x, phi, s):
    """x <- state one sampling step later, in place; s is (4, m) scratch."""
    m = x.shape[0]
    if model.substeps == 0:
        value(model, x, phi, s[0])
        x[:] = s[0]
        return
    h = 1.0 / model.substeps
    for _ in range(model.substeps):
        value(model, x, phi, s[0])
        for i in range(m):
            s[1, i] = s[0, i]
            s[2, i] = x[i] + 0.5 * h * s[0, i]
        value(model, s[2], phi, s[0])
        for i in range(m):
            s[1, i] += 2.0 * s[0, i]
            s[2, i] = x[i] + 0.5 * h * s[0, i]
        value(model, s[2], phi, s[0])
        for i in range(m):
            s[1, i] += 2.0 * s[0, i]
            s[2, i] = x[i] + h * s[0, i]
        value(model, s[2], phi, s[0])
        for i in range(m):
            x[i] += h / 6.0 * (s[1, i] + s[0, i])


@njit(cache=True, nogil=True)
def _product(jac, v, out):
    for i in range(jac.shape[0]):
        for c in range(v.shape[1]):
            total = 0.0
            for n in range(jac.shape[1]):
                total += jac[i, n] * v[n, c]
            out[i, c] = total


@njit(cache=True, nogil=True)
def advance_tangent(model, x, v, phi, dphi, jac, s, w):
    """(x, v) <- (F(x), DF(x) v) over one sampling step, in place; s (4, m) and w (3, m, k) are scratch."""
    m, k = v.shape
    if model.substeps == 0:
        value_jacobian(model, x, phi, dphi, s[0], jac)
        _product(jac, v, w[0])
        x[:] = s[0]
        v[:, :] = w[0]
        return
    h = 1.0 / model.substeps
    for _ in range(model.substeps):
        s[2, :] = x
        w[2, :, :] = v
        s[1, :] = 0.0
        w[1, :, :] = 0.0
        for stage in range(4):
            value_jacobian(model, s[2], phi, dphi, s[0], jac)
            _product(jac, w[2], w[0])
            weight = 2.0 if stage == 1 or stage == 2 else 1.0
            ahead = h if stage == 2 else 0.5 * h
            for i in range(m):
                s[1, i] += weight * s[0, i]
                s[2, i] = x[i] + ahead * s[0, i]
                for c in range(k):
                    w[1, i, c] += weight * w[0, i, c]
                    w[2, i, c] = v[i, c] + ahead * w[0, i, c]
        for i in range(m):
            x[i] += h / 6.0 * s[1, i]
            for c in range(k):
                v[i, c] += h / 6.0 * w[1, i, c]


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
def growth_along(model, path, v):
    """Log growth (T, k) of the tangent vectors v (m, k) (changed in place), each step restarted at path[t].

    Steps over which the model overflows are NaN, and v starts anew.
    """
    n, m = path.shape
    k = v.shape[1]
    size = model.weights.shape[0]
    logs = np.empty((n, k))
    x, phi, dphi = np.empty(m), np.empty(size), np.empty((size, m))
    jac, s, w = np.empty((m, m)), np.empty((4, m)), np.empty((3, m, k))
    for t in range(n):
        x[:] = path[t]
        advance_tangent(model, x, v, phi, dphi, jac, s, w)
        orthonormalize(v, logs[t])
        if escaped(model, x) or not np.isfinite(v).all():
            logs[t] = np.nan
            for r in range(m):
                for c in range(k):
                    v[r, c] = 1.0 if r == c else 0.0
    return logs


@njit(cache=True, nogil=True)
def growth_free(model, x, v, n):
    """Log growth (done, k) and states (done, m) of a free run of n steps from x; x and v are changed in place.

    Ends early where the run leaves the bound.
    """
    m = x.shape[0]
    k = v.shape[1]
    size = model.weights.shape[0]
    logs, path = np.empty((n, k)), np.empty((n, m))
    phi, dphi = np.empty(size), np.empty((size, m))
    jac, s, w = np.empty((m, m)), np.empty((4, m)), np.empty((3, m, k))
    for t in range(n):
        path[t] = x
        advance_tangent(model, x, v, phi, dphi, jac, s, w)
        orthonormalize(v, logs[t])
        if escaped(model, x):
            return logs[:t], path[:t]
    return logs, path


@njit(cache=True, nogil=True)
def forecasts(model, starts, horizon):
    """Free runs (S, horizon, m) from starts (S, m), the first entry one step ahead; NaN once out of bounds."""
    n, m = starts.shape
    out = np.full((n, horizon, m), np.nan)
    phi, s, x = np.empty(model.weights.shape[0]), np.empty((4, m)), np.empty(m)
    for i in range(n):
        x[:] = starts[i]
        for t in range(horizon):
            advance(model, x, phi, s)
            if escaped(model, x):
                break
            out[i, t] = x
    return out


@njit(cache=True, nogil=True)
def shoot(model, rows, columns, starts, data, readout, initial):
    """Gauss-Newton blocks of multiple shooting: one free initial state per window, weights in common.

    rows, columns (P,): the free entries of the weights. starts (S, m): initial states; data (S, n, p): observations, the
    first at the initial state; readout (p, m), x_observed = readout @ state. Returns, per window, the residual sum of
    squares and  H_ss (m, m), H_sp (m, P), g_s (m,), and the sums over windows H_pp (P, P), g_p (P,).
    """
    n_windows, m = starts.shape
    n = data.shape[1]
    p_obs = readout.shape[0]
    p = rows.shape[0]
    size = model.weights.shape[0]
    cost = np.zeros(n_windows)
    h_ss, h_sp, g_s = np.zeros((n_windows, m, m)), np.zeros((n_windows, m, p)), np.zeros((n_windows, m))
    h_pp, g_p = np.zeros((p, p)), np.zeros(p)
    x, phi, dphi = np.empty(m), np.empty(size), np.empty((size, m))
    jac, s, q = np.empty((m, m)), np.empty((4, m)), m + p
    v, w = np.empty((m, q)), np.empty((3, m, q))
    sensitivities = np.empty((n * p_obs, q))
    residual = np.empty(n * p_obs)
    for i in range(n_windows):
        x[:] = starts[i]
        v[:, :] = 0.0
        for r in range(m):
            v[r, r] = 1.0
        alive = n
        for t in range(n):
            if t > 0:
                _advance_parameters(model, rows, columns, x, v, phi, dphi, jac, s, w)
                if escaped(model, x):
                    alive = t
                    break
            for o in range(p_obs):
                predicted = 0.0
                for r in range(m):
                    predicted += readout[o, r] * x[r]
                residual[t * p_obs + o] = data[i, t, o] - predicted
                for c in range(q):
                    total = 0.0
                    for r in range(m):
                        total += readout[o, r] * v[r, c]
                    sensitivities[t * p_obs + o, c] = total
        if alive < n:
            cost[i] = initial
            continue
        cost[i] = np.sum(residual**2)
        normal = sensitivities.T @ sensitivities
        gradient = sensitivities.T @ residual
        h_ss[i] = normal[:m, :m]
        h_sp[i] = normal[:m, m:]
        g_s[i] = gradient[:m]
        h_pp += normal[m:, m:]
        g_p += gradient[m:]
    return cost, h_ss, h_sp, g_s, h_pp, g_p


@njit(cache=True, nogil=True)
def _advance_parameters(model, rows, columns, x, v, phi, dphi, jac, s, w):
    """As advance_tangent, v (m, m + P) holding the derivatives by initial state and by the free weights."""
    m, q = v.shape
    steps = max(1, model.substeps)
    h = 1.0 / steps
    for _ in range(steps):
        s[2, :] = x
        w[2, :, :] = v
        s[1, :] = 0.0
        w[1, :, :] = 0.0
        stages = 4 if model.substeps > 0 else 1
        for stage in range(stages):
            value_jacobian(model, s[2], phi, dphi, s[0], jac)
            _product(jac, w[2], w[0])
            for e in range(rows.shape[0]):
                w[0, columns[e], m + e] += phi[rows[e]]
            weight = 2.0 if stage == 1 or stage == 2 else 1.0
            ahead = h if stage == 2 else 0.5 * h
            for i in range(m):
                s[1, i] += weight * s[0, i]
                s[2, i] = x[i] + ahead * s[0, i]
                for c in range(q):
                    w[1, i, c] += weight * w[0, i, c]
                    w[2, i, c] = v[i, c] + ahead * w[0, i, c]
        if model.substeps == 0:
            x[:] = s[1]
            v[:, :] = w[1]
        else:
            for i in range(m):
                x[i] += h / 6.0 * s[1, i]
                for c in range(q):
                    v[i, c] += h / 6.0 * w[1, i, c]


def warm_up() -> None:
    """Compile (or load from the cache) every kernel, on a linear one-dimensional model."""
    model = Arrays(np.array([0, 0]), np.array([0, 0]), np.empty((0, 1)), 0.0, np.array([[0.0], [-0.1]]), 1, 10.0)
    x, v, index = np.ones(1), np.ones((1, 1)), np.array([1])
    design(model, np.ones((2, 1)))
    value_jacobian(model, x, np.empty(2), np.empty((2, 1)), np.empty(1), np.empty((1, 1)))
    growth_along(model, np.ones((2, 1)), v)
    growth_free(model, x, v, 2)
    forecasts(model, np.ones((2, 1)), 2)
    shoot(model, index, np.array([0]), np.ones((2, 1)), np.ones((2, 3, 1)), np.ones((1, 1)), 1.0)

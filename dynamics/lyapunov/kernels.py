"""Compiled kernels: a smooth model x -> W' phi(x), its RK4 flow or one-step map, its tangent dynamics and QR.

Sixteen trajectories advance side by side in the lanes of vector registers. Legend: m state dimension, K features, k tangent
vectors, L lanes; element e of lane l lies at e L + l of a flat array. Time is counted in sampling steps. Features are
monomials, each built from an earlier one by one multiplication, then Gaussians exp(-gamma |B x - c|^2), then hinges
max(x_v - knot, 0)^p.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from dynamics.kernels.lanes import LANES, add, broadcast, fill, fma, gate, lanes_load, lanes_store, mul, relu, sub
from dynamics.lyapunov.lanes import divide, root

L = LANES
TINY = 1e-300
_HALVINGS = 7
_FLOOR = 40.0  # exp(-40) is nothing beside 1
_TAYLOR = np.array([1.0 / math.factorial(n) for n in range(11, -1, -1)])


# A model is two arrays, since more would be counted in and out of every call. Where things lie in them:
M, FRESH, N_POLY, LOW, N_CENTRES, N_KNOTS, POWER, SUBSTEPS = range(8)  # then parents, variables, variables of the knots
INTS = 8
GAMMA, TOLERANCE, BOUND = range(
    3
)  # then weights (fresh, K), slopes (fresh, m, low), centres, moments (fresh, m, C), knots, metric (m, m)
REALS = 3


class Arrays(NamedTuple):
    """A model as the kernels see it."""

    ints: np.ndarray
    reals: np.ndarray


def pack(
    fresh: int,  # leading coordinates that are computed; the others are shifted: x'_i = x_(i-1)
    parents: np.ndarray,  # (K_poly,) monomial j is monomial parents[j] times x[variables[j]]; monomial 0 is 1
    variables: np.ndarray,  # (K_poly,)
    weights: np.ndarray,  # (fresh, K)
    slopes: np.ndarray,  # (fresh, m, low) coefficients of the polynomial part's Jacobian on the first `low` monomials
    centres: np.ndarray,  # (C, m), places of B x
    gamma: float,
    metric: np.ndarray,  # B (m, m)
    knots: np.ndarray,  # (H,)
    knot_variables: np.ndarray,  # (H,)
    power: int,  # of the hinges: 1 or 3
    substeps: int,  # RK4 steps per sampling step at most; 0: the model is a map, one application per step
    tolerance: float,  # steps are as long as |J| h <= tolerance allows (Frobenius norm); 0: all are 1 / substeps
    bound: float,  # |x_i| beyond this counts as divergence
) -> Arrays:
    """A model's two arrays."""
    n_poly = len(parents)
    head = [centres.shape[1], fresh, n_poly, slopes.shape[2], len(centres), len(knots), power, substeps]
    moments = weights[:, None, n_poly : n_poly + len(centres)] * centres.T[None]
    ints = np.concatenate([head, parents, variables, knot_variables]).astype(np.int64)
    reals = [
        [gamma, tolerance, bound],
        weights.ravel(),
        slopes.ravel(),
        centres.ravel(),
        moments.ravel(),
        knots,
        metric.ravel(),
    ]
    return Arrays(ints, np.concatenate(reals).astype(np.float64))


@njit(cache=True, nogil=True)
def decayed(u):
    """exp(-u) of lanes u >= 0, relative error 1e-13: Taylor series of exp(-u / 128), squared seven times."""
    t = mul(sub(fill(_FLOOR), relu(sub(fill(_FLOOR), u))), fill(-1.0 / (1 << _HALVINGS)))
    p = broadcast(_TAYLOR, 0)
    for n in range(1, 12):
        p = fma(p, t, broadcast(_TAYLOR, n))
    for _ in range(_HALVINGS):
        p = mul(p, p)
    return p


@njit(cache=True, nogil=True)
def features(ints, reals, x, phi, tilt):
    """phi(x), (K, L), and in tilt the slopes (H, L) of the hinges and B x (m, L)."""
    lanes_store(phi, 0, fill(1.0))
    m, n_poly, n_centres, n_knots = ints[M], ints[N_POLY], ints[N_CENTRES], ints[N_KNOTS]
    size = n_poly + n_centres + n_knots
    centres = REALS + ints[FRESH] * (size + m * ints[LOW])
    knots = centres + (1 + ints[FRESH]) * m * n_centres
    for j in range(1, n_poly):
        parent, variable = ints[INTS + j], ints[INTS + n_poly + j]
        lanes_store(phi, j * L, mul(lanes_load(phi, parent * L), lanes_load(x, variable * L)))
    if n_centres > 0:
        for i in range(m):
            turned = fill(0.0)
            for n in range(m):
                turned = fma(broadcast(reals, knots + n_knots + i * m + n), lanes_load(x, n * L), turned)
            lanes_store(tilt, (n_knots + i) * L, turned)
    for c in range(n_centres):
        r2 = fill(0.0)
        for i in range(m):
            d = sub(lanes_load(tilt, (n_knots + i) * L), broadcast(reals, centres + c * m + i))
            r2 = fma(d, d, r2)
        lanes_store(phi, (n_poly + c) * L, decayed(mul(r2, broadcast(reals, GAMMA))))
    first = n_poly + n_centres
    for h in range(n_knots):
        d = sub(lanes_load(x, ints[INTS + 2 * n_poly + h] * L), broadcast(reals, knots + h))
        r = relu(d)
        if ints[POWER] == 1:
            lanes_store(phi, (first + h) * L, r)
            lanes_store(tilt, h * L, gate(d, fill(1.0)))
        else:
            lanes_store(phi, (first + h) * L, mul(r, mul(r, r)))
            lanes_store(tilt, h * L, mul(fill(3.0), mul(r, r)))


@njit(cache=True, nogil=True)
def value(ints, reals, x, phi, tilt, out):
    """out (m, L) = W' phi(x)."""
    features(ints, reals, x, phi, tilt)
    size = ints[N_POLY] + ints[N_CENTRES] + ints[N_KNOTS]
    for i in range(ints[FRESH]):
        even, odd, first = fill(0.0), fill(0.0), REALS + i * size  # two sums, which need not wait for each other
        for j in range(0, size - 1, 2):
            even = fma(broadcast(reals, first + j), lanes_load(phi, j * L), even)
            odd = fma(broadcast(reals, first + j + 1), lanes_load(phi, (j + 1) * L), odd)
        if size % 2 == 1:
            even = fma(broadcast(reals, first + size - 1), lanes_load(phi, (size - 1) * L), even)
        lanes_store(out, i * L, add(even, odd))
    for i in range(ints[FRESH], ints[M]):
        lanes_store(out, i * L, lanes_load(x, (i - 1) * L))


@njit(cache=True, nogil=True)
def jacobian(ints, reals, x, phi, tilt, jac):
    """jac (fresh, m, L): derivatives of the computed coordinates; phi and tilt as `features` left them."""
    m, fresh, n_poly, low = ints[M], ints[FRESH], ints[N_POLY], ints[LOW]
    n_centres, n_knots = ints[N_CENTRES], ints[N_KNOTS]
    size = n_poly + n_centres + n_knots
    slopes = REALS + fresh * size
    moments = slopes + fresh * m * low + m * n_centres
    metric = moments + fresh * m * n_centres + n_knots
    twice = fill(2.0 * reals[GAMMA])
    for i in range(fresh):
        bumps = fill(0.0)
        for c in range(n_centres):
            bumps = fma(broadcast(reals, REALS + i * size + n_poly + c), lanes_load(phi, (n_poly + c) * L), bumps)
        for n in range(m):
            total = fill(0.0)
            for j in range(low):
                total = fma(broadcast(reals, slopes + (i * m + n) * low + j), lanes_load(phi, j * L), total)
            lanes_store(jac, (i * m + n) * L, total)
        for n in range(m if n_centres > 0 else 0):
            pull = fill(0.0)
            for c in range(n_centres):
                moment = broadcast(reals, moments + (i * m + n) * n_centres + c)
                pull = fma(moment, lanes_load(phi, (n_poly + c) * L), pull)
            pull = mul(twice, sub(pull, mul(lanes_load(tilt, (n_knots + n) * L), bumps)))
            for v in range(m):
                at, share = (i * m + v) * L, broadcast(reals, metric + n * m + v)
                lanes_store(jac, at, fma(share, pull, lanes_load(jac, at)))
        for h in range(n_knots):
            at = (i * m + ints[INTS + 2 * n_poly + h]) * L
            weight = broadcast(reals, REALS + i * size + n_poly + n_centres + h)
            lanes_store(jac, at, fma(weight, lanes_load(tilt, h * L), lanes_load(jac, at)))


@njit(cache=True, nogil=True)
def stride(ints, reals, jac, left):
    """Length of the next RK4 step of a flow, equal for all lanes; `left` of the sampling step remains."""
    if reals[TOLERANCE] <= 0.0:
        return 1.0 / ints[SUBSTEPS]
    total = fill(0.0)
    for e in range(ints[FRESH] * ints[M]):
        entry = lanes_load(jac, e * L)
        total = fma(entry, entry, total)
    norms = np.empty(L)
    lanes_store(norms, 0, total)
    worst = 0.0
    for lane in range(L):
        if norms[lane] > worst:  # a lane that is lost holds NaN
            worst = norms[lane]
    steps = min(math.ceil(left * math.sqrt(worst) / reals[TOLERANCE]), math.ceil(left * ints[SUBSTEPS]))
    return left / max(1.0, steps)


@njit(cache=True, nogil=True)
def turn(ints, reals, rows, columns, phi, jac, s, w, q):
    """w[0] = DF w[2]; the last P = len(rows) of the q columns gain the derivative by the weight at (rows, columns)."""
    m, fresh, first, block = ints[M], ints[FRESH], q - rows.shape[0], ints[M] * q
    for i in range(fresh):
        for c in range(q):
            total = fill(0.0)
            for n in range(m):
                total = fma(lanes_load(jac, (i * m + n) * L), lanes_load(w, (2 * block + n * q + c) * L), total)
            lanes_store(w, (i * q + c) * L, total)
    for i in range(fresh, m):
        for c in range(q):
            lanes_store(w, (i * q + c) * L, lanes_load(w, (2 * block + (i - 1) * q + c) * L))
    for e in range(rows.shape[0]):
        at = (columns[e] * q + first + e) * L
        lanes_store(w, at, add(lanes_load(w, at), lanes_load(phi, rows[e] * L)))


@njit(cache=True, nogil=True)
def accumulate(n, base, stages, weight, ahead):
    """One stage of RK4 for n numbers per lane, `stages` being their slope, their sum and their next place."""
    a, b = fill(weight), fill(ahead)
    for e in range(n):
        slope = lanes_load(stages, e * L)
        lanes_store(stages, (n + e) * L, fma(a, slope, lanes_load(stages, (n + e) * L)))
        lanes_store(stages, (2 * n + e) * L, fma(b, slope, lanes_load(base, e * L)))


@njit(cache=True, nogil=True)
def rk4(ints, reals, rows, columns, x, v, phi, tilt, jac, s, w, q, left):
    """One RK4 step of x and v; returns its length."""
    m = ints[M]
    for e in range(m):
        lanes_store(s, (m + e) * L, fill(0.0))
        lanes_store(s, (2 * m + e) * L, lanes_load(x, e * L))
    for e in range(m * q):
        lanes_store(w, (m * q + e) * L, fill(0.0))
        lanes_store(w, (2 * m * q + e) * L, lanes_load(v, e * L))
    place, h = s[2 * m * L :], left
    for stage in range(4):
        value(ints, reals, place, phi, tilt, s)
        if q > 0 or (stage == 0 and reals[TOLERANCE] > 0.0):
            jacobian(ints, reals, place, phi, tilt, jac)
        if stage == 0:
            h = stride(ints, reals, jac, left)
        if q > 0:
            turn(ints, reals, rows, columns, phi, jac, s, w, q)
        weight = 2.0 if stage == 1 or stage == 2 else 1.0
        ahead = h if stage == 2 else 0.5 * h
        accumulate(m, x, s, weight, ahead)
        accumulate(m * q, v, w, weight, ahead)
    sixth = fill(h / 6.0)
    for e in range(m):
        lanes_store(x, e * L, fma(sixth, lanes_load(s, (m + e) * L), lanes_load(x, e * L)))
    for e in range(m * q):
        lanes_store(v, e * L, fma(sixth, lanes_load(w, (m * q + e) * L), lanes_load(v, e * L)))
    return h


@njit(cache=True, nogil=True)
def advance(ints, reals, rows, columns, x, v, phi, tilt, jac, s, w, q):
    """(x, v) <- (F(x), DF(x) v) over one sampling step, in place; x (m, L), v (m, q, L).

    Scratch: phi (K, L), tilt (H + m, L), jac (m, m, L), s (3, m, L), w (3, m, q, L). No Jacobian is computed for a map and q = 0.
    """
    m = ints[M]
    if ints[SUBSTEPS] > 0:
        left = 1.0
        while left > 1e-9:
            left -= rk4(ints, reals, rows, columns, x, v, phi, tilt, jac, s, w, q, left)
        return
    value(ints, reals, x, phi, tilt, s)
    if q > 0:
        jacobian(ints, reals, x, phi, tilt, jac)
        for e in range(m * q):
            lanes_store(w, (2 * m * q + e) * L, lanes_load(v, e * L))
        turn(ints, reals, rows, columns, phi, jac, s, w, q)
    for e in range(m):
        lanes_store(x, e * L, lanes_load(s, e * L))
    for e in range(m * q):
        lanes_store(v, e * L, lanes_load(w, e * L))


@njit(cache=True, nogil=True)
def orthonormalize(m, k, v, norms):
    """Gram-Schmidt of the columns of v (m, k, L), in place; norms (k, L) = R_jj."""
    for j in range(k):
        for _ in range(2):  # twice is enough (Kahan-Parlett): the columns may be almost parallel
            for i in range(j):
                dot = fill(0.0)
                for r in range(m):
                    dot = fma(lanes_load(v, (r * k + i) * L), lanes_load(v, (r * k + j) * L), dot)
                for r in range(m):
                    at = (r * k + j) * L
                    lanes_store(v, at, sub(lanes_load(v, at), mul(dot, lanes_load(v, (r * k + i) * L))))
        total = fill(0.0)
        for r in range(m):
            entry = lanes_load(v, (r * k + j) * L)
            total = fma(entry, entry, total)
        norm = root(total)
        lanes_store(norms, j * L, norm)
        inverse = divide(fill(1.0), add(norm, fill(TINY)))
        for r in range(m):
            at = (r * k + j) * L
            lanes_store(v, at, mul(lanes_load(v, at), inverse))


@njit(cache=True, nogil=True)
def lose(ints, reals, x):
    """Lanes of x out of bounds become NaN, so that they stay lost; whether any lane is left."""
    left = False
    for lane in range(L):
        inside = True
        for i in range(ints[M]):
            inside = inside and abs(x[i * L + lane]) <= reals[BOUND]
        left = left or inside
        if not inside:
            for i in range(ints[M]):
                x[i * L + lane] = np.nan
    return left


@njit(cache=True, nogil=True)
def divided(ints, q, space):
    """Scratch space as phi (K, L), tilt (H + m, L), jac (m, m, L), s (3, m, L), w (3, m, q, L), x (m, L), v (m, q, L), norms (q, L)."""
    m, size = ints[M], ints[N_POLY] + ints[N_CENTRES] + ints[N_KNOTS]
    a = size * L
    b = a + (ints[N_KNOTS] + m) * L
    c = b + m * m * L
    d = c + 3 * m * L
    e = d + 3 * m * q * L
    f = e + m * L
    g = f + m * q * L
    return space[:a], space[a:b], space[b:c], space[c:d], space[d:e], space[e:f], space[f:g], space[g : g + q * L]


@njit(cache=True, nogil=True)
def free_growth(ints, reals, rows, columns, x, v, k, every, logs, path, space):
    """Log growth per step of k tangent vectors in free runs from x (m, L); x and v (m, k, L) are changed in place.

    Orthonormalised, and written to logs (n, k, L) and path (n, m, L), every `every` steps. NaN in lanes that left the bound.
    """
    n, m = path.shape[0] // (ints[M] * L), ints[M]
    phi, tilt, jac, s, w, _, _, norms = divided(ints, k, space)
    for t in range(n):
        path[t * m * L : (t + 1) * m * L] = x
        for _ in range(every):
            advance(ints, reals, rows, columns, x, v, phi, tilt, jac, s, w, k)
        orthonormalize(m, k, v, norms)
        for e in range(k * L):
            logs[t * k * L + e] = np.log(norms[e] + TINY) / every
        if not lose(ints, reals, x):
            logs[t * k * L :] = np.nan
            path[t * m * L :] = np.nan
            return


@njit(cache=True, nogil=True)
def path_growth(ints, reals, rows, columns, places, k, v, logs, space):
    """Log growth (n, k, L) of tangent vectors v (m, k, L) along paths (n, m, L): each step starts at the path's own place.

    Where the model overflows the entry is NaN, and the lane's vectors start anew.
    """
    n, m = places.shape[0] // (ints[M] * L), ints[M]
    phi, tilt, jac, s, w, x, _, norms = divided(ints, k, space)
    for t in range(n):
        x[:] = places[t * m * L : (t + 1) * m * L]
        advance(ints, reals, rows, columns, x, v, phi, tilt, jac, s, w, k)
        orthonormalize(m, k, v, norms)
        lose(ints, reals, x)
        for lane in range(L):
            lost = np.isnan(x[lane])
            for c in range(k):
                logs[(t * k + c) * L + lane] = np.log(norms[c * L + lane] + TINY)
                lost = lost or not np.isfinite(norms[c * L + lane])
            if lost:
                for c in range(k):
                    logs[(t * k + c) * L + lane] = np.nan
                    for r in range(m):
                        v[(r * k + c) * L + lane] = 1.0 if r == c else 0.0


@njit(cache=True, nogil=True)
def runs(ints, reals, rows, columns, starts, n, q, states, derivatives, space):
    """Free runs (B, n, m, L) from starts (B, m, L), the first entry being the start itself; NaN from where a lane is lost.

    derivatives (B, n, m, q, L), q = m + P: by the initial state and by the weights at (rows, columns); q = 0 for none.
    """
    m = ints[M]
    phi, tilt, jac, s, w, x, v, _ = divided(ints, q, space)
    for a in range(starts.shape[0] // (m * L)):
        x[:] = starts[a * m * L : (a + 1) * m * L]
        v[:] = 0.0
        if q > 0:
            for i in range(m):
                v[(i * q + i) * L : (i * q + i + 1) * L] = 1.0
        for t in range(n):
            if t > 0:
                advance(ints, reals, rows, columns, x, v, phi, tilt, jac, s, w, q)
                lose(ints, reals, x)
            at = a * n + t
            states[at * m * L : (at + 1) * m * L] = x
            derivatives[at * m * q * L : (at + 1) * m * q * L] = v


@njit(cache=True, nogil=True)
def design_lanes(ints, reals, xs, out):
    """Features (B, K, L) of states (B, m, L)."""
    m, size = ints[M], ints[N_POLY] + ints[N_CENTRES] + ints[N_KNOTS]
    phi, tilt, x = np.empty(size * L), np.empty((ints[N_KNOTS] + m) * L), np.empty(m * L)
    for b in range(xs.shape[0] // (m * L)):
        x[:] = xs[b * m * L : (b + 1) * m * L]
        features(ints, reals, x, phi, tilt)
        out[b * size * L : (b + 1) * size * L] = phi


@njit(cache=True, nogil=True)
def jacobians_lanes(ints, reals, xs, out):
    """Jacobians (B, m, m, L) at states (B, m, L); rows of shifted coordinates are not written."""
    m, size = ints[M], ints[N_POLY] + ints[N_CENTRES] + ints[N_KNOTS]
    phi, tilt = np.empty(size * L), np.empty((ints[N_KNOTS] + m) * L)
    for b in range(xs.shape[0] // (m * L)):
        x = xs[b * m * L : (b + 1) * m * L]
        features(ints, reals, x, phi, tilt)
        jacobian(ints, reals, x, phi, tilt, out[b * m * m * L : (b + 1) * m * m * L])

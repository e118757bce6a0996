"""Arrays in and out of the compiled kernels: sixteen runs at a time, by free run or along given states."""

from __future__ import annotations

import numpy as np

from dynamics.kernels.lanes import aligned
from dynamics.lyapunov import kernels
from dynamics.lyapunov.kernels import LANES, Arrays

WARM_UP_STEPS = 60  # along given states: before a lane's own stretch, for its tangent vectors to turn into place


def none() -> np.ndarray:
    """No free weights."""
    return np.empty(0, dtype=np.int64)


def _space(model: Arrays, q: int) -> np.ndarray:
    """Scratch space of a kernel with q tangent vectors, as `kernels.divided` divides it."""
    m, size = model.ints[kernels.M], model.ints[[kernels.N_POLY, kernels.N_CENTRES, kernels.N_KNOTS]].sum()
    return aligned(int(LANES * (size + model.ints[kernels.N_KNOTS] + m * m + 5 * m + 4 * m * q + q)), np.float64)


def to_lanes(rows: np.ndarray) -> np.ndarray:
    """(S, m) -> flat (B, m, L); the last row fills what is left of the last batch."""
    count = -(-len(rows) // LANES)
    padded = rows[np.minimum(np.arange(count * LANES), len(rows) - 1)]
    out = aligned(padded.size, np.float64)
    out.reshape(count, -1, LANES)[:] = padded.reshape(count, LANES, -1).transpose(0, 2, 1)
    return out


def unit_vectors(dimension: int, k: int) -> np.ndarray:
    """The first k unit vectors in every lane, flat (m, k, L)."""
    out = aligned(dimension * k * LANES, np.float64)
    out[:] = np.repeat(np.eye(dimension)[:, :k].ravel(), LANES)
    return out


def design(model: Arrays, states: np.ndarray) -> np.ndarray:
    """Features of many states: (T, m) -> (T, K)."""
    flat = to_lanes(states)
    m, size = model.ints[kernels.M], int(model.ints[[kernels.N_POLY, kernels.N_CENTRES, kernels.N_KNOTS]].sum())
    out = np.empty(len(flat) // m * size)
    kernels.design_lanes(*model, flat, out)
    return np.ascontiguousarray(out.reshape(-1, size, LANES).transpose(0, 2, 1).reshape(-1, size)[: len(states)])


def jacobians(model: Arrays, states: np.ndarray) -> np.ndarray:
    """Jacobians of W' phi: (T, m) -> (T, m, m)."""
    m, fresh, flat = model.ints[kernels.M], model.ints[kernels.FRESH], to_lanes(states)
    out = np.zeros(len(flat) * m)
    kernels.jacobians_lanes(*model, flat, out)
    found = out.reshape(-1, m * m, LANES).transpose(0, 2, 1).reshape(-1, m, m)[: len(states)]
    found[:, np.arange(fresh, m), np.arange(fresh, m) - 1] = 1.0
    return found


def lane_stretches(n_rows: int) -> np.ndarray:
    """(n, L) rows that the lanes visit: each its share of a path after WARM_UP_STEPS rows before it (at most a twentieth)."""
    share, before = -(-n_rows // LANES), min(WARM_UP_STEPS, n_rows // 20 + 1)
    steps = np.arange(-before, share)[:, None] + share * np.arange(LANES)
    return np.clip(steps, 0, n_rows - 1)


def along(model: Arrays, places: np.ndarray, v: np.ndarray, k: int) -> np.ndarray:
    """Log growth (n, L, k) along paths (n, L, m); v as `unit_vectors` gives it, changed in place. NaN where it overflows."""
    logs = np.empty(len(places) * k * LANES)
    flat = np.ascontiguousarray(places.transpose(0, 2, 1)).ravel()
    kernels.path_growth(*model, none(), none(), flat, k, v, logs, _space(model, k))
    return logs.reshape(-1, k, LANES).transpose(0, 2, 1)


def free(model: Arrays, x: np.ndarray, v: np.ndarray, k: int, n: int, every: int) -> tuple[np.ndarray, np.ndarray]:
    """Log growth per step (n, L, k) and states (n, L, m) of free runs, every `every` steps; x and v are changed in place.

    NaN in lanes that left the bound.
    """
    m = model.ints[kernels.M]
    logs, path = np.empty(n * k * LANES), np.empty(n * m * LANES)
    kernels.free_growth(*model, none(), none(), x, v, k, every, logs, path, _space(model, k))
    return logs.reshape(n, k, LANES).transpose(0, 2, 1), path.reshape(n, m, LANES).transpose(0, 2, 1)


def _runs(
    model: Arrays, rows: np.ndarray, columns: np.ndarray, starts: np.ndarray, n: int, q: int
) -> tuple[np.ndarray, np.ndarray]:
    """States (S, n, m) and derivatives (S, n, m, q)."""
    m, flat = model.ints[kernels.M], to_lanes(starts)
    states = np.empty(len(flat) * n)
    derivatives = np.empty(len(flat) * n * q)
    kernels.runs(*model, rows, columns, flat, n, q, states, derivatives, _space(model, q))
    batches = len(flat) // (m * LANES)
    turned = states.reshape(batches, n, m, LANES).transpose(0, 3, 1, 2).reshape(batches * LANES, n, m)
    slopes = derivatives.reshape(batches, n, m, q, LANES).transpose(0, 4, 1, 2, 3).reshape(batches * LANES, n, m, q)
    return turned[: len(starts)], slopes[: len(starts)]


def forecasts(model: Arrays, starts: np.ndarray, horizon: int) -> np.ndarray:
    """Free runs (S, horizon, m) from starts (S, m), the first entry one step ahead; NaN once out of bounds."""
    return _runs(model, none(), none(), starts, horizon + 1, 0)[0][:, 1:]


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
    states, derivatives = _runs(model, rows, columns, starts, data.shape[1], m + len(rows))
    lost = ~(np.isfinite(states).all(axis=(1, 2)) & np.isfinite(derivatives[:, -1]).all(axis=(1, 2)))
    states[lost], derivatives[lost] = 0.0, 0.0
    residual = data - states @ readout.T
    residual[lost] = 0.0
    residual = residual.reshape(len(data), -1)
    plain = readout.shape[0] == m and np.array_equal(readout, np.eye(m))
    seen = (derivatives if plain else np.matmul(readout, derivatives)).reshape(*residual.shape, -1)
    own, shared = seen[:, :, :m], seen[:, :, m:]
    turned, flat = own.transpose(0, 2, 1), shared.reshape(-1, len(rows))
    cost = np.where(lost, initial, np.sum(residual**2, axis=1))
    gradient = (turned @ residual[:, :, None])[:, :, 0]
    return cost, turned @ own, turned @ shared, gradient, flat.T @ flat, flat.T @ residual.ravel()


def warm_up() -> None:
    """Compile (or load from the cache) every kernel, on a linear one-dimensional model."""
    one, empty = np.zeros(1), np.empty(0)
    flat, index = np.empty((0, 1)), np.zeros(2, dtype=np.int64)
    model = kernels.pack(
        1,
        index,
        index,
        np.array([[0.0, -0.1]]),
        np.full((1, 1, 1), -0.1),
        flat,
        0.0,
        np.eye(1),
        empty,
        index[:0],
        1,
        1,
        0.0,
        10.0,
    )
    design(model, one[None])
    jacobians(model, one[None])
    along(model, np.ones((1, LANES, 1)), unit_vectors(1, 1), 1)
    free(model, np.ones(LANES), unit_vectors(1, 1), 1, 1, 1)
    forecasts(model, one[None], 1)

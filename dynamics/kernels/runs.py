"""Free runs of a trained model and its Lyapunov spectrum, compiled; float64 throughout."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from dynamics.kernels import maps
from dynamics.kernels.device import device
from dynamics.kernels.lanes import LANES, aligned
from models import TrainedModel


def prepare(model: TrainedModel) -> tuple[maps.MapTag, np.ndarray, int]:
    """A model as the kernels read it: tag, flat float64 parameters, number of hidden units."""
    tag = maps.MapTag(model.architecture, model.latent_dim)
    return tag, maps.pack(model.architecture, model.params, np.float64), model.hidden_dim


@njit(cache=True, nogil=True, error_model="numpy")
def _free_run(tag, theta, hidden, state, following, states, every):
    """states[k, b] after (k + 1) `every` steps, b < 16; `state` (M, 16) is advanced in place."""
    m = tag.latent_dim
    n_lanes = states.shape[1]
    for k in range(states.shape[0]):
        for _ in range(every):
            maps.step(tag, theta, hidden, state, 0, following, 0)
            state[:] = following
        for u in range(m):
            for b in range(n_lanes):
                states[k, b, u] = state[u * LANES + b]


def free_run(model: TrainedModel, z0: np.ndarray, n_steps: int, every: int = 1) -> np.ndarray:
    """States after 1..n_steps steps from z0: (B, M) -> (n_steps, B, M), float64; with `every`, only each such step.

    The same map as `TrainedModel.free_run`, sixteen trajectories per vector; a trajectory that diverges becomes inf or
    NaN and does not touch the others.
    """
    tag, theta, hidden = prepare(model)
    z0 = np.atleast_2d(np.asarray(z0, np.float64))
    states = np.empty((n_steps // every, *z0.shape))
    for first in range(0, len(z0), LANES):
        group = z0[first : first + LANES]
        state, following = aligned(group.shape[1] * LANES, np.float64), aligned(group.shape[1] * LANES, np.float64)
        state.reshape(-1, LANES)[:, : len(group)] = group.T
        _free_run(tag, theta, hidden, state, following, states[:, first : first + LANES], every)
    return states


@device
def _orthonormalise(q, logs):
    """Modified Gram-Schmidt on the columns of q in place; adds log |r_jj| to logs."""
    m = q.shape[0]
    for j in range(m):
        for i in range(j):
            overlap = 0.0
            for a in range(m):
                overlap += q[a, i] * q[a, j]
            for a in range(m):
                q[a, j] -= overlap * q[a, i]
        norm = 0.0
        for a in range(m):
            norm += q[a, j] * q[a, j]
        norm = math.sqrt(norm)
        logs[j] += math.log(norm) if norm > 0.0 else -math.inf
        for a in range(m):
            q[a, j] = q[a, j] / norm if norm > 0.0 else (1.0 if a == j else 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _lyapunov(tag, theta, hidden, state, z, q, logs, n_steps):
    """Advance one trajectory (lane 0 of `state`) and its tangent frame q (M, M) by n_steps."""
    m = tag.latent_dim
    jacobian, product = np.empty((m, m)), np.empty((m, m))
    following = np.empty_like(state)
    for _ in range(n_steps):
        for u in range(m):
            z[u] = state[u * LANES]
        maps.jacobian(tag, theta, hidden, z, jacobian)
        for a in range(m):
            for b in range(m):
                product[a, b] = 0.0
            for c in range(m):
                for b in range(m):
                    product[a, b] += jacobian[a, c] * q[c, b]
        q[:, :] = product
        _orthonormalise(q, logs)
        maps.step(tag, theta, hidden, state, 0, following, 0)
        state[:] = following


def lyapunov_qr(model: TrainedModel, z0: np.ndarray, n_steps: int, n_transient: int) -> tuple[np.ndarray, np.ndarray]:
    """Lyapunov exponents of the model's own free run, per step, descending, and how they converged.

    lambda_i = 1/T sum_t ln R_ii(t), J(z_t) Q_{t-1} = Q_t R_t (Benettin et al. 1980; Geist et al. 1990), after
    `n_transient` steps in which the state and the frame settle. z0: (M,) or (B, M); with B > 1 trajectories of n_steps
    each are averaged. Returns (M,) and the running estimate at up to 100 evenly spaced times (K, M).
    A trajectory that diverges gives NaN; a singular Jacobian gives -inf for the direction that dies.
    """
    tag, theta, hidden = prepare(model)
    starts = np.atleast_2d(np.asarray(z0, np.float64))
    n_blocks = min(100, n_steps)
    ends = np.linspace(0, n_steps, n_blocks + 1).astype(int)[1:]
    running = np.zeros((n_blocks, model.latent_dim))
    with np.errstate(invalid="ignore"):
        for start in starts:
            state, frame = aligned(start.size * LANES, np.float64), np.eye(start.size)
            state.reshape(-1, LANES)[:] = start[:, None]
            logs, z, done = np.zeros(start.size), np.empty(start.size), 0
            _lyapunov(tag, theta, hidden, state, z, frame, logs, n_transient)
            logs[:] = 0.0
            for k, end in enumerate(ends):
                _lyapunov(tag, theta, hidden, state, z, frame, logs, int(end) - done)
                done = int(end)
                running[k] += logs / done
        running /= len(starts)
    order = np.argsort(-running[-1], kind="stable")
    return running[-1][order], running[:, order]

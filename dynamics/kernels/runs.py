"""Free runs of a trained model and its Lyapunov spectrum, compiled; float64 throughout."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from dynamics.kernels import dense, maps
from dynamics.kernels.device import device
from dynamics.kernels.lanes import LANES, aligned
from models import TrainedModel
from models.base import Size
from models.trained import Drive


class Run(NamedTuple):
    """A model as the kernels read it, with the scratch of sixteen trajectories and their inputs."""

    theta: np.ndarray  # map parameters, float64
    size: Size
    coupling: np.ndarray  # C (M, K), flat
    inputs: np.ndarray  # (L, K) flat; what every trajectory reads from its own row on, cyclically
    rows: np.ndarray  # (16,) row that each trajectory reads at its next step
    n_inputs: int  # K
    n_rows: int  # L
    state: np.ndarray  # (M, 16)
    following: np.ndarray  # (M, 16)
    memory: np.ndarray  # of one step
    drive: np.ndarray  # (K, 16)
    work: np.ndarray  # scratch of a Jacobian


def prepare(model: TrainedModel, z0: np.ndarray, drive: Drive | None, first: int) -> tuple[maps.MapTag, Run]:
    """Up to sixteen trajectories from z0 (B, M), the first of which is number `first` of the drive."""
    if (model.inputs is None) != (drive is None):
        raise ValueError("a model with inputs runs under a drive, one without inputs runs without")
    tag, size = maps.make_tag(model.architecture, model.size), model.size
    coupling = np.empty((size.latent, 0)) if model.inputs is None else model.inputs.C
    values = np.empty((1, 0)) if drive is None else drive.values
    rows = np.zeros(LANES, np.int64)
    if drive is not None:
        rows[: len(z0)] = drive.rows[first : first + len(z0)]
    state, following = aligned(size.latent * LANES, np.float64), aligned(size.latent * LANES, np.float64)
    state.reshape(-1, LANES)[:, : len(z0)] = z0.T
    run = Run(
        maps.pack(model.architecture, model.params, np.float64),
        size,
        np.ascontiguousarray(coupling, np.float64).ravel(),
        np.ascontiguousarray(values, np.float64).ravel(),
        rows,
        coupling.shape[1],
        len(values),
        state,
        following,
        aligned(maps.layout(tag).memory_size(size) * LANES, np.float64),
        aligned(coupling.shape[1] * LANES, np.float64),
        np.empty(maps.layout(tag).work_size(size)),
    )
    return tag, run


@device
def _advance(tag, run):
    """One step of all sixteen trajectories."""
    maps.step(tag, run.theta, run.size, run.state, 0, run.following, 0, run.memory, 0)
    if run.n_inputs > 0:
        for b in range(LANES):
            at = (run.rows[b] % run.n_rows) * run.n_inputs
            for k in range(run.n_inputs):
                run.drive[k * LANES + b] = run.inputs[at + k]
            run.rows[b] += 1
        dense.product(run.coupling, 0, maps.latent_units(tag, run.size), run.n_inputs, run.drive, 0, run.following, 0)
    for i in range(len(run.state)):
        run.state[i] = run.following[i]


@njit(cache=True, nogil=True, error_model="numpy")
def _free_run(tag, run, states, every):
    """states[k, b] after (k + 1) `every` steps, b < 16."""
    n_lanes = states.shape[1]
    for k in range(states.shape[0]):
        for _ in range(every):
            _advance(tag, run)
        for u in range(states.shape[2]):
            for b in range(n_lanes):
                states[k, b, u] = run.state[u * LANES + b]


def free_run(
    model: TrainedModel, z0: np.ndarray, n_steps: int, every: int = 1, drive: Drive | None = None
) -> np.ndarray:
    """States after 1..n_steps steps from z0: (B, M) -> (n_steps, B, M), float64; with `every`, only each such step.

    The same map as `TrainedModel.free_run`, sixteen trajectories per vector; a trajectory that diverges becomes inf or
    NaN and does not touch the others. A model with inputs needs their `drive`.
    """
    z0 = np.atleast_2d(np.asarray(z0, np.float64))
    states = np.empty((n_steps // every, *z0.shape))
    for first in range(0, len(z0), LANES):
        tag, run = prepare(model, z0[first : first + LANES], drive, first)
        _free_run(tag, run, states[:, first : first + LANES], every)
    return states


@device
def _orthonormalise(q, logs):
    """Modified Gram-Schmidt on the columns of q (M, k) in place; adds log |r_jj| to logs."""
    m, k = q.shape
    for j in range(k):
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
def _lyapunov(tag, run, z, q, logs, n_steps):
    """Advance one trajectory (lane 0) and its tangent frame q (M, k) by n_steps."""
    m, k = q.shape
    jacobian, product = np.empty((m, m)), np.empty((m, k))
    for _ in range(n_steps):
        for u in range(m):
            z[u] = run.state[u * LANES]
        maps.jacobian(tag, run.theta, run.size, z, jacobian, run.work)
        for a in range(m):
            for b in range(k):
                product[a, b] = 0.0
            for c in range(m):
                for b in range(k):
                    product[a, b] += jacobian[a, c] * q[c, b]
        q[:, :] = product
        _orthonormalise(q, logs)
        _advance(tag, run)


def lyapunov_qr(
    model: TrainedModel,
    z0: np.ndarray,
    n_steps: int,
    n_transient: int,
    drive: Drive | None = None,
    n_exponents: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Lyapunov exponents of the model's own free run, per step, descending, and how they converged.

    lambda_i = 1/T sum_t ln R_ii(t), J(z_t) Q_{t-1} = Q_t R_t (Benettin et al. 1980; Geist et al. 1990), after
    `n_transient` steps in which the state and the frame settle. z0: (M,) or (B, M); with B > 1 trajectories of n_steps
    each are averaged. Returns (k,) and the running estimate at up to 100 evenly spaced times (K, k), k = M unless only the
    leading `n_exponents` are asked for. A trajectory that diverges gives NaN; a singular Jacobian gives -inf for the
    direction that dies. Exponents of a model with inputs are those under its `drive`.
    """
    starts = np.atleast_2d(np.asarray(z0, np.float64))
    count = min(model.latent_dim, n_exponents or model.latent_dim)
    n_blocks = min(100, n_steps)
    ends = np.linspace(0, n_steps, n_blocks + 1).astype(int)[1:]
    running = np.zeros((n_blocks, count))
    with np.errstate(invalid="ignore"):
        for b, start in enumerate(starts):
            tag, run = prepare(model, start[None], drive, b)
            run.state.reshape(-1, LANES)[:] = start[:, None]
            frame = np.eye(start.size, count)
            logs, z, done = np.zeros(count), np.empty(start.size), 0
            _lyapunov(tag, run, z, frame, logs, n_transient)
            logs[:] = 0.0
            for k, end in enumerate(ends):
                _lyapunov(tag, run, z, frame, logs, int(end) - done)
                done = int(end)
                running[k] += logs / done
        running /= len(starts)
    order = np.argsort(-running[-1], kind="stable")
    return running[-1][order], running[:, order]

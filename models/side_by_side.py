"""Many states of one map, stepped side by side in buffers that are made once; numpy only.

States stand beside each other in the memory, (M, S): what is done with all of them then runs along it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from models.base import Layer
from models.trained import TrainedModel


def advance(model: TrainedModel, z: np.ndarray, n_steps: int, pushes: np.ndarray | None = None) -> np.ndarray:
    """States after each of the steps z <- F(z) + push: z (M, S), pushes (n_steps, M, S or 1) -> (n_steps, M, S).

    A push is whatever is added to all that F says: noise, external inputs, C s. The precision is that of z. Diverged
    states are inf or NaN, never an error. A map of one hidden layer is computed as such, which is twice as fast and equal
    to `Architecture.step` up to the rounding of another order of summation.
    """
    layer = model.map.layer(model.params)
    with np.errstate(over="ignore", invalid="ignore"):
        return _by_step(model, z, n_steps, pushes) if layer is None else _by_layer(layer, z, n_steps, pushes)


class _Buffers(NamedTuple):
    """Views of one block of memory, [hidden; z; 1]: the layer's outer matrix takes it whole, its inner one the end of it."""

    whole: np.ndarray  # (H + M + 1, S)
    hidden: np.ndarray  # (H, S)
    state: np.ndarray  # (M + 1, S), the last row being 1


def _by_layer(layer: Layer, z: np.ndarray, n_steps: int, pushes: np.ndarray | None) -> np.ndarray:
    """z' = outer [clip(inner [z; 1], lower, upper); z; 1]. The outer matrix has a last row that makes the 1 anew: a product
    with four rows takes two thirds of the time of one with three."""
    (m, n_states), n_hidden, dtype = z.shape, len(layer.inner), z.dtype
    whole = np.ones((n_hidden + m + 1, n_states), dtype)
    at = _Buffers(whole, whole[:n_hidden], whole[n_hidden:])
    at.state[:m] = z
    inner, outer = layer.inner.astype(dtype), np.zeros((m + 1, len(whole)), dtype)
    outer[:m], outer[m, -1] = layer.outer, 1
    lower, upper = _beside(layer.lower, at), None if layer.upper is None else _beside(layer.upper, at)
    after, moved = np.empty((n_steps, m + 1, n_states), dtype), at.state[:m]
    for t in range(n_steps):
        np.matmul(inner, at.state, out=at.hidden)
        np.maximum(at.hidden, lower, out=at.hidden)
        if upper is not None:
            np.minimum(at.hidden, upper, out=at.hidden)
        np.matmul(outer, at.whole, out=after[t])
        if pushes is None:
            at.state[:] = after[t]
        else:
            np.add(after[t, :m], pushes[t], out=moved)
    states = after[:, :m]
    if pushes is not None:
        states += pushes
    return states


def _beside(bound: np.ndarray, at: _Buffers) -> np.ndarray:
    """A bound of every hidden unit, repeated for every state: arrays of one shape are compared several times faster."""
    return np.repeat(bound.astype(at.whole.dtype)[:, None], at.whole.shape[1], axis=1)


def _by_step(model: TrainedModel, z: np.ndarray, n_steps: int, pushes: np.ndarray | None) -> np.ndarray:
    step, params = model.map.step, model.spread(z.shape[1]).params
    states = np.empty((n_steps, z.shape[1], z.shape[0]), z.dtype)
    now = np.ascontiguousarray(z.T)
    for t in range(n_steps):
        now = step(params, now)
        if pushes is not None:
            now += pushes[t].T
        states[t] = now
    return states.swapaxes(1, 2)

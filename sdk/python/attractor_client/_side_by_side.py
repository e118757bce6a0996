"""Many states of one map, stepped side by side as the service steps them: the same operations in the same order, so that
the same parameters give the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from attractor_client._maps import MAPS, Params


class Layer(NamedTuple):
    """A map of one hidden layer: F(z) = outer [clip(inner [z; 1], lower, upper); z; 1]."""

    inner: np.ndarray  # (H, M + 1)
    outer: np.ndarray  # (M, H + M + 1)
    lower: np.ndarray  # (H,)
    upper: np.ndarray | None = None  # (H,)


def _outer(p: Params) -> np.ndarray:
    return np.concatenate([p["W1"], np.diag(p["A"]), p["h1"][:, None]], axis=1)


def _shplrnn(p: Params) -> Layer:
    inner = np.concatenate([p["W2"], p["h2"][:, None]], axis=1)
    return Layer(inner, _outer(p), np.zeros_like(p["h2"]))


def _clipped_shplrnn(p: Params) -> Layer:
    """relu(u + h) - relu(u) = clip(u + h, 0, h) for h >= 0 and clip(-u, h, 0) for h < 0."""
    h2 = p["h2"]
    inner = np.concatenate([p["W2"] * np.where(h2 < 0, -1, 1)[:, None], np.maximum(h2, 0)[:, None]], axis=1)
    return Layer(inner, _outer(p), np.minimum(h2, 0), np.maximum(h2, 0))


LAYERS: dict[str, Callable[[Params], Layer]] = {"shplrnn": _shplrnn, "clipped-shplrnn": _clipped_shplrnn}


def advance(
    architecture: str, params: Params, z: np.ndarray, n_steps: int, pushes: np.ndarray | None = None
) -> np.ndarray:
    """States after each of the steps z <- F(z) + push: z (M, S), pushes (n_steps, M, S or 1) -> (n_steps, M, S)."""
    with np.errstate(over="ignore", invalid="ignore"):
        if architecture in LAYERS:
            return _by_layer(LAYERS[architecture](params), z, n_steps, pushes)
        states, now = np.empty((n_steps, z.shape[1], z.shape[0]), z.dtype), np.ascontiguousarray(z.T)
        for t in range(n_steps):
            now = MAPS[architecture](params, now)
            if pushes is not None:
                now += pushes[t].T
            states[t] = now
        return states.swapaxes(1, 2)


def _by_layer(layer: Layer, z: np.ndarray, n_steps: int, pushes: np.ndarray | None) -> np.ndarray:
    """All in one block of memory, [hidden; z; 1]; the outer matrix has a last row that makes the 1 anew."""
    (m, n_states), n_hidden, dtype = z.shape, len(layer.inner), z.dtype
    whole = np.ones((n_hidden + m + 1, n_states), dtype)
    hidden, state, moved = whole[:n_hidden], whole[n_hidden:], whole[n_hidden : n_hidden + m]
    moved[:] = z
    inner, outer = layer.inner.astype(dtype), np.zeros((m + 1, len(whole)), dtype)
    outer[:m], outer[m, -1] = layer.outer, 1
    lower = np.repeat(layer.lower.astype(dtype)[:, None], n_states, axis=1)
    upper = None if layer.upper is None else np.repeat(layer.upper.astype(dtype)[:, None], n_states, axis=1)
    after = np.empty((n_steps, m + 1, n_states), dtype)
    for t in range(n_steps):
        np.matmul(inner, state, out=hidden)
        np.maximum(hidden, lower, out=hidden)
        if upper is not None:
            np.minimum(hidden, upper, out=hidden)
        np.matmul(outer, whole, out=after[t])
        if pushes is None:
            state[:] = after[t]
        else:
            np.add(after[t, :m], pushes[t], out=moved)
    states = after[:, :m]
    if pushes is not None:
        states += pushes
    return states

"""What the architectures share: rectifier, gates, norms (numpy and torch alike) and random matrices."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

_MOST_DRAWS, _STEPS, _FAR = 100, 200, 20.0  # of `tame`
_KEPT = 100_000  # zeros of at most so many numbers are kept
THRESHOLD_RANGE = 3.0  # initial thresholds cover the range of the data, about three standard deviations either way


def relu(x: Any, xp: Any = np) -> Any:
    """max(x, 0); NaN stays NaN. Not `clip`, whose gradient in torch is 1 at the kink."""
    return np.maximum(x, _zeros(x.shape, x.dtype)) if xp is np else xp.relu(x)


def clipped(x: Any, shift: Any, xp: Any = np) -> Any:
    """relu(x + shift) - relu(x): between 0 and shift."""
    if xp is not np:
        return xp.relu(x + shift) - xp.relu(x)
    shifted = x + shift
    np.maximum(shifted, _zeros(shifted.shape, shifted.dtype), out=shifted)
    return np.subtract(shifted, relu(x), out=shifted)


def _zeros(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Zeros of x's own shape, against which numpy compares three times as fast as against a number."""
    return _kept_zeros(shape, dtype) if math.prod(shape) <= _KEPT else np.zeros(shape, dtype)


@lru_cache(maxsize=32)
def _kept_zeros(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    zeros = np.zeros(shape, dtype)
    zeros.flags.writeable = False
    return zeros


def sigmoid(x: Any, xp: Any = np) -> Any:
    """1 / (1 + exp(-x)), in a form that cannot overflow."""
    return 0.5 * xp.tanh(0.5 * x) + 0.5


def gate(x: Any, xp: Any = np) -> Any:
    """1 where x > 0, else 0: the derivative of relu (0 at the kink, as in torch)."""
    return xp.where(x > 0, xp.ones_like(x), xp.zeros_like(x))


def frobenius(matrix: Any) -> float:
    """||W||_F, which is at least the spectral norm."""
    return float((matrix * matrix).sum()) ** 0.5


def largest(vector: Any) -> float:
    """max_i |a_i|: the spectral norm of diag(a)."""
    return float(abs(vector).max())


def positive_definite(rng: np.random.Generator, m: int) -> np.ndarray:
    """A random positive definite (M, M) matrix with largest eigenvalue 1; for M = 1 the corner of a (2, 2) one, not 1 itself.

    Source: Talathi & Vartak 2016, Improving performance of recurrent neural network with relu nonlinearity, arXiv:1511.03771.
    """
    n = max(m, 2)
    gaussian = rng.standard_normal((n, n))
    positive = gaussian @ gaussian.T / n + np.eye(n)
    return (positive / np.linalg.eigvalsh(positive).max())[:m, :m]


def linear_part(rng: np.random.Generator, m: int) -> tuple[np.ndarray, np.ndarray]:
    """A (M) and W (M, M): diagonal and off-diagonal of a random positive definite matrix, as in the published code of PLRNNs."""
    matrix = positive_definite(rng, m)
    a = np.diagonal(matrix).copy()
    return a, matrix - np.diag(a)


def tame(
    draw: Callable[[], dict[str, np.ndarray]], step: Callable[[dict[str, np.ndarray], Any], Any]
) -> dict[str, np.ndarray]:
    """Parameters from `draw`, drawn again (up to a hundred times) while free runs from states of std 2 explode.

    Maps that are not bounded by construction explode from a third of the published initial parameters, where a unit or
    two meet many hidden units; sparse forcing lets them run for a hundred steps and more.
    """
    for _ in range(_MOST_DRAWS):
        params = draw()
        m = next(iter(params.values())).shape[0]
        n_starts = min(64, max(8, 256 // m))  # the fewer units, the narrower can be the cone that runs away
        z = 2 * np.random.default_rng(0).standard_normal((n_starts, m))
        with np.errstate(over="ignore", invalid="ignore"):
            for _ in range(_STEPS):
                z = step(params, z)
        if np.all(np.abs(z) <= _FAR):
            break
    return params


def uniform(rng: np.random.Generator, shape: tuple[int, ...], fan_in: int) -> np.ndarray:
    """Uniform in +-1 / sqrt(fan_in)."""
    return rng.uniform(-1, 1, shape) / np.sqrt(fan_in)

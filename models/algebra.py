"""What the architectures share: rectifier, gate, norms and random matrices, for numpy and torch alike."""

from __future__ import annotations

from typing import Any

import numpy as np


def relu(x: Any, xp: Any = np) -> Any:
    return xp.clip(x, 0, None)


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
    """A random positive definite (M, M) matrix with largest eigenvalue 1.

    Source: Talathi & Vartak 2016, Improving performance of recurrent neural network with relu nonlinearity, arXiv:1511.03771.
    """
    gaussian = rng.standard_normal((m, m))
    positive = gaussian @ gaussian.T / m + np.eye(m)
    return positive / np.linalg.eigvalsh(positive).max()


def uniform(rng: np.random.Generator, shape: tuple[int, ...], fan_in: int) -> np.ndarray:
    """Uniform in +-1 / sqrt(fan_in)."""
    return rng.uniform(-1, 1, shape) / np.sqrt(fan_in)

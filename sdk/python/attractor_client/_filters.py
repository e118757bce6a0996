"""States seen through a filter: what a context tells of them, and what is seen of those to come; docs/science/observation.md."""

from __future__ import annotations

import numpy as np

CONTEXT = 2  # kernels that a forecast starts from


def histories(tensors: dict[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Wiener deconvolution of standardised rows (n, N), with the L - 1 rows before them: (n + L - 1, N)."""
    kernel, n = tensors["filter.kernel"], len(rows)
    found = np.empty((n + len(kernel) - 1, rows.shape[1]))
    for c, (a, quality) in enumerate(
        zip(tensors["filter.persistence"], tensors["filter.signal_to_noise"], strict=True)
    ):
        between, own = _covariances(kernel, float(a), n)
        found[:, c] = between @ np.linalg.solve(own + np.eye(n) / quality, rows[:, c])
    return found


def _covariances(kernel: np.ndarray, persistence: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """cov(z, x) (n + L - 1, n) and cov(x, x) (n, n) of states z of autocovariance a^|k|; z begins L - 1 rows before x."""
    length = len(kernel)
    reach = n + length
    distance = np.arange(-reach, reach + 1)
    cross = persistence ** np.abs(distance[:, None] - np.arange(length)) @ kernel
    own = np.array([kernel @ cross[d + reach + np.arange(length)] for d in range(n)])
    z, x = np.arange(n + length - 1) - (length - 1), np.arange(n)
    return cross[(x - z[:, None]) + reach], own[np.abs(x - x[:, None])]


def convolve(kernel: np.ndarray, states: np.ndarray) -> np.ndarray:
    """(h * z)_t for every t that has all of the kernel: (T, M, S) -> (T - L + 1, M, S)."""
    rows = len(states) - len(kernel) + 1
    band = np.zeros((rows, len(states)), states.dtype)
    for row in range(rows):
        band[row, row : row + len(kernel)] = kernel[::-1]
    return np.tensordot(band, states, 1)

"""States seen through a filter: what a context tells of them, and what is seen of those to come; docs/science/observation.md."""

from __future__ import annotations

import numpy as np

CONTEXT = 2  # kernels that a forecast starts from
WINDOW = 4  # kernels


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


def doubts(tensors: dict[str, np.ndarray], n: int, lead: int) -> np.ndarray:
    """Square roots (N, L, L) of the covariance of what n rows leave open of the last L rows of `histories` but `lead`."""
    kernel = tensors["filter.kernel"]
    length = len(kernel)
    rows = slice(n - 1 - lead, n + length - 1 - lead)
    found = np.empty((len(tensors["filter.persistence"]), length, length))
    for c, (a, quality, noise) in enumerate(
        zip(*(tensors[f"filter.{k}"] for k in ("persistence", "signal_to_noise", "noise_std")), strict=True)
    ):
        between, own = _covariances(kernel, float(a), n)
        prior = float(a) ** np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
        left = prior - between[rows] @ np.linalg.solve(own + np.eye(n) / quality, between[rows].T)
        values, vectors = np.linalg.eigh((left + left.T) / 2)
        found[c] = np.sqrt(quality) * noise * (vectors * np.sqrt(values.clip(min=0)) @ vectors.T)
    return found


def deconvolve(tensors: dict[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
    """What was filtered, at every row: (T, N) -> (T, N); longer series by a window of four kernels, whose middle row is the estimate."""
    before = len(tensors["filter.kernel"]) - 1
    window = WINDOW * (before + 1)
    if len(rows) <= 2 * window:
        return histories(tensors, rows)[before:]
    half, stretches = window // 2, np.lib.stride_tricks.sliding_window_view(rows, window, axis=0)  # (n, N, window)
    found = np.empty_like(rows)
    identity = np.eye(window)
    for c in range(rows.shape[1]):
        one = {k: v if k == "filter.kernel" else v[c : c + 1] for k, v in tensors.items() if k.startswith("filter.")}
        gain = np.stack([histories(one, identity[:, j : j + 1])[:, 0] for j in range(window)], axis=1)[before:]
        found[:half, c], found[half - window :, c] = gain[:half] @ rows[:window, c], gain[half:] @ rows[-window:, c]
        found[half : half + len(stretches), c] = stretches[:, c] @ gain[half]
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

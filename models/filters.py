"""States seen through a filter, x_t = sum_k h_k z_{t-k}: the kernels h, the convolution, and its regularised inverse. numpy only.

The inverse is the Wiener filter of a finite window: the best linear estimate of z from n rows of x, where each channel is a
stationary z of autocovariance v a^|k| seen through h with white noise of variance v / q. With K, S the covariances of z and x,
z^ = G x, G = K H^T (H K H^T + I / q)^-1; q is the signal-to-noise ratio. It needs no padding, knows nothing of a period, and says
how much of z each row's estimate explains: less at both ends, which is what is cut there.
Sources: Wiener 1949; Rasmussen & Williams 2006, eq. 2.25 (the same as a Gaussian process).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

PEAK, UNDERSHOOT, RATIO, LENGTH = 6.0, 16.0, 6.0, 32.0  # seconds; both dispersions are 1
DECAY_TIMES = 5.0  # of an exponential kernel; what is cut off is 0.7 % of it
WINDOW = 4  # kernels; the estimate in the middle of such a window is that of a longer one to a few digits
CONTEXT = 2  # kernels that a forecast starts from
BLOCK = 64  # rows that are convolved at once
LEAST_EXPLAINED = 0.9  # of what the middle of a long window explains; rows that explain less are cut


def haemodynamic(repetition_time: float) -> np.ndarray:
    """SPM's canonical response at 0, TR, 2 TR ... <= 32 s, of sum 1: t^5 e^-t / 5! - t^15 e^-t / (6 15!), t in seconds.

    The difference of two gamma densities of delays 6 and 16 s, dispersions 1 s and ratio 6. Source: Friston et al. 1998,
    "Event-related fMRI: characterizing differential responses", NeuroImage 7; SPM12, spm_hrf.
    """
    t = np.arange(int(LENGTH / repetition_time) + 1) * repetition_time
    with np.errstate(divide="ignore"):
        log_t = np.log(t)
    first, second = (np.exp((delay - 1) * log_t - t - math.lgamma(delay)) for delay in (PEAK, UNDERSHOOT))
    response = first - second / RATIO
    return response / response.sum()


def exponential(decay_steps: float) -> np.ndarray:
    """exp(-k / decay_steps) for k = 0 .. 5 decay times, of sum 1."""
    kernel = np.exp(-np.arange(math.ceil(DECAY_TIMES * decay_steps) + 1) / decay_steps)
    return kernel / kernel.sum()


def convolve(kernel: np.ndarray, states: np.ndarray) -> np.ndarray:
    """(h * z)_t for every t that has all of the kernel: (T, ..., M) -> (T - L + 1, ..., M)."""
    n_rows, length = len(states) - len(kernel) + 1, len(kernel)
    flat = states.reshape(len(states), -1)
    seen = np.empty((n_rows, flat.shape[1]), states.dtype)
    band = _band(tuple(kernel.tolist())).astype(states.dtype)
    for first in range(0, n_rows, BLOCK):
        rows = min(BLOCK, n_rows - first)
        np.matmul(
            band[:rows, : rows + length - 1], flat[first : first + rows + length - 1], out=seen[first : first + rows]
        )
    return seen.reshape(n_rows, *states.shape[1:])


@lru_cache(maxsize=8)
def _band(kernel: tuple[float, ...]) -> np.ndarray:
    """The convolution of BLOCK rows as a matrix (BLOCK, BLOCK + L - 1): one product with it is much faster than L sums."""
    band = np.zeros((BLOCK, BLOCK + len(kernel) - 1))
    for row in range(BLOCK):
        band[row, row : row + len(kernel)] = kernel[::-1]
    return band


@dataclass(frozen=True)
class Filter:
    """A kernel and what is reckoned with when it is undone; standardised units."""

    kernel: np.ndarray  # (L,), of sum 1, the present first
    persistence: np.ndarray  # (N,) a, autocorrelation of z at lag 1 as the deconvolution takes it
    signal_to_noise: np.ndarray  # (N,) q, variance of z over that of the noise on x
    noise_std: np.ndarray  # (N,) of the noise on x
    cut: tuple[int, int] = (0, 0)  # rows at the beginning and the end of a series whose estimate is not to be relied on

    @property
    def steps(self) -> int:
        """L, rows that one observation depends on."""
        return len(self.kernel)

    @property
    def context_steps(self) -> int:
        """Rows of the series from which a run is started."""
        return CONTEXT * self.steps

    def histories(self, rows: np.ndarray) -> np.ndarray:
        """Deconvolution of one stretch, with the L - 1 rows before it: (..., n, N) -> (..., n + L - 1, N)."""
        n = rows.shape[-2]
        found = np.empty((*rows.shape[:-2], n + self.steps - 1, rows.shape[-1]))
        for gain, channels in self._gains(n):
            found[..., channels] = gain @ rows[..., channels]
        return found

    def doubts(self, n: int, lead: int) -> np.ndarray:
        """Square roots of the covariance of z - z^ given n rows of x, in the last L rows of `histories` but `lead`: (N, L, L).

        cov = v (K - G cov(x, z)) with v = q noise_std^2: R of R R^T = cov for each channel; R times L standard normal numbers is
        what the states may differ from their estimate by.
        """
        found = np.empty((len(self.persistence), self.steps, self.steps))
        variance = self.signal_to_noise * self.noise_std**2
        for c, (a, q) in enumerate(zip(self.persistence, self.signal_to_noise, strict=True)):
            found[c] = np.sqrt(variance[c]) * _doubt(tuple(self.kernel.tolist()), float(a), float(q), n, lead)
        return found

    def deconvolve(self, rows: np.ndarray) -> np.ndarray:
        """What was filtered, at every row of a series without gaps: (T, N) -> (T, N).

        Longer series are gone through with a window of four kernels, whose middle row is the estimate.
        """
        window, before = WINDOW * self.steps, self.steps - 1
        if len(rows) <= 2 * window:
            return self.histories(rows)[before:]
        found, half = np.empty_like(rows, dtype=float), window // 2
        for gain, channels in self._gains(window):
            x = rows[:, channels]
            found[:half, channels] = gain[before : before + half] @ x[:window]
            found[half - window :, channels] = gain[before + half :] @ x[-window:]
            middle = gain[before + half]
            for c in np.arange(rows.shape[1])[channels]:
                found[half : half + len(rows) - window + 1, c] = np.correlate(rows[:, c], middle, "valid")
        return found

    def with_cut(self) -> Filter:
        """The same with its `cut`: the rows at both ends whose estimate explains much less than one in the middle does."""
        window, before = WINDOW * self.steps, self.steps - 1
        left = right = 0
        for a, q in {(float(a), float(q)) for a, q in zip(self.persistence, self.signal_to_noise, strict=True)}:
            explained = _explained(self.kernel, a, q, window)[before:]
            good = explained >= LEAST_EXPLAINED * explained[window // 2]
            left, right = max(left, int(good.argmax())), max(right, int(good[::-1].argmax()))
        return replace(self, cut=(left, right))

    def gains(self, n: int) -> np.ndarray:
        """G of `histories` for n rows, channel by channel: (N, n + L - 1, n)."""
        found = np.empty((len(self.persistence), n + self.steps - 1, n))
        for gain, channels in self._gains(n):
            found[channels] = gain
        return found

    def _gains(self, n: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """G for n rows and the channels that share it."""
        pairs, group = np.unique(np.stack([self.persistence, self.signal_to_noise], 1), axis=0, return_inverse=True)
        kernel = tuple(self.kernel.tolist())
        return [
            (_gain(kernel, *map(float, pair), n), np.flatnonzero(group.ravel() == i)) for i, pair in enumerate(pairs)
        ]


def _covariances(kernel: np.ndarray, persistence: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """cov(z, x) (n + L - 1, n) and cov(x, x) (n, n) of a z of variance 1; z begins L - 1 rows before x."""
    length = len(kernel)
    z, x = np.arange(n + length - 1) - (length - 1), np.arange(n)
    # cov(z_s, x_t) depends on t - s: sum_k h_k a^|t - s - k|.
    distance = np.arange(-(n + length), n + length + 1)
    cross = np.array([kernel @ persistence ** np.abs(d - np.arange(length)) for d in distance])
    # cov(x_s, x_t) depends on t - s: sum_k h_k cross(t - s + k).
    own = np.array([kernel @ cross[d + n + length + np.arange(length)] for d in range(n)])
    return cross[(x - z[:, None]) + n + length], own[np.abs(x - x[:, None])]


@lru_cache(maxsize=64)
def _gain(kernel: tuple[float, ...], persistence: float, signal_to_noise: float, n: int) -> np.ndarray:
    between, own = _covariances(np.array(kernel), persistence, n)
    gain = np.linalg.solve(own + np.eye(n) / signal_to_noise, between.T).T
    gain.setflags(write=False)
    return gain


@lru_cache(maxsize=16)
def _doubt(kernel: tuple[float, ...], persistence: float, signal_to_noise: float, n: int, lead: int) -> np.ndarray:
    """R (L, L) of `Filter.doubts` for a z of variance 1."""
    length = len(kernel)
    rows = slice(n - 1 - lead, n + length - 1 - lead)
    between, _ = _covariances(np.array(kernel), persistence, n)
    prior = persistence ** np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
    left = prior - _gain(kernel, persistence, signal_to_noise, n)[rows] @ between[rows].T
    values, vectors = np.linalg.eigh((left + left.T) / 2)
    root = (
        vectors * np.sqrt(values.clip(min=0)) @ vectors.T
    )  # symmetric, so that it does not depend on the vectors' signs
    root.setflags(write=False)
    return root


def _explained(kernel: np.ndarray, persistence: float, signal_to_noise: float, n: int) -> np.ndarray:
    """Share of the variance of z that its estimate explains, (n + L - 1,)."""
    between, _ = _covariances(kernel, persistence, n)
    return np.einsum("st,st->s", _gain(tuple(kernel.tolist()), persistence, signal_to_noise, n), between)

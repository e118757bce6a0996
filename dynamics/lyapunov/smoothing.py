"""Noise level and denoised path of an oversampled series: a smoothing spline with its parameter from the data."""

from __future__ import annotations

import numpy as np
from scipy import fft, optimize

from dynamics.lyapunov.clock import Clock

ORDER = 3  # penalty on third differences


def smooth(x: np.ndarray) -> tuple[np.ndarray, float]:
    """Whittaker smoother and noise standard deviation of a scalar series (T,).

    min |x - z|^2 + s |D^3 z|^2, diagonal in the cosine transform; s by generalised cross-validation:
    GCV(s) = T RSS / (T - tr H)^2 (Craven & Wahba 1979; Garcia 2010, eq. 8). The noise variance is RSS / (T - tr H).
    Fails (smooths nothing) for series that are not oversampled, such as those of maps.
    """
    n = len(x)
    trend = np.linspace(x[0], x[-1], n)  # the cosine transform wants equal ends
    coefficients = fft.dct(x - trend, norm="ortho")
    penalty = (2.0 - 2.0 * np.cos(np.pi * np.arange(n) / n)) ** ORDER

    def gcv(log_s: float) -> float:
        loss = 1.0 - 1.0 / (1.0 + 10.0**log_s * penalty)
        return float(np.log(np.sum((loss * coefficients) ** 2) + 1e-300) - 2.0 * np.log(np.sum(loss)))

    grid = np.linspace(-2.0, 12.0, 29)
    best = int(np.argmin([gcv(g) for g in grid]))
    low, high = grid[max(0, best - 1)], grid[min(len(grid) - 1, best + 1)]
    log_s = float(optimize.minimize_scalar(gcv, bounds=(low, high), method="bounded", options={"xatol": 0.05}).x)
    keep = 1.0 / (1.0 + 10.0**log_s * penalty)
    rss = float(np.sum(((1.0 - keep) * coefficients) ** 2))
    sigma = np.sqrt(rss / max(float(np.sum(1.0 - keep)), 1.0))
    return trend + fft.idct(keep * coefficients, norm="ortho"), float(sigma)


def smooth_segments(segments: list[np.ndarray], clock: Clock) -> tuple[list[np.ndarray], np.ndarray]:
    """Every channel of every segment smoothed; noise std per channel (root of the length-weighted mean variance)."""
    smoothed = [np.empty_like(s) for s in segments]
    variance = np.zeros(segments[0].shape[1])
    for source, target in zip(segments, smoothed, strict=True):
        for c in range(source.shape[1]):
            clock.tick()
            target[:, c], sigma = smooth(source[:, c])
            variance[c] += sigma**2 * len(source)
    return smoothed, np.sqrt(variance / sum(len(s) for s in segments))

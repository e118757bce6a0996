"""The forcing signal of states seen through a filter: a Wiener deconvolution of the series, made once before training.

What the filter (`models.filters`) needs is estimated here from the spectra of the training rows, channel by channel:

    noise          the power at the quarter of the frequencies that the kernel lets through least, at least LEAST_NOISE^2
    a, v           P(w) = |H(w)|^2 v (1 - a^2) / |1 - a e^-iw|^2 + noise, by Whittle's likelihood on a grid
"""

from __future__ import annotations

import numpy as np

from models.filters import Filter

LEAST_NOISE = 0.005  # of a channel's std: no kernel is known better, and what it misses would be amplified
LEAST_PASSED = 0.25  # share of the frequencies whose power is taken for noise
PERSISTENCES = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99)
SIGNALS = 10.0 ** np.arange(-2, 4.01, 0.1)  # variances of z, that of x being 1


def periodogram(parts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies (K,) in radians a step and power (K, N) of the longest part, tapered by a cosine bell; a white series has power of its variance."""
    values = max(parts, key=len)
    taper = np.hanning(len(values) + 2)[1:-1]
    taper /= np.sqrt(np.mean(taper**2))
    spectrum = np.fft.rfft((values - values.mean(axis=0)) * taper[:, None], axis=0)[1:]
    return 2 * np.pi * np.fft.rfftfreq(len(values))[1:], np.abs(spectrum) ** 2 / len(values)


def estimate(kernel: np.ndarray, noise: float | str, parts: list[np.ndarray]) -> Filter:
    """The filter of these standardised series, list of (T_i, N) without gaps, nuisance regressed off; `noise` std, or `auto`."""
    frequency, power = periodogram(parts)
    passed = np.abs(np.exp(-1j * np.outer(frequency, np.arange(len(kernel)))) @ kernel) ** 2
    least = np.argsort(passed, kind="stable")[: max(1, int(LEAST_PASSED * len(passed)))]
    found = np.maximum(LEAST_NOISE, np.sqrt(power[least].mean(axis=0))) if noise == "auto" else float(noise)
    level = np.broadcast_to(found, power.shape[1]).copy()
    best = np.full(power.shape[1], np.inf)
    persistence, signal = np.zeros_like(best), np.ones_like(best)
    for a in PERSISTENCES:
        shape = passed * (1 - a * a) / np.abs(1 - a * np.exp(-1j * frequency)) ** 2
        for variance in SIGNALS:
            expected = shape[:, None] * variance + level**2
            unlikely = np.sum(np.log(expected) + power / expected, axis=0)
            better = unlikely < best
            best = np.where(better, unlikely, best)
            persistence, signal = np.where(better, a, persistence), np.where(better, variance, signal)
    return Filter(kernel, persistence, signal / level**2, level).with_cut()


def regress_off(parts: list[np.ndarray], nuisance: list[np.ndarray]) -> np.ndarray:
    """J (N, P) of the least squares x = J r + constant, standardised series."""
    if not nuisance or not nuisance[0].shape[1]:
        return np.zeros((parts[0].shape[1], 0))
    x, r = np.concatenate(parts), np.concatenate(nuisance)
    return np.linalg.lstsq(r - r.mean(axis=0), x - x.mean(axis=0), rcond=None)[0].T

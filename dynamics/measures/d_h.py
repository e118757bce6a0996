"""Spectral distance d_h: do the generated series have the rhythms of the true ones?"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from domain.base import Measure
from dynamics.measures.d_stsp import first_non_finite


def d_h(x: np.ndarray, y: np.ndarray, *, sigma: float = 20.0) -> Measure:
    """Hellinger distance between smoothed power spectra, averaged over coordinates: 0 (equal) to 1 (disjoint).

    P = |rfft(zscore(x))|^2 smoothed by a Gaussian of `sigma` frequency bins (radius 4 sigma, reflected edges), clipped at 0,
    normalised to sum 1; d_h = mean_i 2^(-1/2) ||sqrt(P_i) - sqrt(Q_i)||_2. x, y (T, N) of equal length and equal sampling;
    invariant under an affine change of each coordinate of either series. Source: Mikhaeil et al. 2022; Hess et al. 2023
    (variant `hellinger-s20`). Undefined when a coordinate does not vary. Since sigma is in bins, i.e. sigma / (T dt) in
    frequency, values at different lengths are not comparable.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    if x.ndim != 2 or x.shape != y.shape or x.shape[1] == 0:
        raise ValueError(f"two series of one shape (T, N) are needed, not {x.shape} and {y.shape}")
    variant, parameters = f"hellinger-s{sigma:g}", {"sigma_bins": sigma, "truncate_sigmas": 4.0}
    for name, v in (("true", x), ("generated", y)):
        if reason := _undefined(v):
            return Measure(reason=f"the {name} series {reason}", variant=variant, parameters=parameters)
    p, q = _spectrum(x, sigma), _spectrum(y, sigma)
    distances = np.sqrt(0.5 * ((np.sqrt(p) - np.sqrt(q)) ** 2).sum(axis=0))
    return Measure(value=float(min(distances.mean(), 1.0)), variant=variant, parameters=parameters)


def _undefined(v: np.ndarray) -> str | None:
    if len(v) < 2:
        return f"has only {len(v)} steps"
    if not np.isfinite(v).all():
        return f"is not finite from row {first_non_finite(v)} on"
    scale = np.abs(v).max(axis=0)
    constant = np.flatnonzero((scale == 0) | (np.std(v / np.where(scale == 0, 1, scale), axis=0) < 1e-14))
    return f"does not vary in coordinate {constant[0]}" if constant.size else None


def _spectrum(v: np.ndarray, sigma: float) -> np.ndarray:
    """Smoothed, normalised power spectrum of each coordinate: (T, N) -> (T // 2 + 1, N), columns summing to 1."""
    v = v / np.abs(v).max(axis=0)  # keeps the variance of very large values finite
    power = np.abs(np.fft.rfft((v - v.mean(axis=0)) / v.std(axis=0), axis=0)) ** 2
    smooth = gaussian_filter1d(power, sigma, axis=0, mode="reflect", truncate=4.0).clip(min=0)
    return smooth / smooth.sum(axis=0)

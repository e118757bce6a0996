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


def d_h_pooled(xs: list[np.ndarray], ys: list[np.ndarray], *, sigma: float = 20.0) -> Measure:
    """The same for series in pieces x_i, y_i (T_i, N), pairwise of equal length: spectra are averaged, nothing is joined.

    Every piece is cut into windows of L steps, L the longest length of a piece whose windows hold nine tenths of all rows;
    P averages |rfft(x - mean)|^2 over the K windows, so that a piece counts by its length. The Gaussian has sigma / K bins,
    as wide in frequency as `sigma` bins are for K L steps in one piece. For one piece this is `d_h`.
    """
    lengths = [len(x) for x in xs]
    if lengths != [len(y) for y in ys] or not lengths:
        raise ValueError(f"pieces of equal lengths are needed, not {lengths} and {[len(y) for y in ys]}")
    length = window_steps(lengths)
    cut = [_windows(pieces, length) for pieces in (xs, ys)]
    if len(cut[0]) == 1:
        return d_h(cut[0][0], cut[1][0], sigma=sigma)
    bins = sigma / len(cut[0])
    variant = f"hellinger-s{sigma:g}-pooled"
    parameters = {"sigma_bins": bins, "truncate_sigmas": 4.0, "windows": len(cut[0]), "window_steps": length}
    for name, windows in zip(("true", "generated"), cut, strict=True):
        if reason := _undefined(windows.reshape(-1, windows.shape[2])):
            return Measure(reason=f"the {name} series {reason}", variant=variant, parameters=parameters)
    p, q = (_window_spectrum(windows, bins) for windows in cut)
    distances = np.sqrt(0.5 * ((np.sqrt(p) - np.sqrt(q)) ** 2).sum(axis=0))
    return Measure(value=float(min(distances.mean(), 1.0)), variant=variant, parameters=parameters)


def d_h_floor(xs: list[np.ndarray]) -> Measure:
    """One half of the windows against the other, every second; of a series in one piece its first half against its second."""
    windows = _windows(xs, window_steps([len(x) for x in xs]))
    if len(windows) > 1:
        half = len(windows) // 2
        return d_h_pooled(list(windows[: 2 * half : 2]), list(windows[1 : 2 * half : 2]))
    half = len(windows[0]) // 2
    return d_h(windows[0][:half], windows[0][half : 2 * half])


def window_steps(lengths: list[int]) -> int:
    """The longest of the lengths whose windows hold nine tenths of all rows; where none does, the one that holds most."""
    held = {n: sum(m // n for m in lengths) * n for n in set(lengths) if n > 1}
    if not held:
        return max(lengths)
    enough = [n for n, rows in held.items() if rows >= 0.9 * sum(lengths)]
    return max(enough) if enough else max(held, key=lambda n: (held[n], n))


def _windows(pieces: list[np.ndarray], length: int) -> np.ndarray:
    """(K, L, N), from the beginning of every piece."""
    return np.stack([p[i : i + length] for p in pieces for i in range(0, len(p) - length + 1, length)])


def _window_spectrum(windows: np.ndarray, sigma: float) -> np.ndarray:
    """Smoothed, normalised mean power spectrum of each coordinate: (K, L, N) -> (L // 2 + 1, N), columns summing to 1."""
    windows = windows / np.abs(windows).max(axis=(0, 1))
    centred = windows - windows.mean(axis=1, keepdims=True)
    power = (np.abs(np.fft.rfft(centred, axis=1)) ** 2).mean(axis=0)
    smooth = gaussian_filter1d(power, sigma, axis=0, mode="reflect", truncate=4.0).clip(min=0)
    return smooth / smooth.sum(axis=0)


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

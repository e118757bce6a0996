"""A denoised series to train on: local cubic fits where the data show white noise on a smooth signal, else the data."""

from __future__ import annotations

import math

import numpy as np
from scipy.signal import savgol_coeffs, savgol_filter

from domain.errors import ErrorItem, InvalidParameters
from domain.specs import TrainSpec
from dynamics.training.split import Segments

DEGREE = 3
WINDOWS = (*range(5, 32, 2), *range(35, 100, 4))
DIFFERENCES = (6, 10)  # orders: all orders agree on white noise, none do on a clean or a coarsely sampled signal
AGREEMENT = 0.1  # relative, between both differences and the residual of the smoother
SMALLEST_NOISE, LARGEST_NOISE = (
    1e-6,
    0.3,
)  # of the channel's std: below, rounding; above, white data are no smooth signal


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Local polynomial fit of degree 3 over `window` rows (odd): (T,) -> (T,), the ends by the outermost fits.

    A series shorter than the window, or window 0, is returned as it is. Source: Savitzky & Golay 1964.
    """
    return savgol_filter(values, window, DEGREE) if 0 < window <= len(values) else values


def difference_noise(parts: list[np.ndarray], order: int) -> float:
    """Std of white noise on a smooth signal, sqrt(mean (D^k x)^2 / C(2k, k)), from differences of order k.

    Too large where the signal itself changes within k rows. Source: Rice 1984, extended to order k by Gasser et al. 1986.
    """
    squares = np.concatenate([np.diff(part, order) ** 2 for part in parts])
    return float(np.sqrt(squares.mean() / math.comb(2 * order, order)))


def choose_window(parts: list[np.ndarray]) -> tuple[int, float]:
    """Window and noise std for one channel, parts (T_i,); (0, 0.0) where smoothing would not be justified.

    The window minimises the leave-one-out error of the fit, mean((x - fit)^2) / (1 - h)^2 with h the weight of a row in
    its own fit (Craven & Wahba 1979); its residual, mean((x - fit)^2) / (1 - h), must then be noise of the very level that
    high-order differences show. Maps, clean data and coarse sampling fail that test.
    """
    spread = float(np.concatenate(parts).std()) if parts else 0.0
    usable = [part for part in parts if len(part) > 3 * WINDOWS[0]]
    if not usable or not spread > 0:
        return 0, 0.0
    error, window, noise = math.inf, 0, 0.0
    for candidate in WINDOWS:
        fitted = [part for part in usable if len(part) > 3 * candidate]
        if not fitted:
            break
        inner = slice(candidate // 2, -(candidate // 2))
        square = np.mean(np.concatenate([(part - smooth(part, candidate))[inner] for part in fitted]) ** 2)
        own = savgol_coeffs(candidate, DEGREE)[candidate // 2]
        if square / (1 - own) ** 2 < error:
            error, window, noise = square / (1 - own) ** 2, candidate, math.sqrt(square / (1 - own))
    if not SMALLEST_NOISE < noise / spread < LARGEST_NOISE:
        return 0, 0.0
    levels = [difference_noise(usable, order) for order in DIFFERENCES]
    agree = max(*levels, noise) < (1 + AGREEMENT) * min(*levels, noise)
    return (window, noise) if agree else (0, 0.0)


def windows(spec: TrainSpec, train: Segments, n_channels: int, why: dict[str, str]) -> list[int]:
    """The smoothing window of each channel, 0 for none; raises InvalidParameters for one longer than every segment."""
    wanted = spec.regularization.smoothing
    if wanted == "off":
        return [0] * n_channels
    if wanted == "auto" and (spec.nuisance_channels or spec.observation.kind == "convolutional"):
        why["smoothing"] = "not before nuisance is separated or a kernel undone, which does it"
        return [0] * n_channels
    if wanted != "auto":
        longest = max(len(values) for _, values in train)
        if wanted > longest:
            raise InvalidParameters(
                f"A smoothing window of {wanted} rows is longer than the longest stretch of training rows ({longest}).",
                [ErrorItem(pointer="/params/regularization/smoothing")],
            )
        return [wanted] * n_channels
    chosen = [choose_window([values[:, c] for _, values in train]) for c in range(n_channels)]
    found = [window for window, _ in chosen]
    spreads = np.concatenate([values for _, values in train]).std(axis=0)
    noises = [f"{noise / spread:.2g}" for (_, noise), spread in zip(chosen, spreads, strict=True) if noise > 0]
    why["smoothing"] = (
        f"{len(noises)} of {n_channels} channels carry white noise (std {', '.join(noises[:8])} of the channel's); "
        "trained on local cubic fits, judged on the data"
        if noises
        else "no white noise on a smooth signal was found; trained on the data as they are"
    )
    return found

"""The forcing signal of states seen through a filter: a Wiener deconvolution of the series, made once before training.

What the filter (`models.filters`) needs is estimated here from the spectra of the training rows, channel by channel:

    noise          the power at the quarter of the frequencies that the kernel lets through least, at least LEAST_NOISE^2
    a, v           P(w) = |H(w)|^2 v (1 - a^2) / |1 - a e^-iw|^2 + noise, by Whittle's likelihood on a grid
"""

from __future__ import annotations

import numpy as np

from domain.errors import ErrorItem, InvalidParameters
from domain.training_specs import ExponentialKernelSpec, GivenKernelSpec, KernelSpec
from models.filters import Filter, exponential, haemodynamic

SECONDS = {"s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "min": 60.0}
LEAST_NOISE = 0.01  # of a channel's std: no kernel is known better, and what it misses would be amplified
LEAST_PASSED = 0.25  # share of the frequencies whose power is taken for noise
SMALLEST_SUM = 0.05  # of a kernel over that of its absolute values
PERSISTENCES = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99)
SIGNALS = 10.0 ** np.arange(-2, 4.01, 0.1)  # variances of z, that of x being 1


def kernel_of(spec: KernelSpec, dt: float, time_unit: str, at: str = "/params") -> np.ndarray:
    """The kernel (L,) of sum 1, one number a step. Raises InvalidParameters where it is no filter, or its time is unknown."""
    place = f"{at}/observation/kernel"
    if isinstance(spec, GivenKernelSpec):
        values = np.array(spec.values)
        if abs(values.sum()) < SMALLEST_SUM * np.abs(values).sum() or not values.any():
            detail = "The values of the kernel add up to almost nothing, so it hides the mean of the states; give a kernel that does not."
            raise InvalidParameters(detail, [ErrorItem(pointer=f"{place}/values", detail=detail)])
        return values / values.sum()
    if isinstance(spec, ExponentialKernelSpec):
        return exponential(spec.decay_time / dt)
    seconds = spec.repetition_time
    if seconds == "auto":
        if time_unit not in SECONDS:
            detail = (
                f"The series is sampled every {dt:g} {time_unit or '(no unit)'}, and the haemodynamic response is known in seconds: "
                "give kernel.repetition_time, the seconds between two rows."
            )
            raise InvalidParameters(detail, [ErrorItem(pointer=f"{place}/repetition_time", detail=detail)])
        seconds = dt * SECONDS[time_unit]
    return haemodynamic(seconds)


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

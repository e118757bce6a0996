"""Learning rate and forcing as functions of the update."""

from __future__ import annotations

import numpy as np

from dynamics.forcing import Forcing

WARM_UP = 0.1  # share of the updates; without it a peak rate of 2e-2 fails
WARM_UP_START = 0.04  # of the peak


def learning_rates(schedule: str, peak: float, final: float, first: int, count: int, total: int) -> np.ndarray:
    """Rates of updates first .. first + count - 1 of `total`, float64 (count,).

    one-cycle: linear warm-up over the first tenth, then a cosine from `peak` to `final` (Smith & Topin 2019);
    exponential: peak (final / peak)^(k / total); constant: peak.
    """
    k = np.arange(first, first + count, dtype=float)
    if schedule == "constant":
        return np.full(count, peak)
    if schedule == "exponential":
        return peak * (final / peak) ** (k / total)
    warm = max(1.0, WARM_UP * total)
    rising = peak * (WARM_UP_START + (1 - WARM_UP_START) * k / warm)
    fall = np.clip((k - warm) / max(1.0, total - warm), 0, 1)
    falling = final + (peak - final) * 0.5 * (1 + np.cos(np.pi * fall))
    return np.where(k < warm, rising, falling)


def forcing_schedule(forcing: Forcing, first: int, count: int, total: int) -> tuple[np.ndarray, np.ndarray]:
    """Strengths and intervals in steps of updates first .. first + count - 1 of `total`, float64 (count,) each.

    Both change geometrically, v_k = v_0 (v_end / v_0)^(k / (total - 1)), or stay; the interval is 0 where forcing is not
    sparse, and the mean of those that are drawn where it is random. How updates are cut into blocks does not matter.
    """
    progress = np.arange(first, first + count, dtype=float) / max(1, total - 1)
    return (
        _geometric(forcing.alpha, forcing.final_alpha, progress),
        _geometric(float(forcing.interval_steps), float(forcing.final_interval_steps), progress),
    )


def _geometric(start: float, end: float, progress: np.ndarray) -> np.ndarray:
    if start > 0 and end > 0:
        return start * (end / start) ** progress
    return np.full(len(progress), start)

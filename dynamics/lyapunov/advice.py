"""How the series is sampled, in numbers and in words: what to keep, what to measure more often, what to record longer."""

from __future__ import annotations

import math

import numpy as np

from dynamics.lyapunov.preparation import Prepared
from dynamics.lyapunov.sampling import lag_autocorrelation

ENOUGH = 12  # samples per mean period below which a flow's exponents get uncertain
FEW_PERIODS = 10
MAX_LAGS = 60


def sampling_advice(prepared: Prepared) -> dict[str, object]:
    """Period, correlation time and bandwidth in steps of the series as it was given, and what follows from them.

    `bandwidth`: cycles per step below which 99 % of the power above the noise floor lies (Welch); the Nyquist limit is 0.5.
    `correlation_time_steps`: lag at which the channels' median autocorrelation falls below 1/e; null if it does not within
    two periods. `periods`: mean periods in the rows used; null for a map.
    """
    sampling, stride = prepared.sampling, prepared.stride
    rows = sum(len(s) for s in prepared.segments)
    per_period = sampling.period_steps * stride
    return {
        "samples_per_period": per_period if sampling.is_flow else None,
        "periods": rows / sampling.period_steps if sampling.is_flow else None,
        "correlation_time_steps": _correlation_time(prepared),
        "bandwidth": sampling.bandwidth / stride,
        "lag_one_autocorrelation": sampling.lag_one,
        "advice": _words(sampling.is_flow, per_period, stride, rows / sampling.period_steps, sampling.lag_one),
    }


def _correlation_time(prepared: Prepared) -> int | None:
    reach = min(2 * math.ceil(prepared.sampling.period_steps) + 2, min(len(s) for s in prepared.segments) - 1)
    step = max(1, reach // MAX_LAGS)
    for lag in range(1, reach + 1, step):
        if float(np.median(lag_autocorrelation(prepared.segments, lag))) < math.exp(-1.0):
            return lag * prepared.stride
    return None


def _words(is_flow: bool, per_period: float, stride: int, periods: float, lag_one: float) -> str:
    if not is_flow:
        return (
            f"Taken as a map: successive samples are hardly correlated ({lag_one:.2f} at lag 1), every one counts. Is it a flow in "
            "truth, sample it more often: eight samples per period are the least that shows it."
        )
    said = []
    if stride > 1:
        said.append(
            f"Oversampled {stride}x: use every {_ordinal(stride)} step. {per_period:.0f} samples per mean period are recorded, "
            f"{per_period / stride:.0f} carry all that lies above the noise."
        )
    elif per_period < ENOUGH:
        factor = math.ceil(ENOUGH / per_period)
        said.append(
            f"Coarsely sampled: {per_period:.0f} samples per mean period. Sample at least {factor}x as often, {ENOUGH} or more."
        )
    else:
        said.append(f"Sampling is right: {per_period:.0f} samples per mean period, use every step.")
    if periods < FEW_PERIODS:
        said.append(
            f"{periods:.1f} mean periods are recorded: at least {math.ceil(FEW_PERIODS / periods)}x as many are needed."
        )
    return " ".join(said)


def _ordinal(n: int) -> str:
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th") if n % 100 not in (11, 12, 13) else "th"
    return f"{n}{suffix}"

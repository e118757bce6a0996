"""What follows from a spectrum: Kaplan-Yorke dimension, entropy rate, predictability, advice on forcing."""

from __future__ import annotations

import math

import numpy as np

from domain.results import ForcingAdvice, Predictability


def kaplan_yorke(exponents: np.ndarray) -> float:
    """Kaplan-Yorke dimension of descending exponents (k,).

    D = j + (lambda_1 + ... + lambda_j) / |lambda_(j+1)|, j the largest index with a non-negative sum (Kaplan & Yorke 1979).
    NaN where the sum of all given exponents is not negative: the spectrum is then incomplete.
    """
    if len(exponents) == 0:
        return math.nan
    if exponents[0] < 0:
        return 0.0
    sums = np.cumsum(exponents)
    if sums[-1] >= 0:
        return math.nan
    j = int(np.nonzero(sums >= 0)[0][-1])
    return j + 1 + float(sums[j] / -exponents[j + 1])


def ks_entropy(exponents: np.ndarray) -> float:
    """Sum of the positive exponents: Pesin's upper bound of the Kolmogorov-Sinai entropy, in the exponents' unit."""
    return float(np.sum(exponents[exponents > 0]))


def predictability(lambda_max: float | None, dt: float, unit: str, reason: str | None) -> Predictability:
    """ln 2 / lambda_max, the time in which an error doubles."""
    if lambda_max is None or lambda_max <= 0:
        return Predictability(unit=unit, reason=reason or "No error grows: the largest exponent is not positive.")
    time = math.log(2.0) / lambda_max
    return Predictability(time=time, steps=max(1, round(time / dt)), unit=unit)


def forcing_advice(lambda_max: float | None, dt: float, reason: str | None) -> ForcingAdvice:
    """Interval ln 2 / (lambda_max dt) of sparse forcing (Mikhaeil et al. 2022, eq. 13) and a first alpha = 1 - exp(-lambda_max dt).

    At this alpha forcing balances divergence on average (Hess et al. 2023, section 3.2).
    """
    if lambda_max is None or lambda_max <= 0:
        return ForcingAdvice(
            reason=reason or "Nothing diverges, so forcing need not balance anything; any interval serves."
        )
    return ForcingAdvice(
        interval_steps=max(1, round(math.log(2.0) / (lambda_max * dt))), alpha=1.0 - math.exp(-lambda_max * dt)
    )

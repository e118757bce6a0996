"""Kaplan-Yorke dimension: the dimension that a Lyapunov spectrum implies."""

from __future__ import annotations

import math
from collections.abc import Sequence

from domain.base import Quantity


def kaplan_yorke_dimension(exponents: Sequence[float | None]) -> Quantity:
    """D = j + (lambda_1 + ... + lambda_j) / |lambda_{j+1}|, j the largest number of exponents whose sum is not negative.

    `exponents` in any unit and order; -inf is allowed, None is an exponent nobody knows (taken as smaller than the rest).
    0 when all are negative (a fixed point); the number of exponents when even their sum is not negative, since then
    volumes grow and the formula has no further exponent to spend. Source: Kaplan & Yorke 1979; Frederickson et al. 1983,
    J. Differ. Equ. 49, 185. It jumps by one where a leading exponent estimated near zero changes its sign.
    """
    method = "Kaplan-Yorke"
    known = sorted((float(e) for e in exponents if e is not None), reverse=True)
    if not exponents:
        return Quantity(reason="there are no exponents", unit="1", method=method)
    if any(math.isnan(e) or e == math.inf for e in known):
        return Quantity(reason="an exponent is not finite", unit="1", method=method)
    total = 0.0
    for j, exponent in enumerate(known):
        if total + exponent < 0:
            return Quantity(value=j + total / -exponent, unit="1", method=method)
        total += exponent
    if len(known) < len(exponents):
        return Quantity(
            reason=f"the {len(known)} known exponents do not sum to a negative number", unit="1", method=method
        )
    return Quantity(value=float(len(known)), unit="1", method=f"{method}, bounded by the number of exponents")

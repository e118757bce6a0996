"""Systems with published exponents that several test files use."""

from __future__ import annotations

import numpy as np


def henon(n):
    """0.41922, -1.62319 (Sprott 2003, table A.3)."""
    out = np.empty((n + 100, 2))
    out[0] = 0.1, 0.1
    for t in range(1, n + 100):
        out[t] = 1 - 1.4 * out[t - 1, 0] ** 2 + out[t - 1, 1], 0.3 * out[t - 1, 0]
    return out[100:]


def logistic(n, r=4.0):
    """ln 2 at r = 4."""
    out = np.empty((n, 1))
    out[0] = 0.3141
    for t in range(1, n):
        out[t] = r * out[t - 1] * (1 - out[t - 1])
    return out

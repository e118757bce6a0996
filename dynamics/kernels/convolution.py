"""Sequences of states seen through a kernel, y_t = sum_k h_k z_{t-k}, and the adjoint, sixteen sequences at once.

Both are sums of the same shape, out_t = sum_i w_i in_{t+i}: of the kernel turned round for the states that lead to y_t, of the
kernel as it is for the errors that z_t has a part in. Eight rows are worked on at a time, so that each load serves eight
multiply-adds; the weights are padded by seven zeros on either side for that.
"""

from __future__ import annotations

import numpy as np

from dynamics.kernels.device import device
from dynamics.kernels.lanes import LANES, broadcast, fma, get, lanes_load, lanes_store, put, registers, sub

ROWS = 8


def padded(weights: np.ndarray, dtype: type) -> np.ndarray:
    """Weights as `slide` wants them."""
    margin = np.zeros(ROWS - 1)
    return np.concatenate([margin, weights, margin]).astype(dtype)


@device
def slide(weights, count, source, first, out, begin, end, units, width):
    """out_t[u] = sum over i < count of weights_i source_{t + first + i}[u] for begin <= t < end.

    `width` vectors are a row of the source, `units` a row of `out`; both begin at row 0.
    """
    t = begin
    while t + ROWS <= end:
        for u in range(units):
            _eight(weights, count, source, (t + first) * width + u, width, out, t * units + u, units)
        t += ROWS
    while t < end:
        for u in range(units):
            total = sub(lanes_load(source, u * LANES), lanes_load(source, u * LANES))
            for i in range(count):
                value = lanes_load(source, ((t + first + i) * width + u) * LANES)
                total = fma(broadcast(weights, ROWS - 1 + i), value, total)
            lanes_store(out, (t * units + u) * LANES, total)
        t += 1


@device
def _eight(weights, count, source, at, width, out, to, units):
    """Eight rows of one unit: the k-th uses weight i - k for the i-th row of the source."""
    sums = registers(8, source)
    nothing = sub(lanes_load(source, at * LANES), lanes_load(source, at * LANES))
    for k in range(8):
        put(sums, k, nothing)
    for i in range(count + 7):
        value = lanes_load(source, (at + i * width) * LANES)
        for k in range(8):
            put(sums, k, fma(broadcast(weights, 7 + i - k), value, get(sums, k)))
    for k in range(8):
        lanes_store(out, (to + k * units) * LANES, get(sums, k))

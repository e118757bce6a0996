"""The pseudo-inverse of an observation matrix of full rank, and the gradient through it.

    N >= M:  B^+ = S B^T, S = (B^T B)^-1;     N < M:  B^+ = B^T S, S = (B B^T)^-1
    d B^+ = -B^+ dB B^+ + S dB^T (I - B B^+)  or  -B^+ dB B^+ + (I - B^+ B) dB^T S

Source: Golub & Pereyra 1973, "The differentiation of pseudo-inverses", SIAM J. Numer. Anal. 10, eq. 4.12 (full rank).
Computed in float64 whatever the type of B. Fails (NaN) when B has not full rank. Plain loops: array expressions and
slices would take longer to compile than all the rest of the engine.
"""

from __future__ import annotations

import numpy as np

from dynamics.kernels.device import allocating_device


@allocating_device
def _product(a, b, transpose_a, transpose_b):
    rows = a.shape[1] if transpose_a else a.shape[0]
    inner = a.shape[0] if transpose_a else a.shape[1]
    columns = b.shape[0] if transpose_b else b.shape[1]
    out = np.empty((rows, columns))
    for i in range(rows):
        for j in range(columns):
            total = 0.0
            for k in range(inner):
                total += (a[k, i] if transpose_a else a[i, k]) * (b[j, k] if transpose_b else b[k, j])
            out[i, j] = total
    return out


@allocating_device
def _inverse_gram(a, tall):
    """(A^T A)^-1 if tall, else (A A^T)^-1, by Gauss-Jordan elimination: a positive definite matrix needs no pivoting."""
    gram = _product(a, a, tall, not tall)
    size = gram.shape[0]
    inverse = np.empty((size, size))
    for i in range(size):
        for j in range(size):
            inverse[i, j] = 1.0 if i == j else 0.0
    for p in range(size):
        pivot = gram[p, p] if gram[p, p] > 0.0 else np.nan
        for j in range(size):
            gram[p, j] /= pivot
            inverse[p, j] /= pivot
        for i in range(size):
            factor = gram[i, p]
            if i != p:
                for j in range(size):
                    gram[i, j] -= factor * gram[p, j]
                    inverse[i, j] -= factor * inverse[p, j]
    return inverse


@allocating_device
def pseudo_inverse(b):
    """B^+ (M, N) of B (N, M), float64."""
    tall = b.shape[0] >= b.shape[1]
    scale = _inverse_gram(b, tall)
    return _product(scale, b, False, True) if tall else _product(b, scale, True, False)


@allocating_device
def pseudo_inverse_gradient(b, upstream):
    """d loss / d B (N, M), given upstream (M, N) = d loss / d B^+, float64."""
    tall = b.shape[0] >= b.shape[1]
    scale, plus = _inverse_gram(b, tall), pseudo_inverse(b)
    if tall:
        scaled = _product(upstream, scale, True, False)
        within = _product(b, _product(plus, scaled, False, False), False, False)
    else:
        scaled = _product(scale, upstream, False, True)
        within = _product(_product(scaled, plus, False, False), b, False, False)
    through = _product(plus, _product(upstream, plus, False, True), True, False)
    for i in range(b.shape[0]):
        for j in range(b.shape[1]):
            scaled[i, j] -= within[i, j] + through[i, j]
    return scaled

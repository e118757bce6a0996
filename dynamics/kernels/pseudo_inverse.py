"""The pseudo-inverse of an observation matrix of full rank, and the gradient through it.

    N >= M:  B^+ = S B^T, S = (B^T B)^-1;     N < M:  B^+ = B^T S, S = (B B^T)^-1
    d B^+ = -B^+ dB B^+ + S dB^T (I - B B^+)  or  -B^+ dB B^+ + (I - B^+ B) dB^T S

Source: Golub & Pereyra 1973, "The differentiation of pseudo-inverses", SIAM J. Numer. Anal. 10, eq. 4.12 (full rank).
Computed in float64 whatever the type of B. Fails (inf or NaN) when B has not full rank.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True)
def _product(a, b):
    out = np.zeros((a.shape[0], b.shape[1]))
    for i in range(a.shape[0]):
        for k in range(a.shape[1]):
            for j in range(b.shape[1]):
                out[i, j] += a[i, k] * b[k, j]
    return out


@njit(nogil=True)
def _inverse_gram(a):
    """(A^T A)^-1 by Gauss-Jordan elimination with diagonal pivots, which a positive definite matrix allows."""
    gram = _product(a.T.copy(), a)
    size = gram.shape[0]
    inverse = np.eye(size)
    for p in range(size):
        pivot = gram[p, p]
        if pivot <= 0.0:
            pivot = np.nan
        for j in range(size):
            gram[p, j] /= pivot
            inverse[p, j] /= pivot
        for i in range(size):
            if i != p:
                factor = gram[i, p]
                for j in range(size):
                    gram[i, j] -= factor * gram[p, j]
                    inverse[i, j] -= factor * inverse[p, j]
    return inverse


@njit(nogil=True)
def pseudo_inverse(b, out):
    """out (M, N) = B^+ for B (N, M)."""
    matrix = b.astype(np.float64)
    transposed = matrix.T.copy()
    if b.shape[0] >= b.shape[1]:
        out[:, :] = _product(_inverse_gram(matrix), transposed)
    else:
        out[:, :] = _product(transposed, _inverse_gram(transposed))


@njit(nogil=True)
def add_pseudo_inverse_gradient(b, inverse, upstream, gradient):
    """gradient (N, M) += d loss / d B, given upstream (M, N) = d loss / d B^+."""
    matrix, plus = b.astype(np.float64), inverse.astype(np.float64)
    plus_t, up_t = plus.T.copy(), upstream.T.copy()
    total = -_product(plus_t, _product(upstream, plus_t))
    if b.shape[0] >= b.shape[1]:
        scaled = _product(up_t, _inverse_gram(matrix))
        total += scaled - _product(matrix, _product(plus, scaled))
    else:
        scaled = _product(_inverse_gram(matrix.T.copy()), up_t)
        total += scaled - _product(_product(scaled, plus), matrix)
    for i in range(total.shape[0]):
        for j in range(total.shape[1]):
            gradient[i, j] += total[i, j]

"""Adaptive strength of generalised forcing, re-estimated during training from the Jacobians along the sequences.

    alpha^ = max(0, 1 - 1 / kappa),  kappa = max over the batch (its first sixteen sequences) of an estimate of the norm of one Jacobian:
    arithmetic-mean  || 1/T sum_t J_t ||           geometric-mean   (prod_t ||J_t||)^(1/T)
    largest-norm     max_t ||J_t||                 parameter-bound  a bound on ||J|| from the parameters alone
    alpha jumps up to alpha^ at once, else alpha <- gamma alpha + (1 - gamma) alpha^, gamma = 0.999, every 5 updates.

Source: Hess et al. 2023, section 3.3 and algorithm 1 (aGTF). Spectral norms, over about 25 evenly spaced steps.
"""

from __future__ import annotations

import math

import numpy as np

from dynamics.kernels import maps
from dynamics.kernels.device import allocating_device
from dynamics.kernels.lanes import LANES

ESTIMATES = ("none", "arithmetic-mean", "geometric-mean", "largest-norm", "parameter-bound")
ARITHMETIC, GEOMETRIC, LARGEST, BOUND = 1, 2, 3, 4
EVERY_UPDATES, GAMMA, SAMPLED_STEPS = 5, 0.999, 25


@allocating_device
def spectral_norm(a):
    """||A||_2 by power iteration on A^T A; a lower estimate, tight to rounding after 100 iterations unless two values tie."""
    rows, columns = a.shape
    v, w = np.empty(columns), np.empty(rows)
    for j in range(columns):
        v[j] = 1.0 + 0.1 * j
    norm = 0.0
    for _ in range(100):
        size = 0.0
        for j in range(columns):
            size += v[j] * v[j]
        size = math.sqrt(size)
        if size == 0.0:
            return 0.0
        total = 0.0
        for i in range(rows):
            w[i] = 0.0
            for j in range(columns):
                w[i] += a[i, j] * v[j] / size
            total += w[i] * w[i]
        norm = math.sqrt(total)
        for j in range(columns):
            v[j] = 0.0
            for i in range(rows):
                v[j] += a[i, j] * w[i]
    return norm


@allocating_device
def _lane_kappa(tag, theta, sizes, w, lane, estimate):
    m = maps.latent_units(tag, sizes.map)
    z, jacobian, mean, work = np.empty(m), np.empty((m, m)), np.empty((m, m)), np.empty(sizes.work)
    for a in range(m):
        for b in range(m):
            mean[a, b] = 0.0
    stride = max(1, sizes.steps // SAMPLED_STEPS)
    count, logs, largest = 0, 0.0, 0.0
    for t in range(0, sizes.steps, stride):
        for u in range(m):
            z[u] = w.forced[(t * m + u) * LANES + lane]
        maps.jacobian(tag, theta, sizes.map, z, jacobian, work)
        count += 1
        if estimate == ARITHMETIC:
            for a in range(m):
                for b in range(m):
                    mean[a, b] += jacobian[a, b]
        else:
            norm = spectral_norm(jacobian)
            logs += math.log(max(norm, 1e-300))
            largest = max(largest, norm)
    if estimate == ARITHMETIC:
        return spectral_norm(mean) / count
    return math.exp(logs / count) if estimate == GEOMETRIC else largest


@allocating_device
def adapt(tag, theta, sizes, w, n_lanes, estimate, alpha):
    """Update alpha (1,) from the group of sequences that was just run."""
    kappa = 0.0
    if estimate == BOUND:
        kappa = maps.jacobian_bound(tag, theta, sizes.map)
    else:
        for lane in range(n_lanes):
            kappa = max(kappa, _lane_kappa(tag, theta, sizes, w, lane, estimate))
    wanted = max(0.0, 1.0 - 1.0 / kappa) if kappa > 0.0 else 0.0
    alpha[0] = wanted if wanted > alpha[0] else GAMMA * alpha[0] + (1.0 - GAMMA) * wanted

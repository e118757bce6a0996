"""A whole block of training updates in one compiled call: sampling, forward, backward, optimiser, schedule."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from dynamics.kernels.adaptive import EVERY_UPDATES, adapt
from dynamics.kernels.bptt import Buffers, Sizes, backward, begin_gradient, end_gradient, forward, make_buffers
from dynamics.kernels.device import device
from dynamics.kernels.lanes import LANES
from dynamics.kernels.maps import MapTag


class Learner(NamedTuple):
    """All that changes during training: with the settings it determines everything that follows."""

    theta: np.ndarray  # (P,)
    momentum: np.ndarray  # (P,) running mean of the gradient
    variance: np.ndarray  # (P,) running mean of its square
    random: np.ndarray  # (1,) uint64, state of the generator
    alpha: np.ndarray  # (1,) float64, current strength of adaptive forcing


class Sampling(NamedTuple):
    """Where sequences come from, and how they are forced."""

    series: np.ndarray  # (rows * N,) standardised, embedded; segments one after the other
    starts: np.ndarray  # (S,) rows at which a sequence of T + 1 rows fits into its segment
    batch: int
    interval: int  # sparse forcing every so many steps; 0: generalised forcing
    noise: float  # std of the Gaussian noise on the teacher
    decay: float  # weight decay, added to the gradient
    estimate: int  # adaptive forcing: index into `adaptive.ESTIMATES`; 0: alpha is as given


@device
def _random(state):
    """SplitMix64 (Steele, Lea & Flood 2014): uniform in [0, 1)."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.float64(z >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@device
def _draw(sampling, sizes, w, random, n_lanes):
    """Fill one group with `n_lanes` random sequences; the other lanes repeat the first with weight 0."""
    n, rows = sizes.observed, sizes.steps + 1
    first = 0
    for b in range(LANES):
        if b < n_lanes:
            pick = int(_random(random) * len(sampling.starts))
            start = sampling.starts[pick] * n
            if b == 0:
                first = start
        else:
            start = first
        w.weight[b] = 1.0 if b < n_lanes else 0.0
        for i in range(rows * n):
            w.x[i * LANES + b] = sampling.series[start + i]
    if sampling.noise > 0:
        for i in range(rows * n * LANES):
            radius = math.sqrt(-2.0 * math.log(1.0 - _random(random)))
            normal = radius * math.cos(2.0 * math.pi * _random(random))
            w.given[i] = w.x[i] + sampling.noise * normal


@device
def _set_strength(strength, interval, alpha):
    for t in range(len(strength)):
        if interval > 0:
            strength[t] = 1.0 if t % interval == 0 else 0.0
        else:
            strength[t] = alpha


@njit(cache=True, nogil=True, error_model="numpy")
def radam(theta, momentum, variance, gradient, update, rate, decay):
    """One step of rectified Adam, as torch.optim.RAdam (betas 0.9 and 0.999, eps 1e-8); `update` counts from 1.

    Source: Liu et al. 2020, "On the variance of the adaptive learning rate and beyond", ICLR, algorithm 2.
    """
    beta1, beta2, eps = 0.9, 0.999, 1e-8
    correction1, correction2 = 1.0 - beta1**update, 1.0 - beta2**update
    rho_inf = 2.0 / (1.0 - beta2) - 1.0
    rho = rho_inf - 2.0 * update * beta2**update / correction2
    rectify = 0.0
    if rho > 5.0:
        rectify = math.sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho) * correction2)
    for p in range(len(theta)):
        g = gradient[p] + decay * theta[p]
        momentum[p] += (g - momentum[p]) * (1.0 - beta1)
        variance[p] = beta2 * variance[p] + (1.0 - beta2) * g * g
        step = rate * momentum[p] / correction1
        if rectify > 0.0:
            step *= rectify / (math.sqrt(variance[p]) + eps)
        theta[p] -= step


@njit(cache=True, nogil=True, error_model="numpy")
def loss_and_gradient(tag, theta, sizes, w, gradient):
    """Loss and gradient of the sixteen sequences in `w.x`, under the forcing in `w.strength` (for tests and probes)."""
    begin_gradient(tag, theta, sizes, w)
    n_sequences = 0.0
    for b in range(LANES):
        n_sequences += w.weight[b]
    scale = theta.dtype.type(2.0 / (n_sequences * sizes.steps * sizes.observed))
    loss = 0.5 * forward(tag, theta, sizes, w, scale)
    backward(tag, theta, sizes, w)
    end_gradient(tag, sizes, w, gradient)
    return loss


@njit(cache=True, nogil=True, error_model="numpy")
def train_block(tag, learner, sizes, sampling, w, gradient, first_update, rates, alphas, losses):
    """Updates first_update + 1 .. first_update + len(rates); returns how many were done before the loss was not finite."""
    theta = learner.theta
    scale = theta.dtype.type(2.0 / (sampling.batch * sizes.steps * sizes.observed))
    for k in range(len(rates)):
        _set_strength(w.strength, sampling.interval, learner.alpha[0] if sampling.estimate else alphas[k])
        begin_gradient(tag, theta, sizes, w)
        loss = 0.0
        remaining = sampling.batch
        while remaining > 0:
            _draw(sampling, sizes, w, learner.random, min(remaining, LANES))
            loss += 0.5 * forward(tag, theta, sizes, w, scale)
            backward(tag, theta, sizes, w)
            if sampling.estimate and (first_update + k) % EVERY_UPDATES == 0 and remaining == sampling.batch:
                adapt(tag, theta, sizes, w, min(remaining, LANES), sampling.estimate, learner.alpha)
            remaining -= LANES
        end_gradient(tag, sizes, w, gradient)
        losses[k] = loss
        if not math.isfinite(loss):
            return k
        radam(theta, learner.momentum, learner.variance, gradient, first_update + k + 1, rates[k], sampling.decay)
    return len(rates)


__all__ = [
    "Buffers",
    "Learner",
    "MapTag",
    "Sampling",
    "Sizes",
    "loss_and_gradient",
    "make_buffers",
    "radam",
    "train_block",
]

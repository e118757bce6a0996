"""A whole block of training updates in one compiled call: sampling, forward, backward, regularisers, optimiser, schedule."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from dynamics.kernels.adaptive import EVERY_UPDATES, adapt
from dynamics.kernels.bptt import (
    Buffers,
    Sizes,
    backward,
    begin_gradient,
    end_gradient,
    forward,
    make_buffers,
    make_sizes,
)
from dynamics.kernels.device import allocating_device, device
from dynamics.kernels.lanes import LANES, lanes_load, lanes_sum
from dynamics.kernels.maps import MapTag
from dynamics.kernels.optimizers import optimize
from dynamics.kernels.pseudo_inverse import pseudo_inverse, pseudo_inverse_gradient


class Learner(NamedTuple):
    """All that changes during training: with the settings it determines everything that follows."""

    theta: np.ndarray  # (P,)
    momentum: np.ndarray  # (P,) running mean of the gradient
    variance: np.ndarray  # (P,) running mean of its square
    random: np.ndarray  # (1,) uint64, state of the generator
    alpha: np.ndarray  # (1,) float64, current strength of adaptive forcing


class Sampling(NamedTuple):
    """Where sequences come from, how they are forced, and what is done with their gradient."""

    series: np.ndarray  # (rows * N,) standardised, embedded; segments one after the other
    inputs: np.ndarray  # (rows * K,) external inputs, standardised
    signal: np.ndarray  # (rows * N,) what the teacher says, where it is `apart` from the series
    nuisance: np.ndarray  # (rows * P,) standardised
    apart: bool  # whether there is nuisance, a kernel or noise
    starts: np.ndarray  # (S,) rows at which a sequence of T + 1 rows fits into its segment
    batch: int
    spread: float  # sparse forcing: std of the interval, which is drawn anew at each forcing; 0: regular
    segmented: (
        bool  # regular sparse forcing of the whole state: what lies between two forcings is a sequence of its own
    )
    noise: float  # std of the Gaussian noise on the teacher
    estimate: int  # adaptive forcing: index into `adaptive.ESTIMATES`; 0: alpha is as given
    optimizer: int  # index into `optimizers.OPTIMIZERS`
    decay: float
    clip: float  # largest norm of the gradient; 0: any
    pull_weight: np.ndarray  # (P,) or (0,): sum_p weight_p (theta_p - target_p)^2 is added to the loss
    pull_target: np.ndarray
    recording_dim: int  # p; 0: one map for all recordings
    owners: np.ndarray  # (rows,) recording that each row belongs to, with recording_dim > 0
    first_starts: np.ndarray  # (R + 1,) where the starts of each recording begin in `starts`
    condition: float  # weight of (||B||_F ||B^+||_F / rank)^2 - 1, which is 0 when all singular values of B agree


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
def _normal(state):
    """Standard normal, by Box & Muller 1958."""
    radius = math.sqrt(-2.0 * math.log(1.0 - _random(state)))
    return radius * math.cos(2.0 * math.pi * _random(state))


@device
def _set_strength(strength, interval, spread, alpha, random):
    """a_t: alpha at every t, or 1 every `interval` steps (0: generalised forcing)."""
    if interval <= 0.0:
        for t in range(len(strength)):
            strength[t] = alpha
        return
    every = _at_least_one(interval)
    for t in range(len(strength)):
        strength[t] = 1.0 if spread <= 0.0 and t % every == 0 else 0.0
    if spread > 0.0:
        t = _at_least_one(interval + spread * _normal(random))
        while t < len(strength):
            strength[t] = 1.0
            t += _at_least_one(interval + spread * _normal(random))


@device
def _at_least_one(value):
    return max(1, math.floor(value + 0.5))


@device
def _draw_of_one(sampling, random, starts, n_lanes):
    """Starts of one recording, which is drawn with a chance in proportion to how many it has; returns its number."""
    starts[0] = sampling.starts[int(_random(random) * len(sampling.starts))]
    owner = sampling.owners[starts[0]]
    low, high = sampling.first_starts[owner], sampling.first_starts[owner + 1]
    for b in range(1, n_lanes):
        starts[b] = sampling.starts[low + int(_random(random) * (high - low))]
    return owner


@device
def _draw_starts(sampling, random, starts, first, n_lanes):
    for b in range(n_lanes):
        starts[first + b] = sampling.starts[int(_random(random) * len(sampling.starts))]


@device
def _load(sampling, sizes, w, random, starts, first, n_lanes, steps):
    """Fill one group with the sequences that begin at `starts`; the lanes beyond `n_lanes` repeat the first with weight 0."""
    n, k, p, rows = sizes.observed, sizes.inputs, sizes.nuisance, steps + 1
    for b in range(LANES):
        start = starts[first + b] if b < n_lanes else starts[first]
        w.weight[b] = 1.0 if b < n_lanes else 0.0
        for i in range(rows * n):
            w.x[i * LANES + b] = sampling.series[start * n + i]
        for i in range(rows * k):
            w.drive[i * LANES + b] = sampling.inputs[start * k + i]
        for i in range(rows * p):
            w.nuisance[i * LANES + b] = sampling.nuisance[start * p + i]
        if sampling.apart:
            for i in range(rows * n):
                w.given[i * LANES + b] = sampling.signal[start * n + i]
    if sampling.noise > 0:
        for i in range(rows * n * LANES):
            w.given[i] += sampling.noise * _normal(random)


@device
def _judged(sizes):
    """Steps of a sequence that a loss is taken of: all, or those with the kernel's whole history."""
    return sizes.steps + 1 - max(1, sizes.taps)


@device
def _cut(starts, pieces, interval, n_pieces):
    """The first rows of `n_pieces` pieces, `interval` rows apart, of each sequence."""
    for b in range(len(starts)):
        for p in range(n_pieces):
            pieces[b * n_pieces + p] = starts[b] + p * interval


@device
def _pieces_gradient(tag, theta, sizes, sampling, w, gradient, scale, random, pieces, count, steps):
    """Loss of `count` independent sequences of `steps` steps, packed sixteen to a group."""
    loss = 0.0
    for first in range(0, count, LANES):
        _load(sampling, sizes, w, random, pieces, first, min(LANES, count - first), steps)
        loss += 0.5 * forward(tag, theta, sizes, w, steps, scale)
        backward(tag, theta, sizes, w, steps, gradient)
    return loss


@allocating_device
def _condition_gradient(theta, sizes, w, weight, gradient):
    """Gradient of weight (||B||_F^2 ||B^+||_F^2 / rank^2 - 1)."""
    n, read = sizes.observed, sizes.read
    first = sizes.map_parameters + sizes.map.latent * sizes.inputs
    rank = min(n, read)
    inverse = pseudo_inverse(w.matrix)
    size, inverse_size = 0.0, 0.0
    for k in range(n):
        for u in range(read):
            size += w.matrix[k, u] ** 2
            inverse_size += inverse[u, k] ** 2
            inverse[u, k] *= 2.0
    through = pseudo_inverse_gradient(w.matrix, inverse)
    for k in range(n):
        for u in range(read):
            slope = 2.0 * w.matrix[k, u] * inverse_size + size * through[k, u]
            gradient[first + k * read + u] += weight * slope / (rank * rank)


@allocating_device
def _finish_gradient(tag, theta, sizes, sampling, w, gradient):
    """Sums, regularisers, and the limit on the norm."""
    end_gradient(tag, theta, sizes, w, gradient)
    for p in range(len(sampling.pull_weight)):
        gradient[p] += 2.0 * sampling.pull_weight[p] * (theta[p] - sampling.pull_target[p])
    if sampling.condition > 0.0:
        _condition_gradient(theta, sizes, w, sampling.condition, gradient)
    if sampling.clip > 0.0:
        square = 0.0
        for p in range(len(gradient)):
            square += gradient[p] * gradient[p]
        norm = math.sqrt(square)
        if norm > sampling.clip:
            for p in range(len(gradient)):
                gradient[p] *= sampling.clip / norm


@device
def _set_own(theta, sizes, dim, n_recordings, owner, own):
    """own = the parameters of one recording: the map's plus l_owner P; theta ends with P (p, P_map) and l (R, p)."""
    n_map, shared = sizes.map_parameters, len(own)
    vectors = shared + dim * n_map
    for i in range(shared):
        own[i] = theta[i]
    for k in range(dim):
        strength = theta[vectors + owner * dim + k]
        for i in range(n_map):
            own[i] += strength * theta[shared + k * n_map + i]


@device
def _share_gradient(tag, theta, sizes, w, dim, owner, shared, total, gradient):
    """Take one group's gradient of its map off the sums, and carry it over to the common map (`total`), to P and to l_owner."""
    n_map = sizes.map_parameters
    vectors = shared + dim * n_map + owner * dim
    for i in range(n_map):
        if tag.gradient_lanes > 1:
            found = lanes_sum(lanes_load(w.partial, i * LANES))
            for b in range(LANES):
                w.partial[i * LANES + b] = 0
        else:
            found = gradient[i]
            gradient[i] = 0
        total[i] += found
        for k in range(dim):
            gradient[shared + k * n_map + i] += theta[vectors + k] * found
            gradient[vectors + k] += theta[shared + k * n_map + i] * found


@device
def _return_total(tag, sizes, w, total, gradient):
    """Put the common map's gradient where `end_gradient` looks for it."""
    for i in range(sizes.map_parameters):
        if tag.gradient_lanes > 1:
            w.partial[i * LANES] = total[i]
        else:
            gradient[i] = total[i]


@allocating_device
def _family_gradient(tag, theta, sizes, sampling, w, gradient, scale, random, every, steps, adapting, alpha):
    """Loss of a batch whose groups of sixteen sequences come from one recording each, under its own parameters.

    Where the forcing is `adapting`, alpha follows the Jacobians of the first group's map.
    """
    dim, n_recordings = sampling.recording_dim, len(sampling.first_starts) - 1
    shared = len(theta) - dim * (sizes.map_parameters + n_recordings)
    own, total = np.empty(shared, theta.dtype), np.zeros(sizes.map_parameters, theta.dtype)
    starts = np.empty(LANES, np.int64)
    pieces = np.empty(LANES * steps if sampling.segmented else 0, np.int64)
    loss = 0.0
    for first in range(0, sampling.batch, LANES):
        lanes = min(LANES, sampling.batch - first)
        owner = _draw_of_one(sampling, random, starts, lanes)
        _set_own(theta, sizes, dim, n_recordings, owner, own)
        if sampling.segmented and every < steps:
            whole, rest = steps // every, steps % every
            _cut(starts[:lanes], pieces, every, whole)
            loss += _pieces_gradient(
                tag, own, sizes, sampling, w, gradient, scale, random, pieces, lanes * whole, every
            )
            if rest > 0:
                for b in range(lanes):
                    starts[b] += whole * every
                loss += _pieces_gradient(tag, own, sizes, sampling, w, gradient, scale, random, starts, lanes, rest)
        else:
            _load(sampling, sizes, w, random, starts, 0, lanes, steps)
            loss += 0.5 * forward(tag, own, sizes, w, steps, scale)
            backward(tag, own, sizes, w, steps, gradient)
            if adapting and first == 0:
                adapt(tag, own, sizes, w, lanes, sampling.estimate, alpha)
        _share_gradient(tag, theta, sizes, w, dim, owner, shared, total, gradient)
    _return_total(tag, sizes, w, total, gradient)
    return loss


@njit(cache=True, nogil=True, error_model="numpy")
def family_loss_and_gradient(tag, theta, sizes, w, gradient, dim, n_recordings, owner):
    """As `loss_and_gradient`, of sequences of one recording under its own map (for tests and probes)."""
    shared = len(theta) - dim * (sizes.map_parameters + n_recordings)
    own, total = np.empty(shared, theta.dtype), np.zeros(sizes.map_parameters, theta.dtype)
    begin_gradient(theta, sizes, w, gradient)
    _set_own(theta, sizes, dim, n_recordings, owner, own)
    n_sequences = 0.0
    for b in range(LANES):
        n_sequences += w.weight[b]
    scale = theta.dtype.type(2.0 / (n_sequences * _judged(sizes) * sizes.observed))
    loss = 0.5 * forward(tag, own, sizes, w, sizes.steps, scale)
    backward(tag, own, sizes, w, sizes.steps, gradient)
    _share_gradient(tag, theta, sizes, w, dim, owner, shared, total, gradient)
    _return_total(tag, sizes, w, total, gradient)
    end_gradient(tag, theta, sizes, w, gradient)
    return loss


@njit(cache=True, nogil=True, error_model="numpy")
def loss_and_gradient(tag, theta, sizes, w, gradient):
    """Loss and gradient of the sixteen sequences in `w.x`, under the forcing in `w.strength` (for tests and probes)."""
    begin_gradient(theta, sizes, w, gradient)
    n_sequences = 0.0
    for b in range(LANES):
        n_sequences += w.weight[b]
    scale = theta.dtype.type(2.0 / (n_sequences * _judged(sizes) * sizes.observed))
    loss = 0.5 * forward(tag, theta, sizes, w, sizes.steps, scale)
    backward(tag, theta, sizes, w, sizes.steps, gradient)
    end_gradient(tag, theta, sizes, w, gradient)
    return loss


@njit(cache=True, nogil=True, error_model="numpy")
def train_block(tag, learner, sizes, sampling, w, gradient, first_update, rates, alphas, intervals, losses):
    """Updates first_update + 1 .. first_update + len(rates); returns how many were done before the loss was not finite."""
    theta, random, steps = learner.theta, learner.random, sizes.steps
    scale = theta.dtype.type(2.0 / (sampling.batch * _judged(sizes) * sizes.observed))
    starts = np.empty(sampling.batch, np.int64)
    pieces = np.empty(sampling.batch * steps if sampling.segmented else 0, np.int64)
    for k in range(len(rates)):
        alpha = learner.alpha[0] if sampling.estimate else alphas[k]
        _set_strength(w.strength, intervals[k], sampling.spread, alpha, random)
        begin_gradient(theta, sizes, w, gradient)
        loss = 0.0
        every = _at_least_one(intervals[k])
        adapting = sampling.estimate > 0 and (first_update + k) % EVERY_UPDATES == 0
        if sampling.recording_dim > 0:
            loss += _family_gradient(
                tag, theta, sizes, sampling, w, gradient, scale, random, every, steps, adapting, learner.alpha
            )
        elif sampling.segmented and every < steps:
            whole, rest = steps // every, steps % every
            _draw_starts(sampling, random, starts, 0, sampling.batch)
            _cut(starts, pieces, every, whole)
            loss += _pieces_gradient(
                tag, theta, sizes, sampling, w, gradient, scale, random, pieces, sampling.batch * whole, every
            )
            if rest > 0:
                for b in range(sampling.batch):
                    starts[b] += whole * every
                loss += _pieces_gradient(
                    tag, theta, sizes, sampling, w, gradient, scale, random, starts, sampling.batch, rest
                )
        else:
            for first in range(0, sampling.batch, LANES):
                lanes = min(LANES, sampling.batch - first)
                _draw_starts(sampling, random, starts, first, lanes)
                _load(sampling, sizes, w, random, starts, first, lanes, steps)
                loss += 0.5 * forward(tag, theta, sizes, w, steps, scale)
                backward(tag, theta, sizes, w, steps, gradient)
                if adapting and first == 0:
                    adapt(tag, theta, sizes, w, lanes, sampling.estimate, learner.alpha)
        _finish_gradient(tag, theta, sizes, sampling, w, gradient)
        losses[k] = loss
        if not math.isfinite(loss):
            return k
        optimize(
            sampling.optimizer, theta, learner.momentum, learner.variance, gradient, first_update + k + 1, rates[k],
            sampling.decay,
        )  # fmt: skip
    return len(rates)


__all__ = [
    "Buffers",
    "Learner",
    "MapTag",
    "Sampling",
    "Sizes",
    "family_loss_and_gradient",
    "loss_and_gradient",
    "make_buffers",
    "make_sizes",
    "train_block",
]

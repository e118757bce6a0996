"""Back-propagation through time under teacher forcing, fused over an architecture's step and vector-Jacobian product.

For a batch of sequences x_0 .. x_T and forcing strengths a_t in [0, 1]:

    z~_0 = encode(x_0),    z_t = F(z~_{t-1}),    z~_t = (1 - a_t) z_t + a_t encode(x_t)   (forced units; others z~ = z)
    loss = mean over t = 1..T, coordinates and batch of (observe(z_t) - x_t)^2      (taken before the replacement)

a_t = alpha: generalised forcing (Hess et al. 2023, eq. 7); a_t = 1 every tau steps, else 0: sparse forcing (Mikhaeil et
al. 2022); a_t = 0: none. Identity observation: the first N units are forced, the others start at L0 x_0. Affine:
encode(x) = B^+ (x - b), whose gradient through B^+ is part of the result.

theta = [map | L0 (M - N, N)] or [map | B (N, M), b (N)]. Arrays are flat, sixteen sequences innermost: x (T+1, N, 16).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dynamics.kernels import maps
from dynamics.kernels.device import device
from dynamics.kernels.lanes import (
    LANES,
    add,
    aligned,
    broadcast,
    fill,
    fma,
    get,
    lanes_load,
    lanes_store,
    lanes_sum,
    mul,
    put,
    registers,
    sub,
)
from dynamics.kernels.pseudo_inverse import pseudo_inverse, pseudo_inverse_gradient

CHUNK = 8  # steps whose parameter gradients are gathered at once: their accumulators are loaded and stored once


class Sizes(NamedTuple):
    """What a compiled kernel needs to know at run time."""

    hidden: int
    observed: int  # N
    steps: int  # T
    affine: bool
    map_parameters: int


class Buffers(NamedTuple):
    """Scratch of one group of sixteen sequences; `x` and `given` differ only where noise is added to the teacher."""

    x: np.ndarray  # (T+1, N, 16) targets
    given: np.ndarray  # (T+1, N, 16) what the teacher says
    teacher: np.ndarray  # (T+1, M, 16) encode(given), affine observation only
    free: np.ndarray  # (T+1, M, 16) z_t
    forced: np.ndarray  # (T+1, M, 16) z~_t
    error: np.ndarray  # (T+1, N, 16) d loss / d observe(z_t)
    delta: np.ndarray  # (T+1, M, 16) d loss / d z_t
    pull: np.ndarray  # (T+1, M, 16) d loss / d teacher_t, affine observation only
    carry: np.ndarray  # (M, 16)
    tape: np.ndarray  # (CHUNK, tape size, 16)
    gradient: np.ndarray  # (P, 16)
    inverse_gradient: np.ndarray  # (N, M, 16) d loss / d B^+, affine observation only
    inverse: np.ndarray  # (M, N) B^+, flat
    matrix: np.ndarray  # (N, M) B in float64, affine observation only
    strength: np.ndarray  # (T+1,) a_t
    weight: np.ndarray  # (16,) 0 for lanes that only fill up the group


def make_buffers(tag: maps.MapTag, sizes: Sizes, n_parameters: int, dtype: type, noisy: bool) -> Buffers:
    n, m, rows = sizes.observed, tag.latent_dim, sizes.steps + 1
    x = aligned(rows * n * LANES, dtype)
    affine_rows = rows if sizes.affine else 0
    return Buffers(
        x=x,
        given=aligned(rows * n * LANES, dtype) if noisy else x,
        teacher=aligned(affine_rows * m * LANES, dtype),
        free=aligned(rows * m * LANES, dtype),
        forced=aligned(rows * m * LANES, dtype),
        error=aligned(rows * n * LANES, dtype),
        delta=aligned(rows * m * LANES, dtype),
        pull=aligned(affine_rows * m * LANES, dtype),
        carry=aligned(m * LANES, dtype),
        tape=aligned(CHUNK * maps.TAPE_SIZES[tag.architecture](m, sizes.hidden) * LANES, dtype),
        gradient=aligned(n_parameters * LANES, dtype),
        inverse_gradient=aligned(n * m * LANES if sizes.affine else 0, dtype),
        inverse=np.zeros(m * n if sizes.affine else 0, dtype),
        matrix=np.zeros((n, m) if sizes.affine else (0, 0)),
        strength=np.zeros(rows, dtype),
        weight=aligned(LANES, dtype),
    )


@device
def _teach(tag, theta, sizes, w, t):
    """teacher_t = B^+ (x_t - b)."""
    n, m = sizes.observed, tag.latent_dim
    shift = sizes.map_parameters + n * m
    state = registers(tag, theta)
    nothing = sub(lanes_load(w.given, 0), lanes_load(w.given, 0))
    for u in range(m):
        put(state, u, nothing)
    for k in range(n):
        difference = sub(lanes_load(w.given, (t * n + k) * LANES), broadcast(theta, shift + k))
        for u in range(m):
            put(state, u, fma(broadcast(w.inverse, u * n + k), difference, get(state, u)))
    for u in range(m):
        lanes_store(w.teacher, (t * m + u) * LANES, get(state, u))


@device
def _first_state(tag, theta, sizes, w):
    """z~_0 = encode(x_0)."""
    n, m = sizes.observed, tag.latent_dim
    if sizes.affine:
        _teach(tag, theta, sizes, w, 0)
        for u in range(m):
            lanes_store(w.forced, u * LANES, lanes_load(w.teacher, u * LANES))
        return
    for u in range(m):
        if u < n:
            value = lanes_load(w.given, u * LANES)
        else:
            row = sizes.map_parameters + (u - n) * n
            value = mul(broadcast(theta, row), lanes_load(w.given, 0))
            for k in range(1, n):
                value = fma(broadcast(theta, row + k), lanes_load(w.given, k * LANES), value)
        lanes_store(w.forced, u * LANES, value)


@device
def _force(tag, theta, sizes, w, t):
    """z~_t from z_t."""
    n, m = sizes.observed, tag.latent_dim
    forced_units = m if sizes.affine else n
    strength = w.strength[t]
    if strength == 0:
        forced_units = 0
    elif sizes.affine:
        _teach(tag, theta, sizes, w, t)
    alpha = fill(strength)
    for u in range(m):
        at = (t * m + u) * LANES
        value = lanes_load(w.free, at)
        if u < forced_units:
            truth = lanes_load(w.teacher, at) if sizes.affine else lanes_load(w.given, (t * n + u) * LANES)
            value = fma(alpha, sub(truth, value), value)
        lanes_store(w.forced, at, value)


@device
def _judge(tag, theta, sizes, w, t, scale):
    """Squared error of observe(z_t), summed over coordinates; leaves its gradient in `error`."""
    n, m = sizes.observed, tag.latent_dim
    factor = mul(fill(scale), lanes_load(w.weight, 0))
    total = sub(factor, factor)
    matrix = sizes.map_parameters
    for k in range(n):
        if sizes.affine:
            value = broadcast(theta, matrix + n * m + k)
            for u in range(m):
                value = fma(broadcast(theta, matrix + k * m + u), lanes_load(w.free, (t * m + u) * LANES), value)
        else:
            value = lanes_load(w.free, (t * m + k) * LANES)
        at = (t * n + k) * LANES
        difference = sub(value, lanes_load(w.x, at))
        weighted = mul(factor, difference)
        lanes_store(w.error, at, weighted)
        total = fma(weighted, difference, total)
    return total


@device
def forward(tag, theta, sizes, w, scale):
    """Run the sequences under forcing; half the sum of scale * weight * squared error, over the group."""
    width = tag.latent_dim * LANES
    _first_state(tag, theta, sizes, w)
    total = sub(lanes_load(w.weight, 0), lanes_load(w.weight, 0))
    for t in range(1, sizes.steps + 1):
        maps.step(tag, theta, sizes.hidden, w.forced, (t - 1) * width, w.free, t * width)
        total = add(total, _judge(tag, theta, sizes, w, t, scale))
        if t < sizes.steps:
            _force(tag, theta, sizes, w, t)
    return lanes_sum(total)


@device
def _delta(tag, theta, sizes, w, t):
    """d loss / d z_t from d loss / d z~_t (in `carry`) and the error of the observation."""
    n, m = sizes.observed, tag.latent_dim
    forced_units = m if sizes.affine else n
    strength = w.strength[t]
    alpha = fill(strength)
    delta = registers(tag, theta)
    for u in range(m):
        value = lanes_load(w.carry, u * LANES)
        if u < forced_units:
            pulled = mul(alpha, value)
            if sizes.affine:
                lanes_store(w.pull, (t * m + u) * LANES, pulled)
            value = sub(value, pulled)
        if not sizes.affine and u < n:
            value = add(value, lanes_load(w.error, (t * n + u) * LANES))
        put(delta, u, value)
    if sizes.affine:
        for k in range(n):
            error = lanes_load(w.error, (t * n + k) * LANES)
            for u in range(m):
                put(delta, u, fma(broadcast(theta, sizes.map_parameters + k * m + u), error, get(delta, u)))
    for u in range(m):
        lanes_store(w.delta, (t * m + u) * LANES, get(delta, u))


@device
def backward(tag, theta, sizes, w):
    """Add the group's parameter gradients to `w.gradient`, and those of B^+ to `w.inverse_gradient`."""
    m = tag.latent_dim
    width, tape_width = m * LANES, maps.tape_size(tag, sizes.hidden) * LANES
    for i in range(width):
        w.carry[i] = 0
    high = sizes.steps
    while high > 0:
        low = max(0, high - CHUNK)
        for t in range(high, low, -1):
            _delta(tag, theta, sizes, w, t)
            slot = (t - 1 - low) * tape_width
            maps.vjp(tag, theta, sizes.hidden, w.forced, (t - 1) * width, w.delta, t * width, w.carry, 0, w.tape, slot)
        at, after, n = low * width, (low + 1) * width, high - low
        maps.accumulate(tag, w.gradient, sizes.hidden, w.forced, at, w.delta, after, w.tape, 0, n)
        high = low
    if sizes.affine:
        for i in range(width):
            w.pull[i] = w.carry[i]
        _observation_gradient(tag, theta, sizes, w)
    else:
        _initial_gradient(tag, sizes, w)


@device
def _initial_gradient(tag, sizes, w):
    """d loss / d L0."""
    n, m = sizes.observed, tag.latent_dim
    for u in range(n, m):
        pull = lanes_load(w.carry, u * LANES)
        for k in range(n):
            at = (sizes.map_parameters + (u - n) * n + k) * LANES
            lanes_store(w.gradient, at, fma(pull, lanes_load(w.given, k * LANES), lanes_load(w.gradient, at)))


@device
def _observation_gradient(tag, theta, sizes, w):
    """d loss / d B (through the observation), d b, and d B^+."""
    n, m = sizes.observed, tag.latent_dim
    matrix = sizes.map_parameters
    shift = matrix + n * m
    rows, columns = registers(tag, theta), registers(tag, theta)
    for k in range(n):
        for u in range(m):
            put(rows, u, lanes_load(w.gradient, (matrix + k * m + u) * LANES))
            put(columns, u, lanes_load(w.inverse_gradient, (k * m + u) * LANES))
        offset = lanes_load(w.gradient, (shift + k) * LANES)
        bias = broadcast(theta, shift + k)
        for t in range(sizes.steps):
            error = lanes_load(w.error, ((t + 1) * n + k) * LANES)
            offset = add(offset, error)
            for u in range(m):
                put(rows, u, fma(error, lanes_load(w.free, ((t + 1) * m + u) * LANES), get(rows, u)))
            if t == 0 or w.strength[t] != 0:
                difference = sub(lanes_load(w.given, (t * n + k) * LANES), bias)
                for u in range(m):
                    put(columns, u, fma(difference, lanes_load(w.pull, (t * m + u) * LANES), get(columns, u)))
        for u in range(m):
            lanes_store(w.gradient, (matrix + k * m + u) * LANES, get(rows, u))
            lanes_store(w.inverse_gradient, (k * m + u) * LANES, get(columns, u))
        lanes_store(w.gradient, (shift + k) * LANES, offset)
    _teacher_offset_gradient(tag, sizes, w)


@device
def _teacher_offset_gradient(tag, sizes, w):
    """d loss / d b through the teacher: - (B^+)^T sum_t pull_t."""
    n, m = sizes.observed, tag.latent_dim
    shift = sizes.map_parameters + n * m
    for u in range(m):
        total = lanes_load(w.pull, u * LANES)
        for t in range(1, sizes.steps):
            if w.strength[t] != 0:
                total = add(total, lanes_load(w.pull, (t * m + u) * LANES))
        for k in range(n):
            at = (shift + k) * LANES
            change = mul(total, broadcast(w.inverse, u * n + k))
            lanes_store(w.gradient, at, sub(lanes_load(w.gradient, at), change))


@device
def begin_gradient(tag, theta, sizes, w):
    """Clear the accumulators and bring B^+ up to date."""
    for i in range(len(w.gradient)):
        w.gradient[i] = 0
    if sizes.affine:
        n, m = sizes.observed, tag.latent_dim
        for i in range(n * m * LANES):
            w.inverse_gradient[i] = 0
        for k in range(n):
            for u in range(m):
                w.matrix[k, u] = theta[sizes.map_parameters + k * m + u]
        inverse = pseudo_inverse(w.matrix)
        for u in range(m):
            for k in range(n):
                w.inverse[u * n + k] = inverse[u, k]


@device
def end_gradient(tag, sizes, w, gradient):
    """Sum over the lanes, and carry d B^+ over to d B."""
    for p in range(len(gradient)):
        gradient[p] = lanes_sum(lanes_load(w.gradient, p * LANES))
    if sizes.affine:
        n, m = sizes.observed, tag.latent_dim
        upstream = np.empty((m, n))
        for k in range(n):
            for u in range(m):
                upstream[u, k] = lanes_sum(lanes_load(w.inverse_gradient, (k * m + u) * LANES))
        through = pseudo_inverse_gradient(w.matrix, upstream)
        for k in range(n):
            for u in range(m):
                gradient[sizes.map_parameters + k * m + u] += through[k, u]

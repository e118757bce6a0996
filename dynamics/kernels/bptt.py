"""Back-propagation through time under teacher forcing, fused over an architecture's step and vector-Jacobian product.

For a batch of sequences x_0 .. x_T with external inputs s_0 .. s_T and forcing strengths a_t in [0, 1]:

    z~_0 = encode(x_0),    z_t = F(z~_{t-1}) + C s_t,    z~_t = (1 - a_t) z_t + a_t encode(x_t)   (forced units; others z~ = z)
    loss = mean over t = 1..T, coordinates and batch of (observe(z_t) + J r_t - x_t)^2      (taken before the replacement)

x_t in encode is the signal: the series less its nuisance r, the kernel undone where the states are seen through one of L taps.
Then observe(z_t) is B (h * z)_t + b, and t begins at L, the first step with the kernel's whole history.

a_t = alpha: generalised forcing (Hess et al. 2023, eq. 7); a_t = 1 at some t, else 0: sparse forcing (Mikhaeil et al. 2022);
a_t = 0: none. Identity observation: the first N units are forced, the others start at L0 x_0. Affine: the first R units are
read, encode(x) = [B^+ (x - b), 0] forces all of them, and the gradient through B^+ is part of the result.

Of channels that are not Gaussian observe(z_t) is the linear predictor, and twice the negative log-likelihood of x_t is taken in place of
the squared error: `likelihoods`. The signal then is what stands for them (`models.readouts`).

theta = [map | C (M, K) | L0 (M - N, N) | J (N, P) | thresholds] or [map | C | B (N, R), b (N) | J | thresholds]. Arrays are flat, sixteen
sequences innermost: x (T+1, N, 16).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dynamics.kernels import dense, maps
from dynamics.kernels.convolution import padded, slide
from dynamics.kernels.device import allocating_device, device
from dynamics.kernels.lanes import (
    LANES,
    add,
    aligned,
    fill,
    fma,
    lanes_load,
    lanes_store,
    lanes_sum,
    mul,
    sub,
)
from dynamics.kernels.likelihoods import begin_thresholds, columns, end_thresholds, judge_counted, table, weight
from dynamics.kernels.pseudo_inverse import pseudo_inverse, pseudo_inverse_gradient
from models.base import Size
from models.readouts import Readouts

# Steps whose parameter gradients are gathered at once. Sixteen partial sums a parameter are loaded and stored once a chunk and
# want their tape in the nearest cache; gradients that are added up over the lanes want long chunks.
SHORT_CHUNK, LONG_CHUNK = 8, 50


class Sizes(NamedTuple):
    """What a compiled kernel needs to know at run time."""

    map: Size
    observed: int  # N
    read: int  # R, units that an affine observation reads
    inputs: int  # K
    nuisance: int  # P
    taps: int  # L, of the kernel of a convolutional observation; 0: none
    steps: int  # T, of the longest sequence
    affine: bool
    map_parameters: int
    memory: int  # vectors that one step leaves for its vjp
    tape: int  # vectors that one vjp leaves for the parameter gradients
    work: int  # numbers of scratch of one Jacobian
    chunk: int


class Buffers(NamedTuple):
    """Scratch of one group of sixteen sequences; `x` and `given` are one array unless the teacher says something else."""

    x: np.ndarray  # (T+1, N, 16) targets
    given: np.ndarray  # (T+1, N, 16) what the teacher says
    drive: np.ndarray  # (T+1, K, 16) external inputs
    nuisance: np.ndarray  # (T+1, P, 16)
    teacher: np.ndarray  # (T+1, R, 16) encode(given), affine observation only
    free: np.ndarray  # (T+1, M, 16) z_t
    forced: np.ndarray  # (T+1, M, 16) z~_t
    memory: np.ndarray  # (T, memory size, 16)
    error: np.ndarray  # (T+1, N, 16) d loss / d observe(z_t)
    delta: np.ndarray  # (T+1, M, 16) d loss / d z_t
    pull: np.ndarray  # (T+1, R, 16) d loss / d teacher_t, affine observation only
    kernel: np.ndarray  # (L,) padded, as are those below only for a convolutional observation
    turned: np.ndarray  # the same from its end
    shown: np.ndarray  # (T+1, R, 16) what the kernel shows of the states
    back: np.ndarray  # (T+1+L, R, 16) d loss / d shown; zero outside of L..T
    spread: np.ndarray  # (T+1, R, 16) d loss / d z_t through it
    carry: np.ndarray  # (M, 16)
    tape: np.ndarray  # (chunk, tape size, 16)
    partial: np.ndarray  # (P_map, 16) sixteen partial sums of each gradient, where the architecture leaves them so
    inverse_gradient: np.ndarray  # (R, N) d loss / d B^+, affine observation only
    shift_gradient: np.ndarray  # (R,) d loss / d (-B^+ b)
    inverse: np.ndarray  # (R, N) B^+, flat
    shift: np.ndarray  # (R,) -B^+ b
    matrix: np.ndarray  # (N, R) B in float64, affine observation only
    links: np.ndarray  # (channels that are not Gaussian, 4): `likelihoods.table`
    link_offset: np.ndarray  # (N,), as are the following: `likelihoods.columns`
    link_scale: np.ndarray
    link_cap: np.ndarray
    squared: np.ndarray
    link_weight: np.ndarray  # (1,) `likelihoods.weight`
    cuts: np.ndarray  # (C,) thresholds of ordinal channels
    cuts_gradient: np.ndarray  # (C,)
    link_loss: np.ndarray  # (16,) losses of channels that are not Gaussian
    strength: np.ndarray  # (T+1,) a_t
    weight: np.ndarray  # (16,) 0 for lanes that only fill up the group


def make_sizes(
    tag: maps.MapTag,
    size: Size,
    n_parameters: int,
    *,
    observed: int,
    read: int,
    inputs: int,
    steps: int,
    affine: bool,
    nuisance: int = 0,
    taps: int = 0,
) -> Sizes:
    layout = maps.layout(tag)
    chunk = SHORT_CHUNK if tag.units else LONG_CHUNK
    return Sizes(
        size, observed, read, inputs, nuisance, taps, steps, affine, n_parameters, layout.memory_size(size), layout.tape_size(size),
        layout.work_size(size), chunk
    )  # fmt: skip


def make_buffers(
    tag: maps.MapTag,
    sizes: Sizes,
    dtype: type,
    apart: bool,
    kernel: list[float] | None = None,
    readouts: Readouts | None = None,
) -> Buffers:
    """`apart`: whether the teacher says anything else than the targets."""
    n, m, rows, read = sizes.observed, sizes.map.latent, sizes.steps + 1, sizes.read if sizes.affine else 0
    weights, seen = np.array(kernel or []), read if sizes.taps else 0

    def lanes(*shape: int) -> np.ndarray:
        return aligned(int(np.prod(shape)) * LANES, dtype)

    x = lanes(rows, n)
    offset, scale, cap, squared = columns(readouts, n, dtype)
    n_thresholds = readouts.n_thresholds if readouts else 0
    return Buffers(
        x=x,
        given=lanes(rows, n) if apart else x,
        drive=lanes(rows, sizes.inputs),
        nuisance=lanes(rows, sizes.nuisance),
        teacher=lanes(rows, read),
        free=lanes(rows, m),
        forced=lanes(rows, m),
        memory=lanes(sizes.steps, sizes.memory),
        error=lanes(rows, n),
        delta=lanes(rows, m),
        pull=lanes(rows, read),
        kernel=padded(weights, dtype),
        turned=padded(weights[::-1], dtype),
        shown=lanes(rows, seen),
        back=lanes(rows + sizes.taps, seen),
        spread=lanes(rows, seen),
        carry=lanes(m),
        tape=lanes(min(sizes.chunk, sizes.steps), sizes.tape),
        partial=lanes(sizes.map_parameters if tag.units else 0),
        inverse_gradient=np.zeros(read * n, dtype),
        shift_gradient=np.zeros(read, dtype),
        inverse=np.zeros(read * n, dtype),
        shift=np.zeros(read, dtype),
        matrix=np.zeros((n, read)),
        links=table(readouts),
        link_offset=offset,
        link_scale=scale,
        link_cap=cap,
        squared=squared,
        link_weight=np.full(1, weight(readouts) if readouts else 1, dtype),
        cuts=np.zeros(n_thresholds, dtype),
        cuts_gradient=np.zeros(n_thresholds, dtype),
        link_loss=np.zeros(LANES, dtype),
        strength=np.zeros(rows, dtype),
        weight=aligned(LANES, dtype),
    )


@device
def _observation(sizes):
    """Where the parameters of the observation begin."""
    return sizes.map_parameters + sizes.map.latent * sizes.inputs


@device
def _contamination(sizes):
    """Where J begins."""
    n, read = sizes.observed, sizes.read
    return _observation(sizes) + (n * read + n if sizes.affine else (sizes.map.latent - n) * n)


@device
def _thresholds(sizes):
    """Where the parameters of the thresholds begin."""
    return _contamination(sizes) + sizes.observed * sizes.nuisance


@device
def _first_judged(sizes):
    """The first step that a loss is taken of."""
    return max(1, sizes.taps)


@device
def _teach(sizes, w, t):
    """teacher_t = B^+ x_t - B^+ b."""
    n, at = sizes.observed, t * sizes.read * LANES
    dense.fill_rows(w.shift, 0, sizes.read, w.teacher, at)
    dense.product(w.inverse, 0, sizes.read, n, w.given, t * n * LANES, w.teacher, at)


@device
def _first_state(theta, sizes, w):
    """z~_0 = encode(x_0)."""
    n, m = sizes.observed, sizes.map.latent
    dense.clear(w.forced, 0, m)
    if sizes.affine:
        _teach(sizes, w, 0)
        for u in range(sizes.read):
            lanes_store(w.forced, u * LANES, lanes_load(w.teacher, u * LANES))
        return
    for u in range(n):
        lanes_store(w.forced, u * LANES, lanes_load(w.given, u * LANES))
    if m > n:
        dense.product(theta, _observation(sizes), m - n, n, w.given, 0, w.forced, n * LANES)


@device
def _force(sizes, w, t):
    """z~_t from z_t."""
    n, m = sizes.observed, sizes.map.latent
    strength = w.strength[t]
    told, forced = 0, 0  # units with a teacher, units that are pulled
    if strength != 0:
        told, forced = (sizes.read, m) if sizes.affine else (n, n)
        if sizes.affine:
            _teach(sizes, w, t)
    alpha, keep = fill(strength), fill(w.strength.dtype.type(1) - strength)
    for u in range(m):
        at = (t * m + u) * LANES
        value = lanes_load(w.free, at)
        if u < told:
            if sizes.affine:
                truth = lanes_load(w.teacher, (t * sizes.read + u) * LANES)
            else:
                truth = lanes_load(w.given, (t * n + u) * LANES)
            # a state far off must be replaced whole: rounding would keep a part of it
            value = truth if strength == 1 else fma(alpha, sub(truth, value), value)
        elif u < forced:
            value = mul(keep, value)
        lanes_store(w.forced, at, value)


@device
def _judge(theta, sizes, w, t, scale):
    """Squared error of what is observed of z_t, summed over Gaussian coordinates; leaves the gradient of all in `error`."""
    n, m = sizes.observed, sizes.map.latent
    factor = mul(fill(scale), lanes_load(w.weight, 0))
    total = sub(factor, factor)
    if sizes.affine:
        matrix = _observation(sizes)
        dense.fill_rows(theta, matrix + n * sizes.read, n, w.error, t * n * LANES)
        if sizes.taps > 0:
            dense.product(theta, matrix, n, sizes.read, w.shown, t * sizes.read * LANES, w.error, t * n * LANES)
        else:
            dense.product(theta, matrix, n, sizes.read, w.free, t * m * LANES, w.error, t * n * LANES)
    else:
        for k in range(n):
            lanes_store(w.error, (t * n + k) * LANES, lanes_load(w.free, (t * m + k) * LANES))
    if sizes.nuisance > 0:
        p = sizes.nuisance
        dense.product(theta, _contamination(sizes), n, p, w.nuisance, t * p * LANES, w.error, t * n * LANES)
    if len(w.links) > 0:
        judge_counted(w, n, t, scale)
    for k in range(n):
        if len(w.links) > 0 and not w.squared[k]:
            continue
        at = (t * n + k) * LANES
        value = lanes_load(w.error, at)
        difference = sub(value, lanes_load(w.x, at))
        weighted = mul(factor, difference)
        lanes_store(w.error, at, weighted)
        total = fma(weighted, difference, total)
    return total


@device
def forward(tag, theta, sizes, w, steps, scale):
    """Run sequences of `steps` steps under forcing; the sum of scale * weight * squared error (or twice the log-likelihood), over the group."""
    m = sizes.map.latent
    width, inputs, memory = m * LANES, sizes.inputs * LANES, sizes.memory * LANES
    _first_state(theta, sizes, w)
    total = sub(lanes_load(w.weight, 0), lanes_load(w.weight, 0))
    lanes_store(w.link_loss, 0, total)
    for t in range(1, steps + 1):
        maps.step(tag, theta, sizes.map, w.forced, (t - 1) * width, w.free, t * width, w.memory, (t - 1) * memory)
        if inputs > 0:
            dense.product(theta, sizes.map_parameters, m, sizes.inputs, w.drive, t * inputs, w.free, t * width)
        if sizes.taps == 0:
            total = add(total, _judge(theta, sizes, w, t, scale))
        if t < steps:
            _force(sizes, w, t)
    if sizes.taps > 0:
        slide(w.turned, sizes.taps, w.free, 1 - sizes.taps, w.shown, sizes.taps, steps + 1, sizes.read, m)
        for t in range(sizes.taps, steps + 1):
            total = add(total, _judge(theta, sizes, w, t, scale))
    return lanes_sum(add(total, lanes_load(w.link_loss, 0)))


@device
def _delta(theta, sizes, w, t):
    """d loss / d z_t, from what comes back through z~_t (`carry`) and from the loss at t."""
    n, m = sizes.observed, sizes.map.latent
    strength = w.strength[t]
    alpha = fill(strength)
    told, forced = (sizes.read, m) if sizes.affine else (n, n)
    for u in range(m):
        value = lanes_load(w.carry, u * LANES)
        if u < forced:
            pulled = mul(alpha, value)
            if sizes.affine and u < told:
                lanes_store(w.pull, (t * sizes.read + u) * LANES, pulled)
            value = sub(value, pulled)
        if not sizes.affine and u < n:
            value = add(value, lanes_load(w.error, (t * n + u) * LANES))
        if sizes.taps > 0 and u < sizes.read:
            value = add(value, lanes_load(w.spread, (t * sizes.read + u) * LANES))
        lanes_store(w.delta, (t * m + u) * LANES, value)
    if sizes.affine and sizes.taps == 0:
        matrix = _observation(sizes)
        dense.transposed_product(theta, matrix, n, sizes.read, w.error, t * n * LANES, w.delta, t * m * LANES)


@device
def _through_kernel(theta, sizes, w, steps):
    """d loss / d z_t of every step, from the errors of all observations that the kernel shows it in."""
    n, read, taps = sizes.observed, sizes.read, sizes.taps
    for t in range(taps, steps + 1):
        dense.clear(w.back, t * read * LANES, read)
        dense.transposed_product(theta, _observation(sizes), n, read, w.error, t * n * LANES, w.back, t * read * LANES)
    slide(w.kernel, taps, w.back, 0, w.spread, 1, steps + 1, read, read)


@device
def backward(tag, theta, sizes, w, steps, gradient):
    """Add the group's parameter gradients to `gradient`, `partial`, and those of the inverse to `inverse_gradient`."""
    m = sizes.map.latent
    width, memory, tape = m * LANES, sizes.memory * LANES, sizes.tape * LANES
    dense.clear(w.carry, 0, m)
    if sizes.taps > 0:
        _through_kernel(theta, sizes, w, steps)
    high = steps
    while high > 0:
        low = max(0, high - sizes.chunk)
        for t in range(high, low, -1):
            _delta(theta, sizes, w, t)
            maps.vjp(
                tag, theta, sizes.map, w.forced, (t - 1) * width, w.memory, (t - 1) * memory, w.delta, t * width,
                w.carry, 0, w.tape, (t - 1 - low) * tape,
            )  # fmt: skip
        sums = w.partial if tag.gradient_lanes > 1 else gradient
        maps.accumulate(
            tag, theta, sums, sizes.map, w.forced, low * width, w.memory, low * memory, w.delta, (low + 1) * width, w.tape, 0,
            high - low,
        )  # fmt: skip
        high = low
    if sizes.inputs > 0:
        inputs = sizes.inputs * LANES
        dense.outer_products(
            gradient, sizes.map_parameters, m, sizes.inputs, w.delta, width, width, w.drive, inputs, inputs, steps
        )
    if sizes.nuisance > 0:
        first, n, p = _first_judged(sizes), sizes.observed * LANES, sizes.nuisance * LANES
        dense.outer_products(
            gradient, _contamination(sizes), sizes.observed, sizes.nuisance, w.error, first * n, n, w.nuisance, first * p, p,
            steps + 1 - first,
        )  # fmt: skip
    if sizes.affine:
        _observation_gradient(sizes, w, steps, gradient)
    elif m > sizes.observed:
        n = sizes.observed
        dense.outer_products(gradient, _observation(sizes), m - n, n, w.carry, n * LANES, 0, w.given, 0, 0, 1)


@device
def _observation_gradient(sizes, w, steps, gradient):
    """d loss / d B and d b through the observation, d B^+ and d (-B^+ b) through the teacher."""
    n, m, read = sizes.observed, sizes.map.latent, sizes.read
    matrix, rows, width, taught = _observation(sizes), n * LANES, m * LANES, read * LANES
    first = _first_judged(sizes)
    left = steps + 1 - first
    if sizes.taps > 0:
        dense.outer_products(
            gradient, matrix, n, read, w.error, first * rows, rows, w.shown, first * taught, taught, left
        )
    else:
        dense.outer_products(gradient, matrix, n, read, w.error, rows, rows, w.free, width, width, steps)
    dense.sums(gradient, matrix + n * read, n, w.error, first * rows, rows, left)
    for u in range(read):
        lanes_store(w.pull, u * LANES, lanes_load(w.carry, u * LANES))
    t = 0
    while t < steps:  # stretches of forced steps: all of them, or single ones under sparse forcing
        until = t + 1
        if t == 0 or w.strength[t] != 0:
            while until < steps and w.strength[until] != 0:
                until += 1
            dense.outer_products(
                w.inverse_gradient, 0, read, n, w.pull, t * taught, taught, w.given, t * rows, rows, until - t
            )
            dense.sums(w.shift_gradient, 0, read, w.pull, t * taught, taught, until - t)
        t = until


@allocating_device
def begin_gradient(theta, sizes, w, gradient):
    """Clear the sums and bring B^+ up to date."""
    for i in range(len(gradient)):
        gradient[i] = 0
    for i in range(len(w.partial)):
        w.partial[i] = 0
    begin_thresholds(theta, _thresholds(sizes), w)
    if sizes.affine:
        n, read, matrix = sizes.observed, sizes.read, _observation(sizes)
        for i in range(n * read):
            w.inverse_gradient[i] = 0
        for k in range(n):
            for u in range(read):
                w.matrix[k, u] = theta[matrix + k * read + u]
        inverse = pseudo_inverse(w.matrix)
        for u in range(read):
            w.shift_gradient[u] = 0
            total = 0.0
            for k in range(n):
                w.inverse[u * n + k] = inverse[u, k]
                total += inverse[u, k] * theta[matrix + n * read + k]
            w.shift[u] = -total


@allocating_device
def end_gradient(tag, theta, sizes, w, gradient):
    """Sum over the lanes, and carry d B^+ and d (-B^+ b) over to d B and d b."""
    if tag.gradient_lanes > 1:
        for p in range(sizes.map_parameters):
            gradient[p] = lanes_sum(lanes_load(w.partial, p * LANES))
    end_thresholds(theta, _thresholds(sizes), w, gradient)
    if sizes.affine:
        n, read, matrix = sizes.observed, sizes.read, _observation(sizes)
        offset = matrix + n * read
        upstream = np.empty((read, n))
        for u in range(read):
            for k in range(n):
                upstream[u, k] = w.inverse_gradient[u * n + k] - w.shift_gradient[u] * theta[offset + k]
                gradient[offset + k] -= w.inverse[u * n + k] * w.shift_gradient[u]
        through = pseudo_inverse_gradient(w.matrix, upstream)
        for k in range(n):
            for u in range(read):
                gradient[matrix + k * read + u] += through[k, u]

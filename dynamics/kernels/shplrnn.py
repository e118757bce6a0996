"""Compiled step, vector-Jacobian product and Jacobian of the shallow PLRNN and its clipped variant.

theta = [A (M), h1 (M), W1^T (H, M), W2 (H, M), h2 (H)]: what one hidden unit needs lies together. Two sets of kernels: for up to
16 latent units the state stays in registers and hidden units pass by one at a time (no memory, the tape holds per hidden unit
its activity, d loss / d drive, d loss / d h2); for more the products are tiled (`dense`).
"""

from __future__ import annotations

from dynamics.kernels import dense, maps
from dynamics.kernels.device import device_overload
from dynamics.kernels.lanes import (
    LANES,
    add,
    broadcast,
    fma,
    gate,
    get,
    lanes_load,
    lanes_store,
    mul,
    put,
    registers,
    relu,
    sub,
)

NAMES = ("shplrnn", "clipped-shplrnn")
MOST_UNITS = 16
ORDER = (("A", False), ("h1", False), ("W1", True), ("W2", False), ("h2", False))
for _name in NAMES:
    _small = maps.Layout(ORDER, lambda size: 0, lambda size: 3 * size.hidden)
    maps.LAYOUTS[_name] = maps.Layout(
        ORDER, lambda size: 2 * size.hidden, lambda size: 2 * size.hidden, most_units=MOST_UNITS, small=_small
    )


def _is_small(tag):
    return tag.architecture in NAMES and tag.units > 0


def _is_large(tag):
    return tag.architecture in NAMES and tag.units == 0


@device_overload(maps.step)
def _step(tag, theta, size, z, i, out, o, memory, q):
    if not _is_small(tag):
        return None
    clipped = tag.architecture == "clipped-shplrnn"

    def step(tag, theta, size, z, i, out, o, memory, q):
        m, hidden = tag.units, size.hidden
        state, result = registers(tag, z), registers(tag, z)
        for k in range(m):
            put(state, k, lanes_load(z, i + k * LANES))
            put(result, k, fma(broadcast(theta, k), get(state, k), broadcast(theta, m + k)))
        w1, w2 = 2 * m, 2 * m + hidden * m
        h2 = w2 + hidden * m
        for h in range(hidden):
            drive = mul(broadcast(theta, w2), get(state, 0))
            for k in range(1, m):
                drive = fma(broadcast(theta, w2 + k), get(state, k), drive)
            unit = relu(add(drive, broadcast(theta, h2 + h)))
            if clipped:
                unit = sub(unit, relu(drive))
            for k in range(m):
                put(result, k, fma(broadcast(theta, w1 + k), unit, get(result, k)))
            w1 += m
            w2 += m
        for k in range(m):
            lanes_store(out, o + k * LANES, get(result, k))

    return step


@device_overload(maps.vjp)
def _vjp(tag, theta, size, z, i, memory, q, d, j, out, o, tape, k):
    if not _is_small(tag):
        return None
    clipped = tag.architecture == "clipped-shplrnn"

    def vjp(tag, theta, size, z, i, memory, q, d, j, out, o, tape, k):
        m, hidden = tag.units, size.hidden
        state, above, below = registers(tag, z), registers(tag, z), registers(tag, z)
        for u in range(m):
            put(state, u, lanes_load(z, i + u * LANES))
            put(above, u, lanes_load(d, j + u * LANES))
            put(below, u, mul(broadcast(theta, u), get(above, u)))
        w1, w2 = 2 * m, 2 * m + hidden * m
        h2 = w2 + hidden * m
        for h in range(hidden):
            drive = mul(broadcast(theta, w2), get(state, 0))
            sensitivity = mul(broadcast(theta, w1), get(above, 0))
            for u in range(1, m):
                drive = fma(broadcast(theta, w2 + u), get(state, u), drive)
                sensitivity = fma(broadcast(theta, w1 + u), get(above, u), sensitivity)
            shifted = add(drive, broadcast(theta, h2 + h))
            unit = relu(shifted)
            to_threshold = gate(shifted, sensitivity)
            to_drive = to_threshold
            if clipped:
                unit = sub(unit, relu(drive))
                to_drive = sub(to_threshold, gate(drive, sensitivity))
            lanes_store(tape, k, unit)
            lanes_store(tape, k + LANES, to_drive)
            lanes_store(tape, k + 2 * LANES, to_threshold)
            for u in range(m):
                put(below, u, fma(broadcast(theta, w2 + u), to_drive, get(below, u)))
            w1 += m
            w2 += m
            k += 3 * LANES
        for u in range(m):
            lanes_store(out, o + u * LANES, get(below, u))

    return vjp


@device_overload(maps.accumulate)
def _accumulate(tag, theta, gradient, size, z, i, memory, q, d, j, tape, k, n):
    if not _is_small(tag):
        return None

    def accumulate(tag, theta, gradient, size, z, i, memory, q, d, j, tape, k, n):
        m, hidden = tag.units, size.hidden
        width, stride = m * LANES, 3 * hidden * LANES
        for u in range(m):
            slope, shift = lanes_load(gradient, u * LANES), lanes_load(gradient, (m + u) * LANES)
            for t in range(n):
                above = lanes_load(d, j + t * width + u * LANES)
                slope = fma(above, lanes_load(z, i + t * width + u * LANES), slope)
                shift = add(above, shift)
            lanes_store(gradient, u * LANES, slope)
            lanes_store(gradient, (m + u) * LANES, shift)
        w1, w2 = 2 * m * LANES, (2 * m + hidden * m) * LANES
        h2 = w2 + hidden * m * LANES
        into, out_of = registers(tag, gradient), registers(tag, gradient)
        for h in range(hidden):
            for u in range(m):
                put(out_of, u, lanes_load(gradient, w1 + u * LANES))
                put(into, u, lanes_load(gradient, w2 + u * LANES))
            threshold = lanes_load(gradient, h2)
            for t in range(n):
                at = k + t * stride + 3 * h * LANES
                unit, to_drive = lanes_load(tape, at), lanes_load(tape, at + LANES)
                threshold = add(threshold, lanes_load(tape, at + 2 * LANES))
                for u in range(m):
                    put(out_of, u, fma(unit, lanes_load(d, j + t * width + u * LANES), get(out_of, u)))
                    put(into, u, fma(to_drive, lanes_load(z, i + t * width + u * LANES), get(into, u)))
            for u in range(m):
                lanes_store(gradient, w1 + u * LANES, get(out_of, u))
                lanes_store(gradient, w2 + u * LANES, get(into, u))
            lanes_store(gradient, h2, threshold)
            w1 += width
            w2 += width
            h2 += LANES

    return accumulate


@device_overload(maps.step)
def _large_step(tag, theta, size, z, i, out, o, memory, q):
    if not _is_large(tag):
        return None
    clipped = tag.architecture == "clipped-shplrnn"

    def step(tag, theta, size, z, i, out, o, memory, q):
        """The memory holds the drive W2 z (H) and the activity (H)."""
        m, hidden = size.latent, size.hidden
        w1, w2 = 2 * m, 2 * m + hidden * m
        h2, unit = w2 + hidden * m, q + hidden * LANES
        dense.clear(memory, q, hidden)
        dense.product(theta, w2, hidden, m, z, i, memory, q)
        for h in range(hidden):
            drive = lanes_load(memory, q + h * LANES)
            value = relu(add(drive, broadcast(theta, h2 + h)))
            if clipped:
                value = sub(value, relu(drive))
            lanes_store(memory, unit + h * LANES, value)
        dense.fill_rows(theta, m, m, out, o)
        dense.scale_rows(theta, 0, m, z, i, out, o)
        dense.transposed_product(theta, w1, hidden, m, memory, unit, out, o)

    return step


@device_overload(maps.vjp)
def _large_vjp(tag, theta, size, z, i, memory, q, d, j, out, o, tape, k):
    if not _is_large(tag):
        return None
    clipped = tag.architecture == "clipped-shplrnn"

    def vjp(tag, theta, size, z, i, memory, q, d, j, out, o, tape, k):
        """The tape holds d loss / d drive (H) and d loss / d h2 (H)."""
        m, hidden = size.latent, size.hidden
        w1, w2 = 2 * m, 2 * m + hidden * m
        h2, threshold = w2 + hidden * m, k + hidden * LANES
        dense.clear(tape, threshold, hidden)
        dense.product(theta, w1, hidden, m, d, j, tape, threshold)
        for h in range(hidden):
            drive, sensitivity = lanes_load(memory, q + h * LANES), lanes_load(tape, threshold + h * LANES)
            to_threshold = gate(add(drive, broadcast(theta, h2 + h)), sensitivity)
            to_drive = sub(to_threshold, gate(drive, sensitivity)) if clipped else to_threshold
            lanes_store(tape, threshold + h * LANES, to_threshold)
            lanes_store(tape, k + h * LANES, to_drive)
        dense.clear(out, o, m)
        dense.scale_rows(theta, 0, m, d, j, out, o)
        dense.transposed_product(theta, w2, hidden, m, tape, k, out, o)

    return vjp


@device_overload(maps.accumulate)
def _large_accumulate(tag, theta, gradient, size, z, i, memory, q, d, j, tape, k, n):
    if not _is_large(tag):
        return None

    def accumulate(tag, theta, gradient, size, z, i, memory, q, d, j, tape, k, n):
        m, hidden = size.latent, size.hidden
        width, stride = m * LANES, 2 * hidden * LANES
        w1, w2 = 2 * m, 2 * m + hidden * m
        half = hidden * LANES
        dense.inner_products(gradient, 0, m, d, j, width, z, i, width, n)
        dense.sums(gradient, m, m, d, j, width, n)
        dense.outer_products(gradient, w1, hidden, m, memory, q + half, stride, d, j, width, n)
        dense.outer_products(gradient, w2, hidden, m, tape, k, stride, z, i, width, n)
        dense.sums(gradient, w2 + hidden * m, hidden, tape, k + half, stride, n)

    return accumulate


@device_overload(maps.jacobian)
def _jacobian(tag, theta, size, z, out, work):
    if tag.architecture not in NAMES:
        return None
    clipped = tag.architecture == "clipped-shplrnn"

    def jacobian(tag, theta, size, z, out, work):
        m, hidden = tag.units, size.hidden
        for a in range(m):
            for b in range(m):
                out[a, b] = theta[a] if a == b else 0.0
        w1, w2 = 2 * m, 2 * m + hidden * m
        h2 = w2 + hidden * m
        for h in range(hidden):
            drive = theta[w2] * z[0]
            for b in range(1, m):
                drive += theta[w2 + b] * z[b]
            slope = 1.0 if drive + theta[h2 + h] > 0 else 0.0
            if clipped and drive > 0:
                slope -= 1.0
            if slope != 0.0:
                for a in range(m):
                    for b in range(m):
                        out[a, b] += slope * theta[w1 + a] * theta[w2 + b]
            w1 += m
            w2 += m

    return jacobian


@device_overload(maps.jacobian_bound)
def _jacobian_bound(tag, theta, size):
    if tag.architecture not in NAMES:
        return None

    def jacobian_bound(tag, theta, size):
        """max |A| + ||W1||_F ||W2||_F, as no gate exceeds 1 in size."""
        m, hidden = tag.units, size.hidden
        slope, out_of, into = 0.0, 0.0, 0.0
        for u in range(m):
            slope = max(slope, abs(theta[u]))
        for k in range(hidden * m):
            out_of += theta[2 * m + k] ** 2
            into += theta[2 * m + hidden * m + k] ** 2
        return slope + (out_of * into) ** 0.5

    return jacobian_bound

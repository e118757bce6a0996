"""Compiled step, vector-Jacobian product and Jacobian of the shallow PLRNN and its clipped variant.

theta = [A (M), h1 (M), W1^T (H, M), W2 (H, M), h2 (H)]: what one hidden unit needs lies together.
"""

from __future__ import annotations

from numba.extending import overload

from dynamics.kernels import maps
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
for _name in NAMES:
    maps.LAYOUTS[_name] = (("A", False), ("h1", False), ("W1", True), ("W2", False), ("h2", False))
    maps.TAPE_SIZES[_name] = lambda m, hidden: 3 * hidden


@overload(maps.step)
def _step(tag, theta, hidden, z, i, out, o):
    if tag.architecture not in NAMES:
        return None
    clipped = tag.architecture == "clipped-shplrnn"

    def step(tag, theta, hidden, z, i, out, o):
        m = tag.latent_dim
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


@overload(maps.tape_size)
def _tape_size(tag, hidden):
    return (lambda tag, hidden: 3 * hidden) if tag.architecture in NAMES else None


@overload(maps.vjp)
def _vjp(tag, theta, hidden, z, i, d, j, out, o, tape, k):
    if tag.architecture not in NAMES:
        return None
    clipped = tag.architecture == "clipped-shplrnn"

    def vjp(tag, theta, hidden, z, i, d, j, out, o, tape, k):
        """Per hidden unit the tape holds: its activity, d loss / d drive, d loss / d h2."""
        m = tag.latent_dim
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


@overload(maps.accumulate)
def _accumulate(tag, gradient, hidden, z, i, d, j, tape, k, n):
    if tag.architecture not in NAMES:
        return None

    def accumulate(tag, gradient, hidden, z, i, d, j, tape, k, n):
        m = tag.latent_dim
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


@overload(maps.jacobian)
def _jacobian(tag, theta, hidden, z, out):
    if tag.architecture not in NAMES:
        return None
    clipped = tag.architecture == "clipped-shplrnn"

    def jacobian(tag, theta, hidden, z, out):
        m = tag.latent_dim
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


@overload(maps.jacobian_bound)
def _jacobian_bound(tag, theta, hidden):
    if tag.architecture not in NAMES:
        return None

    def jacobian_bound(tag, theta, hidden):
        """max |A| + ||W1||_F ||W2||_F, as no gate exceeds 1 in size."""
        m = tag.latent_dim
        slope, out_of, into = 0.0, 0.0, 0.0
        for u in range(m):
            slope = max(slope, abs(theta[u]))
        for k in range(hidden * m):
            out_of += theta[2 * m + k] ** 2
            into += theta[2 * m + hidden * m + k] ** 2
        return slope + (out_of * into) ** 0.5

    return jacobian_bound

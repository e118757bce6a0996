"""Compiled deep PLRNN: z' = A z + W_out y_L + h1, y_k = relu(W_k y_{k-1} + b_k), y_0 = z.

theta = [A (M), h1 (M), W_out^T (H, M), W_in (H, M), b_in (H), W_2 .. W_L (H, H) each, b_2 .. b_L (H) each].
"""

from __future__ import annotations

from dynamics.kernels import dense, maps
from dynamics.kernels.device import device, device_overload
from dynamics.kernels.lanes import LANES, gate, lanes_load, lanes_store, relu

NAME = "deep-plrnn"
maps.LAYOUTS[NAME] = maps.Layout(
    (("A", False), ("h1", False), ("W_out", True), ("W_in", False), ("b_in", False), ("W_k", False), ("b_k", False)),
    lambda size: size.layers * size.hidden,
    lambda size: size.layers * size.hidden,
    lambda size: 2 * size.hidden * (size.latent + 1),
)


@device
def _weights(size, layer):
    """Where the weights of a layer begin, counted from 0, and where its thresholds do."""
    m, h = size.latent, size.hidden
    first = 2 * m + 2 * h * m
    if layer == 0:
        return first - h * m, first
    return first + h + (layer - 1) * h * h, first + h + (size.layers - 1) * h * h + (layer - 1) * h


@device_overload(maps.step)
def _step(tag, theta, size, z, i, out, o, memory, q):
    if tag.architecture != NAME:
        return None

    def step(tag, theta, size, z, i, out, o, memory, q):
        """The memory holds y_1 .. y_L."""
        m, h = size.latent, size.hidden
        for layer in range(size.layers):
            w, b = _weights(size, layer)
            at = q + layer * h * LANES
            dense.fill_rows(theta, b, h, memory, at)
            if layer == 0:
                dense.product(theta, w, h, m, z, i, memory, at)
            else:
                dense.product(theta, w, h, h, memory, at - h * LANES, memory, at)
            for u in range(h):
                lanes_store(memory, at + u * LANES, relu(lanes_load(memory, at + u * LANES)))
        dense.fill_rows(theta, m, m, out, o)
        dense.scale_rows(theta, 0, m, z, i, out, o)
        dense.transposed_product(theta, 2 * m, h, m, memory, q + (size.layers - 1) * h * LANES, out, o)

    return step


@device_overload(maps.vjp)
def _vjp(tag, theta, size, z, i, memory, q, d, j, out, o, tape, k):
    if tag.architecture != NAME:
        return None

    def vjp(tag, theta, size, z, i, memory, q, d, j, out, o, tape, k):
        """The tape holds d loss / d (argument of the rectifier) of each layer. A rectifier is open where y > 0."""
        m, h = size.latent, size.hidden
        for layer in range(size.layers - 1, -1, -1):
            at, unit = k + layer * h * LANES, q + layer * h * LANES
            dense.clear(tape, at, h)
            if layer == size.layers - 1:
                dense.product(theta, 2 * m, h, m, d, j, tape, at)
            else:
                w, _ = _weights(size, layer + 1)
                dense.transposed_product(theta, w, h, h, tape, at + h * LANES, tape, at)
            for u in range(h):
                opened = gate(lanes_load(memory, unit + u * LANES), lanes_load(tape, at + u * LANES))
                lanes_store(tape, at + u * LANES, opened)
        w, _ = _weights(size, 0)
        dense.clear(out, o, m)
        dense.scale_rows(theta, 0, m, d, j, out, o)
        dense.transposed_product(theta, w, h, m, tape, k, out, o)

    return vjp


@device_overload(maps.accumulate)
def _accumulate(tag, theta, gradient, size, z, i, memory, q, d, j, tape, k, n):
    if tag.architecture != NAME:
        return None

    def accumulate(tag, theta, gradient, size, z, i, memory, q, d, j, tape, k, n):
        m, h = size.latent, size.hidden
        width, stride, last = m * LANES, size.layers * h * LANES, (size.layers - 1) * h * LANES
        dense.inner_products(gradient, 0, m, d, j, width, z, i, width, n)
        dense.sums(gradient, m, m, d, j, width, n)
        dense.outer_products(gradient, 2 * m, h, m, memory, q + last, stride, d, j, width, n)
        for layer in range(size.layers):
            w, b = _weights(size, layer)
            at = k + layer * h * LANES
            if layer == 0:
                dense.outer_products(gradient, w, h, m, tape, at, stride, z, i, width, n)
            else:
                below = q + (layer - 1) * h * LANES
                dense.outer_products(gradient, w, h, h, tape, at, stride, memory, below, stride, n)
            dense.sums(gradient, b, h, tape, at, stride, n)

    return accumulate


@device_overload(maps.jacobian)
def _jacobian(tag, theta, size, z, out, work):
    if tag.architecture != NAME:
        return None

    def jacobian(tag, theta, size, z, out, work):
        """The scratch holds y_k and dy_k / dz of two layers, taking turns."""
        m, h = size.latent, size.hidden
        for layer in range(size.layers):
            _layer(theta, size, layer, z, work)
        slopes = _slopes(size, size.layers - 1)
        for a in range(m):
            for c in range(m):
                out[a, c] = theta[a] if a == c else 0.0
        for u in range(h):
            for a in range(m):
                weight = theta[2 * m + u * m + a]
                for c in range(m):
                    out[a, c] += weight * work[slopes + u * m + c]

    return jacobian


@device
def _slopes(size, layer):
    """Where dy / dz (H, M) of a layer lies in the scratch; y (H) lies before it."""
    return layer % 2 * size.hidden * (size.latent + 1) + size.hidden


@device
def _layer(theta, size, layer, z, work):
    """y_k and dy_k / dz, from y_{k-1} and dy_{k-1} / dz (the identity below the first layer)."""
    m, h = size.latent, size.hidden
    w, b = _weights(size, layer)
    columns = m if layer == 0 else h
    here, below = _slopes(size, layer), _slopes(size, layer + 1)
    for u in range(h):
        total = theta[b + u]
        for c in range(columns):
            total += theta[w + u * columns + c] * (z[c] if layer == 0 else work[below - h + c])
        work[here - h + u] = total if total > 0 else 0.0
        for a in range(m):
            work[here + u * m + a] = 0.0
        if total > 0:
            for c in range(columns):
                weight = theta[w + u * columns + c]
                if layer == 0:
                    work[here + u * m + c] = weight
                else:
                    for a in range(m):
                        work[here + u * m + a] += weight * work[below + c * m + a]


@device_overload(maps.jacobian_bound)
def _jacobian_bound(tag, theta, size):
    if tag.architecture != NAME:
        return None

    def jacobian_bound(tag, theta, size):
        """max |A| + ||W_out||_F ||W_in||_F prod ||W_k||_F."""
        m, h = size.latent, size.hidden
        slope, product = 0.0, 1.0
        for u in range(m):
            slope = max(slope, abs(theta[u]))
        for layer in range(-1, size.layers):
            first = 2 * m if layer < 0 else _weights(size, layer)[0]
            square = 0.0
            for p in range(h * m if layer <= 0 else h * h):
                square += theta[first + p] ** 2
            product *= square**0.5
        return slope + product

    return jacobian_bound

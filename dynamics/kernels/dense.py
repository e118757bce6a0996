"""Products of a weight matrix with sixteen states at once, and their gradients.

Weights are row-major parts of a flat vector; a state of K units is (K, 16) from an offset of a flat array. Eight rows (or
columns) are worked on at a time, so that each load of a state serves eight multiply-adds; a gradient is gathered in tiles of
4 x 4 whose sums over time stay in registers and are summed over the lanes once.
"""

from __future__ import annotations

from dynamics.kernels.device import device
from dynamics.kernels.lanes import (
    LANES,
    add,
    broadcast,
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

TILE, SQUARE = 8, 4


@device
def product(a, w, rows, columns, z, i, out, o):
    """out[r] += sum_c W[r, c] z[c]."""
    full = rows - rows % TILE
    for r in range(0, full, TILE):
        sums = registers(8, z)
        for k in range(8):
            put(sums, k, lanes_load(out, o + (r + k) * LANES))
        first = w + r * columns
        for c in range(columns):
            value = lanes_load(z, i + c * LANES)
            for k in range(8):
                put(sums, k, fma(broadcast(a, first + k * columns + c), value, get(sums, k)))
        for k in range(8):
            lanes_store(out, o + (r + k) * LANES, get(sums, k))
    for r in range(full, rows):
        total = lanes_load(out, o + r * LANES)
        for c in range(columns):
            total = fma(broadcast(a, w + r * columns + c), lanes_load(z, i + c * LANES), total)
        lanes_store(out, o + r * LANES, total)


@device
def transposed_product(a, w, rows, columns, d, j, out, o):
    """out[c] += sum_r W[r, c] d[r]."""
    full = columns - columns % TILE
    for c in range(0, full, TILE):
        sums = registers(8, d)
        for k in range(8):
            put(sums, k, lanes_load(out, o + (c + k) * LANES))
        for r in range(rows):
            value = lanes_load(d, j + r * LANES)
            for k in range(8):
                put(sums, k, fma(broadcast(a, w + r * columns + c + k), value, get(sums, k)))
        for k in range(8):
            lanes_store(out, o + (c + k) * LANES, get(sums, k))
    for c in range(full, columns):
        total = lanes_load(out, o + c * LANES)
        for r in range(rows):
            total = fma(broadcast(a, w + r * columns + c), lanes_load(d, j + r * LANES), total)
        lanes_store(out, o + c * LANES, total)


@device
def outer_products(g, w, rows, columns, d, j, j_step, z, i, i_step, n):
    """G[r, c] += sum over t < n and lanes of d_t[r] z_t[c]; d_t lies at j + t j_step, z_t at i + t i_step."""
    full_r, full_c = rows - rows % SQUARE, columns - columns % SQUARE
    for r in range(0, full_r, SQUARE):
        for c in range(0, full_c, SQUARE):
            sums, left = registers(16, d), registers(4, d)
            nothing = sub(lanes_load(d, j), lanes_load(d, j))
            for k in range(16):
                put(sums, k, nothing)
            for t in range(n):
                for k in range(4):
                    put(left, k, lanes_load(d, j + t * j_step + (r + k) * LANES))
                for q in range(4):
                    right = lanes_load(z, i + t * i_step + (c + q) * LANES)
                    for k in range(4):
                        put(sums, 4 * q + k, fma(get(left, k), right, get(sums, 4 * q + k)))
            for q in range(4):
                for k in range(4):
                    g[w + (r + k) * columns + c + q] += lanes_sum(get(sums, 4 * q + k))
        _few_outer_products(g, w, r, r + SQUARE, full_c, columns, columns, d, j, j_step, z, i, i_step, n)
    _few_outer_products(g, w, full_r, rows, 0, columns, columns, d, j, j_step, z, i, i_step, n)


@device
def _few_outer_products(g, w, r0, r1, c0, c1, columns, d, j, j_step, z, i, i_step, n):
    for r in range(r0, r1):
        for c in range(c0, c1):
            total = mul(lanes_load(d, j + r * LANES), lanes_load(z, i + c * LANES))
            for t in range(1, n):
                total = fma(lanes_load(d, j + t * j_step + r * LANES), lanes_load(z, i + t * i_step + c * LANES), total)
            g[w + r * columns + c] += lanes_sum(total)


@device
def sums(g, w, rows, d, j, j_step, n):
    """G[r] += sum over t < n and lanes of d_t[r]."""
    for r in range(rows):
        total = lanes_load(d, j + r * LANES)
        for t in range(1, n):
            total = add(total, lanes_load(d, j + t * j_step + r * LANES))
        g[w + r] += lanes_sum(total)


@device
def inner_products(g, w, rows, d, j, j_step, z, i, i_step, n):
    """G[r] += sum over t < n and lanes of d_t[r] z_t[r]."""
    for r in range(rows):
        total = mul(lanes_load(d, j + r * LANES), lanes_load(z, i + r * LANES))
        for t in range(1, n):
            total = fma(lanes_load(d, j + t * j_step + r * LANES), lanes_load(z, i + t * i_step + r * LANES), total)
        g[w + r] += lanes_sum(total)


@device
def clear(out, o, rows):
    """out[r] = 0."""
    for k in range(o, o + rows * LANES):
        out[k] = 0


@device
def fill_rows(a, w, rows, out, o):
    """out[r] = sixteen copies of a[w + r]."""
    for r in range(rows):
        lanes_store(out, o + r * LANES, broadcast(a, w + r))


@device
def scale_rows(a, w, rows, z, i, out, o):
    """out[r] += a[w + r] z[r]."""
    for r in range(rows):
        at = o + r * LANES
        lanes_store(out, at, fma(broadcast(a, w + r), lanes_load(z, i + r * LANES), lanes_load(out, at)))

"""Compiled tanh RNN, LSTM and GRU, autonomous: theta = [W, h], [U, b], [U, b, bn] as in `models`."""

from __future__ import annotations

import math

from dynamics.kernels import dense, maps
from dynamics.kernels.device import device, device_overload
from dynamics.kernels.lanes import LANES, broadcast, fill, fma, lanes_load, lanes_store, mul, sub
from dynamics.kernels.lanes_math import sigmoid, tanh

maps.LAYOUTS["vanilla-rnn"] = maps.Layout(
    (("W", False), ("h", False)), lambda size: size.latent, lambda size: size.latent, lambda size: size.latent
)
maps.LAYOUTS["lstm"] = maps.Layout(
    (("U", False), ("b", False)),
    lambda size: 5 * size.latent // 2,
    lambda size: 2 * size.latent,
    lambda size: 2 * size.latent,
)
maps.LAYOUTS["gru"] = maps.Layout(
    (("U", False), ("b", False), ("bn", False)),
    lambda size: 4 * size.latent,
    lambda size: 4 * size.latent,
    lambda size: 3 * size.latent,
)


@device
def _logistic(value):
    return 1.0 / (1.0 + math.exp(-value))


@device
def _drive(theta, rows, columns, z, out):
    """out = U z + b of one state."""
    for r in range(rows):
        total = theta[rows * columns + r]
        for c in range(columns):
            total += theta[r * columns + c] * z[c]
        out[r] = total


# ---- vanilla RNN: z' = tanh(W z + h); the memory holds z' -------------------------------------------------------------


@device_overload(maps.step)
def _vanilla_step(tag, theta, size, z, i, out, o, memory, q):
    if tag.architecture != "vanilla-rnn":
        return None

    def step(tag, theta, size, z, i, out, o, memory, q):
        m = size.latent
        dense.fill_rows(theta, m * m, m, memory, q)
        dense.product(theta, 0, m, m, z, i, memory, q)
        for u in range(m):
            value = tanh(lanes_load(memory, q + u * LANES))
            lanes_store(memory, q + u * LANES, value)
            lanes_store(out, o + u * LANES, value)

    return step


@device_overload(maps.vjp)
def _vanilla_vjp(tag, theta, size, z, i, memory, q, d, j, out, o, tape, k):
    if tag.architecture != "vanilla-rnn":
        return None

    def vjp(tag, theta, size, z, i, memory, q, d, j, out, o, tape, k):
        """The tape holds d loss / d (argument of tanh)."""
        m, one = size.latent, fill(theta.dtype.type(1))
        for u in range(m):
            y = lanes_load(memory, q + u * LANES)
            lanes_store(tape, k + u * LANES, mul(lanes_load(d, j + u * LANES), sub(one, mul(y, y))))
        dense.clear(out, o, m)
        dense.transposed_product(theta, 0, m, m, tape, k, out, o)

    return vjp


@device_overload(maps.accumulate)
def _vanilla_accumulate(tag, theta, gradient, size, z, i, memory, q, d, j, tape, k, n):
    if tag.architecture != "vanilla-rnn":
        return None

    def accumulate(tag, theta, gradient, size, z, i, memory, q, d, j, tape, k, n):
        m, width = size.latent, size.latent * LANES
        dense.outer_products(gradient, 0, m, m, tape, k, width, z, i, width, n)
        dense.sums(gradient, m * m, m, tape, k, width, n)

    return accumulate


@device_overload(maps.jacobian)
def _vanilla_jacobian(tag, theta, size, z, out, work):
    if tag.architecture != "vanilla-rnn":
        return None

    def jacobian(tag, theta, size, z, out, work):
        m = size.latent
        _drive(theta, m, m, z, work)
        for a in range(m):
            y = math.tanh(work[a])
            for b in range(m):
                out[a, b] = (1.0 - y * y) * theta[a * m + b]

    return jacobian


# ---- LSTM: z = [y; c]; the memory holds i, f, g, o and tanh(c'), H' = M / 2 each ---------------------------------------


@device_overload(maps.step)
def _lstm_step(tag, theta, size, z, i, out, o, memory, q):
    if tag.architecture != "lstm":
        return None

    def step(tag, theta, size, z, i, out, o, memory, q):
        h = size.latent // 2
        half = h * LANES
        dense.fill_rows(theta, 4 * h * h, 4 * h, memory, q)
        dense.product(theta, 0, 4 * h, h, z, i, memory, q)
        for u in range(h):
            at = q + u * LANES
            write, keep = sigmoid(lanes_load(memory, at)), sigmoid(lanes_load(memory, at + half))
            candidate, read = tanh(lanes_load(memory, at + 2 * half)), sigmoid(lanes_load(memory, at + 3 * half))
            cell = fma(keep, lanes_load(z, i + half + u * LANES), mul(write, candidate))
            squashed = tanh(cell)
            lanes_store(memory, at, write)
            lanes_store(memory, at + half, keep)
            lanes_store(memory, at + 2 * half, candidate)
            lanes_store(memory, at + 3 * half, read)
            lanes_store(memory, at + 4 * half, squashed)
            lanes_store(out, o + u * LANES, mul(read, squashed))
            lanes_store(out, o + half + u * LANES, cell)

    return step


@device_overload(maps.vjp)
def _lstm_vjp(tag, theta, size, z, i, memory, q, d, j, out, o, tape, k):
    if tag.architecture != "lstm":
        return None

    def vjp(tag, theta, size, z, i, memory, q, d, j, out, o, tape, k):
        """The tape holds d loss / d (U y + b), 4 H' vectors."""
        h = size.latent // 2
        half, one = h * LANES, fill(theta.dtype.type(1))
        for u in range(h):
            at, to = q + u * LANES, k + u * LANES
            write, keep = lanes_load(memory, at), lanes_load(memory, at + half)
            candidate, read = lanes_load(memory, at + 2 * half), lanes_load(memory, at + 3 * half)
            squashed, above = lanes_load(memory, at + 4 * half), lanes_load(d, j + u * LANES)
            slope = mul(read, sub(one, mul(squashed, squashed)))
            cell = fma(above, slope, lanes_load(d, j + half + u * LANES))
            old = lanes_load(z, i + half + u * LANES)
            lanes_store(tape, to, mul(mul(cell, candidate), mul(write, sub(one, write))))
            lanes_store(tape, to + half, mul(mul(cell, old), mul(keep, sub(one, keep))))
            lanes_store(tape, to + 2 * half, mul(mul(cell, write), sub(one, mul(candidate, candidate))))
            lanes_store(tape, to + 3 * half, mul(mul(above, squashed), mul(read, sub(one, read))))
            lanes_store(out, o + half + u * LANES, mul(cell, keep))
        dense.clear(out, o, h)
        dense.transposed_product(theta, 0, 4 * h, h, tape, k, out, o)

    return vjp


@device_overload(maps.accumulate)
def _lstm_accumulate(tag, theta, gradient, size, z, i, memory, q, d, j, tape, k, n):
    if tag.architecture != "lstm":
        return None

    def accumulate(tag, theta, gradient, size, z, i, memory, q, d, j, tape, k, n):
        h = size.latent // 2
        width, stride = 2 * h * LANES, 4 * h * LANES
        dense.outer_products(gradient, 0, 4 * h, h, tape, k, stride, z, i, width, n)
        dense.sums(gradient, 4 * h * h, 4 * h, tape, k, stride, n)

    return accumulate


@device_overload(maps.jacobian)
def _lstm_jacobian(tag, theta, size, z, out, work):
    if tag.architecture != "lstm":
        return None

    def jacobian(tag, theta, size, z, out, work):
        h = size.latent // 2
        _drive(theta, 4 * h, h, z, work)
        for u in range(h):
            write, keep, read = _logistic(work[u]), _logistic(work[h + u]), _logistic(work[3 * h + u])
            candidate, old = math.tanh(work[2 * h + u]), z[h + u]
            squashed = math.tanh(keep * old + write * candidate)
            slope = read * (1.0 - squashed * squashed)
            by_write, by_keep = candidate * write * (1.0 - write), old * keep * (1.0 - keep)
            by_candidate, by_read = write * (1.0 - candidate * candidate), squashed * read * (1.0 - read)
            for b in range(h):
                cell = (
                    by_write * theta[u * h + b]
                    + by_keep * theta[(h + u) * h + b]
                    + by_candidate * theta[(2 * h + u) * h + b]
                )
                out[h + u, b] = cell
                out[u, b] = by_read * theta[(3 * h + u) * h + b] + slope * cell
                out[h + u, h + b] = keep if u == b else 0.0
                out[u, h + b] = slope * keep if u == b else 0.0

    return jacobian


# ---- GRU: the memory holds r, u, U_n z + b_n and n, M each ------------------------------------------------------------


@device_overload(maps.step)
def _gru_step(tag, theta, size, z, i, out, o, memory, q):
    if tag.architecture != "gru":
        return None

    def step(tag, theta, size, z, i, out, o, memory, q):
        m = size.latent
        part, bias = m * LANES, 3 * m * m + 3 * m
        dense.fill_rows(theta, 3 * m * m, 3 * m, memory, q)
        dense.product(theta, 0, 3 * m, m, z, i, memory, q)
        for v in range(m):
            at = q + v * LANES
            reset, update = sigmoid(lanes_load(memory, at)), sigmoid(lanes_load(memory, at + part))
            new = tanh(fma(reset, lanes_load(memory, at + 2 * part), broadcast(theta, bias + v)))
            lanes_store(memory, at, reset)
            lanes_store(memory, at + part, update)
            lanes_store(memory, at + 3 * part, new)
            lanes_store(out, o + v * LANES, fma(update, sub(lanes_load(z, i + v * LANES), new), new))

    return step


@device_overload(maps.vjp)
def _gru_vjp(tag, theta, size, z, i, memory, q, d, j, out, o, tape, k):
    if tag.architecture != "gru":
        return None

    def vjp(tag, theta, size, z, i, memory, q, d, j, out, o, tape, k):
        """The tape holds d loss / d (U z + b), 3 M vectors, and d loss / d bn, M."""
        m, one = size.latent, fill(theta.dtype.type(1))
        part = m * LANES
        for v in range(m):
            at, to = q + v * LANES, k + v * LANES
            reset, update = lanes_load(memory, at), lanes_load(memory, at + part)
            candidate, new = lanes_load(memory, at + 2 * part), lanes_load(memory, at + 3 * part)
            above, old = lanes_load(d, j + v * LANES), lanes_load(z, i + v * LANES)
            to_new = mul(mul(above, sub(one, update)), sub(one, mul(new, new)))
            lanes_store(tape, to, mul(mul(to_new, candidate), mul(reset, sub(one, reset))))
            lanes_store(tape, to + part, mul(mul(above, sub(old, new)), mul(update, sub(one, update))))
            lanes_store(tape, to + 2 * part, mul(to_new, reset))
            lanes_store(tape, to + 3 * part, to_new)
            lanes_store(out, o + v * LANES, mul(above, update))
        dense.transposed_product(theta, 0, 3 * m, m, tape, k, out, o)

    return vjp


@device_overload(maps.accumulate)
def _gru_accumulate(tag, theta, gradient, size, z, i, memory, q, d, j, tape, k, n):
    if tag.architecture != "gru":
        return None

    def accumulate(tag, theta, gradient, size, z, i, memory, q, d, j, tape, k, n):
        m = size.latent
        width, stride = m * LANES, 4 * m * LANES
        dense.outer_products(gradient, 0, 3 * m, m, tape, k, stride, z, i, width, n)
        dense.sums(gradient, 3 * m * m, 4 * m, tape, k, stride, n)

    return accumulate


@device_overload(maps.jacobian)
def _gru_jacobian(tag, theta, size, z, out, work):
    if tag.architecture != "gru":
        return None

    def jacobian(tag, theta, size, z, out, work):
        m = size.latent
        _drive(theta, 3 * m, m, z, work)
        for v in range(m):
            reset, update, candidate = _logistic(work[v]), _logistic(work[m + v]), work[2 * m + v]
            new = math.tanh(reset * candidate + theta[3 * m * m + 3 * m + v])
            by_new = (1.0 - update) * (1.0 - new * new)
            by_reset, by_update = by_new * candidate * reset * (1.0 - reset), (z[v] - new) * update * (1.0 - update)
            for b in range(m):
                out[v, b] = (
                    by_reset * theta[v * m + b]
                    + by_update * theta[(m + v) * m + b]
                    + by_new * reset * theta[(2 * m + v) * m + b]
                )
            out[v, v] += update

    return jacobian


@device_overload(maps.jacobian_bound)
def _jacobian_bound(tag, theta, size):
    if tag.architecture not in ("vanilla-rnn", "lstm", "gru"):
        return None
    known = tag.architecture == "vanilla-rnn"

    def jacobian_bound(tag, theta, size):
        """||W||_F of the vanilla RNN, as tanh' <= 1; NaN for the others."""
        square = 0.0
        for k in range(size.latent * size.latent):
            square += theta[k] ** 2
        return square**0.5 if known else math.nan

    return jacobian_bound

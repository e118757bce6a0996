"""Compiled PLRNNs whose nonlinearity acts unit by unit: z' = A z + W phi(z) + h.

theta = [A (M), W^T (M, M), h (M), thresholds]: W lies transposed, so that the two parts [V W] of the almost-linear RNN lie one
after the other. An architecture of this family says only what phi is and how it bends.

    plrnn               phi_m = relu(z_m)
    mean-centered-plrnn phi_m = relu(z_m - mean(z))
    clipped-plrnn       phi_m = relu(z_m + h2_m) - relu(z_m)
    dend-plrnn          phi_m = sum_b alpha_b relu(z_m - H_mb); clipped: - relu(z_m) within the sum
    al-rnn              phi_m = z_m for the first M - P units, relu(z_m) for the others
"""

from __future__ import annotations

from dynamics.kernels import dense, maps
from dynamics.kernels.device import device, device_overload
from dynamics.kernels.lanes import (
    LANES,
    add,
    broadcast,
    fill,
    fma,
    gate,
    lanes_load,
    lanes_store,
    lanes_sum,
    mul,
    relu,
    sub,
)

_THRESHOLDS = {
    "plrnn": (),
    "mean-centered-plrnn": (),
    "clipped-plrnn": (("h2", False),),
    "dend-plrnn": (("alpha", False), ("H", False)),
    "clipped-dend-plrnn": (("alpha", False), ("H", False)),
    "al-rnn": (),
}
NAMES = tuple(_THRESHOLDS)
for _name, _extra in _THRESHOLDS.items():
    _weights = (("V", True), ("W", True)) if _name == "al-rnn" else (("W", True),)
    maps.LAYOUTS[_name] = maps.Layout(
        (("A", False), *_weights, ("h", False), *_extra), lambda size: 2 * size.latent, lambda size: size.latent
    )


@device
def _extra_parameters(size):
    """Where the thresholds begin."""
    return 2 * size.latent + size.latent * size.latent


# phi at `memory[q]` (M) and its slope at `memory[q + M]` (M), of sixteen states


@device
def _bend_rectified(theta, size, z, i, memory, q):
    m, one = size.latent, fill(theta.dtype.type(1))
    for u in range(m):
        value = lanes_load(z, i + u * LANES)
        lanes_store(memory, q + u * LANES, relu(value))
        lanes_store(memory, q + (m + u) * LANES, gate(value, one))


@device
def _bend_centred(theta, size, z, i, memory, q):
    m, one = size.latent, fill(theta.dtype.type(1))
    total = lanes_load(z, i)
    for u in range(1, m):
        total = add(total, lanes_load(z, i + u * LANES))
    mean = mul(total, fill(theta.dtype.type(1.0 / m)))
    for u in range(m):
        value = sub(lanes_load(z, i + u * LANES), mean)
        lanes_store(memory, q + u * LANES, relu(value))
        lanes_store(memory, q + (m + u) * LANES, gate(value, one))


@device
def _bend_clipped(theta, size, z, i, memory, q):
    m, one, h2 = size.latent, fill(theta.dtype.type(1)), _extra_parameters(size)
    for u in range(m):
        value = lanes_load(z, i + u * LANES)
        shifted = add(value, broadcast(theta, h2 + u))
        lanes_store(memory, q + u * LANES, sub(relu(shifted), relu(value)))
        lanes_store(memory, q + (m + u) * LANES, sub(gate(shifted, one), gate(value, one)))


@device
def _bend_dendrites(theta, size, z, i, memory, q):
    _bend_by_bases(theta, size, z, i, memory, q, False)


@device
def _bend_clipped_dendrites(theta, size, z, i, memory, q):
    _bend_by_bases(theta, size, z, i, memory, q, True)


@device
def _bend_by_bases(theta, size, z, i, memory, q, clipped):
    m, alpha = size.latent, _extra_parameters(size)
    for u in range(m):
        value, threshold = lanes_load(z, i + u * LANES), alpha + size.hidden + u * size.hidden
        total = sub(value, value)
        slope = total
        for b in range(size.hidden):
            shifted, weight = sub(value, broadcast(theta, threshold + b)), broadcast(theta, alpha + b)
            unit = sub(relu(shifted), relu(value)) if clipped else relu(shifted)
            opened = sub(gate(shifted, weight), gate(value, weight)) if clipped else gate(shifted, weight)
            total = fma(weight, unit, total)
            slope = add(slope, opened)
        lanes_store(memory, q + u * LANES, total)
        lanes_store(memory, q + (m + u) * LANES, slope)


@device
def _bend_almost_linear(theta, size, z, i, memory, q):
    m, one = size.latent, fill(theta.dtype.type(1))
    for u in range(m):
        value = lanes_load(z, i + u * LANES)
        linear = u < m - size.hidden
        lanes_store(memory, q + u * LANES, value if linear else relu(value))
        lanes_store(memory, q + (m + u) * LANES, one if linear else gate(value, one))


_BENDS = {
    "plrnn": _bend_rectified,
    "mean-centered-plrnn": _bend_centred,
    "clipped-plrnn": _bend_clipped,
    "dend-plrnn": _bend_dendrites,
    "clipped-dend-plrnn": _bend_clipped_dendrites,
    "al-rnn": _bend_almost_linear,
}


# gradients of the thresholds of n steps; the tape holds d loss / d phi (M)


@device
def _no_thresholds(theta, gradient, size, z, i, tape, k, n):
    return


@device
def _clipped_thresholds(theta, gradient, size, z, i, tape, k, n):
    width, h2 = size.latent * LANES, _extra_parameters(size)
    for u in range(size.latent):
        threshold, at = broadcast(theta, h2 + u), u * LANES
        total = sub(threshold, threshold)
        for t in range(n):
            value = lanes_load(z, i + t * width + at)
            total = add(total, gate(add(value, threshold), lanes_load(tape, k + t * width + at)))
        gradient[h2 + u] += lanes_sum(total)


@device
def _dendrite_thresholds(theta, gradient, size, z, i, tape, k, n):
    _dendrites(theta, gradient, size, z, i, tape, k, n, False)


@device
def _clipped_dendrite_thresholds(theta, gradient, size, z, i, tape, k, n):
    _dendrites(theta, gradient, size, z, i, tape, k, n, True)


@device
def _dendrites(theta, gradient, size, z, i, tape, k, n, clipped):
    width, alpha = size.latent * LANES, _extra_parameters(size)
    for u in range(size.latent):
        for b in range(size.hidden):
            place = alpha + size.hidden + u * size.hidden + b
            threshold, at = broadcast(theta, place), u * LANES
            to_weight = sub(threshold, threshold)
            to_threshold = to_weight
            for t in range(n):
                value, pull = lanes_load(z, i + t * width + at), lanes_load(tape, k + t * width + at)
                shifted = sub(value, threshold)
                unit = sub(relu(shifted), relu(value)) if clipped else relu(shifted)
                to_weight = fma(pull, unit, to_weight)
                to_threshold = add(to_threshold, gate(shifted, pull))
            gradient[alpha + b] += lanes_sum(to_weight)
            gradient[place] -= theta[alpha + b] * lanes_sum(to_threshold)


_THRESHOLD_GRADIENTS = {
    "plrnn": _no_thresholds,
    "mean-centered-plrnn": _no_thresholds,
    "clipped-plrnn": _clipped_thresholds,
    "dend-plrnn": _dendrite_thresholds,
    "clipped-dend-plrnn": _clipped_dendrite_thresholds,
    "al-rnn": _no_thresholds,
}


@device_overload(maps.step)
def _step(tag, theta, size, z, i, out, o, memory, q):
    if tag.architecture not in NAMES:
        return None
    bend = _BENDS[tag.architecture]

    def step(tag, theta, size, z, i, out, o, memory, q):
        m = size.latent
        bend(theta, size, z, i, memory, q)
        dense.fill_rows(theta, m + m * m, m, out, o)
        dense.scale_rows(theta, 0, m, z, i, out, o)
        dense.transposed_product(theta, m, m, m, memory, q, out, o)

    return step


@device_overload(maps.vjp)
def _vjp(tag, theta, size, z, i, memory, q, d, j, out, o, tape, k):
    if tag.architecture not in NAMES:
        return None
    centred = tag.architecture == "mean-centered-plrnn"

    def vjp(tag, theta, size, z, i, memory, q, d, j, out, o, tape, k):
        m = size.latent
        slopes = q + m * LANES
        dense.clear(tape, k, m)
        dense.product(theta, m, m, m, d, j, tape, k)
        mean = sub(lanes_load(d, j), lanes_load(d, j))
        if centred:
            for u in range(m):
                mean = fma(lanes_load(memory, slopes + u * LANES), lanes_load(tape, k + u * LANES), mean)
            mean = mul(mean, fill(theta.dtype.type(1.0 / m)))
        for u in range(m):
            through = mul(lanes_load(memory, slopes + u * LANES), lanes_load(tape, k + u * LANES))
            if centred:
                through = sub(through, mean)
            lanes_store(out, o + u * LANES, fma(broadcast(theta, u), lanes_load(d, j + u * LANES), through))

    return vjp


@device_overload(maps.accumulate)
def _accumulate(tag, theta, gradient, size, z, i, memory, q, d, j, tape, k, n):
    if tag.architecture not in NAMES:
        return None
    thresholds = _THRESHOLD_GRADIENTS[tag.architecture]

    def accumulate(tag, theta, gradient, size, z, i, memory, q, d, j, tape, k, n):
        m = size.latent
        width = m * LANES
        dense.inner_products(gradient, 0, m, d, j, width, z, i, width, n)
        dense.outer_products(gradient, m, m, m, memory, q, 2 * width, d, j, width, n)
        dense.sums(gradient, m + m * m, m, d, j, width, n)
        thresholds(theta, gradient, size, z, i, tape, k, n)

    return accumulate


# slopes of phi at one state


@device
def _slope(theta, size, value, u, mean):
    return 1.0 if value > 0 else 0.0


@device
def _slope_centred(theta, size, value, u, mean):
    return 1.0 if value > mean else 0.0


@device
def _slope_clipped(theta, size, value, u, mean):
    return (1.0 if value + theta[_extra_parameters(size) + u] > 0 else 0.0) - (1.0 if value > 0 else 0.0)


@device
def _slope_dendrites(theta, size, value, u, mean):
    alpha, total = _extra_parameters(size), 0.0
    for b in range(size.hidden):
        if value > theta[alpha + size.hidden + u * size.hidden + b]:
            total += theta[alpha + b]
    return total


@device
def _slope_clipped_dendrites(theta, size, value, u, mean):
    alpha, total = _extra_parameters(size), _slope_dendrites(theta, size, value, u, mean)
    if value > 0:
        for b in range(size.hidden):
            total -= theta[alpha + b]
    return total


@device
def _slope_almost_linear(theta, size, value, u, mean):
    return 1.0 if u < size.latent - size.hidden or value > 0 else 0.0


_SLOPES = {
    "plrnn": _slope,
    "mean-centered-plrnn": _slope_centred,
    "clipped-plrnn": _slope_clipped,
    "dend-plrnn": _slope_dendrites,
    "clipped-dend-plrnn": _slope_clipped_dendrites,
    "al-rnn": _slope_almost_linear,
}


@device_overload(maps.jacobian)
def _jacobian(tag, theta, size, z, out, work):
    if tag.architecture not in NAMES:
        return None
    slope = _SLOPES[tag.architecture]
    centred = tag.architecture == "mean-centered-plrnn"

    def jacobian(tag, theta, size, z, out, work):
        """A + W diag(slope), times the projection 1 - 1/M where states are centred."""
        m, mean = size.latent, 0.0
        for u in range(m):
            mean += z[u] / m
        for b in range(m):
            value = slope(theta, size, z[b], b, mean)
            for a in range(m):
                out[a, b] = value * theta[m + b * m + a] if value != 0.0 else 0.0
        for a in range(m):
            if centred:
                total = 0.0
                for b in range(m):
                    total += out[a, b] / m
                for b in range(m):
                    out[a, b] -= total
            out[a, a] += theta[a]

    return jacobian


@device_overload(maps.jacobian_bound)
def _jacobian_bound(tag, theta, size):
    if tag.architecture not in NAMES:
        return None
    dendritic = tag.architecture in ("dend-plrnn", "clipped-dend-plrnn")

    def jacobian_bound(tag, theta, size):
        """max |A| + ||W||_F times the largest slope of phi."""
        m = size.latent
        slope, square, steepest = 0.0, 0.0, 1.0
        for u in range(m):
            slope = max(slope, abs(theta[u]))
        for k in range(m * m):
            square += theta[m + k] ** 2
        if dendritic:
            steepest = 0.0
            for b in range(size.hidden):
                steepest += abs(theta[_extra_parameters(size) + b])
        return slope + steepest * square**0.5

    return jacobian_bound

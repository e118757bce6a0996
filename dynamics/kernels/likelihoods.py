"""Likelihoods of counts and classes in the loss: what is observed of z_t is the linear predictor of a generalised linear model.

The squared error of a Gaussian coordinate is twice its negative log-likelihood at variance one, up to a constant. So a channel that is
not Gaussian adds 2 (log P(y | saturated) - log P(y | eta)), eta = o + s u, u = observe(z_t) (see `models.readouts`), with the gradient

    poisson       2 s (rate - y)              (beyond the cap on log rate the loss goes on along its tangent)
    ordinal       2 s (1 - F(c_y - eta) - F(c_{y-1} - eta)),   F the logistic function, F(c_0 - eta) = 0, F(c_K - eta) = 1
    categorical   2 s_j (p_j - [y = j])

Thresholds c are kept increasing by theta = [c_1, log (c_2 - c_1), ...].
"""

from __future__ import annotations

import math

import numpy as np

from dynamics.kernels.device import device
from dynamics.kernels.lanes import LANES
from models.readouts import CATEGORICAL, GAUSSIAN, ORDINAL, POISSON, Readouts

GAUSSIAN_VARIANCE = (
    0.01  # that Gaussian channels of variance one are taken to be known to, beside channels that are not Gaussian
)
CODES = {POISSON: 1, ORDINAL: 2, CATEGORICAL: 3}


def table(readouts: Readouts | None) -> np.ndarray:
    """(channels, 4) of those that are not Gaussian: code, first coordinate, coordinates or thresholds, first threshold."""
    rows, threshold = [], 0
    for _, channel in readouts.others if readouts else ():
        count = len(channel.levels) - 1 if channel.kind == ORDINAL else channel.width
        rows.append((CODES[channel.kind], channel.first, count, threshold))
        threshold += count if channel.kind == ORDINAL else 0
    return np.array(rows, np.int64).reshape(-1, 4)


def weight(readouts: Readouts) -> float:
    """What twice a log-likelihood counts beside a squared error: the variance of the Gaussian channels' errors; 1 where there are none."""
    return GAUSSIAN_VARIANCE if len(readouts.gaussian) else 1.0


def columns(readouts: Readouts | None, n: int, dtype: type) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """o, s, cap on log rate, and whether the error is squared, of each of n coordinates."""
    cap: np.ndarray = np.zeros(n, dtype)
    squared: np.ndarray = np.ones(n, np.bool_)
    if readouts is None:
        return np.zeros(n, dtype), np.ones(n, dtype), cap, squared
    for channel in readouts.channels:
        if channel.kind != GAUSSIAN:
            squared[channel.coordinates] = False
            cap[channel.coordinates] = channel.cap
    return readouts.offset.astype(dtype), readouts.scale.astype(dtype), cap, squared


@device
def judge_counted(w, n, t, scale):
    """Losses of the channels of one step that are not Gaussian, added to `link_loss`; `error` holds u and receives its gradient."""
    at, scale = t * n, scale * w.link_weight[0]
    for i in range(len(w.links)):
        code, first, count, threshold = w.links[i, 0], w.links[i, 1], w.links[i, 2], w.links[i, 3]
        if code == 1:
            _poisson(w, (at + first) * LANES, first, scale)
        elif code == 2:
            _ordinal(w, (at + first) * LANES, first, count, threshold, scale)
        else:
            _categorical(w, (at + first) * LANES, first, count, scale)


@device
def _poisson(w, at, coordinate, scale):
    offset, slope, cap = w.link_offset[coordinate], w.link_scale[coordinate], w.link_cap[coordinate]
    one = w.link_cap.dtype.type(1)
    for b in range(LANES):
        eta, count, factor = offset + slope * w.error[at + b], w.x[at + b], scale * w.weight[b]
        inside = min(eta, cap)
        rate = math.exp(inside)
        if eta != eta:
            rate = eta  # NaN is to be seen
        loss = rate * (one + (eta - inside)) - count * eta
        if count > 0:
            loss += count * (math.log(count) - one)
        w.link_loss[b] += (factor + factor) * loss
        w.error[at + b] = factor * slope * (rate - count)


@device
def _ordinal(w, at, coordinate, count, threshold, scale):
    offset, slope = w.link_offset[coordinate], w.link_scale[coordinate]
    zero, one = w.link_scale.dtype.type(0), w.link_scale.dtype.type(1)
    for b in range(LANES):
        eta, factor = offset + slope * w.error[at + b], scale * w.weight[b]
        y = int(w.x[at + b])
        under, over, loss = zero, one, zero  # F at the thresholds on either side of y
        gap = one  # 1 - exp(c_{y-1} - c_y)
        if y > 0:
            low = w.cuts[threshold + y - 1] - eta
            under = one / (one + math.exp(-low))
            loss += max(low, zero) + math.log1p(math.exp(-abs(low)))  # -log (1 - F)
        if y < count:
            high = w.cuts[threshold + y] - eta
            over = one / (one + math.exp(-high))
            loss += max(-high, zero) + math.log1p(math.exp(-abs(high)))  # -log F
            if y > 0:
                gap = -math.expm1(w.cuts[threshold + y - 1] - w.cuts[threshold + y])
                loss -= math.log(gap)
        w.link_loss[b] += (factor + factor) * loss
        w.error[at + b] = factor * slope * (one - under - over)
        # P = F(high) (1 - F(low)) gap
        if y < count:
            w.cuts_gradient[threshold + y] -= factor * (one - over) / ((one - under) * gap)
        if y > 0:
            w.cuts_gradient[threshold + y - 1] += factor * under / (over * gap)


@device
def _categorical(w, at, coordinate, count, scale):
    zero = w.link_scale.dtype.type(0)
    for b in range(LANES):
        factor, largest, chosen = scale * w.weight[b], zero, zero
        for j in range(count):
            eta = w.link_offset[coordinate + j] + w.link_scale[coordinate + j] * w.error[at + j * LANES + b]
            w.error[at + j * LANES + b] = eta
            largest = max(largest, eta)
            chosen += w.x[at + j * LANES + b] * eta
        total = math.exp(-largest)
        for j in range(count):
            total += math.exp(w.error[at + j * LANES + b] - largest)
        w.link_loss[b] += (factor + factor) * (largest + math.log(total) - chosen)
        for j in range(count):
            share = math.exp(w.error[at + j * LANES + b] - largest) / total
            w.error[at + j * LANES + b] = factor * w.link_scale[coordinate + j] * (share - w.x[at + j * LANES + b])
        if total != total:
            w.link_loss[b] = total


@device
def begin_thresholds(theta, first, w):
    """Thresholds from their parameters, channel by channel, and their gradient cleared."""
    for i in range(len(w.links)):
        if w.links[i, 0] == 2:
            for j in range(w.links[i, 2]):
                k = w.links[i, 3] + j
                w.cuts[k] = theta[first + k] if j == 0 else w.cuts[k - 1] + math.exp(theta[first + k])
                w.cuts_gradient[k] = 0


@device
def end_thresholds(theta, first, w, gradient):
    """d loss / d thresholds carried over to their parameters: c_j moves with every log gap up to its own."""
    for i in range(len(w.links)):
        if w.links[i, 0] == 2:
            above = w.cuts.dtype.type(0)
            for j in range(w.links[i, 2] - 1, -1, -1):
                k = w.links[i, 3] + j
                above += w.cuts_gradient[k]
                gradient[first + k] = above if j == 0 else above * math.exp(theta[first + k])

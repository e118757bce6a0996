"""Channels of counts and classes: how likely what was recorded is under the model's predictions, and how its own series are distributed."""

from __future__ import annotations

import math

import numpy as np

from domain.results import CountedChannelReport
from dynamics.measures.prediction_error import FreeRun, driving, first_rows, predictions, start_rows
from dynamics.reporting import Reporter
from models.readouts import POISSON, Channel
from models.trained import TrainedModel

_MAX_START_STEPS = 2_000_000


def predictive_likelihoods(
    model: TrainedModel,
    segments: list[np.ndarray],
    n_steps: int,
    *,
    generated: np.ndarray,
    measured: np.ndarray,
    inputs: list[np.ndarray] | None = None,
    lead_in: list[int] | None = None,
    max_starts: int,
    free_run: FreeRun | None = None,
    reporter: Reporter | None = None,
) -> list[CountedChannelReport]:
    """For every channel that is not Gaussian the mean of log P(y_{t+n} | F^n(z_t)) over starts t, in nats a row.

    z_t is read from the rows up to t alone. Beside it two forecasts without a model: `marginal`, the channel's distribution over the training
    rows (negative binomial of its mean and variance for counts, the shares of classes), and `persistence`, the read-out of the signal at t.
    `segments` rows (T_i, N_e); the total variation is that between the values of `measured` rows (T, N_e) and those drawn from `generated`
    observations (T', N_e); its floor that between the halves of `measured`. Rows in which the prediction is not finite count as the marginal.
    """
    readouts = model.readouts
    if readouts is None:
        return []
    starts = start_rows(
        segments, n_steps, min(max_starts, max(200, _MAX_START_STEPS // n_steps)), first_rows(model, segments, lead_in)
    )
    totals = {i: np.zeros(3) for i, _ in readouts.others}
    pooled = np.concatenate(segments)
    for first in range(0, len(starts), 4096):
        rows = starts[first : first + 4096]
        done = 0
        for _, truth, predicted in predictions(model, pooled, rows, n_steps, free_run, reporter, driving(inputs)):
            at = rows[done : done + truth.shape[1]]
            done += len(at)
            now = readouts.last_signal(pooled[at[:, None] + np.arange(1 - model.context_rows, 1)])
            for i, channel in readouts.others:
                alone = marginal(channel, truth[-1], readouts.classes)
                found = readouts.log_likelihood(predicted[-1], truth[-1], channel, model.thresholds)
                kept = readouts.log_likelihood(now, truth[-1], channel, model.thresholds)
                finite = np.isfinite(predicted[-1][:, channel.coordinates]).all(axis=1)
                totals[i] += [np.where(finite, found, alone).sum(), alone.sum(), kept.sum()]
    drawn = readouts.draw(generated, model.thresholds, np.random.default_rng(0))
    reports = []
    for i, channel in readouts.others:
        means = [float(v) for v in totals[i] / len(starts)] if len(starts) else [None, None, None]
        half = len(measured) // 2
        values = [_codes(rows, channel) for rows in (measured, drawn, measured[:half], measured[half:])]
        reports.append(
            CountedChannelReport(
                channel=model.channels[i],
                kind=channel.kind,
                horizon_steps=n_steps,
                n_starts=len(starts),
                log_likelihood=means[0],
                marginal=means[1],
                persistence=means[2],
                reason=None if len(starts) else f"no segment has {n_steps} steps after the rows that a run starts from",
                total_variation=total_variation(values[0], values[1]) if len(measured) else None,
                total_variation_floor=total_variation(values[2], values[3]) if half else None,
            )
        )
    return reports


def marginal(channel: Channel, rows: np.ndarray, classes: object) -> np.ndarray:
    """log P of rows (B, N_e) under what the channel was like in training."""
    part = rows[..., channel.coordinates]
    if channel.kind == POISSON:
        return negative_binomial(part[..., 0], *channel.marginal)
    return np.log(np.array(channel.marginal))[classes(part, channel)]  # type: ignore[operator]


def negative_binomial(counts: np.ndarray, mean: float, variance: float) -> np.ndarray:
    """log P(y), size r = mean^2 / (variance - mean); Poisson where the variance is no larger than the mean."""
    values, back = np.unique(counts, return_inverse=True)
    if variance <= mean * (1 + 1e-9):
        found = [y * math.log(mean) - mean - math.lgamma(y + 1) for y in values]
    else:
        r = mean**2 / (variance - mean)
        found = [
            math.lgamma(y + r) - math.lgamma(r) - math.lgamma(y + 1)
            + r * math.log(r / (r + mean)) + y * math.log(mean / (r + mean))
            for y in values
        ]  # fmt: skip
    return np.array(found)[back].reshape(counts.shape)


def total_variation(x: np.ndarray, y: np.ndarray) -> float:
    """Half the sum of the differences between the shares of each value of two samples of integers (T,), (T',)."""
    size = int(max(x.max(), y.max())) + 1
    p, q = (np.bincount(v, minlength=size) / len(v) for v in (x, y))
    return float(np.abs(p - q).sum() / 2)


def _codes(rows: np.ndarray, channel: Channel) -> np.ndarray:
    part = rows[:, channel.coordinates]
    return (part[:, 0] if channel.width == 1 else part @ np.arange(1, channel.width + 1)).astype(int)

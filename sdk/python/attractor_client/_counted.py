"""Channels of counts and classes of a downloaded model, as the service has them: docs/science/channels.md there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attractor_client.results import CountedForecast

_REACH = 3.0  # bandwidths that an estimate looks back
_BEYOND = 10.0  # rates are cut at this many times one more than the largest recorded count


@dataclass(frozen=True)
class _Channel:
    kind: str
    first: int
    levels: list[float]
    bandwidth: float
    marginal: list[float]
    largest: float

    @property
    def width(self) -> int:
        return len(self.levels) - 1 if self.kind == "categorical" else 1

    @property
    def at(self) -> slice:
        return slice(self.first, self.first + self.width)

    def signal(self, rows: np.ndarray) -> np.ndarray:
        """Log rate or logits at the end of rows (C, width), (width,)."""
        if self.kind == "poisson":
            return np.array([_log_intensity(rows[:, 0], self.bandwidth, self.marginal[0])])
        if self.kind == "ordinal":
            below = np.cumsum(self.marginal)[:-1]
            weight, total = below * (1 - below), 0.0
            for j, p in enumerate(below):
                under = rows[:, 0] <= j
                odds = _log_intensity(under, self.bandwidth, p) - _log_intensity(~under, self.bandwidth, 1 - p)
                total -= weight[j] * (odds - math.log(p / (1 - p)))
            return np.array([total / weight.sum()])
        first = _log_intensity(1 - rows.sum(axis=1), self.bandwidth, self.marginal[0])
        return np.array(
            [_log_intensity(rows[:, j], self.bandwidth, p) - first for j, p in enumerate(self.marginal[1:])]
        )


class Readouts:
    """All channels of a model, Gaussian ones among them; rows and coordinates as the service has them."""

    def __init__(self, described: Sequence[dict[str, Any]], tensors: dict[str, np.ndarray]) -> None:
        self.channels = [_Channel(**channel) for channel in described]
        self._offset, self._scale = tensors["readout.offset"], tensors["readout.scale"]
        self._thresholds = tensors.get("observation.thresholds", np.empty(0))
        self.n_coordinates = len(self._offset)
        self.context_steps = 1 + max(math.ceil(_REACH * c.bandwidth) for c in self.channels)
        self.gaussian = np.array([c.first for c in self.channels if c.kind == "gaussian"], int)
        self.columns = [c.first for c in self.channels]
        self.others = [(i, c) for i, c in enumerate(self.channels) if c.kind != "gaussian"]

    def wrong(self, values: np.ndarray) -> tuple[int, int, str] | None:
        """Row and column of the first value (T, N) that is no count or none of the classes, and what is needed there."""
        for i, channel in self.others:
            column = values[:, i]
            if channel.kind == "poisson":
                bad, needed = (column < 0) | (column != np.floor(column)), "integers from 0"
            else:
                bad, needed = ~np.isin(column, channel.levels), ", ".join(f"{v:g}" for v in channel.levels)
            if bad.any():
                return int(bad.argmax()), i, f"it is {channel.kind} and takes {needed}"
        return None

    def last_signal(self, scaled: np.ndarray) -> np.ndarray:
        """What stands for the last of the rows (C, N), Gaussian channels standardised: (N_e,)."""
        found = np.empty(self.n_coordinates)
        for i, channel in enumerate(self.channels):
            if channel.kind == "gaussian":
                found[channel.first] = scaled[-1, i]
                continue
            if channel.kind == "poisson":
                rows = scaled[:, i : i + 1]
            else:
                number = np.searchsorted(channel.levels, scaled[:, i])[:, None]
                rows = number if channel.kind == "ordinal" else number == np.arange(1, len(channel.levels))
            found[channel.at] = (channel.signal(rows) - self._offset[channel.at]) / self._scale[channel.at]
        return found

    def rate(self, u: np.ndarray, channel: _Channel) -> np.ndarray:
        cap = float(np.log(_BEYOND * (channel.largest + 1)))
        return np.exp(
            np.minimum((u[..., channel.at] * self._scale[channel.at] + self._offset[channel.at])[..., 0], cap)
        )

    def probabilities(self, u: np.ndarray, channel: _Channel) -> np.ndarray:
        eta = u[..., channel.at] * self._scale[channel.at] + self._offset[channel.at]
        if channel.kind == "ordinal":
            before = [c for _, c in self.others if c.kind == "ordinal" and c.first < channel.first]
            first = sum(len(c.levels) - 1 for c in before)
            with np.errstate(over="ignore"):
                below = 1 / (1 + np.exp(eta - self._thresholds[first : first + len(channel.levels) - 1]))
            ones = np.ones((*below.shape[:-1], 1))
            return np.diff(np.concatenate([0 * ones, below, ones], axis=-1), axis=-1)
        eta = np.concatenate([np.zeros((*eta.shape[:-1], 1)), eta], axis=-1)
        likely = np.exp(eta - eta.max(axis=-1, keepdims=True))
        return likely / likely.sum(axis=-1, keepdims=True)

    def means(self, u: np.ndarray) -> np.ndarray:
        """What is expected of each channel, (..., N_e) -> (..., N)."""
        found = np.empty((*u.shape[:-1], len(self.channels)))
        for i, channel in enumerate(self.channels):
            if channel.kind == "gaussian":
                found[..., i] = u[..., channel.first]
            elif channel.kind == "poisson":
                found[..., i] = self.rate(u, channel)
            else:
                shares, levels = self.probabilities(u, channel), np.array(channel.levels)
                found[..., i] = shares @ levels if channel.kind == "ordinal" else levels[shares.argmax(axis=-1)]
        return found


class Reading:
    """What an ensemble says of them, block after block."""

    def __init__(self, readouts: Readouts, seed: int, n_steps: int) -> None:
        self._readouts, self._rng = readouts, np.random.default_rng([seed, 1])
        self._means = {i: np.empty((n_steps, len(c.levels) or 1)) for i, c in readouts.others}

    def read(self, done: int, observed: np.ndarray, values: np.ndarray) -> None:
        """Observations (T, S, N_e) and values (T, N, S) of the steps from `done` on: counts are drawn into the values."""
        alive = np.isfinite(values).all(axis=1)
        for i, channel in self._readouts.others:
            if channel.kind == "poisson":
                found = self._readouts.rate(observed, channel)[..., None]
                values[:, i] = np.where(alive, self._rng.poisson(np.where(alive, found[..., 0], 0.0)), np.nan)
            else:
                found = self._readouts.probabilities(observed, channel)
            total = np.where(alive[..., None], found, 0.0).sum(axis=1)
            with np.errstate(invalid="ignore", divide="ignore"):
                self._means[i][done : done + len(values)] = total / alive.sum(axis=1)[:, None]

    def fill(self, levels: np.ndarray, probabilities: Sequence[float]) -> None:
        """The classes' columns of (1 + quantiles, n_steps, N)."""
        for i, channel in self._readouts.others:
            means, classes = self._means[i], np.array(channel.levels)
            if channel.kind == "ordinal":
                below = np.cumsum(means, axis=1)[:, :-1]
                for q, p in enumerate(probabilities):
                    levels[q, :, i] = classes[(below < p).sum(axis=1)]
            elif channel.kind == "categorical":
                levels[:, :, i] = np.nan
                levels[0, :, i] = classes[np.where(np.isnan(means), -1, means).argmax(axis=1)]
            levels[:, np.isnan(means).any(axis=1), i] = np.nan

    def forecasts(self, names: Sequence[str]) -> dict[str, CountedForecast]:
        found = {}
        for i, channel in self._readouts.others:
            if channel.kind == "poisson":
                found[names[i]] = CountedForecast(channel.kind, mean=self._means[i][:, 0])
            else:
                found[names[i]] = CountedForecast(channel.kind, classes=channel.levels, probabilities=self._means[i])
        return found


def _log_intensity(events: np.ndarray, bandwidth: float, mean: float) -> float:
    """Kernel estimate at the last row, carried there along the slope of the log-intensity."""
    events = np.asarray(events, float)[-math.ceil(_REACH * bandwidth) - 1 :]
    k = np.arange(len(events)) - (len(events) - 1)
    w = np.exp(-((k / bandwidth) ** 2) / 2)
    y0, y1, s0, s1, s2 = events @ w, events @ (w * k), w.sum(), w @ k, w @ k**2
    intensity, centre = (y0 + 0.5) / (s0 + 0.5 / mean), s1 / s0
    slope = (y1 - centre * y0) / (intensity * (s2 - centre * s1) + bandwidth**2)
    return float(np.log(intensity) - slope * centre)

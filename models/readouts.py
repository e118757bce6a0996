"""Channels that are not Gaussian: how counts and classes are read from the latent state, and the signal that stands for them. numpy only.

A channel has one coordinate u of the observation, or K - 1 where it has K unordered classes; u = observe(z) is linear in z, and

    poisson       P(y) = e^-rate rate^y / y!,                          log rate = o + s u
    ordinal       P(y <= j) = 1 / (1 + exp(o + s u - c_j)),            c_1 < ... < c_{K-1} learned
    categorical   P(y = j) proportional to exp(o_j + s_j u_j),         u of the first class 0

with o, s the mean and std of the channel's signal on the training rows: a smoothed estimate of log rate, or of the (cumulative)
logits, made of the recorded rows by `models.intensity`. In these units the signal has mean 0 and std 1, as Gaussian channels do:
forcing pulls to it and runs start from it. Sources: McCullagh & Nelder 1989 (generalised linear models); McCullagh 1980 (ordinal).

Rows of such a model are (T, N_e): a Gaussian channel standardised, a count as it is, the number of an ordered class from 0, and
0 or 1 for each unordered class but the first.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from models.intensity import last_log_intensity, log_intensity, reach

GAUSSIAN, POISSON, ORDINAL, CATEGORICAL = KINDS = ("gaussian", "poisson", "ordinal", "categorical")
BEYOND = 10.0  # rates are cut at this many times one more than the largest recorded count


@dataclass(frozen=True)
class Channel:
    """One channel: what it holds, and what its training rows say of it."""

    kind: str
    first: int  # its first coordinate
    levels: list[float] = field(default_factory=list)  # values of its classes, ascending
    bandwidth: float = 0.0  # h, rows
    marginal: list[float] = field(default_factory=list)  # mean and variance of counts; share of each class
    largest: float = 0.0  # count

    @property
    def width(self) -> int:
        """Coordinates."""
        return len(self.levels) - 1 if self.kind == CATEGORICAL else 1

    @property
    def coordinates(self) -> slice:
        return slice(self.first, self.first + self.width)

    @property
    def cap(self) -> float:
        """Largest log rate."""
        return float(np.log(BEYOND * (self.largest + 1)))

    def signal(self, rows: np.ndarray, intensity: Any = log_intensity) -> np.ndarray:
        """The estimate of the linear predictor, (..., T, width) -> (T, width): log rate or logits, not standardised.

        `intensity` is `log_intensity`, or `last_log_intensity` for the last row of contexts (..., C, width) -> (..., width).
        """

        def log(events: np.ndarray, mean: float) -> np.ndarray:
            return np.asarray(intensity(events, self.bandwidth, mean))

        if self.kind == POISSON:
            return log(rows[..., 0], self.marginal[0])[..., None]
        shares = np.array(self.marginal)
        if self.kind == ORDINAL:
            below = np.cumsum(shares)[:-1]
            weight = below * (1 - below)
            total = 0.0
            for j, p in enumerate(below):
                under = rows[..., 0] <= j
                total = total - weight[j] * (log(under, p) - log(~under, 1 - p) - np.log(p / (1 - p)))
            return np.asarray(total / weight.sum())[..., None]
        first = log(1 - rows.sum(axis=-1), shares[0])
        others = [log(rows[..., j], p) for j, p in enumerate(shares[1:])]
        return np.stack([found - first for found in others], axis=-1)

    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = {"kind": self.kind}
        if self.levels:
            found["levels"] = self.levels
        return found | {"bandwidth_steps": self.bandwidth}


@dataclass(frozen=True)
class Readouts:
    """All channels of a model, Gaussian ones among them."""

    channels: list[Channel]
    offset: np.ndarray  # (N_e,) o; 0 for Gaussian coordinates
    scale: np.ndarray  # (N_e,) s; 1 for them

    @property
    def n_coordinates(self) -> int:
        return len(self.offset)

    @property
    def context_steps(self) -> int:
        """Rows that the signal at the last of them is made of."""
        return 1 + max(reach(c.bandwidth) if c.kind != GAUSSIAN else 0 for c in self.channels)

    @property
    def gaussian(self) -> np.ndarray:
        """Coordinates of Gaussian channels."""
        return np.array([c.first for c in self.channels if c.kind == GAUSSIAN], int)

    @property
    def others(self) -> list[tuple[int, Channel]]:
        """Channels that are not Gaussian, with their numbers."""
        return [(i, c) for i, c in enumerate(self.channels) if c.kind != GAUSSIAN]

    @property
    def ordinal(self) -> list[Channel]:
        return [c for c in self.channels if c.kind == ORDINAL]

    @property
    def n_thresholds(self) -> int:
        return sum(len(c.levels) - 1 for c in self.ordinal)

    def thresholds_of(self, channel: Channel, thresholds: np.ndarray | None) -> np.ndarray:
        """c (K - 1,) of one ordinal channel among those of all of them."""
        assert thresholds is not None
        first = sum(len(c.levels) - 1 for c in self.ordinal if c.first < channel.first)
        return thresholds[first : first + len(channel.levels) - 1]

    def wrong(self, values: np.ndarray) -> tuple[int, int] | None:
        """Row and column of the first value (T, N) that is no count or none of the classes; None where there is none."""
        for i, channel in self.others:
            column = values[:, i]
            if channel.kind == POISSON:
                bad = (column < 0) | (column != np.floor(column))
            else:
                bad = ~np.isin(column, channel.levels)
            if bad.any():
                return int(bad.argmax()), i
        return None

    def rows(self, values: np.ndarray) -> np.ndarray:
        """Values (T, N), Gaussian ones standardised, none of them `wrong` -> rows (T, N_e)."""
        found = np.empty((len(values), self.n_coordinates))
        for i, channel in enumerate(self.channels):
            if channel.kind in (GAUSSIAN, POISSON):
                found[:, channel.first] = values[:, i]
                continue
            at = np.searchsorted(channel.levels, values[:, i])
            if channel.kind == ORDINAL:
                found[:, channel.first] = at
            else:
                found[:, channel.coordinates] = at[:, None] == np.arange(1, len(channel.levels))
        return found

    def values(self, rows: np.ndarray) -> np.ndarray:
        """Inverse of `rows`: (..., N_e) -> (..., N)."""
        found = np.empty((*rows.shape[:-1], len(self.channels)))
        for i, channel in enumerate(self.channels):
            part = rows[..., channel.coordinates]
            if channel.kind in (GAUSSIAN, POISSON):
                found[..., i] = part[..., 0]
            elif channel.kind == ORDINAL:
                found[..., i] = np.array(channel.levels)[part[..., 0].astype(int)]
            else:
                found[..., i] = np.array(channel.levels)[(part @ np.arange(1, channel.width + 1)).astype(int)]
        return found

    def signals(self, rows: np.ndarray) -> np.ndarray:
        """What stands for the rows of a series without gaps, both sides of each row being known: (T, N_e) -> (T, N_e)."""
        return self._standardised(rows, log_intensity, rows)

    def last_signal(self, contexts: np.ndarray) -> np.ndarray:
        """What stands for the last row of contexts, what follows being unknown: (..., C, N_e) -> (..., N_e)."""
        return self._standardised(contexts, last_log_intensity, contexts[..., -1, :])

    def _standardised(self, rows: np.ndarray, intensity: Any, shaped: np.ndarray) -> np.ndarray:
        found = np.array(shaped, float)
        for _, channel in self.others:
            at = channel.coordinates
            found[..., at] = (channel.signal(rows[..., at], intensity) - self.offset[at]) / self.scale[at]
        return found

    def scatter(self, rows: np.ndarray) -> np.ndarray:
        """Std of the signals' own noise (N_e,), of rows (T, N_e): half the difference of those of the odd and of the even rows.

        0 for Gaussian channels.
        """
        halved = [replace(c, bandwidth=c.bandwidth / 2) for c in self.channels]
        odd, even = (Readouts(halved, self.offset, self.scale).signals(rows[k::2][: len(rows) // 2]) for k in (0, 1))
        noise = (odd - even).std(axis=0) / 2
        noise[self.gaussian] = 0.0
        return np.asarray(noise)

    def predictor(self, u: np.ndarray, channel: Channel) -> np.ndarray:
        """o + s u of one channel: (..., N_e) -> (..., width)."""
        at = channel.coordinates
        return u[..., at] * self.scale[at] + self.offset[at]

    def rate(self, u: np.ndarray, channel: Channel) -> np.ndarray:
        """Expected count, (..., N_e) -> (...)."""
        return np.exp(np.minimum(self.predictor(u, channel)[..., 0], channel.cap))

    def probabilities(self, u: np.ndarray, channel: Channel, thresholds: np.ndarray | None) -> np.ndarray:
        """Of each class: (..., N_e) -> (..., K)."""
        eta = self.predictor(u, channel)
        if channel.kind == ORDINAL:
            below = _logistic(self.thresholds_of(channel, thresholds) - eta)
            ones = np.ones((*below.shape[:-1], 1))
            return np.diff(np.concatenate([0 * ones, below, ones], axis=-1), axis=-1)
        eta = np.concatenate([np.zeros((*eta.shape[:-1], 1)), eta], axis=-1)
        likely = np.exp(eta - eta.max(axis=-1, keepdims=True))
        return np.asarray(likely / likely.sum(axis=-1, keepdims=True))

    def means(self, u: np.ndarray, thresholds: np.ndarray | None) -> np.ndarray:
        """What is expected of each channel, Gaussian ones standardised: (..., N_e) -> (..., N); the likeliest of unordered classes."""
        found = np.empty((*u.shape[:-1], len(self.channels)))
        for i, channel in enumerate(self.channels):
            if channel.kind == GAUSSIAN:
                found[..., i] = u[..., channel.first]
            elif channel.kind == POISSON:
                found[..., i] = self.rate(u, channel)
            else:
                shares, levels = self.probabilities(u, channel, thresholds), np.array(channel.levels)
                found[..., i] = shares @ levels if channel.kind == ORDINAL else levels[shares.argmax(axis=-1)]
        return found

    def log_likelihood(
        self, u: np.ndarray, rows: np.ndarray, channel: Channel, thresholds: np.ndarray | None
    ) -> np.ndarray:
        """log P(recorded row | u) of one channel, nats: (..., N_e), (..., N_e) -> (...)."""
        part = rows[..., channel.coordinates]
        if channel.kind == POISSON:
            count = part[..., 0]
            eta = np.minimum(self.predictor(u, channel)[..., 0], channel.cap)
            return np.asarray(count * eta - np.exp(eta) - log_factorial(count))
        shares = self.probabilities(u, channel, thresholds)
        chosen = np.take_along_axis(shares, self.classes(part, channel)[..., None], axis=-1)[..., 0]
        return np.log(np.maximum(chosen, 1e-300))

    def classes(self, part: np.ndarray, channel: Channel) -> np.ndarray:
        """Number of the class that the coordinates of one channel hold: (..., width) -> (...)."""
        if channel.kind == ORDINAL:
            return part[..., 0].astype(int)
        return np.asarray(part @ np.arange(1, channel.width + 1)).astype(int)

    def draw(self, u: np.ndarray, thresholds: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
        """Rows as they would be recorded, Gaussian coordinates as they are: (..., N_e) -> (..., N_e)."""
        found = np.array(u, float)
        for _, channel in self.others:
            if channel.kind == POISSON:
                rate = self.rate(u, channel)
                found[..., channel.first] = rng.poisson(np.where(np.isfinite(rate), rate, 0.0))
                continue
            edges = np.cumsum(self.probabilities(u, channel, thresholds), axis=-1)[..., :-1]
            chosen = (rng.random(edges.shape[:-1])[..., None] >= edges).sum(axis=-1)
            if channel.kind == ORDINAL:
                found[..., channel.first] = chosen
            else:
                found[..., channel.coordinates] = chosen[..., None] == np.arange(1, channel.width + 1)
        return found

    def header(self) -> list[dict[str, Any]]:
        """The channels as JSON, for a model's file."""
        return [vars(c) for c in self.channels]


def log_factorial(count: np.ndarray) -> np.ndarray:
    """log y! of counts: exact sums up to 255, Stirling's series with three terms (error below 1e-16 there) beyond."""
    y = np.asarray(count, float)
    table = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, 256)))])
    x = np.maximum(y, 256.0) + 1
    far = (x - 0.5) * np.log(x) - x + 0.5 * np.log(2 * np.pi) + 1 / (12 * x) - 1 / (360 * x**3)
    return np.where(y < 256, table[np.minimum(y, 255).astype(int)], far)


def _logistic(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-x)))

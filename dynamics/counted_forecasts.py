"""What an ensemble says of channels of counts and classes. numpy only.

Every member has a rate, or a probability of each class. Counts are drawn from the rates, so that quantiles hold their own scatter as well as
that of the ensemble; expected counts and the probabilities of classes are means over the members, and quantiles of ordered classes are
those of these probabilities.
"""

from __future__ import annotations

import numpy as np

from domain.results import CountedForecast
from models.readouts import CATEGORICAL, ORDINAL, POISSON
from models.trained import TrainedModel


class CountedReading:
    """Keeps the means over the members, block after block."""

    def __init__(self, model: TrainedModel, seed: int, n_steps: int) -> None:
        assert model.readouts is not None
        self._model, self._readouts = model, model.readouts
        self._rng = np.random.default_rng([seed, 1])  # a stream of its own: the members are those of any other model
        self._means = {i: np.empty((n_steps, len(c.levels) or 1)) for i, c in self._readouts.others}

    def read(self, done: int, observed: np.ndarray, values: np.ndarray) -> None:
        """Observations (T, S, N_e) and values (T, N, S) of the steps from `done` on, NaN for members that are gone: counts are drawn into them."""
        alive = np.isfinite(values).all(axis=1)  # (T, S)
        for i, channel in self._readouts.others:
            if channel.kind == POISSON:
                found = self._readouts.rate(observed, channel)[..., None]
                values[:, i] = np.where(alive, self._rng.poisson(np.where(alive, found[..., 0], 0.0)), np.nan)
            else:
                found = self._readouts.probabilities(observed, channel, self._model.thresholds)
            total = np.where(alive[..., None], found, 0.0).sum(axis=1)
            with np.errstate(invalid="ignore", divide="ignore"):
                self._means[i][done : done + len(values)] = total / alive.sum(axis=1)[:, None]

    def fill(self, levels: np.ndarray, probabilities: np.ndarray) -> None:
        """The classes' columns of (1 + quantiles, n_steps, N): of ordered ones the quantiles, of others the likeliest and no quantiles."""
        for i, channel in self._readouts.others:
            classes, lost = np.array(channel.levels), np.isnan(self._means[i]).any(axis=1)
            if channel.kind == ORDINAL:
                below = np.cumsum(self._means[i], axis=1)[:, :-1]
                for q, p in enumerate(probabilities):
                    levels[q, :, i] = classes[(below < p).sum(axis=1)]
            elif channel.kind == CATEGORICAL:
                levels[:, :, i] = np.nan
                levels[0, :, i] = classes[np.where(np.isnan(self._means[i]), -1, self._means[i]).argmax(axis=1)]
            levels[:, lost, i] = np.nan

    def documents(self) -> dict[str, CountedForecast]:
        found = {}
        for i, channel in self._readouts.others:
            rows = [[None if np.isnan(v) else float(v) for v in row] for row in self._means[i]]
            name = self._model.channels[i]
            if channel.kind == POISSON:
                found[name] = CountedForecast(kind="poisson", mean=[row[0] for row in rows])
            else:
                kind = "ordinal" if channel.kind == ORDINAL else "categorical"
                found[name] = CountedForecast(kind=kind, classes=channel.levels, probabilities=rows)
        return found

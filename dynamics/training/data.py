"""A series as training reads it: standardised by its training part, delay-embedded, its segments laid end to end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from domain.errors import ConstantSeries, ErrorItem, column_pointer
from dynamics.training.settings import Settings
from dynamics.training.smoothing import smooth
from dynamics.training.split import Segments, Split
from models.trained import embed


@dataclass(frozen=True)
class TrainingData:
    mean: np.ndarray  # (N,)
    std: np.ndarray  # (N,)
    train: list[np.ndarray]  # (T_i, N_e) of each segment long enough for one embedded row
    validation: list[np.ndarray]
    series: np.ndarray  # (rows, N_e) the training segments end to end, denoised: what sequences are drawn from
    starts: np.ndarray  # rows of `series` at which a sequence of T + 1 rows fits into its segment

    @property
    def n_observed(self) -> int:
        return int(self.series.shape[1])


def prepare(parts: Split, settings: Settings, channels: list[str]) -> TrainingData:
    values = np.concatenate([values for _, values in parts.train])
    mean, std = values.mean(axis=0), values.std(axis=0)
    if not settings.standardize:
        mean, std = np.zeros_like(mean), np.ones_like(std)
    for name, spread in zip(channels, std, strict=True):
        if not spread > 0:
            raise ConstantSeries(
                f"Channel {name} does not vary in the training part; leave it out.",
                [ErrorItem(pointer=column_pointer(name))],
            )
    lags = settings.lags

    def embedded(segments: Segments) -> list[np.ndarray]:
        return [embed((part - mean) / std, lags) for _, part in segments if len(part) > lags[-1]]

    def denoised(segments: Segments) -> Segments:
        return [
            (first, np.stack([smooth(part[:, c], w) for c, w in enumerate(settings.smoothing)], axis=1))
            for first, part in segments
        ]

    train = embedded(parts.train)
    starts, passed = [], 0
    for part in train:
        starts.append(np.arange(passed, passed + len(part) - settings.sequence_length))
        passed += len(part)
    series = np.concatenate(embedded(denoised(parts.train)))
    return TrainingData(mean, std, train, embedded(parts.validation), series, np.concatenate(starts).astype(np.int64))

"""A series as training reads it: standardised by its training part, delay-embedded, its segments laid end to end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from domain.errors import ConstantSeries, ErrorItem, column_pointer
from dynamics.input_channels import separate
from dynamics.training.balance import balanced
from dynamics.training.settings import Settings
from dynamics.training.smoothing import smooth
from dynamics.training.split import Segments, Split
from models.trained import embed


@dataclass(frozen=True)
class TrainingData:
    """Rows t of `series` and `inputs`, and of the lists of parts, belong together: s_t drives the step that leads to x_t."""

    mean: np.ndarray  # (N,)
    std: np.ndarray  # (N,)
    train: list[np.ndarray]  # (T_i, N_e) of each segment long enough for one embedded row
    validation: list[np.ndarray]
    series: np.ndarray  # (rows, N_e) the training segments end to end, denoised: what sequences are drawn from
    starts: np.ndarray  # rows of `series` at which a sequence of T + 1 rows fits into its segment
    input_mean: np.ndarray  # (K,)
    input_std: np.ndarray  # (K,)
    train_inputs: list[np.ndarray]  # (T_i, K) standardised; neither embedded nor denoised
    validation_inputs: list[np.ndarray]
    inputs: np.ndarray  # (rows, K) those of training end to end

    @property
    def n_observed(self) -> int:
        return int(self.series.shape[1])


def prepare(parts: Split, settings: Settings, channels: list[str]) -> TrainingData:
    """`channels`: all of them, in the order of the columns. Raises ConstantSeries for one that does not vary in training."""
    observed, driving = separate(channels, settings.input_channels)
    seen, driven = parts.select(observed), parts.select(driving)
    mean, std = _scale(seen.train, [channels[c] for c in observed], settings.standardize)
    input_mean, input_std = _scale(driven.train, [channels[c] for c in driving], True)
    lags = settings.lags

    def embedded(segments: Segments) -> list[np.ndarray]:
        return [embed((part - mean) / std, lags) for _, part in segments if len(part) > lags[-1]]

    def standardised(segments: Segments) -> list[np.ndarray]:
        return [(part[lags[-1] :] - input_mean) / input_std for _, part in segments if len(part) > lags[-1]]

    def denoised(segments: Segments) -> Segments:
        return [
            (first, np.stack([smooth(part[:, c], w) for c, w in enumerate(settings.smoothing)], axis=1))
            for first, part in segments
        ]

    train, train_inputs = embedded(seen.train), standardised(driven.train)
    series = np.concatenate(embedded(denoised(seen.train)))
    starts = _starts(train, settings.sequence_length)
    return TrainingData(
        mean=mean,
        std=std,
        train=train,
        validation=embedded(seen.validation),
        series=series,
        starts=starts if settings.observation == "affine" else balanced(series, starts, settings.sequence_length),
        input_mean=input_mean,
        input_std=input_std,
        train_inputs=train_inputs,
        validation_inputs=standardised(driven.validation),
        inputs=np.concatenate(train_inputs),
    )


def _scale(train: Segments, channels: list[str], standardize: bool) -> tuple[np.ndarray, np.ndarray]:
    values = np.concatenate([values for _, values in train])
    mean, std = values.mean(axis=0), values.std(axis=0)
    for name, spread in zip(channels, std, strict=True):
        if not spread > 0:
            raise ConstantSeries(
                f"Channel {name} does not vary in the training part; leave it out.",
                [ErrorItem(pointer=column_pointer(name))],
            )
    return (mean, std) if standardize else (np.zeros_like(mean), np.ones_like(std))


def _starts(parts: list[np.ndarray], length: int) -> np.ndarray:
    starts, passed = [], 0
    for part in parts:
        starts.append(np.arange(passed, passed + len(part) - length))
        passed += len(part)
    return np.concatenate(starts).astype(np.int64)

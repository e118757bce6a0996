"""A series as training reads it: standardised by its training part, delay-embedded, its segments laid end to end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from domain.errors import ConstantSeries, ErrorItem, SeriesTooShort, column_pointer
from domain.series import Recording
from dynamics.input_channels import separate
from dynamics.training.balance import balanced
from dynamics.training.deconvolution import estimate, regress_off
from dynamics.training.settings import Settings
from dynamics.training.smoothing import smooth
from dynamics.training.split import Segments, Split
from models.filters import Filter
from models.readouts import Readouts
from models.trained import embed


def _nothing() -> np.ndarray:
    return np.zeros(0, np.int64)


@dataclass(frozen=True)
class TrainingData:
    """Rows t of `series` and `inputs`, and of the lists of parts, belong together: s_t drives the step that leads to x_t.

    Signals are what states are read from, by forcing and at the start of runs: the series less its nuisance, its kernel undone.
    Without nuisance and kernel they are the series, where all channels are Gaussian; counts and classes have smoothed ones that stand for them.
    """

    mean: np.ndarray  # (N,)
    std: np.ndarray  # (N,)
    train: list[np.ndarray]  # (T_i, N_e) of each segment long enough for one embedded row, its nuisance subtracted
    validation: list[np.ndarray]
    series: (
        np.ndarray
    )  # (rows, N_e) the training segments end to end, denoised, nuisance and all: what sequences are drawn from
    starts: np.ndarray  # rows of `series` at which a sequence of T + 1 rows fits into its segment
    input_mean: np.ndarray  # (K,)
    input_std: np.ndarray  # (K,)
    train_inputs: list[np.ndarray]  # (T_i, K) standardised; neither embedded nor denoised
    validation_inputs: list[np.ndarray]
    inputs: np.ndarray  # (rows, K) those of training end to end
    nuisance_mean: np.ndarray  # (P,)
    nuisance_std: np.ndarray  # (P,)
    nuisance: np.ndarray  # (rows, P) standardised, those of training end to end
    signal: np.ndarray  # (rows, N_e) what forcing pulls to, row by row
    train_signals: list[np.ndarray]  # (T_i, N_e)
    validation_signals: list[np.ndarray]
    contamination: np.ndarray  # J (N_e, P) by least squares, where training begins
    scale: np.ndarray | None  # (N_e,) unit of `series` and `signal` where the loss is of hidden states, else None
    filter: Filter | None  # of a convolutional observation
    readouts: Readouts | None = None  # of channels that are not Gaussian; `series` and `train` then hold their rows
    owners: np.ndarray = field(default_factory=_nothing)  # (rows,) of a family: the recording of each row, -1 for none
    train_owners: list[int] = field(default_factory=list)
    validation_owners: list[int] = field(default_factory=list)

    @property
    def first_starts(self) -> np.ndarray:
        """(R + 1,) where the starts of each recording begin among `starts`; (0,) where recordings share one map."""
        if not len(self.owners):
            return _nothing()
        return np.searchsorted(self.owners[self.starts], np.arange(max(self.owners) + 2)).astype(np.int64)

    @property
    def n_observed(self) -> int:
        return int(self.series.shape[1])

    def in_units(self, observation: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """An observation that was learned of hidden states, which have a unit of their own and no nuisance, for the series."""
        if self.scale is None:
            return observation
        matrix, offset = observation["B"], observation["b"]
        scale, contamination = self.scale.astype(matrix.dtype), self.contamination.astype(matrix.dtype)
        found = {"B": matrix * scale[:, None], "b": offset * scale}
        return found | ({"J": contamination} if "J" in observation else {})


def prepare(
    parts: Split,
    settings: Settings,
    channels: list[str],
    recordings: Sequence[Recording] = (),
    readouts: Readouts | None = None,
) -> TrainingData:
    """`channels`: all of them, in the order of the columns; `recordings`: for a family of maps; `readouts` of the observed channels.

    Raises ConstantSeries for a channel that does not vary in training.
    """
    columns = separate(channels, settings.input_channels, settings.nuisance_channels)
    seen, driven, contaminated = (parts.select(chosen) for chosen in columns)
    mean, std = _scale(seen.train, [channels[c] for c in columns.observed], settings.standardize)
    if readouts is not None:  # counts and classes stay as they are
        counted = [i for i, _ in readouts.others]
        mean[counted], std[counted] = 0.0, 1.0
    input_mean, input_std = _scale(driven.train, [channels[c] for c in columns.inputs], True)
    nuisance_mean, nuisance_std = _scale(contaminated.train, [channels[c] for c in columns.nuisance], True)
    lags = settings.lags

    def embedded(segments: Segments) -> list[np.ndarray]:
        if readouts is not None:
            return [readouts.rows((part - mean) / std) for _, part in segments]
        return [embed((part - mean) / std, lags) for _, part in segments if len(part) > lags[-1]]

    def standardised(segments: Segments, mean: np.ndarray, std: np.ndarray) -> list[np.ndarray]:
        return [(part[lags[-1] :] - mean) / std for _, part in segments if len(part) > lags[-1]]

    def denoised(segments: Segments) -> Segments:
        chosen = settings.smoothing if readouts is None else [settings.smoothing[c.first] for c in readouts.channels]
        return [
            (first, np.stack([smooth(part[:, c], w) for c, w in enumerate(chosen)], axis=1)) for first, part in segments
        ]

    train, train_inputs = embedded(seen.train), standardised(driven.train, input_mean, input_std)
    smoothed, validation = embedded(denoised(seen.train)), embedded(seen.validation)
    train_nuisance = standardised(contaminated.train, nuisance_mean, nuisance_std)
    validation_nuisance = standardised(contaminated.validation, nuisance_mean, nuisance_std)
    contamination = regress_off(smoothed, train_nuisance)

    def less(parts: list[np.ndarray], nuisance: list[np.ndarray]) -> list[np.ndarray]:
        return [x - r @ contamination.T if r.shape[1] else x for x, r in zip(parts, nuisance, strict=True)]

    train, validation = less(train, train_nuisance), less(validation, validation_nuisance)
    denoised_signals, signals, judged, filter = less(smoothed, train_nuisance), train, validation, None
    if settings.kernel:
        filter = estimate(np.array(settings.kernel), settings.deconvolution_noise, denoised_signals)
        judged = _after_training(filter.deconvolve, seen, denoised_signals, judged)
        signals = denoised_signals = [filter.deconvolve(part) for part in denoised_signals]
    if readouts is not None:
        judged = _after_training(readouts.signals, seen, train, validation)
        denoised_signals, signals = ([readouts.signals(part) for part in rows] for rows in (smoothed, train))
    series, signal = np.concatenate(smoothed), np.concatenate(denoised_signals)
    scale, contaminating = None, np.concatenate(train_nuisance)
    if settings.kernel and settings.loss == "states":
        # The signal is all that is learned: nuisance has left it, and its own spread is the unit, of rate and noise as well.
        scale, contaminating = signal.std(axis=0), np.zeros_like(contaminating)
        series = signal = signal / scale
    starts = _starts(train, settings.sequence_length, filter)
    train_owners = _owners(parts.train, settings, recordings)
    return TrainingData(
        mean=mean,
        std=std,
        train=train,
        validation=validation,
        series=series,
        starts=starts if settings.observation == "affine" else balanced(signal, starts, settings.sequence_length),
        input_mean=input_mean,
        input_std=input_std,
        train_inputs=train_inputs,
        validation_inputs=standardised(driven.validation, input_mean, input_std),
        inputs=np.concatenate(train_inputs),
        nuisance_mean=nuisance_mean,
        nuisance_std=nuisance_std,
        nuisance=contaminating,
        signal=signal,
        train_signals=signals,
        validation_signals=judged,
        contamination=contamination,
        scale=scale,
        filter=filter,
        readouts=readouts,
        owners=np.repeat(np.array(train_owners, np.int64), [len(part) for part in train])
        if train_owners
        else _nothing(),
        train_owners=train_owners,
        validation_owners=_owners(parts.validation, settings, recordings),
    )


def _owners(segments: Segments, settings: Settings, recordings: Sequence[Recording]) -> list[int]:
    """The number of each segment's recording in a family, -1 for one that has no vector; [] where they share one map."""
    if not settings.recording_dim:
        return []
    number = {name: i for i, name in enumerate(settings.recordings)}
    long = [first for first, part in segments if len(part) > settings.lags[-1]]
    return [number.get(next(r.name for r in recordings if r.holds(first)), -1) for first in long]


def _after_training(
    signals: Callable[[np.ndarray], np.ndarray], seen: Split, train: list[np.ndarray], validation: list[np.ndarray]
) -> list[np.ndarray]:
    """Signals of the validation parts, made together with the training rows that they follow, if there are any."""
    ending = {first + len(part): k for k, (first, part) in enumerate(seen.train)}
    found = []
    for (first, _), part in zip(seen.validation, validation, strict=True):
        before = train[ending[first]] if first in ending else part[:0]
        found.append(signals(np.concatenate([before, part]))[len(before) :])
    return found


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


def _starts(parts: list[np.ndarray], length: int, filter: Filter | None) -> np.ndarray:
    """Raises SeriesTooShort where no sequence is left between the ends that a deconvolution cuts off."""
    left, right = (0, 0) if filter is None else filter.cut
    starts, passed = [], 0
    for part in parts:
        starts.append(np.arange(passed + left, passed + len(part) - right - length))
        passed += len(part)
    found = np.concatenate(starts).astype(np.int64)
    if not found.size:
        raise SeriesTooShort(
            f"The deconvolution leaves nothing reliable of the first {left} and the last {right} rows, and between them no sequence of "
            f"{length} steps fits. Send a longer series, or lower sequence_length, test_fraction or validation_fraction.",
            [ErrorItem(pointer="/params/sequence_length")],
        )
    return found

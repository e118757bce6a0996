"""Channels that are declared to hold counts or classes: whether they do, and what the training rows say of them.

Used before a job is accepted as well as in training, so that what cannot be is refused at once: no compiled code here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from domain.errors import ConstantSeries, ErrorItem, InvalidParameters, UnknownChannel
from domain.specs import TrainSpec
from models.intensity import left_out, reach
from models.readouts import CATEGORICAL, GAUSSIAN, ORDINAL, POISSON, Channel, Readouts, log_factorial

Segments = Sequence[tuple[int, np.ndarray]]  # (first row, values (T_i, N) of the observed channels)

MAX_CLASSES = 20
MAX_COUNT = 1e6
BANDWIDTHS = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0, 11.0, 16.0, 22.0, 32.0, 45.0, 64.0)
PARTS_OF_A_STRETCH = (
    10  # the estimate's window, on either side, is at most this part of the longest stretch of training rows
)
LEAST_SCALE = 0.1  # of log rate or logit: less would blow up what is hardly there
BESIDE_GAUSSIAN = 0.3  # std of the signals of counts and classes beside Gaussian channels: they know less of the state, and states are
# read by least squares over all coordinates
EXPLAINED, LEAST_UNITS = (
    0.9,
    3,
)  # of the signals' variance, whose rest is noise of the estimate; no flow of fewer is chaotic
_LISTED = 20


def declared(spec: TrainSpec, channels: Sequence[str], segments: Segments, at: str = "/params") -> list[Channel]:
    """The observed `channels` with their coordinates and classes, which are those in all `segments`; [] where all are Gaussian.

    `at` is where the specification lies in the request. Raises UnknownChannel for a name that is not among `channels`,
    InvalidParameters for values that are no counts or classes, with the rows.
    """
    wanted = spec.counted_channels
    for name in spec.channel_distributions:
        if name not in channels:
            known = ", ".join(channels[:20]) + (", ..." if len(channels) > 20 else "")
            detail = f"There is no observed channel {name[:60]!r} to give a distribution to; the observed channels are {known}."
            raise UnknownChannel(detail, [ErrorItem(pointer=_pointer(at, name), detail=detail)])
    found: list[Channel] = []
    for c, name in enumerate(channels if wanted else ()):
        kind = wanted.get(name, GAUSSIAN)
        first = found[-1].first + found[-1].width if found else 0
        levels: list[float] = []
        if kind == POISSON:
            _check_counts(name, c, segments, at)
        elif kind != GAUSSIAN:
            levels = _levels(name, kind, c, segments, at)
        found.append(Channel(kind, first, levels))
    return found


def n_coordinates(channels: Sequence[Channel]) -> int:
    return channels[-1].first + channels[-1].width


def _check_counts(name: str, c: int, segments: Segments, at: str) -> None:
    def not_counts(x: np.ndarray) -> np.ndarray:
        return (x < 0) | (x != np.floor(x))

    advice = 'Declare it "gaussian", or send the counts themselves.'
    _refuse(name, c, segments, at, not_counts, "is no count: poisson needs integers from 0", advice)
    _refuse(
        name, c, segments, at, lambda x: x > MAX_COUNT, f"is more than {MAX_COUNT:g}",
        'Counts as large are as good as continuous: declare the channel "gaussian".',
    )  # fmt: skip


def _levels(name: str, kind: str, c: int, segments: Segments, at: str) -> list[float]:
    _refuse(
        name, c, segments, at, lambda x: x != np.floor(x), f"is no class: {kind} needs integers",
        'Number the classes, or declare the channel "gaussian".',
    )  # fmt: skip
    levels = np.unique(np.concatenate([np.unique(values[:, c]) for _, values in segments]))
    if len(levels) > MAX_CLASSES:
        counts = 'declare it "poisson" if it counts something, "gaussian" if it is a measurement'
        detail = f"Channel {name!r} has {len(levels)} different values; {kind} takes at most {MAX_CLASSES}: {counts}."
        raise InvalidParameters(detail, [ErrorItem(pointer=_pointer(at, name), detail=detail)])
    return [float(level) for level in levels]


def _refuse(name: str, c: int, segments: Segments, at: str, wrong: object, what: str, advice: str) -> None:
    rows: list[int] = []
    value = 0.0
    for first, values in segments:
        bad = np.flatnonzero(wrong(values[:, c]))  # type: ignore[operator]
        if bad.size and not rows:
            value = float(values[bad[0], c])
        rows += (first + bad[:_LISTED]).tolist()
    if rows:
        detail = f"The value {value:g} of channel {name!r} in row {rows[0]} {what}. {advice}"
        raise InvalidParameters(detail, [ErrorItem(pointer=_pointer(at, name), rows=rows[:_LISTED], detail=detail)])


def check_trained(channels: Sequence[Channel], names: Sequence[str], train: Segments, at: str = "/params") -> None:
    """Raise ConstantSeries for a counted channel that does not vary in the training rows, InvalidParameters for a class that they lack."""
    for c, (channel, name) in enumerate(zip(channels, names, strict=True)):
        if channel.kind == GAUSSIAN:
            continue
        seen = np.unique(np.concatenate([np.unique(values[:, c]) for _, values in train]))
        if len(seen) < 2:
            detail = f"Channel {name} does not vary in the training part: it is {seen[0]:g} throughout. Leave it out."
            raise ConstantSeries(detail, [ErrorItem(pointer=_pointer(at, name), detail=detail)])
        if missing := [level for level in channel.levels if level not in seen]:
            detail = (
                f"Class {missing[0]:g} of channel {name!r} is in no row of the training part, so nothing can be learned of it. "
                "Lower test_fraction or validation_fraction, or join it with another class."
            )
            raise InvalidParameters(detail, [ErrorItem(pointer=_pointer(at, name), detail=detail)])


def estimate(channels: Sequence[Channel], train: Sequence[np.ndarray]) -> Readouts:
    """The read-outs of training rows, list of (T_i, N), Gaussian channels in any units: marginals, bandwidths, offsets and scales."""
    n = n_coordinates(channels)
    bare = Readouts(list(channels), np.zeros(n), np.ones(n))
    rows = [bare.rows(values) for values in train]
    longest = max(len(part) for part in rows)
    found, offset, scale = [], np.zeros(n), np.ones(n)
    for channel in channels:
        if channel.kind != GAUSSIAN:
            own = [part[:, channel.coordinates] for part in rows]
            channel = _with_bandwidth(_with_marginal(channel, bare, own), own, longest)
            signal = np.concatenate([channel.signal(part) for part in own])
            offset[channel.coordinates] = signal.mean(axis=0)
            scale[channel.coordinates] = np.maximum(signal.std(axis=0), LEAST_SCALE)
        found.append(channel)
    readouts = Readouts(found, offset, scale)
    if len(readouts.gaussian):
        counted = np.setdiff1d(np.arange(n), readouts.gaussian)
        scale[counted] /= BESIDE_GAUSSIAN
    return readouts


def dimension(readouts: Readouts, train: Sequence[np.ndarray]) -> int:
    """Latent units for signals (T_i, N_e): principal directions that hold EXPLAINED of their variance, but not fewer than Gaussian channels or 3."""
    signals = np.concatenate(list(train))
    scaled = signals - signals.mean(axis=0)
    scaled[:, readouts.gaussian] /= scaled[:, readouts.gaussian].std(axis=0)
    variances = np.linalg.eigvalsh(np.atleast_2d(np.cov(scaled.T)))[::-1]
    needed = 1 + int(np.searchsorted(np.cumsum(variances) / variances.sum(), EXPLAINED))
    return max(needed, len(readouts.gaussian), LEAST_UNITS)


def _with_marginal(channel: Channel, bare: Readouts, own: list[np.ndarray]) -> Channel:
    every = np.concatenate(own)
    if channel.kind == POISSON:
        counts = every[:, 0]
        return replace(channel, marginal=[float(counts.mean()), float(counts.var())], largest=float(counts.max()))
    shares = np.bincount(bare.classes(every, channel), minlength=len(channel.levels)) / len(every)
    return replace(channel, marginal=shares.tolist())


def _with_bandwidth(channel: Channel, own: list[np.ndarray], longest: int) -> Channel:
    """That of the largest leave-one-out likelihood of the rows, given the estimate from those around each."""
    likelihoods = {}
    for h in BANDWIDTHS:
        if reach(h) <= max(longest // PARTS_OF_A_STRETCH, reach(BANDWIDTHS[0])):
            likelihoods[h] = sum(_left_out_likelihood(channel, part, h) for part in own)
    return replace(channel, bandwidth=max(likelihoods, key=likelihoods.__getitem__))


def _left_out_likelihood(channel: Channel, part: np.ndarray, bandwidth: float) -> float:
    if channel.kind == POISSON:
        counts = part[:, 0]
        rate = left_out(counts, bandwidth, channel.marginal[0])
        return float(np.sum(counts * np.log(rate) - rate - log_factorial(counts)))
    shares = np.array(channel.marginal)
    if channel.kind == ORDINAL:
        chosen = part[:, 0] == np.arange(len(shares))[:, None]
    else:
        assert channel.kind == CATEGORICAL
        chosen = np.concatenate([1 - part.sum(axis=1, keepdims=True), part], axis=1).T == 1
    rates = np.stack([left_out(events, bandwidth, p) for events, p in zip(chosen, shares, strict=True)])
    return float(np.log(rates / rates.sum(axis=0))[chosen].sum())


def _pointer(at: str, name: str) -> str:
    return f"{at}/channel_distributions/" + name.replace("~", "~0").replace("/", "~1")

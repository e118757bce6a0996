"""What is analysed: checked, in standard deviations, thinned where it is too long, projected where it is too wide."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from domain.base import Warning_
from domain.errors import ConstantSeries, ErrorItem, InvalidParameters, NonFiniteValues, SeriesTooShort
from domain.limits import MIN_ANALYSIS_RUN, MIN_ANALYSIS_STEPS
from dynamics.lyapunov.clock import Clock
from dynamics.lyapunov.noise_channels import noise_channels
from dynamics.lyapunov.sampling import Sampling, decimate, inspect, thin

MAX_ROWS = 20_000
MAX_STATE_CHANNELS = 10
PIECE = 500_000  # rows looked at between two signs of life
PROJECTED_CHANNELS = 6


@dataclass
class Prepared:
    """Segments (T_i, N) in standard deviations, beside how they came about."""

    segments: list[np.ndarray]
    sampling: Sampling
    dt: float  # of the segments: the series' dt times `stride`
    stride: int
    projected: bool
    n_rows: int  # usable rows of the series before thinning
    warnings: list[Warning_] = field(default_factory=list)

    @property
    def n_channels(self) -> int:
        return self.segments[0].shape[1]


def prepare(segments: list[np.ndarray], dt: float, clock: Clock) -> Prepared:
    """Check and reduce a series; raises InvalidSeries where nothing can be done with it."""
    if not dt > 0 or not np.isfinite(dt):
        raise InvalidParameters(f"dt must be a positive number of time units; it is {dt}.")
    usable = _usable(segments, clock)
    warnings: list[Warning_] = []
    if len(usable) < len(segments):
        short = sum(len(s) for s in segments) - sum(len(s) for s in usable)
        warnings.append(
            Warning_(
                code="short-segments",
                detail=f"{len(segments) - len(usable)} of {len(segments)} segments, {short} rows, are shorter than "
                f"{MIN_ANALYSIS_RUN} rows and were left out.",
            )
        )
    usable, channels = _varying(usable, warnings, clock)
    usable = _predictable(usable, channels, warnings, clock)
    n_rows = sum(len(s) for s in usable)
    clock.tick()
    sampling = inspect(_standardized(thin(usable, 131_072, 1))[0])
    stride = sampling.stride
    limit = MAX_ROWS * stride
    if n_rows > limit:
        kept = thin(usable, limit)
        warnings.append(
            Warning_(
                code="subsampled",
                detail=f"The series has {n_rows} rows; the fit uses {sum(len(s) for s in kept)} of them, in {len(kept)} contiguous "
                "blocks spread evenly over it (always the same ones).",
            )
        )
        usable = kept
    if stride > 1:
        usable = decimate(usable, stride)
        sampling = Sampling(True, sampling.period_steps / stride, sampling.bandwidth * stride, sampling.lag_one, stride)
        warnings.append(
            Warning_(
                code="oversampled",
                detail=f"Oversampled: every {stride} rows were averaged into one; every {stride}-th step carries all the information.",
            )
        )
    if sampling.is_flow and sampling.period_steps < 12:
        warnings.append(
            Warning_(
                code="coarsely-sampled",
                detail=f"About {sampling.period_steps:.0f} samples per mean period: sample at least twice as often for a better estimate.",
            )
        )
    clock.tick()
    standard, _ = _standardized(usable)
    standard, projected = _projected(standard, warnings, clock)
    rows = sum(len(s) for s in standard)
    if sampling.is_flow and rows < 10 * sampling.period_steps:
        warnings.append(
            Warning_(
                code="few-periods",
                detail=f"The series covers {rows / sampling.period_steps:.1f} mean periods; intervals from fewer than ten are not reliable.",
            )
        )
    return Prepared(standard, sampling, dt * stride, stride, projected, n_rows, warnings)


def _usable(segments: list[np.ndarray], clock: Clock) -> list[np.ndarray]:
    if not segments:
        raise SeriesTooShort("The series has no usable segment.")
    arrays = [np.asarray(s, dtype=np.float64) for s in segments]
    for s in arrays:
        if s.ndim != 2 or s.shape[1] != arrays[0].shape[1] or s.shape[1] == 0:
            raise InvalidParameters("Every segment must be a table (rows, channels) with the same channels.")
        for first in range(0, len(s), PIECE):
            clock.tick()
            bad = np.nonzero(~np.isfinite(s[first : first + PIECE]).all(axis=1))[0]
            if len(bad):
                row = first + int(bad[0])
                raise NonFiniteValues(
                    f"Row {row} of a segment is not finite; split the series at such rows.", [ErrorItem(rows=[row])]
                )
    long = [s for s in arrays if len(s) >= MIN_ANALYSIS_RUN]
    total = sum(len(s) for s in long)
    if total < MIN_ANALYSIS_STEPS:
        raise SeriesTooShort(
            f"{total} usable rows (in segments of at least {MIN_ANALYSIS_RUN}); the Lyapunov analysis needs {MIN_ANALYSIS_STEPS}."
        )
    return long


def _varying(segments: list[np.ndarray], warnings: list[Warning_], clock: Clock) -> tuple[list[np.ndarray], np.ndarray]:
    """Without channels that do not vary, and which these are not."""
    lows, highs = [], []
    for s in segments:
        for first in range(0, len(s), PIECE):
            clock.tick()
            lows.append(s[first : first + PIECE].min(axis=0))
            highs.append(s[first : first + PIECE].max(axis=0))
    low, high = np.min(lows, axis=0), np.max(highs, axis=0)
    varies = high - low > 1e-12 * np.maximum(np.abs(low), np.abs(high))
    if not varies.any():
        raise ConstantSeries("No channel varies: a constant series has no dynamics to analyse.")
    kept = np.nonzero(varies)[0]
    if varies.all():
        return segments, kept
    constant = [int(i) for i in np.nonzero(~varies)[0]]
    warnings.append(
        Warning_(
            code="constant-channels", detail=f"Channels that do not vary were left out: {constant} (counted from 0)."
        )
    )
    return [s[:, varies] for s in segments], kept


def _predictable(
    segments: list[np.ndarray], channels: np.ndarray, warnings: list[Warning_], clock: Clock
) -> list[np.ndarray]:
    """Without channels of noise beside others that are forecast well; `channels` are their numbers in the series."""
    if not 1 < len(channels) <= MAX_STATE_CHANNELS:
        return segments
    clock.tick()
    noise = noise_channels(max(segments, key=len))
    if not noise:
        return segments
    warnings.append(
        Warning_(
            code="noise-channels",
            detail=f"Channels {[int(channels[c]) for c in noise]} (counted from 0) are forecast by nothing, neither by their own "
            "past nor by the other channels, which are forecast well: they are noise and were left out.",
        )
    )
    return [np.delete(s, noise, axis=1) for s in segments]


def _standardized(segments: list[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
    n = sum(len(s) for s in segments)
    mean = sum(s.sum(axis=0) for s in segments) / n
    scale = np.sqrt(sum(((s - mean) ** 2).sum(axis=0) for s in segments) / n)
    return [np.ascontiguousarray((s - mean) / scale) for s in segments], scale


def _projected(segments: list[np.ndarray], warnings: list[Warning_], clock: Clock) -> tuple[list[np.ndarray], bool]:
    """Leading principal components where channels are many, or where some are linear functions of others."""
    n = sum(len(s) for s in segments)
    covariance = sum(s.T @ s for s in segments) / n
    clock.tick()
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]
    rank = int(np.sum(values > 1e-10 * values[0]))
    width = segments[0].shape[1]
    if width <= MAX_STATE_CHANNELS and rank == width:
        return segments, False
    keep = rank if rank <= MAX_STATE_CHANNELS else PROJECTED_CHANNELS
    share = float(values[:keep].sum() / values.sum())
    if keep == rank:
        detail = f"Some channels are linear functions of others: the {width} channels were rotated onto their {rank} independent directions."
    else:
        detail = (
            f"{width} channels are too many for a fitted model: the analysis uses the {keep} leading principal components, which hold "
            f"{100 * share:.0f} % of the variance. Exponents of directions outside them are not seen."
        )
    warnings.append(Warning_(code="projected", detail=detail))
    return [s @ vectors[:, :keep] / np.sqrt(values[:keep]) for s in segments], True

"""Training, validation and test parts of a series, with their values: never across a gap or from one recording to the next."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from domain.series import Recording
from domain.specs import TrainSpec
from dynamics.partition import Run, partition

Segments = list[tuple[int, np.ndarray]]  # (first row in the series, values (T_i, N)) of each run without a gap


@dataclass(frozen=True)
class Split:
    train: Segments
    validation: Segments
    test: Segments

    def select(self, columns: list[int]) -> Split:
        """The same rows of some of the channels."""
        return Split(
            *([(first, values[:, columns]) for first, values in p] for p in (self.train, self.validation, self.test))
        )


def split(segments: Segments, spec: TrainSpec, recordings: Sequence[Recording] = ()) -> Split:
    """The parts of a series, or of a collection of `recordings`: see `dynamics.partition`."""
    parts = partition([(first, first + len(values)) for first, values in segments], spec, recordings)
    return Split(*(_rows_of(segments, runs) for runs in parts))


def held_out(segments: Segments, spec: TrainSpec, recordings: Sequence[Recording] = ()) -> Segments:
    """The test part of a series: what `train` with the same arguments never looks at."""
    return split(segments, spec, recordings).test


def bounds(segments: Segments, default: int) -> tuple[int, int]:
    """[first row, last row + 1) of a part; empty at `default`."""
    if not segments:
        return default, default
    return segments[0][0], segments[-1][0] + len(segments[-1][1])


def _rows_of(segments: Segments, runs: Sequence[Run]) -> Segments:
    """The runs, each of which lies in one segment, with their values."""
    firsts = [first for first, _ in segments]
    parts = []
    for start, stop in runs:
        first, values = segments[bisect_right(firsts, start) - 1]
        parts.append((start, values[start - first : stop - first]))
    return parts

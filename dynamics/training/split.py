"""Training, validation and test parts of a series: consecutive in time, never across a gap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from domain.specs import TrainSpec

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


def split(segments: Segments, spec: TrainSpec) -> Split:
    """The last `test_fraction` of the rows is the test part, the last `validation_fraction` of what remains validation."""
    total = sum(len(values) for _, values in segments)
    n_rest = total - round(total * spec.test_fraction)
    n_train = n_rest - round(n_rest * spec.validation_fraction)
    return Split(_cut(segments, 0, n_train), _cut(segments, n_train, n_rest), _cut(segments, n_rest, total))


def held_out(segments: Segments, spec: TrainSpec) -> Segments:
    """The test part of a series: what `train` with the same spec never looks at."""
    return split(segments, spec).test


def bounds(segments: Segments, default: int) -> tuple[int, int]:
    """[first row, last row + 1) of a part; empty at `default`."""
    if not segments:
        return default, default
    return segments[0][0], segments[-1][0] + len(segments[-1][1])


def _cut(segments: Segments, start: int, stop: int) -> Segments:
    """Rows start..stop of the segments laid end to end, still as segments."""
    parts, passed = [], 0
    for first, values in segments:
        low, high = max(start - passed, 0), min(stop - passed, len(values))
        if low < high:
            parts.append((first + low, values[low:high]))
        passed += len(values)
    return parts

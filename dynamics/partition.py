"""Which rows of a series train, choose and test: by the tail of the series, the tail of every recording, or whole recordings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from domain.errors import InvalidParameters
from domain.series import Recording
from domain.specs import TrainSpec

Run = tuple[int, int]
"""Rows [start, stop) of a series without a gap."""
Kind = Literal["series", "each", "recordings"]

FEW_RECORDINGS = 20  # from so many on, `auto` holds out whole recordings: fewer are too coarse a measure of a twentieth


class Parts(NamedTuple):
    train: list[Run]
    validation: list[Run]
    test: list[Run]


def partition(runs: Sequence[Run], spec: TrainSpec, recordings: Sequence[Recording] = ()) -> Parts:
    """The parts of a series with these runs, in order; `recordings` are those of a collection.

    `series`: the last `test_fraction` of all rows tests, the last `validation_fraction` of what remains chooses. `each`: the
    same of every recording. `recordings`: whole recordings, the last ones, as many as come nearest to the fractions, at
    least one. Raises InvalidParameters where there are too few recordings for that.
    """
    groups = _by_recording(runs, recordings)
    kind = split_kind(spec, len(groups))
    if kind == "each":
        cut = [_cut_all(group, spec) for group in groups]
        return Parts(*([run for parts in cut for run in parts[i]] for i in range(3)))
    if kind == "recordings":
        return _whole(groups, spec)
    return _cut_all(runs, spec)


def split_kind(spec: TrainSpec, n_recordings: int) -> Kind:
    """What `auto` is for so many recordings; a series that is none has one. A family of maps sees rows of every recording."""
    if spec.split != "auto":
        return spec.split if n_recordings > 1 or spec.split == "recordings" else "series"
    if n_recordings < 2:
        return "series"
    return "recordings" if n_recordings >= FEW_RECORDINGS and not spec.recording_dim else "each"


def _by_recording(runs: Sequence[Run], recordings: Sequence[Recording]) -> list[list[Run]]:
    if not recordings:
        return [list(runs)]
    groups = [[run for run in runs if r.start <= run[0] < r.stop] for r in recordings]
    return [group for group in groups if group]


def _rows(runs: Sequence[Run]) -> int:
    return sum(stop - start for start, stop in runs)


def _cut_all(runs: Sequence[Run], spec: TrainSpec) -> Parts:
    total = _rows(runs)
    n_rest = total - round(total * spec.test_fraction)
    n_train = n_rest - round(n_rest * spec.validation_fraction)
    return Parts(_cut(runs, 0, n_train), _cut(runs, n_train, n_rest), _cut(runs, n_rest, total))


def _cut(runs: Sequence[Run], start: int, stop: int) -> list[Run]:
    """Rows start..stop of the runs laid end to end, still as runs."""
    parts, passed = [], 0
    for first, last in runs:
        low, high = max(start - passed, 0), min(stop - passed, last - first)
        if low < high:
            parts.append((first + low, first + high))
        passed += last - first
    return parts


def _whole(groups: list[list[Run]], spec: TrainSpec) -> Parts:
    needed = 2 + (spec.test_fraction > 0)
    if len(groups) < needed:
        raise InvalidParameters(
            f"The series has {len(groups)} recording{'s' if len(groups) > 1 else ''}; holding out whole recordings for "
            f"{'testing and ' if needed > 2 else ''}choosing needs at least {needed}. Set split to each or series."
        )
    sizes = [_rows(group) for group in groups]
    n_test = _nearest(sizes, spec.test_fraction, len(groups) - 2) if spec.test_fraction > 0 else 0
    rest = groups[: len(groups) - n_test]
    n_validation = _nearest(sizes[: len(rest)], spec.validation_fraction, len(rest) - 1)
    n_train = len(rest) - n_validation
    flat = [[run for group in part for run in group] for part in (rest[:n_train], rest[n_train:], groups[len(rest) :])]
    return Parts(*flat)


def _nearest(sizes: list[int], fraction: float, most: int) -> int:
    """How many of the last recordings, one to `most`, hold about this fraction of all rows."""
    wanted, held, best = fraction * sum(sizes), 0, 1
    least = float("inf")
    for count in range(1, most + 1):
        held += sizes[-count]
        if abs(held - wanted) < least:
            best, least = count, abs(held - wanted)
    return best

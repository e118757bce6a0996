"""Training, choosing and testing in a collection: which rows, and that no sequence crosses from one recording to the next."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from domain.errors import InvalidParameters, SeriesTooShort
from domain.series import Recording
from domain.specs import TrainSpec
from dynamics.partition import Parts, partition
from dynamics.training.data import prepare
from dynamics.training.reference import ReferenceEngine
from dynamics.training.settings import resolve, with_recordings
from dynamics.training.split import Segments, held_out, split
from dynamics.training.splitmix import SplitMix64

JUMP = 1000.0  # between the end of one recording and the beginning of the next; within one, steps are 1


def collection(lengths: list[int]) -> list[Recording]:
    ends = np.cumsum(lengths).tolist()
    return [
        Recording(name=f"r{i}", start=end - n, stop=end, time_start=0.0)
        for i, (n, end) in enumerate(zip(lengths, ends, strict=True))
    ]


def trap(lengths: list[int]) -> Segments:
    """Ramps whose values tell their row, so that a step across a border is seen as a jump."""
    parts, first = [], 0
    for i, n in enumerate(lengths):
        parts.append((first, (np.arange(n) + JUMP * i)[:, None] + np.zeros((1, 2))))
        first += n
    return parts


def parted(lengths: list[int], **params: Any) -> Parts:
    recordings = collection(lengths)
    return partition([(r.start, r.stop) for r in recordings], TrainSpec(**params), recordings)


def test_each_recording_gives_its_tail() -> None:
    parts = parted([100, 50, 10], split="each", test_fraction=0.2, validation_fraction=0.25)
    assert parts.train == [(0, 60), (100, 130), (150, 156)]
    assert parts.validation == [(60, 80), (130, 140), (156, 158)]
    assert parts.test == [(80, 100), (140, 150), (158, 160)]


def test_whole_recordings_are_held_out() -> None:
    parts = parted([40] * 20, split="recordings", test_fraction=0.1, validation_fraction=0.05)
    assert (len(parts.train), parts.validation, parts.test) == (17, [(680, 720)], [(720, 760), (760, 800)])
    uneven = parted([100, 10, 10, 80], split="recordings", test_fraction=0.1, validation_fraction=0.05)
    assert uneven == Parts([(0, 100), (100, 110)], [(110, 120)], [(120, 200)])
    nothing = parted([30, 30], split="recordings", test_fraction=0)
    assert nothing == Parts([(0, 30)], [(30, 60)], [])
    with pytest.raises(InvalidParameters, match=r"has 2 recordings; .* at least 3"):
        parted([30, 30], split="recordings")
    gap = [Recording(name=n, start=s, stop=s + 50, time_start=0) for n, s in (("a", 0), ("b", 50), ("c", 100))]
    runs = [(0, 20), (23, 50), (50, 100), (100, 130), (131, 150)]  # a gap does not part a recording
    assert partition(runs, TrainSpec(split="recordings"), gap).test == [(100, 130), (131, 150)]


def test_auto_goes_by_the_number_of_recordings() -> None:
    lengths = [60] * 19
    assert parted(lengths) == parted(lengths, split="each")
    assert parted([60] * 20) == parted([60] * 20, split="recordings")
    assert parted([1200]) == parted([1200], split="series") == Parts([(0, 1026)], [(1026, 1080)], [(1080, 1200)])
    series = parted([60] * 20, split="series")
    assert series.test == [(60 * 18, 60 * 19), (60 * 19, 1200)]


@pytest.mark.parametrize("kind", ["series", "each", "recordings"])
def test_every_row_has_one_part_and_none_crosses_a_border(kind: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        lengths = [int(n) for n in rng.integers(2, 90, rng.integers(3, 9))]
        recordings = collection(lengths)
        parts = split(trap(lengths), TrainSpec(split=kind, test_fraction=0.3), recordings)
        rows = [
            row
            for part in (parts.train, parts.validation, parts.test)
            for first, v in part
            for row in range(first, first + len(v))
        ]
        assert sorted(rows) == list(range(sum(lengths)))
        for part in (parts.train, parts.validation, parts.test):
            for first, values in part:
                inside = next(r for r in recordings if r.holds(first))
                assert first + len(values) <= inside.stop
                np.testing.assert_array_equal(
                    values[:, 0], trap(lengths)[recordings.index(inside)][1][first - inside.start :][: len(values), 0]
                )
        assert [f for f, _ in held_out(trap(lengths), TrainSpec(split=kind, test_fraction=0.3), recordings)] == [
            f for f, _ in parts.test
        ]


@pytest.mark.parametrize("kind", ["series", "each", "recordings"])
@pytest.mark.parametrize("lags", [[0], [0, 3]])
def test_no_training_sequence_crosses_a_border(kind: str, lags: list[int]) -> None:
    lengths = [80, 33, 16, 60, 14, 41]
    spec = TrainSpec.model_validate(
        {
            "sequence_length": 12,
            "embedding_lags": lags,
            "split": kind,
            "regularization": {"smoothing": "off"},
            "standardize": False,
        }
    )
    parts = split(trap(lengths), spec, collection(lengths))
    settings = resolve(spec, parts, 2, 1.0, None)
    data = prepare(parts, settings, ["a", "b"])
    engine = ReferenceEngine(settings, data)
    random = SplitMix64(np.array([3], np.uint64))
    drawn = np.concatenate([engine._draw(random)[0].numpy() for _ in range(100)], axis=1)  # (T+1, B, N_e)
    assert np.abs(np.diff(drawn, axis=0) - 1).max() < 1e-3
    assert (np.abs(drawn[..., 0] - drawn[..., -1] - lags[-1]) < 1e-3).all()  # nor does a delay reach across one
    seen = {int(value // JUMP) for value in drawn[0, :, 0]}
    usable = {int(values[0, 0] // JUMP) for _, values in parts.train if len(values) >= 13 + lags[-1]}
    assert seen == usable
    assert len(usable) >= 3


def test_sequences_become_as_short_as_short_recordings_want() -> None:
    lengths = [40] * 30 + [7]
    spec = TrainSpec()
    recordings = collection(lengths)
    parts = split(trap(lengths), spec, recordings)
    settings = resolve(spec, parts, 2, 1.0, None)
    assert settings.sequence_length == 20
    assert "half of the 40 rows" in settings.why["sequence_length"]
    shorter = collection([40] * 25 + [7] + [40] * 5)
    parts = split(trap([r.stop - r.start for r in shorter]), spec, shorter)
    settings = resolve(spec, parts, 2, 1.0, None)
    assert settings.why.get("recordings") is None
    named = with_recordings(settings, parts.train, shorter).why["recordings"]
    held = [r.name for r in shorter if not any(r.holds(first) for first, _ in parts.train)]
    assert named.startswith(f"{len(held) + 1} of 31 recordings give no training sequence, which takes 21 rows")
    assert named.endswith(": " + ", ".join(map(repr, ["r25", *held])))


def test_recordings_that_are_too_short_for_any_sequence_say_what_to_do() -> None:
    lengths = [8] * 40
    parts = split(trap(lengths), TrainSpec(), collection(lengths))
    with pytest.raises(
        SeriesTooShort,
        match=r"has 8 rows; a sequence of 10 steps needs 11\. Send longer recordings, or lower sequence_length",
    ):
        resolve(TrainSpec(), parts, 2, 1.0, None)
    assert resolve(TrainSpec(sequence_length=5), parts, 2, 1.0, None).sequence_length == 5

"""The audit against slow, obvious oracles, and against series whose faults are known because they were put there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import naive
from domain.errors import (
    ConstantSeries,
    DomainError,
    DuplicateTimes,
    InvalidParameters,
    InvalidSeries,
    IrregularSampling,
    NonFiniteValues,
    SeriesTooShort,
    UnorderedTimes,
)
from domain.series import MissingPolicy, SeriesSpec
from dynamics.audit import AuditedSeries, audit
from dynamics.audit import places as audit_places

rng = np.random.default_rng(0)
NAN = np.nan


def run(values: object, times: object = None, **spec: object) -> AuditedSeries:
    array = np.array(values, dtype=float)
    array = array[:, None] if array.ndim == 1 else array
    clock = None if times is None else np.array(times, dtype=float)
    channels = [f"c{i}" for i in range(array.shape[1])]
    return audit(array, clock, channels, SeriesSpec.model_validate(spec), time_column="t")


def refused(error: type[DomainError], *args: object, **spec: object) -> DomainError:
    with pytest.raises(error) as caught:
        run(*args, **spec)
    return caught.value


def codes(audited: AuditedSeries) -> list[str]:
    return [issue.code for issue in audited.profile.issues]


def segments(audited: AuditedSeries) -> list[tuple[int, int]]:
    return [(s.start, s.stop) for s in audited.profile.segments]


def test_good_series_passes_untouched() -> None:
    values = rng.normal(size=(1000, 3))
    audited = run(values, dt=0.01, time_unit="s")
    assert audited.values.tobytes() == values.tobytes()
    assert (audited.dt, audited.time_unit, audited.time_start) == (0.01, "s", 0.0)
    assert audited.profile.issues == []
    assert audited.profile.n_steps == audited.profile.n_usable_steps == 1000
    assert audited.profile.duration == pytest.approx(9.99)
    assert segments(audited) == [(0, 1000)]


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    values = rng.normal(size=(2000, 2))
    values[[5, 700, 701], 0] = NAN
    times = 3.0 + np.arange(2000) * 0.1
    times[1200:] += 0.5
    whole = run(values, times, missing="split")
    monkeypatch.setattr(audit_places, "BLOCK_VALUES", 7)
    pieces = run(values, times, missing="split")
    assert pieces.values.tobytes() == whole.values.tobytes()
    left, right = pieces.profile.model_dump(), whole.profile.model_dump()
    assert [c.pop("mean") for c in left["channels"]] == pytest.approx([c.pop("mean") for c in right["channels"]])
    assert [c.pop("std") for c in left["channels"]] == pytest.approx([c.pop("std") for c in right["channels"]])
    assert left == right


finite = st.floats(-1e6, 1e6, allow_subnormal=False)
arrays = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=40),
    elements=st.one_of(finite, st.just(NAN)),
)


@settings(max_examples=200, deadline=None)
@given(arrays)
def test_split_and_statistics_agree_with_the_oracle(values: np.ndarray) -> None:
    expected = [run for run in naive.finite_runs(values) if run[1] - run[0] >= 2]
    try:
        audited = run(values, missing="split")
    except SeriesTooShort:
        assert not expected
        return
    except ConstantSeries:
        assert all(len(set(column[np.isfinite(column)])) == 1 for column in values.T)
        return
    assert segments(audited) == expected
    assert np.array_equal(audited.values, values, equal_nan=True)
    for profile, column in zip(audited.profile.channels, values.T, strict=True):
        known = column[np.isfinite(column)]
        assert profile.minimum == known.min()
        assert profile.maximum == known.max()
        assert profile.mean == pytest.approx(known.mean(), rel=1e-9, abs=1e-6)
        assert profile.std == pytest.approx(known.std(), rel=1e-6, abs=1e-6)
        assert profile.n_unique == len(set(known.tolist()))
        assert profile.n_missing == len(column) - len(known)


@settings(max_examples=200, deadline=None)
@given(arrays, st.integers(1, 5))
def test_interpolation_agrees_with_the_oracle(values: np.ndarray, max_gap: int) -> None:
    columns = [naive.fill_linearly(column.tolist(), max_gap) for column in values.T]
    try:
        audited = run(values, missing="interpolate", max_gap=max_gap)
    except NonFiniteValues:
        assert any(column is None for column in columns)
        return
    except ConstantSeries:
        assert all(column is not None and len(set(column)) == 1 for column in columns)
        return
    known = np.isfinite(values)
    assert audited.values[known].tobytes() == values[known].tobytes()
    assert np.allclose(audited.values, np.array(columns, dtype=float).T, rtol=1e-9, atol=1e-6)
    filled = {issue.pointer: issue.n_rows for issue in audited.profile.issues if issue.code == "interpolated_values"}
    missing = (~known).sum(axis=0)
    assert filled == {f"/columns/c{i}": n for i, n in enumerate(missing.tolist()) if n}


def test_standard_deviation_far_from_zero() -> None:
    values = 1e9 + rng.normal(size=100_000)
    profile = run(values).profile.channels[0]
    assert profile.std == pytest.approx(np.std(values - 1e9), rel=1e-6)


def test_missing_values_are_refused_with_rows_and_channels() -> None:
    values = rng.normal(size=(100, 2))
    values[10:40, 0] = NAN
    values[50, 1] = -np.inf
    error = refused(NonFiniteValues, values)
    assert "31 of 200 values are missing or not finite ('c0': 30, 'c1': 1)" in error.detail
    assert [(e.pointer, e.rows) for e in error.errors] == [
        ("/columns/c0", list(range(10, 30))),
        ("/columns/c1", [50]),
    ]


def test_split_turns_infinity_into_nan_and_keeps_the_rest_of_the_row() -> None:
    audited = run([[1, 2], [2, 3], [np.inf, 4], [4, 5], [5, 7]], missing="split")
    assert np.array_equal(audited.values[2], [NAN, 4.0], equal_nan=True)
    assert segments(audited) == [(0, 2), (3, 5)]
    assert audited.profile.n_usable_steps == 4
    issue = next(i for i in audited.profile.issues if i.code == "split_at_missing")
    assert (issue.rows, issue.n_rows) == ([2], 1)


def test_split_names_rows_that_stand_alone() -> None:
    audited = run([1, 2, NAN, 3, NAN, 5, 6], missing="split")
    assert segments(audited) == [(0, 2), (5, 7)]
    assert next(i for i in audited.profile.issues if i.code == "isolated_rows").rows == [3]


def test_split_into_too_many_pieces() -> None:
    values = np.tile([1.0, 2.0, NAN], 10_001)
    assert "10001 pieces" in refused(NonFiniteValues, values, missing="split").detail


@pytest.mark.parametrize("dt", [0.01, 0.1, 1 / 3, 0.0025, 7.0, 1e-9, 123456.789])
@pytest.mark.parametrize("start", [0.0, 17.3, -4.0])
def test_dt_is_read_from_the_times(dt: float, start: float) -> None:
    audited = run(np.sin(np.arange(5000.0)), start + np.arange(5000) * dt)
    assert audited.dt == pytest.approx(dt, rel=1e-7)
    if dt != 1 / 3 and abs(start) < 5000 * dt:
        assert audited.dt == dt  # the shortest decimal that explains the times
    assert audited.time_start == start


def test_dt_of_jittered_times_is_their_mean_step() -> None:
    times = np.arange(10_000) * 0.5 + rng.uniform(-0.001, 0.001, 10_000)
    audited = run(rng.normal(size=10_000), times)
    assert audited.dt == pytest.approx((times[-1] - times[0]) / 9999, rel=1e-12)


def test_dt_given_with_times_wins_within_their_rounding() -> None:
    dt = 0.012345678901234567
    assert run(np.arange(9.0) ** 2, np.arange(9) * dt, dt=dt).dt == dt


def test_dt_against_the_times() -> None:
    error = refused(InvalidParameters, np.arange(99.0), np.arange(99) * 0.01, dt=0.0101)
    assert error.errors[0].pointer == "/dt"
    assert "0.01" in error.detail


def test_without_dt_a_step_is_the_unit() -> None:
    audited = run(rng.normal(size=1000))
    assert (audited.dt, audited.time_unit) == (1.0, "step")
    assert codes(audited) == ["dt_assumed"]


def test_a_unit_of_time_that_nobody_named_is_remarked() -> None:
    values = rng.normal(size=1000)
    assert codes(run(values, dt=0.5)) == ["time_unit_unknown"]
    assert codes(run(values, np.arange(1000.0))) == ["time_unit_unknown"]
    assert codes(run(values, dt=0.5, time_unit="h")) == []


@pytest.mark.parametrize(
    ("times", "error", "rows"),
    [
        ([0, 1, 2, 2, 3, 4, 4], DuplicateTimes, [3, 6]),
        ([0, 1, 2, 1, 2, 3], UnorderedTimes, [3]),
        ([0, 1, 2, 3, 4.02, 5], IrregularSampling, [4, 5]),
        ([0, 1, NAN, 3], NonFiniteValues, [2]),
        ([0, 1, 2, 1e200], InvalidSeries, [3]),
        ([0, 1, 2, 3, 5, 6, 7, 9], NonFiniteValues, [4, 7]),
    ],
)
def test_faulty_clocks(times: list[float], error: type[DomainError], rows: list[int]) -> None:
    found = refused(error, np.arange(len(times)) ** 1.5, times)
    assert type(found) is error
    assert [(e.pointer, e.rows) for e in found.errors] == [("/columns/t", rows)]


def test_one_percent_of_a_step_is_tolerated() -> None:
    values = np.arange(100.0) ** 1.1
    times = np.arange(100.0)
    times[50] += 0.0099
    assert run(values, times).dt == pytest.approx(1.0, rel=1e-3)
    times[50] += 0.001
    refused(IrregularSampling, values, times)


def test_gaps_in_time_split_the_series_without_inventing_rows() -> None:
    times = np.array([0, 0.5, 1.0, 4.25, 4.75, 5.25, 9.25, 9.75]) + 100
    audited = run([1, 2, 3, 4, 5, 6, 7, 9], times, missing="split")
    assert segments(audited) == [(0, 3), (3, 6), (6, 8)]
    assert [s.time_start for s in audited.profile.segments] == [100.0, 104.25, 109.25]
    assert audited.time_start == 100.0
    assert len(audited.values) == 8
    assert next(i for i in audited.profile.issues if i.code == "split_at_gap").rows == [3, 6]


def test_gaps_in_time_and_in_values_together() -> None:
    times = [0, 1, 2, 3, 10, 11, 12, 13]
    audited = run([1, 2, NAN, 4, 5, 6, NAN, 9], times, missing="split")
    assert segments(audited) == [(0, 2), (4, 6)]


def test_interpolation_inserts_the_missing_steps() -> None:
    times = np.array([0, 1, 2, 5, 6, 8]) * 0.1
    values = times * 10
    audited = run(np.stack([values, values**2], axis=1), times, missing="interpolate")
    assert audited.dt == pytest.approx(0.1)
    assert np.allclose(audited.values[:, 0], np.arange(9))
    assert np.allclose(audited.values[[3, 4, 7], 1], [11, 18, 50])
    issue = next(i for i in audited.profile.issues if i.code == "interpolated_steps")
    assert (issue.rows, issue.n_rows) == ([3, 4, 7], 3)
    assert segments(audited) == [(0, 9)]


def test_interpolation_counts_inserted_steps_towards_max_gap() -> None:
    times, values = [0, 1, 2, 4, 5, 6], [1, 2, NAN, NAN, 5, 6]
    assert "the longest: 3" in refused(NonFiniteValues, values, times, missing="interpolate", max_gap=2).detail
    assert np.allclose(run(values, times, missing="interpolate", max_gap=3).values[:, 0], [1, 2, 2.75, 3.5, 4.25, 5, 6])


def test_interpolation_never_invents_more_than_was_measured() -> None:
    values = rng.normal(size=6)
    times = np.cumsum([0, 1, 1, 1, 9000, 1])
    error = refused(NonFiniteValues, values, times, missing="interpolate", max_gap=10_000)
    assert "more would be invented than was measured" in error.detail


def test_interpolation_refuses_gaps_off_the_grid() -> None:
    error = refused(IrregularSampling, range(6), [0, 1, 2, 3, 5.4, 6.4], missing="interpolate")
    assert error.errors[0].rows == [4]


@pytest.mark.parametrize("policy", list(MissingPolicy))
def test_the_callers_array_is_never_written(policy: MissingPolicy) -> None:
    values = np.array([[1.0], [2.0], [NAN], [4.0], [5.0]])
    before = values.tobytes()
    values.flags.writeable = False
    if policy is MissingPolicy.REJECT:
        refused(NonFiniteValues, values, missing=policy)
    else:
        assert run(values, missing=policy).values is not values
    assert values.tobytes() == before


@pytest.mark.parametrize("values", [np.zeros((0, 1)), np.ones((1, 2))])
def test_too_short(values: np.ndarray) -> None:
    refused(SeriesTooShort, values)


def test_constant_channels() -> None:
    assert "channel 'c0' is constant" in refused(ConstantSeries, np.full(50, 0.1)).detail
    assert "all 3 channels" in refused(ConstantSeries, np.ones((50, 3))).detail
    mixed = run(np.stack([np.full(1000, 0.1), rng.normal(size=1000)], axis=1), dt=1, time_unit="s")
    issue = mixed.profile.issues[0]
    assert (issue.code, issue.severity, issue.pointer) == ("constant_channel", "warning", "/columns/c0")
    assert mixed.profile.channels[0].std == 0.0


def test_nearly_constant_channel() -> None:
    values = np.stack([1 + 1e-13 * rng.normal(size=1000), rng.normal(size=1000)], axis=1)
    assert codes(run(values, dt=1, time_unit="s")) == ["nearly_constant_channel"]


def test_outliers_are_named() -> None:
    values = rng.normal(size=(5000, 2))
    values[[17, 1234], 1] = [500.0, -300.0]
    (issue,) = run(values, dt=1, time_unit="s").profile.issues
    assert (issue.code, issue.pointer, issue.rows) == ("outliers", "/columns/c1", [17, 1234])


def test_few_levels() -> None:
    assert codes(run(rng.integers(0, 16, 1000), dt=1, time_unit="s")) == ["few_levels"]
    assert run(rng.integers(0, 5000, 20_000), dt=1, time_unit="s").profile.channels[0].n_unique == 1000


def test_few_steps() -> None:
    assert codes(run(rng.normal(size=100), dt=1, time_unit="s")) == ["few_steps"]


def test_numbers_too_large_to_compute_with() -> None:
    error = refused(InvalidSeries, [[1, 2], [3, 1e101], [4, 5]])
    assert [(e.pointer, e.rows) for e in error.errors] == [("/columns/c1", [1])]
    refused(InvalidParameters, [1, 2, 3], dt=1e-200)


def test_pointers_are_escaped() -> None:
    with pytest.raises(NonFiniteValues) as caught:
        audit(np.array([[1.0], [NAN]]), None, ["a/b~c"], SeriesSpec())
    assert caught.value.errors[0].pointer == "/columns/a~1b~0c"


def test_audits_a_memory_map_into_a_memory_map(tmp_path) -> None:  # type: ignore[no-untyped-def]
    values = rng.normal(size=(1000, 2))
    values[500, 0] = NAN
    np.save(tmp_path / "values.npy", values)

    def allocate(shape: tuple[int, int]) -> np.memmap:
        return np.lib.format.open_memmap(tmp_path / "result.npy", mode="w+", dtype=np.float64, shape=shape)

    mapped = np.load(tmp_path / "values.npy", mmap_mode="r")
    audited = audit(mapped, None, ["x", "y"], SeriesSpec(missing="interpolate"), allocate=allocate)
    assert isinstance(audited.values, np.memmap)
    assert audited.values[500, 0] == pytest.approx((values[499, 0] + values[501, 0]) / 2)

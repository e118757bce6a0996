"""What becomes a series, and how: arrays, lists, tables of pandas and polars, files."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from attractor_client import Client, DataError, InvalidSeries
from attractor_client._series import as_table, as_upload

ROWS = np.random.default_rng(0).normal(size=(40, 2))


def sent(data: Any, channels: list[str] | None = None, **fields: Any) -> tuple[np.ndarray, dict[str, str]]:
    """The array that is uploaded, and the fields beside it."""
    [file], form = as_upload(data, fields, channels)
    assert isinstance(file.content, bytes)
    return np.load(io.BytesIO(file.content), allow_pickle=False), form


@given(
    hnp.arrays(
        st.sampled_from(["f8", "f4", "i8", "i2", "u1", "?"]),
        hnp.array_shapes(min_dims=1, max_dims=2, max_side=6),
        elements={"allow_nan": True, "allow_infinity": True},
    )
)
def test_arrays_arrive_as_they_are(array: np.ndarray) -> None:
    values, form = sent(array)
    assert values.dtype == np.float64
    np.testing.assert_array_equal(values, array[:, None] if array.ndim == 1 else array)
    assert form == {}


@given(st.lists(st.lists(st.one_of(st.floats(), st.none()), min_size=2, max_size=2), min_size=1, max_size=5))
def test_lists_arrive_too_and_none_is_a_gap(rows: list[list[float | None]]) -> None:
    values, _ = sent(rows)
    np.testing.assert_array_equal(values, [[np.nan if v is None else v for v in row] for row in rows])


@given(st.lists(st.text(min_size=1, max_size=5), min_size=2, max_size=2, unique=True))
def test_names_of_channels_survive(names: list[str]) -> None:
    _, form = sent(pd.DataFrame(ROWS, columns=names))
    assert json.loads(form["channels"]) == names
    _, form = sent(pl.DataFrame(ROWS, schema=names, orient="row"))
    assert json.loads(form["channels"]) == names


def test_a_fortran_array_and_a_view_of_one_are_the_same_series() -> None:
    expected, _ = sent(ROWS)
    for array in (np.asfortranarray(ROWS), np.repeat(ROWS, 2, axis=0)[::2]):
        values, _ = sent(array)
        np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((2, 2, 2, 2)), "shape"),
        (np.zeros((0, 2)), "shape"),
        (5.0, "shape"),
        (np.array([1 + 2j]), "complex128"),
        (["a", "b"], "There is no file 'a'"),
        ([[1.0], [1.0, 2.0]], "no table of numbers"),
        (pd.DataFrame({"x": ["a", "b"]}), "Column 'x' holds no numbers"),
        (pd.DataFrame(ROWS, columns=["x", "x"]), "differ"),
        (pd.DataFrame({"t": pd.to_datetime(["2026-01-01"])}), "nothing else"),
        (pd.DataFrame({"x": []}), "no rows"),
        (pd.Series([1.0, 2.0], index=pd.to_datetime(["2026-01-01", None])), "time of row 1 is missing"),
        ("nowhere.csv", "There is no file 'nowhere.csv'"),
        (Path("nowhere.csv"), "There is no file"),
    ],
)
def test_what_is_no_table_of_numbers_is_said(data: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        as_upload(data, {})


def test_the_number_of_names_must_fit() -> None:
    with pytest.raises(DataError, match="3 names for 2 columns"):
        as_upload(ROWS, {}, ["a", "b", "c"])


def test_a_plain_index_is_no_clock() -> None:
    for index in (None, pd.RangeIndex(5, 45), pd.Index(np.arange(100, 140))):
        values, form = sent(pd.DataFrame(ROWS, columns=["x", "y"], index=index))
        assert values.shape == (40, 2)
        assert form == {"channels": '["x", "y"]'}


def test_a_numeric_index_is_a_clock() -> None:
    values, form = sent(pd.Series(ROWS[:, 0], index=pd.Index(0.25 * np.arange(40), name="t"), name="x"))
    np.testing.assert_array_equal(values, np.column_stack([0.25 * np.arange(40), ROWS[:, 0]]))
    assert form == {"channels": '["t", "x"]', "time_column": "t"}


DAY = datetime(2026, 3, 1, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame(ROWS, columns=["x", "y"], index=pd.date_range("2026-03-01", periods=40, freq="20ms")),
        pd.DataFrame(ROWS, columns=["x", "y"], index=pd.date_range("2026-03-01", periods=40, freq="20ms", tz="UTC")),
        pd.DataFrame({"time": pd.date_range("2026-03-01", periods=40, freq="20ms"), "x": ROWS[:, 0], "y": ROWS[:, 1]}),
        pl.DataFrame(
            {
                "x": ROWS[:, 0],
                "time": [datetime(2026, 3, 1) + k * timedelta(milliseconds=20) for k in range(40)],
                "y": ROWS[:, 1],
            }
        ),
    ],
    ids=["index", "with a zone", "column", "polars"],
)
def test_dates_become_the_clock(client: Client, table: Any) -> None:
    series = client.upload(table)
    assert (series.channels, series.dt, series.time_unit) == (["x", "y"], 0.02, "s")
    assert series.time_start == pytest.approx(DAY, abs=1e-3)
    np.testing.assert_array_equal(series.values(), ROWS)


def test_a_fast_clock_keeps_its_step(client: Client) -> None:
    series = client.upload(pd.Series(ROWS[:, 0], index=pd.date_range("2026-03-01", periods=40, freq="5us"), name="v"))
    assert (series.dt, series.time_start, series.channels) == (5e-6, 0.0, ["v"])


def test_durations_and_periods_become_the_clock(client: Client) -> None:
    durations = pd.timedelta_range("1h", periods=40, freq="30s")
    assert client.upload(pd.Series(ROWS[:, 0], index=durations)).dt == 30
    months = pd.Series(ROWS[:, 0], index=pd.period_range("2026-01-01", periods=40, freq="D"))
    assert client.upload(months).dt == 86_400


def test_gaps_in_the_clock_are_the_services_to_judge(client: Client) -> None:
    table = pd.DataFrame(ROWS, columns=["x", "y"], index=pd.date_range("2026-03-01", periods=40, freq="1s"))
    with pytest.raises(InvalidSeries):
        client.upload(table.drop(table.index[5]))
    assert len(client.upload(table.drop(table.index[5]), missing="split").profile.segments) == 2


def test_nulls_of_tables_are_gaps(client: Client) -> None:
    values = [1.0, None, *ROWS[:38, 0]]
    for table in (pd.DataFrame({"x": values}), pl.DataFrame({"x": values}), pd.DataFrame({"x": pd.array(values)})):
        np.testing.assert_array_equal(as_table(table).values[:, 0], np.array(values, float))
    with pytest.raises(InvalidSeries) as caught:
        client.upload(pl.DataFrame({"x": values}))
    assert caught.value.errors[0].rows == [1]


def test_columns_of_tables(client: Client) -> None:
    assert as_table(pl.Series("p", [1.0, 2.0])).channels == ["p"]
    assert as_table(pd.Series([1.0, 2.0])).channels == ["x0"]
    assert as_table(pd.DataFrame(ROWS)).channels == ["0", "1"]
    assert as_table(pd.DataFrame({"x": [True, False]})).values[:, 0].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("suffix", [".csv", ".npy", ".parquet"])
def test_files_go_up_as_they_are(client: Client, tmp_path: Path, suffix: str) -> None:
    path, table = tmp_path / f"data{suffix}", pl.DataFrame(ROWS, schema=["a", "b"], orient="row")
    if suffix == ".csv":
        table.write_csv(path)
    elif suffix == ".parquet":
        table.write_parquet(path)
    else:
        np.save(path, ROWS)
    series = client.upload(str(path), dt=0.5, channels=["a", "b"] if suffix == ".npy" else None)
    assert (series.channels, series.dt) == (["a", "b"], 0.5)
    np.testing.assert_array_equal(series.values(), ROWS)
    assert series.raw["source"]["file_name"] == path.name


def test_several_recordings_are_files_with_names(tmp_path: Path) -> None:
    parts = {"rest": ROWS, "task.2": ROWS[:7]}
    frames = pd.concat([pd.DataFrame(p, columns=["x", "y"]).assign(who=n) for n, p in parts.items()], ignore_index=True)
    cases: list[tuple[Any, dict[str, Any], list[str]]] = [
        (parts, {}, ["rest.npy", "task.2.npy"]),
        (list(parts.values()), {}, ["0.npy", "1.npy"]),
        (np.stack([ROWS, ROWS + 1]), {}, ["0.npy", "1.npy"]),
        (frames, {"recording_column": "who"}, ["rest.npy", "task.2.npy"]),
        (pl.from_pandas(frames), {"recording_column": "who"}, ["rest.npy", "task.2.npy"]),
    ]
    for data, fields, names in cases:
        files, form = as_upload(data, fields)
        assert [file.name for file in files] == names
        assert "recording_column" not in form
        first = np.load(io.BytesIO(files[0].content), allow_pickle=False)  # type: ignore[arg-type]
        np.testing.assert_array_equal(first, ROWS)
    paths = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for path in paths:
        path.write_text("x\n1\n2\n")
    files, form = as_upload(paths, {"recording_column": "who"})
    assert ([f.name for f in files], [f.content for f in files], form) == (
        ["a.csv", "b.csv"],
        paths,
        {"recording_column": "who"},
    )


def test_recordings_that_do_not_fit_together_are_refused() -> None:
    frame = pd.DataFrame(ROWS, columns=["x", "y"])
    with pytest.raises(DataError, match="Recording 'b' differs from 'a' in channels"):
        as_upload({"a": frame, "b": frame.rename(columns={"y": "z"})}, {})
    with pytest.raises(DataError, match="'a/b' cannot be the name"):
        as_upload({"a/b": ROWS}, {})
    with pytest.raises(DataError, match="Several recordings are a list of arrays"):
        as_upload([np.zeros(3), np.zeros(4)], {})
    with pytest.raises(DataError, match="no column 'who'"):
        as_upload(frame, {"recording_column": "who"})

"""Parsers against readers that know nothing of them: the csv module, numpy, json, datetime."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.series.parsing import parquet_process
from api.series.parsing.csv import open_csv
from api.series.parsing.json import open_json, read_document
from api.series.parsing.npy import open_npy
from api.series.parsing.parquet import open_parquet
from api.series.parsing.table import Limits, Table, resolve
from domain.errors import DomainError, InvalidParameters, MalformedFile, NonNumericValues
from domain.series import SeriesSpec
from dynamics.audit import places

LIMITS = Limits(rows=10**6, channels=100, values=10**7, json_bytes=10**6)
SMALL_BLOCKS = Limits(rows=10**6, channels=100, values=10**7, json_bytes=10**6, line_bytes=200)
rng = np.random.default_rng(1)
every_float = st.floats(allow_nan=False, allow_infinity=False)
sloppy = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(params=["whole", "in small blocks"])
def limits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Limits:
    if request.param == "whole":
        return LIMITS
    monkeypatch.setattr(places, "BLOCK_VALUES", 12)
    return SMALL_BLOCKS


def read(table: Table) -> tuple[np.ndarray | None, np.ndarray]:
    blocks = list(table.blocks)
    times = None if blocks[0][0] is None else np.concatenate([t for t, _ in blocks if t is not None])
    return times, np.concatenate([values for _, values in blocks])


def parse_csv(folder: Path, text: str | bytes, limits: Limits = LIMITS, **spec: object) -> Table:
    path = folder / "upload"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return open_csv(path, SeriesSpec.model_validate(spec), limits)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal to the bit, but for the sign and payload of NaN."""
    return a.shape == b.shape and bool(np.all((a.view(np.int64) == b.view(np.int64)) | (np.isnan(a) & np.isnan(b))))


# CSV


@sloppy
@given(
    rows=st.integers(1, 4).flatmap(
        lambda n: st.lists(st.lists(every_float, min_size=n, max_size=n), min_size=2, max_size=30)
    ),
    separator=st.sampled_from([",", ";", "\t"]),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    header=st.booleans(),
    quoted=st.booleans(),
    mark=st.booleans(),
)
def test_csv_as_the_csv_module_reads_it(
    tmp_path: Path, rows: list[list[float]], separator: str, line_end: str, header: bool, quoted: bool, mark: bool
) -> None:
    buffer = io.StringIO(newline="")
    quoting = csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL
    writer = csv.writer(buffer, delimiter=separator, lineterminator=line_end, quoting=quoting)
    names = [f"channel {i}" for i in range(len(rows[0]))]
    writer.writerows([names, *rows] if header else rows)
    table = parse_csv(tmp_path, ("\ufeff" if mark else "") + buffer.getvalue())
    times, values = read(table)
    buffer.seek(0)
    expected = [[float(cell) for cell in row] for row in list(csv.reader(buffer, delimiter=separator))[header:]]
    assert times is None
    assert same(values, np.array(expected))
    assert table.columns.channels == (names if header else [f"x{i}" for i in range(len(names))])


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_csv_in_many_blocks(tmp_path: Path, limits: Limits, line_end: bytes) -> None:
    values = rng.normal(size=(500, 3)) * 10.0 ** rng.integers(-300, 300, (500, 3))
    lines = [
        b"t,a,b,c",
        *(b",".join(repr(x).encode() for x in [i * 0.5, *row]) for i, row in enumerate(values.tolist())),
    ]
    times, found = read(parse_csv(tmp_path, line_end.join(lines), limits))
    assert times is not None
    assert same(times, np.arange(500) * 0.5)
    assert same(found, values)


def test_csv_rows_are_counted_across_blocks(tmp_path: Path) -> None:
    rows = [f"{i},{i}" for i in range(300)]
    rows[70], rows[222], rows[250] = "70,low", "222", "1,2,3"
    with pytest.raises(MalformedFile) as ragged:
        read(parse_csv(tmp_path, "\n".join(["a,b", *rows]), SMALL_BLOCKS))
    assert ragged.value.errors[0].rows == [222, 250]
    rows[222] = rows[250] = "0,high"
    with pytest.raises(NonNumericValues) as text:
        read(parse_csv(tmp_path, "\n".join(["a,b", *rows]), SMALL_BLOCKS))
    assert text.value.errors[0].rows == [70, 222, 250]
    assert "row 70: 'low'" in text.value.detail


@pytest.mark.parametrize("separator", ["\t", ";", " "])
def test_decimal_comma(tmp_path: Path, separator: str) -> None:
    text = "\n".join(
        separator.join(f"{x:.3f}".replace(".", ",") for x in row) for row in [(0.5, 1), (1.5, -2), (2.5, 1e3)]
    )
    table = parse_csv(tmp_path, text)
    assert np.array_equal(read(table)[1], [[0.5, 1], [1.5, -2], [2.5, 1000]])
    assert table.details["decimal_sign"] == "comma"


def test_decimal_comma_in_quotes(tmp_path: Path) -> None:
    assert np.array_equal(read(parse_csv(tmp_path, '"0,5","1,25"\n"1,5","2"\n'))[1], [[0.5, 1.25], [1.5, 2.0]])


def test_what_savetxt_writes(tmp_path: Path) -> None:
    values = rng.normal(size=(50, 2))
    for options in ({}, {"delimiter": ","}, {"delimiter": "\t", "header": "made by\nt\tx"}):
        np.savetxt(tmp_path / "upload", values, **options)
        table = open_csv(tmp_path / "upload", SeriesSpec(), LIMITS)
        times, found = read(table)
        if "header" in options:
            assert table.columns.channels == ["x"]
            assert times is not None
            found = np.column_stack([times, found])
        assert same(found, values)


@pytest.mark.parametrize("cell", ["", "NA", "N/A", "#N/A", "NaN", "nan", "null", "NULL", "None", '""', "  ", " NA "])
def test_missing_cells(tmp_path: Path, cell: str) -> None:
    _, values = read(parse_csv(tmp_path, f"x,y\n1,2\n{cell},3\n4,5\n"))
    assert np.array_equal(values, [[1, 2], [np.nan, 3], [4, 5]], equal_nan=True)


def test_blank_lines(tmp_path: Path) -> None:
    """Between rows of several columns they are nothing; in a single column a missing value, but not at the end."""
    assert np.array_equal(read(parse_csv(tmp_path, "x,y\n1,2\n\n3,4\n\n\n"))[1], [[1, 2], [3, 4]])
    _, values = read(parse_csv(tmp_path, "x\n1\n\n3\n\n\n\r\n"))
    assert np.array_equal(values[:, 0], [1, np.nan, 3], equal_nan=True)


@pytest.mark.parametrize("cell", ["+1.5", " 1.5", "1.5 ", "1.5e0", ".15E1", "15e-1", "\t1.5"])
def test_ways_to_write_a_number(tmp_path: Path, cell: str) -> None:
    assert read(parse_csv(tmp_path, f"x,y\n1,2\n{cell},3\n"))[1][1, 0] == 1.5


@pytest.mark.parametrize("cell", ["1_000", "0x10", "1,5", "1.5.2", "--1", "1e", "½", "one", "True", "1 2", "1.000.000"])
def test_what_is_no_number(tmp_path: Path, cell: str) -> None:
    with pytest.raises(NonNumericValues, match="row 1"):
        read(parse_csv(tmp_path, f'x;y\n1.5;2\n"{cell}";3\n'))


# Names and clocks


@pytest.mark.parametrize(
    ("header", "time", "unit"),
    [
        ("t,x", "t", ""),
        ("x,Time", "Time", ""),
        ("time_ms,x", "time_ms", "ms"),
        ("Time (s),x", "Time (s)", "s"),
        ("t [min],x", "t [min]", "min"),
        ("t/h,x", "t/h", "h"),
        ("timestamp,x", "timestamp", ""),
        ("index,x", "index", ""),
        (",x", "index", ""),
        ("index,t,x", "t", ""),
        ("x,T", None, ""),
        ("x,tau", None, ""),
        ("temperature,time_constant", None, ""),
    ],
)
def test_which_column_is_the_clock(header: str, time: str | None, unit: str) -> None:
    names = header.split(",")
    columns = resolve(names, len(names), SeriesSpec(), LIMITS)
    assert (None if columns.time is None else columns.time_name, columns.time_unit) == (time, unit)
    assert len(columns.channels) == len(names) - (time is not None)


@pytest.mark.parametrize(
    ("header", "n", "spec", "channels", "time"),
    [
        (None, 2, {}, ["x0", "x1"], None),
        (None, 3, {"time_column": "0"}, ["x0", "x1"], 0),
        (None, 3, {"time_column": "1", "channels": ["a", "b"]}, ["a", "b"], 1),
        (None, 2, {"channels": ["t", "a"]}, ["a"], 0),
        (None, 2, {"channels": ["a", "zeit"], "time_column": "zeit"}, ["a"], 1),
        (["t", "x"], 2, {"channels": ["y"]}, ["y"], 0),
        (["x", "clock"], 2, {"time_column": "clock"}, ["x"], 1),
        (["x", "y"], 2, {"channels": ["a", "b"]}, ["a", "b"], None),
        (["t", "x"], 2, {"time_column": "x"}, ["t"], 1),
    ],
)
def test_names(
    header: list[str] | None, n: int, spec: dict[str, object], channels: list[str], time: int | None
) -> None:
    columns = resolve(header, n, SeriesSpec.model_validate(spec), LIMITS)
    assert (columns.channels, columns.time) == (channels, time)


def test_channels_must_fit() -> None:
    with pytest.raises(InvalidParameters, match="1 columns besides the time column 't'"):
        resolve(["t", "x"], 2, SeriesSpec(channels=["a", "b"]), LIMITS)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("x,y\n1,2\n", True),
        ("1,2\n3,4\n", False),
        ("nan,2\n3,4\n", False),
        ("t,0,1\n0,1,2\n", True),
        (",0,1\n0,1,2\n", True),
        ("2024-01-01,2\n2024-01-02,3\n", False),
        ("1.5,abc\n2.5,3\n", False),
        ("5,abc\n6,7\n", False),
    ],
)
def test_whether_there_is_a_header(tmp_path: Path, text: str, named: bool) -> None:
    assert parse_csv(tmp_path, text).details["header"] == ("yes" if named else "no")


def test_a_row_counter_is_a_clock_in_units_of_dt(tmp_path: Path) -> None:
    times, values = read(parse_csv(tmp_path, ",x\n0,5\n1,6\n3,7\n", dt=0.1))
    assert times is not None
    assert np.allclose(times, [0, 0.1, 0.3])
    assert values.shape == (3, 1)


def moments() -> list[datetime]:
    start = datetime(2024, 3, 31, 0, 59, 58, 250_000, tzinfo=UTC)
    return [start + timedelta(microseconds=500_000 * i + i % 3) for i in range(40)]


@pytest.mark.parametrize(
    "written",
    [
        lambda m: m.isoformat(),
        lambda m: m.isoformat().replace("+00:00", "Z"),
        lambda m: m.replace(tzinfo=None).isoformat(" "),
        lambda m: m.astimezone(timezone(timedelta(hours=5, minutes=30))).isoformat(),
        lambda m: m.astimezone(timezone(timedelta(hours=m.microsecond % 3))).isoformat(),
        lambda m: " " + m.isoformat().replace("T", " ") + " ",
    ],
)
def test_dates_as_datetime_reads_them(tmp_path: Path, limits: Limits, written: Callable[[datetime], str]) -> None:
    text = "date,x\n" + "".join(f"{written(m)},1\n" for m in moments())
    table = parse_csv(tmp_path, text, limits)
    times, _ = read(table)
    assert times is not None
    assert times.tolist() == [(m - moments()[0]) / timedelta(seconds=1) for m in moments()]
    assert table.dates
    assert table.origin == moments()[0].timestamp()


def test_dates_with_and_without_zone_do_not_mix(tmp_path: Path) -> None:
    with pytest.raises(NonNumericValues) as caught:
        read(parse_csv(tmp_path, "t,x\n2024-01-01T00:00:00Z,1\n2024-01-01T00:00:01,2\n"))
    assert caught.value.errors[0].rows == [1]


# NPY

DTYPES = ["f8", ">f8", "f4", "f2", "i8", ">i4", "i2", "i1", "u8", "u1", "?", "g"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(37,), (37, 1), (37, 5), (2, 9)])
def test_npy_of_every_type_and_order(
    tmp_path: Path, limits: Limits, dtype: str, order: str, shape: tuple[int, ...]
) -> None:
    array = np.asarray(rng.integers(0, 100, shape).astype(dtype), order=order)  # type: ignore[call-overload]
    np.save(tmp_path / "upload", array)
    table = open_npy(tmp_path / "upload.npy", SeriesSpec(), limits)
    times, values = read(table)
    expected = np.load(tmp_path / "upload.npy").astype(np.float64).reshape(shape[0], -1)
    assert times is None
    assert same(values, np.ascontiguousarray(expected))
    assert table.issues == []


@sloppy
@given(st.lists(st.floats(width=64), min_size=2, max_size=50))
def test_npy_bits(tmp_path: Path, numbers: list[float]) -> None:
    np.save(tmp_path / "upload", np.array(numbers))
    _, values = read(open_npy(tmp_path / "upload.npy", SeriesSpec(), LIMITS))
    assert same(values[:, 0], np.array(numbers))


def test_npy_with_a_time_column(tmp_path: Path, limits: Limits) -> None:
    array = rng.normal(size=(30, 3)).astype(np.float32)
    np.save(tmp_path / "upload", array)
    times, values = read(open_npy(tmp_path / "upload.npy", SeriesSpec(time_column="1"), limits))
    assert times is not None
    assert same(times, array[:, 1].astype(float))
    assert same(values, array[:, [0, 2]].astype(float))


@pytest.mark.parametrize(
    "array", [np.array([1, 2**53 + 1, 3]), np.array([1, 2**64 - 1], np.uint64), np.longdouble([1, "0.1"])]
)
def test_numbers_that_float64_rounds_are_noted(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "upload", array)
    table = open_npy(tmp_path / "upload.npy", SeriesSpec(), LIMITS)
    read(table)
    (issue,) = table.issues
    assert (issue.code, issue.rows) == ("rounded_to_float64", [1])


# Parquet


def parse_parquet(folder: Path, limits: Limits, columns: dict[str, object], **options: object) -> Table:
    pq.write_table(pa.table(columns), folder / "upload", **options)
    return open_parquet(folder / "upload", SeriesSpec(), limits)


@pytest.mark.parametrize(
    "kind", [pa.float64(), pa.float32(), pa.float16(), pa.int64(), pa.uint8(), pa.decimal128(9, 3)]
)
def test_parquet_of_every_type(tmp_path: Path, limits: Limits, kind: pa.DataType) -> None:
    numbers = rng.integers(0, 100, (40, 2)).astype(float)
    columns = {f"c{i}": pa.array([None if x == 7 else x for x in numbers[:, i]]).cast(kind) for i in (0, 1)}
    table = parse_parquet(tmp_path, limits, columns, row_group_size=13)
    times, values = read(table)
    numbers[numbers == 7] = np.nan
    assert times is None
    assert same(values, numbers)


def test_parquet_bits(tmp_path: Path, limits: Limits) -> None:
    array = rng.integers(0, 2**64, (5000, 2), dtype=np.uint64).view(np.float64)  # any double at all
    _, values = read(parse_parquet(tmp_path, limits, {"x": array[:, 0], "y": array[:, 1]}, row_group_size=700))
    assert same(values, array)


def test_a_parquet_file_that_ends_its_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damaged files have made pyarrow abort; the process that dies is not ours, and nothing is left of it."""
    (tmp_path / "dies.py").write_text("import os, sys\nopen(sys.argv[2], 'w').write('half')\nos.abort()\n")
    monkeypatch.setattr(parquet_process, "__file__", str(tmp_path / "dies.py"))
    with pytest.raises(MalformedFile, match="damaged"):
        parse_parquet(tmp_path, LIMITS, {"x": [1.0, 2.0]})
    assert {p.name for p in tmp_path.iterdir()} == {"dies.py", "upload"}


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "Europe/Zurich"])
def test_parquet_timestamps(tmp_path: Path, limits: Limits, unit: str, zone: str | None) -> None:
    stamps = pa.array([1_700_000_000 + 2 * i for i in range(30)], pa.int64()).cast(pa.timestamp("s"))
    table = parse_parquet(
        tmp_path, limits, {"x": np.arange(30.0), "time": stamps.cast(pa.timestamp(unit, zone))}, row_group_size=7
    )
    times, _ = read(table)
    assert times is not None
    assert times.tolist() == [2.0 * i for i in range(30)]
    assert table.origin == 1_700_000_000.0


def test_parquet_dates_as_text(tmp_path: Path, limits: Limits) -> None:
    table = parse_parquet(tmp_path, limits, {"x": [1.0, 2.0], "date": ["2024-01-01", "2024-01-02"]})
    times, _ = read(table)
    assert times is not None
    assert times.tolist() == [0.0, 86_400.0]


def test_parquet_index_of_a_data_frame(tmp_path: Path, limits: Limits) -> None:
    table = parse_parquet(tmp_path, limits, {"x": [1.0, 2.0], "__index_level_0__": [0, 1]})
    assert table.columns.channels == ["x"]
    assert table.columns.counts_steps


# JSON


@sloppy
@given(
    st.lists(
        st.lists(st.one_of(every_float, st.integers(-(2**53), 2**53), st.none()), min_size=2, max_size=2), min_size=2
    )
)
def test_json_as_the_json_module_reads_it(tmp_path: Path, rows: list[list[float | None]]) -> None:
    (tmp_path / "upload").write_text(json.dumps({"values": rows}))
    values = read_document(tmp_path / "upload", LIMITS)["values"]
    expected = np.array([[np.nan if x is None else float(x) for x in row] for row in rows])
    assert same(read(open_json(values, None, SeriesSpec(), LIMITS))[1], expected)
    columns = dict(zip("xy", zip(*values, strict=True), strict=True))
    by_name = {name: list(column) for name, column in columns.items()}
    assert same(read(open_json(by_name, None, SeriesSpec(), LIMITS))[1], expected)


@pytest.mark.parametrize("beside", [False, True])
def test_json_times(beside: bool) -> None:
    dates, numbers = ["2024-01-01T00:00:00Z", "2024-01-01T00:00:01Z"], [1.5, 2.5]
    values = {"x": numbers} if beside else {"x": numbers, "t": dates}
    table = open_json(values, dates if beside else None, SeriesSpec(), LIMITS)
    times, found = read(table)
    assert times is not None
    assert times.tolist() == [0.0, 1.0]
    assert found.tolist() == [[1.5], [2.5]]
    assert table.dates


# Damage


@pytest.mark.parametrize("kind", ["csv", "npy"])
def test_damaged_files_are_refused_or_read_but_nothing_else(tmp_path: Path, kind: str) -> None:
    buffer = io.BytesIO()
    if kind == "npy":
        np.save(buffer, rng.normal(size=(40, 3)))
    else:
        np.savetxt(buffer, rng.normal(size=(40, 3)), delimiter=",", header="t,x,y", comments="")
    good, path = buffer.getvalue(), tmp_path / "upload"
    outcomes = set()
    for _ in range(400):
        damaged = bytearray(good)
        for _ in range(rng.integers(1, 5)):
            # Mostly at the beginning, where headers are.
            at = int(rng.integers(len(good) if rng.random() < 0.5 else 130))
            damaged[at : at + int(rng.integers(0, 3))] = rng.bytes(int(rng.integers(0, 3)))
        path.write_bytes(damaged)
        try:
            read((open_npy if kind == "npy" else open_csv)(path, SeriesSpec(), LIMITS))
            outcomes.add("read")
        except DomainError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_a_hopeless_file_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.series.parsing.text.MAX_UNREAD", 50)
    monkeypatch.setattr("api.series.parsing.csv.MAX_UNREAD", 50)
    with pytest.raises(NonNumericValues) as text:
        read(parse_csv(tmp_path, "x,y\n" + "1,one\n" * 1000, SMALL_BLOCKS))
    assert 50 < sum(int(e.detail.split()[-2]) for e in text.value.errors if e.detail) < 200
    with pytest.raises(MalformedFile, match="51 rows or more are uneven"):
        read(parse_csv(tmp_path, "x,y\n" + "1\n" * 1000, SMALL_BLOCKS))

"""Bad uploads: each is answered by the right 4xx that says where and what, and leaves nothing behind."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from api.app import create_app
from api.settings import ApiSettings
from store.blobs import Blobs
from store.database import Database
from store.tables import SeriesRow

MAX_BYTES = 3_000_000
MAX_ROWS = 5_000
MAX_CHANNELS = 256


@pytest.fixture(scope="module")
def client(_migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """One service for the whole table: it must survive all of it."""
    folder = tmp_path_factory.mktemp("service")
    shutil.copy(_migrated_sqlite, folder / "attractor.db")
    settings = ApiSettings(
        data_dir=folder,
        max_upload_bytes=MAX_BYTES,
        max_upload_rows=MAX_ROWS,
        max_upload_channels=MAX_CHANNELS,
        max_upload_values=200_000,
        max_json_bytes=100_000,
    )
    with TestClient(create_app(settings)) as client:
        yield client


def npy(array: np.ndarray, *, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def npy_with_header(text: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    """An NPY file with any header text; the length field has 2 bytes in version 1 and 4 in version 2."""
    length = struct.pack("<H" if version == b"\x01\x00" else "<I", len(text))
    return b"\x93NUMPY" + version + length + text.encode() + data


def parquet(columns: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def zipped(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def csv(*rows: str, header: str | None = "t,x") -> bytes:
    return "\n".join(([header] if header else []) + list(rows)).encode() + b"\n"


def clock(*times: object) -> bytes:
    return csv(*(f"{t},{i % 7}" for i, t in enumerate(times)))


GOOD = csv(*(f"{i / 100},{i % 7}" for i in range(50)))
NPY_GOOD = npy(np.arange(60.0).reshape(20, 3) ** 2)
HUGE = "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 1), }\n"
EVIL = "{'descr': '<f8', 'fortran_order': False, 'shape': (__import__('os').getpid(),), }\n"
OUTLINE = {"values": [[1.0, 2.0], [2.0, 3.0], [4.0, 1.0]]}


@dataclass(frozen=True)
class Bad:
    """A body, how it is declared, and what must be said about it."""

    body: bytes
    status: int
    code: str
    says: str
    fields: dict[str, str] = field(default_factory=dict)
    pointer: str | None = None
    rows: list[int] | None = None
    content_type: str = "application/octet-stream"


def document(content: Any, *args: Any, **kwargs: Any) -> Bad:
    body = json.dumps(content).encode()
    return Bad(body, *args, content_type="application/json", **kwargs)


TABLE: dict[str, Bad] = {
    # What is no series at all.
    "empty": Bad(b"", 422, "malformed_file", "empty"),
    "only blank lines": Bad(b"\n\n\n", 422, "malformed_file", "empty", content_type="text/csv"),
    "only a comment": Bad(b"# nothing\n", 422, "malformed_file", "no rows"),
    "only a header": Bad(b"t,x\n", 422, "malformed_file", "no rows"),
    "one row": Bad(b"t,x\n0,1\n", 422, "series_too_short", "1 row"),
    "a picture": Bad(b"\x89PNG\r\n\x1a\n" + bytes(50), 415, "unsupported_format", "picture"),
    "a content type of pictures": Bad(GOOD, 415, "unsupported_format", "image/png", content_type="image/png"),
    "curl's content type": Bad(
        GOOD, 415, "unsupported_format", "curl", content_type="application/x-www-form-urlencoded"
    ),
    "npz": Bad(zipped("x.npy", NPY_GOOD), 415, "unsupported_format", "ZIP archive"),
    "xlsx": Bad(zipped("xl/workbook.xml", b"<x/>"), 415, "unsupported_format", "ZIP archive"),
    "pickle": Bad(pickle.dumps([1.0, 2.0]), 415, "unsupported_format", "pickle, which is never loaded"),
    "gzip": Bad(b"\x1f\x8b\x08" + bytes(20), 415, "unsupported_format", "decompress"),
    "hdf5": Bad(b"\x89HDF\r\n\x1a\n" + bytes(20), 415, "unsupported_format", "HDF5"),
    "utf-16": Bad("t,x\n0,1\n".encode("utf-16"), 415, "unsupported_format", "UTF-8"),
    "binary": Bad(bytes(range(256)), 415, "unsupported_format", "NUL bytes"),
    "csv called npy": Bad(GOOD, 422, "malformed_file", "does not begin as such", {"format": "npy"}),
    "npy called csv": Bad(NPY_GOOD, 415, "unsupported_format", "is npy", {"format": "csv"}),
    "unknown format": Bad(GOOD, 422, "invalid_parameters", "format", {"format": "hdf5"}, pointer="/query/format"),
    # NPY.
    "npy cut off in its data": Bad(NPY_GOOD[:-8], 422, "malformed_file", "cut off"),
    "npy cut off in its header": Bad(NPY_GOOD[:9], 422, "malformed_file", "cut off"),
    "npy with something appended": Bad(NPY_GOOD + b"1234", 422, "malformed_file", "appended"),
    "npy of pickled objects": Bad(
        npy(np.array([1, "a"], object), allow_pickle=True), 422, "malformed_file", "pickled Python objects"
    ),
    "npy of 7 TiB": Bad(npy_with_header(HUGE, bytes(80)), 422, "malformed_file", "declares 8000000000000 bytes"),
    "npy with a header of 4 GiB": Bad(
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(80), 422, "malformed_file", "claims 4294967295"
    ),
    "npy with code in its header": Bad(npy_with_header(EVIL), 422, "malformed_file", "cannot be read"),
    "npy with a negative shape": Bad(npy_with_header(HUGE.replace("1000000000000", "-5")), 422, "malformed_file", "-5"),
    "npy of version 9": Bad(b"\x93NUMPY\x09\x00" + bytes(80), 422, "malformed_file", "version 9.0"),
    "npy of three dimensions": Bad(npy(np.zeros((3, 4, 5))), 422, "malformed_file", "(3, 4, 5)"),
    "npy of nothing": Bad(npy(np.zeros((0, 3))), 422, "malformed_file", "(0, 3)"),
    "npy of one number": Bad(npy(np.float64(3.0)), 422, "malformed_file", "shape ()"),
    "npy of complex numbers": Bad(npy(np.ones(9, complex)), 422, "malformed_file", "real and the imaginary"),
    "npy of records": Bad(npy(np.zeros(9, [("a", "f8")])), 422, "malformed_file", "records"),
    "npy of text": Bad(npy(np.array(["a", "b"])), 422, "malformed_file", "text"),
    "npy with NaN": Bad(
        npy(np.array([1.0, np.nan, 3.0, np.inf])),
        422,
        "non_finite_values",
        "2 of 4",
        pointer="/columns/x0",
        rows=[1, 3],
    ),
    # Parquet.
    "parquet cut off": Bad(parquet({"x": [1.0, 2.0]})[:-6], 422, "malformed_file", "cannot be read"),
    "parquet with a broken page": Bad(
        b"PAR1" + b"\xff" * 40 + parquet({"x": np.arange(3000) ** 0.5})[44:], 422, "malformed_file", "cannot be read"
    ),
    "parquet with text": Bad(
        parquet({"x": [1.0, 2.0], "city": ["a", "b"]}), 422, "non_numeric_values", "'city'", pointer="/columns/city"
    ),
    "parquet with lists": Bad(parquet({"x": [[1.0], [2.0]]}), 422, "non_numeric_values", "'x'", pointer="/columns/x"),
    "parquet with nulls": Bad(
        parquet({"x": [1.0, None, 3.0]}), 422, "non_finite_values", "1 of 3", pointer="/columns/x", rows=[1]
    ),
    "parquet with too many rows": Bad(
        parquet({"x": np.zeros(MAX_ROWS + 1)}), 413, "too_large", f"more than {MAX_ROWS} rows"
    ),
    "parquet with too many columns": Bad(
        parquet({f"c{i}": [1.0, 2.0] for i in range(MAX_CHANNELS + 2)}), 422, "too_many_channels", "columns"
    ),
    "parquet without columns": Bad(parquet({"t": [1.0, 2.0]}), 422, "malformed_file", "no channel"),
    # Text that is no table of numbers.
    "text in a number column": Bad(
        csv("0,1", "1,2", "2,high", "3,high", "4,3"),
        422,
        "non_numeric_values",
        "Column 'x', row 2: 'high'",
        pointer="/columns/x",
        rows=[2, 3],
    ),
    "ragged": Bad(csv("0,1", "1,2,9", "2", "3,4"), 422, "malformed_file", "row 1 has 3", rows=[1, 2]),
    "html": Bad(b"<html><body>Not Found</body></html>", 422, "malformed_file", "no rows"),
    "latin-1 header": Bad("t,°C\n0,1\n1,2\n".encode("latin-1"), 422, "malformed_file", "byte 0xb0 at position 2"),
    "latin-1 cell": Bad(b"t,x\n0,1\n1,2\xb0\n2,3\n", 422, "malformed_file", "Row 1 is not UTF-8: byte 0xb0", rows=[1]),
    "latin-1 in an uneven row": Bad(b"t,x\n0,1\n1\xb0\n2,3\n", 422, "malformed_file", "Row 1 is not UTF-8", rows=[1]),
    "UTF-8 cut off": Bad("t,x\n0,1\n1,2°".encode()[:-1], 422, "malformed_file", "Row 1 is not UTF-8", rows=[1]),
    "NUL in a cell": Bad(b"t,x\n" + b"0,1\n" * 2000 + b"1,2\x00\n", 422, "non_numeric_values", "row 2000", rows=[2000]),
    "a giant cell": Bad(
        b"t,x\n0,1\n1," + b"1" * 2_500_000 + b"\n2,3\n", 422, "malformed_file", "Row 1 is longer", rows=[1]
    ),
    "a giant first line": Bad(b"1," * 700_000, 422, "malformed_file", "Row 0 is longer", rows=[0]),
    "10,000 columns": Bad(b"1," * 9_999 + b"1\n" + b"2," * 9_999 + b"2\n", 422, "too_many_channels", "10000 columns"),
    "too many rows": Bad(b"1\n2\n" * MAX_ROWS, 413, "too_large", f"more than {MAX_ROWS} rows"),
    "too many values": Bad(("1," * 99 + "1\n").encode() * 3000, 413, "too_large", "200000 values"),
    "too many bytes": Bad(b"1\n" * (MAX_BYTES // 2 + 1), 413, "too_large", "arger than"),
    "the same name twice": Bad(
        csv("0,1,2", "1,2,3", header="t,x,x"), 422, "malformed_file", "'x' appears more than once"
    ),
    "a column without a name": Bad(
        csv("0,1,", "1,2,", header="t,x,"), 422, "malformed_file", "Column 2", pointer="/columns/2"
    ),
    "only a time column": Bad(csv("0", "1", header="time"), 422, "malformed_file", "no channel"),
    # Values that are missing or say nothing.
    "empty cells": Bad(
        csv("0,1", "1,", "2,3"), 422, "non_finite_values", "missing=split", pointer="/columns/x", rows=[1]
    ),
    "NaN, inf and NA": Bad(
        csv("0,nan", "1,2", "2,-inf", "3,NA", "4,5"),
        422,
        "non_finite_values",
        "3 of 5",
        pointer="/columns/x",
        rows=[0, 2, 3],
    ),
    "numbers beyond float64": Bad(csv("0,1", "1,1e999", "2,3"), 422, "non_finite_values", "1 of 3", rows=[1]),
    "numbers too large to square": Bad(csv("0,1", "1,1e200", "2,3"), 422, "invalid_series", "1e+100", rows=[1]),
    "one constant channel": Bad(
        csv("0,5", "1,5", "2,5"), 422, "constant_series", "channel 'x' is constant", pointer="/columns/x"
    ),
    "a hundred constant channels": Bad(npy(np.ones((9, 100))), 422, "constant_series", "all 100 channels"),
    "a gap longer than max_gap": Bad(
        csv(*(f"{i}," + ("" if 2 <= i < 6 else str(i)) for i in range(9))),
        422,
        "non_finite_values",
        "the longest: 4",
        {"missing": "interpolate", "max_gap": "3"},
        rows=[2],
    ),
    "a gap at the end": Bad(
        csv("0,1", "1,2", "2,"), 422, "non_finite_values", "begins or ends", {"missing": "interpolate"}, rows=[2]
    ),
    "nothing left after splitting": Bad(
        csv("0,1", "1,", "2,3", "3,"), 422, "series_too_short", "consecutive", {"missing": "split"}, rows=[1, 3]
    ),
    # Clocks.
    "duplicate times": Bad(clock(0, 1, 1, 2, 3), 422, "duplicate_times", "1 row has", pointer="/columns/t", rows=[2]),
    "times that go back": Bad(
        clock(0, 1, 2, 1.5, 3), 422, "unordered_times", "1 row is", pointer="/columns/t", rows=[3]
    ),
    "irregular sampling": Bad(
        clock(0, 1, 2, 3.2, 4, 5, 6),
        422,
        "irregular_sampling",
        "2 of 6 steps differ from dt = 1",
        pointer="/columns/t",
        rows=[3, 4],
    ),
    "missing steps": Bad(
        clock(0, 1, 2, 5, 6, 7), 422, "non_finite_values", "2 steps are missing", pointer="/columns/t", rows=[3]
    ),
    "a missing time": Bad(
        clock(0, 1, "", 3, 4), 422, "non_finite_values", "times are missing", pointer="/columns/t", rows=[2]
    ),
    "a gap that is no whole number of steps": Bad(
        clock(0, 1, 2, 5.5, 6.5), 422, "irregular_sampling", "no whole number", {"missing": "interpolate"}, rows=[3]
    ),
    "dates that are none": Bad(
        clock("2024-01-01", "2024-01-02", "2024-02-30"),
        422,
        "non_numeric_values",
        "ISO 8601",
        pointer="/columns/t",
        rows=[2],
    ),
    "dates in minutes": Bad(
        clock("2024-01-01", "2024-01-02", "2024-01-03"),
        422,
        "invalid_parameters",
        "seconds",
        {"time_unit": "min"},
        pointer="/time_unit",
    ),
    "dt against the times": Bad(GOOD, 422, "invalid_parameters", "whose steps are 0.01", {"dt": "1"}, pointer="/dt"),
    "unknown time column": Bad(
        GOOD, 422, "invalid_parameters", "'zeit'", {"time_column": "zeit"}, pointer="/time_column"
    ),
    "time column beyond the last": Bad(
        NPY_GOOD, 422, "invalid_parameters", "only 3 columns", {"time_column": "3"}, pointer="/time_column"
    ),
    # Fields.
    "dt of zero": Bad(NPY_GOOD, 422, "invalid_parameters", "greater than 0", {"dt": "0"}, pointer="/query/dt"),
    "negative dt": Bad(NPY_GOOD, 422, "invalid_parameters", "greater than 0", {"dt": "-0.1"}, pointer="/query/dt"),
    "infinite dt": Bad(NPY_GOOD, 422, "invalid_parameters", "finite", {"dt": "inf"}, pointer="/query/dt"),
    "dt beyond computing": Bad(NPY_GOOD, 422, "invalid_parameters", "unit of time", {"dt": "1e300"}, pointer="/dt"),
    "dt in words": Bad(NPY_GOOD, 422, "invalid_parameters", "number", {"dt": "fast"}, pointer="/query/dt"),
    "unknown policy": Bad(
        NPY_GOOD, 422, "invalid_parameters", "interpolate", {"missing": "guess"}, pointer="/query/missing"
    ),
    "unknown field": Bad(
        NPY_GOOD, 422, "invalid_parameters", "no known field", {"sampling": "1"}, pointer="/query/sampling"
    ),
    "wrong number of channels": Bad(
        NPY_GOOD, 422, "invalid_parameters", "2 names", {"channels": "x,y"}, pointer="/channels"
    ),
    "channels named alike": Bad(NPY_GOOD, 422, "malformed_file", "more than once", {"channels": "x,y,x"}),
    "a name with a line break": Bad(
        NPY_GOOD, 422, "invalid_parameters", "printable", {"name": "a\nb"}, pointer="/query/name"
    ),
    "a name with NUL": Bad(NPY_GOOD, 422, "invalid_parameters", "printable", {"name": "a\x00"}, pointer="/query/name"),
    # JSON.
    "json cut off": Bad(b'{"values": [1, 2', 422, "malformed_file", "not JSON", content_type="application/json"),
    "json with NaN": Bad(
        b'{"values": [1, NaN]}', 422, "malformed_file", "null, not NaN", content_type="application/json"
    ),
    "json nested deeply": Bad(b"[" * 40_000, 422, "malformed_file", "not JSON", content_type="application/json"),
    "json without values": document({"dt": 1.0}, 422, "malformed_file", '"values"', pointer="/values"),
    "json of a number": document(3, 422, "malformed_file", '"values"'),
    "json too large": Bad(
        b"[" + b"1," * 60_000 + b"1]", 413, "too_large", "100000 are accepted", content_type="application/json"
    ),
    "json ragged": document(
        {"values": [[1, 2], [3], 4]}, 422, "malformed_file", "same length", pointer="/values", rows=[1, 2]
    ),
    "json of nothing": document({"values": []}, 422, "malformed_file", "empty", pointer="/values"),
    "json with text": document(
        {"values": {"x": [1, "2", 3]}}, 422, "non_numeric_values", "'2'", pointer="/columns/x", rows=[1]
    ),
    "json with true": document({"values": [1, True, 3]}, 422, "non_numeric_values", "'True'", rows=[1]),
    "json with an endless integer": Bad(
        b'{"values": [1, ' + b"9" * 4000 + b", 3]}",
        422,
        "non_numeric_values",
        "row 1",
        content_type="application/json",
        rows=[1],
    ),
    "json with null": document({"values": [1, None, 3]}, 422, "non_finite_values", "1 of 3", rows=[1]),
    "json with columns of different length": document(
        {"values": {"x": [1, 2], "y": [1]}}, 422, "malformed_file", "'y' has 1"
    ),
    "json with two clocks": document(
        {"values": {"t": [1, 2], "x": [1, 3]}, "time": [1, 2]}, 422, "invalid_parameters", "twice"
    ),
    "json with a short clock": document(
        OUTLINE | {"time": [1.0]}, 422, "malformed_file", "each of the 3 rows", pointer="/time"
    ),
    "json with an unknown field": document(
        OUTLINE | {"foo": 1}, 422, "invalid_parameters", "no known field", pointer="/foo"
    ),
    "json against the query": document(
        OUTLINE | {"dt": 0.5}, 422, "invalid_parameters", "given twice", fields={"dt": "0.1"}, pointer="/dt"
    ),
}


def _nothing_left(client: TestClient) -> None:
    services = client.app.state.services  # type: ignore[attr-defined]
    blobs: Blobs = services.blobs
    database: Database = services.database
    assert not [p for p in blobs.root.rglob("*") if p.is_file()]
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(SeriesRow)) == 0


def _check(client: TestClient, answer: Any, bad: Bad) -> None:
    problem = answer.json()
    assert (answer.status_code, problem.get("code")) == (bad.status, bad.code), problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert bad.says in problem["detail"]
    assert "Traceback" not in problem["detail"]
    assert len(answer.content) < 20_000
    if bad.pointer is not None:
        assert bad.pointer in [e["pointer"] for e in problem["errors"]]
    if bad.rows is not None:
        assert bad.rows in [e["rows"] for e in problem["errors"]]
    _nothing_left(client)
    assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize("bad", TABLE.values(), ids=TABLE.keys())
def test_refused_as_a_body(client: TestClient, bad: Bad) -> None:
    headers = {"content-type": bad.content_type}
    _check(client, client.post("/v1/series", content=bad.body, params=bad.fields, headers=headers), bad)


# A content type that no body may have is only a remark in a form; the fields stand beside the file, not in the query.
IN_FORMS = {name: bad for name, bad in TABLE.items() if "content type" not in name}


@pytest.mark.parametrize("bad", IN_FORMS.values(), ids=IN_FORMS.keys())
def test_refused_in_a_form(client: TestClient, bad: Bad) -> None:
    expected = Bad(**{**bad.__dict__, "pointer": bad.pointer and bad.pointer.replace("/query", "")})
    answer = client.post("/v1/series", files={"file": ("upload", bad.body, bad.content_type)}, data=bad.fields)
    _check(client, answer, expected)


BOUNDARY = {"content-type": "multipart/form-data; boundary=b"}


def part(name: str, content: bytes, more: str = "") -> bytes:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + content + b"\r\n"


FORMS: dict[str, tuple[dict[str, str], bytes, Bad]] = {
    "no file": (
        BOUNDARY,
        part("dt", b"1") + b"--b--\r\n",
        Bad(b"", 422, "invalid_parameters", "no part `file`", pointer="/file"),
    ),
    "files of other channels": (
        BOUNDARY,
        part("file", GOOD, '; filename="a.csv"')
        + part("file", GOOD.replace(b"x", b"y"), '; filename="b.csv"')
        + b"--b--\r\n",
        Bad(b"", 422, "malformed_file", "Recording 'b' has the channels 'y', recording 'a' 'x'"),
    ),
    "too many files": (
        BOUNDARY,
        part("file", b"1") * 1001 + b"--b--\r\n",
        Bad(b"", 400, "bad_request", "more than 1000 parts `file`"),
    ),
    "no boundary": ({"content-type": "multipart/form-data"}, b"x", Bad(b"", 400, "bad_request", "boundary")),
    "cut off": (BOUNDARY, part("file", GOOD), Bad(b"", 400, "bad_request", "cut off")),
    "no form at all": (BOUNDARY, GOOD, Bad(b"", 400, "bad_request", "malformed")),
    "too many parts": (
        BOUNDARY,
        part("a", b"1") * 60 + b"--b--\r\n",
        Bad(b"", 400, "bad_request", "more than 50 fields"),
    ),
    "a field that is no text": (
        BOUNDARY,
        part("name", b"\xff") + b"--b--\r\n",
        Bad(b"", 400, "bad_request", "not UTF-8"),
    ),
    "a giant field": (BOUNDARY, part("name", b"a" * 1_200_000) + b"--b--\r\n", Bad(b"", 413, "too_large", "'name'")),
    "a field twice": (
        BOUNDARY,
        part("file", GOOD) + part("dt", b"1") + part("dt", b"2") + b"--b--\r\n",
        Bad(b"", 422, "invalid_parameters", "2 times", pointer="/dt"),
    ),
    "base64": (
        BOUNDARY,
        part("file", b"MQ==", "\r\nContent-Transfer-Encoding: base64") + b"--b--\r\n",
        Bad(b"", 400, "bad_request", "Transfer-Encoding"),
    ),
    "compressed": (
        {"content-type": "text/csv", "content-encoding": "gzip"},
        b"\x1f\x8b",
        Bad(b"", 415, "unsupported_format", "Content-Encoding"),
    ),
}


@pytest.mark.parametrize(("headers", "body", "bad"), FORMS.values(), ids=FORMS.keys())
def test_refused_form(client: TestClient, headers: dict[str, str], body: bytes, bad: Bad) -> None:
    _check(client, client.post("/v1/series", content=body, headers=headers), bad)


def test_a_body_without_length_is_cut_at_the_limit(client: TestClient) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 100 * MAX_BYTES:
            sent += 65_536
            yield b"1\n" * 32_768

    answer = client.post("/v1/series", content=endless(), headers={"content-type": "text/csv"})
    _check(client, answer, Bad(b"", 413, "too_large", "arger than"))


def test_many_wrong_rows_are_counted_and_the_first_20_named(client: TestClient) -> None:
    body = b"x,y\n" + b"".join(b"%d,%s\n" % (i, b"?" if i % 2 else b"1") for i in range(1000))
    problem = client.post("/v1/series", content=body, headers={"content-type": "text/csv"}).json()
    assert problem["errors"][0]["rows"] == list(range(1, 41, 2))
    assert "500 cells" in problem["errors"][0]["detail"]


def test_a_file_name_is_never_a_path(client: TestClient, tmp_path: Path) -> None:
    aim = tmp_path / "owned.csv"
    answer = client.post("/v1/series", files={"file": (f"../../../..{aim}", GOOD)})
    assert answer.status_code == 201
    assert answer.json()["source"]["file_name"] == "owned.csv"
    assert not aim.exists()

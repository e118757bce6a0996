"""Series over HTTP: what goes in comes out, to the bit, in every format; on both databases."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from httpx import Response
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from stock import Stock

from api.series import examples
from api.series.schemas import SeriesData, SeriesOut
from dynamics.audit import places
from store.blobs import Blobs

rng = np.random.default_rng(3)
VALUES = rng.normal(size=(300, 3)) * [1e-200, 1.0, 1e90]
FORMATS = ["json", "csv", "npy", "parquet"]


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def upload(client: TestClient, body: bytes | str, **fields: Any) -> Response:
    return client.post("/v1/series", content=body, params=fields, headers={"content-type": "application/octet-stream"})


def created(client: TestClient, values: np.ndarray = VALUES, **fields: Any) -> dict[str, Any]:
    answer = upload(client, npy(values), **({"dt": 0.01, "time_unit": "s"} | fields))
    assert answer.status_code == 201, answer.text
    return answer.json()


def data(client: TestClient, id: str, **query: Any) -> Response:
    answer = client.get(f"/v1/series/{id}/data", params=query)
    assert answer.status_code == 200, answer.text[:2000]
    return answer


def decoded(answer: Response, format: str) -> tuple[list[str], np.ndarray]:
    """Names and columns, by readers that know nothing of the service; NaN where there is nothing."""
    match format:
        case "json":
            document = answer.json()
            values = np.array(document["values"], dtype=float).reshape(-1, len(document["channels"]))
            return ["time", *document["channels"]], np.column_stack([document["time"], values])
        case "csv":
            header, *rows = csv.reader(io.StringIO(answer.text))
            return header, np.array([[float(cell or "nan") for cell in row] for row in rows])
        case "npy":
            return [], np.load(io.BytesIO(answer.content))
        case _:
            table = pq.read_table(io.BytesIO(answer.content))
            columns = [np.array(column.to_pylist(), dtype=float) for column in table.columns]
            return table.column_names, np.column_stack(columns)


def test_upload_and_look(client: TestClient) -> None:
    answer = upload(client, npy(VALUES), dt=0.01, time_unit="s", name="noise", channels="a,b,c")
    assert answer.status_code == 201
    series = SeriesOut.model_validate(answer.json())
    assert answer.headers["location"] == f"/v1/series/{series.id}"
    assert (series.name, series.channels, series.n_steps, series.dt, series.time_unit) == (
        "noise",
        ["a", "b", "c"],
        300,
        0.01,
        "s",
    )
    assert series.source["format"] == "npy"
    assert client.get(answer.headers["location"]).json() == answer.json()


def test_the_same_upload_is_stored_once(client: TestClient, blobs: Blobs) -> None:
    first = created(client)
    again = upload(client, npy(VALUES), dt=0.01, time_unit="s")
    assert (again.status_code, again.json()) == (200, first)
    assert again.headers["location"] == f"/v1/series/{first['id']}"
    others = [{"dt": 0.02}, {"time_unit": "ms"}, {"name": "other"}, {"channels": "a,b,c"}]
    ids = {created(client, **fields)["id"] for fields in others}
    assert len(ids | {first["id"]}) == 5
    assert len(list(blobs.names())) == 1


def test_equal_values_with_other_segments_are_another_series(client: TestClient) -> None:
    rows = [f"{t},{x}" for t, x in zip([0, 1, 2, 3, 4, 5], [3, 1, 4, 1, 5, 9], strict=True)]
    whole = upload(client, "t,x\n" + "\n".join(rows), missing="split")
    cut = upload(
        client, "t,x\n" + "\n".join([*rows[:3], *(f"{t},{x}" for t, x in [(13, 1), (14, 5), (15, 9)])]), missing="split"
    )
    assert (whole.status_code, cut.status_code) == (201, 201)
    assert len(cut.json()["profile"]["segments"]) == 2


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("block_values", [places.BLOCK_VALUES, 10])
def test_export_is_exact_and_uploads_as_the_same_series(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, format: str, block_values: int
) -> None:
    series = created(client)
    monkeypatch.setattr(places, "BLOCK_VALUES", block_values)
    answer = data(client, series["id"], format=format)
    names, columns = decoded(answer, format)
    if format != "npy":
        assert names == ["time", "x0", "x1", "x2"]
        assert np.array_equal(columns[:, 0], np.arange(300) * 0.01)
        columns = np.ascontiguousarray(columns[:, 1:])
    assert columns.tobytes() == VALUES.tobytes()
    if format == "json":
        SeriesData.model_validate(answer.json())
        body = json.dumps({key: answer.json()[key] for key in ("dt", "time_unit", "channels", "time", "values")})
        again = upload(client, body)
    else:
        again = upload(client, answer.content, dt=0.01, time_unit="s")
    assert (again.status_code, again.json()["id"]) == (200, series["id"])


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=hnp.arrays(
        np.float64,
        st.tuples(st.integers(3, 12), st.integers(1, 3)),
        elements=st.one_of(st.floats(-1e99, 1e99), st.just(np.nan)),
    ),
    dt=st.floats(1e-6, 1e6),
    format=st.sampled_from(FORMATS),
)
def test_any_series_survives_the_round_trip(client: TestClient, values: np.ndarray, dt: float, format: str) -> None:
    fields = {"dt": dt, "time_unit": "s", "missing": "split", "channels": [f"c{i}" for i in range(values.shape[1])]}
    first = upload(client, npy(values), **fields)
    if first.status_code == 422:
        assert first.json()["code"] in ("constant_series", "series_too_short")
        return
    exported = data(client, first.json()["id"], format=format)
    if format == "json":
        document = exported.json()
        body = json.dumps({key: document[key] for key in ("channels", "time", "values")})
        again = upload(client, body, **{k: v for k, v in fields.items() if k != "channels"})
    else:
        again = upload(client, exported.content, **fields)
    assert again.status_code == 200, again.text
    assert again.json()["id"] == first.json()["id"]


def test_dates_keep_their_origin(client: TestClient) -> None:
    series = upload(client, "date,x\n2024-01-01T00:00:00Z,1\n2024-01-01T00:00:10Z,2\n2024-01-01T00:00:20Z,4\n").json()
    assert (series["dt"], series["time_unit"], series["time_start"]) == (10.0, "s", 1_704_067_200.0)
    assert data(client, series["id"]).json()["time"] == [1_704_067_200.0, 1_704_067_210.0, 1_704_067_220.0]


def test_gaps_are_null_with_a_reason_and_keep_their_clock(client: TestClient, stock: Stock) -> None:
    document = data(client, stock.series_id).json()
    missing = [i for i, row in enumerate(document["values"]) if None in row]
    assert missing == [i for i in range(len(stock.values)) if np.isnan(stock.values[i]).any()]
    assert missing
    assert "gap" in document["null_reason"]
    body = "t,x\n0,1\n1,2\n2,\n10,4\n11,8\n"
    series = upload(client, body, missing="split").json()
    assert data(client, series["id"]).json()["time"] == [0, 1, 2, 10, 11]


@pytest.mark.parametrize("format", FORMATS)
def test_a_part_of_the_rows_and_channels(client: TestClient, format: str) -> None:
    series = created(client)
    answer = data(client, series["id"], format=format, start=10, stop=20, channels="x2,x0")
    names, columns = decoded(answer, format)
    if format != "npy":
        assert names == ["time", "x2", "x0"]
        columns = columns[:, 1:]
    assert np.array_equal(columns, VALUES[10:20][:, [2, 0]])


@pytest.mark.parametrize(("format", "max_points"), [("json", 9), ("csv", 20), ("npy", 50), ("parquet", 299)])
def test_decimation_keeps_every_extreme(client: TestClient, format: str, max_points: int) -> None:
    values = rng.normal(size=(1000, 3)).cumsum(axis=0)
    values[137, 1] = 1e6
    values[600:700] = np.nan
    series = created(client, values, missing="split")
    answer = data(client, series["id"], format=format, max_points=max_points)
    _, columns = decoded(answer, format)
    kept = columns if format == "npy" else columns[:, 1:]
    assert len(kept) <= max_points
    assert np.array_equal(np.nanmin(kept, axis=0), np.nanmin(values, axis=0))
    assert np.array_equal(np.nanmax(kept, axis=0), np.nanmax(values, axis=0))
    assert np.isnan(kept).any()
    assert answer.headers["attractor-decimation"] == f"min-max; kept={len(kept)}; of=1000"
    rows = data(client, series["id"], max_points=max_points).json()["rows"]
    assert rows == sorted(set(rows))
    assert (rows[0], rows[-1]) == (0, 999)
    assert np.array_equal(kept, values[rows], equal_nan=True)


def test_decimation_keeps_the_extremes_of_each_bucket(client: TestClient) -> None:
    values = rng.normal(size=1000)
    series = created(client, values)
    document = data(client, series["id"], max_points=100).json()
    size = document["decimation"]["bucket_steps"]
    kept = set(document["rows"])
    for start in range(0, 1000, size):
        bucket = values[start : start + size]
        assert {start + int(bucket.argmin()), start + int(bucket.argmax())} <= kept


def test_few_rows_are_not_decimated(client: TestClient) -> None:
    answer = data(client, created(client)["id"], max_points=300)
    assert answer.json()["decimation"] is None
    assert "attractor-decimation" not in answer.headers


BAD_QUESTIONS: list[tuple[dict[str, Any], str | None, str]] = [
    ({"start": -1}, "/query/start", "greater than or equal to 0"),
    ({"start": 300}, "/query/start", "300 rows"),
    ({"stop": 301}, "/query/stop", "300 rows"),
    ({"start": 5, "stop": 5}, "/query/stop", "start < stop"),
    ({"stop": 10**30}, "/query/stop", ""),
    ({"max_points": 8}, "/query/max_points", "at least 9"),
    ({"max_points": 0}, "/query/max_points", "greater than or equal"),
    ({"format": "xlsx"}, "/query/format", "parquet"),
    ({"channels": "x0,x0"}, "/query/channels", "twice"),
    ({"channels": "x0,q"}, None, "no channel 'q'"),
]


def test_bad_questions(client: TestClient) -> None:
    path = f"/v1/series/{created(client)['id']}/data"
    for query, pointer, says in BAD_QUESTIONS:
        answer = client.get(path, params=query)
        assert answer.status_code == 422, query
        assert says in answer.json()["detail"]
        if pointer is not None:
            assert pointer in [e["pointer"] for e in answer.json()["errors"]]


def test_accept_chooses_the_format(client: TestClient) -> None:
    path = f"/v1/series/{created(client)['id']}/data"
    answer = client.get(path, headers={"accept": "text/csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    assert "Accept" in answer.headers["vary"]


def test_names_that_are_formulas_are_escaped_in_csv_and_come_back(client: TestClient) -> None:
    channels = ['=HYPERLINK("http://x")', "+a", "-b", "@c", "plain"]
    series = created(client, rng.normal(size=(9, 5)), channels=json.dumps(channels))
    answer = data(client, series["id"], format="csv")
    header = next(csv.reader(io.StringIO(answer.text)))
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in header)
    again = upload(client, answer.content, dt=0.01, time_unit="s")
    assert again.json()["channels"] == channels
    assert (again.status_code, again.json()["id"]) == (200, series["id"])


def test_a_channel_called_time(client: TestClient) -> None:
    values = np.column_stack([VALUES[:, 0], np.arange(300) * 0.01, VALUES[:, 2]])
    series = created(client, values, channels="time,t,y", time_column="t")
    assert series["channels"] == ["time", "y"]
    answer = data(client, series["id"], format="csv")
    assert decoded(answer, "csv")[0] == ["t", "time", "y"]
    again = upload(client, answer.content, dt=0.01, time_unit="s", time_column="t")
    assert (again.status_code, again.json()["id"]) == (200, series["id"])


def test_etag(client: TestClient) -> None:
    series = created(client)
    for path in (f"/v1/series/{series['id']}", f"/v1/series/{series['id']}/data"):
        tag = client.get(path).headers["etag"]
        known = client.get(path, headers={"if-none-match": tag})
        assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", tag)
        assert client.get(path, headers={"if-none-match": '"other"'}).status_code == 200


def test_list_by_pages_and_by_name(client: TestClient) -> None:
    ids = [created(client, name=name)["id"] for name in ("a", "b", "c")]
    first = client.get("/v1/series", params={"limit": 2}).json()
    rest = client.get("/v1/series", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [s["id"] for s in first["data"] + rest["data"]] == ids[::-1]
    assert rest["next_cursor"] is None
    assert [s["id"] for s in client.get("/v1/series", params={"name": "b"}).json()["data"]] == [ids[1]]
    assert client.get("/v1/series", params={"cursor": "?"}).status_code == 400


def test_delete(client: TestClient) -> None:
    path = f"/v1/series/{created(client)['id']}"
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == client.delete(path).status_code == 404
    assert client.get(f"{path}/data").status_code == 404


def test_a_series_in_use_is_not_deleted(client: TestClient, stock: Stock) -> None:
    request = {"kind": "lyapunov", "series_id": stock.series_id}
    assert client.post("/v1/jobs", json=request).status_code == 202
    answer = client.delete(f"/v1/series/{stock.series_id}")
    assert (answer.status_code, answer.json()["code"]) == (409, "in_use")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([("channels", "a,b,c")], ["a", "b", "c"]),
        ([("channels", "a"), ("channels", "b"), ("channels", "c")], ["a", "b", "c"]),
        ([("channels", '["a,1", "b", "c"]')], ["a,1", "b", "c"]),
        ([("channels", "")], ["x0", "x1", "x2"]),
    ],
)
def test_forms_and_queries_name_channels_alike(
    client: TestClient, fields: list[tuple[str, str]], expected: list[str]
) -> None:
    data = {"dt": ["0.5"], "name": [""], "channels": [value for _, value in fields]}
    form = client.post("/v1/series", files={"file": ("noise.npy", npy(VALUES))}, data=data)
    assert form.status_code == 201, form.text
    assert (form.json()["channels"], form.json()["dt"], form.json()["name"]) == (expected, 0.5, None)
    assert form.json()["source"]["file_name"] == "noise.npy"
    if fields[0][1]:
        query = client.post(
            "/v1/series",
            content=npy(VALUES),
            params=[("dt", "0.5"), *fields],
            headers={"content-type": "application/x-npy"},
        )
        assert (query.status_code, query.json()["id"]) == (200, form.json()["id"])


def test_the_examples_of_the_document_work(client: TestClient) -> None:
    as_csv = client.post("/v1/series", content=examples.CSV, headers={"content-type": "text/csv"})
    as_json = client.post("/v1/series", json=examples.JSON)
    assert (as_csv.status_code, as_json.status_code) == (201, 201)
    assert as_csv.json()["dt"] == as_json.json()["dt"] == 0.01


def test_a_unit_against_the_header_is_noted(client: TestClient) -> None:
    series = upload(client, "time_ms,x\n0,1\n1,2\n2,4\n", time_unit="s").json()
    assert series["time_unit"] == "s"
    assert "time_unit_overridden" in [issue["code"] for issue in series["profile"]["issues"]]


def test_filled_and_rounded_places_are_in_the_profile(client: TestClient) -> None:
    series = upload(client, "t,x\n0,1\n1,\n2,3\n4,9007199254740993\n", missing="interpolate", name="filled").json()
    issues = {issue["code"]: issue for issue in series["profile"]["issues"]}
    assert issues["interpolated_values"]["rows"] == [1]
    assert issues["interpolated_steps"]["rows"] == [3]
    assert series["n_steps"] == 5
    assert data(client, series["id"]).json()["values"][1] == [2.0]


def test_an_upload_that_breaks_off_leaves_nothing(client: TestClient, blobs: Blobs) -> None:
    messages: Iterator[dict[str, Any]] = iter(
        [{"type": "http.request", "body": b"1\n" * 10**6, "more_body": True}, {"type": "http.disconnect"}]
    )
    sent = []

    async def receive() -> dict[str, Any]:
        return next(messages)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": "/v1/series",
        "raw_path": b"/v1/series",
        "query_string": b"",
        "headers": [(b"content-type", b"text/csv")],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("test", 80),
        "client": ("test", 1),
        "root_path": "",
    }
    call: Callable[..., Any] = client.app
    client.portal.call(call, scope, receive, send)  # type: ignore[union-attr]
    assert sent[0]["status"] == 400
    assert not [p for p in blobs.root.rglob("*") if p.is_file()]
    assert client.get("/v1/series").json()["data"] == []


def test_recorded_series_of_others(client: TestClient, request: pytest.FixtureRequest) -> None:
    folder: Path = request.config.rootpath.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("../shared/data is not there")
    for name in ("ecg_test.npy", "lorenz63_test.npy"):
        answer = upload(client, (folder / name).read_bytes(), name=name)
        assert answer.status_code == 201, answer.text
        exported = np.load(io.BytesIO(data(client, answer.json()["id"], format="npy").content))
        original = np.load(folder / name)
        assert np.array_equal(exported, original.reshape(len(original), -1).astype(float))

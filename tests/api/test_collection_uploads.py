"""Several recordings in one upload: as files, as a column, as JSON; what comes back, and what is refused where."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from httpx import Response

from api.series.schemas import SeriesData, SeriesOut

rng = np.random.default_rng(5)
NAMES = ["rest", "task", "sleep"]
LENGTHS = [30, 4, 25]
PARTS = [rng.normal(size=(n, 2)) for n in LENGTHS]
BORDERS = [("rest", 0, 30), ("task", 30, 34), ("sleep", 34, 59)]


def csv(values: np.ndarray, first: float = 0.0) -> str:
    return "t,x,y\n" + "".join(f"{first + i * 0.5:.1f},{x!r},{y!r}\n" for i, (x, y) in enumerate(values.tolist()))


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def long_csv(names: list[str] = NAMES, parts: list[np.ndarray] = PARTS) -> str:
    rows = [
        f"{n},{i * 0.5},{x!r},{y!r}" for n, p in zip(names, parts, strict=True) for i, (x, y) in enumerate(p.tolist())
    ]
    return "recording,t,x,y\n" + "\n".join(rows) + "\n"


def by_files(client: TestClient, contents: list[str | bytes], names: list[str] = NAMES, **fields: Any) -> Response:
    files = [
        ("file", (f"{name}.{'csv' if isinstance(c, str) else 'npy'}", c))
        for name, c in zip(names, contents, strict=True)
    ]
    return client.post("/v1/series", files=files, data=fields)


def borders(answer: Response) -> list[tuple[str, int, int]]:
    assert answer.status_code in (200, 201), answer.text
    return [(r.name, r.start, r.stop) for r in SeriesOut.model_validate(answer.json()).profile.recordings]


def by_columns(client: TestClient, text: str, **fields: Any) -> Response:
    return client.post("/v1/series", content=text, params=fields, headers={"content-type": "text/csv"})


def test_files_column_and_json_are_one_series(client: TestClient) -> None:
    first = by_files(client, [csv(part) for part in PARTS])
    assert first.status_code == 201
    assert borders(first) == BORDERS
    series = first.json()
    assert (series["dt"], series["n_steps"], series["channels"]) == (0.5, 59, ["x", "y"])
    assert [(s["start"], s["stop"], s["time_start"]) for s in series["profile"]["segments"]] == [
        (0, 30, 0), (30, 34, 0), (34, 59, 0),
    ]  # fmt: skip
    assert series["profile"]["duration"] == pytest.approx((29 + 3 + 24) * 0.5)
    others = [
        by_columns(client, long_csv()),
        client.post("/v1/series", json={"recordings": dict(zip(NAMES, (p.tolist() for p in PARTS), strict=True)), "dt": 0.5, "channels": ["x", "y"]}),
        client.post(
            "/v1/series",
            json={
                "recordings": {n: {"x": p[:, 0].tolist(), "y": p[:, 1].tolist()} for n, p in zip(NAMES, PARTS, strict=True)},
                "time": {n: (np.arange(len(p)) / 2).tolist() for n, p in zip(NAMES, PARTS, strict=True)},
            },
        ),
        by_files(client, [npy(part) for part in PARTS], dt=0.5, channels="x,y"),
    ]  # fmt: skip
    assert [(a.status_code, a.json()["id"]) for a in others] == [(200, series["id"])] * 4
    other_names = by_files(client, [csv(part) for part in PARTS], names=["a", "b", "c"])
    assert other_names.status_code == 201
    one = by_columns(client, csv(np.concatenate(PARTS)))
    assert borders(one) == []


def test_recordings_without_names_are_numbered(client: TestClient) -> None:
    answer = client.post("/v1/series", json={"recordings": [[1, 2, 4, 3], [5, 7, 6]]})
    assert borders(answer) == [("0", 0, 4), ("1", 4, 7)]
    assert answer.json()["channels"] == ["x0"]
    same = by_files(client, [csv(PARTS[0]), csv(PARTS[1])], names=["a", "a"])
    assert [name for name, _, _ in borders(same)] == ["a", "a (2)"]
    column = npy(np.column_stack([np.repeat([3, 1], 5), rng.normal(size=(10, 2))]))
    numbers = client.post("/v1/series", content=column, params={"recording_column": "0", "dt": 1})
    assert borders(numbers) == [("3", 0, 5), ("1", 5, 10)]


@pytest.mark.parametrize("format", ["json", "csv", "parquet"])
def test_export_keeps_the_recordings(client: TestClient, format: str) -> None:
    holes = [part.copy() for part in PARTS]
    holes[2][0] = np.nan  # the clock of a recording that begins with a gap is its own
    text = [csv(part, first).replace("nan", "") for part, first in zip(holes, [0.0, 100.0, 7.0], strict=True)]
    series = by_files(client, text, missing="split", time_unit="s").json()
    assert [s["time_start"] for s in series["profile"]["segments"]] == [0.0, 100.0, 7.5]
    answer = client.get(f"/v1/series/{series['id']}/data", params={"format": format})
    if format == "json":
        document = SeriesData.model_validate(answer.json())
        assert document.recording == [name for name, n in zip(NAMES, LENGTHS, strict=True) for _ in range(n)]
        assert document.time[34] == 7.0
        again = client.post(
            "/v1/series",
            json={k: v for k, v in answer.json().items() if k in ("recording", "time", "values", "channels", "dt")}
            | {"missing": "split", "time_unit": "s"},
        )
    else:
        kind = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}[format]
        again = client.post(
            "/v1/series",
            content=answer.content,
            params={"missing": "split", "time_unit": "s"},
            headers={"content-type": kind},
        )
    assert (again.status_code, again.json()["id"]) == (200, series["id"]), again.text


def refusal(answer: Response) -> tuple[str, dict[str, Any]]:
    assert answer.status_code == 422, answer.text
    return answer.json()["detail"], answer.json()["errors"][0]


def test_errors_name_the_recording_and_its_row(client: TestClient) -> None:
    hole = PARTS[2].copy()
    hole[7, 1] = np.nan
    with_hole = [PARTS[0], PARTS[1], hole]
    text = [csv(part).replace("nan", "") for part in with_hole]
    detail, item = refusal(by_files(client, text))
    assert detail.startswith("Recording 'sleep', row 7: 1 of 118 values are missing")
    assert (item["recording"], item["rows"], item["pointer"]) == ("sleep", [7], "/columns/y")
    detail, item = refusal(by_columns(client, long_csv(parts=with_hole).replace("nan", "")))
    assert detail.startswith("Recording 'sleep', row 41: ")  # one file: its own rows
    assert (item["recording"], item["rows"]) == ("sleep", [41])
    detail, item = refusal(by_files(client, [text[0], text[1].replace("0.5,", "0.0,", 1), csv(PARTS[2])]))
    assert detail.startswith("Recording 'task', row 1: 1 row has the time of the row before it")
    detail, item = refusal(by_files(client, [text[0], text[1].replace("\n0.5,", "\n0.5,?", 1), csv(PARTS[2])]))
    assert detail.startswith("Recording 'task': Column 'x', row 1: ")
    assert item["recording"] == "task"


def test_recordings_of_unequal_sampling_or_columns_are_refused(client: TestClient) -> None:
    slow = csv(PARTS[1]).replace("1.0,", "2.0,").replace("1.5,", "3.0,").replace("0.5,", "1.0,", 1)
    detail, item = refusal(by_files(client, [csv(PARTS[0]), slow], names=["a", "b"]))
    assert "Its steps are 1, those of recording 'a' 0.5" in detail
    assert item["recording"] == "b"
    detail, _ = refusal(by_files(client, [csv(PARTS[0]), csv(PARTS[1]).replace("t,x,y", "u,x,y")], names=["a", "b"]))
    assert "Recording 'b' has the channels 'u', 'x', 'y', recording 'a' 'x', 'y'" in detail


def test_a_recording_that_comes_back_or_has_no_name_is_refused(client: TestClient) -> None:
    detail, item = refusal(by_columns(client, long_csv(["a", "b", "a"])))
    assert detail.startswith("Row 34: recording 'a' begins again")
    assert item["rows"] == [34]
    detail, item = refusal(by_columns(client, long_csv(["a", "", "c"])))
    assert "4 rows do not say which recording" in detail
    assert item["rows"] == [30, 31, 32, 33]
    detail, item = refusal(by_columns(client, long_csv(), recording_column="subject"))
    assert "no column 'subject' to take the recording from" in detail
    assert item["pointer"] == "/recording_column"


def test_short_recordings_are_named_and_not_used(client: TestClient) -> None:
    answer = by_files(client, [csv(PARTS[0]), csv(PARTS[1][:1]), csv(PARTS[2])])
    assert answer.status_code == 201
    issue = next(i for i in answer.json()["profile"]["issues"] if i["code"] == "short_recordings")
    assert issue["detail"].endswith("1 of 3 recordings have fewer than 2 rows and are not used: 'task'.")
    assert issue["rows"] == [30]
    assert [s["start"] for s in answer.json()["profile"]["segments"]] == [0, 31]
    nothing = by_files(client, [csv(p[:1]) for p in PARTS])
    assert nothing.status_code == 422
    assert "No recording has 2 consecutive rows" in nothing.json()["detail"]


def test_nothing_is_interpolated_across_a_border(client: TestClient) -> None:
    inside = [PARTS[0].copy(), PARTS[2].copy()]
    inside[1][3] = np.nan
    text = [csv(part).replace("nan", "") for part in inside]
    answer = by_files(client, text, names=["a", "b"], missing="interpolate")
    values = client.get(f"/v1/series/{answer.json()['id']}/data", params={"format": "npy"}).content
    filled = np.load(io.BytesIO(values))
    np.testing.assert_allclose(filled[33], (PARTS[2][2] + PARTS[2][4]) / 2)
    inside[1][0] = np.nan  # the last row of `a` must not fill the first of `b`
    text = [csv(part).replace("nan", "") for part in inside]
    detail, item = refusal(by_files(client, text, names=["a", "b"], missing="interpolate"))
    assert "begins or ends with missing values" in detail
    assert (item["recording"], item["rows"]) == ("b", [0])


def test_steps_that_are_missing_in_one_recording_are_inserted_there(client: TestClient) -> None:
    lines = csv(PARTS[2]).splitlines()
    gap = "\n".join([*lines[:6], *lines[8:]]) + "\n"  # rows 5 and 6 are missing
    answer = by_files(client, [csv(PARTS[0]), gap, csv(PARTS[1])], missing="interpolate")
    assert borders(answer) == [("rest", 0, 30), ("task", 30, 55), ("sleep", 55, 59)]
    assert [(s["start"], s["stop"]) for s in answer.json()["profile"]["segments"]] == [(0, 30), (30, 55), (55, 59)]

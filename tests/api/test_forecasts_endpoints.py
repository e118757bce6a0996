"""Forecasts over HTTP, against the map that made the series."""

from __future__ import annotations

import io
import threading
import time
from typing import Any

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
from fastapi.testclient import TestClient
from stock import LAMBDA_MAX, N_STEPS, Stock

from domain.documents import ForecastOut
from domain.jobs import ErrorCode, JobError
from store.blobs import Blobs


def ask(client: TestClient, stock: Stock, headers: dict[str, str] | None = None, **body: Any) -> Any:
    return client.post(f"/v1/models/{stock.model_id}/forecasts", json=body, headers=headers)


def test_a_small_forecast_is_answered_at_once_and_kept(client: TestClient, stock: Stock) -> None:
    answer = ask(client, stock, horizon_steps=5, samples=50)
    out = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/forecasts/{out['id']}"
    assert out == client.get(answer.headers["location"]).json()
    ForecastOut.model_validate(out)
    assert (out["model_id"], out["series_id"], out["job_id"]) == (stock.model_id, stock.series_id, None)
    assert out["start"] == {"index": N_STEPS, "time": pytest.approx(46.0 + 59.0)}
    assert out["time"] == pytest.approx([105.0 + 0.1 * k for k in range(5)])
    truth = stock.trained.free_run(stock.values[-1], 5)
    assert np.array(out["median"]) == pytest.approx(truth, abs=0.05)
    assert set(out["quantiles"]) == {"0.05", "0.95"}
    assert client.get("/v1/jobs").json()["data"] == []


def test_a_single_member_is_the_map_itself(client: TestClient, stock: Stock) -> None:
    out = ask(client, stock, horizon_steps=8, samples=1, start_index=100, quantiles=[]).json()
    assert out["start"] == {"index": 100, "time": pytest.approx(15.0)}
    assert np.array(out["median"]) == pytest.approx(stock.values[100:108], abs=1e-9)


def test_a_context_gives_what_the_same_rows_of_the_series_give(client: TestClient, stock: Stock) -> None:
    rows = stock.values[490:500].tolist()
    sent = ask(client, stock, horizon_steps=6, seed=3, context={"values": rows, "time_start": 54.0}).json()
    stored = ask(client, stock, horizon_steps=6, seed=3, start_index=500).json()
    assert sent["median"] == stored["median"]
    assert sent["quantiles"] == stored["quantiles"]
    assert sent["time"] == pytest.approx(stored["time"])
    assert sent["series_id"] is None
    assert sent["start"]["index"] is None


def test_a_horizon_in_lyapunov_times(client: TestClient, stock: Stock) -> None:
    out = ask(client, stock, horizon_lyapunov_times=4).json()
    assert out["horizon_steps"] == round(4 / LAMBDA_MAX)
    assert out["predictability"]["time"] == pytest.approx(0.1 * np.log(2) / LAMBDA_MAX)


def test_a_long_forecast_is_a_job(client: TestClient, stock: Stock) -> None:
    answer = ask(client, stock, horizon_steps=5000, samples=100)
    assert answer.status_code == 202
    job = client.get(answer.headers["location"]).json()
    assert (job["kind"], job["status"], job["model_id"]) == ("forecast", "queued", stock.model_id)
    assert job["request"]["params"]["horizon_steps"] == 5000


def test_prefer_wait_answers_200_when_a_long_forecast_ends_in_time(client: TestClient, stock: Stock) -> None:
    def work() -> None:
        while not (queued := client.get("/v1/jobs", params={"status": "queued"}).json()["data"]):
            time.sleep(0.01)
        stock.fail(queued[0]["id"], JobError(code=ErrorCode.INTERNAL, detail="The disk is full.", retryable=True))

    worker = threading.Thread(target=work)
    worker.start()
    answer = ask(client, stock, {"Prefer": "wait=30"}, horizon_steps=5000, samples=100)
    worker.join()
    assert (answer.status_code, answer.json()["status"]) == (200, "failed")
    assert answer.headers["preference-applied"] == "wait=30"
    assert "retry-after" not in answer.headers
    early = ask(client, stock, {"Prefer": "wait=0"}, horizon_steps=5000, samples=100)
    assert (early.status_code, early.json()["status"]) == (202, "queued")


def test_prefer_respond_async_makes_a_job_of_any(client: TestClient, stock: Stock) -> None:
    answer = ask(client, stock, {"Prefer": "respond-async"}, horizon_steps=5)
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "respond-async"


@pytest.mark.parametrize(
    ("query", "accept"),
    [("csv", ""), ("npy", ""), ("parquet", ""), ("", "text/csv"), ("", "application/vnd.apache.parquet, */*")],
)
def test_tables_hold_the_numbers_of_the_document(client: TestClient, stock: Stock, query: str, accept: str) -> None:
    out = ask(client, stock, horizon_steps=7).json()
    answer = client.get(
        f"/v1/forecasts/{out['id']}",
        params={"format": query} if query else {},
        headers={"Accept": accept} if accept else {},
    )
    kind = answer.headers["content-type"].partition(";")[0]
    body = io.BytesIO(answer.content)
    if kind == "application/x-npy":
        table = np.load(body, allow_pickle=False)
        columns = {name: table[name] for name in table.dtype.names}
    else:
        read = pyarrow.csv.read_csv if kind == "text/csv" else pyarrow.parquet.read_table
        found = read(body)
        columns = {name: found[name].to_numpy() for name in found.column_names}
    assert list(columns) == ["time", "x_median", "x_q0.05", "x_q0.95", "y_median", "y_q0.05", "y_q0.95"]
    assert columns["time"].tolist() == out["time"]
    assert columns["y_median"].tolist() == [row[1] for row in out["median"]]
    assert columns["x_q0.95"].tolist() == [row[0] for row in out["quantiles"]["0.95"]]
    assert f"{out['id']}." in answer.headers["content-disposition"]


def test_a_forecast_that_diverges_has_nulls_and_says_so(client: TestClient, stock: Stock) -> None:
    out = ask(client, stock, horizon_steps=40, samples=3, context={"values": [[1e3, 1e3]]}).json()
    assert out["median"][-1] == [None, None]
    assert out["warnings"]
    csv = client.get(f"/v1/forecasts/{out['id']}", params={"format": "csv"}).text
    assert "nan" not in csv.lower()
    assert csv.splitlines()[-1].endswith(",,,,,,")


def test_a_long_result_lives_in_a_blob_and_is_listed_without_numbers(client: TestClient, stock: Stock) -> None:
    out = ask(client, stock, horizon_steps=5000, samples=2).json()
    assert len(out["time"]) == 5000
    assert client.get(f"/v1/forecasts/{out['id']}").json() == out
    (listed,) = client.get("/v1/forecasts", params={"model_id": stock.model_id}).json()["data"]
    assert listed == {k: v for k, v in out.items() if k not in ("time", "median", "quantiles", "counted_channels")}


def test_a_model_is_loaded_once(client: TestClient, stock: Stock, blobs: Blobs) -> None:
    first = ask(client, stock, horizon_steps=3, seed=1).json()
    artifact = client.get(f"/v1/models/{stock.model_id}").json()["artifacts"][0]
    blobs.delete(artifact["sha256"])
    assert ask(client, stock, horizon_steps=3, seed=1).json()["median"] == first["median"]


@pytest.mark.parametrize(
    ("upload", "code", "says"),
    [
        (
            {"dt": 0.1, "time_unit": "s", "channels": "x,v"},
            "unknown_channel",
            "the model needs x, y, the series has x, v",
        ),
        (
            {"dt": 0.1, "time_unit": "min", "channels": "x,y"},
            "invalid_parameters",
            "every 0.1 min, the model every 0.1 s",
        ),
        ({"dt": 0.2, "time_unit": "s", "channels": "x,y"}, "invalid_parameters", "every 0.2 s, the model every 0.1 s"),
    ],
)
def test_a_series_of_another_kind_is_refused(
    client: TestClient, stock: Stock, upload: dict[str, Any], code: str, says: str
) -> None:
    data = io.BytesIO()
    np.save(data, stock.values[:300])
    answer = client.post(
        "/v1/series", params=upload, content=data.getvalue(), headers={"Content-Type": "application/x-npy"}
    )
    series_id = answer.json()["id"]
    job = {"kind": "evaluate", "model_id": stock.model_id, "series_id": series_id}
    for refused in (ask(client, stock, horizon_steps=5, series_id=series_id), client.post("/v1/jobs", json=job)):
        problem = refused.json()
        assert (refused.status_code, problem["code"]) == (422, code)
        assert problem["errors"][0]["pointer"] == "/series_id"
        assert says in problem["detail"]

"""Models with inputs over HTTP: what they are, forecasts with inputs of three origins, refusals, and the same as jobs."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hand_made import linear
from stock import Stock, add_model

from domain.documents import ForecastOut, ModelOut
from models.trained import Inputs
from store.blobs import Blobs
from store.database import Database
from systems import driven_linear

N = 600
MODEL = linear(
    [0.9, -0.6],
    channels=["x", "y"],
    dt=0.1,
    time_unit="s",
    inputs=Inputs(["u"], np.zeros(1), np.ones(1), np.array([[0.5], [1.0]])),
)


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    return driven_linear(N, 3)


def upload(client: TestClient, values: np.ndarray, channels: str) -> str:
    body = io.BytesIO()
    np.save(body, values)
    answer = client.post(
        "/v1/series",
        params={"dt": 0.1, "time_unit": "s", "channels": channels},
        content=body.getvalue(),
        headers={"Content-Type": "application/x-npy"},
    )
    return answer.json()["id"]


@pytest.fixture
def series_id(client: TestClient, data: tuple[np.ndarray, np.ndarray]) -> str:
    x, s = data
    return upload(client, np.hstack([s, x]), "u,x,y")


@pytest.fixture
def model_id(stock: Stock, database: Database, blobs: Blobs, series_id: str) -> str:
    return add_model(database, blobs, MODEL, series_id, stock.analysis_id)


def ask(client: TestClient, model_id: str, **body: Any) -> Any:
    return client.post(f"/v1/models/{model_id}/forecasts", json={"samples": 1, "quantiles": []} | body)


def test_the_document_names_its_inputs(client: TestClient, model_id: str) -> None:
    out = client.get(f"/v1/models/{model_id}").json()
    ModelOut.model_validate(out)
    assert (out["channels"], out["input_channels"]) == (["x", "y"], ["u"])


def test_recorded_inputs_are_used_where_they_reach(client: TestClient, model_id: str, data: Any) -> None:
    answer = ask(client, model_id, horizon_steps=100, start_index=500)
    out = answer.json()
    assert answer.status_code == 201, out
    ForecastOut.model_validate(out)
    assert out["inputs"] == "series"
    assert np.array(out["median"]) == pytest.approx(data[0][500:600], abs=1e-9)
    assert client.get("/v1/forecasts").json()["data"][0]["inputs"] == "series"


def test_inputs_of_the_request_come_first(client: TestClient, model_id: str, data: Any) -> None:
    x, s = data
    sent = ask(client, model_id, horizon_steps=40, start_index=500, inputs=s[500:540].tolist()).json()
    assert sent["inputs"] == "request"
    assert np.array(sent["median"]) == pytest.approx(x[500:540], abs=1e-9)
    other = ask(client, model_id, horizon_steps=40, start_index=500, inputs=(-s[500:540]).tolist()).json()
    assert np.mean((np.array(other["median"]) - x[500:540]) ** 2) > 1


def test_a_context_and_its_inputs(client: TestClient, model_id: str, data: Any) -> None:
    x, s = data
    context = {"values": x[90:100].tolist(), "time_start": 9.0}
    out = ask(client, model_id, horizon_steps=30, context=context, inputs=s[100:130].tolist()).json()
    assert np.array(out["median"]) == pytest.approx(x[100:130], abs=1e-9)


def test_beyond_what_was_recorded_inputs_are_asked_for(client: TestClient, model_id: str) -> None:
    for body, has in (
        ({"horizon_steps": 20}, "the series has 0 of them"),
        ({"horizon_steps": 20, "start_index": 590}, "the series has 10 of them"),
        ({"horizon_steps": 20, "context": {"values": [[0.0, 0.0]]}}, "none are known"),
    ):
        problem = ask(client, model_id, **body).json()
        assert (problem["status"], problem["code"]) == (422, "invalid_parameters")
        assert problem["errors"][0]["pointer"] == "/inputs"
        assert "driven by u: inputs need 20 rows" in problem["detail"]
        assert has in problem["detail"]


def test_a_job_points_below_its_parameters(client: TestClient, model_id: str) -> None:
    def refused(**params: Any) -> Any:
        job = {"kind": "forecast", "model_id": model_id, "params": {"horizon_steps": 3} | params}
        answer = client.post("/v1/jobs", json=job)
        assert answer.status_code == 422
        return answer.json()["errors"][0]

    assert refused()["pointer"] == "/params/inputs"
    assert refused(inputs=[[1.0], [2.0], [None]])["pointer"] == "/params/inputs/2/0"
    assert refused(inputs=[[1.0], [2.0, 3.0], [1.0]])["pointer"] == "/params/inputs/1"


def test_a_model_without_inputs_refuses_them(client: TestClient, stock: Stock) -> None:
    problem = ask(client, stock.model_id, horizon_steps=1, inputs=[[1.0]]).json()
    assert problem["errors"][0]["pointer"] == "/inputs"
    assert "no input channels" in problem["detail"]


def test_a_series_without_the_input_needs_it_in_the_request(client: TestClient, model_id: str, data: Any) -> None:
    x, s = data
    bare = upload(client, x, "x,y")
    problem = ask(client, model_id, horizon_steps=5, start_index=100, series_id=bare).json()
    assert problem["errors"][0]["pointer"] == "/inputs"
    out = ask(client, model_id, horizon_steps=5, start_index=100, series_id=bare, inputs=s[100:105].tolist()).json()
    assert np.array(out["median"]) == pytest.approx(x[100:105], abs=1e-9)
    job = {"kind": "evaluate", "model_id": model_id, "series_id": bare}
    answer = client.post("/v1/jobs", json=job)
    assert answer.status_code == 422
    assert "lacks the model's channel 'u'" in answer.json()["detail"]


def test_a_horizon_in_lyapunov_times_says_how_many_rows_it_needs(
    client: TestClient, stock: Stock, database: Database, blobs: Blobs, series_id: str
) -> None:
    chaotic = replace(MODEL, card={})
    model_id = add_model(database, blobs, chaotic, series_id, stock.analysis_id)
    problem = ask(client, model_id, horizon_lyapunov_times=50).json()
    steps = round(50 / 0.47023)
    assert f"inputs need {steps} rows" in problem["detail"]
    out = ask(client, model_id, horizon_lyapunov_times=50, inputs=[[0.0]] * (steps + 5)).json()
    assert out["horizon_steps"] == steps

"""A driven system over HTTP, with real processes: upload, reconstruct with its input, forecast under inputs of several kinds."""

from __future__ import annotations

import io
from typing import Any

import httpx
import numpy as np
import pytest
from serving import serving, submit, succeeded

from models import TrainedModel
from systems import driven_linear

pytestmark = pytest.mark.e2e
N, HELD_OUT = 3000, 300
COUPLING = np.array([[0.5], [1.0]])


def upload(client: httpx.Client, x: np.ndarray, s: np.ndarray) -> str:
    table = np.column_stack([x[:, 0], s[:, 0], x[:, 1]])
    body = io.StringIO()
    body.write("left,push,right\n")
    np.savetxt(body, table, delimiter=",", fmt="%.17g")
    answer = client.post(
        "/v1/series",
        params={"dt": 0.5, "time_unit": "s"},
        content=body.getvalue(),
        headers={"Content-Type": "text/csv"},
    )
    assert answer.status_code == 201, answer.text
    assert answer.json()["profile"]["n_channels"] == 3
    return answer.json()["id"]


def forecast(client: httpx.Client, model_id: str, **body: Any) -> httpx.Response:
    return client.post(f"/v1/models/{model_id}/forecasts", json={"samples": 20, "start_index": N - HELD_OUT} | body)


def error(answer: httpx.Response, truth: np.ndarray) -> float:
    """Mean squared error of the median in units of the truth's variance."""
    assert answer.status_code == 201, answer.text
    return float(np.mean((np.array(answer.json()["median"]) - truth) ** 2 / truth.var(axis=0)))


def test_a_driven_system_from_upload_to_forecast(tmp_path):
    x, s = driven_linear(N, 5, coupling=COUPLING)
    truth, inputs = x[-HELD_OUT:], s[-HELD_OUT:]
    with serving(tmp_path / "data") as served, served.client as client:
        series_id = upload(client, x, s)
        training = {"input_channels": ["push"], "budget_seconds": 6, "seeds": 2}
        done = succeeded(client, submit(client, kind="reconstruct", series_id=series_id, params={"train": training}))
        model = client.get(done["result"]["href"]).json()
        assert (model["channels"], model["input_channels"]) == (["left", "right"], ["push"])
        assert client.get(f"/v1/analyses/{model['analysis_id']}").json()["channels"] == ["left", "right"]
        report = model["report"]
        assert report["verdict"] == "good", report["detail"]
        assert "conditional" in report["lyapunov_spectrum"]["method"]
        assert report["lyapunov_spectrum"]["exponents"] == pytest.approx(np.log([0.9, 0.6]) / 0.5, abs=0.05)

        weights = client.get(f"/v1/models/{model['id']}/artifacts/model.safetensors").content
        trained = TrainedModel.from_safetensors(weights)
        assert trained.inputs is not None
        coupling = trained.inputs.C * trained.std[:, None] / trained.inputs.std
        assert coupling == pytest.approx(COUPLING, abs=0.02), "training recovers C"

        recorded = forecast(client, model["id"], horizon_steps=HELD_OUT)
        assert recorded.json()["inputs"] == "series"
        sent = forecast(client, model["id"], horizon_steps=HELD_OUT, inputs=inputs.tolist())
        wrong = forecast(client, model["id"], horizon_steps=HELD_OUT, inputs=inputs[::-1].tolist())
        assert error(recorded, truth) == error(sent, truth) < 1e-3
        assert error(wrong, truth) > 1000 * error(sent, truth)

        refused = forecast(client, model["id"], horizon_steps=HELD_OUT + 1)
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["pointer"] == "/inputs"
        assert f"inputs need {HELD_OUT + 1} rows" in refused.json()["detail"]

        later = {"horizon_steps": 50, "inputs": [[0.0]] * 50, "samples": 20}
        job = submit(client, kind="forecast", model_id=model["id"], params=later)
        made = client.get(succeeded(client, job)["result"]["href"]).json()
        assert made["inputs"] == "request"
        assert abs(np.array(made["median"])[-1]).max() < 0.1 * x.std(), "without a push it comes to rest"

        evaluated = succeeded(client, submit(client, kind="evaluate", model_id=model["id"], series_id=series_id))
        again = client.get(evaluated["result"]["href"]).json()
        assert again["prediction_error"]["value"] == pytest.approx(report["prediction_error"]["value"])

        retrained = submit(
            client,
            kind="train",
            series_id=series_id,
            params={"input_channels": ["push"], "updates": 500, "seeds": 1},
        )
        second = client.get(succeeded(client, retrained)["result"]["href"]).json()
        assert second["analysis_id"] == model["analysis_id"], "the analysis of the observed channels is found"

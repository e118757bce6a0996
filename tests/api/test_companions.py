"""External inputs and nuisance as series of their own: what is checked, what a job protects, what forecasts and reports take."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hand_made import linear
from stock import Stock, add_model

from models.trained import Inputs, Nuisance
from store.blobs import Blobs
from store.database import Database
from store.tables import ModelRow
from systems import driven_linear

N = 600
MODEL = linear(
    [0.9, -0.6],
    channels=["x", "y"],
    dt=0.1,
    time_unit="s",
    inputs=Inputs(["u"], np.zeros(1), np.ones(1), np.array([[0.5], [1.0]])),
)
TRAIN = {"kind": "train", "params": {"updates": 10}}


def upload(client: TestClient, values: np.ndarray, channels: str, **fields: Any) -> str:
    body = io.BytesIO()
    np.save(body, values)
    params = {"dt": 0.1, "time_unit": "s", "channels": channels} | fields
    answer = client.post(
        "/v1/series", params=params, content=body.getvalue(), headers={"Content-Type": "application/x-npy"}
    )
    assert answer.status_code in (200, 201), answer.text
    return answer.json()["id"]


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    return driven_linear(N + 100, 3)


@pytest.fixture
def series_id(client: TestClient, data: tuple[np.ndarray, np.ndarray]) -> str:
    return upload(client, data[0][:N], "x,y")


@pytest.fixture
def push_id(client: TestClient, data: tuple[np.ndarray, np.ndarray]) -> str:
    return upload(client, data[1][:N], "u")


@pytest.fixture
def model_id(stock: Stock, database: Database, blobs: Blobs, series_id: str, push_id: str) -> str:
    """The true map of the system, trained as it were with the input beside the series."""
    id = add_model(database, blobs, MODEL, series_id, stock.analysis_id)
    with database.write() as session:
        row = session.get(ModelRow, id)
        assert row is not None
        row.document = row.document | {"input_series": [{"series_id": push_id, "channels": ["u"]}]}
    return id


def refusal(client: TestClient, body: dict[str, Any], path: str = "/v1/jobs") -> tuple[int, str, str]:
    answer = client.post(path, json=body)
    assert answer.status_code in (404, 422), answer.text
    problem = answer.json()
    return answer.status_code, problem["errors"][0]["pointer"], problem["detail"]


def test_what_does_not_go_together_is_refused(client: TestClient, series_id: str, data: Any) -> None:
    s = data[1]
    holes = s[:N].copy()
    holes[100:103] = np.nan
    cases = [
        (upload(client, s[: N - 1], "u"), "has 599 rows and series"),
        (upload(client, s[:N], "u", dt=0.2), "sampled every 0.2 s"),
        (upload(client, s[:N], "u", time_unit="ms"), "sampled every 0.1 ms"),
        (upload(client, holes, "u", missing="split"), "no values in 3 rows"),
        ("ser_" + "0" * 32, "There is no series"),
        ("nonsense", "There is no series 'nonsense'"),
    ]
    for field in ("input_series", "nuisance_series"):
        for id, says in cases:
            status, pointer, detail = refusal(client, TRAIN | {"series_id": series_id, field: [{"series_id": id}]})
            assert pointer == f"/{field}/0/series_id"
            assert says in detail
            assert status == (404 if "There is no" in says else 422)


def test_missing_rows_are_named(client: TestClient, series_id: str, data: Any) -> None:
    holes = data[1][:N].copy()
    holes[100:103] = np.nan
    other = upload(client, holes, "u", missing="split")
    answer = client.post("/v1/jobs", json=TRAIN | {"series_id": series_id, "input_series": [{"series_id": other}]})
    assert answer.json()["errors"][0]["rows"] == [100, 101, 102]
    gap = data[0][:N].copy()
    gap[90:110] = np.nan
    same_gap = upload(client, gap, "x,y", missing="split")
    body = TRAIN | {"series_id": same_gap, "input_series": [{"series_id": other}]}
    assert client.post("/v1/jobs?validate_only=true", json=body).status_code == 200, "nobody misses these rows"


def test_times_are_compared_where_both_have_them(client: TestClient) -> None:
    def timed(first: int, name: str) -> str:
        rows = "\n".join(f"{first + i},{np.sin(i * 0.7):.6f}" for i in range(N))
        answer = client.post("/v1/series", content=f"t,{name}\n{rows}\n", headers={"Content-Type": "text/csv"})
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    main, later, same = timed(0, "x"), timed(50, "u"), timed(0, "u")
    _, pointer, detail = refusal(client, TRAIN | {"series_id": main, "input_series": [{"series_id": later}]})
    assert (pointer, "not of the same times" in detail) == ("/input_series/0/series_id", True)
    body = TRAIN | {"series_id": main, "input_series": [{"series_id": same}]}
    assert client.post("/v1/jobs?validate_only=true", json=body).status_code == 200


def test_recordings_must_be_the_same(client: TestClient, data: Any) -> None:
    x, s = data

    def collection(values: np.ndarray, names: str, lengths: dict[str, int]) -> str:
        labels = np.repeat(list(lengths), list(lengths.values()))
        rows = "\n".join(f"{a},{','.join(map(str, v))}" for a, v in zip(labels, values[:N].tolist(), strict=True))
        answer = client.post(
            "/v1/series?dt=0.1&time_unit=s",
            content=f"recording,{names}\n{rows}\n",
            headers={"Content-Type": "text/csv"},
        )
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    main = collection(x, "x,y", {"a": 300, "b": 300})
    for lengths, fits in (({"a": 300, "b": 300}, True), ({"a": 310, "b": 290}, False), ({"a": 300, "c": 300}, False)):
        body = TRAIN | {"series_id": main, "input_series": [{"series_id": collection(s, "u", lengths)}]}
        if fits:
            assert client.post("/v1/jobs?validate_only=true", json=body).status_code == 200
        else:
            _, pointer, detail = refusal(client, body)
            assert pointer == "/input_series/0/series_id"
            assert "both need the same recordings" in detail
    plain = upload(client, s[:N], "u")
    assert "Recording 0" in refusal(client, TRAIN | {"series_id": main, "input_series": [{"series_id": plain}]})[2]


def test_names_are_told_apart(client: TestClient, series_id: str, push_id: str, data: Any) -> None:
    x, s = data
    same_name = upload(client, s[:N], "y")
    both = upload(client, np.hstack([s[:N], x[:N, :1]]), "u,breath")
    body = TRAIN | {"series_id": series_id}
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"input_series": [{"series_id": same_name}]}, "/input_series/0/channels", "'y' is a channel of series"),
        (
            {"input_series": [{"series_id": push_id}], "nuisance_series": [{"series_id": both}]},
            "/nuisance_series/0/channels",
            "'u' is a channel of series",
        ),
        (
            {"input_series": [{"series_id": push_id, "channels": ["v"]}]},
            "/input_series/0/channels/0",
            "has no channel 'v'; it has u",
        ),
        ({"input_series": [{"series_id": series_id}]}, "/input_series/0/channels", "is a channel of series"),
    ]
    for more, pointer, says in cases:
        _, at, detail = refusal(client, body | more)
        assert at == pointer
        assert says in detail
    twice = client.post(
        "/v1/jobs", json=body | {"input_series": [{"series_id": both}], "nuisance_series": [{"series_id": both}]}
    )
    assert twice.status_code == 422
    assert "named twice" in twice.text
    parted = {
        "input_series": [{"series_id": both, "channels": ["u"]}],
        "nuisance_series": [{"series_id": both, "channels": ["breath"]}],
    }
    assert client.post("/v1/jobs?validate_only=true", json=body | parted).status_code == 200


def test_a_job_keeps_what_it_reads(client: TestClient, series_id: str, push_id: str, model_id: str) -> None:
    named = {"input_series": [{"series_id": push_id}]}
    for body in (
        TRAIN | {"series_id": series_id} | named,
        {"kind": "reconstruct", "series_id": series_id} | named,
        {"kind": "evaluate", "model_id": model_id},  # the companions of the model, without being named
        {"kind": "evaluate", "model_id": model_id} | named,
    ):
        job = client.post("/v1/jobs", json=body)
        assert job.status_code == 202, job.text
        shown = job.json()["request"].get("input_series", [])
        assert [part["series_id"] for part in shown] == [part["series_id"] for part in body.get("input_series", [])]
        refused = client.delete(f"/v1/series/{push_id}")
        assert (refused.status_code, refused.json()["code"]) == (409, "in_use")
        assert job.json()["id"] in refused.json()["detail"]
        client.post(f"/v1/jobs/{job.json()['id']}/cancel")
    assert client.delete(f"/v1/series/{push_id}").status_code == 204
    document = client.get(f"/v1/models/{model_id}").json()
    assert document["input_series"] == [{"series_id": push_id, "channels": ["u"]}], (
        "results outlive what they came from"
    )
    retried = client.post(f"/v1/jobs/{job.json()['id']}/retry", json={})
    assert (retried.status_code, "There is no series" in retried.json()["detail"]) == (409, True)


def test_the_same_request_is_the_same_and_another_input_is_not(
    client: TestClient, series_id: str, push_id: str, data: Any
) -> None:
    other = upload(client, data[1][1 : N + 1], "u")
    headers = {"Idempotency-Key": "k"}
    body = TRAIN | {"series_id": series_id, "input_series": [{"series_id": push_id}]}
    first = client.post("/v1/jobs", json=body, headers=headers)
    assert client.post("/v1/jobs", json=body, headers=headers).json()["id"] == first.json()["id"]
    changed = client.post("/v1/jobs", json=body | {"input_series": [{"series_id": other}]}, headers=headers)
    assert (changed.status_code, changed.json()["code"]) == (422, "idempotency_mismatch")


class TestForecasts:
    def ask(self, client: TestClient, model_id: str, **body: Any) -> Any:
        return client.post(f"/v1/models/{model_id}/forecasts", json={"samples": 1, "quantiles": []} | body)

    def test_recorded_inputs_come_from_beside_the_series(
        self, client: TestClient, model_id: str, push_id: str, data: Any
    ) -> None:
        out = self.ask(client, model_id, horizon_steps=100, start_index=500).json()
        assert (out["inputs"], out["input_series"]) == ("series", [{"series_id": push_id, "channels": ["u"]}])
        assert np.array(out["median"]) == pytest.approx(data[0][500:600], abs=1e-9)

    def test_a_longer_input_series_holds_the_future(self, client: TestClient, model_id: str, data: Any) -> None:
        x, s = data
        longer = upload(client, s, "u")
        named = [{"series_id": longer}]
        out = self.ask(client, model_id, horizon_steps=100, input_series=named).json()
        assert np.array(out["median"]) == pytest.approx(x[N : N + 100], abs=1e-9)
        problem = self.ask(client, model_id, horizon_steps=101, input_series=named).json()
        assert "the series has 100 of them from the start on" in problem["detail"]
        job = {"kind": "forecast", "model_id": model_id, "input_series": named, "params": {"horizon_steps": 100}}
        made = client.post("/v1/jobs", json=job)
        assert made.status_code == 202, made.text
        assert client.delete(f"/v1/series/{longer}").status_code == 409

    def test_another_series_with_its_own(self, client: TestClient, model_id: str, data: Any) -> None:
        x, s = data
        main, beside = upload(client, x[100:N], "x,y"), upload(client, s[100:N], "u")
        out = self.ask(
            client, model_id, horizon_steps=50, start_index=400, series_id=main, input_series=[{"series_id": beside}]
        ).json()
        assert np.array(out["median"]) == pytest.approx(x[500:550], abs=1e-9)
        assert "inputs need 5 rows" in self.ask(client, model_id, horizon_steps=5, series_id=main).json()["detail"]

    def test_what_is_wrong_is_said_where(self, client: TestClient, model_id: str, series_id: str, data: Any) -> None:
        path, push = f"/v1/models/{model_id}/forecasts", upload(client, data[0][:N, :1], "v")
        ask = {"horizon_steps": 5, "start_index": 100}
        status, at, says = refusal(client, ask | {"input_series": [{"series_id": push}]}, path)
        assert (status, at) == (422, "/input_series/0/series_id")
        assert "the model's input channels are u" in says
        _, at, says = refusal(client, ask | {"nuisance_series": [{"series_id": push}]}, path)
        assert (at, "are none" in says) == ("/nuisance_series/0/series_id", True)
        sent = {"horizon_steps": 5, "context": {"values": [[0.0, 0.0]]}, "inputs": [[0.0]] * 5}
        _, at, says = refusal(client, sent | {"input_series": [{"series_id": push}]}, path)
        assert (at, "not both" in says) == ("/input_series", True)

    def test_inputs_that_are_gone_are_asked_for(
        self, client: TestClient, model_id: str, push_id: str, data: Any
    ) -> None:
        x, s = data
        assert client.delete(f"/v1/series/{push_id}").status_code == 204
        problem = self.ask(client, model_id, horizon_steps=20, start_index=500).json()
        assert problem["errors"][0]["pointer"] == "/inputs"
        out = self.ask(client, model_id, horizon_steps=20, start_index=500, inputs=s[500:520].tolist()).json()
        assert np.array(out["median"]) == pytest.approx(x[500:520], abs=1e-9)
        _, at, says = refusal(client, {"kind": "evaluate", "model_id": model_id})
        assert (at, "input_series" in says) == ("/series_id", True)

    def test_nuisance_beside_the_series(
        self, client: TestClient, stock: Stock, database: Database, blobs: Blobs, data: Any
    ) -> None:
        """x_t = z_t + J r_t, where only r is beside: with its values the observation is forecast, after its end the signal."""
        J = np.array([[0.7], [-0.4]])
        r = np.random.default_rng(0).standard_normal((N, 1))
        z = np.cumprod(np.full((N, 2), [0.995, 0.99]), axis=0)
        model = linear(
            [0.995, 0.99],
            channels=["x", "y"],
            dt=0.1,
            time_unit="s",
            observation={"J": J},
            nuisance=Nuisance(["r"], np.zeros(1), np.ones(1)),
        )
        main, breath = upload(client, z + r @ J.T, "x,y"), upload(client, r, "r")
        id = add_model(database, blobs, model, main, stock.analysis_id)
        named = {"nuisance_series": [{"series_id": breath}]}
        out = self.ask(client, id, horizon_steps=50, start_index=500, **named).json()
        assert out["nuisance"] == "series"
        assert np.array(out["median"]) == pytest.approx((z + r @ J.T)[500:550], abs=1e-9)
        later = self.ask(client, id, horizon_steps=50, **named).json()
        assert later["nuisance"] == "mean"
        assert np.array(later["median"])[0] == pytest.approx(z[-1] * [0.995, 0.99], abs=1e-9)
        _, at, says = refusal(client, {"horizon_steps": 5}, f"/v1/models/{id}/forecasts")
        assert (at, "input_series or nuisance_series" in says) == ("/series_id", True)

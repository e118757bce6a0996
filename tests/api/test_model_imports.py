"""Models that come back: equal to what was exported, and nothing kept of a file that is none."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from fastapi.testclient import TestClient
from hand_made import linear, lozi
from safetensors.numpy import load, save
from stock import Stock, add_model

from domain.documents import ModelOut
from models import ARCHITECTURES, TrainedModel
from models.families import Family
from models.filters import Filter
from models.trained import Inputs, Nuisance
from store.blobs import Blobs
from store.database import Database

LOZI = lozi(channels=["x", "y"], dt=0.1, time_unit="s", residual_std=np.full(2, 1e-3))
WEIGHTS = LOZI.to_safetensors()


def send(client: TestClient, weights: bytes, card: bytes | None = None) -> Any:
    files = {"file": ("model.safetensors", weights)} | ({"card": ("model.json", card)} if card is not None else {})
    return client.post("/v1/models", files=files)


def artifact(client: TestClient, model_id: str, name: str) -> Any:
    return client.get(f"/v1/models/{model_id}/artifacts/{name}")


def described(weights: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Tensors and header of a file."""
    size = int.from_bytes(weights[:8], "little")
    return load(weights), json.loads(json.loads(weights[8 : 8 + size])["__metadata__"]["attractor"])


def changed(change: Callable[[dict[str, np.ndarray], dict[str, Any]], Any], weights: bytes = WEIGHTS) -> bytes:
    """The file with something else in it."""
    tensors, header = described(weights)
    change(tensors, header)
    return save(tensors, metadata={"attractor": json.dumps(header)})


def test_a_model_comes_back_as_it_was(client: TestClient, stock: Stock) -> None:
    weights = artifact(client, stock.model_id, "model.safetensors").content
    answer = send(client, weights)
    assert answer.status_code == 201, answer.text
    model = answer.json()
    ModelOut.model_validate(model)
    assert answer.headers["Location"] == f"/v1/models/{model['id']}"
    assert (model["origin"], model["series_id"], model["job_id"]) == ("imported", None, None)
    assert client.get(answer.headers["Location"]).json() == model
    assert artifact(client, model["id"], "model.safetensors").content == weights
    assert model["id"] in [m["id"] for m in client.get("/v1/models").json()["data"]]
    assert model["report"]["verdict"] == "undecided"
    assert "without its card" in model["report"]["d_stsp"]["reason"]
    body = {"horizon_steps": 20, "samples": 1, "series_id": stock.series_id}
    ahead, before = (
        client.post(f"/v1/models/{id}/forecasts", json=body).json() for id in (model["id"], stock.model_id)
    )
    assert ahead["median"] == before["median"]
    no_series = client.post(f"/v1/models/{model['id']}/forecasts", json={"horizon_steps": 5})
    assert (no_series.status_code, "imported" in no_series.json()["detail"]) == (404, True)
    job = {"kind": "evaluate", "model_id": model["id"], "series_id": stock.series_id}
    assert client.post("/v1/jobs", json=job, params={"validate_only": True}).status_code == 200
    for path in ("figures", "report"):
        assert client.get(f"/v1/models/{model['id']}/{path}").status_code == 200
    assert client.delete(answer.headers["Location"]).status_code == 204


def a_card(client: TestClient, stock: Stock) -> dict[str, Any]:
    """As the worker writes one."""
    return client.get(f"/v1/models/{stock.model_id}").json() | {"data": {"content_hash": "ab"}}


def test_with_its_card_it_has_its_history_and_report(client: TestClient, stock: Stock) -> None:
    model = send(client, WEIGHTS, json.dumps(a_card(client, stock)).encode()).json()
    assert model["report"]["verdict"] == "good"
    assert model["training"]["seeds"][0]["seed"] == 7
    assert "measured elsewhere" in model["report"]["warnings"][-1]["detail"]
    card = artifact(client, model["id"], "model.json").json()
    assert card["data"] == {"content_hash": "ab"}
    assert card["equations"][0].startswith("z_t = A z_{t-1} + W1 relu(")
    assert card["weights"]["sha256"] == model["artifacts"][0]["sha256"]
    assert "licence" in card["licence_note"]
    assert card["citation"] == ARCHITECTURES["shplrnn"].citation


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("card", "pointer"),
    [
        (b"no", "/card"),
        (b"[]", "/card"),
        (b'{"latent_dim": NaN}', "/card"),
        ({"architecture": "gru"}, "/card/architecture"),
        ({"channels": ["x"]}, "/card/channels"),
        ({"report": {"verdict": "splendid"}}, "/card/report/verdict"),
        ({"training": []}, "/card/training"),
    ],
)
def test_cards_that_do_not_fit(client: TestClient, stock: Stock, card: Any, pointer: str) -> None:
    given = card if isinstance(card, bytes) else json.dumps(a_card(client, stock) | card).encode()
    answer = send(client, WEIGHTS, given)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_model"), answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer


def no_nan(tensors: dict[str, np.ndarray], header: dict[str, Any]) -> None:
    tensors["map.W1"][0, 0] = np.nan


DRIVEN = replace(
    linear([0.9, -0.6], channels=["x", "y"], dt=0.1, time_unit="s"),
    inputs=Inputs(["u"], np.zeros(1), np.ones(1), np.ones((2, 1))),
).to_safetensors()
FILTERED = replace(
    linear([0.9, -0.6], channels=["x", "y"], dt=0.1, time_unit="s"),
    observation={"J": np.ones((2, 1))},
    nuisance=Nuisance(["r"], np.zeros(1), np.ones(1)),
    filter=Filter(np.array([0.5, 0.3, 0.2]), np.full(2, 0.8), np.full(2, 50.0), np.full(2, 0.1), (1, 2)),
).to_safetensors()
FAMILY = replace(
    LOZI, family=Family(["a", "b"], np.array([[1.0], [-1.0]]), {k: 0.1 * v[None] for k, v in LOZI.params.items()})
).to_safetensors()
BAD: dict[str, tuple[bytes, int, str]] = {
    "pickle": (b"\x80\x04\x95" + bytes(50), 415, "pickle"),
    "torch": (b"PK\x03\x04" + bytes(50), 415, "torch"),
    "npy": (b"\x93NUMPY" + bytes(50), 415, "NumPy"),
    "empty": (b"", 415, "safetensors"),
    "text": (b"hello, this is no model at all", 415, "safetensors"),
    "huge header": (struct.pack("<Q", 2**62) + b"{" + bytes(50), 422, "header claims"),
    "header beyond the file": (struct.pack("<Q", 5000) + b"{}" + bytes(50), 422, "header claims"),
    "deep header": (struct.pack("<Q", 200_001) + b"{" + b'"a":[' * 40_000 + b" ", 422, "header"),
    "header is no JSON": (struct.pack("<Q", 10) + b"{xxxxxxxxx", 422, "not JSON"),
    "cut off": (WEIGHTS[:-8], 422, "cannot be read"),
    "longer": (WEIGHTS + b"more", 422, "cannot be read"),
    "no metadata": (save({"map.A": np.ones(2)}), 422, "attractor"),
    "whole numbers": (save({"map.A": np.ones(2, np.int8)}, {"attractor": "{}"}), 422, "I8"),
    "NaN": (changed(no_nan), 422, "map.W1 holds NaN"),
    "infinity": (changed(lambda t, h: t.update({"series.mean": np.array([np.inf, 0.0])})), 422, "series.mean holds"),
    "wrong shape": (changed(lambda t, h: t.update({"map.h1": np.zeros(3)})), 422, "map.h1 has the shape (3,)"),
    "wrong axes": (changed(lambda t, h: t.update({"map.W1": np.zeros(3)})), 422, "map.W1 has 1 axes"),
    "missing": (changed(lambda t, h: t.pop("map.h2")), 422, "has the parameters"),
    "no mean": (changed(lambda t, h: t.pop("series.mean")), 422, "cannot be read"),
    "further": (changed(lambda t, h: t.update({"map.evil": np.zeros(3)})), 422, "has the parameters"),
    "elsewhere": (changed(lambda t, h: t.update({"evil": np.zeros(3)})), 422, "'evil' belongs to no part"),
    "negative std": (changed(lambda t, h: t.update({"series.std": -np.ones(2)})), 422, "must be positive"),
    "unknown map": (changed(lambda t, h: h.update(architecture="transformer")), 422, "transformer"),
    "format": (changed(lambda t, h: h.update(format="attractor-model/9")), 422, "attractor-model/9"),
    "channels": (changed(lambda t, h: h.update(channels=["x"])), 422, "shape"),
    "channel twice": (changed(lambda t, h: h.update(channels=["x", "x"])), 422, "twice"),
    "channel of lines": (changed(lambda t, h: h.update(channels=["x", "a\nb"])), 422, "printable"),
    "lags": (changed(lambda t, h: h.update(lags=[0, 5, 3])), 422, "lags"),
    "far lags": (changed(lambda t, h: h.update(lags=[0, 10**9])), 422, "lags"),
    "dt": (changed(lambda t, h: h.update(dt=0)), 422, "dt"),
    "dt of words": (changed(lambda t, h: h.update(dt="fast")), 422, "dt"),
    "unit": (changed(lambda t, h: h.update(time_unit=["s"])), 422, "time_unit"),
    "card": (changed(lambda t, h: h.update(card=7)), 422, "card"),
    "squashed": (changed(lambda t, h: h.update(architecture="gru")), 422, "parameters"),
    "observation": (changed(lambda t, h: t.update({"observation.L0": np.zeros((1, 2))})), 422, "observation"),
    "inputs unnamed": (changed(lambda t, h: h.update(format="attractor-model/1", input_channels=[]), DRIVEN), 422, "inputs"),
    "coupling": (changed(lambda t, h: t.update({"inputs.C": np.ones((3, 1))}), DRIVEN), 422, "inputs.C has the shape"),
    "observed input": (changed(lambda t, h: h.update(input_channels=["x"]), DRIVEN), 422, "an input at once"),
    "nuisance unnamed": (changed(lambda t, h: h.update(nuisance_channels=[]), FILTERED), 422, "names of nuisance"),
    "nuisance observed": (changed(lambda t, h: h.update(nuisance_channels=["x"]), FILTERED), 422, "nuisance and something else"),
    "no J": (changed(lambda t, h: t.pop("observation.J"), FILTERED), 422, "observation.J"),
    "J": (changed(lambda t, h: t.update({"observation.J": np.ones((1, 1))}), FILTERED), 422, "observation.J has the shape"),
    "kernel": (changed(lambda t, h: t.update({"filter.kernel": np.ones(3)}), FILTERED), 422, "add up to 1"),
    "persistence": (changed(lambda t, h: t.update({"filter.persistence": np.ones(2)}), FILTERED), 422, "filter.persistence"),
    "cut": (changed(lambda t, h: t.update({"filter.cut": np.array([0, 6])}), FILTERED), 422, "filter.cut"),
    "cut of fractions": (changed(lambda t, h: t.update({"filter.cut": np.ones(2)}), FILTERED), 422, "I64 is needed"),
    "half a filter": (changed(lambda t, h: t.pop("filter.noise_std"), FILTERED), 422, "cannot be read"),
    "kernel and lags": (changed(lambda t, h: h.update(lags=[1]), FILTERED), 422, "lags"),
    "kernel of format 1": (changed(lambda t, h: h.update(format="attractor-model/1"), FILTERED), 422, "belongs to"),
    "recordings": (changed(lambda t, h: h.update(recordings=["a"]), FAMILY), 422, "family.vectors has the shape"),
    "recording twice": (changed(lambda t, h: h.update(recordings=["a", "a"]), FAMILY), 422, "a recording twice"),
    "direction": (changed(lambda t, h: t.pop("direction.A"), FAMILY), 422, "one direction.NAME"),
    "direction's shape": (changed(lambda t, h: t.update({"direction.A": np.ones((2, 2))}), FAMILY), 422, "direction.A has the shape"),
    "family of format 1": (changed(lambda t, h: h.update(format="attractor-model/1"), FAMILY), 422, "belong to"),
}  # fmt: skip


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_bad_files_are_refused_and_leave_nothing(client: TestClient, database: Database, blobs: Blobs) -> None:
    for name, (weights, status, said) in BAD.items():
        answer = send(client, weights)
        assert answer.status_code == status, (name, answer.text)
        problem = answer.json()
        assert problem["code"] == ("unsupported_format" if status == 415 else "invalid_model"), name
        assert said in problem["detail"], (name, problem["detail"])
        assert problem["errors"][0]["pointer"] == "/file", name
    assert client.get("/v1/models").json()["data"] == []
    assert not [path for path in blobs.root.rglob("*") if path.is_file()]


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_forms_without_a_file(client: TestClient) -> None:
    for answer in (client.post("/v1/models", json={}), client.post("/v1/models", files={"card": ("c", b"{}")})):
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/file")


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_graphs_are_made_when_they_are_asked_for(
    client: TestClient, stock: Stock, database: Database, blobs: Blobs
) -> None:
    answer = artifact(client, stock.model_id, "model.onnx")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/octet-stream")
    run = onnxruntime.InferenceSession(answer.content, providers=["CPUExecutionProvider"])
    z = np.array([[0.1, 0.2], [-0.4, 0.3]])
    following, seen = run.run(["next_state", "observation"], {"state": z})
    np.testing.assert_allclose(following, stock.trained.step(z), rtol=1e-6)
    np.testing.assert_allclose(seen, stock.trained.to_units(stock.trained.step(z)), rtol=1e-6)
    again = client.get(
        f"/v1/models/{stock.model_id}/artifacts/model.onnx", headers={"If-None-Match": answer.headers["ETag"]}
    )
    assert again.status_code == 304
    assert artifact(client, stock.model_id, "encoder.onnx").status_code == 200
    family = TrainedModel.from_safetensors(FAMILY)
    path = f"/v1/models/{add_model(database, blobs, family, stock.series_id, stock.analysis_id)}/artifacts/model.onnx"
    refused = client.get(path)
    assert (refused.status_code, refused.json()["code"]) == (422, "not_exportable")
    assert "name a recording of a, b" in refused.json()["detail"]
    run = onnxruntime.InferenceSession(client.get(path, params={"recording": "b"}).content)
    (following,) = run.run(["next_state"], {"state": z})
    np.testing.assert_allclose(following, family.of("b").step(z), rtol=1e-6)
    for asked, says in ((path, "knows no recording 'c'"), (answer.url.path, "one map for all")):
        wrong = client.get(asked, params={"recording": "c"})
        assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "/query/recording")
        assert says in wrong.json()["detail"]


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_kernels_nuisance_and_recordings_come_back(client: TestClient) -> None:
    rows = np.random.default_rng(0).normal(size=(40, 2)).tolist()
    more = {"context": {"values": rows, "nuisance": [[0.0]] * 40}}
    cases = ((FILTERED, more), (FAMILY, {"context": {"values": rows}, "recording": "b"}))
    for weights, asked in cases:
        model = send(client, weights).json()
        assert artifact(client, model["id"], "model.safetensors").content == weights
        trained, spec = TrainedModel.from_safetensors(weights), {"horizon_steps": 5, "samples": 1, "quantiles": []}
        made = client.post(f"/v1/models/{model['id']}/forecasts", json=spec | asked)
        assert made.status_code == 201, made.text
        assert model["nuisance_channels"] == trained.nuisance_channels
        assert {r["name"]: r["vector"] for r in model["recordings"]} == trained.vectors
        assert model["observation"] == trained.observation_document()

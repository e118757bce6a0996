"""Analyses, models with their files, evaluations: as stored, with what the columns say on top."""

from __future__ import annotations

import base64
import hashlib

import pytest
from fastapi.testclient import TestClient
from stock import Stock

from domain.documents import AnalysisOut, EvaluationOut, ModelOut
from models import TrainedModel


def test_an_analysis_is_served_whole_and_listed_without_diagnostics(client: TestClient, stock: Stock) -> None:
    one = client.get(f"/v1/analyses/{stock.analysis_id}").json()
    AnalysisOut.model_validate(one)
    assert one["id"] == stock.analysis_id
    assert one["series_id"] == stock.series_id
    assert one["channels"] == ["x", "y"]
    assert one["created_at"].endswith("Z")
    assert one["diagnostics"] == {"curve": [1.0, 2.0]}
    listed = client.get("/v1/analyses", params={"series_id": stock.series_id}).json()
    assert listed == {"data": [{k: v for k, v in one.items() if k != "diagnostics"}], "next_cursor": None}


def test_a_model_is_served_whole_and_listed_without_curves(client: TestClient, stock: Stock) -> None:
    one = client.get(f"/v1/models/{stock.model_id}").json()
    ModelOut.model_validate(one)
    assert one["analysis_id"] == stock.analysis_id
    assert one["training"]["loss"] == [[0, 1.0], [10, 0.1]]
    assert one["report"]["samples"]["true"] == [[0.0, 0.0]]
    (listed,) = client.get("/v1/models").json()["data"]
    assert "loss" not in listed["training"]
    assert "samples" not in listed["report"]
    assert listed["report"]["d_stsp"] == one["report"]["d_stsp"]


def test_an_evaluation_is_served_and_listed_by_model(client: TestClient, stock: Stock) -> None:
    one = client.get(f"/v1/evaluations/{stock.evaluation_id}").json()
    EvaluationOut.model_validate(one)
    assert one["model_id"] == stock.model_id
    assert len(client.get("/v1/evaluations", params={"model_id": stock.model_id}).json()["data"]) == 1
    other = stock.model_id[:-4] + "0000"
    assert client.get("/v1/evaluations", params={"model_id": other}).json()["data"] == []


def test_artifacts_are_the_stored_bytes_with_their_digest(client: TestClient, stock: Stock) -> None:
    for artifact in client.get(f"/v1/models/{stock.model_id}").json()["artifacts"]:
        answer = client.get(artifact["href"])
        digest = hashlib.sha256(answer.content)
        assert answer.status_code == 200
        assert len(answer.content) == artifact["bytes"]
        assert digest.hexdigest() == artifact["sha256"]
        assert answer.headers["etag"] == f'"{artifact["sha256"]}"'
        known = client.get(artifact["href"], headers={"If-None-Match": answer.headers["etag"]})
        assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", answer.headers["etag"])
        assert answer.headers["repr-digest"] == f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
        assert answer.headers["content-type"].startswith(artifact["media_type"])


def test_a_downloaded_model_runs(client: TestClient, stock: Stock) -> None:
    data = client.get(f"/v1/models/{stock.model_id}/artifacts/model.safetensors").content
    model = TrainedModel.from_safetensors(data)
    start = stock.values[:1]
    assert (model.free_run(start, 5) == stock.trained.free_run(start, 5)).all()


@pytest.mark.parametrize("asked", ["bytes=0-7", "bytes=8-", "bytes=-16"])
def test_a_range_is_a_part_of_the_file(client: TestClient, stock: Stock, asked: str) -> None:
    href = f"/v1/models/{stock.model_id}/artifacts/model.safetensors"
    whole = client.get(href)
    start, _, stop = asked.removeprefix("bytes=").partition("-")
    expected = whole.content[int(start) : int(stop) + 1 if stop else None] if start else whole.content[-int(stop) :]
    part = client.get(href, headers={"Range": asked, "If-Range": whole.headers["etag"]})
    assert part.status_code == 206
    assert part.content == expected
    assert client.get(href, headers={"Range": asked, "If-Range": '"another"'}).content == whole.content


def test_a_range_beyond_the_file_is_416(client: TestClient, stock: Stock) -> None:
    href = f"/v1/models/{stock.model_id}/artifacts/model.json"
    answer = client.get(href, headers={"Range": "bytes=100000-200000"})
    assert answer.status_code == 416
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["content-range"] == f"bytes */{len(client.get(href).content)}"
    assert answer.json()["code"] == "range_not_satisfiable"


def test_another_tenants_results_are_not_there(client: TestClient, stock: Stock) -> None:
    row = stock.analysis_row()
    row.tenant = "somebody else"
    with stock.database.write() as session:
        session.add(row)
    assert client.get(f"/v1/analyses/{row.id}").status_code == 404
    assert [a["id"] for a in client.get("/v1/analyses").json()["data"]] == [stock.analysis_id]


def test_pages_meet_every_row_once(client: TestClient, stock: Stock) -> None:
    rows = [stock.analysis_row() for _ in range(7)]
    with stock.database.write() as session:
        session.add_all(rows)
    seen, cursor = [], None
    while True:
        page = client.get("/v1/analyses", params={"limit": 3} | ({"cursor": cursor} if cursor else {})).json()
        seen += [a["id"] for a in page["data"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == sorted({*(r.id for r in rows), stock.analysis_id}, reverse=True)

"""Deletion over HTTP: 204 and gone, 409 while it is needed, 404 for what is not there or not ours."""

from __future__ import annotations

import threading

import pytest
from fastapi.testclient import TestClient
from stock import Stock

from api.jobs import follow
from domain.ids import new_id
from store.tables import AnalysisRow, EvaluationRow, ForecastRow, JobRow, ModelRow


@pytest.fixture
def paths(client: TestClient, stock: Stock) -> dict[str, str]:
    """One of each, in no order of need."""
    job = client.post("/v1/jobs", json={"kind": "lyapunov", "series_id": stock.series_id}).json()
    client.post(job["links"]["cancel"])
    forecast = client.post(f"/v1/models/{stock.model_id}/forecasts", json={"horizon_steps": 5}).json()
    return {
        "job": job["links"]["self"],
        "analysis": f"/v1/analyses/{stock.analysis_id}",
        "model": f"/v1/models/{stock.model_id}",
        "forecast": f"/v1/forecasts/{forecast['id']}",
        "evaluation": f"/v1/evaluations/{stock.evaluation_id}",
    }


@pytest.mark.parametrize("name", ["job", "analysis", "model", "forecast", "evaluation"])
def test_what_is_deleted_is_gone_and_nothing_else(client: TestClient, paths: dict[str, str], name: str) -> None:
    path = paths[name]
    answer = client.delete(path)
    assert (answer.status_code, answer.content) == (204, b"")
    assert client.delete(path).json()["code"] == "not_found"
    assert client.get(path).status_code == 404
    for other in paths.values():
        assert other == path or client.get(other).status_code == 200, other
    collection, id = path.rsplit("/", 1)
    assert id not in [row["id"] for row in client.get(collection).json()["data"]]


def test_what_belongs_to_another_tenant_is_not_there(client: TestClient, stock: Stock, paths: dict[str, str]) -> None:
    with stock.database.write() as session:
        for row in (JobRow, AnalysisRow, ModelRow, ForecastRow, EvaluationRow):
            session.query(row).update({"tenant": "somebody else"})
    assert {client.delete(path).status_code for path in paths.values()} == {404}
    with stock.database.read() as session:
        assert all(session.query(row).count() for row in (JobRow, AnalysisRow, ModelRow, ForecastRow, EvaluationRow))


def test_a_job_that_has_not_ended_is_not_deleted(client: TestClient, stock: Stock) -> None:
    path = client.post("/v1/jobs", json={"kind": "lyapunov", "series_id": stock.series_id}).json()["links"]["self"]
    answer = client.delete(path)
    assert (answer.status_code, answer.json()["code"]) == (409, "state_forbids")
    assert "cancel" in answer.json()["detail"]


def test_a_deleted_job_leaves_its_result_and_frees_its_key(client: TestClient, stock: Stock) -> None:
    body, headers = {"kind": "lyapunov", "series_id": stock.series_id}, {"Idempotency-Key": "once"}
    job = client.post("/v1/jobs", json=body, headers=headers).json()
    found = stock.analysis_row()
    stock.finish(job["id"], found)
    assert client.delete(job["links"]["self"]).status_code == 204
    assert client.get(f"/v1/analyses/{found.id}").json()["job_id"] == job["id"]
    assert client.post("/v1/jobs", json=body, headers=headers).json()["id"] != job["id"]


def test_a_deleted_result_leaves_its_job(client: TestClient, stock: Stock) -> None:
    job = client.post("/v1/jobs", json={"kind": "lyapunov", "series_id": stock.series_id}).json()
    found = stock.analysis_row()
    stock.finish(job["id"], found)
    assert client.delete(f"/v1/analyses/{found.id}").status_code == 204
    seen = client.get(job["links"]["self"]).json()
    assert (seen["status"], seen["result"]["id"]) == ("succeeded", found.id)
    assert client.get(job["links"]["result"]).status_code == 404


def test_a_model_that_a_job_will_read_stays(client: TestClient, stock: Stock) -> None:
    path = f"/v1/models/{stock.model_id}"
    job = client.post("/v1/jobs", json={"kind": "evaluate", "model_id": stock.model_id}).json()
    answer = client.delete(path)
    assert (answer.status_code, answer.json()["code"]) == (409, "in_use")
    assert job["id"] in answer.json()["detail"]
    client.post(job["links"]["cancel"])
    assert client.delete(path).status_code == 204


def test_a_deleted_model_forecasts_no_more(client: TestClient, stock: Stock) -> None:
    """Not even from memory."""
    path = f"/v1/models/{stock.model_id}"
    assert client.post(f"{path}/forecasts", json={"horizon_steps": 5}).status_code == 201
    assert client.delete(path).status_code == 204
    for answer in (
        client.post(f"{path}/forecasts", json={"horizon_steps": 5}),
        client.get(f"{path}/artifacts/model.safetensors"),
        client.post("/v1/jobs", json={"kind": "evaluate", "model_id": stock.model_id}),
    ):
        assert answer.status_code == 404


def test_a_stream_ends_when_its_job_is_deleted(
    client: TestClient, stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "KEEPALIVE_SECONDS", 0.2)
    path = client.post("/v1/jobs", json={"kind": "lyapunov", "series_id": stock.series_id}).json()["links"]["self"]

    def delete() -> None:
        with stock.database.write() as session:
            session.query(JobRow).delete()

    timer = threading.Timer(0.3, delete)
    timer.start()
    answer = client.get(f"{path}/events", headers={"Accept": "text/event-stream"})
    timer.join()
    assert answer.status_code == 200
    assert answer.text.count("event: status") == 1


def test_ids_of_the_wrong_kind(client: TestClient, stock: Stock) -> None:
    for collection in ("jobs", "analyses", "models", "forecasts", "evaluations"):
        for id in (new_id("series"), "x", "%00"):
            assert client.delete(f"/v1/{collection}/{id}").status_code == 404

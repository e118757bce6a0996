"""HEAD answers what GET would, without its body."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient
from stock import Stock


def test_every_kind_of_answer_has_a_head(client: TestClient, stock: Stock) -> None:
    artifact = client.get(f"/v1/models/{stock.model_id}").json()["artifacts"][0]["href"]
    paths = ["/", "/livez", "/docs", "/v1/capabilities", "/v1/series", f"/v1/series/{stock.series_id}", artifact]
    for path in [*paths, f"/v1/series/{stock.series_id}/data?format=csv", "/v1/nothing", "/v1/jobs?limit=0"]:
        whole, head = client.get(path), client.head(path)
        assert head.status_code == whole.status_code, path
        assert head.content == b""
        for name in ("content-type", "content-length", "etag", "cache-control", "repr-digest", "accept-ranges"):
            assert head.headers.get(name) == whole.headers.get(name), (path, name)
        assert head.headers["x-request-id"].startswith("req_")


def test_a_stream_of_events_ends_with_its_head(client: TestClient, stock: Stock) -> None:
    job = client.post("/v1/jobs", json={"kind": "lyapunov", "series_id": stock.series_id}).json()
    head = client.head(f"/v1/jobs/{job['id']}/events", headers={"Accept": "text/event-stream"})
    assert head.status_code == 200, "and not after the job, which nobody runs"
    assert head.headers["content-type"].startswith("text/event-stream")
    assert client.get(f"/v1/jobs/{job['id']}").json()["status"] == "queued"


def test_where_there_is_no_get_there_is_no_head(client: TestClient, stock: Stock) -> None:
    answer = client.head(f"/v1/models/{stock.model_id}/forecasts")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/livez", "/v1/jobs"])
def test_a_405_names_head_beside_get(client: TestClient, path: str) -> None:
    allowed = {name.strip() for name in client.put(path).headers["allow"].split(",")}
    assert {"GET", "HEAD"} <= allowed

"""Events of a job: as pages, and as a stream that can be resumed."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import pytest
from fastapi.testclient import TestClient
from stock import Stock

from api.app import create_app
from api.jobs import follow
from api.settings import ApiSettings
from domain.jobs import Progress
from store import leases

STREAM = {"Accept": "text/event-stream"}


@pytest.fixture
def job_id(client: TestClient, stock: Stock) -> str:
    return client.post("/v1/jobs", json={"kind": "lyapunov", "series_id": stock.series_id}).json()["id"]


def parse(stream: str) -> list[dict[str, Any]]:
    """[{id, event, data}, ...] of an event stream, comments left out."""
    events = []
    for block in stream.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":"))
        if fields:
            events.append({"id": fields["id"], "event": fields["event"], "data": json.loads(fields["data"])})
    return events


def run_job(stock: Stock, job_id: str) -> None:
    lease = stock.claim(job_id)
    with stock.database.write() as session:
        leases.report(session, lease, Progress(fraction=0.5, phase="fitting"))
    with stock.database.write() as session:
        leases.finish(session, lease, stock.analysis_row())


def test_a_page_of_events_tells_the_story_in_order(client: TestClient, stock: Stock, job_id: str) -> None:
    run_job(stock, job_id)
    page = client.get(f"/v1/jobs/{job_id}/events").json()
    assert page["next_cursor"] is None
    assert [e["seq"] for e in page["data"]] == [1, 2, 3, 4]
    assert [e["data"].get("status") for e in page["data"]] == ["queued", "running", None, "succeeded"]
    assert page["data"][2]["data"]["phase"] == "fitting"
    first = client.get(f"/v1/jobs/{job_id}/events", params={"limit": 2}).json()
    rest = client.get(f"/v1/jobs/{job_id}/events", params={"cursor": first["next_cursor"]}).json()
    assert first["data"] + rest["data"] == page["data"]


def test_the_stream_says_the_same_and_ends_with_the_job(client: TestClient, stock: Stock, job_id: str) -> None:
    run_job(stock, job_id)
    answer = client.get(f"/v1/jobs/{job_id}/events", headers=STREAM)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = parse(answer.text)
    page = client.get(f"/v1/jobs/{job_id}/events").json()["data"]
    assert [e["data"] for e in events] == page
    assert [e["id"] for e in events] == ["1", "2", "3", "4"]
    assert [e["event"] for e in events] == ["status", "status", "progress", "status"]


def test_a_resumed_stream_misses_and_repeats_nothing(client: TestClient, stock: Stock, job_id: str) -> None:
    run_job(stock, job_id)
    whole = parse(client.get(f"/v1/jobs/{job_id}/events", headers=STREAM).text)
    for last in range(4):
        headers = STREAM | {"Last-Event-ID": str(last)}
        assert parse(client.get(f"/v1/jobs/{job_id}/events", headers=headers).text) == whole[last:]


def test_a_stream_that_has_nothing_more_to_say_ends(client: TestClient, stock: Stock, job_id: str) -> None:
    headers = STREAM | {"Last-Event-ID": "1000"}
    with ThreadPoolExecutor(1) as threads:
        early = threads.submit(client.get, f"/v1/jobs/{job_id}/events", headers=headers)
        time.sleep(0.3)
        run_job(stock, job_id)
        assert [e["id"] for e in parse(early.result(timeout=30).text)] == ["2", "3", "4"]
    for last in ("4", "1000"):
        answer = client.get(f"/v1/jobs/{job_id}/events", headers=STREAM | {"Last-Event-ID": last})
        assert (answer.status_code, answer.content) == (204, b""), "to a browser, 204 means: do not reconnect"


def test_streams_follow_a_running_job_without_holding_connections(settings: ApiSettings, stock: Stock) -> None:
    few_connections = settings.model_copy(update={"database_pool_size": 1})
    with TestClient(create_app(few_connections)) as client, ThreadPoolExecutor(6) as threads:
        job_id = client.post("/v1/jobs", json={"kind": "lyapunov", "series_id": stock.series_id}).json()["id"]
        path = f"/v1/jobs/{job_id}/events"
        streams = [threads.submit(client.get, path, headers=STREAM) for _ in range(6)]
        time.sleep(0.3)
        assert client.get(path).status_code == 200
        run_job(stock, job_id)
        for stream in streams:
            assert [e["id"] for e in parse(stream.result().text)] == ["1", "2", "3", "4"]


def test_an_idle_stream_is_kept_alive_by_comments(stock: Stock, job_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "KEEPALIVE_SECONDS", 0.0)

    async def first_three() -> list[bytes]:
        stream = follow.event_stream(stock.database, job_id, 0)
        return [await anext(stream) for _ in range(3)]

    event, *comments = anyio.run(first_three)
    assert event.startswith(b"event: status\n")
    assert comments == [b": ping\n\n"] * 2


def test_a_position_that_is_none_is_refused(client: TestClient, job_id: str) -> None:
    for position in ("x", "-1", "1.5", "99999999999", "²"):
        answer = client.get(f"/v1/jobs/{job_id}/events", params={"cursor": position})
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["pointer"] == "/query/cursor"

"""What is known of a request afterwards: its log line, its metrics, its place in a trace."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from stock import Stock

from store import logs, metrics
from store.database import Database
from store.tables import JobRow

# Nothing here depends on the database.
pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What the process logs, as JSON."""
    stream, root = io.StringIO(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logs.configure("json", "INFO", stream=stream)
    yield stream
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)


def access(lines: io.StringIO) -> list[dict]:
    found = [json.loads(line) for line in lines.getvalue().splitlines()]
    return [line for line in found if line["logger"] == "attractor.access"]


def counted(method: str, route: str, status: str) -> float:
    labels = {"method": method, "route": route, "status": status}
    return metrics.API.get_sample_value("attractor_http_request_seconds_count", labels) or 0.0


def test_one_line_per_request_with_the_template_of_its_route(client: TestClient, lines: io.StringIO) -> None:
    job = "/v1/jobs/job_0191f3c2a4b57c8d9e0f1a2b3c4d5e6f"
    before = counted("GET", "/v1/jobs/{id}", "404")
    client.get(job, headers={"X-Request-ID": "mine", "Cookie": "key=atr_secret"}, params={"wait": "0"})
    client.post("/v1/jobs", json={"kind": "train", "series_id": "private"})
    seen, refused = access(lines)
    wanted = {"method": "GET", "route": "/v1/jobs/{id}", "status": 404, "request_id": "mine"}
    assert seen.items() >= wanted.items()
    assert seen["ms"] > 0
    assert (refused["route"], refused["status"]) == ("/v1/jobs", 404)
    assert refused["request_id"].startswith("req_")
    assert counted("GET", "/v1/jobs/{id}", "404") == before + 1
    # Neither keys nor ids nor bodies.
    assert not [word for word in ("atr_secret", "0191f3c2", "private") if word in lines.getvalue()]


def test_callers_choose_no_labels(client: TestClient, lines: io.StringIO) -> None:
    for method, path in (("GET", "/v1/whatever"), ("GET", "/app.js"), ("BREW", "/livez"), ("HEAD", "/livez")):
        client.request(method, path)
    labels = [(line["method"], line["route"]) for line in access(lines)]
    assert labels == [("GET", "other"), ("GET", "other"), ("other", "/livez"), ("HEAD", "/livez")]


def test_a_bug_is_logged_with_its_request(app: FastAPI, lines: io.StringIO) -> None:
    def broken() -> None:
        raise KeyError("secret")

    app.add_api_route("/broken", broken)
    with TestClient(app, raise_server_exceptions=False) as client:
        client.get("/broken", headers={"X-Request-ID": "trace-2"})
    assert access(lines)[0].items() >= {"route": "/broken", "status": 500, "request_id": "trace-2"}.items()


def test_a_trace_is_taken_up_and_handed_on(client: TestClient, lines: io.StringIO) -> None:
    answer = client.get("/livez", headers={"traceparent": TRACEPARENT})
    version, trace_id, span_id, flags = answer.headers["traceparent"].split("-")
    assert (version, trace_id, flags) == ("00", "0af7651916cd43dd8448eb211c80319c", "01")
    assert span_id != "b7ad6b7169203331"
    assert access(lines)[0]["trace_id"] == trace_id


@pytest.mark.parametrize(
    "malformed", ["", "nonsense", TRACEPARENT.upper(), TRACEPARENT.replace("b7ad6b7169203331", "0" * 16)]
)
def test_a_malformed_trace_is_replaced(client: TestClient, malformed: str) -> None:
    answer = client.get("/livez", headers={"traceparent": malformed})
    assert "0af7651916cd43dd8448eb211c80319c" not in answer.headers["traceparent"]
    assert len(answer.headers["traceparent"]) == 55


def test_refusals_are_counted_by_their_codes(client: TestClient, lines: io.StringIO) -> None:
    def rejects(code: str) -> float:
        return metrics.API.get_sample_value("attractor_upload_rejects_total", {"code": code}) or 0.0

    before = rejects("malformed_file"), rejects("unsupported_format")
    client.post("/v1/series", content=b"x,y\n1,2\n1", headers={"Content-Type": "text/csv"}, params={"dt": 1})
    client.post("/v1/series", content=b"PK", headers={"Content-Type": "application/zip"})
    assert (rejects("malformed_file"), rejects("unsupported_format")) == (before[0] + 1, before[1] + 1)
    malformed, unsupported = access(lines)
    assert (malformed["code"], malformed["tenant"]) == ("malformed_file", "default")
    assert unsupported["code"] == "unsupported_format"


def test_a_job_remembers_the_request_and_the_trace_it_came_from(
    client: TestClient, stock: Stock, database: Database
) -> None:
    headers = {"X-Request-ID": "mine", "traceparent": TRACEPARENT}
    answer = client.post("/v1/jobs", json={"kind": "lyapunov", "series_id": stock.series_id}, headers=headers)
    with database.read() as session:
        job = session.get_one(JobRow, answer.json()["id"])
    assert job.request_id == "mine"
    assert job.traceparent == answer.headers["traceparent"]
    assert "0af7651916cd43dd8448eb211c80319c" in job.traceparent

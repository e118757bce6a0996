"""One trace from the request into the worker: API, attempt and phases, as a receiver of spans sees them."""

from __future__ import annotations

import io
import json
import logging

import pytest
from fastapi.testclient import TestClient
from in_thread import ThreadLauncher
from otlp_receiver import receiving
from stock import make_stock

from api.app import create_app
from api.settings import ApiSettings
from domain.jobs import JobKind, Progress
from store import logs, metrics
from store.blobs import Blobs
from store.database import Database
from store.settings import StoreSettings
from store.tracing import make_tracer
from worker.context import Context, Outcome
from worker.runner import Runner
from worker.settings import WorkerSettings

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def fails(context: Context) -> Outcome:
    """A job of two phases, the second of which is too much for it."""
    for phase in ("preparing", "training"):
        context.reporter.report(Progress(phase=phase))
    logging.getLogger("dynamics").warning("this will not end well")
    raise MemoryError


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_a_request_is_followed_into_the_phases_of_its_job(
    store_settings: StoreSettings, database: Database, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock = make_stock(store_settings, database, blobs)
    given = store_settings.model_dump()
    stream, root = io.StringIO(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with receiving(monkeypatch) as receiver:
        with TestClient(create_app(ApiSettings(**given))) as client:
            body = {"kind": "lyapunov", "series_id": stock.series_id}
            job_id = client.post("/v1/jobs", json=body, headers={"traceparent": PARENT}).json()["id"]
        settings, tracer = WorkerSettings(**given), make_tracer("attractor-worker")
        launcher = ThreadLauncher(settings, {JobKind.LYAPUNOV: fails})
        logs.configure("json", "INFO", stream=stream)
        try:
            Runner(settings, database, launcher, name="w", tracer=tracer).run(job_id)
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)
        tracer.close()
        spans = receiver.spans
    request, attempt = spans["POST /v1/jobs"], spans["attempt lyapunov"]
    assert receiver.services == {"attractor-api", "attractor-worker"}
    assert {span.trace_id.hex() for span in spans.values()} == {"0af7651916cd43dd8448eb211c80319c"}
    assert request.parent_span_id.hex() == "b7ad6b7169203331"
    assert attempt.parent_span_id == request.span_id
    assert spans["preparing"].parent_span_id == spans["training"].parent_span_id == attempt.span_id
    assert attempt.status.message == "failed"
    assert metrics.WORKER.get_sample_value("attractor_phase_seconds_count", {"kind": "lyapunov", "phase": "training"})
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    mine = [line for line in lines if line.get("job_id") == job_id]
    assert {line["trace_id"] for line in mine} == {"0af7651916cd43dd8448eb211c80319c"}
    assert {(line["attempt"], line["tenant"]) for line in mine} == {(1, "default")}
    assert any(line["logger"].startswith(("dynamics", "worker")) for line in mine)

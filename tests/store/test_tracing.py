"""Traces: identifiers always, spans over OTLP/HTTP to a receiver of the test's own when asked for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from otlp_receiver import Receiver, receiving

from store import tracing

ROOT = Path(__file__).parents[2]
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiving(monkeypatch) as server:
        yield server


def test_a_span_reaches_the_receiver_with_its_parent_its_words_and_its_error(receiver: Receiver) -> None:
    tracer = tracing.make_tracer("attractor-test")

    def work() -> None:
        with tracer.span("attempt", PARENT, kind="consumer", attributes={"job.kind": "train"}) as attempt:
            attempt.set({"job.attempt": 2})
            with tracer.span("training", attempt.traceparent):
                raise MemoryError

    with pytest.raises(MemoryError):
        work()
    tracer.close()
    attempt, training = receiver.spans["attempt"], receiver.spans["training"]
    assert receiver.services == {"attractor-test"}
    assert attempt.trace_id.hex() == training.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert attempt.parent_span_id.hex() == "b7ad6b7169203331"
    assert training.parent_span_id == attempt.span_id
    assert {a.key for a in attempt.attributes} == {"job.kind", "job.attempt"}
    assert training.status.message == "MemoryError"


def test_whoever_asks_that_nothing_be_recorded_is_heeded(receiver: Receiver) -> None:
    tracer = tracing.make_tracer("attractor-test")
    with tracer.span("unsampled", PARENT.removesuffix("01") + "00") as span:
        assert span.trace_id == "0af7651916cd43dd8448eb211c80319c"
    tracer.close()
    assert receiver.spans == {}


def test_identifiers_are_handed_on_without_any_receiver() -> None:
    tracer = tracing.make_tracer("attractor-test")
    with tracer.span("attempt", PARENT) as attempt, tracer.span("training", attempt.traceparent) as training:
        assert tracing.parse(attempt.traceparent) == (training.trace_id, attempt.span_id, 1)
        assert attempt.span_id not in ("b7ad6b7169203331", training.span_id)
    alone = tracer.start("alone")
    assert tracing.parse(alone.traceparent) is not None
    assert alone.trace_id != attempt.trace_id


@pytest.mark.parametrize(
    ("header", "valid"),
    [
        (PARENT, True),
        ("01" + PARENT[2:] + "-more", True),  # a later version may say more
        (PARENT + "-more", False),
        ("ff" + PARENT[2:], False),
        (PARENT.upper(), False),
        (PARENT.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32), False),
        (PARENT.replace("b7ad6b7169203331", "0" * 16), False),
        (PARENT[:-1], False),
        ("", False),
        (None, False),
    ],
)
def test_which_traceparents_are_valid(header: str | None, valid: bool) -> None:
    assert (tracing.parse(header) is not None) == valid


def test_without_the_packages_everything_works() -> None:
    code = (
        "import sys; sys.modules['opentelemetry.sdk'] = None; from store.tracing import make_tracer\n"
        "tracer = make_tracer('x'); span = tracer.start('a'); span.set({'b': 1}); span.end(); tracer.close()\n"
        "import api.app, worker.app; print(span.traceparent)"
    )
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert len(done.stdout.strip()) == 55
    assert "attractor[production]" in done.stderr

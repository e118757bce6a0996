"""When requests are repeated and when not, deadlines, broken streams: with scripts in the place of a network."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import attractor_client as sdk
from attractor_client import AsyncClient, Client
from attractor_client._following import follow
from attractor_client._protocol import Item, NextLine, Open, Policy, Reply, Request, Send, Sleep, Steps, backoff, call
from attractor_client.errors import SERIES_CODES
from domain.errors import DomainError, InvalidSeries

GET = Request("GET", "/v1/jobs")
ONCE = Request("POST", "/v1/models/m/forecasts", repeatable=False)
OK = Reply(200, {}, b"{}")
BROKEN = sdk.ServiceUnreachable("connection reset", sent=True)
REFUSED = sdk.ServiceUnreachable("connection refused", sent=False)


@dataclass
class Script:
    """Plays the service: hands out replies, moves a clock of its own, remembers what was asked."""

    outcomes: list[Any]
    now: float = 0.0
    pauses: list[float] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)
    items: list[Any] = field(default_factory=list)
    seconds_per_request: float = 0.0

    @property
    def policy(self) -> Policy:
        return Policy(timeout=60, max_retries=4, clock=lambda: self.now, jitter=lambda: 1.0)

    def play(self, steps: Steps[Any]) -> Any:
        answer: Any = None
        try:
            while True:
                effect = steps.throw(answer) if isinstance(answer, Exception) else steps.send(answer)
                answer = self._perform(effect)
        except StopIteration as end:
            return end.value

    def _perform(self, effect: Any) -> Any:
        match effect:
            case Sleep(seconds):
                self.now += seconds
                self.pauses.append(seconds)
                return None
            case Item(value):
                self.items.append(value)
                return None
            case Send() | Open() | NextLine():
                self.asked.append(effect)
                self.now += self.seconds_per_request
                return self.outcomes.pop(0)
        raise AssertionError(effect)


def problem(status: int, **headers: str) -> Reply:
    return Reply(status, headers, json.dumps({"code": "some_code", "detail": "Why."}).encode())


@pytest.mark.parametrize("request_", [GET, ONCE])
@pytest.mark.parametrize("outcome", [REFUSED, problem(429), problem(503)])
def test_what_was_not_done_is_asked_again(request_: Request, outcome: Any) -> None:
    script = Script([outcome, outcome, OK])
    assert script.play(call(script.policy, request_)) is OK
    assert script.pauses == [0.5, 1.0]


@pytest.mark.parametrize("outcome", [BROKEN, problem(502), problem(504)])
def test_what_may_have_been_done_is_asked_again_only_where_that_is_harmless(outcome: Any) -> None:
    script = Script([outcome, OK])
    assert script.play(call(script.policy, GET)) is OK
    script = Script([outcome, OK])
    with pytest.raises((sdk.ServiceUnreachable, sdk.ServiceFailed)):
        script.play(call(script.policy, ONCE))
    assert script.outcomes == [OK]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, sdk.BadRequest),
        (401, sdk.AuthenticationFailed),
        (403, sdk.PermissionDenied),
        (404, sdk.NotFound),
        (409, sdk.Conflict),
        (413, sdk.TooLarge),
        (415, sdk.UnsupportedFormat),
        (418, sdk.RequestRefused),
        (422, sdk.InvalidRequest),
        (500, sdk.ServiceFailed),
    ],
)
def test_a_no_is_a_no(status: int, kind: type[sdk.RequestRefused]) -> None:
    script = Script([problem(status)])
    with pytest.raises(sdk.RequestRefused) as caught:
        script.play(call(script.policy, GET))
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.code, caught.value.detail) == (status, "some_code", "Why.")


def test_retries_are_counted() -> None:
    script = Script([problem(503)] * 5)
    with pytest.raises(sdk.ServiceFailed):
        script.play(call(script.policy, GET))
    assert script.pauses == [0.5, 1.0, 2.0, 4.0]


def test_retry_after_is_honoured_as_number_and_as_date() -> None:
    script = Script([problem(429, **{"retry-after": "7"}), OK])
    script.play(call(script.policy, GET))
    assert script.pauses == [7.0]
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    script = Script([problem(503, **{"retry-after": moment}), OK])
    script.play(call(script.policy, GET))
    assert script.pauses[0] == pytest.approx(19.5, abs=1.5)
    script = Script([problem(503, **{"retry-after": "soon"}), OK])
    script.play(call(script.policy, GET))
    assert script.pauses == [0.5]


def test_a_pause_beyond_the_deadline_is_not_begun() -> None:
    script = Script([problem(429, **{"retry-after": "61"})])
    with pytest.raises(sdk.RateLimited) as caught:
        script.play(call(script.policy, GET))
    assert (caught.value.retry_after, script.pauses) == (61.0, [])


def test_the_deadline_holds_over_all_tries() -> None:
    script = Script([BROKEN] * 9, seconds_per_request=20)
    with pytest.raises(sdk.DeadlineExceeded):
        script.play(call(script.policy, GET))
    assert script.now <= 62
    assert [e.seconds for e in script.asked] == pytest.approx([60, 39.5, 18.5])


@given(tries=st.integers(0, 60), jitter=st.floats(0, 1))
def test_pauses_grow_and_stay_within_bounds(tries: int, jitter: float) -> None:
    pause = backoff(Policy(jitter=lambda: jitter), tries)
    assert 0.25 <= pause <= 8
    assert pause <= backoff(Policy(jitter=lambda: 1.0), tries + 1)


def test_an_answer_of_something_in_between_is_told_too() -> None:
    script = Script([Reply(403, {"x-request-id": "req_1"}, b"<html>No entry</html>")])
    with pytest.raises(sdk.PermissionDenied, match=r"<html>No entry</html> \[req_1\]") as caught:
        script.play(call(script.policy, GET))
    assert (caught.value.code, caught.value.request_id) == ("http_403", "req_1")


def test_codes_of_series_are_those_of_the_service() -> None:
    def below(kind: type[DomainError]) -> set[str]:
        return {kind.code}.union(*(below(k) for k in kind.__subclasses__()))

    assert below(InvalidSeries) == SERIES_CODES


# -- following a job ---------------------------------------------------------------------------------------------


def event(seq: int, **data: Any) -> dict[str, Any]:
    kind = "status" if "status" in data else "progress"
    return {"seq": seq, "type": kind, "data": data, "created_at": "2026-01-01T00:00:00.000000Z"}


def line(seq: int, **data: Any) -> str:
    return f"data: {json.dumps(event(seq, **data))}"


def page(*events: dict[str, Any]) -> Reply:
    return Reply(200, {}, json.dumps({"data": list(events), "next_cursor": None}).encode())


STREAM = Reply(200, {"content-type": "text/event-stream; charset=utf-8"})


def followed(script: Script, timeout: float | None = None) -> list[int]:
    def emit(event: Any) -> Steps[None]:
        yield Item(event)

    script.play(follow(script.policy, "job_1", timeout, emit))
    return [e.seq for e in script.items]


def test_a_stream_to_its_end() -> None:
    lines = ["id: 1", "event: status", line(1, status="running"), "", ": keep alive", line(2, status="succeeded")]
    assert followed(Script([STREAM, *lines])) == [1, 2]


def test_a_broken_stream_is_taken_up_where_it_broke() -> None:
    script = Script([STREAM, line(1, status="running"), BROKEN, STREAM, line(2, status="failed")])
    assert followed(script) == [1, 2]
    opened = [e.request.headers["Last-Event-ID"] for e in script.asked if isinstance(e, Open)]
    assert opened == ["0", "1"]


def test_a_stream_that_ends_early_and_a_busy_service_too() -> None:
    script = Script([STREAM, line(1, status="running"), None, problem(503), REFUSED, Reply(204, {})])
    assert followed(script) == [1]


def test_pages_where_there_is_no_stream() -> None:
    script = Script([page(), page(event(1, status="running")), page(), page(event(2, status="canceled"))])
    script.outcomes.insert(0, Reply(200, {"content-type": "application/json"}))
    assert followed(script) == [1, 2]
    assert [e.request.params["cursor"] for e in script.asked[1:]] == ["0", "0", "1", "1"]


def test_pages_after_a_stream_that_breaks_again_and_again() -> None:
    script = Script([STREAM, line(1, status="running"), BROKEN, REFUSED, REFUSED, REFUSED])
    script.outcomes += [page(event(2, fraction=0.5)), page(event(3, status="succeeded"))]
    assert followed(script) == [1, 2, 3]


def test_an_unknown_job_is_told_at_once() -> None:
    with pytest.raises(sdk.NotFound):
        followed(Script([problem(404)]))


def test_the_deadline_ends_the_waiting_and_not_the_job() -> None:
    script = Script([page()] * 100)
    with pytest.raises(sdk.DeadlineExceeded, match="job_1 has not ended in time; it goes on"):
        followed(script, timeout=5)
    assert script.now == pytest.approx(5, abs=0.01)
    script = Script([STREAM, *[": keep alive"] * 2, *[page()] * 100], seconds_per_request=15)
    with pytest.raises(sdk.DeadlineExceeded):
        followed(script, timeout=60)
    assert script.now < 80


def test_a_deadline_in_the_middle_of_a_request_is_told_the_same_way() -> None:
    script = Script([REFUSED, BROKEN], seconds_per_request=4)
    with pytest.raises(sdk.DeadlineExceeded, match="job_1 has not ended in time"):
        followed(script, timeout=6)


# -- over httpx --------------------------------------------------------------------------------------------------


def answering(respond: Callable[[httpx.Request], httpx.Response], **options: Any) -> Client:
    return Client("http://somewhere", transport=httpx.MockTransport(respond), **options)


def test_key_and_address_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[httpx.Request] = []

    def respond(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"kinds": []})

    monkeypatch.setenv("ATTRACTOR_URL", "https://attractor.example/base")
    monkeypatch.setenv("ATTRACTOR_API_KEY", "atr_secret")
    with Client(transport=httpx.MockTransport(respond)) as client:
        client.capabilities()
    assert str(seen[0].url) == "https://attractor.example/base/v1/capabilities"
    assert seen[0].headers["authorization"] == "Bearer atr_secret"
    assert seen[0].headers["user-agent"] == f"attractor-client/{sdk.__version__}"
    with Client("http://other", "atr_2", transport=httpx.MockTransport(respond)) as client:
        client.capabilities()
    assert (seen[1].url.host, seen[1].headers["authorization"]) == ("other", "Bearer atr_2")


@pytest.mark.parametrize("arguments", [{"url": "localhost:8000"}, {"key": "atr_\u2026"}, {"key": "two\nlines"}])
def test_settings_that_cannot_work_are_refused(arguments: dict[str, str]) -> None:
    with pytest.raises(sdk.ConfigurationError):
        Client(**arguments)


def test_a_job_is_submitted_once_whatever_the_connection_does() -> None:
    keys = []

    def respond(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["idempotency-key"])
        if len(keys) < 3:
            raise httpx.ReadError("connection reset")
        moment = "2026-01-01T00:00:00.000000Z"
        job = {"id": "job_1", "kind": "lyapunov", "status": "queued", "attempt": 0, "max_attempts": 3}
        return httpx.Response(202, json=job | {"created_at": moment})

    client = answering(respond)
    client._driver._sleep = lambda seconds: None
    assert client.analyze("ser_" + "0" * 32).id == "job_1"
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_a_file_is_sent_whole_at_every_try(tmp_path: Any) -> None:
    bodies = []

    def respond(request: httpx.Request) -> httpx.Response:
        bodies.append(request.read())
        return httpx.Response(503) if len(bodies) == 1 else httpx.Response(422, json={"code": "x", "detail": "y"})

    path = tmp_path / "a.csv"
    path.write_text("x\n1\n2\n")
    client = answering(respond)
    client._driver._sleep = lambda seconds: None
    with pytest.raises(sdk.InvalidRequest):
        client.upload(path)
    assert len(bodies) == 2
    assert all(b"x\n1\n2\n" in body for body in bodies)


def test_a_body_that_trickles_ends_at_the_deadline() -> None:
    class Trickle(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            for _ in range(100):
                time.sleep(0.02)
                yield b" "

    client = answering(lambda request: httpx.Response(200, stream=Trickle()), timeout=0.1)
    with pytest.raises(sdk.DeadlineExceeded, match="did not arrive in time"):
        client.capabilities()


def test_nobody_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        unused_tcp_port = free.getsockname()[1]
    with Client(f"http://127.0.0.1:{unused_tcp_port}", max_retries=1) as client:
        with pytest.raises(sdk.ServiceUnreachable) as caught:
            client.capabilities()
        assert not caught.value.sent

    async def awaited() -> None:
        async with AsyncClient(f"http://127.0.0.1:{unused_tcp_port}", max_retries=0) as client:
            with pytest.raises(sdk.ServiceUnreachable):
                await client.capabilities()

    anyio.run(awaited)

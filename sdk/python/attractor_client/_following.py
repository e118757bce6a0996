"""Following a job to its end: server-sent events, taken up where they broke, and pages of events where there is no stream."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from attractor_client._documents import build
from attractor_client._protocol import Deadline, NextLine, Open, Policy, Request, Sleep, Steps, backoff, call, refused
from attractor_client.errors import DeadlineExceeded, ServiceUnreachable
from attractor_client.results import Event

Emit = Callable[[Event], Steps[None]]
_SILENCE = 45.0  # seconds: three of the comments that keep a stream alive
_KEEPALIVE = 16.0  # with less time left a stream could be silent past the end
_MOST_FAILURES = 3  # of a stream in a row, until it is given up
_FIRST_POLL, _LAST_POLL = 0.25, 2.0
_RETRIES = 10  # a service that restarts is away for a while
_LATER = frozenset({429, 502, 503, 504})


def follow(policy: Policy, job_id: str, timeout: float | None, emit: Emit) -> Steps[None]:
    """Emit every event of a job, in order and once, up to the one that ends it. Raises DeadlineExceeded."""
    deadline, after, failures = Deadline(policy, timeout), 0, 0
    while failures < _MOST_FAILURES and deadline.left() > _KEEPALIVE:
        seen = after
        try:
            streamed, after = yield from _stream(job_id, after, deadline, emit)
        except _Broken as broken:
            streamed, after = None, broken.after
        if streamed:
            return
        if streamed is False:
            break  # something in between knows no streams
        failures = 0 if after > seen else failures + 1
        yield Sleep(min(backoff(policy, failures), max(0.0, deadline.left())))
    yield from _poll(policy, job_id, after, deadline, emit)


class _Broken(Exception):
    """The stream ended before the job did."""

    def __init__(self, after: int) -> None:
        self.after = after


def _stream(job_id: str, after: int, deadline: Deadline, emit: Emit) -> Steps[tuple[bool | None, int]]:
    """(whether the job's end was seen; None: take it up again; False: there are no streams, the last seq)."""
    headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
    request = Request("GET", f"/v1/jobs/{job_id}/events", headers=headers)
    try:
        reply = yield Open(request, min(_SILENCE, deadline.left()))
        if reply.status == 204:
            return True, after
        if reply.status in _LATER:
            raise _Broken(after)
        if reply.status >= 400:
            raise refused(reply)
        if not reply.headers.get("content-type", "").startswith("text/event-stream"):
            return False, after
        while (line := (yield NextLine())) is not None:
            if line.startswith("data:"):
                event = build(Event, json.loads(line.removeprefix("data:")))
                after = event.seq
                yield from emit(event)
                if event.ends_the_job:
                    return True, after
            elif deadline.left() <= _KEEPALIVE:
                return False, after
    except ServiceUnreachable as error:
        raise _Broken(after) from error
    return None, after


def _poll(policy: Policy, job_id: str, after: int, deadline: Deadline, emit: Emit) -> Steps[None]:
    pause, patient = _FIRST_POLL, replace(policy, max_retries=_RETRIES)
    while True:
        request = Request("GET", f"/v1/jobs/{job_id}/events", params={"cursor": str(after)})
        left = deadline.left()
        if left <= 0:
            raise _not_in_time(job_id)
        try:
            reply = yield from call(patient, request, None if left == float("inf") else left)
        except DeadlineExceeded as error:
            raise (_not_in_time(job_id) if deadline.left() <= 0 else error) from error
        page: Any = reply.document
        for document in page["data"]:
            event = build(Event, document)
            after, pause = event.seq, _FIRST_POLL
            yield from emit(event)
            if event.ends_the_job:
                return
        if page["next_cursor"] is None:
            yield Sleep(min(pause, max(0.0, deadline.left())))
            pause = min(1.5 * pause, _LAST_POLL)


def _not_in_time(job_id: str) -> DeadlineExceeded:
    return DeadlineExceeded(f"Job {job_id} has not ended in time; it goes on, and can be waited for again.")

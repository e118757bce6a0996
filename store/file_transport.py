"""The embedded broker: a kombu transport whose queue is a directory and whose message is a file.

kombu has a filesystem transport, but it writes a message under its final name, and a reader that meets the half-written
file dies of it. Here a message is written under another name and renamed, so it is there whole or not at all; it
begins with its own SHA-256, and a file that is garbage nevertheless (a full disk, a stray editor) is set aside with a
warning. A message is taken by renaming it, which only one reader can do. It does direct queues only: what an
announcement of a job needs.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import time
import uuid
from pathlib import Path
from queue import Empty
from typing import Any

from celery.signals import worker_shutting_down
from kombu.transport import TRANSPORT_ALIASES, virtual

from store.settings import FILE_QUEUE_SCHEME

log = logging.getLogger(__name__)
_QUEUE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_READY = ".msg"
_TAKEN = ".taken"
_GARBAGE = ".garbage"


class Channel(virtual.Channel):
    """Queues under `transport_options["directory"]`."""

    # A channel that closes gives back what it has not acknowledged; a process that dies does not. The database knows
    # which jobs are still queued, and publishes them again.
    do_restore = False

    def _folder(self, queue: str) -> Path:
        if not _QUEUE_NAME.fullmatch(queue):
            raise ValueError(f"not a queue name: {queue!r}")
        folder = Path(self.connection.client.transport_options["directory"]) / queue
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _new_queue(self, queue: str, **_: Any) -> None:
        self._folder(queue)

    def _put(self, queue: str, message: dict[str, Any], **_: Any) -> None:
        # Wall-clock nanoseconds first: names sort by age. A clock that steps back costs order, nothing else.
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex}"
        folder = self._folder(queue)
        unfinished = folder / f"{name}.tmp"
        unfinished.write_bytes(_seal(message))
        os.replace(unfinished, folder / (name + _READY))

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:
        folder = self._folder(queue)
        for name in sorted(os.listdir(folder)):
            if not name.endswith(_READY):
                continue
            taken = folder / (name.removesuffix(_READY) + _TAKEN)
            try:
                os.replace(folder / name, taken)
            except FileNotFoundError:
                continue  # another reader was first
            message = _unseal(taken.read_bytes())
            if message is None:
                log.warning("queue %s: %s is no message; set aside", queue, name)
                os.replace(taken, taken.with_suffix(_GARBAGE))
                continue
            taken.unlink()
            return message
        raise Empty

    def _size(self, queue: str) -> int:
        return sum(name.endswith(_READY) for name in os.listdir(self._folder(queue)))

    def _purge(self, queue: str) -> int:
        files = list(self._folder(queue).glob("*" + _READY))
        for file in files:
            file.unlink(missing_ok=True)
        return len(files)

    def _delete(self, queue: str, *args: Any, **kwargs: Any) -> None:
        self._purge(queue)


def _seal(message: dict[str, Any]) -> bytes:
    body = json.dumps(message).encode()
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def _unseal(data: bytes) -> dict[str, Any] | None:
    """The message that was sealed; None unless these are exactly the bytes that were written."""
    seal, _, body = data.partition(b"\n")
    return json.loads(body) if hashlib.sha256(body).hexdigest().encode() == seal else None


class Transport(virtual.Transport):
    """`attractor-files://`, polled ten times a second."""

    Channel = Channel
    default_port = None
    driver_type = "file"
    driver_name = "attractor-files"
    polling_interval = 0.1
    # Set when the worker shuts down: Celery waits for events for two seconds, twice, before it ends an idle worker.
    closing = False

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:  # type: ignore[override]
        """Deliver one message; TimeoutError when none came in `timeout` seconds, or when the worker shuts down."""
        end = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            try:
                self.cycle.get(self._deliver, timeout=timeout)  # type: ignore[union-attr]
                return
            except Empty:
                if self.closing or time.monotonic() >= end:
                    raise TimeoutError from None
            time.sleep(min(self.polling_interval, max(0.0, end - time.monotonic())))

    def driver_version(self) -> str:
        return "1"


@worker_shutting_down.connect
def _close(**_: Any) -> None:
    Transport.closing = True


TRANSPORT_ALIASES[FILE_QUEUE_SCHEME] = f"{__name__}:Transport"

"""Messages between a worker and the process of a job: JSON objects, each behind a mark and its length, over a socket."""

from __future__ import annotations

import json
import select
import socket
import struct
import threading
from typing import Any

Message = dict[str, Any]
MARK = b"atr1"
LONGEST = 1 << 30
_HEAD = struct.Struct("!4sI")
_CHUNK = 1 << 18


class Garbled(Exception):
    """What arrived is no message: somebody else wrote into the socket."""


class Wire:
    """One end. Any thread may send; one thread receives."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._sending = threading.Lock()
        self._buffer = bytearray()
        self._poll = select.poll()
        self._poll.register(end, select.POLLIN)

    def send(self, message: Message) -> None:
        """Raises OSError when the other side is gone, ValueError for what JSON has no word for, such as NaN."""
        body = json.dumps(message, allow_nan=False, separators=(",", ":")).encode()
        with self._sending:
            self._socket.sendall(_HEAD.pack(MARK, len(body)) + body)

    def wait(self) -> list[Message]:
        """What has arrived whole, at least one message. Raises as `receive` does."""
        messages: list[Message] = []
        while not messages:
            messages = self.receive(None)
        return messages

    def receive(self, timeout: float | None) -> list[Message]:
        """What has arrived whole, waiting up to `timeout` seconds for anything to arrive at all.

        Raises EOFError when the other side is gone and everything it sent has been received, `Garbled` for anything else.
        """
        if self._poll.poll(None if timeout is None else timeout * 1000):
            try:
                data = self._socket.recv(_CHUNK)
            except ConnectionError:
                data = b""
            if not data:
                raise EOFError
            self._buffer += data
        return list(iter(self._next, None))

    def close(self) -> None:
        self._socket.close()

    def _next(self) -> Message | None:
        if len(self._buffer) < _HEAD.size:
            return None
        mark, length = _HEAD.unpack_from(self._buffer)
        if mark != MARK or length > LONGEST:
            raise Garbled(f"a message begins with {bytes(self._buffer[:16])!r}")
        end = _HEAD.size + length
        if len(self._buffer) < end:
            return None
        try:
            message = json.loads(self._buffer[_HEAD.size : end])
        except ValueError as error:
            raise Garbled(f"a message is no JSON: {error}") from error
        del self._buffer[:end]
        if not isinstance(message, dict):
            raise Garbled(f"a message is a {type(message).__name__}")
        return message

"""A receiver of webhooks on this machine: a real HTTP server that keeps what it is sent and answers as it is told."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from serving import eventually


@dataclass(frozen=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes
    at: float  # seconds of time.time()


@dataclass
class Receiver:
    """What came, and `answer`: what is done with the handler of the n-th request, counted from 0."""

    port: int = 0
    requests: list[Received] = field(default_factory=list)
    answer: Callable[[Any, int], None] = lambda handler, n: answer(handler, 204)

    def url(self, path: str = "/hook") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def wait_for(self, n: int, seconds: float = 30.0) -> list[Received]:
        eventually(lambda: len(self.requests) >= n, f"{n} requests, there are {len(self.requests)}", seconds)
        return list(self.requests)


def answer(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def drip(handler: BaseHTTPRequestHandler, seconds: float) -> None:
    """An answer that goes on for ever, a byte at a time."""
    handler.send_response(200)
    handler.end_headers()
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        handler.wfile.write(b".")
        handler.wfile.flush()
        time.sleep(0.05)


@contextmanager
def receiving(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    receiver = Receiver()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                n = len(receiver.requests)
                receiver.requests.append(Received(self.path, dict(self.headers), body, time.time()))
            try:
                receiver.answer(self, n)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a client that gives up is what some tests are about

    with Server(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        receiver.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield receiver
        server.shutdown()

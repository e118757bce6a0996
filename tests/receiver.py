"""A receiver of webhooks on this machine: a real HTTP server that keeps what it is sent and answers as it is told; and the
sender's side of it."""

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

from domain.webhooks import WebhookEvent
from store import webhooks
from store.database import Database
from store.secrets import service_secret
from store.settings import StoreSettings
from store.tables import WebhookDeliveryRow, WebhookRow
from worker.webhooks import Sender


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


class Post:
    """A database whose webhooks may lead to this machine."""

    def __init__(self, settings: StoreSettings, database: Database) -> None:
        here = {"webhook_allow_http": True, "webhook_ports": [], "webhook_allow_private": ["127.0.0.0/8"]}
        self.settings = StoreSettings.model_validate(settings.model_dump() | here)
        self.database = database

    def webhook(self, url: str, *, tenant: str = "default") -> str:
        with self.database.write() as session:
            return webhooks.add(session, self.settings, url=url, events=list(WebhookEvent), tenant=tenant).id

    def test(self, webhook_id: str, *, tenant: str = "default") -> str:
        with self.database.write() as session:
            return webhooks.send_test(session, webhook_id, tenant=tenant).id

    def row(self, delivery_id: str) -> WebhookDeliveryRow:
        with self.database.read() as session:
            return session.get_one(WebhookDeliveryRow, delivery_id)

    def hook(self, webhook_id: str) -> WebhookRow:
        with self.database.read() as session:
            return session.get_one(WebhookRow, webhook_id)

    def ended(self, delivery_id: str) -> WebhookDeliveryRow:
        return eventually(lambda: row if (row := self.row(delivery_id)).finished_at else None, "it has ended", 30)

    def secret(self, webhook_id: str) -> str:
        return webhooks.secret(service_secret(self.settings), webhook_id, self.hook(webhook_id).secret_generation)

    @contextmanager
    def sending(self) -> Iterator[Sender]:
        sender = Sender(self.settings, self.database)
        sender.start()
        try:
            yield sender
        finally:
            sender.stop()
            assert not sender.is_alive()

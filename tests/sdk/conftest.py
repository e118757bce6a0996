"""The client against the application itself, in this process, without a socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from stock import Stock, make_stock

from api.app import create_app
from api.settings import ApiSettings
from attractor_client import Client
from store import migrate
from store.blobs import Blobs
from store.database import Database


@pytest.fixture
def settings(tmp_path) -> ApiSettings:
    return ApiSettings(data_dir=tmp_path, max_json_bytes=1_000_000, max_sync_work=200_000)


@pytest.fixture
def database(settings: ApiSettings) -> Iterator[Database]:
    database = Database(settings)
    migrate.upgrade(database)
    yield database
    database.close()


@pytest.fixture
def stock(settings: ApiSettings, database: Database) -> Stock:
    return make_stock(settings, database, Blobs(settings.blobs_dir))


@pytest.fixture
def app(settings: ApiSettings, database: Database) -> FastAPI:
    return create_app(settings)


@pytest.fixture
def http(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app) as http:
        yield http


@pytest.fixture
def client(http: TestClient) -> Iterator[Client]:
    with Client("http://testserver", transport=_Borrowed(http)) as client:
        yield client


@pytest.fixture
def connect(settings: ApiSettings, database: Database) -> Iterator[Callable[..., Client]]:
    """A client of a service with other settings."""
    with ExitStack() as stack:

        def connect(key: str | None = None, *, max_retries: int = 0, **changes: Any) -> Client:
            app = create_app(ApiSettings(**settings.model_dump() | changes))
            transport = _Borrowed(stack.enter_context(TestClient(app)))
            return stack.enter_context(Client("http://testserver", key, max_retries=max_retries, transport=transport))

        yield connect


class _Borrowed(httpx.BaseTransport):
    """Hands requests to the application by way of the test client."""

    def __init__(self, http: TestClient) -> None:
        self._transport = http._transport

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._transport.handle_request(request)

"""The API on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from stock import Stock, make_stock

from api.app import create_app
from api.settings import ApiSettings
from store.blobs import Blobs
from store.database import Database
from store.settings import StoreSettings


@pytest.fixture
def settings(store_settings: StoreSettings) -> ApiSettings:
    return ApiSettings(**store_settings.model_dump(), max_json_bytes=200_000, max_sync_work=200_000)


@pytest.fixture
def app(settings: ApiSettings) -> FastAPI:
    return create_app(settings)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app) as client:
        yield client


@pytest.fixture
def stock(settings: ApiSettings, database: Database, blobs: Blobs) -> Stock:
    return make_stock(settings, database, blobs)

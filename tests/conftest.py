"""Fixtures that every room may use. Whatever touches the database runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import gc
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import servers
from hypothesis import settings as hypothesis_settings
from sqlalchemy import text

from store import migrate
from store.blobs import Blobs
from store.database import Database
from store.settings import StoreSettings
from store.tables import Base

# CI judges a change, not a draw: there every run sees the same examples. Elsewhere new ones are searched for.
hypothesis_settings.register_profile("ci", derandomize=True, deadline=None)
hypothesis_settings.register_profile("search", deadline=None)
hypothesis_settings.load_profile("ci" if os.environ.get("CI") else "search")


@pytest.fixture(autouse=True, scope="session")
def _no_settings_from_outside() -> None:
    for name in [name for name in os.environ if name.startswith("ATTRACTOR_") and "_TEST_" not in name]:
        del os.environ[name]


@pytest.fixture(autouse=True, scope="session")
def _imports_are_collected_once() -> Iterator[None]:
    """An app that starts walks through all that was imported, and then leaves it alone; here there are a thousand apps."""
    if "api.app" not in sys.modules:
        yield
        return
    nothing = SimpleNamespace(collect=lambda: 0, freeze=lambda: None, unfreeze=lambda: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("api.app.gc", nothing)
        gc.collect()
        gc.freeze()
        yield


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a PostgreSQL server on which databases may be created."""
    with servers.postgres() as url:
        yield url


@pytest.fixture(scope="session")
def _migrated_postgres(postgres_server: str) -> Iterator[Database]:
    """One migrated database for all tests, emptied after each: creating and dropping one takes a second."""
    with servers.own_database(postgres_server) as url:
        database = Database(StoreSettings(database_url=url))
        migrate.upgrade(database)
        yield database
        database.close()


def _empty(database: Database) -> None:
    """Nothing of one test reaches the next: neither its rows nor a connection that it left open."""
    with database.write() as session:
        others = "FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid()"
        session.execute(text(f"SELECT pg_terminate_backend(pid, 5000) {others}"))
        for table in reversed(Base.metadata.sorted_tables):
            session.execute(table.delete())


@pytest.fixture(scope="session")
def _migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = StoreSettings(data_dir=tmp_path_factory.mktemp("migrated"))
    database = Database(settings)
    migrate.upgrade(database)
    database.close()
    return settings.data_dir / "attractor.db"


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """URL of a Redis database for this session's tests; queues of one test are seen by the next."""
    with servers.redis_server() as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def empty_settings(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[StoreSettings]:
    """Settings of a database without tables."""
    if backend == "sqlite":
        yield StoreSettings(data_dir=tmp_path)
        return
    with servers.own_database(request.getfixturevalue("postgres_server")) as url:
        yield StoreSettings(data_dir=tmp_path, database_url=url)


@pytest.fixture
def store_settings(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[StoreSettings]:
    """Settings of an empty, migrated database and an empty data directory, of this test alone."""
    if backend == "sqlite":
        shutil.copy(request.getfixturevalue("_migrated_sqlite"), tmp_path / "attractor.db")
        yield StoreSettings(data_dir=tmp_path)
        return
    shared = request.getfixturevalue("_migrated_postgres")
    yield StoreSettings(data_dir=tmp_path, database_url=shared.settings.database_url)
    _empty(shared)


@pytest.fixture
def database(store_settings: StoreSettings) -> Iterator[Database]:
    database = Database(store_settings)
    yield database
    database.close()


@pytest.fixture
def blobs(store_settings: StoreSettings) -> Blobs:
    return Blobs(store_settings.blobs_dir)

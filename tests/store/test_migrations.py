"""The schema's way up and down, on both databases."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.util import CommandError
from sqlalchemy import inspect, text

from store import migrate
from store.database import Database
from store.settings import StoreSettings
from store.tables import Base


@pytest.fixture
def empty(empty_settings: StoreSettings) -> Iterator[Database]:
    database = Database(empty_settings)
    yield database
    database.close()


def tables(database: Database) -> set[str]:
    return set(inspect(database.engine).get_table_names()) - {"alembic_version"}


def test_up_down_up(empty: Database) -> None:
    assert migrate.current(empty) is None
    migrate.upgrade(empty)
    assert tables(empty) == set(Base.metadata.tables)
    assert migrate.current(empty) == migrate.head()
    migrate.upgrade(empty)
    migrate.downgrade(empty, "base")
    assert tables(empty) == set()
    assert migrate.current(empty) is None
    migrate.upgrade(empty)
    assert tables(empty) == set(Base.metadata.tables)


def test_the_migrated_schema_is_the_declared_one(database: Database) -> None:
    migrate.check(database)


def test_check_finds_a_difference(empty: Database) -> None:
    migrate.upgrade(empty)
    with empty.write() as session:
        session.execute(text("ALTER TABLE job ADD COLUMN forgotten INTEGER"))
    with pytest.raises(CommandError, match="forgotten"):
        migrate.check(empty)


def test_processes_that_start_together_wait_in_turn(empty_settings: StoreSettings, empty: Database) -> None:
    starters = [Database(empty_settings) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(migrate.upgrade, starters))
    for starter in starters:
        starter.close()
    assert tables(empty) == set(Base.metadata.tables)
    assert migrate.current(empty) == migrate.head()


def test_a_failing_migration_leaves_nothing(empty: Database) -> None:
    def half_way() -> None:
        with migrate.connection(empty) as connection:
            connection.execute(text("CREATE TABLE half (id INTEGER)"))
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        half_way()
    assert tables(empty) == set()


def test_the_command_line_of_alembic_works_too(empty_settings: StoreSettings, empty: Database) -> None:
    run = [sys.executable, "-m", "alembic", "-c", "migrations/alembic.ini", "upgrade", "head"]
    environment = {"ATTRACTOR_DATABASE_URL": empty_settings.database_url, "PATH": ""}
    subprocess.run(run, check=True, env=environment, cwd=migrate.ROOT, capture_output=True, timeout=120)
    assert tables(empty) == set(Base.metadata.tables)

"""Runs migrations on the connection that `store.migrate` gives; from the alembic command line, on one of its own."""

from __future__ import annotations

from typing import Any

from alembic import context
from sqlalchemy import Connection

from store import migrate
from store.clock import Moment
from store.database import Database
from store.settings import StoreSettings
from store.tables import Base


def render(kind: str, value: Any, autogen: Any) -> str | bool:
    """Migrations name plain SQL types, so that they do not change when the code does."""
    if kind == "type" and isinstance(value, Moment):
        return "sa.DateTime(timezone=True)"
    return False


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,  # SQLite alters a table by copying it
        render_item=render,
        compare_type=True,
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with migrate.connection(Database(StoreSettings())) as own:
        run(own)

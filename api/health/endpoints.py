"""Whether the process lives, and whether it can do its work."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from fastapi import APIRouter, Response
from kombu.exceptions import OperationalError
from pydantic import Field
from sqlalchemy.exc import SQLAlchemyError

from api.dependencies import Services, ServicesDep
from domain.base import Document
from store import migrate

router = APIRouter(tags=["health"])

MIN_FREE_BYTES = 256 * 1024 * 1024


class Alive(Document):
    status: str = "ok"


class Check(Document):
    """One thing that the service needs."""

    ok: bool
    detail: str = Field(description="What was found; what is wrong, where it is.")


class Readiness(Document):
    """`ready`: everything works; `degraded`: requests are served, but jobs start late; `down`: neither."""

    status: str
    checks: dict[str, Check]


@router.get("/livez", operation_id="get_livez", summary="Does the process live?")
async def get_livez() -> Alive:
    """Answers without touching anything else."""
    return Alive()


@router.get(
    "/readyz",
    operation_id="get_readyz",
    summary="Can the service do its work?",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "The database or the disk cannot be used."}},
)
def get_readyz(services: ServicesDep) -> Response:
    """Checks the database, its migrations, the broker and the disk. Without the broker the answer is still 200, as
    `degraded`: jobs are accepted and kept, and workers find them by themselves a little later.
    """
    checks = {name: _attempt(services, check) for name, check in _CHECKS.items()}
    failed = {name for name, check in checks.items() if not check.ok}
    status = "ready" if not failed else "degraded" if failed == {"broker"} else "down"
    body = Readiness(status=status, checks=checks).model_dump_json()
    return Response(body, 503 if status == "down" else 200, {"Cache-Control": "no-store"}, "application/json")


class _NotOk(Exception):
    pass


def _attempt(services: Services, check: Callable[[Services], str]) -> Check:
    try:
        return Check(ok=True, detail=check(services))
    except (_NotOk, SQLAlchemyError, OperationalError, OSError) as error:
        # The first line says what is wrong; what follows may hold addresses.
        return Check(ok=False, detail=f"{type(error).__name__}: {error}".splitlines()[0].removeprefix("_NotOk: "))


def _database(services: Services) -> str:
    services.database.ping()
    return "answers"


def _migrations(services: Services) -> str:
    wanted, found = migrate.head(), migrate.current(services.database)
    if wanted != found:
        raise _NotOk(f"the database is at {found or 'nothing'}, this release needs {wanted}: run `attractor migrate`")
    return f"at {found}"


def _broker(services: Services) -> str:
    with services.celery.connection_for_write(connect_timeout=2) as connection:
        connection.ensure_connection(max_retries=1, timeout=2)
    return "answers"


def _disk(services: Services) -> str:
    free = shutil.disk_usage(services.settings.data_dir).free
    if free < MIN_FREE_BYTES:
        raise _NotOk(
            f"only {free // 2**20} MiB are free below the data directory; at least {MIN_FREE_BYTES // 2**20} are needed"
        )
    return f"{free // 2**20} MiB free"


_CHECKS: dict[str, Callable[[Services], str]] = {
    "database": _database,
    "migrations": _migrations,
    "broker": _broker,
    "disk": _disk,
}

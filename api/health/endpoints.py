"""Whether the process lives, whether it can do its work, and what it has counted."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from kombu.exceptions import OperationalError
from pydantic import Field
from sqlalchemy.exc import SQLAlchemyError

from api.dependencies import Services, ServicesDep
from api.errors import problem_responses
from api.metrics import CONTENT_TYPE
from domain.base import Document
from domain.jobs import JobQueue
from store import migrate
from store.blobs import BlobsUnavailable

router = APIRouter(tags=["health"])

log = logging.getLogger(__name__)
_HIDDEN = "Shown to those who send a key."
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


async def _is_trusted(request: Request) -> bool:
    return await request.app.state.gate.is_trusted(request.scope)


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
def get_readyz(services: ServicesDep, trusted: Annotated[bool, Depends(_is_trusted)]) -> Response:
    """Checks the database, its migrations, the disk, the storage of files, the broker, whether workers are heard of, and whether they take jobs.
    While only the last three fail the answer is still 200, as `degraded`: jobs are accepted and kept, and done later.
    Details are for requests from the same machine, and for those with a key.
    """
    checks = {name: _attempt(services, check) for name, check in _CHECKS.items()}
    failed = {name for name, check in checks.items() if not check.ok}
    status = "ready" if not failed else "degraded" if failed <= _MERELY_LATE else "down"
    if not trusted:
        checks = {name: Check(ok=check.ok, detail=_HIDDEN) for name, check in checks.items()}
    body = Readiness(status=status, checks=checks).model_dump_json()
    return Response(body, 503 if status == "down" else 200, {"Cache-Control": "no-store"}, "application/json")


@router.get(
    "/metrics",
    operation_id="get_metrics",
    summary="What has been counted, for Prometheus",
    response_class=Response,
    responses={
        200: {"content": {CONTENT_TYPE: {"schema": {"type": "string"}}}, "description": "Text, version 0.0.4."},
        **problem_responses(401, 403),
    },
)
def get_metrics(services: ServicesDep) -> Response:
    """Queues, jobs, workers and webhooks as the database knows them, what workers have counted, and the requests that this
    process has served. What is asked of the database is a few seconds old; the number of jobs by status up to a minute.
    """
    return Response(services.exposition.text(), headers={"Cache-Control": "no-store"}, media_type=CONTENT_TYPE)


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
    if not migrate.serves(found):
        raise _NotOk(f"the database is at {found or 'nothing'}, this release needs {wanted}: run `attractor migrate`")
    return f"at {found}" if found == wanted else f"at {found}, which a later release has made"


def _broker(services: Services) -> str:
    services.announcer.ping()
    return "answers"


def _disk(services: Services) -> str:
    free = shutil.disk_usage(services.settings.data_dir).free
    if free < MIN_FREE_BYTES:
        raise _NotOk(
            f"only {free // 2**20} MiB are free below the data directory; at least {MIN_FREE_BYTES // 2**20} are needed"
        )
    return f"{free // 2**20} MiB free"


def _blobs(services: Services) -> str:
    try:
        services.blobs.ping()
    except BlobsUnavailable as error:
        log.warning("readiness: %s", error)  # which may hold addresses
        raise _NotOk("the storage of files does not answer, or refuses to; the log says more") from error
    return "can be written"


def _workers(services: Services) -> str:
    found = services.canary.look()
    if found.unserved:
        raise _NotOk("; ".join(found.unserved.values()))
    if not found.alive:
        silence = services.settings.worker_silence_seconds
        raise _NotOk(f"no worker has been heard of for {silence:g} s: start one with `attractor worker`")
    places = {queue: found.places(queue)[0] for queue in JobQueue}
    return ", ".join(f"{number} places for the queue {queue}" for queue, number in places.items() if number)


def _canary(services: Services) -> str:
    stuck = services.canary.look().stuck
    if stuck:
        raise _NotOk("; ".join(stuck.values()))
    return "jobs that are due are taken"


# While these fail jobs are accepted, and start late.
_MERELY_LATE = {"broker", "workers", "canary"}
_CHECKS: dict[str, Callable[[Services], str]] = {
    "database": _database,
    "migrations": _migrations,
    "broker": _broker,
    "disk": _disk,
    "blobs": _blobs,
    "workers": _workers,
    "canary": _canary,
}

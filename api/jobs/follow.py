"""Following a job without holding a thread or a database session: a short read, a sleep, and again."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import anyio
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.concurrency import run_in_threadpool

from api.jobs.schemas import JobEvent
from domain.jobs import TERMINAL, JobStatus
from store import jobs
from store.database import Database
from store.tables import JobEventRow, JobRow

FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 0.03, 0.5
KEEPALIVE_SECONDS = 15.0
_EVENTS_AT_A_TIME = 200


def read_job(database: Database, tenant: str, job_id: str) -> JobRow:
    with database.read() as session:
        return jobs.get(session, job_id, tenant=tenant)


def ended(row: JobRow) -> bool:
    return JobStatus(row.status) in TERMINAL


async def wait(
    database: Database, tenant: str, job_id: str, seconds: float, *, beyond_version: int | None = None
) -> JobRow:
    """The job once it has ended, or has a version other than `beyond_version`, or the time is up."""
    deadline = time.monotonic() + seconds
    pause = FIRST_PAUSE_SECONDS
    while True:
        row = await run_in_threadpool(read_job, database, tenant, job_id)
        changed = beyond_version is not None and row.version != beyond_version
        left = deadline - time.monotonic()
        if ended(row) or changed or left <= 0:
            return row
        await anyio.sleep(min(pause, left))
        pause = min(1.5 * pause, LAST_PAUSE_SECONDS)


def read_events(database: Database, job_id: str, after: int, limit: int) -> list[JobEventRow]:
    with database.read() as session:
        return jobs.events(session, job_id, after=after, limit=limit)


def exists(database: Database, job_id: str) -> bool:
    with database.read() as session:
        return jobs.exists(session, job_id)


async def event_stream(database: Database, job_id: str, after: int) -> AsyncIterator[bytes]:
    """Server-sent events with seq > `after`, each with its seq as id; ends after the one that ended the job, or when the
    job has been deleted."""
    pause, last_sent = FIRST_PAUSE_SECONDS, time.monotonic()
    while True:
        rows = await run_in_threadpool(read_events, database, job_id, after, _EVENTS_AT_A_TIME)
        for row in rows:
            event = JobEvent.of(row)
            yield format_sse_event(data_str=event.model_dump_json(), event=event.type, id=str(event.seq))
            after, pause, last_sent = event.seq, FIRST_PAUSE_SECONDS, time.monotonic()
            if event.data.get("status") in TERMINAL:
                return
        if time.monotonic() - last_sent > KEEPALIVE_SECONDS:
            yield KEEPALIVE_COMMENT
            last_sent = time.monotonic()
            if not await run_in_threadpool(exists, database, job_id):
                return
        await anyio.sleep(pause)
        pause = min(1.5 * pause, LAST_PAUSE_SECONDS)

"""The newest migration, under the release that still runs: it knows none of the new columns, and goes on writing."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from domain.ids import new_id
from store import jobs, leases, migrate, statistics
from store.database import Database
from store.settings import StoreSettings

# The columns that the previous release writes, and the way in which it did.
SERIES = (
    "INSERT INTO series (id, tenant, created_at, content_hash, blob_sha256, n_bytes, n_steps, channels, dt, time_unit, "
    "time_start, spec, profile, source) VALUES (:id, 'default', :now, :hash, :hash, 1, 1, '[\"x\"]', 1.0, 's', 0.0, '{}', "
    "'{}', '{}')"
)
JOB = (
    "INSERT INTO job (id, tenant, created_at, kind, status, version, attempt, max_attempts, timeout_s, updated_at, request, "
    "series_id, progress, dispatch_after, dispatches, event_seq) VALUES (:id, 'default', :now, 'lyapunov', 'queued', 1, 0, 3, "
    "60, :now, :request, :series, :progress, :now, 0, 1)"
)
EVENT = "INSERT INTO job_event (job_id, seq, created_at, type, data) VALUES (:id, 1, :now, 'status', '{\"status\": \"queued\"}')"
CLAIM = (
    "UPDATE job SET status = 'running', version = version + 1, attempt = attempt + 1, token = :token, worker = 'old', "
    "lease_until = :later, updated_at = :now, event_seq = event_seq + 1 WHERE id = :id AND status = 'queued'"
)


@pytest.fixture
def before(empty_settings: StoreSettings) -> Iterator[Database]:
    """A database of the previous release."""
    database = Database(empty_settings)
    migrate.upgrade(database, "0001")
    yield database
    database.close()


class PreviousRelease:
    """Submits and claims with the statements of its own time."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.submitted: list[str] = []

    def submit(self, *, claim: bool = False) -> str:
        job_id, series_id, now = new_id("job"), new_id("series"), "2026-01-01 00:00:00.000000+00:00"
        if self.database.is_sqlite:
            now = now.removesuffix("+00:00")
        request = json.dumps({"kind": "lyapunov", "series_id": series_id, "limits": {"timeout_s": 60}})
        given = {"id": job_id, "now": now, "series": series_id, "request": request, "progress": '{"phase": "queued"}'}
        with self.database.write() as session:
            session.execute(text(SERIES), {"id": series_id, "now": now, "hash": job_id.ljust(64, "0")[:64]})
            session.execute(text(JOB), given)
            session.execute(text(EVENT), given)
        if claim:
            with self.database.write() as session:
                session.execute(text(CLAIM), {"id": job_id, "token": job_id[-32:], "later": now, "now": now})
        self.submitted.append(job_id)
        return job_id


def test_the_previous_release_writes_while_and_after_the_schema_changes(before: Database) -> None:
    old = PreviousRelease(before)
    first = [old.submit(claim=number % 2 == 0) for number in range(20)]
    stop = threading.Event()

    def keep_writing() -> None:
        while not stop.is_set():
            old.submit(claim=len(old.submitted) % 2 == 0)
            time.sleep(0.005)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(keep_writing)
        while len(old.submitted) < 30:
            time.sleep(0.01)
        upgrader = Database(before.settings)
        migrate.upgrade(upgrader)
        upgrader.close()
        during = len(old.submitted)
        while len(old.submitted) < during + 10 and not writing.done():
            time.sleep(0.01)
        stop.set()
        writing.result()  # not one of its statements failed
    migrate.check(before)
    with before.read() as session:
        counts = statistics.by_status(session)
        assert sum(counts.values()) == len(old.submitted)
        assert counts["running"] > 10
        job = jobs.get(session, first[0])
        assert (job.queue, job.rank, job.memory_mb, job.retry_of) == ("cpu", 0, None, None)
        assert {part.queue for part in statistics.waiting(session)} == {"cpu"}
    with before.write() as session:
        claimed = leases.claim_next(session, before.settings, worker="new", queues=["cpu"], lease_seconds=60)
    assert claimed is not None
    assert claimed[0].id in old.submitted


def test_what_it_wrote_is_there_after_the_way_back(before: Database) -> None:
    old = PreviousRelease(before)
    first = old.submit(claim=True)
    migrate.upgrade(before)
    second = old.submit()
    migrate.downgrade(before, "0001")
    third = old.submit(claim=True)
    with before.read() as session:
        found = session.execute(text("SELECT id, status FROM job ORDER BY id")).all()
        assert [tuple(row) for row in found] == [(first, "running"), (second, "queued"), (third, "running")]
        assert session.scalar(text("SELECT count(*) FROM job_event")) == 3

"""What the store's frequent work costs as rows grow to a million: `python benchmarks/rows.py [--database URL]`.

Ended jobs of twenty tenants are written, ten thousand at a time; at each size of --sizes, beside ten thousand waiting jobs,
every kind of work is done again and again in a transaction that is rolled back (but for reads), and its median and 95th
percentile are told. PostgreSQL also tells what its statements cost inside the server, by EXPLAIN ANALYZE: milliseconds, and pages
of 8 KiB that were looked at, which no other load on the machine changes. Then a server process is asked for jobs and pages of
jobs over HTTP, one request after the other, and also its processor time for a request is told. Without --database an SQLite file in a scratch
directory; a PostgreSQL database must be empty.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
from sqlalchemy import event, insert, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from upload import machine, server

from domain.ids import earliest_id, new_id
from domain.jobs import JobKind, JobStatus, Progress
from domain.specs import LyapunovJob
from store import jobs, leases, migrate
from store import statistics as state
from store.clock import now
from store.database import Database
from store.expiry import expire
from store.pages import encode
from store.settings import StoreSettings
from store.staffing import staffing
from store.sweep import sweep
from store.tables import JobRow, SeriesRow

TENANTS = ["default", *(f"tenant{n:02d}" for n in range(1, 20))]
CHUNK, WAITING, ROUNDS = 10_000, 10_000, 100
ENDED = (JobStatus.SUCCEEDED, JobStatus.SUCCEEDED, JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED)
YEAR_SECONDS = 365 * 86_400.0


class Undone(Exception):
    """Rolls a transaction back."""


@dataclass
class Bench:
    settings: StoreSettings
    database: Database
    series: dict[str, str]
    ended: int = 0

    def job(self, number: int, status: JobStatus, moment: datetime) -> dict[str, Any]:
        tenant = TENANTS[number % len(TENANTS)]
        kind = list(JobKind)[number // len(TENANTS) % 5]
        job_id = earliest_id("job", moment)[:16] + new_id("job")[16:]
        request = LyapunovJob(kind="lyapunov", series_id=self.series[tenant])
        waits = status == JobStatus.QUEUED
        return {
            "id": job_id,
            "tenant": tenant,
            "created_at": moment,
            "updated_at": moment,
            "finished_at": None if waits else moment + timedelta(seconds=60),
            "kind": kind,
            "status": status,
            "max_attempts": 3,
            "timeout_s": 7200,
            "rank": number % 3 - 1 if waits else 0,
            "request": jobs.request_document(request),
            "series_id": self.series[tenant],
            "progress": Progress().model_dump(mode="json"),
            "dispatch_after": moment if waits else None,
            "event_seq": 1,
        }

    def write(self, rows: list[dict[str, Any]]) -> None:
        with self.database.write() as session:
            session.execute(insert(JobRow), rows)

    def fill(self, size: int) -> float:
        """Ended jobs until there are so many, spread over the last year; the seconds it took."""
        started, start = time.perf_counter(), datetime.now(UTC) - timedelta(seconds=YEAR_SECONDS)
        while self.ended < size:
            numbers = range(self.ended, self.ended + min(CHUNK, size - self.ended))
            moments = [start + timedelta(seconds=(n * 7919 % 1_000_000) / 1e6 * YEAR_SECONDS) for n in numbers]
            self.write([self.job(n, ENDED[n // 100 % 5], moment) for n, moment in zip(numbers, moments, strict=True)])
            self.ended += len(numbers)
        with self.database.engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("ANALYZE"))
        return time.perf_counter() - started

    @contextmanager
    def undone(self) -> Iterator[Session]:
        try:
            with self.database.write() as session:
                yield session
                raise Undone
        except Undone:
            pass


def work(bench: Bench, some: list[str], held: list[leases.Lease]) -> dict[str, Callable[[int], Any]]:
    """What is measured, by name; each is called with the number of the round."""
    tenant = TENANTS[0]
    limited = bench.settings.model_copy(update={"max_running_jobs": 8, "max_queued_jobs": 100_000})
    kept = bench.settings.model_copy(
        update={"job_retention_days": 400, "result_retention_days": 400, "series_retention_days": 400}
    )
    request = LyapunovJob(kind="lyapunov", series_id=bench.series[tenant])

    def read(ask: Callable[[Session, int], Any]) -> Callable[[int], Any]:
        def once(n: int) -> None:
            with bench.database.read() as session:
                ask(session, n)

        return once

    def undone(ask: Callable[[Session], Any]) -> Callable[[int], Any]:
        def once(n: int) -> None:
            with bench.undone() as session:
                ask(session)

        return once

    def claim(session: Session, settings: StoreSettings) -> None:
        assert leases.claim_next(session, settings, worker="w", queues=["cpu"], lease_seconds=60)

    def pages(**filters: Any) -> Callable[[int], Any]:
        return read(lambda s, n: jobs.list_page(s, tenant=tenant, **filters))

    def late(session: Session) -> None:
        session.execute(text("UPDATE job SET lease_until = created_at WHERE lease_until IS NOT NULL"))
        assert len(sweep(session, bench.settings).requeued) == len(held)

    return {
        "get": read(lambda s, n: jobs.get(s, some[n % len(some)], tenant=tenant)),
        "list": pages(),
        "list, page in the middle": pages(cursor=encode(some[len(some) // 2])),
        "list, status=failed": pages(status=JobStatus.FAILED),
        "list, status=running (none)": pages(status=JobStatus.RUNNING),
        "list, kind=train": pages(kind=JobKind.TRAIN),
        "list, series_id": pages(series_id=bench.series[tenant]),
        "submit": undone(lambda s: jobs.submit(s, bench.settings, request, tenant=tenant, idempotency_key="k")),
        "submit, with quota": undone(lambda s: jobs.submit(s, limited, request, tenant=tenant)),
        "claim_next": undone(lambda s: claim(s, bench.settings)),
        "claim_next, with quotas": undone(lambda s: claim(s, limited)),
        "heartbeat": undone(lambda s: leases.heartbeat(s, held[0])),
        "progress": undone(lambda s: leases.report(s, held[0], Progress(fraction=0.5))),
        "sweep": undone(lambda s: sweep(s, bench.settings)),
        "sweep, 8 lost workers": undone(late),
        "metrics, queues and workers": read(
            lambda s, n: (state.waiting(s), state.held(s), staffing(s, bench.settings))
        ),
        "metrics, jobs by status": read(lambda s, n: state.by_status(s)),
        "expiry, nothing due": undone(lambda s: expire(s, kept)),
        "expiry of 100 jobs": undone(lambda s: expire(s, kept.model_copy(update={"job_retention_days": 30}))),
    }


def measure(once: Callable[[int], Any]) -> dict[str, float]:
    taken = []
    for n in range(ROUNDS + 5):
        started = time.perf_counter()
        once(n)
        taken.append(1e3 * (time.perf_counter() - started))
    taken = sorted(taken[5:])
    return {"median_ms": round(statistics.median(taken), 2), "p95_ms": round(taken[int(0.95 * ROUNDS)], 2)}


def served(bench: Bench, once: Callable[[int], Any]) -> dict[str, float]:
    """What PostgreSQL does for it; each statement alone, after the others, in a transaction that is rolled back."""
    asked: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        if statement.split()[0] in ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE") and not many:
            asked.append((statement, parameters))

    event.listen(bench.database.engine, "before_cursor_execute", note)
    once(0)
    event.remove(bench.database.engine, "before_cursor_execute", note)
    pages, milliseconds = 0, 0.0
    for statement, parameters in asked:
        with bench.undone() as session:
            explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
            try:
                [found] = session.connection().exec_driver_sql(explain, parameters).scalar_one()
            except IntegrityError:
                continue  # the event of a job that has been rolled back
        pages += found["Plan"]["Shared Hit Blocks"] + found["Plan"]["Shared Read Blocks"]
        milliseconds += found["Execution Time"]
    return {"server_ms": round(milliseconds, 2), "pages": pages}


def over_http(bench: Bench, some: list[str]) -> dict[str, dict[str, float]]:
    """What a client waits for, at one connection, and what the API's process works for it."""
    series_id, middle = bench.series[TENANTS[0]], encode(some[len(some) // 2])
    paths: dict[str, Callable[[int], str]] = {
        "get": lambda n: f"/v1/jobs/{some[n % len(some)]}",
        "list": lambda n: "/v1/jobs",
        "list, page in the middle": lambda n: f"/v1/jobs?cursor={middle}",
        "list, status=failed": lambda n: "/v1/jobs?status=failed",
        "list, status=canceling (none)": lambda n: "/v1/jobs?status=canceling",
        "list, kind=train": lambda n: "/v1/jobs?kind=train",
        "list, series_id": lambda n: f"/v1/jobs?series_id={series_id}",
        "list, status=failed, kind=train": lambda n: "/v1/jobs?status=failed&kind=train",
    }
    os.environ["ATTRACTOR_DATABASE_URL"] = bench.settings.database_url
    found = {}
    with (
        server(bench.settings.data_dir) as (pid, base),
        httpx.Client(base_url=base, timeout=60, trust_env=False) as client,
    ):
        process = psutil.Process(pid)

        def worked() -> float:
            times = process.cpu_times()
            return 1e3 * float(times.user + times.system)

        for name, path in paths.items():

            def once(n: int, path: Callable[[int], str] = path) -> None:
                client.get(path(n)).raise_for_status()

            once(0)
            before = worked()
            row = measure(once)
            found[name] = row | {"api_processor_ms": round((worked() - before) / (ROUNDS + 5), 2)}
    return found


def prepare(database: Database, settings: StoreSettings) -> Bench:
    migrate.upgrade(database)
    series = {tenant: new_id("series") for tenant in TENANTS}
    common = {"n_bytes": 8, "n_steps": 1, "channels": ["x"], "dt": 1.0, "time_unit": "s", "time_start": 0.0}
    empty = {"spec": {}, "profile": {}, "source": {}, "blob_sha256": "0" * 64}
    with database.write() as session:
        session.execute(
            insert(SeriesRow),
            [{"id": id, "tenant": t, "content_hash": id[4:], **common, **empty} for t, id in series.items()],
        )
    bench = Bench(settings, database, series)
    moment = datetime.now(UTC)
    bench.write([bench.job(n, JobStatus.QUEUED, moment + timedelta(milliseconds=n)) for n in range(WAITING)])
    return bench


def run(settings: StoreSettings, sizes: list[int], http_only: bool) -> dict[str, Any]:
    database = Database(settings)
    bench = prepare(database, settings)
    with database.write() as session:
        claimed = [
            leases.claim_next(session, settings, worker="w", queues=["cpu"], lease_seconds=86_400) for _ in range(8)
        ]
    held = [lease for _, lease in filter(None, claimed)]
    found: dict[str, Any] = {"database": "sqlite" if database.is_sqlite else "postgresql", "sizes": {}, "over_http": {}}
    for size in sizes:
        seconds = bench.fill(size)
        with database.read() as session:
            mine = select(JobRow.id).where(JobRow.tenant == TENANTS[0], JobRow.finished_at < now())
            some = list(session.scalars(mine.order_by(JobRow.id).limit(1000)))
        rows = {
            name: measure(once) | ({} if database.is_sqlite else served(bench, once))
            for name, once in work(bench, some, held).items()
            if not http_only
        }
        found["sizes"][size], found["over_http"][size] = rows, over_http(bench, some)
        print(f"{found['database']}, {size:,} ended and {WAITING:,} waiting jobs (written in {seconds:.0f} s)")
        for name, row in rows.items():
            inside = f"  in the server {row['server_ms']:7.2f} ms, {row['pages']:6} pages" if "pages" in row else ""
            print(f"  {name:30} {row['median_ms']:8.2f} ms  p95 {row['p95_ms']:8.2f}{inside}", flush=True)
        for name, row in found["over_http"][size].items():
            worked = f"the API worked {row['api_processor_ms']:.1f} ms"
            print(f"  HTTP {name:25} {row['median_ms']:8.2f} ms  p95 {row['p95_ms']:8.2f}  {worked}", flush=True)
    database.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--database", default="", help="URL of an empty PostgreSQL database")
    parser.add_argument("--sizes", default="10000,100000,1000000", help="numbers of ended jobs")
    parser.add_argument("--http-only", action="store_true", help="leave out what is measured below HTTP")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="attractor-rows-") as folder:
        settings = StoreSettings(data_dir=Path(folder), database_url=args.database)
        found = {"machine": machine(), **run(settings, [int(size) for size in args.sizes.split(",")], args.http_only)}
    if args.output:
        args.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

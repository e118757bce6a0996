"""A deployment under load: `python benchmarks/fleet.py [--jobs 10000] [--workers 4] [--streams 200] [--seconds 0]`.

Redis, PostgreSQL, an API with a small connection pool and some workers; a queue of jobs that compute nothing (one tenant has
six times as many as each of the four others, and all of them came before), event streams that follow some of them, and a client
that goes on asking, until the queue is empty. Told are jobs per second, over all and for each tenth of the queue, how long reads
take meanwhile, what every process needs in memory, whether the tenants are served alike although their queues are not, and how
every job ended.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import deployment
import httpx
import numpy as np
import psutil
from deployment import Deployment
from sqlalchemy import func, insert, inspect, select
from upload import machine

from domain.ids import new_id
from domain.specs import LyapunovJob
from store import jobs, queue
from store.tables import ForecastRow, JobEventRow, JobRow, SeriesRow

TENANTS = ("default", "b", "c", "d", "e")
SHARES = (6, 1, 1, 1, 1)
SETTINGS = {"ATTRACTOR_DATABASE_POOL_SIZE": "3", "ATTRACTOR_CONCURRENCY": "1", "ATTRACTOR_LOG_LEVEL": "WARNING"}
CHUNK = 1000


def fill(made: Deployment, count: int) -> list[str]:
    """Queue so many jobs, one tenant after the other; the ids of those of the first, oldest first."""
    series = {tenant: new_id("series") for tenant in TENANTS}
    empty = {"n_bytes": 8, "n_steps": 1, "channels": ["x"], "dt": 1.0, "time_unit": "s", "time_start": 0.0}
    documents: dict[str, Any] = {"spec": {}, "profile": {}, "source": {}, "blob_sha256": "0" * 64}
    with made.database.write() as session:
        for tenant, series_id in series.items():
            session.add(SeriesRow(id=series_id, tenant=tenant, content_hash=series_id[4:], **empty, **documents))
    mine: list[str] = []
    # Whoever came first has the longest queue, and the oldest jobs.
    for tenant, share in zip(TENANTS, SHARES, strict=True):
        request = LyapunovJob(kind="lyapunov", series_id=series[tenant], metadata={"steps": 1, "pause": 0.0})
        with made.database.write() as session:  # one as the API makes it; the others are copies of it
            first = jobs.submit(session, made.settings, request, tenant=tenant).job
            row = {column.key: getattr(first, column.key) for column in inspect(JobRow).columns}
            events = [
                {column.key: getattr(event, column.key) for column in inspect(JobEventRow).columns}
                for event in session.scalars(select(JobEventRow).where(JobEventRow.job_id == first.id))
            ]
        ids = [first.id, *(new_id("job") for _ in range(count * share // sum(SHARES) - 1))]
        for start in range(1, len(ids), CHUNK):
            with made.database.write() as session:
                chunk = ids[start : start + CHUNK]
                session.execute(insert(JobRow), [row | {"id": job_id} for job_id in chunk])
                session.execute(insert(JobEventRow), [e | {"job_id": job_id} for job_id in chunk for e in events])
        mine += ids if tenant == TENANTS[0] else []
    return mine


async def stream(url: str, job_id: str) -> tuple[int, str | None]:
    """Follow a job to its end: how many events came, and the last status among them."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(str(address.hostname), int(address.port or 80))
    head = f"GET /v1/jobs/{job_id}/events HTTP/1.1\r\nHost: {address.netloc}\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n"
    writer.write(head.encode())
    events, status = 0, None
    while line := await reader.readline():
        if line.startswith(b"data:"):
            events += 1
            data = json.loads(line[5:])
            status = data.get("data", data).get("status", status)
    writer.close()
    return events, status


async def ask(url: str, job_ids: list[str], stop: asyncio.Event) -> dict[str, list[float]]:
    """One request after the other, of several kinds in turn: seconds by kind."""
    taken: dict[str, list[float]] = {"GET job": [], "GET jobs": [], "GET readyz": [], "GET metrics": []}
    ids = itertools.cycle(job_ids)
    async with httpx.AsyncClient(base_url=url, timeout=60.0, trust_env=False) as client:
        while not stop.is_set():
            paths = (f"/v1/jobs/{next(ids)}", "/v1/jobs?limit=50", "/readyz", "/metrics")
            for kind, path in zip(taken, paths, strict=True):
                begun = time.perf_counter()
                (await client.get(path)).raise_for_status()
                taken[kind].append(time.perf_counter() - begun)
                await asyncio.sleep(0.02)
    return taken


def ended(made: Deployment) -> Counter[str]:
    """Jobs that have ended, by tenant."""
    with made.database.read() as session:
        query = select(JobRow.tenant, func.count()).where(JobRow.finished_at.is_not(None)).group_by(JobRow.tenant)
        return Counter({str(tenant): count for tenant, count in session.execute(query)})


def endings(made: Deployment) -> dict[str, Any]:
    """Jobs by status, the most attempts that one of them took, and results that belong to no job of their own."""
    with made.database.read() as session:
        by_status = session.execute(select(JobRow.status, func.count()).group_by(JobRow.status))
        results = session.execute(
            select(func.count(), func.count(ForecastRow.job_id.distinct())).select_from(ForecastRow)
        )
        total, of_jobs = results.one()
        return {
            "by_status": {str(status): count for status, count in by_status},
            "most_attempts": session.scalar(select(func.max(JobRow.attempt))),
            "results": total,
            "results_doubled": total - of_jobs,
        }


def memory(made: Deployment) -> dict[str, float]:
    """Resident mebibytes of the API, and of every worker with its processes."""
    found = {}
    for process in (made.api, *made.workers):
        try:
            family = [psutil.Process(process.process.pid), *process.descendants()]
            found[process.name] = round(sum(p.memory_info().rss for p in family) / 2**20, 1)
        except psutil.NoSuchProcess:
            continue
    return found


def processor(made: Deployment) -> Counter[str]:
    """Seconds of processor time so far: of the API, and of the workers with all their processes, ended ones too."""
    used: Counter[str] = Counter()
    for process in (made.api, *made.workers):
        with suppress(psutil.NoSuchProcess):
            times = [psutil.Process(process.process.pid).cpu_times()]
            times += [p.cpu_times() for p in process.descendants() if p.ppid() == process.process.pid]
            seconds = sum(t.user + t.system + t.children_user + t.children_system for t in times)
            used["api" if process is made.api else "workers"] += round(seconds, 1)  # type: ignore[assignment]
    return used


async def watch(made: Deployment, count: int, seconds: float, stop: asyncio.Event) -> dict[str, Any]:
    """Until all jobs have ended, or the time is over: throughput, and the tenants' shares while all of them wait."""
    while not (before := sum((await asyncio.to_thread(ended, made)).values())):
        await asyncio.sleep(0.1)  # until the workers are there
    begun = time.perf_counter()
    shares: dict[str, int] = {}
    tenths = [(before, 0.0)]
    first, most, used = memory(made), Counter[str](), processor(made)
    while True:
        await asyncio.sleep(1.0)
        done, now = await asyncio.to_thread(ended, made), memory(made)
        most |= Counter(now)  # type: ignore[arg-type]
        if min((done[tenant] for tenant in TENANTS), default=0) < 0.08 * count:
            shares = dict(done)  # every tenant still has jobs that wait
        total, elapsed = sum(done.values()), time.perf_counter() - begun
        if total - tenths[-1][0] >= count / 10 or total >= count:
            tenths.append((total, elapsed))
        if total >= count or 0 < seconds < elapsed:
            break
    stop.set()
    return {
        "jobs_ended": total,
        "seconds": round(elapsed, 1),
        "emptied": total >= count,
        "jobs_per_second": round((total - before) / elapsed, 1),
        "jobs_per_second_by_tenth": [round((b - a) / (t - s), 1) for (a, s), (b, t) in itertools.pairwise(tenths)],
        "processor_seconds": dict(processor(made) - used),
        "ended_by_tenant_while_all_wait": shares,
        "memory_mb_at_first": first,
        "memory_mb_at_most": dict(most),
        "memory_mb_at_last": now,
    }


async def load(made: Deployment, mine: list[str], count: int, streams: int, seconds: float) -> dict[str, Any]:
    stop = asyncio.Event()
    # Spread over the queue, so that streams live long and end one after the other.
    followed = mine[:: max(1, len(mine) // streams)][:streams]
    following = [asyncio.create_task(stream(made.url, job_id)) for job_id in followed]
    asking = asyncio.create_task(ask(made.url, mine, stop))
    found = await watch(made, count, seconds, stop)
    taken = await asking
    done, pending = await asyncio.wait(following, timeout=30)
    for task in pending:
        task.cancel()
    last = Counter(task.result()[1] for task in done)
    found["streams"] = {"opened": len(followed), "ended": len(done), "last_status": dict(last)}
    found["latency_ms"] = {
        kind: {"requests": len(s), "median": _ms(s, 0.5), "p99": _ms(s, 0.99)} for kind, s in taken.items() if s
    }
    return found


def _ms(seconds: list[float], quantile: float) -> float:
    return round(1000 * float(np.quantile(seconds, quantile)), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=0.0, help="at most; 0: until the queue is empty")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    deployment.TMPFS_MB = 4000  # every job leaves a blob of 64 KiB
    with deployment.deployment("production", 0, SETTINGS) as made:
        begun = time.perf_counter()
        mine = fill(made, arguments.jobs)
        filled = time.perf_counter() - begun
        made.add_workers(arguments.workers)
        celery = queue.make_celery(made.settings)
        for _ in range(2 * arguments.workers):
            queue.publish(celery, mine[0], "cpu")
        celery.close()
        found = asyncio.run(load(made, mine, arguments.jobs, arguments.streams, arguments.seconds))
        found["endings"] = endings(made)
    report = {
        "machine": machine(),
        "jobs": arguments.jobs,
        "workers": arguments.workers,
        "pool_size": int(SETTINGS["ATTRACTOR_DATABASE_POOL_SIZE"]),
        "filled_in_seconds": round(filled, 1),
        **found,
    }
    arguments.output.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    sys.exit(main())

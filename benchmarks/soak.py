"""Half an hour of steady work: `python benchmarks/soak.py [--minutes 31] [--workers 2] [--pause 1]`.

Redis, PostgreSQL, an API and workers; jobs are submitted over HTTP, one every --pause seconds, followed by event streams and
deleted when they have ended, so that nothing should grow. Choose a pause that the machine can keep up with: how many jobs are
under way at a time is told. The memory of every process is told every ten seconds, and at the end its slope over the second
half: mebibytes per hour, by least squares.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import deployment
import httpx
import numpy as np
import psutil
from deployment import Deployment
from fleet import SETTINGS, processor, stream
from upload import machine

SAMPLE_SECONDS = 10.0


def a_series(url: str) -> str:
    rows = np.random.default_rng(0).normal(size=(1000, 3)).tolist()
    answer = httpx.post(f"{url}/v1/series", json={"values": rows, "dt": 0.01, "time_unit": "s"}, trust_env=False)
    return str(answer.raise_for_status().json()["id"])


def memory(made: Deployment) -> dict[str, float]:
    """Resident mebibytes of every process that stays: the API, each worker, and the one that its jobs are forked from."""
    found = {}
    for process in (made.api, *made.workers):
        lasting = {process.name: process.process.pid}
        lasting |= {
            f"{process.name}, template": p.pid for p in process.descendants() if _parent(p) == process.process.pid
        }
        for name, pid in lasting.items():
            with suppress(psutil.NoSuchProcess):
                found[name] = round(psutil.Process(pid).memory_info().rss / 2**20, 2)
    return found


def _parent(process: psutil.Process) -> int | None:
    with suppress(psutil.NoSuchProcess):
        return process.ppid()
    return None


async def one_job(client: httpx.AsyncClient, url: str, series_id: str) -> str:
    """Submitted, followed, deleted; its last status, or what went wrong where."""
    metadata = {"steps": 4, "pause": 0.05}
    body = {"kind": "lyapunov", "series_id": series_id, "metadata": metadata}
    doing = "submit"
    try:
        job_id = (await client.post("/v1/jobs", json=body)).raise_for_status().json()["id"]
        doing = "follow"
        _, status = await stream(url, job_id)
        doing = "delete"
        (await client.delete(f"/v1/jobs/{job_id}")).raise_for_status()
    except (httpx.HTTPError, OSError) as error:
        return f"{doing}: {error!r}"
    return str(status)


async def soak(made: Deployment, seconds: float, pause: float) -> dict[str, Any]:
    series_id = a_series(made.url)
    samples: list[tuple[float, dict[str, float]]] = []
    statuses: dict[str, int] = {}
    under_way: set[asyncio.Task[str]] = set()
    loads: list[float] = []
    most = 0

    def count(task: asyncio.Task[str]) -> None:
        under_way.discard(task)
        status = "not ended" if task.cancelled() else task.result()
        statuses[status] = statuses.get(status, 0) + 1

    begun = time.monotonic()
    async with httpx.AsyncClient(base_url=made.url, timeout=60.0, trust_env=False) as client:
        while (now := time.monotonic() - begun) < seconds:
            if not samples or now - samples[-1][0] >= SAMPLE_SECONDS:
                samples.append((now, memory(made)))
                loads.append(os.getloadavg()[0])
            task = asyncio.create_task(one_job(client, made.url, series_id))
            under_way.add(task)
            most = max(most, len(under_way))
            task.add_done_callback(count)
            await asyncio.sleep(pause)
        when_stopped = len(under_way)
        if under_way:
            await asyncio.wait(under_way, timeout=120)
        left = list(under_way)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
    return {
        "load": {"least": min(loads), "median": round(float(np.median(loads)), 1), "most": max(loads)},
        "jobs": statuses,
        "jobs_under_way": {"most": most, "when_the_last_was_submitted": when_stopped},
        "processor_seconds": dict(processor(made)),
        "memory_mb": {str(round(at)): found for at, found in samples},
        "slope_mb_per_hour": slopes(samples),
    }


def slopes(samples: list[tuple[float, dict[str, float]]]) -> dict[str, float]:
    """How fast each process grew in the second half."""
    later = samples[len(samples) // 2 :]
    hours = np.array([at for at, _ in later]) / 3600
    names = [name for name in later[0][1] if all(name in found for _, found in later)]
    return {name: round(float(np.polyfit(hours, [found[name] for _, found in later], 1)[0]), 2) for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=31.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between submissions")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    deployment.TMPFS_MB = 4000
    with deployment.deployment("production", arguments.workers, SETTINGS) as made:
        found = asyncio.run(soak(made, 60 * arguments.minutes, arguments.pause))
    report = {"machine": machine(), "minutes": arguments.minutes, "workers": arguments.workers, **found}
    arguments.output.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps({name: value for name, value in report.items() if name != "memory_mb"}, indent=1))


if __name__ == "__main__":
    main()

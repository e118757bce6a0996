"""From a job's submission to its start, of an idle service: `python benchmarks/starts.py [--jobs 60]`.

A client sends a job, waits for its end, and sends the next. Claimed: the database's own times of the two rows' changes.
Begun: until the job's process runs the science, by this machine's clock.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import httpx
import numpy as np
from deployment import Deployment, deployment
from upload import machine

from store import jobs
from store.results import get
from store.tables import ForecastRow


def one(client: httpx.Client, made: Deployment, series_id: str) -> tuple[float, float, float]:
    """Milliseconds from the request to the claim, to the science, and to the end."""
    sent = time.time()
    body = {"kind": "lyapunov", "series_id": series_id, "metadata": {"steps": 0, "pause": 0}}
    job_id = client.post("/v1/jobs", json=body).raise_for_status().json()["id"]
    while True:
        with made.database.read() as session:
            job = jobs.get(session, job_id)
            if job.finished_at is not None:
                began = get(session, ForecastRow, str(job.result_id)).document["began"]
                break
        time.sleep(0.02)
    assert job.started_at is not None
    times = (
        (job.started_at - job.created_at).total_seconds(),
        began - sent,
        (job.finished_at - job.created_at).total_seconds(),
    )
    return times[0] * 1000, times[1] * 1000, times[2] * 1000


def measure(kind: str, n_jobs: int) -> dict[str, object]:
    with deployment(kind, 1, {}) as made, httpx.Client(base_url=made.url, trust_env=False, timeout=30) as client:
        rows = np.random.default_rng(0).normal(size=(1000, 2)).tolist()
        series = client.post("/v1/series", json={"values": rows, "dt": 1, "time_unit": "s"}).raise_for_status().json()
        for _ in range(3):
            one(client, made, series["id"])
        found = np.array([one(client, made, series["id"]) for _ in range(n_jobs)])
    names = ("claimed_ms", "begun_ms", "ended_ms")
    report: dict[str, object] = {"deployment": kind, "jobs": n_jobs}
    for name, values in zip(names, found.T, strict=True):
        report[name] = {
            "median": round(statistics.median(values), 1),
            "p99": round(float(np.quantile(values, 0.99)), 1),
        }
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=60)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    found = []
    for kind in ("production", "embedded"):
        found.append(measure(kind, arguments.jobs))
        print(json.dumps(found[-1]), flush=True)
    arguments.output.write_text(json.dumps({"machine": machine(), "deployments": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()

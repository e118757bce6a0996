"""How soon and how many: webhooks from the end of a job to a receiver on the same machine. `python benchmarks/webhooks.py`

1. Lag with the whole service (`attractor serve`, one worker): jobs that are canceled while they wait, or end by themselves;
   from the end, by the database's clock, to the last byte at the receiver.
2. Throughput of one sender with messages waiting for ten webhooks, on SQLite and on PostgreSQL (where one is at hand).
3. What a receiver that never answers costs another tenant: the lag of that tenant's messages meanwhile.

Writes webhooks.json beside itself.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import servers  # noqa: E402
from receiver import Post, Received, answer, receiving  # noqa: E402
from serving import eventually, henon, serving, submit, upload  # noqa: E402

from store import migrate  # noqa: E402
from store.database import Database  # noqa: E402
from store.settings import StoreSettings  # noqa: E402

JOBS = 100
MESSAGES = 1000
HERE = {
    "ATTRACTOR_WEBHOOK_ALLOW_HTTP": "true",
    "ATTRACTOR_WEBHOOK_PORTS": "[]",
    "ATTRACTOR_WEBHOOK_ALLOW_PRIVATE": '["127.0.0.0/8"]',
}


def lag(message: Received) -> float:
    """Milliseconds from the event to its arrival."""
    event = datetime.fromisoformat(json.loads(message.body)["timestamp"])
    return 1000 * (message.at - event.timestamp())


def summary(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "n": len(ordered),
        "median_ms": round(statistics.median(ordered), 1),
        "p95_ms": round(ordered[int(0.95 * (len(ordered) - 1))], 1),
        "max_ms": round(ordered[-1], 1),
    }


def service_lag() -> dict[str, float]:
    with (
        tempfile.TemporaryDirectory() as folder,
        receiving() as receiver,
        serving(Path(folder) / "data", **HERE) as served,
        served.client as client,
    ):
        client.post("/v1/webhooks", json={"url": receiver.url()}).raise_for_status()
        series_id = upload(client, henon(500))
        jobs = [submit(client, kind="lyapunov", series_id=series_id) for _ in range(JOBS)]
        for job_id in reversed(jobs):
            client.post(f"/v1/jobs/{job_id}/cancel")  # the first ones may have been taken, and end by themselves
            time.sleep(0.05)
        received = receiver.wait_for(JOBS, 300)
    return summary([lag(message) for message in received])


@contextmanager
def database(kind: str, folder: str) -> Iterator[tuple[StoreSettings, Database]]:
    with servers.own_database(servers.POSTGRES_URL) if kind == "postgresql" else _nothing() as url:
        settings = StoreSettings(data_dir=Path(folder), database_url=url)
        made = Database(settings)
        migrate.upgrade(made)
        yield settings, made
        made.close()


@contextmanager
def _nothing() -> Iterator[str]:
    yield ""


def throughput(kind: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder, receiving() as receiver, database(kind, folder) as (settings, made):
        post = Post(settings, made)
        hooks = [post.webhook(receiver.url(), tenant=f"tenant-{i % 5}") for i in range(10)]
        for i in range(MESSAGES):
            post.test(hooks[i % 10], tenant=f"tenant-{i % 5}")
        with post.sending():
            first = receiver.wait_for(1)[0].at
            last = receiver.wait_for(MESSAGES, 300)[-1].at
    return {"messages": MESSAGES, "per_second": round(MESSAGES / (last - first), 1)}


def beside_a_dead_receiver() -> dict[str, float]:
    release = threading.Event()

    def stuck(handler: object, n: int) -> None:
        release.wait(60)
        answer(handler, 204)  # type: ignore[arg-type]

    with (
        tempfile.TemporaryDirectory() as folder,
        receiving() as receiver,
        receiving() as dead,
        database("sqlite", folder) as (settings, made),
    ):
        dead.answer = stuck
        post = Post(settings, made)
        hook = post.webhook(dead.url(), tenant="slow")
        for _ in range(500):
            post.test(hook, tenant="slow")
        quick = post.webhook(receiver.url(), tenant="quick")
        with post.sending():
            eventually(lambda: len(dead.requests) >= 4, "the dead receiver has all that it gets")
            for n in range(50):
                post.test(quick, tenant="quick")
                receiver.wait_for(n + 1)
            release.set()
    return summary([lag(message) for message in receiver.requests])


def main() -> None:
    found = {
        "service_lag": service_lag(),
        "throughput_sqlite": throughput("sqlite"),
        "beside_a_dead_receiver": beside_a_dead_receiver(),
    }
    with servers.postgres():
        found["throughput_postgresql"] = throughput("postgresql")
    print(json.dumps(found, indent=1))
    (Path(__file__).parent / "webhooks.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

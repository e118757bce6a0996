"""A release upgrade while a job runs: `python benchmarks/upgrade.py [--previous COMMIT]`.

The previous release, taken out of git, serves and trains on a PostgreSQL database and a Redis of its own; the new release
migrates the schema under it, starts beside it and takes over. The job must end once, from its checkpoint, with its attempt
counted once, and no request may fail meanwhile. Minutes, most of which the previous release compiles its kernels: that is
why this is no test. `tests/store/test_migrations_under_way.py` is the fast half.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from upload import machine

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))  # which know how to start servers

import servers  # noqa: E402
from serving import TRAINING, eventually, henon, in_training, job, spawned, submit, upload  # noqa: E402

PREVIOUS = "45836f94f155125c98566b147f163c0f38f15831"  # the last commit whose schema ended with 0002
PATIENCE_SECONDS = 900.0


def take_out(commit: str, tree: Path) -> None:
    """A tree of the previous release."""
    command = ["git", "archive", "--format=tar", commit]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{commit} is not in this clone's history: {done.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(tree, filter="data")


@contextmanager
def deployment(folder: Path) -> Iterator[dict[str, str]]:
    """The settings of a deployment with a database and a broker of its own."""
    program = shutil.which("redis-server") or sys.exit("redis-server is not installed")
    (folder / "data").mkdir()
    with (
        servers.postgres() as server,
        servers.own_database(server) as database,
        servers.own_redis(str(program)) as (broker, _),
    ):
        yield {
            "ATTRACTOR_DATA_DIR": str(folder / "data"),
            "ATTRACTOR_DATABASE_URL": database,
            "ATTRACTOR_BROKER_URL": broker,
            "ATTRACTOR_CONCURRENCY": "1",
            "ATTRACTOR_LOG_FORMAT": "text",
            "OMP_NUM_THREADS": "1",
        }


def program(tree: Path, start: str, *arguments: str) -> list[str]:
    """A Python program of the release in `tree`, whatever is installed."""
    return [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {str(tree)!r}); {start}", *arguments]


def attractor(tree: Path, *arguments: str) -> list[str]:
    return program(tree, "from cli.main import app; app()", *arguments)


@contextmanager
def an_api(tree: Path, environment: dict[str, str]) -> Iterator[httpx.Client]:
    port = servers.free_port()
    start = f"import uvicorn; uvicorn.run('api.app:create_app', factory=True, port={port}, log_level='warning')"
    with (
        spawned(program(tree, start), environment),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60.0, trust_env=False) as client,
    ):

        def answers() -> bool:
            try:
                return client.get("/livez").status_code == httpx.codes.OK
            except httpx.TransportError:
                return False

        eventually(answers, "the API answers")
        yield client


def migrated(tree: Path, environment: dict[str, str]) -> str:
    command = attractor(tree, "migrate")
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True)
    return done.stdout.strip().removesuffix(".").split()[-1]


class Caller(threading.Thread):
    """Asks for the job ten times a second, and keeps every answer that is none."""

    def __init__(self, client: httpx.Client, job_id: str) -> None:
        super().__init__(daemon=True)
        self.client, self.job_id = client, job_id
        self.stopped = threading.Event()
        self.asked, self.failed, self.slowest = 0, [], 0.0

    def run(self) -> None:
        while not self.stopped.wait(0.1):
            begun = time.perf_counter()
            answer = self.client.get(f"/v1/jobs/{self.job_id}")
            self.asked += 1
            self.slowest = max(self.slowest, time.perf_counter() - begun)
            if answer.status_code != httpx.codes.OK:
                self.failed.append(answer.text)

    def stop(self) -> dict[str, Any]:
        self.stopped.set()
        self.join(10)
        return {"requests": self.asked, "failed": self.failed, "slowest_s": round(self.slowest, 3)}


def upgrade(previous: Path, environment: dict[str, str]) -> dict[str, Any]:
    """What happened; an AssertionError where something was lost, doubled or untrue."""
    found: dict[str, Any] = {"schema_before": migrated(previous, environment)}
    # As many updates as the budget affords: still at it when the old worker is told to stop.
    long, short = TRAINING | {"updates": 10_000_000, "budget_seconds": 90}, TRAINING | {"updates": 2000}
    with an_api(previous, environment) as old, spawned(attractor(previous, "worker"), environment) as old_worker:
        series_id = upload(old, henon(1500))
        running = submit(old, kind="train", series_id=series_id, params=long)
        eventually(lambda: in_training(old, running), "the old worker trains", PATIENCE_SECONDS)
        caller = Caller(old, running)
        caller.start()
        begun = time.perf_counter()
        found["schema_after"] = migrated(ROOT, environment)
        found["migration_s"] = round(time.perf_counter() - begun, 2)
        queued = submit(old, kind="train", series_id=series_id, params=short)  # into the new schema, by the old release
        with an_api(ROOT, environment) as new, spawned(attractor(ROOT, "worker"), environment):
            begun = time.perf_counter()
            assert old_worker.stop(signal.SIGTERM) == 0
            found["old_worker_stops_s"] = round(time.perf_counter() - begun, 2)
            for job_id in (running, queued):
                eventually(lambda id=job_id: job(new, id)["finished_at"], f"{job_id} has ended", PATIENCE_SECONDS)
            found["requests_to_the_old_api"] = caller.stop()
            found["jobs"] = [ending(new, job_id) for job_id in (running, queued)]
            models = new.get("/v1/models", params={"series_id": series_id}).json()["data"]
            assert sorted(model["job_id"] for model in models) == sorted([running, queued]), models
            # What the new release wrote, the old one still reads: a load balancer may ask either.
            result = job(old, running)["result"]
            assert old.get(f"/v1/models/{result['id']}").status_code == httpx.codes.OK
    assert not found["requests_to_the_old_api"]["failed"]
    assert found["jobs"][0]["states"] == ["queued", "running", "queued", "running", "succeeded"], found["jobs"]
    assert found["jobs"][1]["states"] == ["queued", "running", "succeeded"], found["jobs"]
    return found


def ending(client: httpx.Client, job_id: str) -> dict[str, Any]:
    seen, events = job(client, job_id), client.get(f"/v1/jobs/{job_id}/events?limit=500").json()["data"]
    assert (seen["status"], seen["attempt"]) == ("succeeded", 1), seen
    changes = [event for event in events if event["type"] == "status"]
    back = [event["created_at"] for event in changes if event["data"]["status"] in ("queued", "running")][2:4]
    return {
        "states": [event["data"]["status"] for event in changes],
        "given_back_at": back[0] if back else None,
        "taken_again_at": back[1] if back else None,
        "phases_afterwards": sorted(
            {e["data"]["phase"] for e in events if e["type"] == "progress" and back and e["created_at"] > back[1]}
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--previous", default=PREVIOUS, help="commit of the previous release")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="attractor-upgrade-") as name, deployment(Path(name)) as environment:
        previous = Path(name) / "previous"
        take_out(arguments.previous, previous)
        found = upgrade(previous, environment)
    report = {"machine": machine(), "previous": arguments.previous, **found}
    arguments.output.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()

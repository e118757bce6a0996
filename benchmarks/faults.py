"""Random faults against a deployment of its own: `python benchmarks/faults.py [--schedules 200] [--embedded 50] [--seed 1]`.

A schedule is drawn from its seed alone: jobs that are submitted, requests to cancel, pause and resume them, and faults,
each at its moment. Afterwards every job must have ended once and truthfully: a success with exactly one result, whose
blob is whole and says that no step was left out or done twice; a cancellation only where one was asked for; a failure
only after the last attempt; events without gaps along the arrows of the job machine. And once the last fault is
over no lease may be over for longer than a sweep while a worker lives, and no job wait for longer than a lease and a sweep while a worker has a
place for it. `--only K` repeats schedule K of that seed.

A full disk is a real one where this script may mount a small tmpfs (Linux, as root); elsewhere that fault is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from deployment import Deployment, Process, deployment, restart_postgres
from faults_found import Found, Parts, Watch, report
from light_science import blob_of, digest_of
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from upload import machine

from domain.jobs import TERMINAL, TRANSITIONS, JobStatus
from store.blobs import Blobs
from store.queue import make_celery, publish
from store.tables import ForecastRow, JobEventRow, JobRow, WorkerRow

LEASE, SWEEP, REDISPATCH = 6.0, 2.0, 3.0
SLACK = 3.0  # of a busy machine: processes that start, threads that wait for a core
SETTINGS = {
    "ATTRACTOR_LEASE_SECONDS": str(LEASE),
    "ATTRACTOR_SWEEP_SECONDS": str(SWEEP),
    "ATTRACTOR_REDISPATCH_SECONDS": str(REDISPATCH),
    "ATTRACTOR_MAX_ATTEMPTS": "4",
    "ATTRACTOR_POLL_SECONDS": "0.25",
    "ATTRACTOR_STOP_GRACE_SECONDS": "2",
    "ATTRACTOR_CONCURRENCY": "2",
    "ATTRACTOR_LOG_LEVEL": "INFO",
}
WORKERS = 3
SPAN = 3.0  # seconds in which everything happens
GIVE_UP = 300.0

ANYWHERE = (
    "kill job",
    "kill template",
    "kill worker",
    "stop worker",
    "freeze worker",
    "kill api",
    "message again",
    "disk full",
)
ON_SERVERS = ("redis restarted", "redis flushed", "redis paused", "postgres restarted", "postgres killed")
REQUESTS = ("cancel", "pause", "resume", "pause", "resume")


@dataclass(frozen=True)
class Step:
    """What happens at a moment; `draw` in [0, 1) chooses whom it happens to."""

    at: float
    what: str
    draw: float


@dataclass(frozen=True)
class Schedule:
    number: int
    jobs: list[tuple[float, int, float]]  # at, steps, pause
    steps: list[Step]


def drawn(seed: int, number: int, kind: str, faults: list[str]) -> Schedule:
    rng = random.Random(f"{seed}/{kind}/{number}")
    n_jobs = rng.randint(3, 5) if kind == "production" else rng.randint(2, 3)
    some_jobs = [(rng.uniform(0, SPAN / 2), rng.randint(2, 40), rng.uniform(0.04, 0.12)) for _ in range(n_jobs)]
    chosen = [faults[number % len(faults)], *rng.choices(faults, k=rng.randint(0, 2))]  # every kind gets its turn
    steps = [Step(rng.uniform(0.1, SPAN), what, rng.random()) for what in chosen]
    steps += [Step(rng.uniform(0.1, SPAN), rng.choice(REQUESTS), rng.random()) for _ in range(rng.randint(0, 3))]
    return Schedule(number, some_jobs, sorted(steps, key=lambda step: step.at))


class Storm:
    """One schedule against a deployment that others have been through before."""

    def __init__(self, made: Deployment, series_id: str, schedule: Schedule, found: Found) -> None:
        self.made, self.series_id, self.schedule, self.found = made, series_id, schedule, found
        self.client = httpx.Client(base_url=made.url, trust_env=False, timeout=8)
        self.celery = make_celery(made.settings)
        self.accepted: dict[str, int] = {}  # job -> steps
        self.asked: dict[str, set[str]] = {}

    def run(self) -> None:
        began = time.monotonic()

        def at(moment: float, work: Callable[..., None], *arguments: Any) -> None:
            time.sleep(max(0.0, began + moment - time.monotonic()))
            work(*arguments)

        schedule = self.schedule
        with ThreadPoolExecutor(len(schedule.jobs) + len(schedule.steps)) as pool:
            futures = [
                pool.submit(at, job[0], self.submit, f"schedule {schedule.number}, job {k}", *job[1:])
                for k, job in enumerate(schedule.jobs)
            ]
            futures += [pool.submit(at, step.at, self.do, step) for step in schedule.steps]
            for future in futures:
                future.result()
        self.settle()
        self.verify()
        self.client.close()

    def submit(self, key: str, steps: int, pause: float) -> None:
        """Until it is accepted: the client asks again with the same key, as one does who has heard no answer."""
        metadata = {"steps": steps, "pause": pause}
        body = {"kind": "lyapunov", "series_id": self.series_id, "metadata": metadata}
        end = time.monotonic() + GIVE_UP
        while time.monotonic() < end:
            with suppress(httpx.TransportError):
                answer = self.client.post("/v1/jobs", json=body, headers={"Idempotency-Key": key})
                if answer.status_code in (200, 202):
                    self.accepted[answer.json()["id"]] = steps
                    return
                if answer.status_code < 500:
                    raise RuntimeError(answer.text)
            time.sleep(0.2)
        raise TimeoutError("a job was not accepted")

    def do(self, step: Step) -> None:
        some = sorted(self.accepted)
        job_id = some[int(step.draw * len(some))] if some else None
        if step.what in REQUESTS:
            if job_id is not None:
                self.asked.setdefault(job_id, set()).add(step.what)
                with suppress(httpx.TransportError), ThreadPoolExecutor(2) as pool:  # twice at the same time
                    list(pool.map(lambda _: self.client.post(f"/v1/jobs/{job_id}/{step.what}"), range(2)))
            return
        for job in self.rows():
            self.found.hit[job.status] += 1
        self.found.faults[step.what] += 1
        FAULTS[step.what](self, step.draw)

    def rows(self) -> list[JobRow]:
        """The jobs of this schedule, as far as the database can be asked."""
        with suppress(DBAPIError), self.made.database.read() as session:
            return list(session.scalars(select(JobRow).where(JobRow.id.in_(list(self.accepted)))))
        return []

    def settle(self) -> None:
        """Wait until all have ended, and see whether any stands still meanwhile; the client goes on with what it paused."""
        watch = Watch()
        end = time.monotonic() + GIVE_UP
        while time.monotonic() < end:
            seen = self.rows()
            waiting = [job for job in seen if job.status not in TERMINAL]
            if not waiting and len(seen) == len(self.accepted):
                break
            for job in waiting:
                if job.status == JobStatus.PAUSED:
                    with suppress(httpx.TransportError):
                        self.client.post(f"/v1/jobs/{job.id}/resume")
            workers, places = self.staff()
            held = sum(job.lease_until is not None for job in waiting)
            watch.look(waiting, places - held, workers)
            time.sleep(0.1)
        self.found.overdue.append(watch.overdue)
        self.found.overdue_alone.append(watch.overdue_alone)
        self.found.idle.append(watch.idle)
        if watch.overdue > SWEEP + SLACK or watch.idle > LEASE + SWEEP + SLACK:
            self.found.stuck += 1
            self.problem(
                f"a lease was over for {watch.overdue:.1f} s, a job waited {watch.idle:.1f} s for a free worker"
            )

    def staff(self) -> tuple[int, int]:
        """The workers that are there, started and neither dead nor frozen, and how many jobs they take."""
        with suppress(DBAPIError), self.made.database.read() as session:
            known = {row.name: row.processes for row in session.scalars(select(WorkerRow))}
            alive = tuple(f":{w.process.pid}" for w in self.made.workers if _runs(w.process))
            there = [processes for name, processes in known.items() if alive and name.endswith(alive)]
            return len(there), sum(there)
        return 0, 0

    def verify(self) -> None:
        self.found.schedules += 1
        for job in self.rows():
            self.found.jobs += 1
            self.found.ends[job.status] += 1
            self.found.attempts[str(job.attempt)] += 1
            self.verify_events(job)
            self.verify_end(job)

    def verify_events(self, job: JobRow) -> None:
        with self.made.database.read() as session:
            events = list(
                session.scalars(select(JobEventRow).where(JobEventRow.job_id == job.id).order_by(JobEventRow.seq))
            )
        path = [JobStatus(event.data["status"]) for event in events if event.type == "status"]
        gapless = [event.seq for event in events] == list(range(1, job.event_seq + 1))
        arrows = all(after in TRANSITIONS[before] for before, after in pairwise(path))
        if not (gapless and arrows and path[0] == JobStatus.QUEUED and path[-1] == job.status):
            self.found.untruthful += 1
            self.problem(f"{job.id} has the events {path}, gapless {gapless}")

    def verify_end(self, job: JobRow) -> None:
        with self.made.database.read() as session:
            made = list(session.scalars(select(ForecastRow).where(ForecastRow.job_id == job.id)))
        if job.status not in TERMINAL:
            self.found.lost += 1
            self.problem(f"{job.id} is {job.status}")
        elif job.status != JobStatus.SUCCEEDED and made:
            self.found.untruthful += 1
            self.problem(f"{job.id} is {job.status} and has a result")
        elif job.status == JobStatus.CANCELED and "cancel" not in self.asked.get(job.id, ()):
            self.found.untruthful += 1
            self.problem(f"{job.id} is canceled, which nobody asked for")
        elif job.status == JobStatus.FAILED and job.attempt < job.max_attempts:
            self.found.untruthful += 1
            self.problem(f"{job.id} failed in attempt {job.attempt}: {job.error}")
        elif job.status == JobStatus.SUCCEEDED:
            self.verify_result(job, made)

    def verify_result(self, job: JobRow, made: list[ForecastRow]) -> None:
        if len(made) != 1:
            self.found.doubled += len(made) > 1
            self.found.lost += not made
            self.problem(f"{job.id} has {len(made)} results")
            return
        digest = digest_of(job.id, self.accepted[job.id])
        try:
            whole = Blobs(self.made.settings.blobs_dir).read(str(made[0].blob_sha256)) == blob_of(digest)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a blob is what is counted here
            whole = False
            self.problem(f"{job.id}: {error!r}")
        if not whole or made[0].document["digest"] != digest:
            self.found.damaged += 1
            self.problem(f"{job.id}: its result is not what its steps come to")

    def problem(self, text: str) -> None:
        self.found.problems.append(f"schedule {self.schedule.number}: {text}")
        print("PROBLEM", self.found.problems[-1], flush=True)

    # -- faults ----------------------------------------------------------------------------------------------------

    def worker(self, draw: float) -> Process:
        """One that has a job, if there is such a one."""
        names = {str(job.worker) for job in self.rows()}
        busy = [w for w in self.made.workers if any(name.endswith(f":{w.process.pid}") for name in names)]
        some = busy or self.made.workers
        return some[int(draw * len(some))]

    def templates(self, draw: float) -> list[psutil.Process]:
        worker = self.worker(draw)
        return [process for process in worker.descendants() if process.ppid() == worker.process.pid]

    def kill_job(self, draw: float) -> None:
        worker = self.worker(draw)
        for process in worker.descendants():
            with suppress(psutil.NoSuchProcess):
                if process.ppid() != worker.process.pid:
                    process.kill()
                    return

    def kill_template(self, draw: float) -> None:
        for process in self.templates(draw):
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def freeze_worker(self, draw: float) -> None:
        """Past its lease; in every second case its jobs' processes go on meanwhile."""
        worker = self.worker(draw)
        frozen = [psutil.Process(worker.process.pid)] if worker.process.poll() is None else []
        if int(draw * 1000) % 2:
            frozen += worker.descendants()
        for number, pause in ((signal.SIGSTOP, LEASE + SWEEP), (signal.SIGCONT, 0.0)):
            for process in frozen:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
            time.sleep(pause)

    def pause_redis(self, draw: float) -> None:
        assert self.made.redis is not None
        process = self.made.redis.process
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.5 + 3 * draw)
        process.send_signal(signal.SIGCONT)

    def message_again(self, draw: float) -> None:
        """Of a job that is about to run, runs or has ended, three times at once; and of one that there never was."""
        some = [*sorted(self.accepted), "job_" + "0" * 32]
        states = {job.id: str(job.status) for job in self.rows()}
        self.found.messages[states.get(some[int(draw * len(some))], "no such job")] += 3
        with suppress(Exception), ThreadPoolExecutor(4) as pool:  # the broker may be away, too
            list(pool.map(lambda k: publish(self.celery, some[int(draw * len(some)) - k]), (0, 0, 0, 1)))

    def fill_disk(self, draw: float) -> None:
        folder = self.made.settings.data_dir
        file = folder / f"ballast-{draw}"
        with suppress(OSError), file.open("wb") as stream:
            stream.write(b"\0" * (os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize + 1))
        time.sleep(0.5 + 2 * draw)
        file.unlink(missing_ok=True)


def _runs(process: subprocess.Popen[bytes]) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(process.pid).status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
    return False


FAULTS: dict[str, Callable[[Storm, float], object]] = {
    "kill job": Storm.kill_job,
    "kill template": Storm.kill_template,
    "kill worker": lambda storm, draw: storm.worker(draw).signal(signal.SIGKILL),
    "stop worker": lambda storm, draw: storm.worker(draw).signal(signal.SIGTERM),
    "freeze worker": Storm.freeze_worker,
    "kill api": lambda storm, draw: storm.made.api.signal(signal.SIGKILL),
    "message again": Storm.message_again,
    "disk full": Storm.fill_disk,
    "redis restarted": lambda storm, draw: storm.made.redis.restart(),  # type: ignore[union-attr]
    "redis flushed": lambda storm, draw: storm.made.redis.flush(),  # type: ignore[union-attr]
    "redis paused": Storm.pause_redis,
    "postgres restarted": lambda storm, draw: restart_postgres(storm.made.settings.database_url, "fast"),
    "postgres killed": lambda storm, draw: restart_postgres(storm.made.settings.database_url, "immediate"),
}


def storm(
    kind: str, numbers: list[int], seed: int, keep: Path | None, minutes: float, parts: Path | None
) -> list[Found]:
    """The schedules of these numbers, one after the other, against one deployment; none is begun after so many minutes."""
    every, end = [], time.monotonic() + 60 * minutes
    with deployment(kind, WORKERS, SETTINGS) as made:
        rows = np.random.default_rng(0).normal(size=(1000, 2)).tolist()
        series = httpx.post(
            f"{made.url}/v1/series", json={"values": rows, "dt": 1, "time_unit": "s"}, trust_env=False, timeout=30
        ).raise_for_status()
        faults = [f for f in ANYWHERE if made.mounted or f != "disk full"]
        faults += ON_SERVERS if kind == "production" else ()
        for number in numbers:
            begun, found = time.monotonic(), Found()
            if begun > end:
                break
            Storm(made, series.json()["id"], drawn(seed, number, kind, faults), found).run()
            found.seconds = time.monotonic() - begun
            every.append(found)
            Parts(parts, kind, seed).add(number, found)
            if found.problems and keep is not None:
                subprocess.run(
                    ["cp", "-r", str(made.settings.data_dir.parent), str(keep / f"{kind}-{number}")], check=False
                )
            waits = f"{found.overdue[-1]:.1f} s overdue, {found.idle[-1]:.1f} s idle"
            print(f"{kind} {number}: {waits}, {len(found.problems)} problems", flush=True)
    return every


def storms(kind: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """The schedules that are not in the file of --parts, against so many deployments at once, each of which goes through its
    share; and the report of all."""
    count = arguments.schedules if kind == "production" else arguments.embedded
    numbers = [arguments.only] if arguments.only is not None else list(range(count))
    done = Parts(arguments.parts, kind, arguments.seed).done()
    found, left = [done[n] for n in numbers if n in done], [n for n in numbers if n not in done]
    if left:
        at_once = min(arguments.at_once, len(left))
        rest = (arguments.seed, arguments.keep, arguments.minutes, arguments.parts)
        with ProcessPoolExecutor(at_once, mp_context=get_context("spawn")) as pool:
            futures = [pool.submit(storm, kind, left[k::at_once], *rest) for k in range(at_once)]
            for future in futures:
                found += future.result()
    return report(kind, found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schedules", type=int, default=200, help="on Redis and PostgreSQL")
    parser.add_argument("--embedded", type=int, default=50, help="on SQLite and the queue of files")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="this schedule alone")
    parser.add_argument("--at-once", type=int, default=1, help="deployments side by side")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no further schedule after so long")
    parser.add_argument(
        "--parts", type=Path, help="file that keeps every schedule's findings; what it has is not run again"
    )
    parser.add_argument("--keep", type=Path, help="folder for the logs of schedules with problems")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    reports = []
    for kind, count in (("production", arguments.schedules), ("embedded", arguments.embedded)):
        if count:
            reports.append(storms(kind, arguments))
            print(json.dumps(reports[-1], indent=1), flush=True)
    bounds = {"lease_s": LEASE, "sweep_s": SWEEP, "slack_s": SLACK}
    text = json.dumps({"machine": machine(), "seed": arguments.seed, **bounds, "deployments": reports}, indent=1)
    arguments.output.write_text(text + "\n")
    return int(any(found["problems"] for found in reports))


if __name__ == "__main__":
    sys.exit(main())

"""What a job costs beside its science: `python benchmarks/job_cost.py [--before COMMIT] [--jobs 200] [--rounds 3]`.

Processor seconds of a worker, of the template that its jobs are forked from, and of the jobs' own processes, for jobs that
compute nothing, on a Redis and a PostgreSQL of its own; with --before the same for the workers of an earlier commit, in
turns, and the ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import deployment
import psutil
from deployment import ROOT, Deployment, eventually
from fleet import SETTINGS, ended, fill
from upgrade import take_out
from upload import machine

PARTS = ("worker", "template", "processes of jobs")


@contextmanager
def worker(made: Deployment, tree: Path) -> Iterator[psutil.Process]:
    """A worker of the release in `tree`, whose science is this folder's."""
    paths = os.pathsep.join([str(tree), str(ROOT / "benchmarks")])
    environment = os.environ | made.environment | {"PYTHONPATH": paths}
    start = "from worker.app import run_worker; from worker.settings import WorkerSettings; "
    command = [
        sys.executable,
        "-P",
        "-c",
        start + "raise SystemExit(run_worker(WorkerSettings(), 'light_science:HANDLERS'))",
    ]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            yield psutil.Process(process.pid)
        finally:
            process.terminate()


def used(process: psutil.Process) -> dict[str, float]:
    """Processor seconds so far; children count once they have ended."""
    mine = process.cpu_times()
    (template,) = process.children()
    its = template.cpu_times()
    return dict(
        zip(
            PARTS,
            (mine.user + mine.system, its.user + its.system, its.children_user + its.children_system),
            strict=True,
        )
    )


def measure(made: Deployment, tree: Path, jobs: int) -> dict[str, float]:
    """Milliseconds of processor time for each job, after the first ones."""
    warm = max(10, jobs // 10)
    before = sum(ended(made).values())
    with worker(made, tree) as process:
        fill(made, warm)
        eventually(lambda: sum(ended(made).values()) >= before + warm, "the first jobs have ended", 300)
        first = used(process)
        fill(made, jobs)
        eventually(lambda: sum(ended(made).values()) >= before + warm + jobs, "all jobs have ended", 1800)
        last = used(process)
    return {part: 1000 * (last[part] - first[part]) / jobs for part in PARTS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", help="a commit to compare with")
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    deployment.TMPFS_MB = 4000
    with tempfile.TemporaryDirectory(prefix="attractor-before-") as folder:
        trees = {"now": ROOT}
        if arguments.before:
            trees = {"before": Path(folder), **trees}
            take_out(arguments.before, trees["before"])
        with deployment.deployment("production", 0, SETTINGS) as made:
            rounds = [
                {name: measure(made, tree, arguments.jobs) for name, tree in trees.items()}
                for _ in range(arguments.rounds)
            ]
    report: dict[str, object] = {"machine": machine(), "jobs": arguments.jobs, "rounds": arguments.rounds}
    for name in trees:
        median = {part: round(statistics.median(found[name][part] for found in rounds), 1) for part in PARTS}
        report[f"{name}_ms_per_job"] = median | {"all": round(sum(median.values()), 1)}
    if arguments.before:
        ratios = [sum(found["before"].values()) / sum(found["now"].values()) for found in rounds]
        report |= {"before": arguments.before, "before_to_now": [round(ratio, 2) for ratio in ratios]}
    arguments.output.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()

"""From a request to cancel until the job is canceled and its process gone: `python benchmarks/stops.py`.

An embedded worker with the real science, stopped in the middle of an analysis, of compiling a kernel (with an empty cache),
and of a training; and with a process that has been frozen, which hears nothing and has to be killed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
from upload import ROOT, machine

from cli.demo.lorenz import observed


@contextmanager
def service(folder: Path, cache: Path) -> Iterator[tuple[str, int]]:
    """Address and process of `attractor serve` with a kernel cache of its own."""
    environment = {"ATTRACTOR_DATA_DIR": str(folder), "NUMBA_CACHE_DIR": str(cache), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "cli.main", "serve", "--port", "0"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    try:
        url = next(line.split(" at ")[1].split()[0] for line in process.stdout if "is ready at" in line)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(30)


def job_process(pid: int) -> psutil.Process:
    """The service's one process of a job: the child of a template, which is the child of a worker."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        parent = process.parent()
        if parent is not None and "worker.template" in parent.cmdline():
            found.append(process)
    return found[0]


def canceled_after(client: httpx.Client, pid: int, phase: str, freeze: bool = False) -> float:
    """Seconds from the request to the end, of a job that was canceled a moment after it entered `phase`."""
    series = client.post("/v1/series", json={"values": observed().tolist(), "dt": 0.01, "time_unit": "s"}).json()
    job = client.post("/v1/jobs", json={"kind": "reconstruct", "series_id": series["id"]}).raise_for_status().json()
    path = f"/v1/jobs/{job['id']}"
    _until(lambda: client.get(path).json()["progress"]["phase"] == phase)
    time.sleep(0.5)
    process = job_process(pid)
    if freeze:
        process.send_signal(signal.SIGSTOP)
    asked = time.monotonic()
    client.post(f"{path}/cancel").raise_for_status()
    _until(lambda: client.get(path).json()["finished_at"] is not None)
    seconds = time.monotonic() - asked
    assert client.get(path).json()["status"] == "canceled"
    _until(lambda: not process.is_running())
    return seconds


def _until(look: Callable[[], bool]) -> None:
    end = time.monotonic() + 300
    while not look():
        assert time.monotonic() < end
        time.sleep(0.02)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    results = []
    with (
        tempfile.TemporaryDirectory(prefix="attractor-bench-") as folder,
        service(Path(folder) / "data", Path(folder) / "cache") as (url, pid),
        httpx.Client(base_url=url, trust_env=False, timeout=60) as client,
    ):
        for name, phase, freeze in (
            ("compiling", "compiling", False),
            ("analysis", "fitting models", False),
            ("training", "training", False),
            ("training, frozen", "training", True),
        ):
            seconds = sorted(canceled_after(client, pid, phase, freeze) for _ in range(arguments.times))
            results.append({"while": name, "seconds": [round(s, 2) for s in seconds]})
            print(json.dumps(results[-1]), flush=True)
    arguments.output.write_text(json.dumps({"machine": machine(), "canceled": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()

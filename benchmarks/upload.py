"""Peak memory and duration of large uploads against a real server process: `python benchmarks/upload.py [--megabytes 100]`.

For each file: the seconds until the 201, the peak resident memory above the idle level (all of it, and its
anonymous part, which is what the program itself holds: pages of mapped files are the rest and can be dropped by the
system at any time), and how long other requests waited meanwhile. Linux only: it reads /proc.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from store import migrate
from store.database import Database
from store.settings import StoreSettings

ROOT = Path(__file__).parents[1]
MEGABYTE = 1_000_000


@contextmanager
def server(data_dir: Path) -> Iterator[tuple[int, str]]:
    """Process id and address of an API server with an empty database."""
    database = Database(StoreSettings(data_dir=data_dir))
    migrate.upgrade(database)
    database.close()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "--factory",
        "api.app:create_app",
        "--port",
        str(port),
        "--log-level",
        "warning",
    ]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"ATTRACTOR_DATA_DIR": str(data_dir)})
    try:
        base = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 600
        while True:
            try:
                httpx.get(f"{base}/livez").raise_for_status()
                break
            except httpx.TransportError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.1)
        yield process.pid, base
    finally:
        process.terminate()
        process.wait(30)


def memory(pid: int) -> dict[str, float]:
    """Resident memory in MB of the server and the processes it has started: all, and the anonymous part."""
    total = {"all": 0.0, "anonymous": 0.0}
    for each in (pid, *_children(pid)):
        try:
            lines = Path(f"/proc/{each}/status").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
        found = {line.split(":")[0]: int(line.split()[1]) * 1024 / MEGABYTE for line in lines if line.endswith(" kB")}
        total["all"] += found.get("VmRSS", 0.0)
        total["anonymous"] += found.get("RssAnon", 0.0)
    return total


def _children(pid: int) -> list[int]:
    found = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in thread.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread has ended meanwhile
    return found


@dataclass
class Watch:
    """Samples memory and asks for /livez while an upload runs."""

    pid: int
    base: str
    peak: dict[str, float] = field(default_factory=dict)
    waits: list[float] = field(default_factory=list)
    _done: threading.Event = field(default_factory=threading.Event)

    def sample_memory(self) -> None:
        while not self._done.wait(0.01):
            now = memory(self.pid)
            self.peak = {name: max(value, self.peak.get(name, 0.0)) for name, value in now.items()}

    def knock(self) -> None:
        with httpx.Client() as client:
            while not self._done.wait(0.02):
                start = time.perf_counter()
                client.get(f"{self.base}/livez").raise_for_status()
                self.waits.append(time.perf_counter() - start)

    @contextmanager
    def running(self) -> Iterator[None]:
        threads = [threading.Thread(target=self.sample_memory), threading.Thread(target=self.knock)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._done.set()
            for thread in threads:
                thread.join()


def make_files(folder: Path, megabytes: int, rows: int) -> list[Path]:
    """A walk of three channels beside a time column: about `megabytes` in each format, and `rows` rows as CSV."""
    rng = np.random.default_rng(0)
    n = megabytes * MEGABYTE // 24
    values = rng.normal(size=(max(n, rows), 3)).cumsum(axis=0) / np.sqrt(n)
    files = [folder / name for name in ("series.csv", "series.npy", "series.parquet", "long.csv")]
    pa.csv.write_csv(_table(values[: megabytes * MEGABYTE // 66]), files[0])
    np.save(files[1], values[:n])
    pa.parquet.write_table(_table(values[:n]), files[2], compression="none", use_dictionary=False)
    pa.csv.write_csv(_table(values[:rows]), files[3])
    return files


def _table(values: np.ndarray) -> pa.Table:
    columns = {"t": np.arange(len(values)) * 0.01, **{f"x{i}": values[:, i] for i in range(values.shape[1])}}
    return pa.table(columns)


def measure(pid: int, base: str, path: Path, *, form: bool) -> dict[str, Any]:
    idle = memory(pid)
    watch = Watch(pid, base)
    start = time.perf_counter()
    with watch.running(), path.open("rb") as file, httpx.Client(timeout=600) as client:
        if form:
            answer = client.post(f"{base}/v1/series", files={"file": file}, data={"name": f"{path.name} form"})
        else:
            headers = {"content-type": "application/octet-stream"}
            answer = client.post(f"{base}/v1/series", content=file, headers=headers)
    seconds = time.perf_counter() - start
    answer.raise_for_status()
    waits = np.array(watch.waits) * 1000
    return {
        "file": path.name,
        "sent_as": "form" if form else "body",
        "megabytes": round(path.stat().st_size / MEGABYTE, 1),
        "rows": answer.json()["n_steps"],
        "seconds": round(seconds, 2),
        "idle_mb": round(idle["all"]),
        "peak_above_idle_mb": round(watch.peak["all"] - idle["all"]),
        "peak_anonymous_above_idle_mb": round(watch.peak["anonymous"] - idle["anonymous"]),
        "other_requests_ms": {
            "median": round(float(np.median(waits)), 1),
            "p99": round(float(np.quantile(waits, 0.99)), 1),
        },
    }


def machine() -> dict[str, Any]:
    return {
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of one more CSV file")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="attractor-bench-") as folder:
        files = make_files(Path(folder), arguments.megabytes, arguments.rows)
        results = []
        for path in files:
            for form in (False, True):
                # A fresh server each: memory that an allocator keeps from the upload before would hide the peak.
                with tempfile.TemporaryDirectory(dir=folder) as data_dir, server(Path(data_dir)) as (pid, base):
                    results.append(measure(pid, base, path, form=form))
                    print(json.dumps(results[-1]), flush=True)
    arguments.output.write_text(json.dumps({"machine": machine(), "uploads": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()

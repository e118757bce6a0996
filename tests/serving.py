"""A real `attractor serve` or `attractor worker` in processes of its own, a job that takes a few seconds, or the API in a thread."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import uvicorn
from fastapi import FastAPI

ROOT = Path(__file__).parents[1]
# Short enough that a lost worker is noticed within seconds, long enough for a busy machine.
QUICK = {
    "ATTRACTOR_LEASE_SECONDS": "4",
    "ATTRACTOR_SWEEP_SECONDS": "0.5",
    "ATTRACTOR_REDISPATCH_SECONDS": "2",
    "ATTRACTOR_LOG_FORMAT": "text",
}
PATIENCE_SECONDS = 120.0
T = TypeVar("T")

TRAINING: dict[str, Any] = {
    "hidden_dim": 16,
    "sequence_length": 50,
    "updates": 100_000,
    "learning_rate": {"peak": 1e-3, "schedule": "constant"},
    "seeds": 1,
    "budget_seconds": 300,
}


def henon(n_steps: int) -> np.ndarray:
    """Henon's map at a = 1.4, b = 0.3, on its attractor: (n_steps, 2)."""
    rows, x, y = [], 0.1, 0.1
    for _ in range(n_steps + 100):
        x, y = 1 - 1.4 * x * x + y, 0.3 * x
        rows.append((x, y))
    return np.array(rows[100:])


def eventually(look: Callable[[], T | None], what: str, seconds: float = PATIENCE_SECONDS) -> T:
    """What `look` answers once it is neither None nor False."""
    give_up = time.monotonic() + seconds
    while True:
        seen = look()
        if seen is not None and seen is not False:
            return seen
        assert time.monotonic() < give_up, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)


@dataclass
class Served:
    """A running service."""

    process: subprocess.Popen[str]
    url: str = ""
    lines: list[str] = field(default_factory=list)

    @property
    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60.0, trust_env=False)

    def children(self, role: str) -> list[int]:
        return [pid for pid in children_of(self.process.pid) if f"cli.child {role}" in command_of(pid)]

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def serving(data_dir: Path, **environment: str) -> Iterator[Served]:
    """`attractor serve` on a free port, ready; stopped at the end, or killed with its children if it does not stop."""
    command = [sys.executable, "-m", "cli.main", "serve", "--port", "0", "--data-dir", str(data_dir)]
    with spawned(command, QUICK | environment) as served:
        ready = re.compile(r"attractor is ready at (http://\S+)")

        def address() -> str | None:
            assert served.process.poll() is None, "\n".join(served.lines)
            return next((found[1] for line in served.lines if (found := ready.match(line))), None)

        served.url = eventually(address, "the service is ready")
        yield served


@contextmanager
def spawned(command: list[str], environment: dict[str, str]) -> Iterator[Served]:
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    served = Served(process)
    assert process.stdout is not None
    reader = threading.Thread(target=lambda: served.lines.extend(line.rstrip() for line in process.stdout or ()))
    reader.daemon = True
    reader.start()
    try:
        yield served
    finally:
        children = children_of(process.pid)
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            for pid in [process.pid, *children]:
                kill(pid)
            process.wait(10)
        print("\n".join(served.lines))  # noqa: T201 - shown when the test fails


def children_of(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def is_running(pid: int) -> bool:
    """Whether there is such a process, and not only its remains."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def kill(pid: int) -> None:
    if is_running(pid):
        os.kill(pid, signal.SIGKILL)


def upload(client: httpx.Client, values: np.ndarray) -> str:
    data = io.BytesIO()
    np.save(data, values)
    answer = client.post(
        "/v1/series",
        params={"dt": 1.0, "time_unit": "step"},
        content=data.getvalue(),
        headers={"Content-Type": "application/x-npy"},
    )
    assert answer.status_code in (200, 201), answer.text
    return answer.json()["id"]


def submit(client: httpx.Client, **request: Any) -> str:
    answer = client.post("/v1/jobs", json=request)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def job(client: httpx.Client, job_id: str) -> dict[str, Any]:
    answer = client.get(f"/v1/jobs/{job_id}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def ended(client: httpx.Client, job_id: str) -> dict[str, Any]:
    """The job in its last state."""
    return eventually(lambda: seen if (seen := job(client, job_id))["finished_at"] else None, f"{job_id} has ended")


def succeeded(client: httpx.Client, job_id: str) -> dict[str, Any]:
    """The job, which must have succeeded."""
    done = ended(client, job_id)
    assert done["status"] == "succeeded", done["error"]
    return done


def in_training(client: httpx.Client, job_id: str) -> bool:
    """Whether the job is in the middle of its training."""
    seen = job(client, job_id)
    assert seen["finished_at"] is None, f"the job ended too soon for this test: {seen}"
    return seen["progress"]["phase"] == "training"


@contextmanager
def from_a_thread(app: FastAPI) -> Iterator[str]:
    """Address of a server in this process, for programs that need a real one: curl, a client in another process."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.02)
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    yield f"http://{host}:{port}"
    server.should_exit = True
    thread.join(30)

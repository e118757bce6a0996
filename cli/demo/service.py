"""A service of the demo's own: `attractor serve` in a child process, stopped cleanly at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

READY_SECONDS = 90.0
STOP_SECONDS = 20.0


class DemoFailed(Exception):
    """The demo cannot go on; the message says why and what to do."""


@dataclass(frozen=True)
class Service:
    url: str
    process: subprocess.Popen[bytes]


@contextmanager
def running_service(data_dir: Path, log: Path) -> Iterator[Service]:
    """Start the service on a free port and stop it on leaving, in whatever way that happens."""
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "cli.main", "serve", "--port", "0", "--data-dir", str(data_dir)]
    with log.open("wb") as output:
        # A session of its own: Ctrl-C reaches the demo alone, which then stops the service in order.
        process = subprocess.Popen(
            command,
            env=os.environ | {"ATTRACTOR_LOG_FORMAT": "text"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Service(_wait_until_ready(process, data_dir, log), process)
    finally:
        _stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], data_dir: Path, log: Path) -> str:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise DemoFailed(f"The service did not start:\n{log.read_text(errors='replace')[-2000:].strip()}")
        url = _claimed_url(data_dir / "serve.json", process.pid)
        if url is not None and _is_ready(url):
            return url
        time.sleep(0.05)
    raise DemoFailed(f"The service was not ready after {READY_SECONDS:g} s; what it said is in {log}.")


def _claimed_url(claim: Path, pid: int) -> str | None:
    """The address that our own child has written down; another process's file is not meant."""
    try:
        content = json.loads(claim.read_text())
    except (OSError, ValueError):
        return None  # not written yet, or half of it
    return content["url"] if content["pid"] == pid else None


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5.0, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

"""`attractor serve`: the whole service on one machine, as one command. Children do the work; this process watches them."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from alembic.util import CommandError
from filelock import FileLock, Timeout
from sqlalchemy.exc import SQLAlchemyError

from api.settings import ApiSettings
from cli import listening
from cli.child import SOCKET_FD
from cli.listening import CannotServe
from cli.supervisor import CrashLoop, Program, Supervisor
from store import logs, migrate
from store.database import Database
from store.settings import StoreSettings
from worker.settings import WorkerSettings

READY_SECONDS = 60.0


def serve(host: str, port: int, data_dir: Path, workers: int, say: Callable[[str], None]) -> None:
    """Run API and workers until SIGINT or SIGTERM. Raises `CannotServe`; leaves no process behind in any case."""
    data_dir = data_dir.resolve()
    listening.check(ApiSettings(host=host, data_dir=data_dir), say)
    with _only_instance(data_dir) as claim, listening.listen(host, port) as listener:
        url = listening.url_of(host, listener)
        claim.write_text(json.dumps({"pid": os.getpid(), "url": url}))
        # Children have no terminal: whether the lines are for one is decided here.
        log_format = logs.resolved(StoreSettings().log_format, sys.stdout)
        relay = None
        if log_format == "json":
            say, relay = logs.json_voices(say)
        given = {"ATTRACTOR_DATA_DIR": str(data_dir), "ATTRACTOR_HOST": host, "ATTRACTOR_LOG_FORMAT": log_format}
        env = os.environ | given | {"PYTHONUNBUFFERED": "1"}
        _migrate(data_dir)
        supervisor = Supervisor(_programs(env, listener, workers), say, relay)

        async def when_started() -> None:
            await _wait_until_ready(url)
            plural = "worker" if workers == 1 else "workers"
            say(f"attractor is ready at {url}  (data in {data_dir}, {workers} {plural}, Ctrl-C stops it)")

        try:
            asyncio.run(supervisor.run(when_started))
        except CrashLoop as error:
            raise CannotServe(str(error)) from error


@contextmanager
def _only_instance(data_dir: Path) -> Iterator[Path]:
    """Hold the lock of the data directory; yields the file in which the holder says who it is."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotServe(f"The data directory {data_dir} cannot be made: {error.strerror}.") from error
    claim = data_dir / "serve.json"
    lock = FileLock(data_dir / "serve.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise CannotServe(_taken(data_dir, claim)) from error
    claim.unlink(missing_ok=True)  # of a launcher that was killed
    try:
        yield claim
    finally:
        claim.unlink(missing_ok=True)
        lock.release()


def _taken(data_dir: Path, claim: Path) -> str:
    try:
        holder = json.loads(claim.read_text())
        who = f"process {holder['pid']} already serves it at {holder['url']}"
    except (OSError, ValueError):
        who = "another process is about to serve it"
    return f"The data directory {data_dir} is in use: {who}. Stop that one, or choose another with --data-dir."


def _programs(env: dict[str, str], listener: socket.socket, workers: int) -> list[Program]:
    def command(role: str) -> list[str]:
        # -P: whatever lies in the directory we were started in must not be taken for one of our packages.
        return [sys.executable, "-P", "-m", "cli.child", role]

    api = Program("api", command("api"), env | {SOCKET_FD: str(listener.fileno())}, (listener.fileno(),))
    names = ["worker"] if workers == 1 else [f"worker-{number}" for number in range(1, workers + 1)]
    alone = WorkerSettings(concurrency=1)
    shares = {
        "ATTRACTOR_THREADS": str(max(1, (os.cpu_count() or 1) // workers)),
        "ATTRACTOR_JOB_MEMORY_MB": str(alone.job_memory_mb or alone.memory_limit_mb // workers),
    }
    worker_env = env | shares | {"ATTRACTOR_CONCURRENCY": "1"}
    return [api, *(Program(name, command("worker"), worker_env) for name in names)]


def _migrate(data_dir: Path) -> None:
    database = Database(StoreSettings(data_dir=data_dir))
    try:
        migrate.upgrade(database)
    except (CommandError, SQLAlchemyError) as error:
        raise CannotServe(f"The database could not be brought to the newest schema: {error}") from error
    finally:
        database.close()


async def _wait_until_ready(url: str) -> None:
    deadline = asyncio.get_running_loop().time() + READY_SECONDS
    async with httpx.AsyncClient(base_url=url, timeout=5.0, trust_env=False) as client:
        while asyncio.get_running_loop().time() < deadline:
            try:
                if (await client.get("/readyz")).status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass  # not up yet
            await asyncio.sleep(0.05)
    raise CannotServe(f"The API did not become ready within {READY_SECONDS:g} s; its lines are above.")

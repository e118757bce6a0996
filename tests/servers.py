"""Database and broker servers for the tests: the ones that are there, or throwaway ones of our own."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import redis

POSTGRES_URL = os.environ.get("ATTRACTOR_TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres")
REDIS_URL = os.environ.get("ATTRACTOR_TEST_REDIS_URL", "redis://127.0.0.1:6379")


def missing(what: str) -> None:
    """Skip, and say why; in CI a server that is missing is a failure."""
    message = f"{what}: no server answers, and its programs are not installed"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def postgres() -> Iterator[str]:
    """URL of a PostgreSQL server on which databases may be created."""
    if _answers(lambda: psycopg.connect(POSTGRES_URL, connect_timeout=3).close()):
        yield POSTGRES_URL
        return
    programs = _postgres_programs()
    if programs is None:
        missing("PostgreSQL")
    else:
        with own_postgres(programs) as url:
            yield url


@contextmanager
def own_postgres(programs: Path) -> Iterator[str]:
    """A throwaway PostgreSQL server; run as the user `postgres` when we are root, which initdb refuses."""
    folder = Path(tempfile.mkdtemp(prefix="attractor-postgres-"))
    data, port = folder / "data", free_port()
    become: list[str] = []
    if os.getuid() == 0:
        account = pwd.getpwnam("postgres")
        os.chown(folder, account.pw_uid, account.pw_gid)
        become = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    control = [*become, str(programs / "pg_ctl"), "-D", str(data), "-w"]
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
    try:
        initdb = [*become, str(programs / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        subprocess.run(initdb, cwd=folder, check=True, capture_output=True)
        log = ["-l", str(folder / "log"), "-o", options]
        subprocess.run([*control, *log, "start"], cwd=folder, check=True, capture_output=True)
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], cwd=folder, check=True, capture_output=True)
    finally:
        shutil.rmtree(folder)


@contextmanager
def own_database(server: str) -> Iterator[str]:
    """URL of a new, randomly named database, dropped at the end."""
    name = f"attractor_test_{secrets.token_hex(6)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        yield server.rsplit("/", 1)[0] + "/" + name
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def redis_server() -> Iterator[str]:
    """URL of an empty Redis database: on a server of our own if the program is installed."""
    program = shutil.which("redis-server")
    if program is not None:
        with own_redis(program) as (url, _):
            yield url
        return
    if not _answers(lambda: redis.Redis.from_url(REDIS_URL, socket_connect_timeout=3).ping()):
        missing("Redis")
    for number in range(1, 16):
        url = f"{REDIS_URL}/{number}"
        client = redis.Redis.from_url(url)
        if client.dbsize() == 0:
            yield url
            client.flushdb()
            return
    pytest.fail(f"no empty database on {REDIS_URL}")


@contextmanager
def own_redis(program: str, port: int | None = None) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """URL and process of a throwaway Redis server, without persistence."""
    port = port or free_port()
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL, cwd=tempfile.gettempdir())
    url = f"redis://127.0.0.1:{port}"
    try:
        client = redis.Redis.from_url(url)
        deadline = time.monotonic() + 20
        while not _answers(lambda: client.ping()):
            assert process.poll() is None, "redis-server ended at its start"
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.02)
        yield f"{url}/0", process
    finally:
        process.terminate()
        process.wait(20)


def _postgres_programs() -> Path | None:
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((f for f in folders if (f / "initdb").exists() and (f / "pg_ctl").exists()), None)


def _answers(call: Callable[[], object]) -> bool:
    try:
        call()
    except (psycopg.OperationalError, redis.ConnectionError):
        return False
    return True

"""A whole deployment of one's own to do harm to: servers, API and workers as processes, started again when they die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import redis

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))  # which know how to start servers

import servers  # noqa: E402

from store import migrate  # noqa: E402
from store.database import Database  # noqa: E402
from store.settings import StoreSettings  # noqa: E402

TMPFS_MB = 400  # the API calls itself down when less than 256 are free


class Process:
    """A program that is started again a moment after it has died, as a container would be."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.name, self._command, self._environment, self._log = name, command, environment, log
        self._wanted = True
        self.starts = 0
        self._start()
        threading.Thread(target=self._keep, daemon=True).start()

    def _start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, cwd=ROOT, env=os.environ | self._environment, stdout=log, stderr=log
            )
        self.starts += 1

    def _keep(self) -> None:
        while self._wanted:
            if self.process.poll() is not None:
                time.sleep(0.3)
                if self._wanted:
                    self._start()
            time.sleep(0.1)

    def signal(self, number: int) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)

    def descendants(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        self._wanted = False
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class Redis:
    def __init__(self) -> None:
        self.port = servers.free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._start()

    def _start(self) -> None:
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(
            ["redis-server", *arguments], stdout=subprocess.DEVNULL, cwd=tempfile.gettempdir()
        )
        eventually(lambda: redis.Redis.from_url(self.url).ping(), "redis answers")

    def restart(self) -> None:
        """Killed; it kept nothing."""
        self.stop()
        self._start()

    def flush(self) -> None:
        redis.Redis.from_url(self.url).flushall()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()


class Deployment:
    """`kind`: "production" is Redis and PostgreSQL, "embedded" neither. `folder` holds data and logs; where we may mount,
    the data of jobs are on a small file system of their own."""

    def __init__(self, kind: str, folder: Path, postgres: str | None, workers: int, settings: dict[str, str]) -> None:
        self.redis = Redis() if kind == "production" else None
        data = folder / "data"
        data.mkdir()
        self.mounted = _mount(data)
        self.settings = StoreSettings(
            data_dir=data, database_url=postgres or "", broker_url=self.redis.url if self.redis else ""
        )
        environment = settings | {
            "ATTRACTOR_DATA_DIR": str(data),
            "ATTRACTOR_DATABASE_URL": self.settings.database_url,
            "ATTRACTOR_BROKER_URL": self.settings.broker_url,
            "ATTRACTOR_LOG_FORMAT": "text",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")]),
        }
        self.database = Database(self.settings)
        migrate.upgrade(self.database)
        port = servers.free_port()
        self.url = f"http://127.0.0.1:{port}"
        api = [sys.executable, "-m", "cli.main", "api", "--port", str(port)]
        self.api = Process("api", api, environment, folder / "api.log")
        self._folder, self.environment = folder, environment
        self.workers: list[Process] = []
        self.add_workers(workers)

    def add_workers(self, count: int) -> None:
        command = [sys.executable, str(ROOT / "benchmarks" / "light_science.py")]
        for k in range(len(self.workers), len(self.workers) + count):
            log = self._folder / f"worker-{k}.log"
            self.workers.append(Process(f"worker {k}", command, self.environment, log))

    def is_up(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def stop(self) -> list[int]:
        """The workers' exit statuses."""
        statuses = [worker.stop() for worker in self.workers]
        self.api.stop()
        self.database.close()
        if self.redis is not None:
            self.redis.stop()
        if self.mounted:
            subprocess.run(["umount", str(self.settings.data_dir)], check=False)
        return statuses


@contextmanager
def deployment(kind: str, workers: int, settings: dict[str, str]) -> Iterator[Deployment]:
    """Everything up and answering; everything stopped at the end."""
    with tempfile.TemporaryDirectory(prefix="attractor-faults-", ignore_cleanup_errors=True) as folder:
        if kind == "embedded":
            made = Deployment(kind, Path(folder), None, workers, settings)
            yield from _running(made)
            return
        programs = servers._postgres_programs()
        assert programs is not None, "PostgreSQL's programs are not installed"
        with servers.own_postgres(programs) as url:
            made = Deployment(kind, Path(folder), url, workers, settings)
            yield from _running(made)


def _running(made: Deployment) -> Iterator[Deployment]:
    try:
        eventually(made.is_up, "the API answers", 600)
        yield made
    except BaseException:
        for log in sorted(made.settings.data_dir.parent.glob("*.log")):
            print(f"== {log.name}", *log.read_text(errors="replace").splitlines()[-15:], sep="\n")
        raise
    finally:
        made.stop()


_restarting = threading.Lock()


def restart_postgres(url: str, mode: str) -> None:
    """`pg_ctl restart` of the throwaway server at this URL; of two at once the second waits."""
    with _restarting:
        _restart_postgres(url, mode)


def _restart_postgres(url: str, mode: str) -> None:
    port = url.rsplit(":", 1)[1].split("/")[0]
    for process in psutil.process_iter(["name", "cmdline", "ppid"]):
        command = process.info["cmdline"] or []
        if process.info["name"] == "postgres" and "-D" in command and port in command:
            data, user = command[command.index("-D") + 1], process.username()
            break
    else:
        raise RuntimeError(f"no PostgreSQL server on port {port}")
    become = ["setpriv", f"--reuid={user}", "--clear-groups"] if os.getuid() == 0 else []
    control = str(servers._postgres_programs() / "pg_ctl")  # type: ignore[operator]
    command = [*become, control, "-D", data, "-w", "-m", mode, "-l", str(Path(data).parent / "log"), "restart"]
    subprocess.run(command, check=True, capture_output=True, cwd=data)


def eventually(look: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while True:
        with suppress(redis.ConnectionError):
            if look():
                return
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(0.05)


def _mount(folder: Path) -> bool:
    """A small file system at `folder`, which can be filled without harm; False where we may not mount."""
    if os.getuid() != 0:
        return False
    options = f"size={TMPFS_MB}m"
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=False)
    return done.returncode == 0

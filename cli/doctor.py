"""`attractor doctor`: looks at a deployment from the machine it runs on, and says what to mend."""

from __future__ import annotations

import json
import os
import resource
import secrets
import shutil
import socket
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import redis
from pydantic import ValidationError
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from store import diagnosis, keys, migrate, staffing, statistics
from store.blobs import BlobDamaged, make_blobs
from store.database import Database
from store.secrets import NoSecret, service_secret
from store.settings import StoreSettings

Level = Literal["ok", "warning", "wrong"]
MEBIBYTE = 1024 * 1024
MIN_FREE, LOW_FREE = 256 * MEBIBYTE, 2048 * MEBIBYTE
OLDEST = {"PostgreSQL": (13, 0), "SQLite": (3, 35, 0)}
SKEW_SECONDS = 2.0
MIN_FILES = 4096


@dataclass(frozen=True)
class Finding:
    """What one check found, and what to do about it."""

    check: str
    level: Level
    found: str
    mend: str = ""


class Doctor:
    """Checks that need nothing but settings, then those that need the database, for as long as it answers."""

    def __init__(self, settings: StoreSettings, *, every_blob: bool = False) -> None:
        self.settings = settings
        self.every_blob = every_blob
        self.database = Database(settings)
        self.findings: list[Finding] = []

    def examine(self) -> list[Finding]:
        """Every check once; one that fails in an unforeseen way is itself a finding."""
        for check in (
            self._secret,
            self._broker,
            self._data_dir,
            self._blobs,
            self._kernels,
            self._threads,
            self._system,
        ):
            self._attempt(check)
        if self._attempt(self._reach) and self._attempt(self._schema):
            for check in (
                self._clock,
                self._connections,
                self._shared,
                self._keys,
                self._workers,
                self._jobs,
                self._webhooks,
            ):
                self._attempt(check)
            if self.every_blob:
                self._attempt(self._every_blob)
        self.database.close()
        return self.findings

    def _attempt(self, check: Callable[[], bool | None]) -> bool:
        name = check.__name__.removeprefix("_").replace("_", " ")
        try:
            return check() is not False
        except (SQLAlchemyError, redis.RedisError, OSError, NoSecret) as error:
            found = f"{type(error).__name__}: {error}".splitlines()[0]
            self._say(name, "wrong", found, "See that it is there, and that this process may use it.")
            return False

    def _say(self, check: str, level: Level, found: str, mend: str = "") -> None:
        self.findings.append(Finding(check, level, found, "" if level == "ok" else mend))

    def _secret(self) -> None:
        service_secret(self.settings)
        if self.settings.secret_key.get_secret_value():
            self._say("secret", "ok", "ATTRACTOR_SECRET_KEY is set")
            return
        mode = (self.settings.data_dir / "secret").stat().st_mode & 0o777
        level: Level = "ok" if mode & 0o077 == 0 else "wrong"
        self._say(
            "secret", level, f"kept in data_dir/secret, mode {mode:o}", "chmod 600: whoever reads it can forge keys."
        )

    def _broker(self) -> None:
        if self.settings.embedded_broker:
            self.settings.queue_dir.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.settings.queue_dir):
                self._say("broker", "ok", f"files under {self.settings.queue_dir}")
            return
        client = redis.Redis.from_url(self.settings.broker_url, socket_connect_timeout=3, socket_timeout=5)
        info, memory = client.info("server"), client.info("memory")
        policy = memory.get("maxmemory_policy", "unknown")
        found = f"Redis {info['redis_version']}, maxmemory-policy {policy}, persistence not needed"
        evicts = bool(memory.get("maxmemory")) and policy != "noeviction"
        mend = "Set maxmemory-policy to noeviction: a message that is evicted delays its job until a sweep."
        self._say("broker", "warning" if evicts else "ok", found, mend)

    def _data_dir(self) -> None:
        folder = self.settings.data_dir
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
        level: Level = "wrong" if free < MIN_FREE else "warning" if free < LOW_FREE else "ok"
        mend = "Delete series and results, shorten the retention settings, or enlarge the disk."
        self._say("data dir", level, f"{folder} can be written, {free // MEBIBYTE} MiB are free", mend)

    def _blobs(self) -> None:
        blobs = make_blobs(self.settings)
        probe = secrets.token_bytes(64)
        ref = blobs.put(probe)
        whole = blobs.read(ref.sha256) == probe
        blobs.delete(ref.sha256)
        where = self.settings.blobs_url or str(self.settings.blobs_dir)
        self._say(
            "blobs",
            "ok" if whole else "wrong",
            f"written and read in {where}",
            "The storage changes bytes: replace it.",
        )

    def _kernels(self) -> None:
        base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(base)
        existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
        if os.access(existing, os.W_OK):
            self._say("kernels", "ok", f"compiled ones are kept below {folder}")
            return
        mend = "Set XDG_CACHE_HOME to a directory that is kept, or every new container compiles for a minute or more."
        self._say("kernels", "warning", f"{folder} cannot be written, {tempfile.gettempdir()} is used", mend)

    def _threads(self) -> None:
        cores = os.cpu_count() or 1
        many = {
            n: v
            for n in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
            if (v := os.environ.get(n, "")).isdigit() and int(v) > cores
        }
        found = ", ".join(f"{name}={value}" for name, value in many.items()) or "left to the worker"
        mend = f"There are {cores} cores: leave these variables unset, the worker shares the cores among its jobs."
        self._say("threads", "warning" if many else "ok", found, mend)

    def _system(self) -> None:
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        level: Level = "ok" if files >= MIN_FILES or files == resource.RLIM_INFINITY else "warning"
        self._say("files", level, f"{files} may be open", f"ulimit -n {MIN_FILES}: every event stream takes one.")
        shared = Path("/dev/shm")
        if shared.exists():
            size = shutil.disk_usage(shared).total // MEBIBYTE
            self._say(
                "shared memory", "ok" if size >= 16 else "warning", f"{size} MiB", "Give the container at least 64 MiB."
            )

    def _reach(self) -> bool:
        with self.database.read() as session:
            name, version = diagnosis.server(session)
        url = make_url(self.settings.database_url).render_as_string(hide_password=True)
        new = version >= OLDEST[name]
        found = f"{name} {'.'.join(map(str, version))} at {url}"
        oldest = ".".join(map(str, OLDEST[name]))
        self._say("database", "ok" if new else "wrong", found, f"At least {name} {oldest} is needed.")
        return new

    def _schema(self) -> bool:
        wanted, found = migrate.head(), migrate.current(self.database)
        right = migrate.serves(found)
        self._say(
            "schema",
            "ok" if right else "wrong",
            f"at {found or 'nothing'}, needed {wanted}",
            "Run `attractor migrate`.",
        )
        return right

    def _clock(self) -> None:
        with self.database.read() as session:
            skew = (datetime.now(UTC) - diagnosis.clock(session)).total_seconds()
        level: Level = "ok" if abs(skew) < SKEW_SECONDS else "warning"
        mend = "Synchronise the clocks: leases go by the database's, signatures of webhooks and S3 by this machine's."
        self._say("clock", level, f"this machine is {skew:+.3f} s from the database", mend)

    def _connections(self) -> None:
        with self.database.read() as session:
            counted = diagnosis.connections(session)
        if counted is None:
            self._say("connections", "ok", "a file has no limit of them")
            return
        used, most = counted
        each = 2 * self.settings.database_pool_size
        level: Level = "ok" if most - used >= each else "warning"
        mend = "Raise max_connections, or lower ATTRACTOR_DATABASE_POOL_SIZE (a process opens up to twice that)."
        self._say("connections", level, f"{used} of {most} are in use, one more process may take {each}", mend)

    def _shared(self) -> None:
        """Rows of all processes against the files of this one."""
        blobs = make_blobs(self.settings)
        with self.database.read() as session:
            by_api, by_workers = diagnosis.newest_blobs(session)
        for writer, names in (("API", by_api), ("workers", by_workers)):
            missing = 0
            for name in names:
                try:
                    blobs.file(name)
                except FileNotFoundError:
                    missing += 1
            if missing:
                mend = "API and workers must have the same ATTRACTOR_DATA_DIR (one volume) or ATTRACTOR_BLOBS_URL."
                self._say(
                    "shared", "wrong", f"{missing} of the last {len(names)} blobs of the {writer} are not here", mend
                )
                return
        self._say("shared", "ok", f"the last {len(by_api) + len(by_workers)} blobs of API and workers are here")

    def _every_blob(self) -> None:
        """Read all that rows name: what a restored backup must stand."""
        blobs = make_blobs(self.settings)
        with self.database.read() as session:
            names = sorted(diagnosis.named_blobs(session))
        bad = []
        for name in names:
            try:
                blobs.file(name)
            except (FileNotFoundError, BlobDamaged):
                bad.append(name)
        found = f"{len(names) - len(bad)} of {len(names)} blobs that rows name are whole"
        mend = f"Restore from a backup: {', '.join(bad[:5])}{', ...' if len(bad) > 5 else ''}"
        self._say("every blob", "wrong" if bad else "ok", found, mend)

    def _keys(self) -> None:
        host = os.environ.get("ATTRACTOR_HOST", "127.0.0.1")
        exposed = host not in ("127.0.0.1", "::1", "localhost")
        if os.environ.get("ATTRACTOR_REQUIRE_KEYS", "auto") == "no" and exposed:
            mend = "Unset ATTRACTOR_REQUIRE_KEYS: whoever reaches this address can read and delete everything."
            self._say("keys", "wrong", f"not required, although others can reach {host}", mend)
        elif keys.usable(self.database):
            self._say("keys", "ok", "there are some")
        elif exposed:
            self._say("keys", "wrong", f"there is none, so nobody can use {host}", "`attractor keys create` makes one.")
        else:
            self._say("keys", "ok", "there is none, and none is needed on this machine alone")

    def _workers(self) -> None:
        with self.database.read() as session:
            found = staffing.staffing(session, self.settings)
        for worker in found.alive:
            queues = ", ".join(worker.queues)
            said = f"{worker.name} ({queues}), heard of {worker.seen_s:.0f} s ago, {worker.running} of {worker.processes} places taken"
            self._say("workers", "ok", said)
        if not found.alive:
            silence = self.settings.worker_silence_seconds
            self._say("workers", "wrong", f"none has been heard of for {silence:g} s", "Start one: `attractor worker`.")
        for reason in found.unserved.values():
            self._say("workers", "wrong", reason, "Start a worker for this queue.")
        for reason in found.stuck.values():
            self._say(
                "workers", "wrong", reason, "Read the log of the worker, then restart it: no job is lost by that."
            )

    def _jobs(self) -> None:
        with self.database.read() as session:
            waiting, held = statistics.waiting(session), statistics.held(session)
        oldest = max((part.oldest_s for part in waiting), default=0.0)
        running, expired = sum(part.jobs for part in held), sum(part.expired for part in held)
        found = (
            f"{sum(part.jobs for part in waiting)} wait, the oldest for {oldest:.0f} s; {running} are held by workers"
        )
        self._say("jobs", "ok", found)
        if expired:
            mend = "A worker's sweep takes them back within seconds: is one alive?"
            self._say("jobs", "warning", f"{expired} leases have run out and were not taken back", mend)

    def _webhooks(self) -> None:
        with self.database.read() as session:
            outbox, broken = statistics.webhooks(session), diagnosis.broken_webhooks(session)
        late = outbox.late_s > 600
        found = f"{outbox.due} messages are due, the oldest is {outbox.late_s:.0f} s late"
        self._say("webhooks", "warning" if late else "ok", found, "Workers send them: can they reach the world?")
        if broken:
            mend = "GET /v1/webhooks/{id}/deliveries says why; tell their owners."
            self._say("webhooks", "warning", f"do not work: {', '.join(broken)}", mend)


def examine(settings: Callable[[], StoreSettings], *, every_blob: bool = False) -> list[Finding]:
    """All findings; settings that cannot be read are the only one."""
    try:
        read = settings()
    except ValidationError as error:
        places = [f"ATTRACTOR_{str(e['loc'][0]).upper() if e['loc'] else ''}: {e['msg']}" for e in error.errors()]
        return [Finding("settings", "wrong", place, "Correct the variable.") for place in places]
    return Doctor(read, every_blob=every_blob).examine()


def examine_worker(settings: StoreSettings) -> list[Finding]:
    """Whether a worker of this machine is heard of, and does not sit beside jobs that it could take."""
    database = Database(settings)
    try:
        with database.read() as session:
            found = staffing.staffing(session, settings)
    except SQLAlchemyError as error:
        # Restarting the worker would not bring the database back.
        return [Finding("worker", "warning", f"the database does not answer ({type(error).__name__})", "Look at it.")]
    finally:
        database.close()
    mine = [worker for worker in found.alive if worker.name.startswith(f"{socket.gethostname()}:")]
    if not mine:
        silence = settings.worker_silence_seconds
        return [Finding("worker", "wrong", f"none of this machine has been heard of for {silence:g} s", "Restart it.")]
    idle = [worker for worker in mine if worker.running < worker.processes and found.stuck.keys() & set(worker.queues)]
    stuck = [
        Finding("worker", "wrong", f"{worker.name} takes no job although some are due", "Restart it.")
        for worker in idle
    ]
    return stuck or [Finding("worker", "ok", f"{mine[0].name} was heard of {mine[0].seen_s:.0f} s ago")]


def report(findings: list[Finding], *, as_json: bool) -> str:
    if as_json:
        healthy = not any(finding.level == "wrong" for finding in findings)
        return json.dumps({"healthy": healthy, "findings": [asdict(finding) for finding in findings]}, indent=1)
    signs = {"ok": "ok     ", "warning": "warning", "wrong": "WRONG  "}
    lines = []
    for finding in findings:
        lines.append(f"{signs[finding.level]}  {finding.check:<13}  {finding.found}")
        if finding.mend:
            lines.append(f"{'':24}-> {finding.mend}")
    return "\n".join(lines)

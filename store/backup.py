"""Backup and restore of an embedded service: its database, its blobs and its secret in one tar file, while it serves.

Blobs are copied, then the database, then the blobs that have come since. So whatever the copy of the database names was
there in the first pass, or still is in the second: a blob may be deleted meanwhile, and none is changed. What is missing
nevertheless can only be the checkpoint of a job, which then begins anew. A restored job that was running is one whose
lease has run out, and the next sweep takes it back.
"""

from __future__ import annotations

import io
import json
import os
import re
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout
from sqlalchemy import make_url

from store import migrate
from store.blobs import Blobs
from store.database import Database
from store.diagnosis import missing_blobs
from store.settings import StoreSettings

FORMAT = 1
LAUNCHER_LOCK = "serve.lock"
_DATABASE, _SECRET, _MANIFEST = "attractor.db", "secret", "manifest.json"
_BLOB = re.compile(r"blobs/([0-9a-f]{64})")


class BackupFailed(Exception):
    """Nothing has been written, or nothing that counts; the message says why and what to do."""


@dataclass(frozen=True)
class Manifest:
    """What a backup holds."""

    format: int
    release: str
    revision: str
    made_at: float  # Unix seconds, by this machine's clock
    blobs: int
    n_bytes: int


def backup(settings: StoreSettings, file: Path) -> Manifest:
    """Write `file`, whole or not at all. Raises `BackupFailed`, OSError."""
    source = _embedded(settings)
    if file.exists():
        raise BackupFailed(f"{file} exists already; name another file.")
    blobs = Blobs(settings.blobs_dir)
    partial = file.with_name(file.name + ".partial")
    try:
        with (
            tempfile.TemporaryDirectory(dir=settings.data_dir, prefix=".backup-") as folder,
            tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as tar,
        ):
            written = _add_blobs(tar, blobs, set())
            copy = Path(folder) / _DATABASE
            _copy_database(source, copy)
            written |= _add_blobs(tar, blobs, written)
            tar.add(copy, _DATABASE)
            if (settings.data_dir / _SECRET).exists():
                tar.add(settings.data_dir / _SECRET, _SECRET)
            manifest = _describe(copy, written, tar.offset)
            _add_bytes(tar, _MANIFEST, json.dumps(asdict(manifest)).encode())
        with partial.open("rb") as stream:
            os.fsync(stream.fileno())
        partial.chmod(0o600)  # it holds the secret, and everybody's data
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    return manifest


def restore(file: Path, data_dir: Path) -> Manifest:
    """Fill an empty data directory from `file`, check every byte, and bring the schema to this release's. Raises
    `BackupFailed`, after which the directory is as it was."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with _unserved(data_dir):
        if (data_dir / _DATABASE).exists() or (data_dir / "blobs").exists():
            raise BackupFailed(f"{data_dir} holds a service already; restore into an empty directory.")
        with tempfile.TemporaryDirectory(dir=data_dir, prefix=".restore-") as folder:
            manifest = _unpack(file, Path(folder))
            _check(Path(folder), manifest)
            for name in ("blobs", _SECRET, _DATABASE):  # the database last: only then is there a service
                if (Path(folder) / name).exists():
                    os.replace(Path(folder) / name, data_dir / name)
    return manifest


def _embedded(settings: StoreSettings) -> Path:
    """The database's file. Refuses what has tools of its own."""
    url = make_url(settings.database_url)
    if url.get_backend_name() != "sqlite" or settings.blobs_url:
        raise BackupFailed(
            "This service keeps its data on servers. Use their tools, in the order that docs/guides/production.md says: "
            "blobs, pg_dump, blobs again."
        )
    source = Path(url.database or "")
    if not source.exists():
        raise BackupFailed(f"There is no database at {source}; name the service's --data-dir.")
    return source


def _copy_database(source: Path, copy: Path) -> None:
    """SQLite's own online backup: a consistent copy while others write."""
    with closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as live, closing(sqlite3.connect(copy)) as target:
        live.backup(target)
        target.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it


def _add_blobs(tar: tarfile.TarFile, blobs: Blobs, known: set[str]) -> set[str]:
    """Add those that are not `known`; their names. One that is deleted meanwhile is left out."""
    added = set()
    for name in blobs.names():
        if name not in known:
            try:
                tar.add(blobs.path(name), f"blobs/{name}")
            except FileNotFoundError:
                continue
            added.add(name)
    return added


def _add_bytes(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mtime = len(data), int(time.time())
    tar.addfile(info, io.BytesIO(data))


def _describe(copy: Path, blobs: set[str], n_bytes: int) -> Manifest:
    database = Database(StoreSettings(database_url=f"sqlite:///{copy}"))
    try:
        revision = migrate.current(database)
        with database.read() as session:
            missing = missing_blobs(session, blobs)
    finally:
        database.close()
    if missing:
        raise BackupFailed(
            f"{len(missing)} blobs that rows name are not there, such as {min(missing)}: `attractor doctor`."
        )
    return Manifest(FORMAT, version("attractor"), revision or "", time.time(), len(blobs), n_bytes)


def _unpack(file: Path, folder: Path) -> Manifest:
    """Members by their names alone: nothing else of a tar file is believed."""
    manifest = None
    blobs = Blobs(folder / "blobs")
    try:
        with tarfile.open(file, "r:") as tar:
            for member in tar:
                stream = tar.extractfile(member) if member.isreg() else None
                if stream is None:
                    raise BackupFailed(f"{file} is no backup: it holds {member.name!r}, which is no file.")
                if member.name == _MANIFEST:
                    manifest = Manifest(**json.loads(stream.read()))
                elif found := _BLOB.fullmatch(member.name):
                    _unpack_blob(stream, blobs, found[1])
                elif member.name in (_DATABASE, _SECRET):
                    _write(stream, folder / member.name)
                else:
                    raise BackupFailed(f"{file} is no backup: nothing of it is called {member.name!r}.")
    except (tarfile.TarError, ValueError, TypeError) as error:
        raise BackupFailed(f"{file} is no backup, or a damaged one: {error}") from error
    if manifest is None or manifest.format != FORMAT:
        raise BackupFailed(
            f"{file} is not whole, or was made by another release: it has no manifest that is known here."
        )
    return manifest


def _unpack_blob(stream: IO[bytes], blobs: Blobs, name: str) -> None:
    with blobs.writing() as temporary:
        _write(stream, temporary)
        if blobs.adopt(temporary).sha256 != name:
            raise BackupFailed(f"The blob {name} in the backup is damaged.")


def _write(stream: IO[bytes], target: Path) -> None:
    target.touch(mode=0o600)
    with target.open("wb") as out:
        while chunk := stream.read(1 << 20):
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())


def _check(folder: Path, manifest: Manifest) -> None:
    """The database is whole, every blob that it names is here, and this release can use it."""
    if not (folder / _DATABASE).exists():
        raise BackupFailed("The backup holds no database.")
    with closing(sqlite3.connect(folder / _DATABASE)) as connection:
        (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
    if verdict != "ok":
        raise BackupFailed(f"The database in the backup is damaged: {verdict}")
    database = Database(StoreSettings(data_dir=folder))
    try:
        if manifest.revision not in migrate.known():
            raise BackupFailed(
                f"The backup has the schema {manifest.revision!r} of release {manifest.release}, which this one does not know: "
                "restore it with that release, or a later one."
            )
        migrate.upgrade(database)
        with database.read() as session:
            missing = missing_blobs(session, set(Blobs(folder / "blobs").names()))
        if missing:
            raise BackupFailed(f"The backup lacks {len(missing)} blobs that its rows name, such as {min(missing)}.")
    finally:
        database.close()  # the last connection takes the log with it


@contextmanager
def _unserved(data_dir: Path) -> Iterator[None]:
    lock = FileLock(data_dir / LAUNCHER_LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise BackupFailed(f"`attractor serve` uses {data_dir}; stop it first.") from error
    try:
        yield
    finally:
        lock.release()

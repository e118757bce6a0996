"""Content-addressed files: a blob's name is the SHA-256 of its bytes.

A blob is there whole or not at all. Whoever names it in a row does so afterwards. A blob that no row names is an orphan;
the sweep deletes it when it is old enough not to belong to an upload that is still on its way. Every byte that is read
was checked against the name: a file that stays on the disk once in every process that opens it, as long as it does not
change.

`Blobs` keeps them in a directory; `store.blobs_s3` keeps them in a bucket, with a directory as its cache. Both are one
interface, and `make_blobs` chooses by the settings.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from store.settings import StoreSettings

_NAME = re.compile(r"[0-9a-f]{64}")
_REMEMBERED = 10_000  # files that a process knows to be whole
# Temporary files that a killed process left behind: older than any upload that still goes on.
LEFTOVER_SECONDS = 24 * 3600.0

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class BlobDamaged(Exception):
    """A blob's bytes are not the ones its name promises: the disk, or somebody, changed them."""


class BlobMissing(FileNotFoundError):
    """There is no such blob."""

    def __init__(self, sha256: str) -> None:
        super().__init__(errno.ENOENT, "there is no such blob", sha256)


class BlobsUnavailable(OSError):
    """The storage of blobs does not answer, or refuses to."""


@dataclass(frozen=True)
class BlobRef:
    sha256: str
    n_bytes: int


class Blobs:
    """The blobs under `root`: `root/ab/cd...`, and `root/tmp` for what is being written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._temporary = root / "tmp"
        self._whole: dict[str, tuple[int, int, int]] = {}
        self._lock = threading.Lock()

    def path(self, sha256: str) -> Path:
        """Where the file is on this machine, if it is there."""
        if not _NAME.fullmatch(sha256):
            raise ValueError(f"not a SHA-256: {sha256!r}")
        return self.root / sha256[:2] / sha256[2:]

    def put(self, data: bytes | Path) -> BlobRef:
        """Keep these bytes, or a copy of this file."""
        with self.writing() as file:
            if isinstance(data, Path):
                shutil.copyfile(data, file)
            else:
                file.write_bytes(data)
            return self.adopt(file)

    @contextmanager
    def writing(self) -> Iterator[Path]:
        """A temporary file on the same disk, to be filled and given to `adopt`; gone at the end otherwise."""
        self._temporary.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=self._temporary)
        os.close(descriptor)
        try:
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)

    def adopt(self, file: Path) -> BlobRef:
        """Make a file on the same disk a blob by renaming it, without a copy. An equal one that is there is replaced:
        it may be damaged, and its age must count from now, since the row that names it is still to come."""
        ref = describe(file)
        self._keep(file, ref.sha256)
        return ref

    def _keep(self, file: Path, sha256: str) -> Path:
        """Move a file whose bytes are known to its place, durably."""
        target = self.path(sha256)
        os.utime(file)
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, target)
        _flush_directory(target.parent)
        self._remember(sha256, target.stat())
        return target

    def file(self, sha256: str) -> Path:
        """The file, to be mapped or sent. Raises BlobMissing, BlobDamaged."""
        path = self.path(sha256)
        try:
            stream = path.open("rb")
        except FileNotFoundError as error:
            raise BlobMissing(sha256) from error
        with stream:
            status = os.fstat(stream.fileno())
            if self._whole.get(sha256) != _signature(status):
                if hashlib.file_digest(stream, "sha256").hexdigest() != sha256:
                    raise _damaged(sha256, status.st_size)
                self._remember(sha256, status)
        return path

    def read(self, sha256: str) -> bytes:
        """All bytes. Raises BlobMissing, BlobDamaged."""
        try:
            data = self.path(sha256).read_bytes()
        except FileNotFoundError as error:
            raise BlobMissing(sha256) from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise _damaged(sha256, len(data))
        return data

    def delete(self, sha256: str) -> None:
        self.path(sha256).unlink(missing_ok=True)

    def delete_before(self, sha256: str, moment: float) -> bool:
        """Delete a blob unless it was put at `moment` (Unix seconds) or later; whether it was deleted.

        Somebody may put the same bytes right now. Moved aside first, the blob is either found young and moved back, or
        no longer there when `adopt` puts the new one in its place. The moment is the caller's, from before it asked
        which blobs are named: however long it is held up afterwards, what was put since then stays.
        """
        file = self.path(sha256)
        with self.writing() as aside:
            try:
                if file.stat().st_mtime >= moment:
                    return False
                os.replace(file, aside)
            except FileNotFoundError:
                return False
            if aside.stat().st_mtime >= moment:
                os.replace(aside, file)
                return False
        return True

    def names(self) -> Iterator[str]:
        """The names of all blobs."""
        for folder in self.root.glob("[0-9a-f][0-9a-f]"):
            for file in os.listdir(folder):
                if _NAME.fullmatch(folder.name + file):
                    yield folder.name + file

    def tidy(self, moment: float) -> int:
        """Delete what killed processes were writing before `moment` (Unix seconds); how many files."""
        gone = 0
        for file in self._temporary.glob("*"):
            try:
                if file.stat().st_mtime < moment:
                    file.unlink()
                    gone += 1
            except FileNotFoundError:
                continue  # another sweep was quicker
        return gone

    def ping(self) -> None:
        """Raise OSError unless blobs can be written."""
        with self.writing():
            return

    def _remember(self, sha256: str, status: os.stat_result) -> None:
        with self._lock:
            if len(self._whole) >= _REMEMBERED:
                self._whole.clear()
            self._whole[sha256] = _signature(status)


def make_blobs(settings: StoreSettings) -> Blobs:
    """Where `settings.blobs_url` says; a directory under `data_dir` by default."""
    if not settings.blobs_url:
        return Blobs(settings.blobs_dir)
    from store.blobs_s3 import S3Blobs, connect  # boto3 is large, and only a deployment with a bucket needs it

    bucket, prefix = settings.bucket_and_prefix
    cache = settings.data_dir / "blobs-cache"
    return S3Blobs(connect(settings), bucket, prefix, cache=cache, cache_bytes=settings.blobs_cache_bytes)


def describe(file: Path) -> BlobRef:
    """The name and the size of a file's bytes."""
    with file.open("rb") as stream:
        return BlobRef(hashlib.file_digest(stream, "sha256").hexdigest(), os.fstat(stream.fileno()).st_size)


def _signature(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _damaged(sha256: str, n_bytes: int) -> BlobDamaged:
    return BlobDamaged(f"blob {sha256} is damaged ({n_bytes} bytes on the disk)")


def _flush_directory(folder: Path) -> None:
    """A rename survives a power cut once its directory is on the disk (not on Windows, which knows no such call)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Content-addressed files: a blob's name is the SHA-256 of its bytes.

A blob is written to a temporary file, flushed to the disk and renamed: it is there whole or not at all. Whoever names
it in a row does so afterwards. A blob that no row names is an orphan; the sweep deletes it when it is old enough not
to belong to an upload that is still on its way.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_NAME = re.compile(r"[0-9a-f]{64}")
_CHUNK = 1 << 20


class BlobDamaged(Exception):
    """A blob's bytes are not the ones its name promises: the disk, or somebody, changed them."""


@dataclass(frozen=True)
class BlobRef:
    sha256: str
    n_bytes: int


class Blobs:
    """The blobs under `root`: `root/ab/cd...`, and `root/tmp` for what is being written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._temporary = root / "tmp"

    def path(self, sha256: str) -> Path:
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
        """Make a file on the same disk a blob by renaming it, without a copy."""
        with file.open("rb") as stream:
            ref = BlobRef(hashlib.file_digest(stream, "sha256").hexdigest(), os.fstat(stream.fileno()).st_size)
            target = self.path(ref.sha256)
            try:
                # Its age counts from now: the row that names it is still to come.
                os.utime(target)
            except FileNotFoundError:
                os.fsync(stream.fileno())
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(file, target)
                _flush_directory(target.parent)
        return ref

    def read(self, sha256: str) -> bytes:
        """All bytes, checked against the name."""
        data = self.path(sha256).read_bytes()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise BlobDamaged(f"blob {sha256} is damaged ({len(data)} bytes on the disk)")
        return data

    def delete(self, sha256: str) -> None:
        self.path(sha256).unlink(missing_ok=True)

    def delete_older(self, sha256: str, seconds: float) -> bool:
        """Delete a blob unless it was put within the last `seconds`; whether it is gone.

        Somebody may put the same bytes at this very moment. Moved aside first, the blob is either found young and
        moved back, or no longer there for `adopt` to find, which then writes it anew.
        """
        file = self.path(sha256)
        with self.writing() as aside:
            try:
                os.replace(file, aside)
            except FileNotFoundError:
                return False
            if time.time() - aside.stat().st_mtime < seconds:
                os.replace(aside, file)
                return False
        return True

    def names(self) -> Iterator[str]:
        """The names of all blobs."""
        for folder in self.root.glob("[0-9a-f][0-9a-f]"):
            for file in folder.iterdir():
                if _NAME.fullmatch(folder.name + file.name):
                    yield folder.name + file.name


def _flush_directory(folder: Path) -> None:
    """A rename survives a power cut once its directory is on the disk (not on Windows, which knows no such call)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

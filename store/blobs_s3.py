"""Blobs in a bucket of S3 or of anything that speaks its protocol, with a directory as cache.

A bucket knows no rename and, in most implementations, no conditional delete, so every put makes an object of its own,
`prefix/ab/cd.../<unique>`, and a delete names one object: it can hit what it has seen, and never a put that came later.
Objects appear whole (a multipart upload when it is completed). Equal objects are harmless; `tidy` leaves the newest.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from domain.ids import uuid7
from store.blobs import BlobDamaged, BlobMissing, BlobRef, Blobs, BlobsUnavailable, describe
from store.settings import StoreSettings

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
PING_SECONDS = 10.0
ATTEMPTS = 3  # a request waits no longer; a job does (`worker.context`)
# A cached file that was used so lately is about to be opened, by this process or another: it stays.
IN_USE_SECONDS = 60.0
_KEY = re.compile(r"([0-9a-f]{2})/([0-9a-f]{62})/[0-9a-f]{32}")
_NOT_FOUND = ("404", "NoSuchKey", "NotFound")
_TRANSFER = TransferConfig(multipart_threshold=16 << 20, multipart_chunksize=16 << 20, max_concurrency=4)


def connect(settings: StoreSettings) -> Any:
    """A client; credentials come from where boto3 looks for them: the environment, a file, the machine's role."""
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        # The hash of every upload goes along and is checked on arrival: the one integrity check that all servers know.
        s3={"payload_signing_enabled": True, "addressing_style": "path" if settings.blobs_endpoint_url else "auto"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    endpoint, region = settings.blobs_endpoint_url or None, settings.blobs_region or None
    with _speaking():
        return boto3.session.Session().client("s3", endpoint_url=endpoint, region_name=region, config=config)


@dataclass(frozen=True)
class _Object:
    """One put of a blob."""

    key: str
    put_at: float  # Unix seconds, by the clock of the storage


class S3Blobs(Blobs):
    """The blobs under `s3://bucket/prefix`. `root`, the cache, may be shared by the processes of a machine."""

    def __init__(self, client: Any, bucket: str, prefix: str, *, cache: Path, cache_bytes: int) -> None:
        super().__init__(cache)
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._cache_bytes = cache_bytes
        self._pinging = threading.Lock()
        self._ping_again = 0.0
        self._ping_error: str | None = None

    def adopt(self, file: Path) -> BlobRef:
        """Upload a file, then keep it in the cache."""
        ref = describe(file)
        key = f"{self._folder(ref.sha256)}{uuid7().hex}"
        with _speaking():
            self._client.upload_file(str(file), self._bucket, key, Config=_TRANSFER)
        self._cache(file, ref.sha256)
        return ref

    def file(self, sha256: str) -> Path:
        """The cached file, fetched if it is not there. Raises BlobMissing, BlobDamaged, BlobsUnavailable."""
        try:
            path = super().file(sha256)
        except BlobMissing:
            path = self._fetch(sha256)
        except BlobDamaged:
            self.path(sha256).unlink(missing_ok=True)
            path = self._fetch(sha256)
        _used(path)
        return path

    def read(self, sha256: str) -> bytes:
        return self.file(sha256).read_bytes()

    def delete(self, sha256: str) -> None:
        for found in self._objects(sha256):
            self._delete(found)
        super().delete(sha256)

    def delete_before(self, sha256: str, moment: float) -> bool:
        """As in a directory, and more simply: a put that comes meanwhile is an object that this has not seen."""
        objects = self._objects(sha256)
        old = [found for found in objects if found.put_at < moment]
        for found in old:
            self._delete(found)
        if not old or len(old) < len(objects):
            return False
        super().delete(sha256)
        return True

    def names(self) -> Iterator[str]:
        last = None
        for sha256, _ in self._all():
            if sha256 != last:
                yield sha256
            last = sha256

    def tidy(self, moment: float) -> int:
        """Also what was put twice, and uploads in parts that nobody will complete."""
        gone = super().tidy(moment)
        objects: list[_Object] = []
        name = ""
        for sha256, found in self._all():
            if sha256 != name:
                gone += self._only_newest(objects, moment)
                name, objects = sha256, []
            objects.append(found)
        return gone + self._only_newest(objects, moment) + self._abort_uploads(moment)

    def ping(self) -> None:
        """What the storage answered is remembered for `PING_SECONDS`: probes come often, from many, and while it is away
        each would wait for all attempts. Of several at once one asks."""
        super().ping()
        with self._pinging:
            if time.monotonic() >= self._ping_again:
                self._ping_error = self._asked()
                self._ping_again = time.monotonic() + PING_SECONDS
            if self._ping_error is not None:
                raise BlobsUnavailable(self._ping_error)

    def _asked(self) -> str | None:
        """Why the storage cannot be used. One key at most is listed; `HeadBucket` is refused to who may see a prefix only."""
        try:
            with _speaking():
                self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)
        except (BlobsUnavailable, BlobMissing) as error:
            return str(error)
        return None

    def _folder(self, sha256: str) -> str:
        return f"{self._prefix}{self.path(sha256).relative_to(self.root).as_posix()}/"

    def _all(self) -> Iterator[tuple[str, _Object]]:
        """Every object with the name of its blob; those of one blob follow each other."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
        with _speaking():
            for page in pages:
                for entry in page.get("Contents", ()):
                    found = _Object(entry["Key"], entry["LastModified"].timestamp())
                    name = _KEY.fullmatch(found.key.removeprefix(self._prefix))
                    if name is not None:
                        yield name[1] + name[2], found

    def _objects(self, sha256: str) -> list[_Object]:
        """The puts of one blob, the newest first."""
        with _speaking():
            page = self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._folder(sha256))
        found = [_Object(entry["Key"], entry["LastModified"].timestamp()) for entry in page.get("Contents", ())]
        return sorted(found, key=lambda each: (each.put_at, each.key), reverse=True)

    def _delete(self, found: _Object) -> None:
        with _speaking():
            self._client.delete_object(Bucket=self._bucket, Key=found.key)

    def _only_newest(self, objects: list[_Object], moment: float) -> int:
        ordered = sorted(objects, key=lambda each: (each.put_at, each.key))
        surplus = [found for found in ordered[:-1] if found.put_at < moment]
        for found in surplus:
            self._delete(found)
        return len(surplus)

    def _abort_uploads(self, moment: float) -> int:
        gone = 0
        pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=self._prefix)
        with _speaking():
            for page in pages:
                for upload in page.get("Uploads", ()):
                    if upload["Initiated"].timestamp() < moment:
                        self._client.abort_multipart_upload(
                            Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                        )
                        gone += 1
        return gone

    def _fetch(self, sha256: str) -> Path:
        """Download a blob into the cache: the newest object whose bytes are right."""
        damaged = None
        for found in self._objects(sha256):
            with self.writing() as aside:
                try:
                    with _speaking():
                        self._client.download_file(self._bucket, found.key, str(aside), Config=_TRANSFER)
                except BlobMissing:
                    continue  # deleted since it was listed
                ref = describe(aside)
                if ref.sha256 == sha256:
                    return self._cache(aside, sha256)
                damaged = BlobDamaged(
                    f"blob {sha256} is damaged ({ref.n_bytes} bytes in s3://{self._bucket}/{found.key})"
                )
        raise damaged or BlobMissing(sha256)

    def _cache(self, file: Path, sha256: str) -> Path:
        path = self._keep(file, sha256)
        _used(path)
        self._make_room()
        return path

    def _make_room(self) -> None:
        """Drop the files that were not used for the longest time while there are too many bytes."""
        files = []
        for sha256 in Blobs.names(self):
            try:
                status = self.path(sha256).stat()
            except FileNotFoundError:
                continue  # another process made room, too
            files.append((status.st_atime, status.st_size, sha256))
        total = sum(size for _, size, _ in files)
        for used_at, size, sha256 in sorted(files):
            if total <= self._cache_bytes or used_at > time.time() - IN_USE_SECONDS:
                return
            Blobs.delete(self, sha256)
            total -= size


def _used(path: Path) -> None:
    """Note the use as the time of access, and leave the time of change, by which a checked file is known."""
    try:
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
    except FileNotFoundError:
        return  # dropped by another process; whoever opens it now has a reason to fetch it again


@contextmanager
def _speaking() -> Iterator[None]:
    """Errors of the client as ours."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _NOT_FOUND:
            raise BlobMissing(str(error.operation_name)) from error
        raise BlobsUnavailable(f"the storage of blobs refuses: {code or 'no reason given'}: {error}") from error
    except (BotoCoreError, Boto3Error) as error:
        raise BlobsUnavailable(f"the storage of blobs does not answer: {error}") from error

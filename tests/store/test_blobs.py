"""Content-addressed files, in a directory and in a bucket: whole or not at all, and what is read is what was put."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from buckets import CREDENTIALS, Bucket, new_bucket, s3_server
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.ids import new_id
from store import blobs_s3
from store.blobs import BlobDamaged, BlobMissing, Blobs, BlobsUnavailable, make_blobs
from store.blobs_s3 import S3Blobs
from store.database import Database
from store.settings import StoreSettings
from store.sweep import sweep_blobs
from store.tables import ForecastRow

LATER = 3600.0


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return new_bucket(endpoint)


def in_bucket(bucket: Bucket, data_dir: Path, **options: object) -> S3Blobs:
    settings = StoreSettings.model_validate(
        {"data_dir": data_dir, "blobs_url": bucket.url, "blobs_endpoint_url": bucket.endpoint} | options
    )
    made = make_blobs(settings)
    assert isinstance(made, S3Blobs)
    return made


@pytest.fixture(params=["directory", "bucket"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def blobs(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Blobs:
    if kind == "directory":
        return make_blobs(StoreSettings(data_dir=tmp_path))
    return in_bucket(request.getfixturevalue("bucket"), tmp_path)


@pytest.fixture
def directory(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs")


def files(blobs: Blobs) -> list[Path]:
    return [file for file in blobs.root.rglob("*") if file.is_file()]


@hypothesis_settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=100))
def test_what_is_put_is_read(blobs: Blobs, data: bytes) -> None:
    ref = blobs.put(data)
    assert (ref.sha256, ref.n_bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    assert blobs.read(ref.sha256) == data
    assert blobs.file(ref.sha256).read_bytes() == data


def test_a_file_is_copied_or_adopted(blobs: Blobs, tmp_path: Path) -> None:
    (tmp_path / "upload").write_bytes(b"x" * 3_000_000)
    ref = blobs.put(tmp_path / "upload")
    assert (tmp_path / "upload").exists()
    with blobs.writing() as file:
        file.write_bytes(b"other")
        other = blobs.adopt(file)
        assert not file.exists()
    assert blobs.file(ref.sha256).stat().st_size == 3_000_000
    assert set(blobs.names()) == {ref.sha256, other.sha256}
    assert len(files(blobs)) == 2, "nothing temporary is left"


def test_equal_bytes_are_one_blob(blobs: Blobs) -> None:
    assert blobs.put(b"same") == blobs.put(b"same")
    assert len(files(blobs)) == len(list(blobs.names())) == 1


def test_writing_that_breaks_leaves_nothing(blobs: Blobs) -> None:
    def break_off() -> None:
        with blobs.writing() as file:
            file.write_bytes(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        break_off()
    assert files(blobs) == []
    assert list(blobs.names()) == []


def test_delete_may_be_repeated(blobs: Blobs) -> None:
    ref = blobs.put(b"x")
    blobs.delete(ref.sha256)
    blobs.delete(ref.sha256)
    for look in (blobs.read, blobs.file):
        with pytest.raises(BlobMissing):
            look(ref.sha256)
    assert not blobs.delete_before(ref.sha256, time.time() + LATER)
    assert issubclass(BlobMissing, FileNotFoundError)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 63 + "\n", "0" * 65])
def test_no_other_name_reaches_the_storage(blobs: Blobs, name: str) -> None:
    for look in (blobs.path, blobs.file, blobs.read, blobs.delete):
        with pytest.raises(ValueError, match="SHA-256"):
            look(name)


def test_only_what_is_old_is_deleted(blobs: Blobs) -> None:
    name = blobs.put(b"an orphan").sha256
    assert not blobs.delete_before(name, time.time() - 60)
    assert blobs.read(name) == b"an orphan"
    assert blobs.delete_before(name, time.time() + LATER)
    assert list(blobs.names()) == []


def test_a_readable_storage_answers(blobs: Blobs) -> None:
    blobs.ping()
    assert files(blobs) == []


# --- in a directory


def test_damage_is_found(directory: Blobs) -> None:
    ref = directory.put(b"precious")
    directory.path(ref.sha256).write_bytes(b"preciouS")
    for look in (directory.read, directory.file):
        with pytest.raises(BlobDamaged, match=ref.sha256):
            look(ref.sha256)


def test_damage_before_this_process_is_found_and_a_new_upload_mends_it(directory: Blobs) -> None:
    ref = directory.put(b"precious")
    status = directory.path(ref.sha256).stat()
    directory.path(ref.sha256).write_bytes(b"preciouS")
    os.utime(directory.path(ref.sha256), ns=(status.st_atime_ns, status.st_mtime_ns))
    another = Blobs(directory.root)
    with pytest.raises(BlobDamaged):
        another.file(ref.sha256)
    directory.put(b"precious")
    assert another.file(ref.sha256).read_bytes() == b"precious"


def test_a_file_is_hashed_once_by_a_process(directory: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = directory.put(b"x" * 1000)
    hashed = []
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *args: hashed.append(args) or digest(*args))
    another = Blobs(directory.root)
    for _ in range(5):
        another.file(ref.sha256)
    assert len(hashed) == 1
    os.utime(another.path(ref.sha256))
    another.file(ref.sha256)
    assert len(hashed) == 2, "a file that was touched is looked at again"


def test_putting_and_sweeping_at_once_loses_nothing(directory: Blobs) -> None:
    """An old orphan is put again while two sweeps want to delete it: whatever comes first, it is there afterwards."""
    name = directory.put(b"wanted").sha256
    with ThreadPoolExecutor(3) as pool:
        for _ in range(200):
            os.utime(directory.path(name), (0, 0))
            start = threading.Barrier(3)

            def at_once(action, start=start) -> None:  # type: ignore[no-untyped-def]
                start.wait(10)
                action()

            moment = time.time() - 60
            sweeps = [
                pool.submit(at_once, lambda moment=moment: directory.delete_before(name, moment)) for _ in range(2)
            ]
            put = pool.submit(at_once, lambda: directory.put(b"wanted"))
            for future in (*sweeps, put):
                future.result()
            assert directory.read(name) == b"wanted"


def test_a_blob_is_as_old_as_its_put_not_as_its_bytes(directory: Blobs) -> None:
    """A long upload is written first and adopted hours later: no sweep may take it for an orphan of then."""
    with directory.writing() as file:
        file.write_bytes(b"slow")
        os.utime(file, (0, 0))
        ref = directory.adopt(file)
    assert not directory.delete_before(ref.sha256, time.time() - 60)


def test_leftovers_of_killed_processes_are_tidied(blobs: Blobs) -> None:
    with blobs.writing() as old, blobs.writing() as young:
        os.utime(old, (0, 0))
        assert blobs.tidy(time.time() - LATER) == 1
        assert (old.exists(), young.exists()) == (False, True)


# --- in a bucket


def test_nothing_but_a_setting_decides(bucket: Bucket, tmp_path: Path) -> None:
    blobs = in_bucket(bucket, tmp_path)
    name = blobs.put(b"far").sha256
    (key,) = bucket.object_keys()
    assert key.startswith(f"some/prefix/{name[:2]}/{name[2:]}/")
    assert StoreSettings(blobs_url="s3://bucket").bucket_and_prefix == ("bucket", "")
    for wrong in ("http://bucket", "s3://", "s3:/bucket", "s3://bucket?x=1", "bucket"):
        with pytest.raises(ValidationError, match="s3://bucket"):
            StoreSettings(blobs_url=wrong)


def test_machines_share_a_bucket_and_fetch_once(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = in_bucket(bucket, tmp_path / "one"), in_bucket(bucket, tmp_path / "two")
    name = one.put(b"shared").sha256
    assert two.read(name) == b"shared"
    monkeypatch.setattr(two, "_fetch", lambda _: pytest.fail("it is in the cache"))
    assert two.file(name).read_bytes() == b"shared"


def test_what_comes_damaged_is_refused_and_a_good_copy_taken_instead(bucket: Bucket, tmp_path: Path) -> None:
    one, two = in_bucket(bucket, tmp_path / "one"), in_bucket(bucket, tmp_path / "two")
    name = one.put(b"precious").sha256
    (good,) = bucket.object_keys()
    bucket.client.put_object(Bucket=bucket.name, Key=good, Body=b"preciouS")
    with pytest.raises(BlobDamaged, match=name):
        two.read(name)
    assert files(two) == []
    one.put(b"precious")
    bucket.client.put_object(Bucket=bucket.name, Key=f"{good[:-1]}{'0' if good[-1] != '0' else '1'}", Body=b"worse")
    assert two.read(name) == b"precious"


def test_a_damaged_cache_is_fetched_anew(bucket: Bucket, tmp_path: Path) -> None:
    blobs = in_bucket(bucket, tmp_path)
    name = blobs.put(b"precious").sha256
    blobs.path(name).write_bytes(b"preciouS")
    assert blobs.read(name) == b"precious"
    assert blobs.path(name).read_bytes() == b"precious"


def test_the_cache_keeps_what_was_used_last(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = in_bucket(bucket, tmp_path, blobs_cache_bytes=2500)
    names = [blobs.put(bytes([i]) * 1000).sha256 for i in range(3)]
    assert len(files(blobs)) == 3, "what was used within a minute stays"
    monkeypatch.setattr(blobs_s3, "IN_USE_SECONDS", 0.0)
    blobs.file(names[0])
    names.append(blobs.put(b"x" * 1000).sha256)
    assert {name for name in names if blobs.path(name).exists()} == {names[0], names[3]}
    assert blobs.read(names[1]) == b"\x01" * 1000, "the bucket has them all"
    assert len(list(blobs.names())) == 4


def test_a_late_delete_never_hits_a_later_put(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep has found an orphan, and is held up before it deletes; meanwhile the same bytes are put again."""
    blobs, other = in_bucket(bucket, tmp_path / "one"), in_bucket(bucket, tmp_path / "two")
    name = blobs.put(b"wanted").sha256
    delete = blobs._delete

    def held_up(found) -> None:  # type: ignore[no-untyped-def]
        other.put(b"wanted")
        delete(found)

    monkeypatch.setattr(blobs, "_delete", held_up)
    blobs.delete_before(name, time.time() + LATER)
    assert in_bucket(bucket, tmp_path / "three").read(name) == b"wanted"
    blobs.delete(name)
    assert in_bucket(bucket, tmp_path / "four").read(name) == b"wanted", "nor does a plain delete"


def test_what_was_put_twice_and_uploads_that_broke_off_are_tidied(bucket: Bucket, tmp_path: Path) -> None:
    blobs = in_bucket(bucket, tmp_path)
    for data in (b"one", b"one", b"two", b"one"):
        blobs.put(data)
    bucket.client.put_object(Bucket=bucket.name, Key="some/prefix/README", Body=b"somebody's")
    assert blobs.tidy(time.time() - LATER) == 0
    # The server at hand dates every upload to 2010, so it cannot be shown that a young one is left alone.
    bucket.client.create_multipart_upload(Bucket=bucket.name, Key="some/prefix/ab/never-completed")
    assert blobs.tidy(time.time() + LATER) == 3
    assert len(list(blobs.names())) == 2
    assert len(bucket.object_keys()) == 3
    assert "Uploads" not in bucket.client.list_multipart_uploads(Bucket=bucket.name)


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_the_sweep_deletes_the_orphans_of_a_bucket(bucket: Bucket, tmp_path: Path, database: Database) -> None:
    blobs = in_bucket(bucket, tmp_path)
    kept = blobs.put(b"named by a row").sha256
    blobs.put(b"orphan")
    with database.write() as session:
        session.add(ForecastRow(id=new_id("forecast"), model_id="mdl_0", document={}, blob_sha256=kept))
    assert sweep_blobs(database, blobs) == 0, "they are young"
    database.settings.orphan_hours = -1.0  # as if an hour had passed: the clock is the bucket's
    assert sweep_blobs(database, blobs) == 1
    assert set(blobs.names()) == {kept}


def test_large_files_go_in_parts_and_come_back_whole(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = 5 << 20  # the smallest that the protocol knows
    small = blobs_s3.TransferConfig(multipart_threshold=part, multipart_chunksize=part)
    monkeypatch.setattr(blobs_s3, "_TRANSFER", small)
    blobs = in_bucket(bucket, tmp_path / "one")
    data = os.urandom(1 << 20) * 12
    name = blobs.put(data).sha256
    (key,) = bucket.object_keys()
    assert bucket.client.head_object(Bucket=bucket.name, Key=key)["ETag"].endswith('-3"'), "three parts"
    assert in_bucket(bucket, tmp_path / "two").read(name) == data


def test_a_storage_that_is_away_or_refuses_is_said_and_leaves_nothing(bucket: Bucket, tmp_path: Path) -> None:
    away = in_bucket(bucket, tmp_path, blobs_endpoint_url="http://127.0.0.1:9", blobs_region="us-east-1")
    strange = in_bucket(bucket, tmp_path, blobs_url="s3://no-such-bucket-here")
    for blobs, words in ((away, "does not answer"), (strange, "NoSuchBucket")):
        for act in (
            lambda blobs=blobs: blobs.put(b"x"),
            lambda blobs=blobs: blobs.read("0" * 64),
            lambda blobs=blobs: list(blobs.names()),
            lambda blobs=blobs: blobs.delete("0" * 64),
            blobs.ping,
        ):
            with pytest.raises(BlobsUnavailable, match=words):
                act()
    assert files(away) == []
    assert issubclass(BlobsUnavailable, OSError)


def test_probes_of_a_bucket_ask_it_once_in_a_while(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs, asked = in_bucket(bucket, tmp_path), []
    there = blobs._client.list_objects_v2
    monkeypatch.setattr(blobs._client, "list_objects_v2", lambda **which: asked.append(which) or there(**which))
    for _ in range(20):
        blobs.ping()
    assert [which["MaxKeys"] for which in asked] == [1]

    moment = time.monotonic()
    monkeypatch.setattr(blobs_s3.time, "monotonic", lambda: moment + blobs_s3.PING_SECONDS)
    monkeypatch.setattr(blobs, "_bucket", "no-such-bucket-here")
    for _ in range(3):
        with pytest.raises(BlobsUnavailable, match="NoSuchBucket"):
            blobs.ping()
    assert len(asked) == 2, "nor does everybody wait for a storage that is away"
    monkeypatch.setattr(blobs, "_bucket", bucket.name)
    monkeypatch.setattr(blobs_s3.time, "monotonic", lambda: moment + 2 * blobs_s3.PING_SECONDS)
    blobs.ping()

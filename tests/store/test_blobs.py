"""Content-addressed files: whole or not at all."""

from __future__ import annotations

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.blobs import BlobDamaged, Blobs


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs")


def files(blobs: Blobs) -> list[Path]:
    return [file for file in blobs.root.rglob("*") if file.is_file()]


@given(data=st.binary(max_size=100))
def test_what_is_put_is_read(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    blobs = Blobs(tmp_path_factory.getbasetemp() / "any")
    ref = blobs.put(data)
    assert (ref.sha256, ref.n_bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    assert blobs.read(ref.sha256) == data


def test_a_file_is_copied_or_adopted(blobs: Blobs, tmp_path: Path) -> None:
    (tmp_path / "upload").write_bytes(b"x" * 3_000_000)
    ref = blobs.put(tmp_path / "upload")
    assert (tmp_path / "upload").exists()
    with blobs.writing() as file:
        file.write_bytes(b"other")
        other = blobs.adopt(file)
        assert not file.exists()
    assert blobs.path(ref.sha256).stat().st_size == 3_000_000
    assert set(blobs.names()) == {ref.sha256, other.sha256}
    assert len(files(blobs)) == 2, "nothing temporary is left"


def test_equal_bytes_are_one_file(blobs: Blobs) -> None:
    assert blobs.put(b"same") == blobs.put(b"same")
    assert len(files(blobs)) == 1


def test_writing_that_breaks_leaves_nothing(blobs: Blobs) -> None:
    def break_off() -> None:
        with blobs.writing() as file:
            file.write_bytes(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        break_off()
    assert files(blobs) == []
    assert list(blobs.names()) == []


def test_damage_is_found(blobs: Blobs) -> None:
    ref = blobs.put(b"precious")
    blobs.path(ref.sha256).write_bytes(b"preciouS")
    with pytest.raises(BlobDamaged, match=ref.sha256):
        blobs.read(ref.sha256)


def test_delete_may_be_repeated(blobs: Blobs) -> None:
    ref = blobs.put(b"x")
    blobs.delete(ref.sha256)
    blobs.delete(ref.sha256)
    with pytest.raises(FileNotFoundError):
        blobs.read(ref.sha256)
    assert not blobs.delete_older(ref.sha256, 0)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 63 + "\n", "0" * 65])
def test_no_other_name_reaches_the_disk(blobs: Blobs, name: str) -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        blobs.path(name)


def test_putting_and_sweeping_at_once_loses_nothing(blobs: Blobs) -> None:
    """An old orphan is put again while two sweeps want to delete it: whatever comes first, it is there afterwards."""
    name = blobs.put(b"wanted").sha256
    with ThreadPoolExecutor(3) as pool:
        for _ in range(200):
            os.utime(blobs.path(name), (0, 0))
            start = threading.Barrier(3)

            def at_once(action, start=start) -> None:  # type: ignore[no-untyped-def]
                start.wait(10)
                action()

            sweeps = [pool.submit(at_once, lambda: blobs.delete_older(name, 60)) for _ in range(2)]
            put = pool.submit(at_once, lambda: blobs.put(b"wanted"))
            for future in (*sweeps, put):
                future.result()
            assert blobs.read(name) == b"wanted"

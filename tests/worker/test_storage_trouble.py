"""A job whose storage is full, away or damaged: it waits a little, is tried again, and says what was wrong."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from domain.jobs import ErrorCode
from dynamics.reporting import Interrupted, Reporter
from store.blobs import BlobDamaged, BlobMissing, BlobRef, Blobs, BlobsUnavailable
from worker import context
from worker.context import Context
from worker.failures import failure

FULL = OSError(errno.ENOSPC, "No space left on device")
AWAY = BlobsUnavailable("no answer from storage.internal")


class Troubled(Blobs):
    """Fails with these errors one after the other, and then works."""

    def __init__(self, root: Path, *errors: Exception) -> None:
        super().__init__(root)
        self.errors = list(errors)

    def put(self, data: bytes | Path) -> BlobRef:
        if self.errors:
            raise self.errors.pop(0)
        return super().put(data)


class Stopping(Reporter):
    def should_stop(self) -> bool:
        return True


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Context]:
    monkeypatch.setattr(context, "PAUSE_SECONDS", 0.01)

    def make(*errors: Exception, reporter: Reporter | None = None) -> Context:
        nothing: Any = None
        return Context(nothing, nothing, nothing, Troubled(tmp_path, *errors), reporter or Reporter())

    return make


def test_a_moment_without_storage_is_waited_for(make: Callable[..., Context]) -> None:
    made = make(FULL, AWAY, FULL)
    ref = made.keep(b"a result of hours")
    assert made.blobs.read(ref.sha256) == b"a result of hours"


def test_no_longer_than_its_patience_nor_when_the_job_is_to_stop(
    make: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Interrupted):
        make(FULL, reporter=Stopping()).keep(b"x")
    with pytest.raises(PermissionError):
        make(PermissionError(errno.EACCES, "denied")).keep(b"x")
    monkeypatch.setattr(context, "PATIENCE_SECONDS", 0.05)
    with pytest.raises(BlobsUnavailable):
        make(*[AWAY] * 1000).keep(b"x")


@pytest.mark.parametrize(
    ("error", "again", "words"),
    [
        (FULL, True, "disk of the service is full"),
        (AWAY, True, "did not answer"),
        (BlobDamaged("blob 00 is damaged"), False, "damaged or gone"),
        (BlobMissing("0" * 64), False, "damaged or gone"),
    ],
)
def test_what_becomes_of_the_job_is_said_and_secrets_stay_in_the_log(error: Exception, again: bool, words: str) -> None:
    found = failure(error)
    assert (found["code"], found["try_again"]) == (ErrorCode.INTERNAL, again)
    assert words in found["detail"]
    assert ("damaged_blob" in found) == (words == "damaged or gone")
    assert "storage.internal" not in found["detail"]
    assert str(error) in found["log"]

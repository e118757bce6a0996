"""The service's secret: made once, kept, and never shown."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import ValidationError

from store.secrets import NoSecret, service_secret
from store.settings import StoreSettings


def test_it_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    settings = StoreSettings(data_dir=tmp_path / "new")
    first = service_secret(settings)
    assert len(first) == 64
    assert service_secret(settings) == first
    assert stat.S_IMODE((settings.data_dir / "secret").stat().st_mode) == 0o600
    assert [file.name for file in settings.data_dir.iterdir()] == ["secret"]
    assert service_secret(StoreSettings(data_dir=tmp_path / "other")) != first


def test_processes_that_start_together_agree(tmp_path: Path) -> None:
    settings = StoreSettings(data_dir=tmp_path)
    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(lambda _: service_secret(settings), range(64)))) == 1


def test_the_setting_is_used_and_not_shown(tmp_path: Path) -> None:
    settings = StoreSettings(data_dir=tmp_path, secret_key="s3cret" * 6)
    assert service_secret(settings) == b"s3cret" * 6
    assert "s3cret" not in repr(settings) + str(settings) + settings.model_dump_json()
    assert not list(tmp_path.iterdir())


def test_a_short_setting_is_refused() -> None:
    with pytest.raises(ValidationError, match="at least 32 characters"):
        StoreSettings(secret_key="short")


@pytest.mark.parametrize("content", [b"", b"abc\n", b"0" * 64, b"g" * 64 + b"\n"])
def test_a_damaged_file_is_no_secret(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret").write_bytes(content)
    with pytest.raises(NoSecret, match="Restore it from a backup"):
        service_secret(StoreSettings(data_dir=tmp_path))


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NoSecret, match="file/data/secret"):
        service_secret(StoreSettings(data_dir=tmp_path / "file" / "data"))

"""A full disk, a storage that is away, a damaged file: a precise answer, and nothing half kept."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError
from stock import Stock

from api.app import create_app
from api.settings import ApiSettings
from store.blobs import Blobs, BlobsUnavailable
from store.database import Database, is_disk_full

SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
# A row is missing: a file of a known size is allocated for the filled series.
CSV = "time,x\n" + "\n".join(f"{i},{np.sin(i)}" for i in range(300) if i != 100)


def upload(client: TestClient) -> Any:
    params = {"time_unit": "s", "missing": "interpolate"}
    return client.post("/v1/series", params=params, content=CSV, headers={"Content-Type": "text/csv"})


def full(*_: object, **__: object) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def no_files(blobs: Blobs) -> bool:
    return not [path for path in blobs.root.rglob("*") if path.is_file()]


@SQLITE
@pytest.mark.parametrize("function", ["os.replace", "os.fsync", "os.posix_fallocate", "tempfile.mkstemp"])
def test_an_upload_to_a_full_disk_is_a_507_and_leaves_nothing(
    client: TestClient, blobs: Blobs, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    monkeypatch.setattr(function, full)
    answer = upload(client)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (507, "storage_full")
    assert "disk is full" in problem["detail"]
    assert "No space" not in answer.text
    assert no_files(blobs)
    assert client.get("/v1/series").json()["data"] == []
    monkeypatch.undo()
    assert upload(client).status_code == 201


@SQLITE
def test_a_storage_that_is_away_is_a_503_to_be_repeated(
    client: TestClient, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> Any:
        raise BlobsUnavailable("secret.internal refuses")

    monkeypatch.setattr(Blobs, "adopt", away)
    answer = upload(client)
    assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert "secret.internal" not in answer.text
    assert no_files(blobs)


@SQLITE
def test_readiness_tells_of_a_storage_that_is_away(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client.get("/readyz").json()["checks"]["blobs"]["ok"]

    def away(_: Blobs) -> None:
        raise BlobsUnavailable("secret.internal refuses")

    monkeypatch.setattr(Blobs, "ping", away)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["checks"]["blobs"]["ok"]) == (503, False)
    assert "storage of files does not answer" in answer.text
    assert "secret.internal" not in answer.text


@SQLITE
def test_damaged_and_lost_files_are_said(client: TestClient, stock: Stock, blobs: Blobs) -> None:
    artifact = client.get(f"/v1/models/{stock.model_id}").json()["artifacts"][0]
    for path in blobs.root.glob("[0-9a-f][0-9a-f]/*"):
        path.write_bytes(b"\x93NUMPY rubbish")
    asked: list[tuple[str, str, Any]] = [
        ("GET", artifact["href"], None),
        ("GET", f"/v1/series/{stock.series_id}/data", None),
        ("POST", f"/v1/models/{stock.model_id}/forecasts", {"horizon_steps": 3}),
    ]
    for damage in ("damaged", "gone"):
        for method, path, body in asked:
            answer = client.request(method, path, json=body)
            assert (answer.status_code, answer.json()["code"]) == (500, "blob_damaged"), (damage, path)
        for file in blobs.root.glob("[0-9a-f][0-9a-f]/*"):
            file.unlink()


@SQLITE
def test_an_artifact_is_checked_before_it_is_sent(client: TestClient, stock: Stock, blobs: Blobs) -> None:
    artifact = client.get(f"/v1/models/{stock.model_id}").json()["artifacts"][0]
    good = client.get(artifact["href"])
    assert good.status_code == 200
    path = blobs.path(artifact["sha256"])
    path.write_bytes(b"x" + path.read_bytes()[1:])
    assert client.get(artifact["href"]).json()["code"] == "blob_damaged"


@SQLITE
def test_a_database_without_room_says_so(
    settings: ApiSettings, database: Database, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object, **__: object) -> Any:
        raise OperationalError("INSERT", {}, Exception("database or disk is full"))

    monkeypatch.setattr("store.series.add", no_room)
    with TestClient(create_app(settings)) as client:
        assert upload(client).json()["code"] == "storage_full"

    class DiskFull(Exception):
        sqlstate = "53100"

    assert is_disk_full(OperationalError("INSERT", {}, DiskFull()))
    assert not is_disk_full(OperationalError("INSERT", {}, Exception("database is locked")))


@SQLITE
def test_other_operating_system_errors_are_bugs(settings: ApiSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied", "/secret/place")

    monkeypatch.setattr("store.series.list_page", denied)
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        answer = client.get("/v1/series")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "secret" not in answer.text


def test_memory_maps_find_their_room_before_they_are_written(tmp_path: Path) -> None:
    from api.series.storing import Scratch

    with Scratch(Blobs(tmp_path)) as scratch:
        values = scratch.allocate((1000, 3))
        assert os.stat(str(values.filename)).st_blocks * 512 >= values.nbytes, "no hole that a full disk would fill"

"""Uploads made to exhaust memory, disk or time, against a real API process: each is refused quickly, and costs little.

What is wrong with small files, and what must be said about it, is in `test_bad_uploads`.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from store import migrate
from store.database import Database
from store.settings import StoreSettings

ROOT = Path(__file__).parents[2]
MEBIBYTE = 1 << 20
MAX_VALUES = 1_000_000
LIMITS = {
    "ATTRACTOR_MAX_UPLOAD_BYTES": str(64 * MEBIBYTE),
    "ATTRACTOR_MAX_UPLOAD_ROWS": "1000000",
    "ATTRACTOR_MAX_UPLOAD_VALUES": str(MAX_VALUES),
}
MEMORY = 250 * MEBIBYTE  # what all bombs together may cost: most of it for JSON, whose 16 MiB become objects
CHILD_MEMORY = 900 * MEBIBYTE  # of the process that reads one Parquet file, and ends with it
SECONDS = 30.0  # each of them, on a busy machine


@dataclass
class Service:
    url: str
    process: subprocess.Popen[bytes]
    data_dir: Path
    child_peak: int = 0  # bytes, of any process that the API started
    disk_peak: int = 0
    watching: threading.Event = field(default_factory=threading.Event)

    def peak(self) -> int:
        """The most memory that the API process has had, in bytes."""
        return _peak(self.process.pid)

    def watch(self) -> None:
        while not self.watching.wait(0.02):
            self.child_peak = max([self.child_peak, *(_peak(pid) for pid in _children(self.process.pid))])
            self.disk_peak = max(self.disk_peak, sum(_size(p) for p in (self.data_dir / "blobs").rglob("*")))


def _peak(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def _children(pid: int) -> list[int]:
    """Of every thread: a process is the child of the thread that started it."""
    found: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, file.read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread has ended
    return found


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One process for all of them: it must survive each, and not grow with their number."""
    folder = tmp_path_factory.mktemp("service")
    database = Database(StoreSettings(data_dir=folder))
    migrate.upgrade(database)
    database.close()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "cli.main", "api", "--port", str(port)]
    process = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | LIMITS | {"ATTRACTOR_DATA_DIR": str(folder)}, start_new_session=True
    )
    running = Service(f"http://127.0.0.1:{port}", process, folder)
    try:
        deadline = time.monotonic() + 60
        while not _answers(running.url):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        watcher = threading.Thread(target=running.watch, daemon=True)
        watcher.start()
        yield running
        running.watching.set()
        watcher.join()
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def ending(done: threading.Event) -> Iterator[None]:
    try:
        yield
    finally:
        done.set()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def repeated(piece: bytes, n_bytes: int) -> Iterator[bytes]:
    block = piece * max(1, MEBIBYTE // len(piece))
    for _ in range(n_bytes // len(block)):
        yield block


def npy_header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def parquet(table: pa.Table, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", **options)
    return buffer.getvalue()


def one_value(value: Any, kind: pa.DataType, n_rows: int) -> pa.Array:
    """`value` in every row, stored once."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(n_rows, np.int32)), pa.array([value], kind))


def parquet_of_repeated_text() -> bytes:
    """A few kilobytes that are 400 MB of text when unfolded, row for row within the limits."""
    found = parquet(
        pa.table({"t": one_value("7" * 1000, pa.string(), 400_000), "x": one_value(1.0, pa.float64(), 400_000)})
    )
    assert len(found) < 100_000
    return found


def parquet_of_one_huge_page() -> bytes:
    """One page of 8 MB of zeros, in a few hundred bytes; more rows than are accepted."""
    found = parquet(
        pa.table({"x": np.zeros(1_000_001)}), use_dictionary=False, data_page_size=1 << 30, write_batch_size=1 << 30
    )
    assert len(found) < 10_000
    return found


def parquet_of_nested_lists() -> bytes:
    kind: pa.DataType = pa.float64()
    value: Any = 1.0
    for _ in range(60):
        kind, value = pa.list_(kind), [value]
    return parquet(pa.table({"x": pa.array([value], kind)}))


def zipped(n_bytes: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(n_bytes))
    return buffer.getvalue()


def parts(n: int) -> Iterator[bytes]:
    one = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    yield from repeated(one, n * len(one))


FORM = {"Content-Type": "multipart/form-data; boundary=b"}
TEXT = {"Content-Type": "text/csv"}
BINARY = {"Content-Type": "application/octet-stream"}
JSON = {"Content-Type": "application/json"}
SHAPE = "{'descr': '<f8', 'fortran_order': False, 'shape': %s, }\n"
Body = bytes | Iterator[bytes]
BOMBS: dict[str, tuple[dict[str, str], Callable[[], Body], set[int]]] = {
    # NPY: what the header says is not believed.
    "npy that lies about its size": (BINARY, lambda: npy_header(SHAPE % "(1000000000000, 3)") + bytes(4096), {422}),
    "npy whose size overflows": (BINARY, lambda: npy_header(SHAPE % f"({2**62}, {2**62})") + bytes(4096), {422}),
    "npy of a million columns": (BINARY, lambda: npy_header(SHAPE % "(2, 1000000)") + bytes(16_000_000), {413, 422}),
    "npy of objects": (BINARY, lambda: npy_header(SHAPE.replace("<f8", "|O") % "(2, 2)") + pickle.dumps([1]), {422}),
    "npy of subarrays": (
        BINARY,
        lambda: npy_header(SHAPE.replace("'<f8'", "('<f8', (100000, 100000))") % "(2,)") + bytes(4096),
        {422},
    ),
    "npy with deep brackets in its header": (BINARY, lambda: npy_header("(" * 60_000), {422}),
    # Text.
    "one line of 60 MB": (TEXT, lambda: repeated(b"1", 60 * MEBIBYTE), {422}),
    "a million columns": (TEXT, lambda: b"1," * 999_999 + b"1\n" + b"2," * 999_999 + b"2\n", {422}),
    "a quote that is never closed": (
        TEXT,
        lambda: iter([b'a,b\n1,"', *repeated(b"1,2\n", 100 * MEBIBYTE)]),
        {413, 422},
    ),
    "only NUL": (TEXT, lambda: repeated(b"\0", 30 * MEBIBYTE), {415}),
    "NUL in every row": (TEXT, lambda: iter([b"a,b\n", *repeated(b"1,\0\n", 20 * MEBIBYTE)]), {413, 415, 422}),
    "only line breaks": (TEXT, lambda: repeated(b"\n", 30 * MEBIBYTE), {422}),
    "only commas": (TEXT, lambda: repeated(b",", 30 * MEBIBYTE), {422}),
    "rows without end": (TEXT, lambda: repeated(b"1,2\n", 60 * MEBIBYTE), {413}),
    "longer than its limit": (TEXT, lambda: repeated(b"1,2\n", 100 * MEBIBYTE), {413}),
    # JSON.
    "deep brackets": (JSON, lambda: b"[" * (15 * MEBIBYTE), {422}),
    "deep objects": (JSON, lambda: b'{"values":' * MEBIBYTE, {422}),
    "a number of ten million digits": (JSON, lambda: b'{"values": [1, ' + b"9" * 10_000_000 + b"]}", {422}),
    "an exponent of a million digits": (JSON, lambda: b'{"values": [1, 1e' + b"9" * 1_000_000 + b"]}", {422}),
    "200,000 keys": (
        JSON,
        lambda: json.dumps({"values": {f"c{i}": [1, 2] for i in range(200_000)}}).encode(),
        {413, 422},
    ),
    # Parquet: unfolds in a process of its own, which may neither eat the memory nor the disk.
    "parquet of repeated text": (BINARY, parquet_of_repeated_text, {422}),
    "parquet of one huge page": (BINARY, parquet_of_one_huge_page, {413}),
    "parquet of nested lists": (BINARY, parquet_of_nested_lists, {422}),
    "parquet whose footer lies": (
        BINARY,
        lambda: b"PAR1" + bytes(1000) + struct.pack("<I", 2**31 - 1) + b"PAR1",
        {422},
    ),
    # What is never opened.
    "a zip bomb": (BINARY, lambda: zipped(50_000_000), {415}),
    "a pickle": (BINARY, lambda: pickle.dumps({"a": [1.0] * 1000}), {415}),
    "weights of torch": (BINARY, lambda: zipped(1000).replace(b"x.npy", b"a.pkl"), {415}),
    "compressed": (TEXT | {"Content-Encoding": "gzip"}, lambda: b"\x1f\x8b\x08" + bytes(1000), {415}),
    # Forms.
    "100,000 parts": (FORM, lambda: parts(100_000), {400}),
    "a part with a header of 20 MB": (
        FORM,
        lambda: iter([b"--b\r\nContent-Disposition: form-data; name=", *repeated(b"a", 20 * MEBIBYTE)]),
        {400},
    ),
    "a part with a million headers": (
        FORM,
        lambda: iter([b"--b\r\n", *repeated(b"A: 1\r\n", 6 * MEBIBYTE)]),
        {400},
    ),
    "a field of 20 MB": (
        FORM,
        lambda: iter([b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\n', *repeated(b"a", 20 * MEBIBYTE)]),
        {413},
    ),
    "a boundary that never ends": (
        FORM,
        lambda: iter(
            [
                b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n',
                *repeated(b"\r\n--", 30 * MEBIBYTE),
            ]
        ),
        {400, 413},
    ),
}


@pytest.mark.parametrize(("headers", "body", "statuses"), BOMBS.values(), ids=BOMBS.keys())
def test_it_is_refused(service: Service, headers: dict[str, str], body: Callable[[], Body], statuses: set[int]) -> None:
    content = body()
    begun = time.monotonic()
    with httpx.Client(base_url=service.url, timeout=120.0, trust_env=False) as client:
        try:
            answer = client.post("/v1/series", content=content, headers=headers)
        except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
            # The service answers, and hangs up on who goes on sending: the answer may be lost on its way.
            assert not isinstance(content, bytes)
            answer = None
        seconds = time.monotonic() - begun
        if answer is not None:
            assert answer.status_code in statuses, answer.text[:500]
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert len(answer.content) < 20_000
        assert client.get("/livez").status_code == 200
        assert client.get("/v1/series").json()["data"] == []
    assert seconds < SECONDS
    assert not [path for path in (service.data_dir / "blobs").rglob("*") if path.is_file()]


def test_other_requests_are_answered_meanwhile(service: Service) -> None:
    """A long upload does not stop the event loop."""
    slowest = 0.0
    done = threading.Event()

    def send() -> None:
        with ending(done), httpx.Client(base_url=service.url, timeout=60.0, trust_env=False) as client:
            for name in ("one line of 60 MB", "deep brackets", "parquet of repeated text"):
                headers, body, _ = BOMBS[name]
                try:
                    client.post("/v1/series", content=body(), headers=headers)
                except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
                    continue

    sender = threading.Thread(target=send)
    sender.start()
    with httpx.Client(base_url=service.url, timeout=60.0, trust_env=False) as client:
        while not done.is_set():
            begun = time.monotonic()
            assert client.get("/livez").status_code == 200
            slowest = max(slowest, time.monotonic() - begun)
            time.sleep(0.01)
    sender.join()
    assert slowest < 10.0  # on a busy machine; one that waits for the upload would take much longer


def test_all_of_them_together_have_cost_little(service: Service) -> None:
    """Of the process's memory, of that of its children, and of the disk, where what was received lies for a moment."""
    headers, body, _ = BOMBS["parquet of repeated text"]
    httpx.post(f"{service.url}/v1/series", content=body(), headers=headers, timeout=60.0, trust_env=False)
    fresh = Service(
        "", subprocess.Popen([sys.executable, "-c", "import api.app, time; time.sleep(60)"], cwd=ROOT), Path()
    )
    try:
        time.sleep(0.2)
        deadline = time.monotonic() + 60
        idle = 0
        while fresh.peak() > idle or idle < 50 * MEBIBYTE:  # until it has imported all
            idle = fresh.peak()
            assert time.monotonic() < deadline
            time.sleep(1.0)
    finally:
        fresh.process.kill()
        fresh.process.wait()
    assert service.peak() - idle < MEMORY
    assert 0 < service.child_peak < CHILD_MEMORY
    received = int(LIMITS["ATTRACTOR_MAX_UPLOAD_BYTES"])
    assert service.disk_peak < received + 16 * MAX_VALUES + 80 * MEBIBYTE

"""Requests per second and latency of a real server process: `python benchmarks/load.py [--seconds 5]`.

The client is a process of its own: one event loop that keeps every connection busy with the next request as soon as
the last is answered. On a machine with few cores client and server compete, so the rates are lower bounds; /livez,
which touches no database, shows what both together cost. ATTRACTOR_DATABASE_URL chooses PostgreSQL instead of SQLite.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
from upload import machine, server

from domain.documents import MODEL_WEIGHTS
from domain.ids import new_id
from domain.results import LyapunovSpectrum
from models import ClippedShPLRNN, Size, TrainedModel
from store.blobs import Blobs
from store.database import Database
from store.settings import StoreSettings
from store.tables import ArtifactRow, ModelRow

WARM_UP_SECONDS = 0.5


@dataclass(frozen=True)
class Load:
    """One request, sent again and again."""

    name: str
    method: str
    path: str
    status: int
    body: dict[str, object] | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def encoded(self, host: str) -> bytes:
        body = json.dumps(self.body).encode() if self.body is not None else b""
        headers = [("Host", host), *self.headers]
        if body:
            headers += [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        head = "".join(f"{name}: {value}\r\n" for name, value in headers)
        return f"{self.method} {self.path} HTTP/1.1\r\n{head}\r\n".encode() + body


async def _connection(host: str, port: int, load: Load, stop_at: float) -> list[tuple[float, float]]:
    """(start, seconds) of every request of one connection until `stop_at`; any other status ends the measurement."""
    reader, writer = await asyncio.open_connection(host, port)
    request, expected, taken = load.encoded(f"{host}:{port}"), f" {load.status} ".encode(), []
    while (start := time.perf_counter()) < stop_at:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(line[16:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: ")), 0
        )
        body = await reader.readexactly(length)
        taken.append((start, time.perf_counter() - start))
        if expected not in head[:16]:
            raise RuntimeError(f"{load.name}: {head.decode()}{body.decode()}")
    writer.close()
    return taken


def run(base: str, load: Load, connections: int, seconds: float) -> dict[str, float | int | str]:
    """Called in the client's process."""
    address = urlsplit(base)

    async def all_connections() -> list[list[tuple[float, float]]]:
        stop_at = time.perf_counter() + WARM_UP_SECONDS + seconds
        each = (_connection(str(address.hostname), int(address.port or 80), load, stop_at) for _ in range(connections))
        return await asyncio.gather(*each)

    begin = time.perf_counter() + WARM_UP_SECONDS
    taken = np.array([t for part in asyncio.run(all_connections()) for start, t in part if start >= begin]) * 1000
    return {
        "request": load.name,
        "connections": connections,
        "requests": len(taken),
        "requests_per_second": round(len(taken) / seconds, 1),
        "median_ms": round(float(np.median(taken)), 2),
        "p99_ms": round(float(np.quantile(taken, 0.99)), 2),
    }


def store_model(settings: StoreSettings, latent_dim: int, hidden_dim: int) -> str:
    """A model of the size that Lorenz-63 gets, with the weights it starts training from: what it costs is what counts."""
    rng = np.random.default_rng(0)
    trained = TrainedModel(
        architecture="clipped-shplrnn",
        params={k: v.astype(np.float32) for k, v in ClippedShPLRNN.init(rng, Size(latent_dim, hidden_dim)).items()},
        observation={},
        channels=[f"x{i}" for i in range(latent_dim)],
        mean=np.zeros(latent_dim),
        std=np.ones(latent_dim),
        lags=[0],
        dt=0.01,
        time_unit="s",
        residual_std=np.full(latent_dim, 1e-2),
    )
    blob = Blobs(settings.blobs_dir).put(trained.to_safetensors())
    model_id = new_id("model")
    spectrum = LyapunovSpectrum(exponents=[0.9, 0.0, -14.5], unit="1/s")
    row = ModelRow(id=model_id, document={"report": {"lyapunov_spectrum": spectrum.model_dump(mode="json")}})
    weights = ArtifactRow(
        model_id=model_id,
        name=MODEL_WEIGHTS,
        media_type="application/octet-stream",
        sha256=blob.sha256,
        n_bytes=blob.n_bytes,
    )
    database = Database(settings)
    with database.write() as session:
        session.add(row)
        session.flush()
        session.add(weights)
    database.close()
    return model_id


def make_job(base: str) -> str:
    """Path of a job that waits for a worker that never comes."""
    rows = np.random.default_rng(0).normal(size=(1000, 3)).tolist()
    series = httpx.post(f"{base}/v1/series", json={"values": rows, "dt": 0.01, "time_unit": "s"}).raise_for_status()
    job = {"kind": "lyapunov", "series_id": series.json()["id"]}
    return str(httpx.post(f"{base}/v1/jobs", json=job).raise_for_status().headers["location"])


def loads(job: str, model_id: str) -> list[tuple[Load, int]]:
    """What is measured, and at how many connections."""
    get_job = Load("GET job", "GET", job, 200)
    context = {"values": [[1.0, 1.0, 1.0]]}

    def forecast(steps: int, samples: int) -> Load:
        body = {"horizon_steps": steps, "samples": samples, "context": context}
        return Load(
            f"POST forecast, {steps} steps, {samples} members", "POST", f"/v1/models/{model_id}/forecasts", 201, body
        )

    return [
        (Load("GET /livez", "GET", "/livez", 200), 16),
        (get_job, 1),
        (get_job, 16),
        (Load("GET job, unchanged", "GET", job, 304, headers=(("If-None-Match", '"1"'),)), 16),
        (forecast(50, 100), 1),
        (forecast(50, 100), 16),
        (forecast(500, 100), 1),
        (forecast(500, 1), 1),
        (forecast(500, 100), 16),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory(prefix="attractor-bench-") as folder, server(Path(folder)) as (_, base):
        settings = StoreSettings(data_dir=Path(folder))
        model_id, job = store_model(settings, 3, 50), make_job(base)
        database = settings.database_url.split(":")[0].split("+")[0]
        print(f"{machine()}, {database}\n{'request':<40}{'connections':>12}{'req/s':>10}{'median ms':>11}{'p99 ms':>9}")
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as client:
            for load, connections in loads(job, model_id):
                found = client.submit(run, base, load, connections, arguments.seconds).result()
                results.append(found)
                figures = f"{found['requests_per_second']:>10}{found['median_ms']:>11}{found['p99_ms']:>9}"
                print(f"{load.name:<40}{connections:>12}{figures}", flush=True)
    report = {"machine": machine(), "database": database, "seconds": arguments.seconds, "loads": results}
    arguments.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""A 500-step forecast from another program: `python benchmarks/latency.py [--requests 300]`.

The other program is this process with the Python client; the service is a process of its own on the same machine, so both
compete for its cores; "cpu ms" is what the service itself computed for one request. Warm: the model was used before. Cold:
its first forecast since the service started, a new model for each request. Every forecast is stored before it is answered.
The model is a clipped shallow PLRNN as Lorenz-63 gets one (3 units, 100 hidden ones, float32) with calibrated noise, so that
every member is kicked at every step.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from upload import machine, server

from attractor_client import Client, LocalModel
from domain.documents import MODEL_WEIGHTS
from domain.ids import new_id
from domain.results import LyapunovSpectrum
from models import ClippedShPLRNN, Size, TrainedModel
from store.blobs import Blobs
from store.database import Database
from store.settings import StoreSettings
from store.tables import ArtifactRow, ModelRow

STEPS, CHANNELS, HIDDEN = 500, 3, 100
CONTEXT = np.ones((1, CHANNELS))
GOAL_MS = 10.0


def trained(seed: int) -> TrainedModel:
    params = ClippedShPLRNN.init(np.random.default_rng(seed), Size(CHANNELS, HIDDEN))
    return TrainedModel(
        architecture="clipped-shplrnn",
        params={k: v.astype(np.float32) for k, v in params.items()},
        observation={},
        channels=["x", "y", "z"],
        mean=np.zeros(CHANNELS),
        std=np.ones(CHANNELS),
        lags=[0],
        dt=0.01,
        time_unit="s",
        residual_std=np.full(CHANNELS, 1e-2),
        noise_std=np.full(CHANNELS, 5e-3),
        minimum=np.full(CHANNELS, -2.0),
        maximum=np.full(CHANNELS, 2.0),
    )


def store_model(settings: StoreSettings, seed: int = 0) -> str:
    """A model with random weights: what it costs is what counts."""
    blob, model_id = Blobs(settings.blobs_dir).put(trained(seed).to_safetensors()), new_id("model")
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


def measure(name: str, calls: list[Callable[[], Any]], service: psutil.Process) -> dict[str, Any]:
    taken, before = [], sum(service.cpu_times()[:2])
    for call in calls:
        start = time.perf_counter()
        call()
        taken.append(1000 * (time.perf_counter() - start))
    found = {
        "request": name,
        "requests": len(taken),
        "median_ms": round(float(np.median(taken)), 2),
        "p99_ms": round(float(np.quantile(taken, 0.99)), 2),
        "min_ms": round(min(taken), 2),
        "service_cpu_ms": round(1000 * (sum(service.cpu_times()[:2]) - before) / len(taken), 2),
    }
    print(f"{name:<46}" + "".join(f"{value:>10}" for value in list(found.values())[1:]), flush=True)
    return found


def run(client: Client, settings: StoreSettings, requests: int, service: psutil.Process) -> list[dict[str, Any]]:
    def forecast(model_id: str, samples: int = 100) -> Callable[[], Any]:
        return lambda: client.forecast(model_id, context=CONTEXT, horizon_steps=STEPS, samples=samples)

    warm = store_model(settings)
    first = measure("the first request of the process, a forecast", [forecast(warm)], service)
    for _ in range(20):
        forecast(warm)()
    cold = [store_model(settings, seed) for seed in range(1, 1 + max(10, requests // 5))]
    local = LocalModel.from_bytes(trained(0).to_safetensors())
    calls = {
        "a list of no jobs": [lambda: list(client.jobs())] * requests,
        "forecast, 100 members, warm": [forecast(warm)] * requests,
        "forecast, 100 members, cold": [forecast(model_id) for model_id in cold],
        "forecast, 1 member, warm": [forecast(warm, 1)] * requests,
        "forecast in this process, 100 members": [lambda: local.forecast(CONTEXT, horizon_steps=STEPS)]
        * (requests // 3),
    }
    return [first, *(measure(name, list(each), service) for name, each in calls.items())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="attractor-bench-") as folder, server(Path(folder)) as (pid, base):
        settings = StoreSettings(data_dir=Path(folder))
        database = settings.database_url.split(":")[0].split("+")[0]
        columns = "".join(f"{name:>10}" for name in ("requests", "median ms", "p99 ms", "min ms", "cpu ms"))
        print(f"{machine()}, {database}\n{f'{STEPS} steps':<46}{columns}")
        with Client(base) as client:
            results = run(client, settings, arguments.requests, psutil.Process(pid))
    report = {"machine": machine(), "database": database, "goal_warm_median_ms": GOAL_MS, "latencies": results}
    arguments.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()

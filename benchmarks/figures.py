"""Milliseconds and bytes of every figure, over HTTP: `python benchmarks/figures.py [--repeats 5]`.

A service of its own analyses and reconstructs Lorenz-63 with 5 % noise (10,000 rows), forecasts and evaluates; then each
figure is asked for as Plotly JSON, PNG (scale 2) and SVG. The first answer of each kind, which imports what draws, is left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from upload import machine

from attractor_client import Client
from cli.demo.lorenz import as_csv, observed
from cli.demo.service import running_service

FORMATS = ("plotly", "png", "svg")


def results(client: Client, folder: Path) -> list[str]:
    """Paths of an analysis, a model, a forecast and an evaluation."""
    path = folder / "lorenz63.csv"
    path.write_bytes(as_csv(observed()))
    series = client.upload(path, dt=0.01, time_unit="s")
    model = client.reconstruct(series, train={"budget_seconds": 10}).wait()
    start = model.raw["training"]["test_steps"][0]
    forecast = client.forecast(model, start_index=start, horizon_lyapunov_times=4)
    evaluation = client.evaluate(model, series).wait()
    return [
        f"/v1/analyses/{model.analysis_id}",
        f"/v1/models/{model.id}",
        f"/v1/forecasts/{forecast.id}",
        f"/v1/evaluations/{evaluation.id}",
    ]


def measure(http: httpx.Client, href: str, repeats: int) -> dict[str, Any]:
    """Median milliseconds and bytes of one figure in every format."""
    found: dict[str, Any] = {}
    for kind in FORMATS:
        taken = []
        for _ in range(repeats):
            began = time.perf_counter()
            answer = http.get(href, params={"format": kind}).raise_for_status()
            taken.append(1000 * (time.perf_counter() - began))
        found |= {f"{kind}_ms": round(statistics.median(taken), 1), f"{kind}_bytes": len(answer.content)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="of each request")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="attractor-bench-") as folder:
        data, log = Path(folder) / "data", Path(folder) / "service.log"
        with (
            running_service(data, log) as service,
            httpx.Client(base_url=service.url, timeout=60, trust_env=False) as http,
        ):
            paths = results(Client(service.url), Path(folder))
            measure(http, f"{paths[1]}/figures/attractor", 1)
            measure(http, f"{paths[1]}/figures/prediction-error", 1)
            print(f"{machine()}\n{'figure':<34}{'Plotly ms':>10}{'PNG ms':>9}{'SVG ms':>9}{'kB':>7}{'kB':>7}{'kB':>7}")
            for path in paths:
                for figure in http.get(f"{path}/figures").raise_for_status().json()["data"]:
                    name = f"{path.split('/')[2]} {figure['name']}"
                    found = measure(http, figure["href"], arguments.repeats)
                    rows.append({"figure": name} | found)
                    times = "".join(f"{found[f'{k}_ms']:>{w}}" for k, w in zip(FORMATS, (10, 9, 9), strict=True))
                    print(
                        f"{name:<34}{times}" + "".join(f"{found[f'{k}_bytes'] / 1000:>7.0f}" for k in FORMATS),
                        flush=True,
                    )
    medians = {f"{kind}_ms": statistics.median(row[f"{kind}_ms"] for row in rows) for kind in FORMATS}
    report = {"machine": machine(), "repeats": arguments.repeats, "median_over_figures": medians, "figures": rows}
    arguments.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""How good a reconstruction is as a function of the interval tau between forcings: best near the predictability time.

    python -m benchmarks.sparse_forcing --data FOLDER [--runs 5] [--updates 8000] [--output ...json] [--picture ...svg]

Mikhaeil, Monfared, Durstewitz 2022: forced too often, a network never learns how errors grow; forced too seldom, gradients
explode; between them lies tau = ln 2 / lambda_max. The data are `lorenz63_rho38.npy` of the published repository (lambda_max 1.105
per time unit, dt 0.01). Every (architecture, tau) is trained from several seeds by the compiled engine, nothing is selected, and each
model's free runs are compared with the training series in the published variant of d_stsp (binned-10-2s).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from domain.specs import TrainSpec
from dynamics.kernels import free_run
from dynamics.measures.d_stsp import d_stsp_binned_2s
from dynamics.training.data import prepare
from dynamics.training.engine import CompiledEngine
from dynamics.training.parameters import restore
from dynamics.training.schedule import forcing_schedule, learning_rates
from dynamics.training.settings import resolve
from dynamics.training.split import split
from models import TrainedModel

HERE = Path(__file__)
LAMBDA_MAX, DT = 1.105, 0.01
PREDICTABILITY_STEPS = math.log(2) / (LAMBDA_MAX * DT)
INTERVALS = (5, 10, 20, 30, 46, 63, 90, 130, 200)
ARCHITECTURES = {"lstm": 60, "plrnn": 30}  # latent units; 30 of the LSTM's are hidden, 30 cells
PUBLISHED = {  # Mikhaeil et al. 2022, LSTM (architecture of the same size)
    "lstm": {5: 4.36, 30: 0.062, 50: 0.19, 70: 1.34, 100: 9.3, 200: 12.1},
    "plrnn": {30: 0.893},
}
STARTS, RUN_STEPS, DROPPED = 8, 12_500, 500
LOST = 20.0  # where runs without a value are drawn: an empty histogram scores about 16
CHANNELS = ["x", "y", "z"]


def problem(series: np.ndarray, architecture: str, interval: int) -> CompiledEngine:
    spec = TrainSpec.model_validate(
        {
            "architecture": architecture,
            "latent_dim": ARCHITECTURES[architecture],
            "observation": {"kind": "affine"},
            "forcing": {"kind": "stf", "interval_steps": interval},
            "sequence_length": 200,
            "optimizer": "adam",
            "regularization": {"smoothing": "off"},
            "test_fraction": 0.0,
        }
    )
    parts = split([(0, series)], spec)
    settings = resolve(spec, parts, series.shape[1], DT, None)
    return CompiledEngine(settings, prepare(parts, settings, CHANNELS))


def run(engine: CompiledEngine, series: np.ndarray, seed: int, updates: int, peak: float) -> dict:
    """Train one model and compare its free runs with the series."""
    began, settings = time.process_time(), engine.settings
    learner = engine.learner(seed)
    rates = learning_rates("one-cycle", peak, 1e-6, 0, updates, updates)
    alphas, intervals = forcing_schedule(settings.forcing, 0, updates, updates)
    done, losses = engine.advance(learner, engine.workspace(learner), 0, rates, alphas, intervals)
    seconds = time.process_time() - began
    measure = d_stsp_binned_2s(series, generated(engine, learner.theta, series)) if done == updates else None
    return {
        "seed": seed,
        "d_stsp": None if measure is None else measure.value,
        "updates": done,
        "final_loss": float(np.mean(losses[-100:])) if done == updates else None,
        "training_cpu_seconds": round(seconds, 2),
    }


def generated(engine: CompiledEngine, theta: np.ndarray, series: np.ndarray) -> np.ndarray:
    """Free runs from evenly spaced rows of the series, end to end, own units; what diverges is left as it is."""
    settings, data = engine.settings, engine.data
    found = restore(settings, theta, data.n_observed)
    model = TrainedModel(
        settings.architecture, found.map, found.observation, CHANNELS, data.mean, data.std, settings.lags, DT, "",
        residual_std=np.zeros(data.n_observed),
    ).as_float64()  # fmt: skip
    starts = model.embed(series)[np.linspace(0, len(series) - 1, STARTS).astype(int)]
    with np.errstate(all="ignore"):
        states = free_run(model, model.encode(starts), DROPPED + RUN_STEPS)[DROPPED:]
        observed = model.to_units(model.observe(states)).swapaxes(0, 1).reshape(-1, series.shape[1])
    return np.where(np.isfinite(observed), observed, 1e30)  # outside of every bin


def draw(rows: list[dict], path: Path) -> None:
    """Median, best and worst of the runs; a run that diverged, or left the data for good, is drawn at the top."""
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots()
    for architecture, color in zip(ARCHITECTURES, ("#0b66c3", "#d1540a"), strict=True):
        mine = [r for r in rows if r["architecture"] == architecture]
        tau = [r["interval_steps"] for r in mine]
        best, median, worst = ([LOST if r[k] is None else r[k] for r in mine] for k in ("best", "median", "worst"))
        axes.plot(tau, median, "o-", color=color, label=f"{architecture}, median of {len(mine[0]['runs'])}")
        axes.fill_between(tau, best, worst, color=color, alpha=0.15, lw=0)
        published = PUBLISHED[architecture]
        axes.plot(list(published), list(published.values()), "x", color=color, label=f"{architecture}, published best")
    axes.axvline(PREDICTABILITY_STEPS, color="#17212b", ls="--", lw=1)
    axes.annotate(" ln 2 / (λ dt)", (PREDICTABILITY_STEPS, 0.02), xycoords=("data", "axes fraction"))
    axes.set(xscale="log", yscale="log", xlabel="interval between forcings τ (steps)", ylabel="d_stsp (binned-10-2s)")
    axes.set_xticks(INTERVALS, [str(t) for t in INTERVALS], minor=False)
    axes.minorticks_off()
    axes.set_title("Lorenz-63, ρ = 38: sparse forcing works best near the predictability time", fontsize=11)
    axes.legend(frameon=False, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("ATTRACTOR_BENCHMARK_DATA"), help="folder of lorenz63_rho38.npy"
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--updates", type=int, default=8_000)
    parser.add_argument("--peak", type=float, default=5e-3, help="peak of the one-cycle learning rate")
    parser.add_argument("--architectures", nargs="+", default=list(ARCHITECTURES))
    parser.add_argument("--intervals", nargs="+", type=int, default=list(INTERVALS))
    parser.add_argument("--output", type=Path, default=HERE.with_suffix(".json"))
    parser.add_argument("--picture", type=Path, default=HERE.parents[1] / "docs" / "images" / "sparse_forcing.svg")
    arguments = parser.parse_args()
    if arguments.data is None or not (file := Path(arguments.data) / "lorenz63_rho38.npy").exists():
        print("Skipped: lorenz63_rho38.npy is not there. Name its folder by --data or ATTRACTOR_BENCHMARK_DATA.")
        return
    series = np.load(file)
    rows = []
    for architecture in arguments.architectures:
        for interval in arguments.intervals:
            engine = problem(series, architecture, interval)
            runs = [run(engine, series, seed, arguments.updates, arguments.peak) for seed in range(arguments.runs)]
            values = sorted(math.inf if r["d_stsp"] is None else r["d_stsp"] for r in runs)
            shown = [None if math.isinf(v) else v for v in (values[0], values[len(values) // 2], values[-1])]
            rows.append(
                {"architecture": architecture, "interval_steps": interval, "best": shown[0], "median": shown[1],
                 "worst": shown[2], "runs": runs}
            )  # fmt: skip
            print(
                f"{architecture:6s} tau {interval:4d}  d_stsp {shown}  {runs[0]['training_cpu_seconds']} s", flush=True
            )
    settings = {"updates": arguments.updates, "peak_rate": arguments.peak, "lambda_max": LAMBDA_MAX, "dt": DT}
    document = settings | {"predictability_steps": PREDICTABILITY_STEPS, "rows": rows, "published": PUBLISHED}
    arguments.output.write_text(json.dumps(document, indent=2) + "\n")
    if set(arguments.architectures) == set(ARCHITECTURES):
        draw(rows, arguments.picture)


if __name__ == "__main__":
    main()

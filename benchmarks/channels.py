"""Lorenz-63 seen through counts and ordered classes: generalised linear read-outs against counts taken as numbers.

    python -m benchmarks.channels [--updates 10000] [--seeds 2] [--cases beside partial counts] [--output benchmarks/channels.json]

Known log rates w.z + b and thresholds, z the standardised state. `beside`: three continuous channels with 5 % noise, one of spikes and one
ordinal; `partial`: x and z, and six of spikes; `counts`: thirty of spikes alone. Both treatments get the same rows, map, latent units,
observation, forcing, updates and seeds. What is measured and how: docs/science/channels.md. Seconds are those of the process.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy import stats

from domain.specs import EvaluateSpec, TrainSpec
from dynamics.evaluation import evaluate
from dynamics.kernels import free_run
from dynamics.measures import d_stsp_binned
from dynamics.reporting import Reporter
from dynamics.samples import SAMPLES, trajectory
from dynamics.training import train
from dynamics.training.data import prepare
from dynamics.training.engine import CompiledEngine
from dynamics.training.run import read_out
from dynamics.training.settings import resolve
from dynamics.training.split import split
from models.readouts import POISSON
from models.trained import TrainedModel

ROWS, TEST, DT = 10_000, 2_000, 0.01
HORIZONS = (1, 10, 30)
RUNS, RUN_STEPS, TRANSIENT = 5, 20_000, 2_000
SHARED: dict[str, Any] = {
    "observation": {"kind": "affine"}, "latent_dim": 3, "hidden_dim": 100, "sequence_length": 100, "test_fraction": TEST / ROWS,
    "forcing": {"kind": "gtf", "alpha": 0.15}, "budget_seconds": 36_000.0,
}  # fmt: skip


def observations(case: str, state: np.ndarray) -> tuple[np.ndarray, list[str], dict[str, str]]:
    """Values, names and distributions of the channels that show these states (T, 3)."""
    rng = np.random.default_rng(7)
    z = (state - state.mean(axis=0)) / state.std(axis=0)
    noisy = z + 0.05 * rng.standard_normal(z.shape)
    kept = {"beside": [0, 1, 2], "partial": [0, 2], "counts": []}[case]
    columns, names, kinds = [noisy[:, i] for i in kept], ["xyz"[i] for i in kept], {}
    directions = np.random.default_rng(1).standard_normal((30, 3)) * 0.7
    if case == "beside":
        directions = np.array([[0.3, 0.3, 0.5]])
    for k, w in enumerate(directions[: {"beside": 1, "partial": 6, "counts": 30}[case]]):
        columns.append(rng.poisson(np.exp(z @ w + (1.0 if case == "counts" else 0.5))))
        names.append(f"spikes{k}")
        kinds[names[-1]] = "poisson"
    if case == "beside":
        columns.append(np.searchsorted([-2.0, 0.0, 2.0], z @ [0.0, 1.5, 1.0] + rng.logistic(size=len(z))))
        names.append("stage")
        kinds["stage"] = "ordinal"
    return np.stack(columns, axis=1).astype(float), names, kinds


def spec_of(kinds: dict[str, str], updates: int, seeds: int) -> TrainSpec:
    return TrainSpec.model_validate(SHARED | {"channel_distributions": kinds, "updates": updates, "seeds": seeds})


def recovered(model: TrainedModel, values: np.ndarray, state: np.ndarray) -> dict[str, Any]:
    """How much of the true state the latent one tells (R^2 of a linear fit), and the attractor of free runs seen through that fit."""
    embedded = model.signals(model.embed(values[:-TEST]))
    design = np.column_stack([model.encode(embedded), np.ones(len(embedded))])
    fit, *_ = np.linalg.lstsq(design, state[:-TEST], rcond=None)
    residual = (design @ fit - state[:-TEST]).var(axis=0) / state[:-TEST].var(axis=0)
    starts = model.encode(embedded[np.linspace(500, len(embedded) - 500, RUNS).astype(int)])
    runs = free_run(model.as_float64(), starts, RUN_STEPS)[TRANSIENT:]
    scale = state.std(axis=0)
    seen = [np.column_stack([runs[:, b], np.ones(len(runs))]) @ fit / scale for b in range(RUNS)]
    scores = [d_stsp_binned(state / scale, one).value for one in seen]
    return {"r2": (1 - residual).round(3).tolist(), "d_stsp": sorted(9e9 if s is None else round(s, 3) for s in scores)}


def likelihoods(model: TrainedModel, values: np.ndarray, horizon: int, counted: TrainedModel) -> dict[str, float]:
    """Mean log-likelihood, nats a row, of held-out counts and classes predicted by a model that takes them for numbers.

    x^ is read in two ways, as the rate of a Poisson distribution and as the mean of a normal one, rounded, with the error of the same
    prediction on the training rows as its std; the better one counts.
    """
    first = len(values) - TEST
    found = {}
    for rows, fitting in ((np.arange(200, first - horizon, 7), True), (np.arange(first, len(values) - horizon), False)):
        ahead = model.observe(free_run(model.as_float64(), model.encode(model.embed(values)[rows]), horizon)[-1])
        predicted, truth = model.to_units(ahead), values[rows + horizon]
        if fitting:
            spread = np.sqrt(np.nanmean((predicted - truth) ** 2, axis=0))
            continue
        for i, channel in counted.readouts.others:  # type: ignore[union-attr]
            normal = stats.norm(predicted[:, i], max(spread[i], 0.1))
            rounded = np.log(np.maximum(normal.cdf(truth[:, i] + 0.5) - normal.cdf(truth[:, i] - 0.5), 1e-12)).mean()
            rates = stats.poisson.logpmf(truth[:, i], np.maximum(predicted[:, i], 0.05)).mean()
            found[model.channels[i]] = float(max(rounded, rates if channel.kind == POISSON else -np.inf))
    return found


def compared(case: str, updates: int, seeds: int) -> dict[str, Any]:
    state = trajectory(SAMPLES["lorenz63"], ROWS)
    values, names, kinds = observations(case, state)
    outcome: dict[str, Any] = {}
    models = {}
    for treatment, declared in (("counted", kinds), ("numbers", {})):
        began = time.process_time()
        model, history = train(
            [(0, values)], channels=names, dt=DT, time_unit="s", spec=spec_of(declared, updates, seeds), analysis=None,
            reporter=Reporter(), threads=1,
        )  # fmt: skip
        models[treatment] = model
        outcome[treatment] = {
            "seconds": round(time.process_time() - began, 1), "updates": history.updates,
            "runs": [run.outcome for run in history.seeds], **recovered(model, values, state),
        }  # fmt: skip
        print(case, treatment, json.dumps(outcome[treatment]), flush=True)
    model, before = models["counted"], models["counted"].context_rows - 1
    for horizon in HORIZONS:
        report = evaluate(
            model, [values[-TEST - before :]], lead_in=[before], lambda_max=None, reference_steps=(ROWS - TEST, ROWS),
            spec=EvaluateSpec(prediction_horizon_steps=horizon, lyapunov_steps=1000),
        )  # fmt: skip
        numbers = likelihoods(models["numbers"], values, horizon, model)
        rows = [(c.log_likelihood, c.marginal, c.persistence, numbers[c.channel]) for c in report.counted_channels]
        mean = np.mean(np.array(rows, float), axis=0).round(4).tolist()
        variation = float(np.mean([c.total_variation or 0.0 for c in report.counted_channels]))
        outcome[f"horizon_{horizon}"] = dict(
            zip(("model", "marginal", "persistence", "numbers"), mean, strict=True)
        ) | {"total_variation": round(variation, 3)}
        print(case, horizon, json.dumps(outcome[f"horizon_{horizon}"]), flush=True)
    return outcome


def speed(case: str) -> float:
    """Processor seconds of an update with likelihoods over those of one with squared errors, alternating, the best of each."""
    state = trajectory(SAMPLES["lorenz63"], ROWS)
    values, names, kinds = observations(case, state)
    least = {}
    engines = {}
    for treatment, declared in (("counted", kinds), ("numbers", {})):
        spec = spec_of(declared, 1000, 1)
        parts, columns = split([(0, values)], spec), list(range(len(names)))
        readouts = read_out([(0, values)], parts, spec, names, columns)
        settings = resolve(spec, parts, len(names), DT, None, readouts=readouts)
        engine = CompiledEngine(settings, prepare(parts, settings, names, readouts=readouts))
        learner = engine.learner(0)
        engines[treatment] = engine, learner, engine.workspace(learner)
        least[treatment] = np.inf
    count = 100
    for _ in range(12):
        for treatment, (engine, learner, workspace) in engines.items():
            began = time.process_time()
            engine.advance(learner, workspace, 0, np.full(count, 1e-4), np.full(count, 0.15), np.zeros(count))
            least[treatment] = min(least[treatment], time.process_time() - began)
    print(case, "ms an update", {k: round(1e3 * v / count, 3) for k, v in least.items()}, flush=True)
    return float(least["counted"] / least["numbers"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--cases", nargs="+", default=["beside", "partial", "counts"])
    parser.add_argument("--output", type=Path, default=Path("benchmarks/channels.json"))
    arguments = parser.parse_args()
    found: dict[str, Any] = {"updates": arguments.updates, "seeds": arguments.seeds, "load": os.getloadavg()[0]}
    for case in arguments.cases:
        found[case] = compared(case, arguments.updates, arguments.seeds) | {"update_ratio": round(speed(case), 2)}
        arguments.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

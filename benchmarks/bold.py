"""Simulated BOLD series: the convolutional observation model against the affine one, and against deconvolution alone.

    python benchmarks/bold.py FOLDER [--files 1 2 ...] [--out benchmarks/bold.json]

FOLDER holds bold_k.npy and latent_k.npy, (500, 16) each, TR 0.5 s (the sample data of GTF-ConvSSM). Both models get the same split
(0.75), map, updates and seeds; the convolutional one has the service's own settings, the affine one the best of those that were tried
on two files. What is measured and how: docs/science/observation.md.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from domain.specs import TrainSpec
from dynamics.kernels import free_run
from dynamics.measures import d_h_floor, d_h_pooled, d_stsp, d_stsp_all, prediction_error
from dynamics.references import free_runs, make_reference
from dynamics.reporting import Reporter
from dynamics.training.data import prepare
from dynamics.training.engine import CompiledEngine
from dynamics.training.parameters import restore
from dynamics.training.schedule import forcing_schedule, learning_rates
from dynamics.training.settings import resolve
from dynamics.training.split import split
from models.filters import convolve
from models.trained import TrainedModel

DT, CHANNELS, ROWS, HELD_OUT = 0.5, [f"roi{i}" for i in range(16)], 500, 375
# The convolutional model has the service's own settings. Of those of the affine one that were tried on two files (training rows, split
# anew) these were the best: docs/science/observation.md.
SETTINGS: dict[str, dict[str, Any]] = {
    "convolutional": {"updates": 3000},
    "affine": {
        "latent_dim": 16, "hidden_dim": 50, "updates": 4000, "sequence_length": 30, "forcing": {"kind": "gtf", "alpha": 0.5},
        "learning_rate": {"peak": 0.01}, "regularization": {"noise": 0.3, "smoothing": "off"},
    },
}  # fmt: skip
HORIZONS = (5, 10, 20)
AHEAD = range(-5, 4)  # rows of the latent state from the last row that is known
GENERATED = 5_000
PULL = 0.1  # share of the model, or of either neighbour, in a recovered state


def trained(series: np.ndarray, kind: str, seed: int) -> tuple[TrainedModel, dict[str, Any]]:
    """One run and its last checkpoint, on all rows before the held-out ones: nothing is chosen, so there is no luck in choosing."""
    asked = {"observation": {"kind": kind}, "seed": seed, "test_fraction": 0.0, "validation_fraction": 0.01}
    spec = TrainSpec.model_validate(asked | SETTINGS[kind])
    parts = split([(0, series[:HELD_OUT])], spec)
    settings = resolve(spec, parts, len(CHANNELS), DT, None, "s")
    data = prepare(parts, settings, CHANNELS)
    engine = CompiledEngine(settings, data)
    learner = engine.learner(seed)
    workspace = engine.workspace(learner)
    engine.advance(learner, workspace, 0, np.empty(0), np.empty(0), np.empty(0))  # compiled, or loaded
    began = time.process_time()
    updates = settings.updates
    rates = learning_rates(settings.schedule, settings.peak_rate, settings.final_rate, 0, updates, updates)
    done, losses = engine.advance(
        learner, workspace, 0, rates, *forcing_schedule(settings.forcing, 0, updates, updates)
    )
    assert done == updates, f"{kind}: the loss ceased to be finite after {done} updates"
    found = restore(settings, learner.theta, data.n_observed)
    model = TrainedModel(
        settings.architecture, found.map, data.in_units(found.observation), CHANNELS, data.mean, data.std, [0], DT, "s",
        residual_std=np.zeros(len(CHANNELS)), filter=data.filter,
    )  # fmt: skip
    return model, {"cpu_seconds": time.process_time() - began, "loss": float(losses[-100:].mean())}


def observed(model: TrainedModel, series: np.ndarray) -> dict[str, Any]:
    """Predictions of held-out rows, and the attractor and the rhythms of those and of all rows, training rows among them.

    As in a report (docs/science/measures.md); 125 rows are few for d_stsp, so `..._of_five_runs` compares them with five runs of 500.
    """
    exact, before = model.as_float64(), model.context_rows - 1
    held_out = make_reference(exact, [series[HELD_OUT - before :]], None, lead_in=[before])
    found: dict[str, Any] = {}
    for horizon in HORIZONS:
        error = prediction_error(exact, held_out.known, horizon, lead_in=held_out.lead_in)
        found[f"pe_{horizon}"] = error.value
        found[f"persistence_{horizon}"] = error.parameters["persistence"]
    runs = {}
    for name, reference in (("held_out_", held_out), ("", make_reference(exact, [series], None))):
        runs[name] = free_runs(exact, reference, Reporter())
        x, y = reference.pooled, runs[name].observed[: reference.n_steps]
        half, each = len(x) // 2, [y[:, b] for b in range(y.shape[1])]
        found[f"{name}d_stsp"] = median([m.value for m in d_stsp_all(x, each)])
        found[f"{name}d_h"] = median([d_h_pooled([x], [run]).value for run in each])
        found[f"{name}d_stsp_floor"], found[f"{name}d_h_floor"] = (
            d_stsp(x[:half], x[half : 2 * half]).value,
            d_h_floor([x]).value,
        )
        found[f"{name}spread"] = float(np.mean(y.std(axis=(0, 1)) / x.std(axis=0)))
    generated = runs[""].observed[:ROWS].reshape(-1, len(CHANNELS))
    found["d_stsp_of_five_runs"] = d_stsp(runs[""].truth, generated).value
    found["held_out_d_stsp_of_five_runs"] = d_stsp(held_out.pooled, generated).value
    return found


def median(values: list[float | None]) -> float:
    """An undefined value counts as infinite."""
    return float(np.median([np.inf if value is None else value for value in values]))


def correlation(found: np.ndarray, truth: np.ndarray) -> float:
    """Mean over channels; an estimate that does not vary correlates with nothing."""
    varying = [c for c in range(truth.shape[1]) if np.ptp(found[:, c]) > 0]
    return float(sum(np.corrcoef(found[:, c], truth[:, c])[0, 1] for c in varying) / truth.shape[1])


def periodic_wiener(x: np.ndarray, kernel: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """The textbook's deconvolution by Fourier transforms: H* S / (|H|^2 S + N), S the power of x less N, the series taken as periodic."""
    transfer = np.fft.rfft(kernel, len(x))[:, None]
    level = len(x) * noise**2
    power = np.maximum(np.abs(np.fft.rfft(x, axis=0)) ** 2 - level, 0)
    spectrum = np.conj(transfer) * power / (np.abs(transfer) ** 2 * power + level) * np.fft.rfft(x, axis=0)
    return np.fft.irfft(spectrum, len(x), axis=0)


def recovered(model: TrainedModel, x: np.ndarray) -> dict[str, np.ndarray]:
    """Latent states of a whole series (T, N), each (T, N): by two deconvolutions alone, by model and data, and smoothed without a model.

    With the model: 0.9 z^_t + 0.1 observe(F(encode(z^_{t-1}))), that is what forcing with alpha 0.9 makes of the deconvolved series z^; the share
    was chosen on training rows of two files. Three rows with weights 0.1, 0.8, 0.1 show what any smoothing would do.
    """
    assert model.filter is not None
    alone, before = model.filter.histories(x), model.filter.steps - 1
    forced, smoothed = alone.copy(), alone.copy()
    forced[1:] += PULL * (model.observe(model.step(model.encode(alone[:-1]))) - alone[1:])
    smoothed[1:-1] += PULL * (alone[2:] + alone[:-2] - 2 * alone[1:-1])
    return {
        "fourier": periodic_wiener(x, model.filter.kernel, model.filter.noise_std),
        "window": alone[before:],
        "model_and_data": forced[before:],
        "smoothed": smoothed[before:],
    }


def latent(model: TrainedModel, series: np.ndarray, states: np.ndarray) -> dict[str, Any]:
    """B z + b, what a channel shows before the kernel, against the truth, in units of the channel."""
    assert model.filter is not None
    x, truth = (series - model.mean) / model.std, (states - model.mean) / model.std
    left, right = model.filter.cut
    rows = slice(HELD_OUT, ROWS - right)
    found: dict[str, Any] = {"cut": [left, right]}
    for name, states_found in recovered(model, x).items():
        found[name] = {
            "correlation": correlation(states_found[rows], truth[rows]),
            "d_stsp": d_stsp(truth[rows], states_found[rows]).value,
        }
    known = np.arange(HELD_OUT, ROWS - max(AHEAD))
    contexts = x[known[:, None] + np.arange(1 - model.context_rows, 1)]
    alone = model.filter.histories(contexts)
    before = model.launch(contexts)
    filtered, ahead_of_it = assimilated(model, contexts, before, alone)
    run = model.observe(free_run(model, before[-1], model.lead + max(AHEAD)))
    launched, of_model, of_deconvolution = [], [], []
    for ahead in AHEAD:
        now, step = truth[known + ahead], model.lead + ahead
        launched.append(correlation(run[step - 1] if step > 0 else model.observe(before[-1 + step]), now))
        of_model.append(correlation(ahead_of_it[ahead - 1] if ahead > 0 else filtered[-1 + ahead], now))
        last = alone[:, -1 + min(ahead, 0)] * model.filter.persistence ** max(ahead, 0)
        of_deconvolution.append(correlation(last, now))
    found |= {"ahead": list(AHEAD), "launched": launched, "filtered": of_model, "deconvolution": of_deconvolution}
    generated = model.observe(free_run(model, before[-1][:4], GENERATED)[500:]).reshape(-1, 16)
    held_out, recorded = truth[HELD_OUT:], slice(left, HELD_OUT - right)
    found["d_stsp_generated"] = d_stsp(held_out, generated[: 2 * GENERATED]).value
    found["d_stsp_deconvolved_training_rows"] = d_stsp(held_out, model.filter.deconvolve(x[:HELD_OUT])[recorded]).value
    found["d_stsp_true_training_rows"] = d_stsp(held_out, truth[recorded]).value
    return found


def assimilated(
    model: TrainedModel, contexts: np.ndarray, before: np.ndarray, alone: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Filtered states B z + b at the rows of contexts (B, C, N), (C + L - 1, B, N), and those of the free run from the last, (A, B, N).

    z^ = p + G (x - h * p): the deconvolution of what the model does not predict, p being the deconvolved states up to `lead` rows before
    the end and the free run from there. No row after the context is used.
    """
    assert model.filter is not None
    path = np.moveaxis(alone, 1, 0).copy()
    path[len(path) - model.lead :] = model.observe(free_run(model, before[-1], model.lead))
    unexplained = np.moveaxis(contexts, 1, 0) - convolve(model.filter.kernel, path)
    filtered = path + np.moveaxis(model.filter.histories(np.moveaxis(unexplained, 0, 1)), 1, 0)
    return filtered, model.observe(free_run(model, model.encode(filtered[-1]), max(AHEAD)))


def speed(series: np.ndarray, updates: int = 200, rounds: int = 5) -> dict[str, float]:
    """CPU seconds of an update whose loss goes through a kernel of 65 taps, and of one without, all else alike; the least of several rounds."""
    alike = {"latent_dim": 16, "hidden_dim": 50, "sequence_length": 200, "forcing": {"kind": "gtf", "alpha": 0.15}}
    alike |= {"regularization": {"noise": 0.05, "smoothing": "off"}, "test_fraction": 0.25}
    engines = {}
    for kind, loss in (("affine", {}), ("convolutional", {"loss": "observations"})):
        spec = TrainSpec.model_validate(alike | {"observation": {"kind": kind} | loss})
        parts = split([(0, series)], spec)
        settings = resolve(spec, parts, 16, DT, None, "s")
        engine = CompiledEngine(settings, prepare(parts, settings, CHANNELS))
        learner = engine.learner(0)
        engines[kind] = (engine, learner, engine.workspace(learner))
        engine.advance(learner, engines[kind][2], 0, np.zeros(2), np.full(2, 0.15), np.zeros(2))
    best = dict.fromkeys(engines, np.inf)
    for _ in range(rounds):
        for kind, (engine, learner, workspace) in engines.items():
            began = time.process_time()
            engine.advance(learner, workspace, 0, np.zeros(updates), np.full(updates, 0.15), np.zeros(updates))
            best[kind] = min(best[kind], (time.process_time() - began) / updates)
    return {f"{kind}_update_ms": 1000 * float(v) for kind, v in best.items()} | {
        "ratio": float(best["convolutional"] / best["affine"])
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, nargs="+", default=list(range(1, 9)))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    found: dict[str, Any] = {"seed": asked.seed, "settings": SETTINGS, "files": {}}
    found["speed"] = speed(np.load(asked.folder / "bold_1.npy"))
    print(found["speed"], flush=True)
    for k in asked.files:
        series, states = (np.load(asked.folder / f"{name}_{k}.npy") for name in ("bold", "latent"))
        entry: dict[str, Any] = {}
        for kind in SETTINGS:
            model, cost = trained(series, kind, asked.seed)
            entry[kind] = observed(model, series) | cost
            if kind == "convolutional":
                entry["latent"] = latent(model.as_float64(), series, states)
        found["files"][str(k)] = entry
        print(k, json.dumps(entry), flush=True)
        if asked.out:
            asked.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

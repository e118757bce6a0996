"""Simulated BOLD series: the convolutional observation model against the affine one, and against deconvolution alone.

    python benchmarks/bold.py FOLDER [--files 1 2 ...] [--out benchmarks/bold.json]

FOLDER holds bold_k.npy and latent_k.npy, (500, 16) each, TR 0.5 s (the sample data of GTF-ConvSSM). Both models get the same split
(0.75), architecture, updates, seeds and teacher noise. What is measured and how: docs/science/observation.md.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from domain.specs import EvaluateSpec, TrainSpec
from dynamics.evaluation import evaluate
from dynamics.kernels import free_run
from dynamics.measures import d_stsp
from dynamics.reporting import Reporter
from dynamics.training import train
from dynamics.training.data import prepare
from dynamics.training.engine import CompiledEngine
from dynamics.training.settings import resolve
from dynamics.training.split import split
from models.filters import convolve
from models.trained import TrainedModel

DT, CHANNELS, ROWS, HELD_OUT = 0.5, [f"roi{i}" for i in range(16)], 500, 375
COMMON: dict[str, Any] = {
    "architecture": "clipped-shplrnn", "latent_dim": 16, "hidden_dim": 50, "test_fraction": 0.25, "budget_seconds": 3600.0,
    "learning_rate": {"peak": 0.003}, "forcing": {"kind": "gtf", "alpha": 0.15}, "regularization": {"noise": 0.05, "smoothing": "off"},
    "sequence_length": 200,
}  # fmt: skip
HORIZONS = (5, 10, 20)
AHEAD = range(-5, 4)  # rows of the latent state from the last row that is known
GENERATED = 5_000


def trained(series: np.ndarray, kind: str, updates: int, seeds: int) -> tuple[TrainedModel, float]:
    asked = COMMON | {"observation": {"kind": kind}, "updates": updates, "seeds": seeds}
    began = time.process_time()
    model, _ = train(
        [(0, series)], channels=CHANNELS, dt=DT, time_unit="s", spec=TrainSpec.model_validate(asked), analysis=None, reporter=Reporter(),
        threads=1,
    )  # fmt: skip
    return model, time.process_time() - began


def observed(model: TrainedModel, series: np.ndarray) -> dict[str, Any]:
    """Held-out rows for predictions, all rows for the attractor and the rhythms: 125 rows say little of either."""
    before = model.context_rows - 1
    found: dict[str, Any] = {}
    for horizon in HORIZONS:
        spec = EvaluateSpec(prediction_horizon_steps=horizon, lyapunov_steps=1000)
        report = evaluate(
            model, [series[HELD_OUT - before :]], lead_in=[before], spec=spec, lambda_max=None, reference_steps=(HELD_OUT, ROWS)
        )  # fmt: skip
        found[f"pe_{horizon}"] = report.prediction_error.value
        found[f"persistence_{horizon}"] = report.prediction_error.parameters["persistence"]
    found |= {"held_out_d_stsp": report.d_stsp.value, "held_out_d_h": report.d_h.value, "verdict": report.verdict}
    whole = evaluate(
        model, [series], spec=EvaluateSpec(lyapunov_steps=1000), lambda_max=None, reference_steps=(0, ROWS)
    )
    found |= {
        "d_stsp": whole.d_stsp.value,
        "d_stsp_floor": whole.d_stsp.floor,
        "d_h": whole.d_h.value,
        "d_h_floor": whole.d_h.floor,
    }
    return found


def correlation(found: np.ndarray, truth: np.ndarray) -> float:
    """Mean over channels."""
    return float(np.mean([np.corrcoef(found[:, c], truth[:, c])[0, 1] for c in range(truth.shape[1])]))


def periodic_wiener(x: np.ndarray, kernel: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """The textbook's deconvolution by Fourier transforms: H* S / (|H|^2 S + N), S the power of x less N, the series taken as periodic."""
    transfer = np.fft.rfft(kernel, len(x))[:, None]
    level = len(x) * noise**2
    power = np.maximum(np.abs(np.fft.rfft(x, axis=0)) ** 2 - level, 0)
    spectrum = np.conj(transfer) * power / (np.abs(transfer) ** 2 * power + level) * np.fft.rfft(x, axis=0)
    return np.fft.irfft(spectrum, len(x), axis=0)


def latent(model: TrainedModel, series: np.ndarray, states: np.ndarray) -> dict[str, Any]:
    """B z + b, what a channel shows before the kernel, against the truth, in units of the channel."""
    assert model.filter is not None
    x, truth = (series - model.mean) / model.std, (states - model.mean) / model.std
    left, right = model.filter.cut
    rows = slice(HELD_OUT, ROWS - right)
    smoothed = model.filter.deconvolve(x)
    found: dict[str, Any] = {
        "cut": [left, right],
        "deconvolved": correlation(smoothed[rows], truth[rows]),
        "deconvolved_by_fourier": correlation(
            periodic_wiener(x, model.filter.kernel, model.filter.noise_std)[rows], truth[rows]
        ),
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
    found["d_stsp_deconvolved"] = d_stsp(held_out, model.filter.deconvolve(x[:HELD_OUT])[recorded]).value
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
    """CPU seconds of an update with and without a kernel of 65 taps, everything else alike; the least of several rounds."""
    engines = {}
    for kind in ("affine", "convolutional"):
        spec = TrainSpec.model_validate(COMMON | {"observation": {"kind": kind}})
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
    parser.add_argument("--updates", type=int, default=4000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    found: dict[str, Any] = {"updates": asked.updates, "seeds": asked.seeds, "settings": COMMON, "files": {}}
    found["speed"] = speed(np.load(asked.folder / "bold_1.npy"))
    print(found["speed"], flush=True)
    for k in asked.files:
        series, states = (np.load(asked.folder / f"{name}_{k}.npy") for name in ("bold", "latent"))
        entry: dict[str, Any] = {}
        for kind in ("convolutional", "affine"):
            model, seconds = trained(series, kind, asked.updates, asked.seeds)
            entry[kind] = observed(model, series) | {"cpu_seconds": seconds}
            if kind == "convolutional":
                entry["latent"] = latent(model, series, states)
        found["files"][str(k)] = entry
        print(k, json.dumps(entry), flush=True)
        if asked.out:
            asked.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

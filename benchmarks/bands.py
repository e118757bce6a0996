"""Do the bands of forecasts hold for models that see their states through a kernel? Simulated systems, nominal 90 %.

    python benchmarks/bands.py [--starts 200] [--out benchmarks/bands.json]

Systems, defined here: Lorenz-63 through an exponential kernel, and a noise-driven pair of oscillators through the haemodynamic
response, both with measurement noise. The convolutional model and the affine one without the kernel learn from the same rows;
what is counted are measured values of held-out rows between the 5 % and the 95 % quantile. docs/science/observation.md.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from domain.results import ForecastStart, Predictability
from domain.specs import ForecastSpec, TrainSpec
from dynamics.forecasting import forecast
from dynamics.reporting import Reporter
from dynamics.training import train
from models.filters import convolve, exponential, haemodynamic
from models.trained import TrainedModel

STEPS = (1, 2, 5, 10, 20, 50)
HELD_OUT = 0.2
UPDATES, SEEDS = 4000, 1


def lorenz(n_rows: int, dt: float) -> np.ndarray:
    """Lorenz-63 at the standard parameters by RK4 in four substeps: (n_rows, 3)."""

    def field(x: np.ndarray) -> np.ndarray:
        return np.array([10 * (x[1] - x[0]), x[0] * (28 - x[2]) - x[1], x[0] * x[1] - 8 / 3 * x[2]])

    x, out, h = np.array([1.0, 2.0, 20.0]), np.empty((n_rows, 3)), dt / 4
    for t in range(-500, n_rows):
        for _ in range(4):
            a = field(x)
            b = field(x + h / 2 * a)
            c = field(x + h / 2 * b)
            x = x + h / 6 * (a + 2 * b + 2 * c + field(x + h * c))
        if t >= 0:
            out[t] = x
    return out


def oscillators(n_rows: int, seed: int = 0) -> np.ndarray:
    """Two damped rotations driven by white noise: a stochastic system, whose futures differ by nature: (n_rows, 4)."""
    rng, z, out = np.random.default_rng(seed), np.zeros(4), np.empty((n_rows, 4))
    turns = [0.97 * np.array([[np.cos(w), -np.sin(w)], [np.sin(w), np.cos(w)]]) for w in (0.25, 0.6)]
    step = np.block([[turns[0], np.zeros((2, 2))], [0.3 * np.eye(2), turns[1]]])
    for t in range(-200, n_rows):
        z = step @ z + 0.2 * rng.standard_normal(4)
        if t >= 0:
            out[t] = z
    return out


def cases() -> dict[str, dict[str, Any]]:
    slow, blood = exponential(5.0), haemodynamic(1.0)
    kernels = {
        "lorenz": {"kind": "given", "values": slow.tolist()},
        "oscillators": {"kind": "haemodynamic", "repetition_time": 1.0},
    }
    return {
        f"{name}, {100 * noise:g} % noise": {"series": _seen(kernel, states, noise), "kernel": kernels[name]}
        for name, kernel, states in (
            ("lorenz", slow, lorenz(10_000 + len(slow), 0.04)),
            ("oscillators", blood, oscillators(4_000 + len(blood))),
        )
        for noise in (0.01, 0.05)
    }


def _seen(kernel: np.ndarray, states: np.ndarray, noise: float) -> np.ndarray:
    shown = convolve(kernel, states)
    return shown + noise * shown.std(axis=0) * np.random.default_rng(1).standard_normal(shown.shape)


def trained(series: np.ndarray, observation: dict[str, Any]) -> TrainedModel:
    n = series.shape[1]
    spec = {
        "observation": observation, "latent_dim": n, "hidden_dim": 50, "test_fraction": HELD_OUT, "updates": UPDATES,
        "seeds": SEEDS, "budget_seconds": 3600.0, "regularization": {"smoothing": "off"},
    }  # fmt: skip
    model, _ = train(
        [(0, series)], channels=[f"x{i}" for i in range(n)], dt=1.0, time_unit="s", spec=TrainSpec.model_validate(spec),
        analysis=None, reporter=Reporter(), threads=1,
    )  # fmt: skip
    return model


def coverage(model: TrainedModel, series: np.ndarray, n_starts: int) -> dict[str, Any]:
    """Share of measured values within the 5-95 % band, and the median's error over the spread of the series, step by step."""
    first, horizon = int((1 - HELD_OUT) * len(series)), max(STEPS)
    starts = np.linspace(first, len(series) - horizon, n_starts).astype(int)
    inside, errors, widths = [], [], []
    for k, start in enumerate(starts):
        spec = ForecastSpec(horizon_steps=horizon, quantiles=[0.05, 0.95], samples=200, seed=k)
        found = forecast(
            model,
            series[start - model.context_steps : start],
            spec=spec,
            start=ForecastStart(index=int(start), time=0.0),
            predictability=Predictability(),
        )
        truth = series[start : start + horizon]
        low, high = (np.array(found.quantiles[q], float) for q in ("0.05", "0.95"))
        inside.append((truth >= low) & (truth <= high))
        errors.append((np.array(found.median, float) - truth) / series.std(axis=0))
        widths.append((high - low) / series.std(axis=0))
    share = np.mean(inside, axis=(0, 2))
    rmse, width = np.sqrt(np.mean(np.square(errors), axis=(0, 2))), np.mean(widths, axis=(0, 2))
    at = {str(step): step - 1 for step in STEPS}
    return {
        "coverage": {step: round(float(share[i]), 3) for step, i in at.items()},
        "mean_coverage": round(float(share.mean()), 3),
        "rmse": {step: round(float(rmse[i]), 3) for step, i in at.items()},
        "width": {step: round(float(width[i]), 3) for step, i in at.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=200)
    parser.add_argument("--only", help="cases whose name holds this")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    given = parser.parse_args()
    found: dict[str, Any] = {"starts": given.starts, "updates": UPDATES, "nominal": 0.9, "cases": {}}
    for name, case in cases().items():
        if given.only and given.only not in name:
            continue
        for kind in ("convolutional", "affine"):
            observation = {"kind": kind} | ({"kernel": case["kernel"]} if kind == "convolutional" else {})
            began = time.process_time()
            model = trained(case["series"], observation)
            seconds = round(time.process_time() - began, 1)
            result = coverage(model, case["series"], given.starts) | {"training_cpu_seconds": seconds}
            found["cases"].setdefault(name, {})[kind] = result
            print(name, kind, result["coverage"], result["mean_coverage"], result["rmse"], flush=True)
    given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

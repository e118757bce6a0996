"""CPU seconds of a report, phase by phase, for maps of several architectures and sizes; compilation is not counted.

    python -m benchmarks.evaluation [--json FILE] [--only NAME]

The data are a noisy run of the model itself, so that no free run diverges or collapses, whose measures would be cheaper.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path

import numpy as np

from domain.jobs import Progress
from domain.specs import EvaluateSpec
from dynamics.evaluation import evaluate
from dynamics.reporting import Reporter
from models import ARCHITECTURES, Size, TrainedModel
from models.trained import Drive, Inputs

# name -> architecture, size, observed coordinates, held-out rows, inputs
CASES = {
    "lorenz": ("clipped-shplrnn", Size(3, 100), 3, 10_000, 0),
    "lorenz, driven": ("clipped-shplrnn", Size(3, 100), 3, 10_000, 1),
    "eeg, tenth": ("clipped-shplrnn", Size(16, 512), 64, 1_000, 0),
    "eeg": ("clipped-shplrnn", Size(16, 512), 64, 10_000, 0),
    "lstm 60": ("lstm", Size(60), 3, 10_000, 0),
    "lstm 320": ("lstm", Size(320), 3, 10_000, 0),
}


class Stopwatch(Reporter):
    """Notes when each phase began, in seconds of this process, so that other work on the machine does not decide."""

    def __init__(self) -> None:
        self.marks: list[tuple[str, float]] = []

    def report(self, progress: Progress) -> None:
        if progress.phase != "compiling":
            self.marks.append((progress.phase, time.process_time()))

    def phases(self) -> dict[str, float]:
        pairs = zip(self.marks, self.marks[1:], strict=False)
        return {name: round(later - began, 3) for (name, began), (_, later) in pairs}


def make_case(
    architecture: str, size: Size, n_observed: int, n_rows: int, n_inputs: int
) -> tuple[TrainedModel, np.ndarray, np.ndarray | None]:
    """A model whose states keep moving (the first seed that gives one), a noisy run of it, and its inputs."""
    for seed in itertools.count():
        made = _draw(seed, architecture, size, n_observed, n_rows, n_inputs)
        if made[1].std(axis=0).min() > 0.05:
            return made
    raise AssertionError


def _draw(
    seed: int, architecture: str, size: Size, n_observed: int, n_rows: int, n_inputs: int
) -> tuple[TrainedModel, np.ndarray, np.ndarray | None]:
    rng = np.random.default_rng(seed)
    params = ARCHITECTURES[architecture].init(rng, size)
    for name, factor in {"W1": 10.0, "h2": 10.0, "U": 12.0}.items():
        if name in params:
            params[name] = factor * params[name]
    read = ARCHITECTURES[architecture].read_units(size.latent)
    observation = (
        {"B": rng.normal(size=(n_observed, read)) / np.sqrt(read), "b": np.zeros(n_observed)}
        if n_observed != size.latent
        else {}
    )
    inputs = Inputs(["u"], np.zeros(1), np.ones(1), rng.normal(size=(size.latent, n_inputs))) if n_inputs else None
    channels, unit = [f"x{i}" for i in range(n_observed)], np.ones(n_observed)
    model = TrainedModel(
        architecture, params, observation, channels, 0 * unit, unit, [0], 0.01, "s", 0.05 * unit, inputs=inputs
    )
    driving = rng.normal(size=(n_rows + 500, n_inputs)) if n_inputs else None
    drive = None if driving is None else Drive(driving, np.array([1]))
    run = model.free_run(rng.normal(size=(1, size.latent)) / 4, n_rows + 499, drive)[499 - 1 :, 0]
    seen = model.observe(run)
    noisy = seen + 0.1 * seen.std(axis=0) * rng.normal(size=seen.shape) + 1e-3 * rng.normal(size=seen.shape)
    return model, noisy, None if driving is None else driving[499:][: len(noisy)]


def measure(name: str) -> dict[str, object]:
    model, series, inputs = make_case(*CASES[name])
    spec = EvaluateSpec()

    def once(watch: Reporter) -> None:
        evaluate(
            model,
            [series],
            inputs=None if inputs is None else [inputs],
            spec=spec,
            lambda_max=0.9,
            reference_steps=(0, len(series)),
            reporter=watch,
        )

    once(Reporter())
    watch = Stopwatch()
    began = time.process_time()
    once(watch)
    return {"case": name, "seconds": round(time.process_time() - began, 3), "phases": watch.phases()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", choices=CASES)
    chosen = parser.parse_args()
    rows = []
    for name in [chosen.only] if chosen.only else CASES:
        rows.append(measure(name))
        print(json.dumps(rows[-1]), flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()

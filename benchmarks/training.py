"""Updates per second of the compiled engine against eager torch: same work, same run, one thread.

    python -m benchmarks.training [--seconds 6] [--output benchmarks/training.json]

The clipped shallow PLRNN with generalised forcing against the torch reference; LSTM, GRU and vanilla RNN with sparse forcing (the
published configuration: 30 units, T 100, B 32, every 30 steps) against a loop over torch.nn's own cell. Data are a random walk.
Rounds alternate, the best of each counts; time is the process's CPU time, so that other work on the machine does not decide the
ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import threading
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numba
import numpy as np
import torch

from domain.specs import TrainSpec
from dynamics.training import checkpoint
from dynamics.training.data import TrainingData, prepare
from dynamics.training.engine import CompiledEngine
from dynamics.training.ensemble import CHECKPOINT_SECONDS
from dynamics.training.reference import ReferenceEngine
from dynamics.training.schedule import forcing_schedule, learning_rates
from dynamics.training.seeds import SeedRunner, SeedState
from dynamics.training.selection import Judgement
from dynamics.training.settings import Settings, resolve
from dynamics.training.split import split

SHALLOW: dict[str, Any] = {"architecture": "clipped-shplrnn", "forcing": {"kind": "gtf", "alpha": 0.15}}
PUBLISHED: dict[str, Any] = {
    "observation": {"kind": "affine"},
    "sequence_length": 100,
    "batch_size": 32,
    "optimizer": "adam",
    "forcing": {"kind": "stf", "interval_steps": 30},
}
CONFIGURATIONS: dict[str, tuple[int, dict[str, Any]]] = {  # name: observed channels, specification
    "Lorenz-63 (M 3, H 50, T 200, B 16)": (3, SHALLOW | {"hidden_dim": 50, "sequence_length": 200}),
    "Lorenz-63 (M 3, H 100, T 200, B 16)": (3, SHALLOW | {"hidden_dim": 100, "sequence_length": 200}),
    "ECG (M 5, H 250, T 200, B 16)": (5, SHALLOW | {"hidden_dim": 250, "sequence_length": 200}),
    "EEG (M 16, H 512, T 50, B 16, N 64)": (
        64,
        SHALLOW | {"latent_dim": 16, "hidden_dim": 512, "sequence_length": 50, "observation": {"kind": "affine"}},
    ),
    "LSTM (30 units, T 100, B 32)": (3, PUBLISHED | {"architecture": "lstm", "latent_dim": 60}),
    "GRU (30 units, T 100, B 32)": (3, PUBLISHED | {"architecture": "gru", "latent_dim": 30}),
    "vanilla RNN (30 units, T 100, B 32)": (3, PUBLISHED | {"architecture": "vanilla-rnn", "latent_dim": 30}),
}
CELLS = {"lstm": torch.nn.LSTMCell, "gru": torch.nn.GRUCell, "vanilla-rnn": torch.nn.RNNCell}


class CellLoop:
    """The published way of training these: torch.nn's cell in a loop over time, forced through the pseudo-inverse, autograd."""

    def __init__(self, settings: Settings, data: TrainingData) -> None:
        units = settings.latent_dim // 2 if settings.architecture == "lstm" else settings.latent_dim
        self.settings, self.data, self.units = settings, data, units
        self.series = torch.tensor(data.series, dtype=torch.float32)
        self.cell = CELLS[settings.architecture](data.n_observed, units)
        self.read = torch.nn.Linear(units, data.n_observed, bias=False)
        self.optimizer = torch.optim.Adam([*self.cell.parameters(), *self.read.parameters()], lr=1e-4)

    def update(self, starts: np.ndarray) -> None:
        settings, lstm = self.settings, self.settings.architecture == "lstm"
        x = torch.stack([self.series[s : s + settings.sequence_length + 1] for s in starts], dim=1)
        nothing = torch.zeros(len(starts), self.data.n_observed)
        loss, state = torch.zeros(()), None
        for t in range(settings.sequence_length):
            if t % settings.forcing.interval_steps == 0:
                hidden = x[t] @ torch.linalg.pinv(self.read.weight).T
                state = (hidden, torch.zeros_like(hidden)) if lstm else hidden
            state = self.cell(nothing, state)
            loss = loss + ((self.read(state[0] if lstm else state) - x[t + 1]) ** 2).mean()
        self.optimizer.zero_grad()
        (loss / settings.sequence_length).backward()
        self.optimizer.step()


def engines(n: int, spec: dict[str, Any]) -> tuple[CompiledEngine, ReferenceEngine | CellLoop]:
    walk = np.cumsum(np.random.default_rng(0).standard_normal((9000, n)), axis=0)
    asked = TrainSpec.model_validate(spec | {"regularization": {"smoothing": "off"}})
    parts = split([(0, walk)], asked)
    settings = resolve(asked, parts, n, 1.0, None)
    data = prepare(parts, settings, [f"x{i}" for i in range(n)])
    slow = CellLoop(settings, data) if settings.architecture in CELLS else ReferenceEngine(settings, data)
    return CompiledEngine(settings, data), slow


def cell_updates_per_second(loop: CellLoop, seconds: float) -> float:
    random, done, began = np.random.default_rng(0), 0, time.process_time()
    while time.process_time() - began < seconds or done == 0:
        loop.update(random.choice(loop.data.starts, loop.settings.batch_size))
        done += 1
    return done / (time.process_time() - began)


def updates_per_second(engine: CompiledEngine | ReferenceEngine, seconds: float) -> float:
    """Rate per second of CPU time over a stretch of about `seconds`, block by block as in training."""
    learner = engine.learner(0)
    workspace = engine.workspace(learner)
    done, block, began = 0, 1, time.process_time()
    forcing = engine.settings.forcing
    while (spent := time.process_time() - began) < seconds:
        schedule = forcing_schedule(forcing, done, block, 10**9)
        n, _ = engine.advance(learner, workspace, done, np.full(block, 1e-4), *schedule)  # type: ignore[arg-type]
        done += n
        block = max(1, int(done / max(spent, 1e-3) * 0.05))
    return done / (time.process_time() - began)


def measure(seconds: float) -> list[dict]:
    rows = []
    for name, configuration in CONFIGURATIONS.items():
        compiled, slow = engines(*configuration)
        began = time.process_time()
        compiled.compile()
        compile_seconds = time.process_time() - began
        rates: dict[str, list[float]] = {"compiled": [], "eager": []}
        for _ in range(3):
            rates["compiled"].append(updates_per_second(compiled, seconds / 3))
            measure_slow = cell_updates_per_second if isinstance(slow, CellLoop) else updates_per_second
            rates["eager"].append(measure_slow(slow, seconds / 3))  # type: ignore[arg-type]
        fast, eager = max(rates["compiled"]), max(rates["eager"])
        rows.append(
            {
                "configuration": name,
                "compiled_updates_per_second": round(fast),
                "eager": "torch.nn cell in a loop" if isinstance(slow, CellLoop) else "torch reference",
                "eager_updates_per_second": round(eager, 2),
                "ratio": round(fast / eager),
                "rounds": {k: [round(v, 2) for v in values] for k, values in rates.items()},
                "compile_or_load_cpu_seconds": round(compile_seconds, 2),
            }
        )
        print(f"{name:40s} {fast:10.0f} {eager:10.1f} {fast / eager:8.0f}x   {compile_seconds:6.1f} s", flush=True)
    return rows


def overhead(seconds: float) -> dict[str, float]:
    """CPU time of a run with progress, stop checks and a checkpoint every five seconds, over that of one compiled call."""
    compiled, _ = engines(*next(iter(CONFIGURATIONS.values())))
    compiled.compile()
    settings = compiled.settings
    updates = int(updates_per_second(compiled, 1.0) * seconds)
    rates = learning_rates(settings.schedule, settings.peak_rate, settings.final_rate, 0, updates, updates)
    schedule = forcing_schedule(settings.forcing, 0, updates, updates)
    ratios = []
    for _ in range(5):
        began = time.process_time()
        learner = compiled.learner(0)
        compiled.advance(learner, compiled.workspace(learner), 0, rates, *schedule)
        alone, began = time.process_time() - began, time.process_time()
        state = SeedState(0, updates, compiled.learner(0))
        runner = SeedRunner(compiled, state, lambda theta: Judgement(0.0, "ok", ""), time.perf_counter() + 1e6)
        saved = time.perf_counter()

        def publish(copy: SeedState) -> None:
            nonlocal saved
            if time.perf_counter() - saved > CHECKPOINT_SECONDS:
                checkpoint.dump([copy] * settings.seeds, 0.0, "benchmark")
                saved = time.perf_counter()

        runner.run(threading.Event(), publish)
        ratios.append((time.process_time() - began) / alone)
    return {"updates": updates, "median_ratio": statistics.median(ratios), "ratios": ratios}


def machine() -> dict[str, object]:
    names = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "features": [f for f in ("avx2", "avx512f") if f in Path("/proc/cpuinfo").read_text()],
        "numba": numba.__version__,
        "torch": torch.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0, help="measured per engine and configuration")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'configuration':40s} {'compiled/s':>10s} {'eager/s':>10s} {'ratio':>9s}   {'compile':>6s}")
    rows = measure(arguments.seconds)
    extra = overhead(arguments.seconds)
    print(f"progress, stop checks and checkpoints cost {extra['median_ratio'] - 1:+.1%} of the kernels' time")
    document = {"machine": machine(), "rows": rows, "overhead": extra}
    arguments.output.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()

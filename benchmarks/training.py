"""Updates per second of the compiled engine against the eager torch reference: same work, same run, one thread.

    python -m benchmarks.training [--seconds 2] [--output benchmarks/training.json]

Both engines train the clipped shallow PLRNN with generalised forcing on a random walk, in one thread. Rounds alternate, the
best of each counts; time is the process's CPU time, so that other work on the machine does not decide the ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numba
import numpy as np
import torch

from domain.specs import TrainSpec
from dynamics.training.data import prepare
from dynamics.training.engine import CompiledEngine
from dynamics.training.reference import ReferenceEngine
from dynamics.training.settings import resolve
from dynamics.training.split import split

CONFIGURATIONS = {  # name: (observed, latent, hidden, steps, observation)
    "Lorenz-63 (M 3, H 50, T 200, B 16)": (3, 3, 50, 200, "identity"),
    "Lorenz-63 (M 3, H 100, T 200, B 16)": (3, 3, 100, 200, "identity"),
    "ECG (M 5, H 250, T 200, B 16)": (5, 5, 250, 200, "identity"),
    "EEG (M 16, H 512, T 50, B 16, N 64)": (64, 16, 512, 50, "affine"),
}


def engines(n: int, m: int, h: int, steps: int, observation: str) -> tuple[CompiledEngine, ReferenceEngine]:
    walk = np.cumsum(np.random.default_rng(0).standard_normal((9000, n)), axis=0)
    spec = TrainSpec.model_validate(
        {
            "architecture": "clipped-shplrnn",
            "latent_dim": m,
            "hidden_dim": h,
            "observation": {"kind": observation},
            "sequence_length": steps,
            "forcing": {"kind": "gtf", "alpha": 0.15},
        }
    )
    parts = split([(0, walk)], spec)
    settings = resolve(spec, parts, n, 1.0, None)
    data = prepare(parts, settings, [f"x{i}" for i in range(n)])
    return CompiledEngine(settings, data), ReferenceEngine(settings, data)


def updates_per_second(engine: CompiledEngine | ReferenceEngine, seconds: float) -> float:
    """Rate per second of CPU time over a stretch of about `seconds`, block by block as in training."""
    learner = engine.learner(0)
    workspace = engine.workspace(learner)
    done, block, began = 0, 1, time.process_time()
    while (spent := time.process_time() - began) < seconds:
        n, _ = engine.advance(learner, workspace, done, np.full(block, 1e-4), np.full(block, 0.15))  # type: ignore[arg-type]
        done += n
        block = max(1, int(done / max(spent, 1e-3) * 0.05))
    return done / (time.process_time() - began)


def measure(seconds: float) -> list[dict]:
    rows = []
    for name, sizes in CONFIGURATIONS.items():
        compiled, reference = engines(*sizes)
        began = time.process_time()
        compiled.compile()
        compile_seconds = time.process_time() - began
        rates: dict[str, list[float]] = {"compiled": [], "eager": []}
        for _ in range(3):
            rates["compiled"].append(updates_per_second(compiled, seconds / 3))
            rates["eager"].append(updates_per_second(reference, seconds / 3))
        fast, slow = max(rates["compiled"]), max(rates["eager"])
        rows.append(
            {
                "configuration": name,
                "compiled_updates_per_second": round(fast),
                "eager_updates_per_second": round(slow, 2),
                "ratio": round(fast / slow),
                "rounds": {k: [round(v, 2) for v in values] for k, values in rates.items()},
                "compile_or_load_cpu_seconds": round(compile_seconds, 2),
            }
        )
        print(f"{name:40s} {fast:10.0f} {slow:10.1f} {fast / slow:8.0f}x   {compile_seconds:6.1f} s", flush=True)
    return rows


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
    document = {"machine": machine(), "rows": measure(arguments.seconds)}
    arguments.output.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()

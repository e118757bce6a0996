"""Our Lyapunov estimates beside other packages', against spectra computed from each system's equations.

    python benchmarks/lyapunov.py [--systems lorenz,henon | --data DIR] [--steps 10000] [--noise 0,0.01] [--estimators attractor]
        [--cap 60] [--workers 2] [--rows rows.jsonl] [--output benchmarks/lyapunov.json]

Every system is seen in full and by its first coordinate. Systems are those of `lyapunov_systems.py`; with --data, every DIR/*.npz:
clean and noisy (1 %) (T, m), true (descending exponents per time unit), true_se, meta (JSON with dt and ctrl, null for chaos).
Every answer is one line of --rows, and what is there already is not computed again: run it in pieces, in several environments,
with and without peers, then once more with --output for the table of all of them. Seconds are CPU seconds of one process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from domain.specs import LyapunovSpec
from dynamics.lyapunov import analyze
from dynamics.lyapunov.sampling import inspect

sys.path.insert(0, str(Path(__file__).parent))
import lyapunov_peers as peers
import lyapunov_systems as systems
from lyapunov_table import table

OWN = "attractor"
NOISE_SEED = 5


@dataclass(frozen=True)
class Task:
    """One system at one length; every view, noise and estimator that is still missing of it."""

    name: str
    folder: str | None
    steps: int
    reference_steps: int
    missing: tuple[tuple[str, float, str], ...]  # view, noise, estimator
    cap: float  # CPU seconds that a peer may take for one series

    @property
    def source(self) -> str:
        return "own" if self.folder is None else Path(self.folder).name


@dataclass(frozen=True)
class Series:
    """One system's series (T, m), and its reference."""

    clean: np.ndarray
    noisy: np.ndarray | None  # 1 %, where a file has it
    dt: float
    chaotic: bool
    truth: list[float]
    error: list[float]

    def seen(self, view: str, noise: float) -> np.ndarray:
        """The clean series, or with noise of that share of every coordinate's standard deviation."""
        if noise == 0.01 and self.noisy is not None:
            x = self.noisy
        else:
            rng = np.random.default_rng(NOISE_SEED)
            x = self.clean + noise * self.clean.std(axis=0) * rng.standard_normal(self.clean.shape)
        return x[:, :1] if view == "scalar" else x


def load(task: Task) -> Series:
    if task.folder is None:
        system = systems.SYSTEMS[task.name]
        x = systems.series(task.name, task.steps)
        truth, error = systems.reference(task.name, x, task.reference_steps)
        return Series(x, None, system.dt or 1.0, system.chaotic, truth, error)
    with np.load(Path(task.folder) / f"{task.name}.npz", allow_pickle=False) as f:
        meta = json.loads(str(f["meta"]))
        clean, noisy = (np.asarray(f[k], dtype=float)[: task.steps] for k in ("clean", "noisy"))
        truth, error = ([float(v) for v in np.atleast_1d(f[k])] for k in ("true", "true_se"))
    return Series(clean, noisy, float(meta["dt"] or 1.0), meta["ctrl"] is None, truth, error)


def own(x: np.ndarray, dt: float) -> dict[str, object]:
    a = analyze([x], dt=dt, time_unit="", spec=LyapunovSpec(confidence_level=0.95, budget_seconds=600))
    return {
        "verdict": a.verdict.kind, "lambda_max": a.lambda_max.value, "ci": a.lambda_max.ci,
        "spectrum": a.lyapunov_spectrum.exponents, "kaplan_yorke": a.kaplan_yorke_dimension.value,
    }  # fmt: skip


def answers(task: Task) -> list[dict[str, object]]:
    """All that is missing of one system."""
    series, rows = load(task), []
    if any(estimator == OWN for *_, estimator in task.missing):  # compiles, or loads what was compiled
        analyze([np.random.default_rng(0).standard_normal((300, 1))], dt=1.0, time_unit="", spec=LyapunovSpec())
    for view, noise, estimator in task.missing:
        x = series.seen(view, noise)
        if view == "full" and x.shape[1] == 1:
            continue
        row: dict[str, object] = {
            "source": task.source, "system": task.name, "steps": task.steps, "view": view, "noise": noise, "estimator": estimator,
            "chaotic": series.chaotic, "reference": series.truth, "reference_error": series.error,
            "period": inspect([(x - x.mean(axis=0)) / x.std(axis=0)]).period_steps * series.dt,
        }  # fmt: skip
        began = time.process_time()
        if estimator == OWN:
            row |= own(x, series.dt)
        else:
            value, reason = peers.estimate(estimator, x, task.cap)
            row |= {"lambda_max": None if value is None else value / series.dt, "reason": reason}
        rows.append(row | {"seconds": round(time.process_time() - began, 3)})
    return rows


def key(row: dict) -> tuple:
    return tuple(row[k] for k in ("source", "system", "steps", "view", "noise", "estimator"))


def stored(path: Path | None) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path and path.exists() else []


def tasks(args: argparse.Namespace, done: set[tuple]) -> Iterator[Task]:
    present = {p for p, version in peers.installed().items() if version}
    wanted = args.estimators.split(",") if args.estimators else [OWN, *peers.PEERS]
    wanted = [e for e in wanted if e == OWN or peers.PEERS[e].package in present]
    if args.data:
        names, folder = sorted(p.stem for p in args.data.glob("*.npz")), str(args.data)
    else:
        names, folder = args.systems.split(",") if args.systems else list(systems.SYSTEMS), None
    for steps in (int(s) for s in args.steps.split(",")):
        for name in names:
            cases = [
                (view, noise, e)
                for e in wanted
                for noise in (float(v) for v in args.noise.split(","))
                for view in ("full", "scalar")
                if e == OWN or peers.PEERS[e].view == view
            ]
            probe = Task(name, folder, steps, args.reference_steps, (), args.cap)
            missing = tuple(c for c in cases if (probe.source, name, steps, *c) not in done)
            if missing:
                yield Task(name, folder, steps, args.reference_steps, missing, args.cap)


def run(args: argparse.Namespace) -> list[dict]:
    rows = stored(args.rows)
    todo = list(tasks(args, {key(r) for r in rows}))
    with ProcessPoolExecutor(max_workers=args.workers) as pool:
        for number, found in enumerate(pool.map(answers, todo), 1):
            rows += found
            print(
                f"{number} of {len(todo)}: {found[0]['system'] if found else 'nothing to see'}",
                file=sys.stderr,
                flush=True,
            )
            if args.rows:
                with args.rows.open("a") as f:
                    f.writelines(json.dumps(r) + "\n" for r in found)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", help="comma-separated names; default: all of " + ", ".join(systems.SYSTEMS))
    parser.add_argument("--data", type=Path, help="series in files instead of computed ones")
    parser.add_argument("--steps", default="10000", help="comma-separated lengths")
    parser.add_argument("--noise", default="0,0.01", help="comma-separated shares of the standard deviation")
    parser.add_argument(
        "--estimators", help=f"comma-separated: {OWN}, {', '.join(peers.PEERS)}; default: all that are installed"
    )
    parser.add_argument("--reference-steps", type=int, default=2_400_000)
    parser.add_argument("--cap", type=float, default=60.0, help="CPU seconds that a peer may take for one series")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rows", type=Path, help="one line per answer, read first and added to")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    rows = run(args)
    lines = table(rows)
    print("\n".join(lines))
    if args.output:
        head = {"machine": platform.platform(), "peers": peers.installed(), "table": lines}
        args.output.write_text(
            json.dumps(head | {"rows": sorted(rows, key=lambda r: str(key(r)))}, indent=None, separators=(",", ":"))
        )


if __name__ == "__main__":
    main()

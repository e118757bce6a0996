"""Our Lyapunov estimates beside other packages', against spectra computed from each system's equations.

    python benchmarks/lyapunov.py [--systems lorenz,henon] [--steps 10000] [--folder DIR] [--output lyapunov.json] [--no-peers]

Every system of `lyapunov_systems.py` is seen in full and by its first coordinate, clean and with 1 % noise. With --folder, every
DIR/*.npz is one more: clean and noisy (T, m), true (descending exponents per time unit), meta (JSON with dt and ctrl, null for
chaos). Seconds are CPU seconds of this process. Errors are relative; peers get the first coordinate, with their defaults: nolds,
and NeuroKit2 where it is installed.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import importlib.metadata
import importlib.util
import json
import platform
import sys
import time
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from domain.specs import LyapunovSpec
from dynamics.lyapunov import analyze

sys.path.insert(0, str(Path(__file__).parent))
import lyapunov_systems as systems

MIN_CHAOS = 0.02  # lambda_max times mean period above which a peer without a verdict counts as saying "chaotic"


@dataclass(frozen=True)
class Series:
    """One system's series, clean and noisy, and its reference."""

    name: str
    clean: np.ndarray
    noisy: np.ndarray
    dt: float
    chaotic: bool
    truth: list[float]
    error: list[float]


def computed(names: list[str], n_steps: int, n_reference: int) -> Iterator[Series]:
    """Systems of `lyapunov_systems.py`."""
    for name in names:
        system = systems.SYSTEMS[name]
        x = systems.series(name, n_steps)
        truth, error = systems.reference(name, x, n_reference)
        noisy = x + 0.01 * x.std(axis=0) * np.random.default_rng(5).standard_normal(x.shape)
        yield Series(name, x, noisy, system.dt or 1.0, system.chaotic, truth, error)


def stored(folder: Path, n_steps: int) -> Iterator[Series]:
    """Series with references in files."""
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as f:
            meta = json.loads(str(f["meta"]))
            clean, noisy = (np.asarray(f[k], dtype=float)[:n_steps] for k in ("clean", "noisy"))
            truth, error = ([float(v) for v in np.atleast_1d(f[k])] for k in ("true", "true_se"))
        yield Series(path.stem, clean, noisy, float(meta["dt"] or 1.0), meta["ctrl"] is None, truth, error)


@functools.cache
def _nolds() -> types.ModuleType:
    """nolds.measures without the package's __init__, which loads a data file in a way that Python 3.11 refuses (0.6.3)."""
    found = importlib.util.find_spec("nolds")
    if found is None:
        raise SystemExit("nolds is not installed: make install, or --no-peers")
    package = types.ModuleType("nolds")
    package.__path__ = list(found.submodule_search_locations or [])
    sys.modules["nolds"] = package
    return importlib.import_module("nolds.measures")


def estimators() -> dict[str, Callable[[np.ndarray], float]]:
    """lambda_max per step of a scalar series, by package, with its defaults."""
    nolds = _nolds()
    found: dict[str, Callable[[np.ndarray], float]] = {
        "nolds lyap_r": lambda s: float(nolds.lyap_r(s)),
        "nolds lyap_e": lambda s: float(np.max(nolds.lyap_e(s))),
    }
    if importlib.util.find_spec("neurokit2") is not None:
        neurokit = importlib.import_module("neurokit2")
        found["NeuroKit2"] = lambda s: float(neurokit.complexity_lyapunov(s)[0])
    return found


def peers(x: np.ndarray, dt: float) -> dict[str, dict[str, float | None]]:
    """What other packages say about a scalar series (T,); None where they fail, with the reason printed."""
    found: dict[str, dict[str, float | None]] = {}
    for label, estimate in estimators().items():
        began = time.process_time()
        value: float | None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                value = estimate(x) / dt
            except (ValueError, IndexError, np.linalg.LinAlgError) as reason:
                print(f"{label}: {reason}", file=sys.stderr)
                value = None
        if value is not None and not np.isfinite(value):
            value = None
        found[label] = {"lambda_max": value, "seconds": time.process_time() - began}
    return found


def measured(s: Series, view: str, noise: float, with_peers: bool) -> dict[str, object]:
    """One row: our answer and the peers' on the same series."""
    x = s.noisy if noise else s.clean
    y = x[:, :1] if view == "scalar" else x
    began = time.process_time()
    a = analyze([y], dt=s.dt, time_unit="", spec=LyapunovSpec(confidence_level=0.95, budget_seconds=600))
    seconds = time.process_time() - began
    period = a.diagnostics["sampling"]["mean_period_steps"] * s.dt
    return {
        "system": s.name, "view": view, "noise": noise, "reference": s.truth, "reference_error": s.error, "chaotic": s.chaotic,
        "verdict": a.verdict.kind, "lambda_max": a.lambda_max.value, "ci": a.lambda_max.ci, "spectrum": a.lyapunov_spectrum.exponents,
        "kaplan_yorke": a.kaplan_yorke_dimension.value, "seconds": seconds, "period": period,
        "peers": peers(y[:, 0], s.dt) if with_peers and view == "scalar" else {},
    }  # fmt: skip


def run(args: argparse.Namespace) -> list[dict[str, object]]:
    names = args.systems.split(",") if args.systems else list(systems.SYSTEMS)
    sources = stored(args.folder, args.steps) if args.folder else computed(names, args.steps, args.reference_steps)
    analyze([np.random.default_rng(0).standard_normal((300, 1))], dt=1.0, time_unit="", spec=LyapunovSpec())  # compiles
    rows: list[dict[str, object]] = []
    for series in sources:
        for noise in (0.0, 0.01):
            for view in ("full", "scalar"):
                if view == "full" and series.clean.shape[1] == 1:
                    continue
                rows.append(measured(series, view, noise, not args.no_peers))
                print(json.dumps(rows[-1]), flush=True)
                if args.output:
                    save(args, rows)
    return rows


def save(args: argparse.Namespace, rows: list[dict[str, object]]) -> None:
    versions: dict[str, str | None] = {}
    for package in ("nolds", "neurokit2"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    head = {"machine": platform.platform(), "steps": args.steps, "peers": versions}
    args.output.write_text(json.dumps(head | {"table": table(rows).splitlines(), "rows": rows}, indent=1))


def _dimension(exponents: list[float]) -> float:
    sums = np.cumsum(exponents)
    if not exponents or exponents[0] < 0 or sums[-1] >= 0:
        return float("nan")
    j = int(np.nonzero(sums >= 0)[0][-1])
    return float(j + 1 + sums[j] / -exponents[j + 1])


def _line(label: str, rows: list[dict], values: list[float | None], chaotic: list[bool], seconds: list[float]) -> str:
    chaos = [i for i, r in enumerate(rows) if r["chaotic"]]
    errors = [
        1.0 if values[i] is None else abs(values[i] - rows[i]["reference"][0]) / rows[i]["reference"][0] for i in chaos
    ]
    return (
        f"{label:30s} {100 * np.median(errors):7.2f} % {sum(e <= 0.1 for e in errors):5d} {sum(e <= 0.25 for e in errors):5d} of "
        f"{len(chaos):<3d} {sum(chaotic[i] for i in chaos):6d} {sum(c for c, r in zip(chaotic, rows, strict=True) if not r['chaotic']):6d}"
        f" of {len(rows) - len(chaos):<3d} {np.median(seconds):7.2f} {max(seconds):6.1f}"
    )


def table(rows: list[dict]) -> str:
    """Per view and noise: error of lambda_max, verdicts and seconds, ours and the peers'; then what only we give."""
    lines = [f"{'':30s}   median   <10%  <25%          found  false        s: median, max"]
    for view in ("full", "scalar"):
        for noise in (0.0, 0.01):
            group = [r for r in rows if r["view"] == view and r["noise"] == noise]
            chaos = [r for r in group if r["chaotic"]]
            if not chaos:
                continue
            said = [r["verdict"] == "chaotic" for r in group]
            lines.append(
                _line(
                    f"{view} {noise:g}: attractor",
                    group,
                    [r["lambda_max"] for r in group],
                    said,
                    [r["seconds"] for r in group],
                )
            )
            covered = sum(r["ci"] is not None and r["ci"][0] <= r["reference"][0] <= r["ci"][1] for r in chaos)
            whole = [r for r in chaos if len(r["spectrum"]) == len(r["reference"]) and None not in r["spectrum"]]
            note = f"  interval covers {covered} of {len(chaos)}"
            if view == "full" and whole:
                off = [
                    sum(abs(a - b) for a, b in zip(r["spectrum"], r["reference"], strict=True))
                    / sum(map(abs, r["reference"]))
                    for r in whole
                ]
                dims = [abs((r["kaplan_yorke"] or np.nan) - _dimension(r["reference"])) for r in whole]
                note += f"; spectrum off by {100 * np.median(off):.2f} %, Kaplan-Yorke dimension by {np.nanmedian(dims):.4f} (medians)"
            lines.append(note)
            for peer in group[0]["peers"]:
                values = [r["peers"][peer]["lambda_max"] for r in group]
                said = [v is not None and v * r["period"] > MIN_CHAOS for v, r in zip(values, group, strict=True)]
                lines.append(
                    _line(
                        f"{view} {noise:g}: {peer}", group, values, said, [r["peers"][peer]["seconds"] for r in group]
                    )
                )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", help="comma-separated names; default: all of " + ", ".join(systems.SYSTEMS))
    parser.add_argument("--folder", type=Path, help="series in files instead of computed ones")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--reference-steps", type=int, default=240_000)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    rows = run(args)
    print(table(rows))
    if args.output:
        save(args, rows)


if __name__ == "__main__":
    main()

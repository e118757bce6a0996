"""Our Lyapunov estimates beside nolds, against spectra computed here from each system's equations.

    python benchmarks/lyapunov.py [--systems lorenz,henon] [--steps 10000] [--output lyapunov.json] [--no-peers]

Every system is seen in full and by its first coordinate, clean and with 1 % noise. References: QR of the exact tangent
dynamics, float64. Errors are relative; a verdict counts as wrong where a control is called chaotic.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import importlib.util
import json
import platform
import statistics
import sys
import time
import types
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from domain.specs import LyapunovSpec
from dynamics.lyapunov import analyze


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


@dataclass(frozen=True)
class System:
    """A flow (dt > 0, `rule` its vector field) or a map (dt = 0, `rule` one step)."""

    rule: Callable[[np.ndarray], np.ndarray] | None
    start: tuple[float, ...]
    dt: float
    chaotic: bool


def lorenz(x: np.ndarray) -> np.ndarray:
    return np.array([10 * (x[1] - x[0]), x[0] * (28 - x[2]) - x[1], x[0] * x[1] - 8 / 3 * x[2]])


def roessler(x: np.ndarray) -> np.ndarray:
    return np.array([-x[1] - x[2], x[0] + 0.2 * x[1], 0.2 + x[2] * (x[0] - 5.7)])


def sprott_b(x: np.ndarray) -> np.ndarray:
    return np.array([x[1] * x[2], x[0] - x[1], 1 - x[0] * x[1]])


def rucklidge(x: np.ndarray) -> np.ndarray:
    return np.array([-2 * x[0] + 6.7 * x[1] - x[1] * x[2], x[0], -x[2] + x[1] ** 2])


def van_der_pol(x: np.ndarray) -> np.ndarray:
    return np.array([x[1], (1 - x[0] ** 2) * x[1] - x[0]])


def henon(x: np.ndarray) -> np.ndarray:
    return np.array([1 - 1.4 * x[0] ** 2 + x[1], 0.3 * x[0]])


def logistic(x: np.ndarray) -> np.ndarray:
    return 3.9 * x * (1 - x)


def delayed_logistic(x: np.ndarray) -> np.ndarray:
    return np.array([2.27 * x[0] * (1 - x[1]), x[0]])


SYSTEMS = {
    "lorenz": System(lorenz, (1.0, 2.0, 20.0), 0.02, True),
    "roessler": System(roessler, (1.0, 1.0, 0.0), 0.12, True),
    "sprott-b": System(sprott_b, (0.1, 0.1, 0.1), 0.1, True),
    "rucklidge": System(rucklidge, (1.0, 0.0, 4.5), 0.05, True),
    "henon": System(henon, (0.1, 0.1), 0.0, True),
    "logistic": System(logistic, (0.31,), 0.0, True),
    "delayed-logistic": System(delayed_logistic, (0.5, 0.4), 0.0, True),
    "van-der-pol": System(van_der_pol, (1.0, 0.0), 0.13, False),
    "white-noise": System(None, (0.0, 0.0), 0.0, False),
    "ar2-noise": System(None, (0.0, 0.0), 0.0, False),
}
SUBSTEPS = 4


def jacobian(rule: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """Exact for the quadratic and nearly so for the cubic rules above: central differences of step 1e-5."""
    h = 1e-5
    return np.column_stack([(rule(x + h * e) - rule(x - h * e)) / (2 * h) for e in np.eye(len(x))])


def advance(system: System, x: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """State and tangent vectors one sample later."""
    rule = system.rule
    assert rule is not None
    if system.dt == 0.0:
        return rule(x), jacobian(rule, x) @ q
    h = system.dt / SUBSTEPS
    for _ in range(SUBSTEPS):
        a, da = rule(x), jacobian(rule, x) @ q
        b, db = rule(x + h / 2 * a), jacobian(rule, x + h / 2 * a) @ (q + h / 2 * da)
        c, dc = rule(x + h / 2 * b), jacobian(rule, x + h / 2 * b) @ (q + h / 2 * db)
        d, dd = rule(x + h * c), jacobian(rule, x + h * c) @ (q + h * dc)
        x, q = x + h / 6 * (a + 2 * b + 2 * c + d), q + h / 6 * (da + 2 * db + 2 * dc + dd)
    return x, q


def simulate(system: System, name: str, n_steps: int, n_reference: int) -> tuple[np.ndarray, list[float]]:
    """A series (n_steps, N) and the exponents per time unit from n_reference samples; empty for noise."""
    rng = np.random.default_rng(11)
    if system.rule is None:
        x = rng.standard_normal((n_steps, 2))
        if name.startswith("ar2"):
            for t in range(2, n_steps):
                x[t] += 1.6 * x[t - 1] - 0.8 * x[t - 2]
        return x, []
    x, q, total, series = np.array(system.start), np.eye(len(system.start)), np.zeros(len(system.start)), []
    for t in range(-1000, max(n_steps, n_reference)):
        if t >= 0 and len(series) < n_steps:
            series.append(x)
        x, v = advance(system, x, q)
        q, r = np.linalg.qr(v)
        if t >= 0:
            total += np.log(np.abs(np.diag(r)))
    return np.array(series), list(total / max(n_steps, n_reference) / (system.dt or 1.0))


def peers(x: np.ndarray, dt: float) -> dict[str, dict[str, float]]:
    """nolds with its defaults, on the first coordinate (it takes scalar series)."""
    nolds = _nolds()
    found = {}
    for label, estimate in (("nolds lyap_r", nolds.lyap_r), ("nolds lyap_e", lambda s: float(np.max(nolds.lyap_e(s))))):
        began = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = float(estimate(x[:, 0])) / dt
        found[label] = {"lambda_max": value, "seconds": time.perf_counter() - began}
    return found


def run(args: argparse.Namespace) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for name in args.systems.split(",") if args.systems else SYSTEMS:
        system = SYSTEMS[name]
        dt = system.dt or 1.0
        clean, truth = simulate(system, name, args.steps, args.reference_steps)
        for share in (0.0, 0.01):
            x = clean + share * clean.std(axis=0) * np.random.default_rng(5).standard_normal(clean.shape)
            for view, y in (("full", x), ("scalar", x[:, :1])):
                if view == "scalar" and x.shape[1] == 1:
                    continue
                a = analyze([y], dt=dt, time_unit="", spec=LyapunovSpec(confidence_level=0.95))
                row: dict[str, object] = {
                    "system": name, "view": view, "noise": share, "reference": truth, "chaotic": system.chaotic,
                    "verdict": a.verdict.kind, "lambda_max": a.lambda_max.value, "ci": a.lambda_max.ci,
                    "spectrum": a.lyapunov_spectrum.exponents, "seconds": a.seconds,
                    "peers": peers(y, dt) if view == "scalar" and not args.no_peers else {},
                }  # fmt: skip
                rows.append(row)
                print(json.dumps(row), flush=True)
    return rows


def table(rows: list[dict[str, object]]) -> str:
    """Median relative error of lambda_max, coverage of the 95 % interval, verdicts and seconds, per view and noise."""
    lines = ["view    noise  error   covered  chaos found  false chaos  seconds  nolds lyap_r  nolds lyap_e"]
    for view in ("full", "scalar"):
        for noise in (0.0, 0.01):
            group = [r for r in rows if r["view"] == view and r["noise"] == noise]
            chaos = [r for r in group if r["chaotic"]]
            if not chaos:
                continue
            known = [(r, r["reference"][0]) for r in chaos]  # type: ignore[index]
            errors = [abs((r["lambda_max"] or 0.0) - t) / t for r, t in known]  # type: ignore[operator]
            covered = [r["ci"] is not None and r["ci"][0] <= t <= r["ci"][1] for r, t in known]  # type: ignore[index]
            others = [
                statistics.median(abs(r["peers"][p]["lambda_max"] - t) / t for r, t in known)  # type: ignore[index]
                if all(r["peers"] for r in chaos)
                else float("nan")
                for p in ("nolds lyap_r", "nolds lyap_e")
            ]
            lines.append(
                f"{view:7s} {noise:5.2f} {100 * statistics.median(errors):5.1f} % {100 * np.mean(covered):6.0f} % "
                f"{sum(r['verdict'] == 'chaotic' for r in chaos):6d}/{len(chaos):<5d} "
                f"{sum(r['verdict'] == 'chaotic' for r in group if not r['chaotic']):8d} "
                f"{statistics.median(float(r['seconds']) for r in group):11.1f} "  # type: ignore[arg-type]
                f"{100 * others[0]:10.0f} % {100 * others[1]:10.0f} %"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", help="comma-separated names; default: all of " + ", ".join(SYSTEMS))
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--reference-steps", type=int, default=40_000)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    rows = run(args)
    print(table(rows))
    if args.output:
        args.output.write_text(
            json.dumps({"machine": platform.platform(), "steps": args.steps, "rows": rows}, indent=1)
        )


if __name__ == "__main__":
    main()

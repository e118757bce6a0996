"""Series that are not chaotic, in numbers: none of them may be called so.

    python benchmarks/lyapunov_controls.py [--kinds ar,torus] [--steps 1000,2000,10000] [--noise 0,0.01,0.1] [--draws 1] [--workers 1]
        [--budget 20] [--rows controls.jsonl] [--output benchmarks/lyapunov_controls.json]

Every kind draws its own parameters at random, anew for each length, noise, view and draw; the seed is made of these, so that any row can be
repeated. `scalar` sees the first coordinate, `full` all of them. What is in --rows is not computed again. Exit status 1 where a control
was called chaotic.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy import signal

from domain.specs import LyapunovSpec
from dynamics.lyapunov import analyze

sys.path.insert(0, str(Path(__file__).parent))
import lyapunov_systems as systems

Rng = np.random.Generator


def _autoregressive(rng: Rng, n: int, radius: tuple[float, float], moving: int = 0) -> np.ndarray:
    """(n, 2): one stable pair of poles per column, driven by white noise, after `moving` coefficients of a moving average."""
    out = []
    for _ in range(2):
        pole = rng.uniform(*radius) * np.exp(1j * rng.uniform(0.05, 1.5))
        drive = signal.lfilter(np.r_[1.0, rng.normal(0, 0.5, moving)], 1.0, rng.standard_normal(n + 500))
        out.append(signal.lfilter([1.0], np.poly([pole, np.conj(pole)]).real, drive)[500:])
    return np.column_stack(out)


def _coupled_noise(rng: Rng, n: int) -> np.ndarray:
    """Vector autoregression of order 1 with three channels."""
    a = rng.standard_normal((3, 3))
    a *= rng.uniform(0.6, 0.98) / np.max(np.abs(np.linalg.eigvals(a)))
    x = np.zeros((n + 300, 3))
    for t in range(1, len(x)):
        x[t] = a @ x[t - 1] + rng.standard_normal(3)
    return x[300:]


def _garch(rng: Rng, n: int) -> np.ndarray:
    a, b, s, out = rng.uniform(0.05, 0.2), rng.uniform(0.6, 0.78), 1.0, np.empty((n, 2))
    for t in range(n):
        out[t] = np.sqrt(s) * rng.standard_normal(2)
        s = 0.1 + a * out[t, 0] ** 2 + b * s
    return out


def _threshold(rng: Rng, n: int) -> np.ndarray:
    """Self-exciting threshold autoregression driven by noise: nonlinear, its skeleton stable."""
    low, high = rng.uniform(-0.8, 0.8, 2)
    x = np.zeros((n + 100, 2))
    for t in range(1, len(x)):
        x[t] = np.where(x[t - 1] < 0, low, high) * x[t - 1] + rng.standard_normal(2)
    return x[100:]


def _surrogate(rng: Rng, n: int, name: str) -> np.ndarray:
    """The phases of all channels of a chaotic series turned alike."""
    x = systems.series(name, n)
    transform = np.fft.rfft(x, axis=0)
    turned = transform * np.exp(2j * np.pi * rng.uniform(size=(len(transform), 1)))
    turned[0] = transform[0]
    return np.fft.irfft(turned, n, axis=0)


def _shuffled(rng: Rng, n: int, name: str) -> np.ndarray:
    return rng.permutation(systems.series(name, n))


def _telegraph(rng: Rng, n: int) -> np.ndarray:
    flips = np.cumprod(np.where(rng.uniform(size=(n, 2)) < rng.uniform(0.02, 0.3), -1.0, 1.0), axis=0)
    return flips + 0.05 * rng.standard_normal((n, 2))


def _shots(rng: Rng, n: int) -> np.ndarray:
    kicks = (rng.uniform(size=(n, 2)) < 0.03) * rng.exponential(1.0, (n, 2))
    return signal.lfilter([1.0], [1.0, -rng.uniform(0.85, 0.97)], kicks, axis=0)


def _pink(rng: Rng, n: int) -> np.ndarray:
    f = np.fft.rfftfreq(n)
    f[0] = f[1]
    shape = f ** -rng.uniform(0.25, 0.9)
    return np.column_stack([np.fft.irfft(shape * np.fft.rfft(rng.standard_normal(n)), n) for _ in range(2)])


def _flow(
    rng: Rng, n: int, rule: Callable, start: list[float], samples: tuple[float, float], kick: float = 0.0
) -> np.ndarray:
    """A flow sampled `samples` times per time unit, a little noise in the dynamics if asked for."""
    dt = 1.0 / rng.uniform(*samples)
    system = systems.System(rule, tuple(start), dt, False, 4)
    x, out = np.array(start) * rng.uniform(0.9, 1.1), np.empty((n, len(start)))
    for t in range(-600, n):
        x = systems.advance(system, x)
        if kick:
            x = x + kick * np.sqrt(dt) * rng.standard_normal(len(x))
        if t >= 0:
            out[t] = x
    return out


def _van_der_pol(rng: Rng, n: int, kick: float = 0.0) -> np.ndarray:
    mu = rng.uniform(0.3, 4.0)
    return _flow(rng, n, lambda x, v: (v, mu * (1 - x * x) * v - x), [1.0, 0.5], (4.0, 9.0), kick)


def _brusselator(rng: Rng, n: int) -> np.ndarray:
    b = rng.uniform(2.3, 3.2)
    return _flow(rng, n, lambda x, y: (1 + x * x * y - (b + 1) * x, b * x - x * x * y), [1.0, 1.5], (4.0, 9.0))


def _roessler_cycle(rng: Rng, n: int) -> np.ndarray:
    c = rng.uniform(2.4, 3.8)  # one turn or two
    return _flow(rng, n, lambda x, y, z: (-y - z, x + 0.2 * y, 0.2 + z * (x - c)), [1.0, 1.0, 0.0], (4.0, 9.0))


def _torus(rng: Rng, n: int, frequencies: int) -> np.ndarray:
    """Sums of incommensurate oscillations, and their products, in three channels."""
    w = rng.uniform(0.05, 0.5) * np.array([1.0, np.sqrt(3.0) / rng.uniform(1.0, 2.0), np.sqrt(7.0) / 2])[:frequencies]
    angles = np.arange(n)[:, None] * w + rng.uniform(0, 2 * np.pi, frequencies)
    base = np.cos(angles) @ rng.uniform(0.5, 1.0, frequencies)
    return np.column_stack(
        [base, np.sin(angles) @ rng.uniform(0.5, 1.0, frequencies), np.prod(1.3 + np.cos(angles), axis=1)]
    )


def _circle_map(rng: Rng, n: int) -> np.ndarray:
    k, w, x, out = rng.uniform(0.2, 0.9), rng.uniform(0.3, 0.7), 0.1, np.empty(n)
    for t in range(n):
        x += w + k / (2 * np.pi) * np.sin(2 * np.pi * x)
        out[t] = x
    return np.column_stack([np.cos(2 * np.pi * out), np.sin(2 * np.pi * out)])


def _strange_nonchaotic(rng: Rng, n: int) -> np.ndarray:
    """Grebogi, Ott, Pelikan & Yorke 1984: strange, and its exponents are not positive."""
    x, phase, out = 0.5, rng.uniform(), np.empty((n, 2))
    for t in range(-500, n):
        x, phase = 3.0 * np.tanh(x) * np.cos(2 * np.pi * phase), (phase + (np.sqrt(5) - 1) / 2) % 1.0
        if t >= 0:
            out[t] = x, np.cos(2 * np.pi * phase)
    return out


def _logistic_cycle(rng: Rng, n: int) -> np.ndarray:
    r, x, out = rng.choice([3.2, 3.5, 3.55, 3.835, 3.74]), 0.3, np.empty(n)
    for t in range(-4000, n):
        x = r * x * (1 - x)
        if t >= 0:
            out[t] = x
    return np.column_stack([out, out**2 + 0.1 * out])


def _focus(rng: Rng, n: int) -> np.ndarray:
    w, rate = rng.uniform(0.05, 0.5), rng.uniform(5.0, 14.0) / n
    angle = w * np.arange(n)
    return np.exp(-rate * np.arange(n))[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])


def _chirp(rng: Rng, n: int) -> np.ndarray:
    angle = np.cumsum(np.linspace(*rng.uniform(0.05, 0.6, 2), n))
    return np.column_stack([np.sin(angle), np.cos(angle)])


def _wave(rng: Rng, n: int) -> np.ndarray:
    """A periodic function with many harmonics."""
    w, orders = rng.uniform(0.03, 0.2), np.arange(1, 7)
    angles = np.arange(n)[:, None] * w * orders
    return np.column_stack(
        [np.cos(angles + rng.uniform(0, 6, 6)) @ (rng.standard_normal(6) / orders) for _ in range(2)]
    )


def _wandering_phase(rng: Rng, n: int) -> np.ndarray:
    angle = np.cumsum(rng.uniform(0.1, 0.5) + rng.uniform(0.02, 0.2) * rng.standard_normal(n))
    return np.column_stack([np.cos(angle), np.sin(angle)])


def _trend(rng: Rng, n: int) -> np.ndarray:
    return np.linspace(0, rng.uniform(2, 10), n)[:, None] + rng.standard_normal((n, 2))


KINDS: dict[str, Callable[[Rng, int], np.ndarray]] = {
    "white": lambda g, n: g.standard_normal((n, 2)),
    "uniform": lambda g, n: g.uniform(size=(n, 2)),
    "heavy-tailed": lambda g, n: g.standard_t(3, (n, 2)),
    "ar1": lambda g, n: signal.lfilter([1.0], [1.0, -g.uniform(0.3, 0.99)], g.standard_normal((n, 2)), axis=0),
    "ar2": lambda g, n: _autoregressive(g, n, (0.6, 0.97)),
    "ar2-narrow": lambda g, n: _autoregressive(g, n, (0.98, 0.997)),
    "arma": lambda g, n: _autoregressive(g, n, (0.6, 0.97), 3),
    "var1": _coupled_noise,
    "exp-of-ar2": lambda g, n: np.exp(0.7 * (x := _autoregressive(g, n, (0.7, 0.97))) / x.std(axis=0)),
    "cube-of-ar2": lambda g, n: _autoregressive(g, n, (0.7, 0.97)) ** 3,
    "square-of-ar2": lambda g, n: _autoregressive(g, n, (0.7, 0.97)) ** 2,
    "product-of-noises": lambda g, n: _autoregressive(g, n, (0.7, 0.97)) * _autoregressive(g, n, (0.7, 0.97)),
    "garch": _garch,
    "threshold": _threshold,
    "telegraph": _telegraph,
    "shots": _shots,
    "pink": _pink,
    "random-walk": lambda g, n: np.cumsum(g.standard_normal((n, 2)), axis=0),
    "walk-and-ar2": lambda g, n: np.cumsum(0.05 * g.standard_normal((n, 2)), axis=0) + _autoregressive(g, n, (0.7, 0.97)),
    "trend": _trend,
    "surrogate-lorenz": lambda g, n: _surrogate(g, n, "lorenz"),
    "surrogate-roessler": lambda g, n: _surrogate(g, n, "roessler"),
    "surrogate-sprott-d": lambda g, n: _surrogate(g, n, "sprott-d"),
    "surrogate-henon": lambda g, n: _surrogate(g, n, "henon"),
    "shuffled-henon": lambda g, n: _shuffled(g, n, "henon"),
    "shuffled-lorenz": lambda g, n: _shuffled(g, n, "lorenz"),
    "van-der-pol": _van_der_pol,
    "van-der-pol-kicked": lambda g, n: _van_der_pol(g, n, 0.05),
    "brusselator": _brusselator,
    "roessler-cycle": _roessler_cycle,
    "wave": _wave,
    "wandering-phase": _wandering_phase,
    "torus-2": lambda g, n: _torus(g, n, 2),
    "torus-3": lambda g, n: _torus(g, n, 3),
    "circle-map": _circle_map,
    "strange-nonchaotic": _strange_nonchaotic,
    "logistic-cycle": _logistic_cycle,
    "focus": _focus,
    "chirp": _chirp,
}  # fmt: skip


def answer(case: tuple[str, int, float, str, int, float]) -> dict[str, object]:
    """One control's verdict."""
    kind, steps, noise, view, draw, budget = case
    rng = np.random.default_rng(zlib.crc32(repr(case[:5]).encode()))
    x = KINDS[kind](rng, steps)
    x = x + noise * x.std(axis=0) * rng.standard_normal(x.shape)
    began = time.process_time()
    a = analyze([x[:, :1] if view == "scalar" else x], dt=1.0, time_unit="", spec=LyapunovSpec(budget_seconds=budget))
    found = {
        "verdict": a.verdict.kind,
        "detail": a.verdict.detail,
        "lambda_max": a.lambda_max.value,
        "ci": a.lambda_max.ci,
    }
    keys = {"kind": kind, "steps": steps, "noise": noise, "view": view, "draw": draw}
    return keys | found | {"seconds": round(time.process_time() - began, 3)}


def table(rows: list[dict]) -> list[str]:
    """Verdicts by kind, and how many controls were called chaotic by length, view and noise."""
    lines = []
    for kind in dict.fromkeys(r["kind"] for r in rows):
        counts = Counter(r["verdict"] for r in rows if r["kind"] == kind)
        lines.append(
            f"{kind:20s} {sum(counts.values()):4d}   " + ", ".join(f"{v} {n}" for v, n in counts.most_common())
        )
    for name in ("steps", "view", "noise"):
        for value in sorted({r[name] for r in rows}):
            some = [r for r in rows if r[name] == value]
            wrong = sum(r["verdict"] == "chaotic" for r in some)
            lines.append(f"{name} {value}: {wrong} of {len(some)} called chaotic")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--steps", default="1000,2000,10000")
    parser.add_argument("--noise", default="0,0.01,0.1")
    parser.add_argument("--views", default="scalar,full")
    parser.add_argument("--draws", type=int, default=1)
    parser.add_argument(
        "--budget", type=float, default=120.0, help="seconds of one analysis, LyapunovSpec.budget_seconds"
    )
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    rows = [json.loads(v) for v in args.rows.read_text().splitlines()] if args.rows and args.rows.exists() else []
    done = {tuple(r[k] for k in ("kind", "steps", "noise", "view", "draw")) for r in rows}
    cases = [
        (kind, steps, noise, view, draw, args.budget)
        for steps, draw, noise, view, kind in itertools.product(
            map(int, args.steps.split(",")), range(args.draws), map(float, args.noise.split(",")), args.views.split(","),
            args.kinds.split(","),
        )
        if (kind, steps, noise, view, draw) not in done
    ]  # fmt: skip
    with ProcessPoolExecutor(max_workers=args.workers) as pool:
        for row in pool.map(answer, cases):
            rows.append(row)
            if row["verdict"] == "chaotic":
                print(row, file=sys.stderr, flush=True)
            if args.rows:
                with args.rows.open("a") as f:
                    f.write(json.dumps(row) + "\n")
    lines = table(rows)
    print("\n".join(lines))
    if args.output:
        args.output.write_text(json.dumps({"table": lines, "rows": rows}, separators=(",", ":")))
    sys.exit(any(r["verdict"] == "chaotic" for r in rows))


if __name__ == "__main__":
    main()

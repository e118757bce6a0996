"""Systems for `benchmarks/lyapunov.py`: equations, sampling, and reference spectra computed from them.

A rule takes and gives tuples of coordinates (arrays over trajectories). References: tangent vectors by central differences of
the map over one sampling step, QR at every step (Benettin et al. 1980), 24 trajectories, float64; their scatter gives the
standard error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

N_TRAJECTORIES = 24
SETTLING = 2500  # steps in which tangent vectors turn into place: slow where the largest exponent is small


@dataclass(frozen=True)
class System:
    """A flow (dt > 0, `rule` its vector field), a map (dt = 0, `rule` one step), or noise (no rule)."""

    rule: Callable[..., tuple] | None
    start: tuple[float, ...]
    dt: float = 0.0
    chaotic: bool = True
    substeps: int = 4
    transient: int = 1000


def _torus(p, b, c, d):
    """Two oscillators of frequencies 1 and sqrt(3); the first coordinate is the sum of one of each."""
    a = p - c
    r, s = 1 - a * a - b * b, 1 - c * c - d * d
    dc = c * s - np.sqrt(3) * d
    return a * r - b + dc, b * r + a, dc, d * s + np.sqrt(3) * c


def _ueda(x, v, c, s):
    """Ueda's oscillator; the phase of the drive is seen as (cos, sin), held on the circle by an attracting amplitude."""
    r = 1 - c * c - s * s
    return v, -0.05 * v - x**3 + 7.5 * c, -s + c * r, c + s * r


def _coupled(a, b):
    f, g = 3.9 * a * (1 - a), 3.82 * b * (1 - b)
    return 0.95 * f + 0.05 * g, 0.05 * f + 0.95 * g


SYSTEMS = {
    "lorenz": System(lambda x, y, z: (10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z), (1.0, 2.0, 20.0), 0.02),
    "roessler": System(lambda x, y, z: (-y - z, x + 0.2 * y, 0.2 + z * (x - 5.7)), (1.0, 1.0, 0.0), 0.12),
    "sprott-d": System(lambda x, y, z: (-y, x + z, x * z + 3 * y * y), (0.05, 0.05, 0.05), 0.15, substeps=6),
    "rucklidge": System(lambda x, y, z: (-2 * x + 6.7 * y - y * z, x, -z + y * y), (1.0, 0.0, 4.5), 0.05),
    "shimizu-morioka": System(lambda x, y, z: (y, x - 0.81 * y - x * z, -0.375 * z + x * x), (0.1, 0.1, 0.2), 0.12),
    "genesio-tesi": System(lambda x, y, z: (y, z, -x - 1.1 * y - 0.44 * z + x * x), (0.1, 0.1, 0.1), 0.12),
    "rikitake": System(lambda x, y, z: (-2 * x + z * y, -2 * y + (z - 5) * x, 1 - x * y), (1.0, 0.5, 0.6), 0.06),
    "lorenz-84": System(
        lambda x, y, z: (-y * y - z * z - 0.25 * x + 2, x * y - 4 * x * z - y + 1, 4 * x * y + x * z - z), (1.0, 0.3, 0.2), 0.05
    ),
    "burke-shaw": System(lambda x, y, z: (-10 * (x + y), -y - 10 * x * z, 10 * x * y + 4.272), (0.6, 0.1, 0.2), 0.015),
    "hindmarsh-rose": System(
        lambda x, y, z: (y - x**3 + 3 * x * x - z + 3.25, 1 - 5 * x * x - y, 0.006 * (4 * (x + 1.6) - z)),
        (-1.0, 0.1, 3.2), 0.25,
    ),
    "sprott-jerk-abs": System(lambda x, y, z: (y, z, -0.6 * z - y - np.abs(x) + 1), (0.1, 0.1, 0.1), 0.12, substeps=8),
    "ueda": System(_ueda, (2.5, 0.0, 1.0, 0.0), 0.06),
    "hyper-chen": System(
        lambda x, y, z, w: (35 * (y - x) + w, 7 * x - x * z + 12 * y, x * y - 3 * z, y * z + 0.5 * w), (1.0, 2.0, 12.0, 1.0), 0.01
    ),
    "henon": System(lambda x, y: (1 - 1.4 * x * x + y, 0.3 * x), (0.1, 0.1)),
    "logistic": System(lambda x: (3.9 * x * (1 - x),), (0.31,)),
    "delayed-logistic": System(lambda x, y: (2.27 * x * (1 - y), x), (0.5, 0.4)),
    "lozi": System(lambda x, y: (1 - 1.7 * np.abs(x) + 0.5 * y, x), (0.1, 0.1)),
    "tinkerbell": System(
        lambda x, y: (x * x - y * y + 0.9 * x - 0.6013 * y, 2 * x * y + 2 * x + 0.5 * y), (-0.72, -0.64)
    ),
    "holmes": System(lambda x, y: (y, -0.2 * x + 2.77 * y - y**3), (0.3, 0.2)),
    "coupled-logistic": System(_coupled, (0.3, 0.6)),
    "van-der-pol": System(lambda x, v: (v, (1 - x * x) * v - x), (1.0, 0.0), 0.13, False),
    "lorenz-cycle": System(
        lambda x, y, z: (10 * (y - x), x * (160 - z) - y, x * y - 8 / 3 * z), (1.0, 2.0, 150.0), 0.008, False, 8, 6000
    ),
    "torus": System(_torus, (1.0, 0.0, 0.5, 0.5), 0.09, False),
    "logistic-period-3": System(lambda x: (3.835 * x * (1 - x),), (0.31,), 0.0, False),
    "focus": System(lambda x, v: (v, -x - 0.02 * v), (1.0, 0.0), 0.12, False, 4, 0),
    "white-noise": System(None, (0.0, 0.0), 0.0, False),
    "ar2-noise": System(None, (0.0, 0.0), 0.0, False),
    "random-walk": System(None, (0.0, 0.0), 0.0, False),
    "lorenz-surrogate": System(None, (0.0, 0.0, 0.0), 0.02, False),
}  # fmt: skip


def advance(system: System, x: np.ndarray) -> np.ndarray:
    """States (..., m) one sample later: RK4 over the sampling step of a flow."""

    def rule(y):
        return np.stack(system.rule(*np.moveaxis(y, -1, 0)), axis=-1)  # type: ignore[misc]

    if system.dt == 0.0:
        return rule(x)
    h = system.dt / system.substeps
    for _ in range(system.substeps):
        a = rule(x)
        b = rule(x + h / 2 * a)
        c = rule(x + h / 2 * b)
        x = x + h / 6 * (a + 2 * b + 2 * c + rule(x + h * c))
    return x


def series(name: str, n_steps: int) -> np.ndarray:
    """(n_steps, m) after the transient."""
    system = SYSTEMS[name]
    rng = np.random.default_rng(11)
    if system.rule is None:
        return _noise(name, n_steps, rng)
    x, out = np.array(system.start), np.empty((n_steps, len(system.start)))
    for t in range(-system.transient, n_steps):
        if t >= 0:
            out[t] = x
        x = advance(system, x)
    return out


def _noise(name: str, n_steps: int, rng: np.random.Generator) -> np.ndarray:
    if name == "lorenz-surrogate":  # the phases of all channels turned alike: spectra and cross-spectra remain
        transform = np.fft.rfft(series("lorenz", n_steps), axis=0)
        turned = transform * np.exp(2j * np.pi * rng.uniform(size=(len(transform), 1)))
        turned[0] = transform[0]
        return np.fft.irfft(turned, n_steps, axis=0)
    x = rng.standard_normal((n_steps, 2))
    if name == "random-walk":
        return np.cumsum(x, axis=0)
    if name == "ar2-noise":
        for t in range(2, n_steps):
            x[t] += 1.6 * x[t - 1] - 0.8 * x[t - 2]
    return x


def reference(name: str, x: np.ndarray, n_reference: int) -> tuple[list[float], list[float]]:
    """Exponents per time unit and their standard errors from about n_reference samples, started on the series x; empty for noise."""
    system = SYSTEMS[name]
    if system.rule is None:
        return [], []
    m = x.shape[1]
    states = x[np.linspace(0, len(x) - 1, N_TRAJECTORIES).astype(int)]
    # nudged off the series: else they would follow it, and one another, for as long as rounding errors take to grow
    states = states + 1e-3 * x.std(axis=0) * np.random.default_rng(3).standard_normal(states.shape)
    q = np.broadcast_to(np.eye(m), (len(states), m, m))
    scale = 1e-6 * np.maximum(x.std(axis=0), 1e-12)
    steps = max(50, n_reference // N_TRAJECTORIES)
    total = np.zeros((len(states), m))
    for t in range(-SETTLING, steps):
        displaced = states[:, None, None, :] + np.array([1.0, -1.0])[:, None, None] * np.diag(scale)
        moved = advance(system, displaced)
        jacobian = np.swapaxes((moved[:, 0] - moved[:, 1]) / (2.0 * scale[:, None]), 1, 2)
        q, r = np.linalg.qr(jacobian @ q)
        states = advance(system, states)
        if t >= 0:
            total += np.log(np.abs(np.diagonal(r, axis1=1, axis2=2)) + 1e-300)
    rates = total / steps / (system.dt or 1.0)
    order = np.argsort(rates.mean(axis=0))[::-1]
    return list(rates.mean(axis=0)[order]), list((rates.std(axis=0, ddof=1) / np.sqrt(len(rates)))[order])

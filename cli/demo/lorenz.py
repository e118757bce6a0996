"""The demo's own series: Lorenz-63 with observation noise, and what is known about it."""

from __future__ import annotations

import io

import numpy as np

DT = 0.01
N_STEPS = 10_000
NOISE = 0.05
SEED = 63
N_TEST_STEPS = 100_000
# Sprott, Chaos and Time-Series Analysis (2003), table A.5: sigma = 10, rho = 28, beta = 8/3.
KNOWN_EXPONENTS = (0.9056, 0.0, -14.5723)
KNOWN_DIMENSION = 2.0621

State = tuple[float, float, float]


def flow(u: State) -> State:
    """Right-hand side of the Lorenz equations (Lorenz 1963), sigma = 10, rho = 28, beta = 8/3."""
    x, y, z = u
    return 10.0 * (y - x), x * (28.0 - z) - y, x * y - 8.0 / 3.0 * z


def step(u: State, dt: float) -> State:
    """One step of the classical Runge-Kutta method of order four; plain floats are ten times faster than arrays of three."""
    k1 = flow(u)
    k2 = flow(_moved(u, k1, dt / 2))
    k3 = flow(_moved(u, k2, dt / 2))
    k4 = flow(_moved(u, k3, dt))
    x, y, z = (a + dt / 6 * (p + 2 * q + 2 * r + s) for a, p, q, r, s in zip(u, k1, k2, k3, k4, strict=True))
    return x, y, z


def _moved(u: State, k: State, h: float) -> State:
    return u[0] + h * k[0], u[1] + h * k[1], u[2] + h * k[2]


def trajectory(n_steps: int, start: State = (1.0, 1.0, 20.0)) -> np.ndarray:
    """Noise-free states on the attractor: (n_steps, 3), after 20 time units of transient."""
    u = start
    for _ in range(round(20 / DT)):
        u = step(u, DT)
    states = []
    for _ in range(n_steps):
        u = step(u, DT)
        states.append(u)
    return np.array(states)


def independent() -> np.ndarray:
    """Another noise-free trajectory, long enough for the published protocol: (N_TEST_STEPS, 3)."""
    return trajectory(N_TEST_STEPS, start=(-4.0, -2.0, 25.0))


def observed(n_steps: int = N_STEPS) -> np.ndarray:
    """The trajectory with Gaussian noise of 5 % of each channel's standard deviation: (n_steps, 3)."""
    clean = trajectory(n_steps)
    return clean + NOISE * clean.std(axis=0) * np.random.default_rng(SEED).standard_normal(clean.shape)


def as_csv(values: np.ndarray) -> bytes:
    """The series as a caller would have it: a header and one row per step."""
    buffer = io.BytesIO()
    np.savetxt(buffer, values, fmt="%.7g", delimiter=",", header="x,y,z", comments="")
    return buffer.getvalue()

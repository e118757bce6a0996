"""The demo's own series: Lorenz-63 with observation noise, and what is known about it."""

from __future__ import annotations

import io

import numpy as np

DT = 0.01
N_STEPS = 10_000
NOISE = 0.05
SEED = 63
# Sprott, Chaos and Time-Series Analysis (2003), table A.5: sigma = 10, rho = 28, beta = 8/3.
KNOWN_EXPONENTS = (0.9056, 0.0, -14.5723)
KNOWN_DIMENSION = 2.0621


def flow(u: np.ndarray) -> np.ndarray:
    """Right-hand side of the Lorenz equations (Lorenz 1963), sigma = 10, rho = 28, beta = 8/3: (3,) -> (3,)."""
    x, y, z = u
    return np.array([10.0 * (y - x), x * (28.0 - z) - y, x * y - 8.0 / 3.0 * z])


def step(u: np.ndarray, dt: float) -> np.ndarray:
    """One step of the classical Runge-Kutta method of order four."""
    k1 = flow(u)
    k2 = flow(u + dt / 2 * k1)
    k3 = flow(u + dt / 2 * k2)
    k4 = flow(u + dt * k3)
    return u + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def trajectory(n_steps: int = N_STEPS, dt: float = DT) -> np.ndarray:
    """Noise-free states on the attractor: (n_steps, 3), after 20 time units of transient."""
    u = np.array([1.0, 1.0, 20.0])
    for _ in range(round(20 / dt)):
        u = step(u, dt)
    states = np.empty((n_steps, 3))
    for t in range(n_steps):
        u = step(u, dt)
        states[t] = u
    return states


def observed(n_steps: int = N_STEPS) -> np.ndarray:
    """The trajectory with Gaussian noise of 5 % of each channel's standard deviation: (n_steps, 3)."""
    clean = trajectory(n_steps)
    return clean + NOISE * clean.std(axis=0) * np.random.default_rng(SEED).standard_normal(clean.shape)


def as_csv(values: np.ndarray) -> bytes:
    """The series as a caller would have it: a header and one row per step."""
    buffer = io.BytesIO()
    np.savetxt(buffer, values, fmt="%.7g", delimiter=",", header="x,y,z", comments="")
    return buffer.getvalue()

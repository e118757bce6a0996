"""Systems with published exponents that several test files use."""

from __future__ import annotations

import numpy as np


def henon(n):
    """0.41922, -1.62319 (Sprott 2003, table A.3)."""
    out = np.empty((n + 100, 2))
    out[0] = 0.1, 0.1
    for t in range(1, n + 100):
        out[t] = 1 - 1.4 * out[t - 1, 0] ** 2 + out[t - 1, 1], 0.3 * out[t - 1, 0]
    return out[100:]


def logistic(n, r=4.0):
    """ln 2 at r = 4."""
    out = np.empty((n, 1))
    out[0] = 0.3141
    for t in range(1, n):
        out[t] = r * out[t - 1] * (1 - out[t - 1])
    return out


def lorenz(n, dt=0.02):
    """Lorenz-63, 0.9056, 0, -14.5723 per time unit (Sprott 2003, table A.5), by RK4 in two substeps: (n, 3)."""

    def field(x):
        return np.array([10 * (x[1] - x[0]), x[0] * (28 - x[2]) - x[1], x[0] * x[1] - 8 / 3 * x[2]])

    x, out = np.array([1.0, 2.0, 20.0]), np.empty((n, 3))
    for t in range(-500, n):
        if t >= 0:
            out[t] = x
        for _ in range(2):
            h = dt / 2
            a = field(x)
            b = field(x + h / 2 * a)
            c = field(x + h / 2 * b)
            x = x + h / 6 * (a + 2 * b + 2 * c + field(x + h * c))
    return out


def driven_linear(n, seed=0, contraction=(0.9, -0.6), coupling=((0.5,), (1.0,))):
    """x_t = diag(a) x_{t-1} + C s_t with s_t a slow random input: (n, N) and (n, K). Closed form for everything."""
    a, c = np.array(contraction), np.array(coupling)
    rng = np.random.default_rng(seed)
    s, x = np.zeros((n + 100, c.shape[1])), np.zeros((n + 100, len(a)))
    for t in range(1, n + 100):
        s[t] = 0.8 * s[t - 1] + rng.standard_normal(c.shape[1])
        x[t] = a * x[t - 1] + c @ s[t]
    return x[100:], s[100:]


def forced_duffing(n, dt=0.1, amplitude=0.4, frequency=1.0):
    """x'' = x - x^3 - 0.25 x' + u(t), u = F cos(w t), chaotic: (n, 2) of x, x' and (n, 1) of u, which is held over each step."""
    states, forces = np.empty((n, 2)), np.empty((n, 1))
    z = np.array([0.5, 0.0])
    for t in range(-500, n):
        u = amplitude * np.cos(frequency * dt * t)

        def field(z, u=u):
            return np.array([z[1], z[0] - z[0] ** 3 - 0.25 * z[1] + u])

        for _ in range(4):
            h = dt / 4
            k1 = field(z)
            k2 = field(z + h / 2 * k1)
            k3 = field(z + h / 2 * k2)
            z = z + h / 6 * (k1 + 2 * k2 + 2 * k3 + field(z + h * k3))
        if t >= 0:
            states[t], forces[t] = z, u
    return states, forces

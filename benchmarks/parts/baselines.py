"""Generators that know no dynamics, or only linear ones, and true trajectories: what a measure's number means."""

from __future__ import annotations

import numpy as np

from dynamics.measures import d_h, d_stsp

HORIZON = 20  # steps of the prediction error


def published_measures(x: np.ndarray, y: np.ndarray) -> dict[str, float | None]:
    """d_stsp and d_h of a generated series y against the test series x, both (T, N) in one unit."""
    return {"d_stsp": d_stsp(x, y).value, "d_h": d_h(x, y).value}


def baselines(name: str, train_rows: np.ndarray, test: np.ndarray) -> dict[str, dict[str, float | None]]:
    """Generators that know no dynamics, or only linear ones, under the same protocol; PE(20) where they predict."""
    rng = np.random.default_rng(0)
    mean, n = train_rows.mean(axis=0), len(test)
    of_mean = float(((test - mean) ** 2).mean())
    noise = rng.multivariate_normal(mean, np.cov(train_rows.T), size=n)
    found = {
        "mean of the training series": published_measures(test, np.tile(mean, (n, 1))) | {"prediction_error": of_mean},
        "white noise with its covariance": published_measures(test, noise) | {"prediction_error": None},
        **_autoregression(train_rows, test, rng),
        "copy of the training series": published_measures(test, train_rows[:n]) | {"prediction_error": None},
    }
    if name == "lorenz":
        for k in (1, 2):
            found[f"floor: true system, orbit {k}"] = published_measures(test, true_lorenz(n, k)) | {
                "prediction_error": None
            }
    return found


def _lagged(rows: np.ndarray, order: int) -> np.ndarray:
    """[1, x_{t-1}, ..., x_{t-order}] for t = order .. T: (T - order + 1, 1 + order N), the last row for the step after the end."""
    count = len(rows) - order + 1
    parts = [rows[order - 1 - k : order - 1 - k + count] for k in range(order)]
    return np.concatenate([np.ones((count, 1)), *parts], axis=1)


def _autoregression(rows: np.ndarray, test: np.ndarray, rng: np.random.Generator) -> dict[str, dict[str, float | None]]:
    """VAR(p) with Gaussian noise of its residuals' covariance, p in 1..10 by the Bayesian criterion (Luetkepohl 2005, 4.3)."""
    n = rows.shape[1]

    def fit(order: int) -> tuple[float, np.ndarray, np.ndarray]:
        design, target = _lagged(rows, order)[:-1], rows[order:]
        weights = np.linalg.lstsq(design, target, rcond=None)[0]
        covariance = np.cov((target - design @ weights).T, bias=True).reshape(n, n)
        criterion = np.linalg.slogdet(covariance)[1] + weights.size * np.log(len(target)) / len(target)
        return float(criterion), weights, covariance

    order = min(range(1, 11), key=lambda p: fit(p)[0])
    _, weights, covariance = fit(order)
    shocks = rng.multivariate_normal(np.zeros(n), covariance, size=len(test) + len(test) // 4)
    past = test[:order][::-1].copy()  # newest first
    generated = np.empty_like(shocks)
    with np.errstate(all="ignore"):
        for t, shock in enumerate(shocks):
            generated[t] = weights[0] + past.reshape(-1) @ weights[1:] + shock
            past = np.concatenate([generated[t : t + 1], past[:-1]])
        found = published_measures(test, generated[len(test) // 4 :])
    state = _lagged(test, order)[: len(test) - order + 1 - HORIZON]
    for _ in range(HORIZON):
        state = np.concatenate([state[:, :1], state @ weights, state[:, 1 : 1 + (order - 1) * n]], axis=1)
    error = float(((state[:, 1 : 1 + n] - test[order - 1 + HORIZON :]) ** 2).mean())
    return {f"VAR({order}) + noise": found | {"prediction_error": error}}


def true_lorenz(n_steps: int, seed: int, dt: float = 0.01) -> np.ndarray:
    """Lorenz-63 (sigma 10, rho 28, beta 8/3) by Runge-Kutta 4 from a random point, transient dropped, standardised."""

    def slope(v: np.ndarray) -> np.ndarray:
        return np.array([10 * (v[1] - v[0]), v[0] * (28 - v[2]) - v[1], v[0] * v[1] - 8 / 3 * v[2]])

    v = np.random.default_rng(seed).normal(size=3) + np.array([0, 0, 25.0])
    orbit = np.empty((n_steps + 2000, 3))
    for t in range(len(orbit)):
        a = slope(v)
        b = slope(v + dt / 2 * a)
        c = slope(v + dt / 2 * b)
        v = v + dt / 6 * (a + 2 * b + 2 * c + slope(v + dt * c))
        orbit[t] = v
    orbit = orbit[2000:]
    return (orbit - orbit.mean(axis=0)) / orbit.std(axis=0)

"""Trajectories of the samples: the classical Runge-Kutta method of order four, on plain floats, which for a handful of
coordinates are ten times faster than small arrays, and give the same numbers everywhere."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dynamics.samples.system import Sample, State


def trajectory(sample: Sample, n_steps: int, skip: int = 0) -> np.ndarray:
    """Noise-free values (n_steps, N) after the transient and `skip` further steps."""
    first = sample.transient + skip
    values = np.empty((n_steps, len(sample.channels)))
    for t, state in enumerate(_states(sample)):
        if t == first + n_steps:
            break
        if t >= first:
            values[t - first, : len(state)] = state
            if sample.drive:
                values[t - first, len(state) :] = sample.drive(t * sample.dt)
    return values


def observed(sample: Sample, n_steps: int, *, noise: float, seed: int, skip: int = 0) -> np.ndarray:
    """The trajectory (n_steps, N) with Gaussian noise of `noise` times each channel's standard deviation; inputs have none."""
    clean = trajectory(sample, n_steps, skip)
    seen = len(sample.channels) - len(sample.input_channels)
    random = np.random.default_rng(seed).standard_normal((n_steps, seen))
    clean[:, :seen] += noise * clean[:, :seen].std(axis=0) * random
    return clean


def _states(sample: Sample) -> Iterator[State]:
    """Every sampled state, from the start on, without end."""
    if sample.kind == "dde":
        return _delayed(sample)
    return _iterated(sample) if sample.kind == "map" else _integrated(sample)


def _iterated(sample: Sample) -> Iterator[State]:
    state, step = sample.start, 0
    while True:
        yield state
        state = sample.rule(state, step)
        step += 1


def _integrated(sample: Sample) -> Iterator[State]:
    state, h, n = sample.start, sample.dt / sample.substeps, 0
    while True:
        yield state
        for _ in range(sample.substeps):
            state = rk4(sample, state, n * h, h)
            n += 1


def rk4(sample: Sample, state: State, t: float, h: float) -> State:
    """A flow's state one step of `h` time units later: the classical method (Kutta 1901), error O(h^5)."""
    rule = sample.rule
    k1 = rule(state, t)
    k2 = rule(tuple([a + h / 2 * k for a, k in zip(state, k1, strict=True)]), t + h / 2)
    k3 = rule(tuple([a + h / 2 * k for a, k in zip(state, k2, strict=True)]), t + h / 2)
    k4 = rule(tuple([a + h * k for a, k in zip(state, k3, strict=True)]), t + h)
    slopes = zip(state, k1, k2, k3, k4, strict=True)
    return tuple([a + h / 6 * (p + 2 * q + 2 * r + s) for a, p, q, r, s in slopes])


def _delayed(sample: Sample) -> Iterator[State]:
    """A scalar delay equation by steps: history constant before t = 0, cubic Hermite interpolation between grid points.

    The delay must be a whole number of integration steps. The interpolant's error is O(h^4), as is the method's.
    """
    h = sample.dt / sample.substeps
    lag = round(sample.delay / h)
    (x,) = sample.start
    past, slopes = [x] * (lag + 1), [0.0] * (lag + 1)  # ring buffers of x and x' at the last grid points
    n = 0
    while True:
        if n % sample.substeps == 0:
            yield (x,)
        here, next_ = n % (lag + 1), (n + 1) % (lag + 1)  # where x(t - delay) and x(t + h - delay) are, one further on
        then, later = past[next_], past[(n + 2) % (lag + 1)]
        # The slope has a jump at t = 0, where the equation takes over from the constant history.
        middle = then if n < lag else (then + later) / 2 + h / 8 * (slopes[next_] - slopes[(n + 2) % (lag + 1)])
        past[here], slopes[here] = x, sample.rule((x, then), n * h)[0]
        x = _delayed_step(sample, x, slopes[here], middle, later, n * h, h)
        n += 1


def _delayed_step(sample: Sample, x: float, k1: float, middle: float, later: float, t: float, h: float) -> float:
    k2 = sample.rule((x + h / 2 * k1, middle), t + h / 2)[0]
    k3 = sample.rule((x + h / 2 * k2, middle), t + h / 2)[0]
    k4 = sample.rule((x + h * k3, later), t + h)[0]
    return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

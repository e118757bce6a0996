"""The gallery: each system against closed forms, published exponents, and the order of its integrator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from dynamics.samples import SAMPLES, observed, trajectory
from dynamics.samples.generating import rk4

FLOWS = [s for s in SAMPLES.values() if s.kind == "flow"]


def advanced(sample, state, t, substeps):
    """The state one sampling step later."""
    h = sample.dt / substeps
    for i in range(substeps):
        state = rk4(sample, state, t + i * h, h)
    return np.array(state)


@pytest.mark.parametrize("sample", FLOWS, ids=lambda s: s.name)
def test_flows_follow_an_independent_integrator(sample) -> None:
    n = 40
    start = trajectory(sample, 1)[0, : len(sample.start)]
    t0 = sample.transient * sample.dt
    times = t0 + sample.dt * np.arange(n)
    exact = solve_ivp(
        lambda t, u: sample.rule(tuple(u), t), times[[0, -1]], start, "DOP853", times, rtol=1e-12, atol=1e-12
    ).y.T
    made = trajectory(sample, n)
    np.testing.assert_allclose(made[:, : len(start)], exact, atol=2e-4 * made.std())


@pytest.mark.parametrize("sample", FLOWS, ids=lambda s: s.name)
def test_flows_converge_with_order_four(sample) -> None:
    state = tuple(trajectory(sample, 1)[0, : len(sample.start)])
    exact = advanced(sample, state, 0.0, 1024)
    errors = [np.linalg.norm(advanced(sample, state, 0.0, n) - exact) for n in (4, 8, 16)]
    assert np.log2(np.array(errors[:-1]) / errors[1:]) == pytest.approx([4, 4], abs=0.4)


def test_the_delay_equation_begins_as_its_closed_form_does() -> None:
    """Until t = tau what is fed back is constant: x(t) = s / gamma + (x(0) - s / gamma) exp(-gamma t)."""
    sample = replace(SAMPLES["mackey-glass"], transient=0, start=(0.7,))
    fed = 0.2 * 0.7 / (1 + 0.7**10)
    t = np.arange(18)
    exact = fed / 0.1 + (0.7 - fed / 0.1) * np.exp(-0.1 * t)
    np.testing.assert_allclose(trajectory(sample, 18)[:, 0], exact, rtol=1e-10)


def test_the_delay_equation_converges_with_order_four() -> None:
    def end(substeps: int) -> float:
        sample = replace(SAMPLES["mackey-glass"], transient=0, start=(0.7,), substeps=substeps)
        return trajectory(sample, 61)[-1, 0]

    exact = end(64)
    errors = np.abs([end(n) - exact for n in (2, 4, 8)])
    assert np.log2(errors[:-1] / errors[1:]) == pytest.approx([4, 4], abs=0.6)


def test_the_map_is_the_published_one() -> None:
    x = trajectory(SAMPLES["henon"], 200)
    np.testing.assert_allclose(x[1:, 0], 1 - 1.4 * x[:-1, 0] ** 2 + x[:-1, 1], atol=1e-14)
    np.testing.assert_allclose(x[1:, 1], 0.3 * x[:-1, 0], atol=1e-14)


def test_van_der_pol_has_the_published_period() -> None:
    """6.6632868594 at mu = 1 (Andersen and Geer, SIAM J. Appl. Math. 42, 678-693, 1982)."""
    sample = SAMPLES["van-der-pol"]
    x = trajectory(sample, 4000)[:, 0]
    up = np.flatnonzero((x[:-1] < 0) & (x[1:] >= 0))
    crossings = up - x[up] / (x[up + 1] - x[up])
    period = sample.dt * (crossings[-1] - crossings[0]) / (len(crossings) - 1)
    assert period == pytest.approx(6.6632868594, rel=1e-5)


def spectrum(sample, n_steps: int) -> np.ndarray:
    """Exponents by central differences and QR (Benettin et al. 1980), of the map over one sampling step."""
    states = trajectory(sample, n_steps)[:, : len(sample.start)]
    m = states.shape[1]
    q, total = np.eye(m), np.zeros(m)
    for t, state in enumerate(states):
        moved = []
        for k in range(m):
            for sign in (1, -1):
                nudged = state.copy()
                nudged[k] += sign * 1e-6
                if sample.kind == "map":
                    moved.append(np.array(sample.rule(tuple(nudged), t)))
                else:
                    time = (sample.transient + t) * sample.dt
                    moved.append(advanced(sample, tuple(nudged), time, sample.substeps))
        jacobian = np.column_stack([(a - b) / 2e-6 for a, b in zip(moved[::2], moved[1::2], strict=True)])
        q, r = np.linalg.qr(jacobian @ q)
        if t >= n_steps // 10:
            total += np.log(np.abs(np.diag(r)))
    return np.sort(total / (n_steps - n_steps // 10) / sample.dt)[::-1]


@pytest.mark.parametrize(
    ("name", "n_steps", "tolerance"),
    [
        ("lorenz63", 12_000, 0.06),
        ("roessler", 8000, 0.01),
        ("lorenz96", 20_000, 0.15),
        ("henon", 20_000, 0.01),
        ("duffing", 12_000, 0.03),
        ("van-der-pol", 2000, 0.002),
    ],
)
def test_the_exponents_are_what_the_gallery_says(name: str, n_steps: int, tolerance: float) -> None:
    sample = SAMPLES[name]
    found = spectrum(sample, n_steps)
    # The drive's own exponent, 0, belongs to the phase, which is no coordinate of the equations.
    known = [e for e in sample.known.exponents if not (sample.drive and e == 0)]
    np.testing.assert_allclose(found, known, atol=tolerance)


def test_the_delay_equations_largest_exponent() -> None:
    """Two histories a little apart, brought back to that distance every 17 days."""
    sample = SAMPLES["mackey-glass"]
    substeps, days = sample.substeps, 17
    lag = days * substeps

    def run(history: np.ndarray, n: int) -> np.ndarray:
        """By the classical method with linear interpolation of what is fed back: another way than the gallery's."""
        h = 1 / substeps
        x = np.concatenate([history, np.empty((n, history.shape[1]))])
        for i in range(n):
            now, then, later = x[i + lag], x[i], x[i + 1]
            rate = [0.2 * y / (1 + y**10) for y in (then, (then + later) / 2, later)]
            k1 = rate[0] - 0.1 * now
            k2 = rate[1] - 0.1 * (now + h / 2 * k1)
            k3 = rate[1] - 0.1 * (now + h / 2 * k2)
            x[i + lag + 1] = now + h / 6 * (k1 + 2 * k2 + 2 * k3 + rate[2] - 0.1 * (now + h * k3))
        return x

    n_members, rounds = 60, 130
    series = trajectory(sample, 3000)[:, 0]
    starts = np.linspace(0, 2900, n_members).astype(int)
    grid = np.linspace(0, days, lag + 1)
    base = np.column_stack([np.interp(grid, np.arange(days + 1), series[s : s + days + 1]) for s in starts])
    near = base + 1e-7
    grown = np.zeros((rounds, n_members))
    for i in range(rounds):
        both = run(np.hstack([base, near]), lag)[-lag - 1 :]
        base, near = both[:, :n_members], both[:, n_members:]
        distance = np.sqrt(((near - base) ** 2).mean(axis=0))
        grown[i] = np.log(distance / 1e-7)
        near = base + (near - base) * 1e-7 / distance
    rates = grown[20:].mean(axis=0) / days
    assert rates.mean() == pytest.approx(sample.known.exponents[0], abs=max(4e-4, 4 * rates.std() / n_members**0.5))
    assert rates.std() / n_members**0.5 < 3e-4


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=lambda s: s.name)
def test_noise_is_of_the_size_that_was_asked_for(sample) -> None:
    clean = trajectory(sample, 2000)
    noisy = observed(sample, 2000, noise=0.05, seed=3)
    seen = len(sample.channels) - len(sample.input_channels)
    assert (noisy - clean)[:, :seen].std(axis=0) / clean[:, :seen].std(axis=0) == pytest.approx(0.05, rel=0.1)
    np.testing.assert_array_equal(noisy[:, seen:], clean[:, seen:])
    np.testing.assert_array_equal(noisy, observed(sample, 2000, noise=0.05, seed=3))
    assert not np.array_equal(noisy, observed(sample, 2000, noise=0.05, seed=4))


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=lambda s: s.name)
def test_what_is_skipped_is_the_same_trajectory(sample) -> None:
    np.testing.assert_array_equal(trajectory(sample, 100, skip=50), trajectory(sample, 150)[50:])


def test_the_drive_is_the_one_in_the_equations() -> None:
    values = trajectory(SAMPLES["duffing"], 300)
    np.testing.assert_allclose(values[:, 2] ** 2 + values[:, 3] ** 2, 1, rtol=1e-12)
    slope = np.gradient(values[:, 1], 0.1)[1:-1]
    x, v, cos, _ = values[1:-1].T
    np.testing.assert_allclose(slope, x - x**3 - 0.25 * v + 0.4 * cos, atol=0.03)

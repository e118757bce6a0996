"""Compiled free runs and model Lyapunov spectra against numpy, NumPy's QR and closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from dynamics.kernels import free_run, lyapunov_qr
from models import ARCHITECTURES, TrainedModel


def make_model(architecture: str, latent_dim: int, hidden_dim: int, seed: int = 0) -> TrainedModel:
    rng = np.random.default_rng(seed)
    params = ARCHITECTURES[architecture].init(rng, latent_dim, hidden_dim)
    return TrainedModel(
        architecture=architecture,
        params=params,
        observation={},
        channels=[f"x{i}" for i in range(latent_dim)],
        mean=np.zeros(latent_dim),
        std=np.ones(latent_dim),
        lags=[0],
        dt=0.1,
        time_unit="s",
        residual_std=np.zeros(latent_dim),
    )


def diagonal_model(slopes: list[float]) -> TrainedModel:
    model = make_model("shplrnn", len(slopes), 2)
    model.params["A"][:] = slopes
    model.params["W1"][:] = 0.0
    return model


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
@pytest.mark.parametrize(("latent_dim", "n_starts"), [(1, 1), (3, 5), (3, 33)])
def test_free_run_equals_the_numpy_model(architecture: str, latent_dim: int, n_starts: int) -> None:
    model = make_model(architecture, latent_dim, 7)
    starts = np.random.default_rng(1).standard_normal((n_starts, latent_dim))
    states = free_run(model, starts, 12)
    assert states.shape == (12, n_starts, latent_dim)
    np.testing.assert_allclose(states, model.free_run(starts, 12), rtol=1e-12, atol=1e-12)


def test_a_diverging_trajectory_leaves_the_others_alone() -> None:
    model = diagonal_model([2.0])
    model.params["h1"][:] = 0.0
    states = free_run(model, np.array([[1.0], [0.0]]), 1100)
    assert not np.isfinite(states[-1, 0, 0])
    assert states[-1, 1, 0] == 0.0


def test_spectrum_of_a_linear_map_is_the_logarithms_of_its_slopes() -> None:
    exponents, running = lyapunov_qr(diagonal_model([0.8, 1.1, 0.5]), np.zeros(3), 500, 10)
    np.testing.assert_allclose(exponents, np.log([1.1, 0.8, 0.5]), atol=1e-12)
    np.testing.assert_allclose(running[-1], exponents)
    assert running.shape == (100, 3)


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_spectrum_equals_numpy_qr(architecture: str) -> None:
    model = make_model(architecture, 4, 9, seed=3)
    n_steps, n_transient = 300, 50
    z, frame, logs = np.full(4, 0.3), np.eye(4), np.zeros(4)
    for t in range(n_transient + n_steps):
        frame, upper = np.linalg.qr(model.jacobian(z) @ frame)
        if t >= n_transient:
            logs += np.log(np.abs(np.diagonal(upper)))
        z = model.step(z)
    exponents, _ = lyapunov_qr(model, np.full(4, 0.3), n_steps, n_transient)
    np.testing.assert_allclose(exponents, np.sort(logs / n_steps)[::-1], rtol=1e-9, atol=1e-12)


def test_a_singular_jacobian_gives_minus_infinity() -> None:
    exponents, _ = lyapunov_qr(diagonal_model([0.5, 0.0]), np.zeros(2), 20, 0)
    assert exponents[0] == pytest.approx(np.log(0.5))
    assert exponents[1] == -np.inf


def test_trajectories_are_averaged() -> None:
    model = make_model("clipped-shplrnn", 3, 6, seed=5)
    starts = np.random.default_rng(2).standard_normal((3, 3))
    together, _ = lyapunov_qr(model, starts, 50, 5)
    single = [lyapunov_qr(model, start, 50, 5)[1][-1] for start in starts]
    assert together.sum() == pytest.approx(np.mean([s.sum() for s in single]))

"""Compiled free runs and model Lyapunov spectra against numpy, NumPy's QR and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from map_sizes import EVERY_SIZE, random_params

from dynamics.kernels import free_run, lyapunov_qr
from models import Size, TrainedModel
from models.trained import Drive, Inputs


def make_model(architecture: str, size: Size, seed: int = 0, n_inputs: int = 0) -> TrainedModel:
    latent_dim = size.latent
    coupling = np.random.default_rng(9).standard_normal((latent_dim, n_inputs))
    driving = Inputs([f"s{i}" for i in range(n_inputs)], np.zeros(n_inputs), np.ones(n_inputs), coupling)
    return TrainedModel(
        architecture=architecture,
        params=random_params(architecture, size, seed),
        observation={},
        channels=[f"x{i}" for i in range(latent_dim)],
        mean=np.zeros(latent_dim),
        std=np.ones(latent_dim),
        lags=[0],
        dt=0.1,
        time_unit="s",
        residual_std=np.zeros(latent_dim),
        inputs=driving if n_inputs else None,
    )


def diagonal_model(slopes: list[float]) -> TrainedModel:
    model = make_model("shplrnn", Size(len(slopes), 2))
    model.params["A"][:] = slopes
    model.params["W1"][:] = model.params["h1"][:] = 0.0
    return model


LARGE = [("shplrnn", Size(18, 21)), ("clipped-shplrnn", Size(18, 21)), ("deep-plrnn", Size(11, 13, 2))]


@EVERY_SIZE
@pytest.mark.parametrize("n_inputs", [0, 2])
def test_free_run_equals_the_numpy_model(architecture: str, size: Size, n_inputs: int) -> None:
    agree(make_model(architecture, size, n_inputs=n_inputs), n_inputs)


@pytest.mark.parametrize(("architecture", "size"), LARGE)
def test_free_run_of_a_large_map_equals_the_numpy_model(architecture: str, size: Size) -> None:
    agree(make_model(architecture, size), 0)


def agree(model: TrainedModel, n_inputs: int) -> None:
    """33 runs of 12 steps; inputs wrap around."""
    rng = np.random.default_rng(1)
    starts = rng.standard_normal((33, model.latent_dim))
    drive = Drive(rng.standard_normal((9, n_inputs)), rng.integers(0, 9, 33)) if n_inputs else None
    states = free_run(model, starts, 12, drive=drive)
    assert states.shape == (12, 33, model.latent_dim)
    np.testing.assert_allclose(states, model.free_run(starts, 12, drive), rtol=1e-11, atol=1e-12)
    thinned = free_run(model, starts, 12, 3, drive=drive)
    np.testing.assert_array_equal(thinned, states[2::3])


def test_a_model_with_inputs_needs_them() -> None:
    with pytest.raises(ValueError, match="under a drive"):
        free_run(make_model("plrnn", Size(3), n_inputs=1), np.zeros((1, 3)), 2)


def test_a_diverging_trajectory_leaves_the_others_alone() -> None:
    model = diagonal_model([2.0])
    states = free_run(model, np.array([[1.0], [0.0]]), 1100)
    assert not np.isfinite(states[-1, 0, 0])
    assert states[-1, 1, 0] == 0.0


def test_spectrum_of_a_linear_map_is_the_logarithms_of_its_slopes() -> None:
    exponents, running = lyapunov_qr(diagonal_model([0.8, 1.1, 0.5]), np.zeros(3), 500, 10)
    np.testing.assert_allclose(exponents, np.log([1.1, 0.8, 0.5]), atol=1e-12)
    np.testing.assert_allclose(running[-1], exponents)
    assert running.shape == (100, 3)


@EVERY_SIZE
@pytest.mark.parametrize("n_inputs", [0, 2])
def test_spectrum_equals_numpy_qr(architecture: str, size: Size, n_inputs: int) -> None:
    model = make_model(architecture, size, seed=3, n_inputs=n_inputs)
    m, n_steps, n_transient = size.latent, 60, 20
    rng = np.random.default_rng(4)
    drive = Drive(rng.standard_normal((50, n_inputs)), np.array([7])) if n_inputs else None
    z, frame, logs = np.full(m, 0.3), np.eye(m), np.zeros(m)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for t in range(n_transient + n_steps):
            frame, upper = np.linalg.qr(model.jacobian(z) @ frame)
            if t >= n_transient:
                logs += np.log(np.abs(np.diagonal(upper)))
            z = model.step(z, drive.at(t)[0] if drive else None)
    exponents, _ = lyapunov_qr(model, np.full(m, 0.3), n_steps, n_transient, drive)
    expected = np.sort(logs / n_steps)[::-1]
    leading, _ = lyapunov_qr(model, np.full(m, 0.3), n_steps, n_transient, drive, n_exponents=1)
    known = expected > -20  # directions that die leave rounding
    np.testing.assert_allclose(exponents[known], expected[known], rtol=1e-8, atol=1e-10)
    assert known.any()
    np.testing.assert_allclose(leading, logs[:1] / n_steps, rtol=1e-8, atol=1e-10)


def test_a_singular_jacobian_gives_minus_infinity() -> None:
    exponents, _ = lyapunov_qr(diagonal_model([0.5, 0.0]), np.zeros(2), 20, 0)
    assert exponents[0] == pytest.approx(np.log(0.5))
    assert exponents[1] == -np.inf


def test_trajectories_are_averaged() -> None:
    model = make_model("clipped-shplrnn", Size(3, 6), seed=5)
    starts = np.random.default_rng(2).standard_normal((3, 3))
    together, _ = lyapunov_qr(model, starts, 50, 5)
    single = [lyapunov_qr(model, start, 50, 5)[1][-1] for start in starts]
    assert together.sum() == pytest.approx(np.mean([s.sum() for s in single]))

"""Many states stepped side by side are what one step after the other makes of them: every architecture, size and precision."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hand_made import hand_made
from map_sizes import EVERY_SIZE, random_params

from models import ARCHITECTURES, Size, TrainedModel
from models.side_by_side import advance

LAYERED = ["shplrnn", "clipped-shplrnn"]


def a_model(architecture: str, size: Size, dtype: type, **changed: Any) -> TrainedModel:
    params = {k: (0.7 * v).astype(dtype) for k, v in (random_params(architecture, size) | changed).items()}
    mean = np.zeros(size.latent)
    return replace(hand_made(architecture, params, mean=mean), params=params)


def one_after_the_other(model: TrainedModel, z: np.ndarray, pushes: np.ndarray) -> np.ndarray:
    states = []
    for push in pushes:
        z = np.stack([model.step(column) for column in z.T], axis=1) + push
        states.append(z)
    return np.array(states)


@EVERY_SIZE
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_states", [1, 5])
def test_steps_and_pushes(architecture: str, size: Size, dtype: type, n_states: int) -> None:
    model, rng = a_model(architecture, size, dtype), np.random.default_rng(1)
    z = rng.normal(size=(size.latent, n_states)).astype(dtype)
    everyone = rng.normal(size=(6, size.latent, n_states)).astype(dtype)
    tolerance = {"rtol": 2e-4, "atol": 2e-5} if dtype is np.float32 else {"rtol": 1e-11, "atol": 1e-12}
    for pushes in (everyone, everyone[..., :1], np.zeros_like(everyone[..., :1])):
        found = advance(model, z, 6, pushes)
        assert found.dtype == dtype
        assert found.shape == (6, size.latent, n_states)
        np.testing.assert_allclose(found, one_after_the_other(model, z, pushes), **tolerance)
    np.testing.assert_allclose(
        advance(model, z, 6), one_after_the_other(model, z, np.zeros((6, size.latent, 1), dtype)), **tolerance
    )


@pytest.mark.parametrize("architecture", LAYERED)
def test_a_layer_has_the_kinks_of_its_map(architecture: str) -> None:
    """Thresholds of either sign and zero, states on both sides of every kink and on it."""
    h2 = np.array([2.0, -2.0, 0.0, 0.5])
    w2 = np.array([[1.0], [1.0], [1.0], [-1.0]])
    model = a_model(architecture, Size(1, 4), np.float64, h2=h2 / 0.7, W2=w2 / 0.7)
    z = np.concatenate([np.linspace(-5, 5, 101), -h2, h2])[None]
    np.testing.assert_allclose(advance(model, z, 1)[0].T, model.step(z.T), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_what_has_diverged_stays_so_and_leaves_the_others_alone(architecture: str) -> None:
    size = Size(4, 6, 2) if ARCHITECTURES[architecture].layered else Size(4, 4)
    model = a_model(architecture, size, np.float64)
    z = np.random.default_rng(2).normal(size=(4, 3))
    z[:, 1] = np.nan
    found = advance(model, z, 3)
    assert not np.isfinite(found[:, :, 1]).all(axis=1).any()
    np.testing.assert_allclose(found[..., [0, 2]], advance(model, z[:, [0, 2]], 3), rtol=1e-11, atol=1e-12)


def test_single_precision_is_kept_by_the_layer_and_its_rounding_stays_small() -> None:
    model = a_model("clipped-shplrnn", Size(3, 50), np.float32)
    z = np.random.default_rng(3).normal(size=(3, 40)).astype(np.float32)
    exact = advance(model.as_float64(), z.astype(float), 20)
    assert np.abs(advance(model, z, 20) - exact).max() < 1e-5

"""Every architecture as part of a trained model: flattened for the kernels, saved, observed, run by compiled code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from map_sizes import EVERY_SIZE, MIDDLE_SIZE, random_params

from dynamics.kernels import free_run, maps
from models import ARCHITECTURES, Size, TrainedModel


def make_model(
    architecture: str, size: Size, observation: dict[str, np.ndarray], n: int, dtype: type = np.float64, **changes: Any
) -> TrainedModel:
    params = random_params(architecture, size) | changes
    return TrainedModel(
        architecture=architecture,
        params={k: v.astype(dtype) for k, v in params.items()},
        observation={k: v.astype(dtype) for k, v in observation.items()},
        channels=[f"x{i}" for i in range(n)],
        mean=np.linspace(-1, 1, n),
        std=np.linspace(1, 2, n),
        lags=[0],
        dt=0.1,
        time_unit="s",
        residual_std=np.full(n, 0.1),
        card={"settings": {"seed": 1}, "lambda_max": None},
    )


def observations(architecture: str, size: Size) -> list[tuple[int, dict[str, np.ndarray]]]:
    """(observed coordinates, parameters) of every kind of observation that the map allows."""
    rng, m = np.random.default_rng(3), size.latent
    read = ARCHITECTURES[architecture].read_units(m)
    kinds: list[tuple[int, dict[str, np.ndarray]]] = [
        (read + 1, {"B": rng.standard_normal((read + 1, read)), "b": rng.standard_normal(read + 1)}),
        (read, {"B": rng.standard_normal((read, read)), "b": rng.standard_normal(read)}),
    ]
    if ARCHITECTURES[architecture].squashed:
        return kinds
    extended = [(m - 1, {"L0": rng.standard_normal((1, m - 1))})] if m > 1 else []
    return [*kinds, (m, {}), *extended]


@EVERY_SIZE
def test_flattening_is_undone(architecture: str, size: Size) -> None:
    params = random_params(architecture, size)
    flat = maps.pack(architecture, params, np.float64)
    assert flat.shape == (ARCHITECTURES[architecture].n_parameters(size),)
    restored = maps.unpack(architecture, flat, size)
    assert list(restored) == list(params)
    for name, value in params.items():
        np.testing.assert_array_equal(restored[name], value)


@EVERY_SIZE
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_save_and_load_are_identical_to_the_bit(architecture: str, size: Size, dtype: type) -> None:
    for n, observation in observations(architecture, size):
        model = make_model(architecture, size, observation, n, dtype)
        data = model.to_safetensors()
        again = TrainedModel.from_safetensors(data)
        assert again.to_safetensors() == data
        assert again.card == model.card
        assert again.observation_kind == ("affine" if "B" in observation else "identity")
        assert again.size == size
        for name, value in model.params.items():
            assert again.params[name].dtype == dtype
            np.testing.assert_array_equal(again.params[name], value)
        states = [m.free_run(m.encode(m.embed(np.ones((1, n)))), 5) for m in (model, again)]
        np.testing.assert_array_equal(states[0], states[1])


@EVERY_SIZE
def test_a_state_observed_is_what_was_encoded(architecture: str, size: Size) -> None:
    for n, observation in observations(architecture, size):
        model = make_model(architecture, size, observation, n)
        seen = np.random.default_rng(4).standard_normal((6, n))
        state = model.encode(seen)
        assert state.shape == (6, size.latent)
        again = model.encode(model.observe(state))
        np.testing.assert_allclose(again, state, atol=1e-10)
        if n <= model.map.read_units(size.latent):  # otherwise the observation is a projection of what was seen
            np.testing.assert_allclose(model.observe(state), seen, atol=1e-10)
        np.testing.assert_allclose(model.to_units(model.embed(seen)), seen, atol=1e-12)


@EVERY_SIZE
def test_the_compiled_run_is_the_run(architecture: str, size: Size) -> None:
    read = ARCHITECTURES[architecture].read_units(size.latent)
    model = make_model(architecture, size, {"B": np.eye(read), "b": np.zeros(read)}, read)
    z0 = np.random.default_rng(6).uniform(-1, 1, (3, size.latent))
    np.testing.assert_allclose(free_run(model, z0, 30), model.free_run(z0, 30), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("architecture", ["clipped-plrnn", "clipped-dend-plrnn", "clipped-shplrnn"])
@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_the_clipped_variants_are_bounded(architecture: str, scale: float) -> None:
    """|z| <= |A| |z| + |W| bracket + |h| componentwise (Hess et al. 2023, eq. 4)."""
    size = MIDDLE_SIZE[architecture]
    decay = np.linspace(-0.8, 0.9, size.latent)
    model = make_model(architecture, size, {}, size.latent, A=decay)
    p = {name: np.abs(value) for name, value in model.params.items()}
    bracket = {
        "clipped-plrnn": lambda: p["W"] @ p["h2"] + p["h"],
        "clipped-dend-plrnn": lambda: p["W"] @ (p["H"] @ p["alpha"]) + p["h"],
        "clipped-shplrnn": lambda: p["W1"] @ p["h2"] + p["h1"],
    }[architecture]()
    states = free_run(model, scale * np.random.default_rng(5).standard_normal((4, size.latent)), 3000)
    assert np.all(np.abs(states[1000:]) <= bracket / (1 - np.abs(decay)) + 1e-9)


def test_a_file_of_another_kind_is_refused() -> None:
    from safetensors.numpy import save

    with pytest.raises(ValueError, match="not a model file"):
        TrainedModel.from_safetensors(save({"a": np.zeros(2)}))


def test_embedding_puts_lag_zero_first() -> None:
    model = make_model("shplrnn", Size(2, 3), {}, 1)
    model.lags[:] = [0, 2]
    model.mean[:], model.std[:] = 0.0, 1.0
    np.testing.assert_array_equal(model.embed(np.arange(5.0)[:, None]), [[2, 0], [3, 1], [4, 2]])

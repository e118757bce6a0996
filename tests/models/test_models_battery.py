"""One battery over every architecture: Jacobian, batches, files, bounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dynamics.kernels import free_run, maps
from models import ARCHITECTURES, TrainedModel

EVERY = pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))


def random_params(architecture: str, m: int, h: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    params = ARCHITECTURES[architecture].init(rng, m, h)
    return {name: value + 0.1 * rng.standard_normal(value.shape) for name, value in params.items()}


def as_torch(params: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value) for name, value in params.items()}


def make_model(architecture: str, observation: dict[str, np.ndarray], m: int, n: int, dtype: type) -> TrainedModel:
    params = {k: v.astype(dtype) for k, v in random_params(architecture, m, 7).items()}
    return TrainedModel(
        architecture=architecture,
        params=params,
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


@EVERY
def test_shapes_and_flattening(architecture: str) -> None:
    params = random_params(architecture, 3, 8)
    shapes = ARCHITECTURES[architecture].shapes(3, 8)
    assert {k: v.shape for k, v in params.items()} == shapes
    assert ARCHITECTURES[architecture].n_parameters(3, 8) == sum(v.size for v in params.values())
    flat = maps.pack(architecture, params, np.float64)
    restored = maps.unpack(architecture, flat, 3, 8)
    assert list(restored) == list(shapes)
    for name, value in params.items():
        np.testing.assert_array_equal(restored[name], value)


@EVERY
def test_jacobian_equals_autodiff(architecture: str) -> None:
    params, model = random_params(architecture, 4, 9), ARCHITECTURES[architecture]
    tensors = as_torch(params)
    for z in np.random.default_rng(1).standard_normal((5, 4)):
        expected = torch.autograd.functional.jacobian(lambda s: model.step(tensors, s, torch), torch.tensor(z))
        np.testing.assert_allclose(model.jacobian(params, z), expected.numpy(), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(
            model.jacobian(tensors, torch.tensor(z), torch).numpy(), expected.numpy(), atol=1e-12
        )


@EVERY
def test_batched_equals_looped_and_numpy_equals_torch(architecture: str) -> None:
    params, model = random_params(architecture, 3, 8), ARCHITECTURES[architecture]
    z = np.random.default_rng(2).standard_normal((2, 5, 3))
    stepped, jacobians = model.step(params, z), model.jacobian(params, z)
    for i in np.ndindex(2, 5):
        np.testing.assert_allclose(stepped[i], model.step(params, z[i]), rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(jacobians[i], model.jacobian(params, z[i]), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(model.step(as_torch(params), torch.tensor(z), torch).numpy(), stepped, rtol=1e-12)


@EVERY
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["identity", "L0", "affine"])
def test_save_and_load_are_identical_to_the_bit(architecture: str, dtype: type, kind: str) -> None:
    rng = np.random.default_rng(3)
    observation = {
        "identity": {},
        "L0": {"L0": rng.standard_normal((1, 3))},
        "affine": {"B": rng.standard_normal((3, 4)), "b": rng.standard_normal(3)},
    }[kind]
    model = make_model(architecture, observation, 3 if kind == "identity" else 4, 3, dtype)
    data = model.to_safetensors()
    again = TrainedModel.from_safetensors(data)
    assert again.to_safetensors() == data
    assert again.card == model.card
    assert again.observation_kind == ("affine" if kind == "affine" else "identity")
    for name, value in model.params.items():
        assert again.params[name].dtype == dtype
        np.testing.assert_array_equal(again.params[name], value)
    states = [m.free_run(m.encode(m.embed(np.ones((1, 3)))), 5) for m in (model, again)]
    np.testing.assert_array_equal(states[0], states[1])


@EVERY
def test_a_state_observed_is_what_was_encoded(architecture: str) -> None:
    rng = np.random.default_rng(4)
    seen = rng.standard_normal((6, 3))
    square = make_model(architecture, {"B": rng.standard_normal((3, 3)), "b": rng.standard_normal(3)}, 3, 3, np.float64)
    extended = make_model(architecture, {"L0": rng.standard_normal((2, 3))}, 5, 3, np.float64)
    for model in (make_model(architecture, {}, 3, 3, np.float64), square, extended):
        np.testing.assert_allclose(model.observe(model.encode(seen)), seen, atol=1e-12)
        np.testing.assert_allclose(model.to_units(model.embed(seen)), seen, atol=1e-12)


def test_a_file_of_another_kind_is_refused() -> None:
    from safetensors.numpy import save

    with pytest.raises(ValueError, match="not a model file"):
        TrainedModel.from_safetensors(save({"a": np.zeros(2)}))


@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_the_clipped_variant_is_bounded(scale: float) -> None:
    """|z| <= |A| |z| + |W1| |h2| + |h1| componentwise, as the bracket lies between 0 and h2 (Hess et al. 2023, eq. 4)."""
    model = make_model("clipped-shplrnn", {}, 3, 3, np.float64)
    params = model.params
    params["A"] = np.array([0.9, -0.8, 0.5])
    bound = (np.abs(params["W1"]) @ np.abs(params["h2"]) + np.abs(params["h1"])) / (1 - np.abs(params["A"]))
    states = free_run(model, scale * np.random.default_rng(5).standard_normal((4, 3)), 3000)
    assert np.all(np.abs(states[1000:]) <= bound + 1e-9)


def test_embedding_puts_lag_zero_first() -> None:
    model = make_model("shplrnn", {}, 2, 1, np.float64)
    model.lags[:] = [0, 2]
    model.mean[:], model.std[:] = 0.0, 1.0
    np.testing.assert_array_equal(model.embed(np.arange(5.0)[:, None]), [[2, 0], [3, 1], [4, 2]])

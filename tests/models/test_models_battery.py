"""One battery over every architecture: shapes, Jacobian, batches, bound, identity, initial parameters."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from map_sizes import EVERY_SIZE, SIZES, random_params

from models import ARCHITECTURES, Architecture, Size
from models.algebra import positive_definite, tame


def as_torch(params: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value) for name, value in params.items()}


def states(size: Size, *shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((*shape, size.latent))


def test_every_architecture_is_tested() -> None:
    assert {name for name, _ in SIZES} == set(ARCHITECTURES)
    assert len(ARCHITECTURES) == 12


@EVERY_SIZE
def test_shapes_and_sizes(architecture: str, size: Size) -> None:
    model, params = ARCHITECTURES[architecture], random_params(architecture, size)
    assert {k: v.shape for k, v in params.items()} == model.shapes(size)
    assert list(params) == list(model.shapes(size))
    assert all(v.dtype == np.float64 for v in params.values())
    assert model.size(params) == model.size(as_torch(params)) == size
    assert all(type(n) is int for n in model.size(as_torch(params)))
    assert model.n_parameters(size) == sum(v.size for v in params.values())
    assert model.problem(size) is None
    assert (model.hidden_role is None) == (size.hidden == 0)
    assert model.layered == (size.layers > 0)


@EVERY_SIZE
def test_jacobian_equals_autodiff(architecture: str, size: Size) -> None:
    params, model = random_params(architecture, size), ARCHITECTURES[architecture]
    tensors = as_torch(params)
    derivative = torch.func.jacrev(lambda z: model.step(tensors, z, torch))
    at_the_kink = np.zeros((1, size.latent))  # where relu has the derivative 0, as in torch
    for z in np.concatenate([at_the_kink, states(size, 5), 5 * states(size, 5, seed=2)]):
        expected = derivative(torch.tensor(z)).numpy()
        np.testing.assert_allclose(model.jacobian(params, z), expected, rtol=1e-12, atol=1e-13)
        tensor = model.jacobian(tensors, torch.tensor(z), torch)
        np.testing.assert_allclose(tensor.numpy(), expected, rtol=1e-12, atol=1e-13)


@EVERY_SIZE
def test_batched_equals_looped_and_numpy_equals_torch(architecture: str, size: Size) -> None:
    params, model = random_params(architecture, size), ARCHITECTURES[architecture]
    z = states(size, 2, 5)
    stepped, jacobians = model.step(params, z), model.jacobian(params, z)
    assert stepped.shape == z.shape
    assert jacobians.shape == (*z.shape, size.latent)
    for i in np.ndindex(2, 5):
        np.testing.assert_allclose(stepped[i], model.step(params, z[i]), rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(jacobians[i], model.jacobian(params, z[i]), rtol=1e-13, atol=1e-13)
    tensors = as_torch(params)
    np.testing.assert_allclose(model.step(tensors, torch.tensor(z), torch).numpy(), stepped, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(
        model.jacobian(tensors, torch.tensor(z), torch).numpy(), jacobians, rtol=1e-12, atol=1e-13
    )


@EVERY_SIZE
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_spread_parameters_give_the_same_numbers(architecture: str, size: Size, dtype: type) -> None:
    model = ARCHITECTURES[architecture]
    params = {k: v.astype(dtype) for k, v in random_params(architecture, size).items()}
    z = states(size, 17).astype(dtype)
    found = model.step(model.spread(params, 17), z)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, model.step(params, z))


@EVERY_SIZE
def test_single_precision_stays_single(architecture: str, size: Size) -> None:
    model = ARCHITECTURES[architecture]
    params = {k: v.astype(np.float32) for k, v in random_params(architecture, size).items()}
    z, tensors = states(size, 3).astype(np.float32), as_torch(params)
    assert model.step(params, z).dtype == model.jacobian(params, z).dtype == np.float32
    assert model.step(tensors, torch.tensor(z), torch).dtype == torch.float32
    assert model.jacobian(tensors, torch.tensor(z), torch).dtype == torch.float32


@EVERY_SIZE
def test_everything_stays_on_its_device(architecture: str, size: Size) -> None:
    """Torch refuses to mix its `meta` device with the processor, as it would refuse to mix in an accelerator."""
    model = ARCHITECTURES[architecture]
    params = {k: torch.tensor(v, device="meta") for k, v in random_params(architecture, size).items()}
    z = torch.zeros((2, size.latent), dtype=torch.float64, device="meta")
    assert model.step(params, z, torch).shape == (2, size.latent)
    assert model.jacobian(params, z, torch).shape == (2, size.latent, size.latent)


@EVERY_SIZE
def test_the_bound_bounds_the_jacobian(architecture: str, size: Size) -> None:
    model = ARCHITECTURES[architecture]
    for seed in range(5):
        params = random_params(architecture, size, seed)
        bound = model.jacobian_bound(params)
        if architecture in {"lstm", "gru"}:
            assert bound is None
            continue
        z = np.concatenate([scale * states(size, 200, seed=seed) for scale in (0.1, 1, 10)])
        largest = np.linalg.norm(model.jacobian(params, z), ord=2, axis=(-2, -1)).max()
        assert largest <= bound * (1 + 1e-12)
        assert bound == pytest.approx(model.jacobian_bound(as_torch(params)), rel=1e-12)


ATTAINED = {  # small maps, a state of equal units, and the norm of the Jacobian there, which equals the bound
    "plrnn": ({"A": [0.5], "W": [[0.7]], "h": [0.0]}, 1.0, 1.2),
    "clipped-plrnn": ({"A": [-0.5], "W": [[0.7]], "h": [0.0], "h2": [-2.0]}, 1.0, 1.2),
    "dend-plrnn": ({"A": [0.5], "W": [[0.7]], "h": [0.0], "alpha": [1.0, 2.0], "H": [[0.0, -1.0]]}, 1.0, 2.6),
    "clipped-dend-plrnn": ({"A": [-0.5], "W": [[0.7]], "h": [0.0], "alpha": [1.0, 2.0], "H": [[2.0, 3.0]]}, 1.0, 2.6),
    "shplrnn": ({"A": [0.5], "W1": [[0.7]], "W2": [[2.0]], "h1": [0.0], "h2": [0.0]}, 1.0, 1.9),
    "clipped-shplrnn": ({"A": [-0.5], "W1": [[0.7]], "W2": [[2.0]], "h1": [0.0], "h2": [-3.0]}, 1.0, 1.9),
    "al-rnn": ({"A": [0.0, 0.0], "V": [[3.0], [0.0]], "W": [[4.0], [0.0]], "h": [0.0, 0.0]}, 1.0, 5.0),
    "deep-plrnn": (
        {"A": [0.5], "h1": [0.0], "W_out": [[0.7]], "W_in": [[2.0]], "b_in": [0.0], "W_k": [[[3.0]]], "b_k": [[0.0]]},
        1.0,
        4.7,
    ),
    "vanilla-rnn": ({"W": [[1.3]], "h": [0.0]}, 0.0, 1.3),
}


@pytest.mark.parametrize("architecture", ATTAINED)
def test_the_bound_is_attained(architecture: str) -> None:
    given, at, expected = ATTAINED[architecture]
    params, model = {k: np.asarray(v, float) for k, v in given.items()}, ARCHITECTURES[architecture]
    assert model.jacobian_bound(params) == pytest.approx(expected, rel=1e-12)
    z = np.full(model.size(params).latent, at)
    assert np.linalg.norm(model.jacobian(params, z), ord=2) == pytest.approx(expected, rel=1e-12)


@EVERY_SIZE
def test_the_identity_is_the_identity(architecture: str, size: Size) -> None:
    model, params = ARCHITECTURES[architecture], random_params(architecture, size)
    values = model.identity(params)
    if model.squashed:
        assert values is None
        return
    assert set(values) < set(params) or architecture in {"plrnn", "mean-centered-plrnn", "al-rnn"}
    assert set(values) <= set(params)
    at_identity = {k: np.full_like(v, values[k]) if k in values else v for k, v in params.items()}
    z = 3 * states(size, 50)
    np.testing.assert_allclose(model.step(at_identity, z), z, rtol=0, atol=1e-14)
    np.testing.assert_allclose(
        model.jacobian(at_identity, z), np.broadcast_to(np.eye(size.latent), (50, *[size.latent] * 2))
    )


@pytest.mark.parametrize(
    ("architecture", "size", "words"),
    [
        ("mean-centered-plrnn", Size(1), "two units"),
        ("dend-plrnn", Size(3, 0), "one basis"),
        ("clipped-dend-plrnn", Size(3, 0), "one basis"),
        ("shplrnn", Size(3, 0), "one hidden unit"),
        ("clipped-shplrnn", Size(3, 0), "one hidden unit"),
        ("al-rnn", Size(3, 0), "at least one piecewise-linear unit"),
        ("al-rnn", Size(3, 4), "3 units cannot have 4"),
        ("deep-plrnn", Size(3, 5, 0), "one hidden layer"),
        ("deep-plrnn", Size(3, 0, 2), "hidden unit per layer"),
        ("lstm", Size(5), "even, not 5"),
        ("lstm", Size(1), "even, not 1"),
    ],
)
def test_impossible_sizes_are_named(architecture: str, size: Size, words: str) -> None:
    assert words in (ARCHITECTURES[architecture].problem(size) or "")


@EVERY_SIZE
def test_units_that_are_read(architecture: str, size: Size) -> None:
    expected = size.latent // 2 if architecture == "lstm" else size.latent
    assert ARCHITECTURES[architecture].read_units(size.latent) == expected


def free_run(model: type[Architecture], params: dict[str, np.ndarray], z: np.ndarray, n_steps: int) -> np.ndarray:
    for _ in range(n_steps):
        z = model.step(params, z)
    return z


@EVERY_SIZE
def test_initial_maps_neither_explode_nor_die(architecture: str, size: Size) -> None:
    """Over twenty draws: free runs stay in reach for the length of a sequence, and gradients pass through a step."""
    model, norms = ARCHITECTURES[architecture], []
    for seed in range(20):
        params = model.init(np.random.default_rng(seed), size)
        z = states(size, 30, seed=100 + seed)
        assert np.abs(free_run(model, params, z, 200)).max() < 50
        norms.append(np.median(np.linalg.norm(model.jacobian(params, z), ord=2, axis=(-2, -1))))
    assert 0.25 < np.median(norms) < 1.5


@EVERY_SIZE
def test_the_same_seed_gives_the_same_parameters(architecture: str, size: Size) -> None:
    first, again, other = (ARCHITECTURES[architecture].init(np.random.default_rng(seed), size) for seed in (7, 7, 8))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert any(not np.array_equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("m", [1, 2, 5, 30])
def test_positive_definite_matrices(m: int) -> None:
    for seed in range(20):
        values = np.linalg.eigvalsh(positive_definite(np.random.default_rng(seed), m))
        assert values.min() > 0
        assert values.max() < 1 if m == 1 else values.max() == pytest.approx(1, abs=1e-12)


def test_wild_draws_are_drawn_again() -> None:
    draws = iter([{"A": np.array([1.2])}, {"A": np.array([-1.1])}, {"A": np.array([0.9])}, {"A": np.array([0.8])}])
    assert tame(lambda: next(draws), lambda params, z: params["A"] * z)["A"] == 0.9
    count = iter(range(1000))
    assert tame(lambda: {"A": np.array([2.0 + next(count)])}, lambda params, z: params["A"] * z)["A"] == 101.0
    assert next(count) == 100

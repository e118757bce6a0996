"""Regularisers: what pulls where, and the condition of an observation, against closed forms and autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from training_cases import NAMES, problem, random_theta

from dynamics.training.layout import n_shared, views
from dynamics.training.reference import ReferenceEngine
from dynamics.training.regularization import condition, pulls, unit_rows
from models import ARCHITECTURES, Size

PULLED = [name for name in NAMES if name not in ("vanilla-rnn", "lstm", "gru")]


@pytest.mark.parametrize("k", [0, 2])
@pytest.mark.parametrize("name", PULLED)
def test_the_pull_is_towards_the_identity_map(name: str, k: int) -> None:
    """With the parameters that it names at their targets, the map is the identity, whatever the others are."""
    settings, data = problem(name, 2, k, regularization={"identity": 2.0})
    weight, target = pulls(settings, data.n_observed)
    assert len(weight) == len(target) == n_shared(settings, data.n_observed) == random_theta(settings, data).size
    assert set(weight) == {0.0, 2.0}
    theta = np.where(weight > 0, target, random_theta(settings, data))
    params = views(settings, theta, data.n_observed).map
    z = np.random.default_rng(0).standard_normal((50, settings.latent_dim))
    np.testing.assert_allclose(ARCHITECTURES[name].step(params, z), z, atol=1e-14)


@pytest.mark.parametrize("name", PULLED)
def test_a_manifold_attractor_makes_the_last_units_remember(name: str) -> None:
    settings, data = problem(name, 2, regularization={"manifold_attractor": 3.0, "manifold_attractor_fraction": 0.5})
    weight, target = pulls(settings, data.n_observed)
    theta = np.where(weight > 0, target, random_theta(settings, data))
    params = views(settings, theta, data.n_observed).map
    z = np.random.default_rng(0).standard_normal((50, settings.latent_dim))
    stays = np.isclose(ARCHITECTURES[name].step(params, z), z, atol=1e-14).all(axis=0)
    kept = round(settings.latent_dim * 0.5)
    assert list(stays) == [False] * (settings.latent_dim - kept) + [True] * kept
    assert set(weight) == {0.0, 3.0}


def test_pulls_of_a_plrnn_by_hand() -> None:
    settings, data = problem(
        "plrnn", 2, latent_dim=4, observation={"kind": "identity"},
        regularization={"identity": 1.0, "manifold_attractor": 10.0, "manifold_attractor_fraction": 0.25},
    )  # fmt: skip
    weight, target = pulls(settings, data.n_observed)
    found = views(settings, weight, 2).map
    np.testing.assert_array_equal(found["A"], [1, 1, 1, 11])
    np.testing.assert_array_equal(found["W"], np.repeat([[1], [1], [1], [11]], 4, axis=1))
    np.testing.assert_array_equal(found["h"], [1, 1, 1, 11])
    assert not views(settings, weight, 2).observation["L0"].any()
    np.testing.assert_array_equal(views(settings, target, 2).map["A"], [1] * 4)
    assert target.sum() == 4
    nothing, _ = pulls(problem("plrnn", 2)[0], 2)
    assert nothing.size == 0


def test_rows_of_units_are_not_those_of_hidden_units_of_the_same_number() -> None:
    assert unit_rows(ARCHITECTURES["shplrnn"], Size(4, 4)) == {"A", "W1", "h1"}
    assert unit_rows(ARCHITECTURES["dend-plrnn"], Size(4, 4)) == {"A", "W", "h", "H"}
    assert unit_rows(ARCHITECTURES["deep-plrnn"], Size(3, 3, 3)) == {"A", "h1", "W_out"}


@pytest.mark.parametrize("shape", [(6, 3), (3, 6), (4, 4)])
def test_the_condition_of_an_observation(shape: tuple[int, int]) -> None:
    matrix = np.random.default_rng(0).standard_normal(shape)
    value, gradient = condition(matrix)
    exact = torch.tensor(matrix, requires_grad=True)
    by_torch = (exact**2).sum() * (torch.linalg.pinv(exact) ** 2).sum() / min(shape) ** 2 - 1
    by_torch.backward()
    assert value == pytest.approx(by_torch.item(), rel=1e-12)
    np.testing.assert_allclose(gradient, exact.grad.numpy(), rtol=1e-10)
    orthonormal, _ = np.linalg.qr(matrix if shape[0] >= shape[1] else matrix.T)
    best, slope = condition(5 * orthonormal)
    assert best == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(slope, 0, atol=1e-12)
    assert condition(np.diag([1.0, 2.0]))[0] == pytest.approx(5 * 1.25 / 4 - 1)


def test_the_reference_adds_every_term_to_the_gradient_but_none_to_the_loss() -> None:
    """RAdam's first step is the gradient itself, so the difference of two first steps is that of the regularisers."""
    steps = {}
    for name, regularization in (
        ("plain", {}),
        ("all", {"identity": 0.3, "manifold_attractor": 0.2, "observation_condition": 0.1}),
    ):
        settings, data = problem(
            "plrnn", 3, observation={"kind": "affine"}, sequence_length=9,
            regularization={"smoothing": "off"} | regularization,
        )  # fmt: skip
        engine = ReferenceEngine(settings, data)
        learner = engine.learner(1)
        before = learner.theta.copy()
        _, losses = engine.advance(learner, None, 0, np.ones(1), np.full(1, 0.15), np.zeros(1))
        steps[name] = (before - learner.theta, losses[0])
    weight, target = pulls(settings, data.n_observed)
    expected = 2 * weight * (before - target)
    views(settings, expected, data.n_observed).observation["B"][:] += (
        0.1 * condition(views(settings, before, data.n_observed).observation["B"])[1]
    )
    assert steps["plain"][1] == steps["all"][1]
    np.testing.assert_allclose(steps["all"][0] - steps["plain"][0], expected, rtol=1e-9, atol=1e-12)

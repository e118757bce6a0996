"""The compiled engine against float64 autograd of the torch reference: gradients, optimiser, whole updates."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from domain.specs import TrainSpec
from dynamics.kernels.block import loss_and_gradient, radam
from dynamics.kernels.lanes import LANES
from dynamics.training.data import prepare
from dynamics.training.engine import CompiledEngine
from dynamics.training.parameters import new_learner
from dynamics.training.reference import ReferenceEngine, forcing_strengths, sequence_loss
from dynamics.training.settings import Settings, resolve
from dynamics.training.split import split
from models import ARCHITECTURES

FORCINGS = [
    {"kind": "gtf", "alpha": 0.3},
    {"kind": "stf", "interval_steps": 4},
    {"kind": "none"},
]
OBSERVATIONS = [("identity", 3, 3), ("identity", 3, 2), ("affine", 3, 6), ("affine", 3, 2)]  # kind, M, N
STEPS = 21  # no multiple of the kernels' chunk


def make_engine(architecture: str, forcing: dict, observation: str, m: int, n: int, precision: str) -> CompiledEngine:
    rng = np.random.default_rng(m * 10 + n)
    walk = np.cumsum(rng.standard_normal((120, n)), axis=0)
    spec = TrainSpec.model_validate(
        {
            "architecture": architecture,
            "forcing": forcing,
            "observation": {"kind": observation},
            "latent_dim": m,
            "hidden_dim": 11,
            "sequence_length": STEPS,
            "precision": precision,
        }
    )
    settings, data = settle(spec, walk)
    return CompiledEngine(settings, data)


def settle(spec: TrainSpec, values: np.ndarray):
    parts = split([(0, values)], spec)
    settings: Settings = resolve(spec, parts, values.shape[1], 0.1, None)
    return settings, prepare(parts, settings, [f"x{i}" for i in range(values.shape[1])])


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize(("observation", "m", "n"), OBSERVATIONS)
@pytest.mark.parametrize("forcing", FORCINGS, ids=lambda f: f["kind"])
@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_gradients_equal_autograd(architecture, forcing, observation, m, n, precision) -> None:
    engine = make_engine(architecture, forcing, observation, m, n, precision)
    theta = new_learner(engine.settings, engine.data.series, 1).theta
    buffers, gradient = engine.workspace(new_learner(engine.settings, engine.data.series, 1))
    batch = np.random.default_rng(2).standard_normal((STEPS + 1, n, LANES))
    buffers.x[:] = batch.ravel()
    buffers.weight[:] = 1
    buffers.strength[:] = forcing_strengths(engine.settings, engine.settings.forcing.alpha)
    loss = loss_and_gradient(engine.tag, theta, engine.sizes, buffers, gradient)

    exact = torch.tensor(theta.astype(np.float64), requires_grad=True)
    x = torch.tensor(buffers.x.astype(np.float64).reshape(batch.shape)).permute(0, 2, 1)
    strengths = [float(a) for a in buffers.strength]
    expected = sequence_loss(engine.settings, exact, x, strengths)
    expected.backward()
    truth = exact.grad.numpy()
    tolerance = 1e-10 if precision == "float64" else 1e-5
    assert loss == pytest.approx(expected.item(), rel=tolerance)
    assert np.linalg.norm(gradient - truth) <= tolerance * np.linalg.norm(truth)


def test_radam_equals_torch() -> None:
    rng = np.random.default_rng(0)
    theta = rng.standard_normal(7)
    momentum, variance = np.zeros(7), np.zeros(7)
    other = torch.tensor(theta, requires_grad=True)
    optimizer = torch.optim.RAdam([other], lr=0.0, weight_decay=0.01)
    for update in range(1, 41):  # rectification sets in at the sixth
        gradient, rate = rng.standard_normal(7), 0.1 / update
        radam(theta, momentum, variance, gradient, update, rate, 0.01)
        other.grad = torch.tensor(gradient)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        np.testing.assert_allclose(theta, other.detach().numpy(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("batch_size", [5, 16, 20])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_whole_updates_equal_the_reference(batch_size: int, noise: float) -> None:
    values = np.cumsum(np.random.default_rng(0).standard_normal((80, 3)), axis=0)
    spec = TrainSpec.model_validate(
        {
            "hidden_dim": 6,
            "sequence_length": 9,
            "batch_size": batch_size,
            "precision": "float64",
            "regularization": {"l2": 1e-3, "noise": noise},
        }
    )
    settings, data = settle(spec, values)
    rates, alphas = np.linspace(1e-2, 1e-3, 12), np.linspace(1, 0.1, 12)
    outcomes = []
    for engine in (CompiledEngine(settings, data), ReferenceEngine(settings, data)):
        learner = engine.learner(3)
        workspace = engine.workspace(learner)
        done, losses = engine.advance(learner, workspace, 0, rates[:7], alphas[:7])
        more, rest = engine.advance(learner, workspace, 7, rates[7:], alphas[7:])
        assert done + more == 12
        outcomes.append((learner.theta, np.concatenate([losses, rest]), learner.random))
    np.testing.assert_allclose(outcomes[0][0], outcomes[1][0], rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(outcomes[0][1], outcomes[1][1], rtol=1e-9)
    assert outcomes[0][2] == outcomes[1][2]


@pytest.mark.parametrize("estimate", ["arithmetic-mean", "geometric-mean", "largest-norm", "parameter-bound"])
def test_adaptive_forcing_equals_the_reference(estimate: str) -> None:
    values = np.cumsum(np.random.default_rng(0).standard_normal((120, 3)), axis=0)
    forcing = {"kind": "gtf", "alpha": 0.05, "adaptive": True, "estimate": estimate}
    spec = TrainSpec.model_validate(
        {"hidden_dim": 6, "sequence_length": 60, "precision": "float64", "forcing": forcing}
    )
    settings, data = settle(spec, values)
    rates, alphas = np.full(11, 1e-2), np.zeros(11)
    learners = []
    for engine in (CompiledEngine(settings, data), ReferenceEngine(settings, data)):
        learner = engine.learner(3)
        engine.advance(learner, engine.workspace(learner), 0, rates, alphas)
        learners.append(learner)
    assert learners[0].alpha[0] != 0.05
    assert learners[0].alpha[0] == pytest.approx(learners[1].alpha[0], rel=1e-7)
    np.testing.assert_allclose(learners[0].theta, learners[1].theta, rtol=1e-6, atol=1e-8)

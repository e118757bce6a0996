"""The compiled engine against float64 autograd of the torch reference: gradients, optimisers, whole updates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from training_cases import NAMES, observations, problem, random_theta

from dynamics.kernels.block import loss_and_gradient
from dynamics.kernels.lanes import LANES
from dynamics.kernels.optimizers import OPTIMIZERS, optimize
from dynamics.training.engine import CompiledEngine
from dynamics.training.reference import ReferenceEngine, forcing_strengths, sequence_loss
from dynamics.training.schedule import forcing_schedule
from dynamics.training.splitmix import SplitMix64

FORCINGS = {
    "none": {"kind": "none"},
    "gtf": {"kind": "gtf", "alpha": 0.3},
    "stf": {"kind": "stf", "interval_steps": 4},
    "drawn": {"kind": "stf", "interval_steps": 4, "spread_steps": 2.0},
}
STEPS = 21  # no multiple of the kernels' chunks
LARGER = {  # beyond the sizes for which kernels are specialised, and no multiples of their tiles
    "al-rnn": {"latent_dim": 18, "hidden_dim": 5},
    "deep-plrnn": {"latent_dim": 18, "hidden_dim": 21, "layers": 2},
    "dend-plrnn": {"latent_dim": 18, "hidden_dim": 5},
    "clipped-dend-plrnn": {"latent_dim": 18, "hidden_dim": 5},
    "shplrnn": {"latent_dim": 18, "hidden_dim": 37},
    "clipped-shplrnn": {"latent_dim": 18, "hidden_dim": 37},
    "lstm": {"latent_dim": 38},
}


def disagreement(architecture: str, n: int, k: int, precision: str, p: int = 0, **changes: Any) -> tuple[float, float]:
    """Relative errors of the kernels' loss and gradient of a batch, against float64 autograd."""
    settings, data = problem(architecture, n, k, p=p, sequence_length=STEPS, precision=precision, **changes)
    engine = CompiledEngine(settings, data)
    theta = random_theta(settings, data)
    buffers, gradient = engine.workspace(engine.learner(1))
    rng = np.random.default_rng(2)
    buffers.x[:] = rng.standard_normal(buffers.x.size)
    buffers.drive[:] = rng.standard_normal(buffers.drive.size)
    buffers.nuisance[:] = rng.standard_normal(buffers.nuisance.size)
    if engine.apart:
        buffers.given[:] = rng.standard_normal(buffers.given.size)
    buffers.weight[:] = 1
    forcing = settings.forcing
    random = SplitMix64(np.array([11], np.uint64))
    strengths = forcing_strengths(settings, forcing.alpha, float(forcing.interval_steps), random)
    buffers.strength[:] = strengths
    loss = loss_and_gradient(engine.tag, theta, engine.sizes, buffers, gradient)

    def batch(flat: np.ndarray, width: int) -> torch.Tensor:
        return torch.tensor(flat.astype(np.float64).reshape(STEPS + 1, width, LANES)).permute(0, 2, 1)

    exact = torch.tensor(theta.astype(np.float64), requires_grad=True)
    drive = batch(buffers.drive, k) if k else None
    strengths = [float(a) for a in buffers.strength]  # float32 rounds alpha
    nuisance = batch(buffers.nuisance, p) if p else None
    given = batch(buffers.given, n)
    expected = sequence_loss(settings, exact, batch(buffers.x, n), strengths, given, drive=drive, nuisance=nuisance)
    expected.backward()
    truth = exact.grad.numpy()
    return (
        abs(loss - expected.item()) / expected.item(),
        float(np.linalg.norm(gradient - truth) / np.linalg.norm(truth)),
    )


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("forcing", sorted(FORCINGS))
@pytest.mark.parametrize("architecture", NAMES)
def test_gradients_equal_autograd(architecture: str, forcing: str, precision: str) -> None:
    tolerance = 1e-10 if precision == "float64" else 1e-5
    found = {
        (kind, n, k): disagreement(architecture, n, k, precision, forcing=FORCINGS[forcing], observation={"kind": kind})
        for kind, n in observations(architecture)
        for k in (0, 2)
    }
    assert {case: errors for case, errors in found.items() if max(errors) > tolerance} == {}


# Kernels of a shplrnn of this size are its own; those of a clipped one, and all others', are compiled in both precisions.
@pytest.mark.parametrize(
    ("architecture", "precision"),
    [(a, p) for a in NAMES for p in ("float64", "float32") if (a, p) != ("shplrnn", "float32")],
)
def test_gradients_of_larger_maps_equal_autograd(architecture: str, precision: str) -> None:
    size = LARGER.get(architecture, {"latent_dim": 18})
    tolerance = 1e-10 if precision == "float64" else 1e-5
    found = {
        (kind, n, k): disagreement(
            architecture, n, k, precision, forcing=FORCINGS["gtf"], observation={"kind": kind}, **size
        )
        for kind, n in [*observations(architecture), ("affine", 33)]
        for k in (0, 3)
    }
    assert {case: errors for case, errors in found.items() if max(errors) > tolerance} == {}


def filtered(taps: int) -> dict[str, Any]:
    values = np.exp(-0.3 * np.arange(taps)) * np.cos(0.4 * np.arange(taps)) + 0.1
    return {"kind": "convolutional", "kernel": {"kind": "given", "values": values.tolist()}, "loss": "observations"}


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("architecture", NAMES)
def test_gradients_through_kernel_and_nuisance_equal_autograd(architecture: str, precision: str) -> None:
    tolerance = 1e-10 if precision == "float64" else 2e-5
    cases = [(filtered(taps), n) for taps, n in ((1, 2), (5, 6), (STEPS, 2))]
    cases += [({"kind": kind}, n) for kind, n in observations(architecture)]
    found = {
        (len(observation), n, k, p, name): disagreement(
            architecture, n, k, precision, p, forcing=FORCINGS[name], observation=observation
        )
        for observation, n in cases
        for k, p, name in ((0, 0, "gtf"), (2, 3, "gtf"), (0, 2, "stf"))
        if p or observation["kind"] == "convolutional"
    }
    assert {case: errors for case, errors in found.items() if max(errors) > tolerance} == {}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimisers_equal_torch(name: str) -> None:
    rng = np.random.default_rng(0)
    theta = rng.standard_normal(7)
    momentum, variance = np.zeros(7), np.zeros(7)
    other = torch.tensor(theta, requires_grad=True)
    classes = {"radam": torch.optim.RAdam, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    optimizer = classes[name]([other], lr=0.0, weight_decay=0.01)
    for update in range(1, 41):  # the rectification of RAdam sets in at the sixth
        gradient, rate = rng.standard_normal(7), 0.1 / update
        optimize(OPTIMIZERS.index(name), theta, momentum, variance, gradient, update, rate, 0.01)
        other.grad = torch.tensor(gradient)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        np.testing.assert_allclose(theta, other.detach().numpy(), rtol=1e-12, atol=1e-13)


# Of few architectures, since each takes half a minute to compile: what an update does besides the gradient is the same for all.
WHOLE: dict[str, tuple[str, int, int, dict[str, Any]]] = {
    "five sequences": ("clipped-shplrnn", 3, 0, {"batch_size": 5}),
    "twenty sequences": ("clipped-shplrnn", 3, 0, {"batch_size": 20}),
    "weight decay": ("clipped-shplrnn", 3, 0, {"regularization": {"l2": 1e-3}}),
    "decoupled weight decay": ("plrnn", 2, 0, {"optimizer": "adamw", "regularization": {"l2": 1e-2}}),
    "noise": ("clipped-shplrnn", 2, 0, {"batch_size": 20, "regularization": {"noise": 0.1}}),
    "adam, clipped": ("lstm", 3, 0, {"optimizer": "adam", "gradient_clip": 0.05}),
    "inputs": ("lstm", 2, 2, {"batch_size": 20}),
    "no forcing": ("lstm", 3, 1, {"forcing": {"kind": "none"}}),
    "segments": ("lstm", 2, 1, {"batch_size": 20, "forcing": {"kind": "stf", "interval_steps": 4}}),
    "segments with noise": (
        "plrnn", 2, 0,
        {"observation": {"kind": "affine"}, "forcing": {"kind": "stf", "interval_steps": 4}, "regularization": {"noise": 0.1}},
    ),
    "partial sparse forcing": ("dend-plrnn", 2, 0, {"forcing": {"kind": "stf", "interval_steps": 3}}),
    "drawn intervals": ("plrnn", 2, 1, {"forcing": {"kind": "stf", "interval_steps": 5, "spread_steps": 2.0}, "batch_size": 20}),
    "drawn intervals and noise": (
        "lstm", 2, 1,
        {"forcing": {"kind": "stf", "interval_steps": 5, "spread_steps": 2.0}, "batch_size": 20, "regularization": {"noise": 0.1}},
    ),
    "annealed intervals": ("lstm", 2, 0, {"forcing": {"kind": "stf", "interval_steps": 2, "final_interval_steps": 15}}),
    "annealed alpha": ("dend-plrnn", 3, 0, {"forcing": {"kind": "gtf", "alpha": 1.0, "final_alpha": 0.05}}),
    "kernel and nuisance": (
        "clipped-shplrnn", 3, 1, {"observation": filtered(4), "batch_size": 20, "p": 2, "regularization": {"noise": 0.1}},
    ),
    "kernel, forced sparsely": (
        "lstm", 2, 0, {"observation": filtered(5), "forcing": {"kind": "stf", "interval_steps": 3}},
    ),
    "states before a kernel": (
        "clipped-shplrnn", 3, 1, {"observation": filtered(4) | {"loss": "states"}, "batch_size": 20, "p": 1},
    ),
    "nuisance, drawn intervals": (
        "plrnn", 2, 1, {"forcing": {"kind": "stf", "interval_steps": 5, "spread_steps": 2.0}, "batch_size": 20, "p": 1},
    ),
    "all regularisers": (
        "plrnn", 3, 1,
        {"observation": {"kind": "affine"}, "gradient_clip": 0.5,
         "regularization": {"identity": 0.1, "manifold_attractor": 0.2, "observation_condition": 0.3, "l2": 1e-3}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_whole_updates_equal_the_reference(name: str) -> None:
    architecture, n, k, changes = WHOLE[name]
    changes = changes | {"regularization": {"smoothing": "off"} | changes.get("regularization", {})}
    settings, data = problem(architecture, n, k, rows=80, sequence_length=9, **changes)
    rates = np.linspace(1e-2, 1e-3, 12)
    alphas, intervals = forcing_schedule(settings.forcing, 0, 12, 12)
    outcomes = []
    for engine in (CompiledEngine(settings, data), ReferenceEngine(settings, data)):
        learner = engine.learner(3)
        workspace = engine.workspace(learner)
        done, losses = 0, []
        for part in (slice(0, 7), slice(7, 12)):
            count, found = engine.advance(learner, workspace, done, rates[part], alphas[part], intervals[part])
            done, losses = done + count, [*losses, *found]
        assert done == 12
        outcomes.append((learner.theta, losses, learner.random))
    np.testing.assert_allclose(outcomes[0][1], outcomes[1][1], rtol=1e-8)
    np.testing.assert_allclose(outcomes[0][0], outcomes[1][0], rtol=1e-7, atol=1e-9)
    assert outcomes[0][2] == outcomes[1][2]


@pytest.mark.parametrize(
    ("architecture", "estimate"),
    [
        ("clipped-shplrnn", "arithmetic-mean"),
        ("clipped-shplrnn", "geometric-mean"),
        ("clipped-shplrnn", "largest-norm"),
        ("clipped-shplrnn", "parameter-bound"),
        ("lstm", "largest-norm"),
        ("dend-plrnn", "parameter-bound"),
    ],
)
def test_adaptive_forcing_equals_the_reference(architecture: str, estimate: str) -> None:
    forcing = {"kind": "gtf", "alpha": 0.05, "adaptive": True, "estimate": estimate}
    settings, data = problem(architecture, 3, sequence_length=60, forcing=forcing)
    rates, alphas, intervals = np.full(11, 1e-2), np.zeros(11), np.zeros(11)
    learners = []
    for engine in (CompiledEngine(settings, data), ReferenceEngine(settings, data)):
        learner = engine.learner(3)
        engine.advance(learner, engine.workspace(learner), 0, rates, alphas, intervals)
        learners.append(learner)
    assert learners[0].alpha[0] != 0.05
    assert learners[0].alpha[0] == pytest.approx(learners[1].alpha[0], rel=1e-7)
    np.testing.assert_allclose(learners[0].theta, learners[1].theta, rtol=1e-6, atol=1e-8)

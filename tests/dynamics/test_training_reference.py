"""The torch reference against losses written out in numpy, segments against whole sequences, and its random numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from training_cases import NAMES, observations, problem, random_theta

from domain.errors import InvalidParameters
from dynamics.training.layout import views
from dynamics.training.parameters import restore
from dynamics.training.reference import ReferenceEngine, forcing_strengths, sequence_loss
from dynamics.training.splitmix import SplitMix64
from models import ARCHITECTURES

STEPS = 13
FORCINGS = {
    "none": {"kind": "none"},
    "gtf": {"kind": "gtf", "alpha": 0.3},
    "stf": {"kind": "stf", "interval_steps": 4},
    "drawn": {"kind": "stf", "interval_steps": 4, "spread_steps": 2.0},
}


def naive_loss(settings, theta, x, strengths, given, drive) -> float:
    """The definition, sequence by sequence and unit by unit, with numpy's step."""
    steps, batch, n = len(x) - 1, x.shape[1], x.shape[2]
    params, coupling, observation = restore(settings, theta, n)
    step, m = ARCHITECTURES[settings.architecture].step, settings.latent_dim
    read = ARCHITECTURES[settings.architecture].read_units(m)
    total = 0.0
    for b in range(batch):

        def encode(t: int, b: int = b) -> np.ndarray:
            if "B" in observation:
                z, *_ = np.linalg.lstsq(observation["B"], given[t, b] - observation["b"], rcond=None)
                return np.concatenate([z, np.zeros(m - read)])
            started = observation["L0"] @ given[t, b] if m > n else np.empty(0)
            return np.concatenate([given[t, b], started])

        z = encode(0)
        for t in range(1, steps + 1):
            free = step(params, z) + coupling @ drive[t, b]
            seen = observation["B"] @ free[:read] + observation["b"] if "B" in observation else free[:n]
            total += float(np.sum((seen - x[t, b]) ** 2))
            forced = m if "B" in observation else n
            z = free.copy()
            z[:forced] = (1 - strengths[t]) * free[:forced] + strengths[t] * encode(t)[:forced]
    return total / (steps * batch * n)


def random_sequences(n: int, k: int, seed: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((STEPS + 1, 5, n))
    return x, x + 0.1 * rng.standard_normal(x.shape), rng.standard_normal((STEPS + 1, 5, k))


@pytest.mark.parametrize("k", [0, 2])
@pytest.mark.parametrize("forcing", sorted(FORCINGS))
@pytest.mark.parametrize("architecture", NAMES)
def test_the_loss_is_its_definition(architecture: str, forcing: str, k: int) -> None:
    for observation, n in observations(architecture):
        settings, data = problem(
            architecture,
            n,
            k,
            observation={"kind": observation},
            forcing=FORCINGS[forcing],
            sequence_length=STEPS,
        )
        theta = random_theta(settings, data)
        x, given, drive = random_sequences(n, k)
        interval = float(settings.forcing.interval_steps)
        random = SplitMix64(np.array([7], np.uint64))
        strengths = forcing_strengths(settings, settings.forcing.alpha, interval, random)
        found = sequence_loss(
            settings,
            torch.tensor(theta),
            torch.tensor(x),
            strengths,
            torch.tensor(given),
            drive=torch.tensor(drive) if k else None,
        )
        assert found.item() == pytest.approx(naive_loss(settings, theta, x, strengths, given, drive), rel=1e-12)


def test_the_loss_of_two_steps_by_hand() -> None:
    """z' = z / 2 + 2 s, forced with alpha 1/4, input 1 in row 1 and -1 in row 2.

    x = 4, 1, 3: z_1 = 2 + 2 = 4, error 3; z~_1 = 3/4 * 4 + 1/4 * 1 = 3.25; z_2 = 1.625 - 2 = -0.375, error -3.375.
    """
    settings, data = problem(
        "plrnn",
        1,
        1,
        latent_dim=1,
        observation={"kind": "identity"},
        forcing={"kind": "gtf", "alpha": 0.25},
        sequence_length=2,
    )
    theta = np.zeros(4)
    found = views(settings, theta, 1)
    found.map["A"][:], found.coupling[:] = 0.5, 2.0
    assert theta.size == random_theta(settings, data).size
    x = torch.tensor([4.0, 1.0, 3.0], dtype=torch.float64).reshape(3, 1, 1)
    drive = torch.tensor([9.0, 1.0, -1.0], dtype=torch.float64).reshape(3, 1, 1)
    loss = sequence_loss(settings, torch.tensor(theta), x, [0.25] * 3, drive=drive)
    assert loss.item() == pytest.approx((3**2 + 3.375**2) / 2, rel=1e-15)


@pytest.mark.parametrize("forcing", ["stf", "drawn"])
@pytest.mark.parametrize("architecture", ["lstm", "plrnn", "clipped-shplrnn"])
def test_segments_side_by_side_are_the_sequence(architecture: str, forcing: str) -> None:
    """Asking for the visited states makes the reference run step by step."""
    settings, data = problem(
        architecture, 2, 1, observation={"kind": "affine"}, forcing=FORCINGS[forcing], sequence_length=STEPS
    )
    x, given, drive = (torch.tensor(a) for a in random_sequences(2, 1))
    strengths = forcing_strengths(settings, 0.0, 4.0, SplitMix64(np.array([5], np.uint64)))
    assert sum(strengths[1:-1]) >= 2
    outcomes = []
    for visited in (None, []):
        theta = torch.tensor(random_theta(settings, data), requires_grad=True)
        loss = sequence_loss(settings, theta, x, strengths, given, visited, drive)
        loss.backward()
        assert visited is None or len(visited) == STEPS
        outcomes.append((loss.item(), theta.grad.numpy()))
    assert outcomes[0][0] == pytest.approx(outcomes[1][0], rel=1e-12)
    np.testing.assert_allclose(outcomes[0][1], outcomes[1][1], rtol=1e-11, atol=1e-13)


def test_random_numbers_are_those_published() -> None:
    """First outputs for the seed 1234567 of the author's C program (S. Vigna, prng.di.unimi.it/splitmix64.c)."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    random = SplitMix64(np.array([1234567], np.uint64))
    drawn = np.concatenate([random.uniforms(3), random.uniforms(1)])
    np.testing.assert_array_equal(drawn, [(value >> 11) / 2**53 for value in published])
    normals = SplitMix64(np.array([1], np.uint64)).normals(200_000)
    assert abs(normals.mean()) < 0.01
    assert normals.std() == pytest.approx(1, abs=0.01)


def test_drawn_intervals_spread_around_their_mean() -> None:
    settings, _ = problem(
        "plrnn", 2, rows=20_000, forcing={"kind": "stf", "interval_steps": 30, "spread_steps": 6}, sequence_length=9_000
    )
    random = SplitMix64(np.array([1], np.uint64))
    times = np.flatnonzero(forcing_strengths(settings, 0.0, 30.0, random))
    gaps = np.diff([0, *times])
    assert gaps.mean() == pytest.approx(30, abs=1)
    assert gaps.std() == pytest.approx(6, abs=1)
    assert forcing_strengths(settings, 0.0, 30.0, random) != forcing_strengths(settings, 0.0, 30.0, random)


def test_an_interval_is_rounded_and_at_least_one() -> None:
    settings, _ = problem("plrnn", 2, forcing={"kind": "stf", "interval_steps": 3}, sequence_length=6)
    assert forcing_strengths(settings, 0.0, 2.5) == [1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0]
    assert forcing_strengths(settings, 0.0, 0.2) == [1.0] * 7


@pytest.mark.parametrize("optimizer", ["radam", "adam", "adamw"])
def test_an_update_is_torchs_optimiser_on_the_clipped_gradient(optimizer: str) -> None:
    """Adam's first step is rate * sign of the gradient (RAdam: rate * gradient), whatever was added to it before."""
    settings, data = problem(
        "plrnn",
        2,
        optimizer=optimizer,
        gradient_clip=1e-3,
        sequence_length=STEPS,
        regularization={"l2": 0.0 if optimizer != "adamw" else 0.5, "smoothing": "off"},
    )
    engine = ReferenceEngine(settings, data)
    learner = engine.learner(1)
    before, drawn = learner.theta.copy(), learner.random.copy()
    done, losses = engine.advance(learner, None, 0, np.array([0.01]), np.array([0.15]), np.zeros(1))
    assert done == len(losses) == 1
    theta = torch.tensor(before, requires_grad=True)
    index = data.starts[(SplitMix64(drawn).uniforms(16) * len(data.starts)).astype(int)] + np.arange(STEPS + 1)[:, None]
    loss = sequence_loss(settings, theta, torch.tensor(data.series[index]), [0.15] * (STEPS + 1))
    loss.backward()
    assert losses[0] == pytest.approx(loss.item(), rel=1e-14)
    gradient = theta.grad.numpy()
    assert np.linalg.norm(gradient) > 1e-3
    clipped = gradient * 1e-3 / np.linalg.norm(gradient)
    moved = clipped if optimizer == "radam" else clipped / (np.abs(clipped) + 1e-8)
    shrunk = before * (1 - 0.01 * 0.5) if optimizer == "adamw" else before
    np.testing.assert_allclose(learner.theta, shrunk - 0.01 * moved, rtol=0, atol=1e-12)


def test_a_gpu_that_is_not_there_is_an_error_of_the_request() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    settings, data = problem("plrnn", 2, device="cuda", sequence_length=STEPS)
    assert settings.engine == "torch"
    with pytest.raises(InvalidParameters, match="no GPU"):
        ReferenceEngine(settings, data)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")
@pytest.mark.parametrize("architecture", NAMES)
def test_a_gpu_trains_as_the_cpu_does(architecture: str) -> None:
    thetas = []
    for device in ("cpu", "cuda"):
        settings, data = problem(architecture, 2, 1, device=device, engine="torch", sequence_length=STEPS)
        engine = ReferenceEngine(settings, data)
        learner = engine.learner(1)
        engine.advance(learner, None, 0, np.full(5, 1e-3), np.full(5, 0.15), np.zeros(5))
        thetas.append(learner.theta)
    np.testing.assert_allclose(thetas[0], thetas[1], rtol=1e-8, atol=1e-10)

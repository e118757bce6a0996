"""Families of maps: gradients against autograd, both engines alike, and a parameter of the system found again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from domain.errors import InvalidParameters
from domain.series import Recording
from domain.specs import TrainSpec
from dynamics.families import fit_vector
from dynamics.kernels.block import family_loss_and_gradient
from dynamics.kernels.lanes import LANES
from dynamics.measures import prediction_error
from dynamics.reporting import Reporter
from dynamics.training import train
from dynamics.training.data import TrainingData, prepare
from dynamics.training.engine import CompiledEngine
from dynamics.training.layout import family_views, n_shared
from dynamics.training.parameters import family_of, new_learner, restore
from dynamics.training.reference import ReferenceEngine, forcing_strengths, own_theta, sequence_loss
from dynamics.training.schedule import forcing_schedule
from dynamics.training.settings import Settings, resolve, with_recordings
from dynamics.training.split import split
from dynamics.training.splitmix import SplitMix64
from models.trained import TrainedModel

STEPS = 13
SIZES = {"clipped-shplrnn": (3, 7), "plrnn": (4, None)}  # sixteen partial sums of each gradient, and one


def problem(
    architecture: str, n: int, lengths: tuple[int, ...] = (60, 40, 50), **changes: Any
) -> tuple[Settings, TrainingData]:
    rng = np.random.default_rng(0)
    ends = np.cumsum(lengths)
    recordings = [
        Recording(name=f"r{i}", start=int(end - m), stop=int(end), time_start=0)
        for i, (m, end) in enumerate(zip(lengths, ends, strict=True))
    ]
    segments = [(r.start, np.cumsum(rng.standard_normal((r.stop - r.start, n + 1)), axis=0)) for r in recordings]
    latent, hidden = SIZES[architecture]
    size = {"latent_dim": latent} | ({"hidden_dim": hidden} if hidden else {})
    params = {
        "architecture": architecture, "precision": "float64", "recording_dim": 2, "sequence_length": STEPS,
        "input_channels": ["s"], "regularization": {"smoothing": "off"}, **size,
    } | changes  # fmt: skip
    spec = TrainSpec.model_validate(params)
    parts = split(segments, spec, recordings)
    settings = resolve(spec, parts.select(list(range(n))), n, 0.1, None)
    settings = with_recordings(settings, parts.train, recordings)
    return settings, prepare(parts, settings, [*(f"x{i}" for i in range(n)), "s"], recordings)


def moved(settings: Settings, data: TrainingData) -> np.ndarray:
    theta = new_learner(settings, data, 1).theta
    return theta + (0.1 * np.random.default_rng(1).standard_normal(theta.size)).astype(theta.dtype)


@pytest.mark.parametrize("forcing", [{"kind": "gtf", "alpha": 0.3}, {"kind": "stf", "interval_steps": 4}])
@pytest.mark.parametrize(
    ("architecture", "kind", "n"),
    [("clipped-shplrnn", "identity", 3), ("clipped-shplrnn", "affine", 2), ("plrnn", "affine", 6)],
)
def test_gradients_equal_autograd(architecture: str, kind: str, n: int, forcing: dict[str, Any]) -> None:
    settings, data = problem(architecture, n, observation={"kind": kind}, forcing=forcing)
    engine = CompiledEngine(settings, data)
    theta = moved(settings, data)
    buffers, gradient = engine.workspace(engine.learner(1))
    rng = np.random.default_rng(2)
    buffers.x[:] = rng.standard_normal(buffers.x.size)
    buffers.drive[:] = rng.standard_normal(buffers.drive.size)
    buffers.weight[:] = 1
    strengths = forcing_strengths(
        settings, settings.forcing.alpha, float(settings.forcing.interval_steps), SplitMix64(np.array([3], np.uint64))
    )
    buffers.strength[:] = strengths

    def batch(flat: np.ndarray, width: int) -> torch.Tensor:
        return torch.tensor(flat.reshape(STEPS + 1, width, LANES)).permute(0, 2, 1)

    for owner in range(3):
        loss = family_loss_and_gradient(engine.tag, theta, engine.sizes, buffers, gradient, 2, 3, owner)
        exact = torch.tensor(theta, requires_grad=True)
        own = own_theta(settings, exact, n, owner)
        expected = sequence_loss(settings, own, batch(buffers.x, n), strengths, drive=batch(buffers.drive, 1))
        expected.backward()
        truth = exact.grad.numpy()
        assert loss == pytest.approx(expected.item(), rel=1e-10)
        assert np.linalg.norm(gradient - truth) < 1e-10 * np.linalg.norm(truth)
        vectors = family_views(settings, truth, n).vectors
        assert np.flatnonzero(np.abs(vectors).sum(axis=1)).tolist() == [owner]  # no other recording's vector


WHOLE: dict[str, tuple[str, int, dict[str, Any]]] = {
    "two groups and a rest": ("clipped-shplrnn", 3, {"batch_size": 40}),
    "noise and weight decay": (
        "clipped-shplrnn", 3, {"batch_size": 20, "regularization": {"smoothing": "off", "noise": 0.1, "l2": 1e-3}}
    ),
    "segments": ("plrnn", 2, {"batch_size": 20, "observation": {"kind": "affine"}, "forcing": {"kind": "stf", "interval_steps": 4}}),
    "regularised, clipped": (
        "plrnn", 2, {"gradient_clip": 0.5, "observation": {"kind": "affine"},
                     "regularization": {"smoothing": "off", "identity": 0.1, "observation_condition": 0.3}}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_whole_updates_equal_the_reference(name: str) -> None:
    architecture, n, changes = WHOLE[name]
    settings, data = problem(architecture, n, **changes)
    rates = np.linspace(1e-2, 1e-3, 12)
    alphas, intervals = forcing_schedule(settings.forcing, 0, 12, 12)
    outcomes = []
    for engine in (CompiledEngine(settings, data), ReferenceEngine(settings, data)):
        learner = engine.learner(3)
        count, losses = engine.advance(learner, engine.workspace(learner), 0, rates, alphas, intervals)
        assert count == 12
        outcomes.append((learner.theta, losses, learner.random))
    np.testing.assert_allclose(outcomes[0][1], outcomes[1][1], rtol=1e-8)
    np.testing.assert_allclose(outcomes[0][0], outcomes[1][0], rtol=1e-7, atol=1e-9)
    assert outcomes[0][2] == outcomes[1][2]
    assert np.abs(family_views(settings, outcomes[0][0], n).vectors).max() > 0


def test_training_begins_with_one_map_and_the_model_is_that_of_theta() -> None:
    settings, data = problem("clipped-shplrnn", 3)
    theta = new_learner(settings, data, 0).theta
    assert not family_views(settings, theta, 3).vectors.any()
    theta = moved(settings, data)
    family, params = family_of(settings, theta, 3), restore(settings, theta, 3).map
    assert family is not None
    own = own_theta(settings, torch.tensor(theta), 3, 1).numpy()
    assert len(own) == n_shared(settings, 3)
    for name, value in restore(settings, own, 3).map.items():
        np.testing.assert_allclose(family.shifted(params, family.vector("r1"))[name], value, rtol=1e-12)
    common, standard = family.standardised(params)
    np.testing.assert_allclose(standard.vectors.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(standard.vectors.std(axis=0), 1)
    for i in range(3):
        for name, value in family.shifted(params, family.vector(i)).items():
            np.testing.assert_allclose(standard.shifted(common, standard.vector(i))[name], value, rtol=1e-9, atol=1e-12)
    with pytest.raises(KeyError):
        family.vector("nobody")
    with pytest.raises(ValueError, match="a vector of 2 numbers"):
        family.vector(np.zeros(3))


def test_what_cannot_be_a_family_is_refused() -> None:
    settings, _ = problem("clipped-shplrnn", 3)
    alone = [Recording(name="a", start=0, stop=13, time_start=0)]
    with pytest.raises(InvalidParameters, match="0 of 1 recordings have the 14 rows"):
        with_recordings(settings, [(0, np.zeros((13, 3)))], alone)
    with pytest.raises(ValueError, match="needs rows of every recording"):
        TrainSpec(recording_dim=1, split="recordings")
    with pytest.raises(ValueError, match="adaptive forcing exclude"):
        TrainSpec.model_validate({"recording_dim": 1, "forcing": {"kind": "gtf", "adaptive": True}})


PARAMETERS = np.array([1.25, 1.4, 1.1, 1.33, 1.18, 1.37])  # Hénon's a, in no order


def henon(a: float, rows: int) -> np.ndarray:
    out, x, y = np.empty((rows, 2)), 0.1, 0.1
    for i in range(-100, rows):
        x, y = 1 - a * x * x + y, 0.3 * x
        if i >= 0:
            out[i] = x, y
    return out


def trained(dim: int, rows: int = 400, updates: int = 1500) -> TrainedModel:
    parts = [henon(a, rows) for a in PARAMETERS]
    recordings = [
        Recording(name=f"a{a}", start=rows * i, stop=rows * i + rows, time_start=0) for i, a in enumerate(PARAMETERS)
    ]
    spec = TrainSpec.model_validate(
        {"recording_dim": dim, "split": "each", "seeds": 1, "updates": updates, "hidden_dim": 40, "batch_size": 32, "budget_seconds": 600,
         "sequence_length": 20, "forcing": {"kind": "gtf", "alpha": 0.6}, "regularization": {"smoothing": "off"}}
    )  # fmt: skip
    segments = [(r.start, part) for r, part in zip(recordings, parts, strict=True)]
    model, history = train(
        segments, channels=["x", "y"], dt=1.0, time_unit="step", spec=spec, analysis=None, reporter=Reporter(),
        threads=1, recordings=recordings,
    )  # fmt: skip
    assert history.test_parts == [(rows * i + rows * 9 // 10, rows * i + rows) for i in range(6)]
    assert history.seeds[0].validation["d_h"] is not None
    return TrainedModel.from_safetensors(model.to_safetensors())


def test_the_vector_is_the_systems_parameter_and_each_map_is_better_than_one_for_all() -> None:
    """Six Hénon maps: with one number for each recording its order is that of a, and forecasts are far better."""
    family, shared = trained(1), trained(0)
    assert family.family is not None
    assert shared.family is None
    assert abs(spearmanr(family.family.vectors[:, 0], PARAMETERS).statistic) == pytest.approx(1.0)

    def error(model: TrainedModel, i: int) -> float:
        own = model.of(i).as_float64()
        found = prediction_error(own, [own.embed(henon(PARAMETERS[i], 1000)[400:])], 1).value
        return np.inf if found is None else found

    errors = np.array([[error(model, i) for i in range(6)] for model in (family, shared)])
    assert errors[0].mean() < errors[1].mean() / 5
    assert (errors[0] < errors[1]).sum() >= 5
    new = family.as_float64()
    vector = fit_vector(new, [henon(1.29, 200)])  # a recording that training has not seen lies between its neighbours
    at = [family.family.vector(f"a{a}")[0] for a in (1.25, 1.33)]
    assert min(at) < vector[0] < max(at)


def test_recordings_longer_than_the_judging_runs() -> None:
    model = trained(2, rows=2000, updates=3)
    assert model.family is not None
    assert model.family.vectors.shape == (6, 2)

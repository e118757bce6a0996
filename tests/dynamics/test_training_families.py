"""Families of maps: gradients against autograd, both engines alike, and a parameter of the system found again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from domain.errors import InvalidParameters
from domain.series import Recording, Segment
from domain.specs import EvaluateSpec, ForecastSpec, TrainSpec
from dynamics.families import fit_vector
from dynamics.family_evaluation import evaluate_recordings
from dynamics.forecast_inputs import given_by_series
from dynamics.kernels.block import family_loss_and_gradient
from dynamics.kernels.lanes import LANES
from dynamics.measures import prediction_error
from dynamics.recorded import Recorded
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
from models.filters import convolve
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
    p = changes.pop("p", 0)
    segments = [(r.start, np.cumsum(rng.standard_normal((r.stop - r.start, n + 1 + p)), axis=0)) for r in recordings]
    nuisance = [f"r{i}" for i in range(p)]
    latent, hidden = SIZES[architecture]
    size = {"latent_dim": latent} | ({"hidden_dim": hidden} if hidden else {})
    params = {
        "architecture": architecture, "precision": "float64", "recording_dim": 2, "sequence_length": STEPS,
        "input_channels": ["s"], "nuisance_channels": nuisance, "regularization": {"smoothing": "off"}, **size,
    } | changes  # fmt: skip
    spec = TrainSpec.model_validate(params)
    parts = split(segments, spec, recordings)
    settings = resolve(spec, parts.select(list(range(n))), n, 0.1, None)
    settings = with_recordings(settings, parts.train, recordings)
    return settings, prepare(parts, settings, [*(f"x{i}" for i in range(n)), "s", *nuisance], recordings)


def filtered(taps: int) -> dict[str, Any]:
    values = np.exp(-0.3 * np.arange(taps)) * np.cos(0.4 * np.arange(taps)) + 0.1
    return {
        "kind": "convolutional",
        "kernel": {"kind": "given", "values": values.tolist()},
        "noise": 0.05,
        "loss": "observations",
    }


def moved(settings: Settings, data: TrainingData) -> np.ndarray:
    theta = new_learner(settings, data, 1).theta
    return theta + (0.1 * np.random.default_rng(1).standard_normal(theta.size)).astype(theta.dtype)


@pytest.mark.parametrize("forcing", [{"kind": "gtf", "alpha": 0.3}, {"kind": "stf", "interval_steps": 4}])
@pytest.mark.parametrize(
    ("architecture", "observation", "n", "p"),
    [
        ("clipped-shplrnn", {"kind": "identity"}, 3, 0),
        ("clipped-shplrnn", {"kind": "affine"}, 2, 0),
        ("plrnn", {"kind": "affine"}, 6, 0),
        ("clipped-shplrnn", {"kind": "affine"}, 2, 3),
        ("clipped-shplrnn", filtered(4), 2, 2),
        ("plrnn", filtered(5), 3, 0),
    ],
)
def test_gradients_equal_autograd(
    architecture: str, observation: dict[str, Any], n: int, p: int, forcing: dict[str, Any]
) -> None:
    settings, data = problem(architecture, n, p=p, observation=observation, forcing=forcing)
    engine = CompiledEngine(settings, data)
    theta = moved(settings, data)
    buffers, gradient = engine.workspace(engine.learner(1))
    rng = np.random.default_rng(2)
    buffers.x[:] = rng.standard_normal(buffers.x.size)
    buffers.drive[:] = rng.standard_normal(buffers.drive.size)
    buffers.nuisance[:] = rng.standard_normal(buffers.nuisance.size)
    if engine.apart:
        buffers.given[:] = rng.standard_normal(buffers.given.size)
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
        given = batch(buffers.given, n) if engine.apart else None
        nuisance = batch(buffers.nuisance, p) if p else None
        expected = sequence_loss(
            settings, own, batch(buffers.x, n), strengths, given, drive=batch(buffers.drive, 1), nuisance=nuisance
        )
        expected.backward()
        truth = exact.grad.numpy()
        assert loss == pytest.approx(expected.item(), rel=1e-10)
        assert np.linalg.norm(gradient - truth) < 1e-10 * np.linalg.norm(truth)
        vectors = family_views(settings, truth, n).vectors
        assert np.flatnonzero(np.abs(vectors).sum(axis=1)).tolist() == [owner]  # no other recording's vector


WHOLE: dict[str, tuple[str, int, dict[str, Any]]] = {
    "kernel and nuisance": ("clipped-shplrnn", 3, {"batch_size": 20, "p": 2, "observation": filtered(4)}),
    "adaptive forcing": (
        "clipped-shplrnn", 3, {"batch_size": 20, "forcing": {"kind": "gtf", "alpha": 0.05, "adaptive": True}}
    ),
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
        outcomes.append((learner.theta, losses, learner.random, learner.alpha))
    np.testing.assert_allclose(outcomes[0][1], outcomes[1][1], rtol=1e-8)
    np.testing.assert_allclose(outcomes[0][0], outcomes[1][0], rtol=1e-7, atol=1e-9)
    assert outcomes[0][2] == outcomes[1][2]
    assert outcomes[0][3] == pytest.approx(outcomes[1][3], rel=1e-7)
    assert (outcomes[0][3][0] != settings.forcing.alpha) == settings.forcing.adaptive
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


PARAMETERS = np.array([1.25, 1.4, 1.1, 1.33, 1.18, 1.37])  # Hénon's a, in no order


def henon(a: float, rows: int) -> np.ndarray:
    out, x, y = np.empty((rows, 2)), 0.1, 0.1
    for i in range(-100, rows):
        x, y = 1 - a * x * x + y, 0.3 * x
        if i >= 0:
            out[i] = x, y
    return out


KERNEL, CONTAMINATION = np.array([0.6, 0.3, 0.1]), np.array([[0.5], [-0.3]])


def seen(a: float, rows: int, seed: int) -> np.ndarray:
    """The same through a kernel and with nuisance, which is the last column."""
    breath = np.random.default_rng(seed).standard_normal((rows, 1))
    return np.hstack([convolve(KERNEL, henon(a, rows + 2)) + breath @ CONTAMINATION.T, breath])


def trained(dim: int, rows: int = 400, updates: int = 1500, *, through_kernel: bool = False) -> TrainedModel:
    parts = [seen(a, rows, i) if through_kernel else henon(a, rows) for i, a in enumerate(PARAMETERS)]
    recordings = [
        Recording(name=f"a{a}", start=rows * i, stop=rows * i + rows, time_start=0) for i, a in enumerate(PARAMETERS)
    ]
    spec = TrainSpec.model_validate(
        ({"nuisance_channels": ["r"], "observation": {"kind": "convolutional", "noise": 0.01, "kernel": {"kind": "given", "values": KERNEL.tolist()}}}
         if through_kernel else {}) |
        {"recording_dim": dim, "split": "each", "seeds": 1, "updates": updates, "hidden_dim": 40, "batch_size": 32, "budget_seconds": 600,
         "sequence_length": 20, "forcing": {"kind": "gtf", "alpha": 0.6}, "regularization": {"smoothing": "off"}}
    )  # fmt: skip
    segments = [(r.start, part) for r, part in zip(recordings, parts, strict=True)]
    model, history = train(
        segments, channels=["x", "y", "r"][: parts[0].shape[1]], dt=1.0, time_unit="step", spec=spec, analysis=None, reporter=Reporter(),
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


def test_recordings_through_a_kernel_and_with_nuisance() -> None:
    """Six Hénon maps, each seen through three taps and with what contaminates it: vectors, fits, reports and forecasts know of both."""
    model = trained(1, rows=600, through_kernel=True).as_float64()
    assert model.family is not None
    assert model.filter is not None
    assert abs(spearmanr(model.family.vectors[:, 0], PARAMETERS).statistic) > 0.9
    parts = [seen(a, 300, 10 + i) for i, a in enumerate(PARAMETERS)]
    fitted = [fit_vector(model, [part[:, :2]], nuisance=[part[:, 2:]])[0] for part in parts]
    assert abs(spearmanr(fitted, PARAMETERS).statistic) > 0.9
    rows, names = [part[:, :2] for part in parts], [f"a{a}" for a in PARAMETERS]
    report = evaluate_recordings(
        model, rows, names=list(names), nuisance=[part[:, 2:] for part in parts],
        lead_in=[model.context_rows - 1] * 6, spec=EvaluateSpec(prediction_horizon_steps=1, lyapunov_steps=500), reference_steps=(0, 1800),
    )  # fmt: skip
    assert [line.name for line in report.recordings] == names
    errors = [line.prediction_error for line in report.recordings]
    assert max(e for e in errors if e is not None) < 0.5
    table = Recorded([(["x", "y", "r"], [Segment(start=0, stop=300, time_start=0)], parts[1])])
    spec = ForecastSpec(horizon_steps=3, start_index=250)
    given = given_by_series(model, spec, 3, recorded=table, dt=1.0)  # no recording that it knows: a map is fitted
    assert given.vector is not None
    assert given.nuisance is not None
    assert given.vector[0] == pytest.approx(fitted[1], abs=0.3)


def test_a_recording_of_which_the_cut_leaves_nothing_has_no_vector() -> None:
    lengths = (200, 200, 18)
    ends = np.cumsum(lengths)
    recordings = [
        Recording(name=f"r{i}", start=int(end - m), stop=int(end), time_start=0)
        for i, (m, end) in enumerate(zip(lengths, ends, strict=True))
    ]
    segments = [(r.start, henon(1.2, r.stop - r.start + 9)[9:]) for r in recordings]
    spec = TrainSpec.model_validate(
        {"recording_dim": 1, "sequence_length": 12, "updates": 3, "seeds": 1, "test_fraction": 0.1, "regularization": {"smoothing": "off"},
         "observation": {"kind": "convolutional", "noise": 0.5, "kernel": {"kind": "given", "values": [0.1, 0.2, 0.3, 0.3, 0.2, 0.1]}}}
    )  # fmt: skip
    model, history = train(
        segments, channels=["x", "y"], dt=1.0, time_unit="step", spec=spec, analysis=None, reporter=Reporter(), threads=1,
        recordings=recordings,
    )  # fmt: skip
    assert list(model.vectors) == ["r0", "r1"]
    assert "'r2'" in history.settings["why"]["recordings"]


def test_recordings_longer_than_the_judging_runs() -> None:
    model = trained(2, rows=2000, updates=3)
    assert model.family is not None
    assert model.family.vectors.shape == (6, 2)

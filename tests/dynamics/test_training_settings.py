"""What training's `auto` becomes: amounts that the budget affords, rates, engine; all of it with reasons."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from domain.specs import TrainSpec
from dynamics.training.settings import Settings, resolve
from dynamics.training.split import split
from models import ARCHITECTURES


def settled(n_channels: int = 3, rows: int = 5000, **params: Any) -> Settings:
    values = np.cumsum(np.random.default_rng(0).standard_normal((rows, n_channels)), axis=0)
    spec = TrainSpec.model_validate({"regularization": {"smoothing": "off"}} | params)
    return resolve(spec, split([(0, values)], spec), n_channels, 0.01, None)


@pytest.mark.parametrize(
    ("n_channels", "params", "amount"),
    [
        (3, {}, (34_000, 4)),  # clean: alpha 0.3, sequences of 50
        (3, {"forcing": {"kind": "gtf", "alpha": 0.15}}, (17_000, 4)),  # as on noisy Lorenz-63: sequences of 100
        (5, {}, (69_402, 3)),  # ECG: 2500 weights, 1.7 million steps times the root of 2500 / 600
        (3, {"hidden_dim": 50}, (34_000, 9)),
        (3, {"budget_seconds": 3}, (26_700, 2)),
        (3, {"updates": 100, "seeds": 3}, (100, 3)),
        (64, {}, (39_200, 2)),  # EEG
    ],
)
def test_amounts_of_the_shallow_map(n_channels: int, params: dict, amount: tuple[int, int]) -> None:
    found = settled(n_channels, **params)
    assert (found.updates, found.seeds) == amount


@pytest.mark.parametrize(
    ("n_channels", "params", "steps"),
    [
        (3, {"forcing": {"kind": "gtf", "alpha": 0.15}}, 100),
        (3, {}, 50),
        (64, {}, 25),  # 8192 weights a layer, alpha 0.2: 5 / alpha
        (3, {"forcing": {"kind": "gtf", "alpha": 0.9}}, 25),
        (3, {"forcing": {"kind": "gtf", "alpha": 0.5, "final_alpha": 0.1}}, 150),
        (3, {"forcing": {"kind": "gtf", "alpha": 0.15, "adaptive": True}}, 200),
        (3, {"forcing": {"kind": "stf", "interval_steps": 10}}, 200),
        (3, {"latent_dim": 5}, 200),  # units that nothing forces remember
        (3, {"architecture": "al-rnn"}, 200),
        (3, {"sequence_length": 77}, 77),
        (3, {"rows": 100}, 21),  # a quarter of the rows for training
    ],
)
def test_sequences_are_as_long_as_forcing_lets_maps_remember(n_channels: int, params: dict, steps: int) -> None:
    assert settled(n_channels, **params).sequence_length == steps


def test_forcing_is_weak_towards_noise_and_strong_towards_clean_states() -> None:
    noise = np.random.default_rng(0)
    t = np.arange(6000) * 0.03
    clean = np.stack([np.sin(t), np.cos(t), np.sin(2.1 * t)], axis=1)
    for values, alpha in ((clean, 0.3), (clean + 0.05 * noise.standard_normal(clean.shape), 0.15)):
        spec = TrainSpec()
        found = resolve(spec, split([(0, values)], spec), 3, 0.01, None)
        assert found.forcing.alpha == alpha, found.why
    orbit = np.empty((3000, 2))
    orbit[0] = 0.1
    for t in range(1, len(orbit)):
        orbit[t] = 1 - 1.4 * orbit[t - 1, 0] ** 2 + orbit[t - 1, 1], 0.3 * orbit[t - 1, 0]
    assert resolve(TrainSpec(), split([(0, orbit)], TrainSpec()), 2, 1.0, None).forcing.alpha == 0.6  # Hénon's map
    assert settled(64).forcing.alpha == 0.2
    assert settled(3, architecture="deep-plrnn").forcing.alpha == 0.15


def test_more_moments_are_judged_where_training_takes_long() -> None:
    assert [settled(n).moments for n in (3, 5, 64)] == [9, 25, 9]


@pytest.mark.parametrize(
    ("architecture", "amount"),
    [
        ("plrnn", (12_000, 8)),
        ("al-rnn", (12_000, 8)),
        ("lstm", (6_000, 7)),
        ("gru", (6_000, 8)),
        ("deep-plrnn", (12_000, 4)),
    ],
)
def test_amounts_of_other_maps(architecture: str, amount: tuple[int, int]) -> None:
    """At most 7 CPU seconds a run where measured: several of them within a budget of 60 s on two cores."""
    found = settled(3, architecture=architecture)
    assert (found.updates, found.seeds) == amount


def test_the_interval_comes_from_the_series_where_nothing_else_is_known() -> None:
    wave = np.cos(2 * np.pi * np.arange(5000)[:, None] / [90, 90])  # below 1/e from row 18 on
    spec = TrainSpec.model_validate({"architecture": "plrnn"})
    found = resolve(spec, split([(0, wave)], spec), 2, 0.01, None).forcing
    assert (found.kind, found.interval_steps, found.final_interval_steps) == ("stf", 7, 27)


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_the_default_budget_trains_every_architecture(architecture: str) -> None:
    for n_channels in (1, 3, 12):
        found = settled(n_channels, architecture=architecture)
        assert found.updates >= 3_000
        assert found.seeds >= 2
        assert {"updates", "seeds", "learning_rate", "sequence_length", "engine"} <= set(found.why)
        assert found.size == (found.latent_dim, found.hidden_dim, found.layers)


def test_torch_affords_fewer_updates_but_more_of_them_where_segments_run_side_by_side() -> None:
    compiled, torch = settled(), settled(engine="torch")
    assert (compiled.engine, torch.engine) == ("compiled", "torch")
    assert 500 <= torch.updates < compiled.updates / 10
    stf = {"forcing": {"kind": "stf", "interval_steps": 10}, "engine": "torch"}
    assert settled(**stf).updates > 4_000
    assert settled(**stf, latent_dim=5).updates == 500  # two units are not forced: one sequence after the other


def test_a_gpu_is_used_by_torch() -> None:
    found = settled(device="cuda")
    assert (found.engine, found.device) == ("torch", "cuda")
    assert "GPU" in found.why["engine"]
    assert settled(device="cuda", engine="torch").engine == "torch"


@pytest.mark.parametrize(
    ("params", "rate"),
    [
        ({}, 1e-2),
        ({"updates": 12_000}, 2e-2),
        ({"updates": 12_000, "hidden_dim": 200}, 5e-3),
        ({"hidden_dim": 200}, 5e-3),
        ({"updates": 100_000}, 1e-2),
        ({"updates": 200_000}, 5e-3),
        ({"learning_rate": {"schedule": "exponential"}}, 1e-3),
        ({"learning_rate": {"peak": 0.3}}, 0.3),
        ({"architecture": "lstm"}, 5e-3),
        ({"architecture": "lstm", "updates": 50_000}, 2.5e-3),
    ],
)
def test_learning_rates(params: dict, rate: float) -> None:
    assert settled(**params).peak_rate == pytest.approx(rate)


def test_the_document_names_everything_that_was_asked_for() -> None:
    document = settled(
        architecture="clipped-plrnn",
        optimizer="adamw",
        gradient_clip=2.0,
        forcing={"kind": "stf", "interval_steps": 7, "spread_steps": 1.5, "final_interval_steps": 30},
        regularization={
            "smoothing": "off",
            "identity": 0.1,
            "manifold_attractor": 0.2,
            "manifold_attractor_fraction": 0.3,
        },
    ).document()
    assert (document["optimizer"], document["gradient_clip"]) == ("adamw", 2.0)
    assert document["forcing"]["interval_steps"] == 7
    assert (document["forcing"]["spread_steps"], document["forcing"]["final_interval_steps"]) == (1.5, 30)
    assert document["regularisers"] == {
        "identity": 0.1, "manifold_attractor": 0.2, "manifold_attractor_fraction": 0.3, "observation_condition": 0.0,
    }  # fmt: skip

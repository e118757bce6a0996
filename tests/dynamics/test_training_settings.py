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
    values = np.random.default_rng(0).standard_normal((rows, n_channels))
    spec = TrainSpec.model_validate({"regularization": {"smoothing": "off"}} | params)
    return resolve(spec, split([(0, values)], spec), n_channels, 0.01, None)


@pytest.mark.parametrize(
    ("n_channels", "params", "amount"),
    [
        (3, {}, (12_000, 9)),  # as measured for the report on Lorenz-63: nine runs within the default budget of 30 s
        (5, {}, (12_000, 2)),  # ECG
        (3, {"hidden_dim": 50}, (12_000, 10)),
        (3, {"budget_seconds": 3}, (5_500, 2)),
        (3, {"updates": 100, "seeds": 3}, (100, 3)),
        (64, {}, (8_100, 2)),  # EEG
    ],
)
def test_amounts_of_the_shallow_map_stay_as_they_were(n_channels: int, params: dict, amount: tuple[int, int]) -> None:
    found = settled(n_channels, **params)
    assert (found.updates, found.seeds) == amount


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
    assert torch.updates == 500 < compiled.updates
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
        ({}, 2e-2),
        ({"hidden_dim": 200}, 1e-2),
        ({"updates": 50_000}, 1e-2),
        ({"updates": 100_000}, 5e-3),
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

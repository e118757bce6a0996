"""Small training problems with channels of counts and classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from training_cases import SIZES

from domain.specs import TrainSpec
from dynamics.distributions import declared, estimate
from dynamics.training.data import TrainingData, prepare
from dynamics.training.run import read_out
from dynamics.training.settings import Settings, resolve
from dynamics.training.split import split
from models import TrainedModel
from models.readouts import Readouts

NAMES = ["x", "n", "stage", "class"]
KINDS = {"n": "poisson", "stage": "ordinal", "class": "categorical"}
ALL_KINDS = ("gaussian", "poisson", "ordinal", "categorical")


def random_values(kinds: tuple[str, ...], rows: int, rng: np.random.Generator) -> np.ndarray:
    """A random walk, counts of rates that follow one, four and three classes at random: (rows, len(kinds))."""
    columns = []
    for kind in kinds:
        walk = 0.3 * np.cumsum(rng.standard_normal(rows))
        counts = rng.poisson(np.exp(np.clip(walk, -2, 2)))
        classes = rng.integers(1, 4 if kind == "categorical" else 5, rows)
        columns.append(walk if kind == "gaussian" else counts if kind == "poisson" else classes)
    return np.stack(columns, axis=1).astype(float)


def counted_problem(
    architecture: str, kinds: tuple[str, ...], k: int = 0, rows: int = 200, **changes: Any
) -> tuple[Settings, TrainingData]:
    """Settings and data with channels of these kinds and `k` inputs."""
    rng, n = np.random.default_rng(7), len(kinds)
    values = np.hstack([random_values(kinds, rows, rng), rng.standard_normal((rows, k))])
    channels = [f"x{i}" for i in range(n)] + [f"s{i}" for i in range(k)]
    distributions = dict(zip(channels, kinds, strict=False))
    size = SIZES.get(architecture, {"latent_dim": 4})
    given = {"architecture": architecture, "precision": "float64", "input_channels": channels[n:], **size, **changes}
    spec = TrainSpec.model_validate(given | {"channel_distributions": distributions})
    segments = [(0, values)]
    parts, observed = split(segments, spec), list(range(n))
    readouts = read_out(segments, parts, spec, channels, observed)
    settings = resolve(spec, parts.select(observed), n, 0.1, None, readouts=readouts)
    return settings, prepare(parts, settings, channels, readouts=readouts)


def waves(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, log rates and ordinal predictors of channels that all follow slow waves."""
    rng = np.random.default_rng(seed)
    t = np.arange(rows)
    wave, other = np.sin(t / 40), np.cos(t / 31)
    stage = np.searchsorted([-2.0, 0.5], 2 * wave + rng.logistic(size=rows)) + 1
    logits = np.stack([0 * t, 2 * wave, 2 * other], axis=1) + rng.gumbel(size=(rows, 3))
    values = np.stack([wave, rng.poisson(np.exp(1 + wave)), stage, 10.0 * logits.argmax(axis=1)], axis=1)
    return values, 1 + wave, 2 * wave


def read_outs(values: np.ndarray) -> Readouts:
    spec = TrainSpec.model_validate({"channel_distributions": KINDS})
    return estimate(declared(spec, NAMES, [(0, values)]), [values])


def counted_model(seed: int = 0) -> TrainedModel:
    """A small map that no training made, with every kind of channel; its rates and odds turn with a slow rotation."""
    rng = np.random.default_rng(seed)
    readouts = read_outs(waves(2000, 1)[0])
    m, turn = 3, 0.05
    params = {
        "A": np.full(m, 0.0), "W1": np.zeros((m, 4)), "W2": np.zeros((4, m)), "h1": np.zeros(m), "h2": np.zeros(4),
    }  # fmt: skip
    params["W1"][:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    params["W1"][:2, 2:] = -params["W1"][:2, :2]
    params["W2"][:2, :2], params["W2"][2:, :2] = np.eye(2), -np.eye(2)
    observation = {
        "B": rng.standard_normal((5, m)),
        "b": 0.1 * rng.standard_normal(5),
        "thresholds": np.array([-1.0, 1.5]),
    }
    return TrainedModel(
        "shplrnn", params, observation, list(NAMES), np.zeros(4), np.ones(4), [0], 0.1, "s",
        residual_std=np.full(5, 0.1), noise_std=np.full(5, 0.05), minimum=np.array([-1.0, 0, 1, 0]),
        maximum=np.array([1.0, 12, 3, 20]), readouts=readouts,
    )  # fmt: skip

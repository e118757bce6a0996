"""Small training problems: settings, data and random parameters for any architecture, forcing and observation."""

from __future__ import annotations

from typing import Any

import numpy as np

from domain.specs import TrainSpec
from dynamics.training.data import TrainingData, prepare
from dynamics.training.parameters import new_learner
from dynamics.training.settings import Settings, resolve
from dynamics.training.split import split
from models import ARCHITECTURES

SIZES: dict[str, dict[str, int]] = {
    "al-rnn": {"latent_dim": 5, "hidden_dim": 2},
    "deep-plrnn": {"latent_dim": 3, "hidden_dim": 5, "layers": 3},
    "dend-plrnn": {"latent_dim": 4, "hidden_dim": 6},
    "clipped-dend-plrnn": {"latent_dim": 4, "hidden_dim": 6},
    "shplrnn": {"latent_dim": 3, "hidden_dim": 7},
    "clipped-shplrnn": {"latent_dim": 3, "hidden_dim": 7},
    "lstm": {"latent_dim": 6},
}
NAMES = sorted(ARCHITECTURES)
EVERY_OBSERVATION = [("identity", 3), ("identity", 2), ("affine", 6), ("affine", 2)]  # kind, N


def observations(architecture: str) -> list[tuple[str, int]]:
    """Those that the architecture has: kind and number of observed channels."""
    return [o for o in EVERY_OBSERVATION if o[0] == "affine" or not ARCHITECTURES[architecture].squashed]


def problem(
    architecture: str, n: int, k: int = 0, rows: int = 120, p: int = 0, **changes: Any
) -> tuple[Settings, TrainingData]:
    """Settings and data of random walks with `n` observed channels, `k` inputs and `p` of nuisance."""
    rng = np.random.default_rng(10 * n + k)
    walk = np.cumsum(rng.standard_normal((rows, n + k + p)), axis=0)
    channels = [f"x{i}" for i in range(n)] + [f"s{i}" for i in range(k)] + [f"r{i}" for i in range(p)]
    size = SIZES.get(architecture, {"latent_dim": 4})
    named = {"input_channels": channels[n : n + k], "nuisance_channels": channels[n + k :]}
    given = {"architecture": architecture, "precision": "float64", **named, **size, **changes}
    spec = TrainSpec.model_validate(given)
    parts = split([(0, walk)], spec)
    settings = resolve(spec, parts.select(list(range(n))), n, 0.1, None)
    return settings, prepare(parts, settings, channels)


def random_theta(settings: Settings, data: TrainingData, seed: int = 1) -> np.ndarray:
    """Initial parameters, moved a little so that none is zero."""
    theta = new_learner(settings, data, seed).theta
    return theta + (0.05 * np.random.default_rng(seed).standard_normal(theta.size)).astype(theta.dtype)

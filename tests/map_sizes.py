"""Every architecture in several sizes, the smallest legal ones included: what a test of maps is parametrised over."""

from __future__ import annotations

import numpy as np
import pytest

from models import ARCHITECTURES, Size

SIZES: list[tuple[str, Size]] = [
    ("plrnn", Size(1)),
    ("plrnn", Size(4)),
    ("mean-centered-plrnn", Size(2)),
    ("mean-centered-plrnn", Size(5)),
    ("clipped-plrnn", Size(1)),
    ("clipped-plrnn", Size(4)),
    ("dend-plrnn", Size(1, 1)),
    ("dend-plrnn", Size(4, 7)),
    ("clipped-dend-plrnn", Size(1, 3)),
    ("clipped-dend-plrnn", Size(4, 7)),
    ("shplrnn", Size(1, 1)),
    ("shplrnn", Size(3, 8)),
    ("clipped-shplrnn", Size(1, 2)),
    ("clipped-shplrnn", Size(3, 8)),
    ("al-rnn", Size(1, 1)),
    ("al-rnn", Size(5, 2)),
    ("al-rnn", Size(4, 4)),
    ("deep-plrnn", Size(1, 1, 1)),
    ("deep-plrnn", Size(3, 6, 1)),
    ("deep-plrnn", Size(3, 6, 2)),
    ("deep-plrnn", Size(4, 5, 3)),
    ("vanilla-rnn", Size(1)),
    ("vanilla-rnn", Size(4)),
    ("lstm", Size(2)),
    ("lstm", Size(6)),
    ("gru", Size(1)),
    ("gru", Size(4)),
]
EVERY_SIZE = pytest.mark.parametrize(
    ("architecture", "size"), SIZES, ids=[f"{name}-{'x'.join(str(n) for n in size if n)}" for name, size in SIZES]
)
MIDDLE_SIZE = dict(SIZES)  # the last of each: several units, hidden units and layers


def random_params(architecture: str, size: Size, seed: int = 0) -> dict[str, np.ndarray]:
    """Initial parameters, float64, moved a little, so that none is zero."""
    rng = np.random.default_rng(seed)
    params = ARCHITECTURES[architecture].init(rng, size)
    return {name: value + 0.1 * rng.standard_normal(value.shape) for name, value in params.items()}

"""Parameters before the first update: states that an affine observation encodes are as large as the maps expect."""

from __future__ import annotations

import numpy as np
import pytest

from domain.specs import TrainSpec
from dynamics.training.parameters import OBSERVED_STD, initial
from dynamics.training.settings import resolve
from dynamics.training.split import split


@pytest.mark.parametrize(("n", "latent"), [(3, 3), (3, 30), (1, 8), (20, 6)])
@pytest.mark.parametrize(("name", "std"), [("clipped-plrnn", 1.0), ("gru", OBSERVED_STD)])
def test_encoded_states_have_the_size_that_thresholds_expect(n: int, latent: int, name: str, std: float) -> None:
    rng = np.random.default_rng(3)
    series = rng.standard_normal((2_000, n)) @ rng.standard_normal((n, n))
    spec = TrainSpec.model_validate(
        {"architecture": name, "latent_dim": latent, "observation": {"kind": "affine"}, "updates": 1}
    )
    parts = split([(0, series)], spec)
    found = initial(resolve(spec, parts, n, 1.0, None), series, rng).observation
    states = (series - found["b"]) @ np.linalg.pinv(found["B"]).T
    assert np.sqrt(states.var(axis=0, ddof=1).mean()) == pytest.approx(std, rel=1e-6 if latent >= n else 0.5)
    restored = states @ found["B"].T + found["b"]
    if latent >= n:
        np.testing.assert_allclose(restored, series, atol=1e-9 * np.abs(series).max())

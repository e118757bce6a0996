"""Training of a driven system whose equations are known: the map and the coupling are found, and inputs matter."""

from __future__ import annotations

import numpy as np
import pytest

from domain.specs import TrainSpec
from domain.training_specs import GeneralizedForcingSpec
from dynamics.reporting import Reporter
from dynamics.training import train
from models.trained import Drive
from systems import driven_linear

COUPLING = np.array([[0.5, -0.3], [1.0, 0.2]])


@pytest.mark.parametrize("architecture", ["clipped-shplrnn", "dend-plrnn"])
def test_the_coupling_is_found(architecture: str) -> None:
    """x_t = diag(a) x_{t-1} + C s_t: C in the series' own units, and forecasts under the right and the wrong inputs."""
    x, s = driven_linear(2000, 2, coupling=COUPLING)
    table = np.column_stack([s[:, 0], x, s[:, 1]])
    spec = TrainSpec(
        architecture=architecture,
        observation={"kind": "identity"},
        input_channels=["u", "v"],
        forcing=GeneralizedForcingSpec(alpha=0.5),
        updates=6000,
        seeds=1,
        latent_dim=2,
        budget_seconds=60,
    )
    model, history = train(
        [(0, table)],
        channels=["u", "x", "y", "v"],
        dt=1.0,
        time_unit="step",
        spec=spec,
        analysis=None,
        reporter=Reporter(),
    )
    assert model.channels == ["x", "y"]
    assert model.inputs is not None
    assert model.inputs.channels == ["u", "v"]
    found = model.inputs.C * model.std[:, None] / model.inputs.std
    assert found == pytest.approx(COUPLING, abs=0.03)
    train_rows = s[: history.train_steps[1]]
    assert model.inputs.minimum == pytest.approx(train_rows.min(axis=0))

    start, stop = history.test_steps
    exact = model.as_float64()
    embedded, driving = exact.embed(x[start:stop]), exact.inputs.standardise(s[start:stop])  # type: ignore[union-attr]
    rows = np.arange(0, 150, 10)
    z = exact.encode(embedded[rows])
    errors = []
    for values in (driving, driving[::-1]):
        ahead = exact.observe(exact.free_run(z, 20, Drive(values, rows + 1))[-1])
        errors.append(float(np.mean((ahead - embedded[rows + 20]) ** 2)))
    assert errors[0] < 1e-3
    assert errors[1] > 100 * errors[0]

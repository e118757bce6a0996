"""ONNX graphs of every architecture, run by onnxruntime, against the model in numpy."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from map_sizes import EVERY_SIZE, random_params

from models import ARCHITECTURES, Size, TrainedModel
from models.filters import Filter
from models.onnx_export import CannotExport, export_encoder, export_step
from models.trained import Inputs, Nuisance

TOLERANCE = {"rtol": 1e-6, "atol": 1e-9}


def session(data: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


def a_model(architecture: str, size: Size, *, lags: list[int], n_inputs: int = 0, affine: bool = True) -> TrainedModel:
    rng = np.random.default_rng(1)
    n = 2 if affine else 1
    read = ARCHITECTURES[architecture].read_units(size.latent)
    n_e = n * len(lags)
    observation: dict[str, Any] = {"B": rng.normal(size=(n_e, read)), "b": rng.normal(size=n_e)}
    if not affine:
        observation = {} if size.latent == n_e else {"L0": rng.normal(size=(size.latent - n_e, n_e))}
    return TrainedModel(
        architecture=architecture,
        params=random_params(architecture, size),
        observation=observation,
        channels=["x", "y"][:n],
        mean=rng.normal(size=n),
        std=rng.uniform(0.5, 2, n),
        lags=lags,
        dt=0.1,
        time_unit="s",
        residual_std=np.zeros(n_e),
        inputs=Inputs(
            channels=[f"u{k}" for k in range(n_inputs)],
            mean=rng.normal(size=n_inputs),
            std=rng.uniform(0.5, 2, n_inputs),
            C=rng.normal(size=(size.latent, n_inputs)),
        )
        if n_inputs
        else None,
    )


def check(model: TrainedModel, batch: int = 5) -> None:
    rng = np.random.default_rng(2)
    context = rng.normal(size=(batch, model.context_steps, len(model.channels)))
    (state,) = session(export_encoder(model)).run(["state"], {"context": context})
    expected = np.stack([model.encode(model.embed(rows))[-1] for rows in context])
    np.testing.assert_allclose(state, expected, **TOLERANCE)
    step = session(export_step(model))
    for _ in range(3):
        feeds, driving = {"state": state}, None
        if model.inputs is not None:
            own = rng.normal(size=(batch, len(model.inputs.channels)))
            feeds["inputs"], driving = own, model.inputs.standardise(own)
        following, seen = step.run(["next_state", "observation"], feeds)
        np.testing.assert_allclose(following, model.step(state, driving), **TOLERANCE)
        np.testing.assert_allclose(seen, model.to_units(model.observe(model.step(state, driving))), **TOLERANCE)
        state = following


@EVERY_SIZE
def test_every_architecture_in_every_size(architecture: str, size: Size) -> None:
    check(a_model(architecture, size, lags=[0]))


@pytest.mark.parametrize("architecture", ["clipped-shplrnn", "lstm", "al-rnn"])
def test_inputs_and_delays(architecture: str) -> None:
    size = {"clipped-shplrnn": Size(4, 6), "lstm": Size(6), "al-rnn": Size(5, 2)}[architecture]
    check(a_model(architecture, size, lags=[0, 2, 5], n_inputs=2))


@pytest.mark.parametrize(("latent", "lags"), [(1, [0]), (3, [0, 4, 7]), (4, [0, 3])])
def test_observed_as_they_are(latent: int, lags: list[int]) -> None:
    check(a_model("shplrnn", Size(latent, 5), lags=lags, affine=False))


def test_single_precision_is_exported_exactly() -> None:
    model = a_model("clipped-shplrnn", Size(3, 8), lags=[0])
    single = replace(model, params={k: v.astype(np.float32) for k, v in model.params.items()})
    assert export_step(single) == export_step(single.as_float64()) != export_step(model)


def test_a_graph_says_what_it_is_and_is_the_same_each_time() -> None:
    model = a_model("clipped-shplrnn", Size(3, 8), lags=[0, 3], n_inputs=1)
    data = export_step(model)
    assert export_step(model) == data
    proto = onnx.load_from_string(data)
    onnx.checker.check_model(proto, full_check=True)
    facts = {p.key: p.value for p in proto.metadata_props}
    assert facts["equation"].startswith("z_t = A z_{t-1} + W1 [relu(")
    assert json.loads(facts["lags"]) == [0, 3]
    assert json.loads(facts["input_channels"]) == ["u0"]
    assert [i.name for i in proto.graph.input] == ["state", "inputs"]
    assert len(data) < 10_000


def test_what_a_graph_cannot_hold_is_refused() -> None:
    model = a_model("clipped-shplrnn", Size(3, 8), lags=[0])
    nuisance = Nuisance(["r"], np.zeros(1), np.ones(1))
    spoiled = replace(model, nuisance=nuisance, observation=model.observation | {"J": np.ones((2, 1))})
    for export in (export_step, export_encoder):
        with pytest.raises(CannotExport, match="nuisance"):
            export(spoiled)
    seen = replace(model, filter=Filter.__new__(Filter))
    with pytest.raises(CannotExport, match="kernel"):
        export_step(seen)

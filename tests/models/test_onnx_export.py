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
from models.families import Family
from models.filters import Filter, haemodynamic
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


def with_nuisance(model: TrainedModel) -> TrainedModel:
    rng = np.random.default_rng(4)
    nuisance = Nuisance(["r", "q"], rng.normal(size=2), rng.uniform(0.5, 2, 2))
    return replace(model, nuisance=nuisance, observation=model.observation | {"J": rng.normal(size=(2, 2))})


def test_nuisance_is_subtracted_from_a_context_and_added_to_an_observation() -> None:
    model, rng = with_nuisance(a_model("clipped-shplrnn", Size(3, 8), lags=[0], n_inputs=1)), np.random.default_rng(2)
    assert model.nuisance is not None
    assert model.inputs is not None
    context, past = rng.normal(size=(4, 1, 2)), rng.normal(size=(4, 1, 2))
    (state,) = session(export_encoder(model)).run(["state"], {"context": context, "nuisance": past})
    rows = [model.clean(model.embed(x), model.nuisance.standardise(r)) for x, r in zip(context, past, strict=True)]
    np.testing.assert_allclose(state, model.encode(np.stack(rows)[:, -1]), **TOLERANCE)
    push, breath = rng.normal(size=(4, 1)), rng.normal(size=(4, 2))
    step = session(export_step(model))
    following, seen = step.run(["next_state", "observation"], {"state": state, "inputs": push, "nuisance": breath})
    expected = model.step(state, model.inputs.standardise(push))
    contamination = model.nuisance.standardise(breath) @ model.observation["J"].T
    np.testing.assert_allclose(following, expected, **TOLERANCE)
    np.testing.assert_allclose(seen, model.to_units(model.observe(expected) + contamination), **TOLERANCE)


@pytest.mark.parametrize("affine", [True, False])
def test_through_a_kernel_the_graphs_give_what_is_to_be_convolved(affine: bool) -> None:
    """Encoder, steps, and the kernel of the metadata together make the forecast of `launch` and `show`."""
    rng, n_steps = np.random.default_rng(2), 7
    plain = a_model("clipped-shplrnn", Size(3, 8), lags=[0], affine=affine)
    n = len(plain.channels)
    filter = Filter(haemodynamic(4.0), np.linspace(0.5, 0.8, n), np.full(n, 50.0), np.full(n, 0.1), (1, 3))
    model = replace(plain, filter=filter) if not affine else replace(with_nuisance(plain), filter=filter)
    context = rng.normal(size=(4, model.context_steps, n))
    past, future = rng.normal(size=(4, model.context_steps, 2)), rng.normal(size=(n_steps, 4, 2))
    more = {"nuisance": past} if affine else {}
    states, before = session(export_encoder(model)).run(["states", "read"], {"context": context} | more)
    known = None if model.nuisance is None else [model.nuisance.standardise(r) for r in past]
    cleaned = [model.clean(model.embed(x), None if known is None else known[b]) for b, x in enumerate(context)]
    launched = model.launch(np.stack(cleaned))
    np.testing.assert_allclose(states.transpose(1, 0, 2), launched, **TOLERANCE)

    step, z, seen, contamination = session(export_step(model)), states[:, -1], list(before.transpose(1, 0, 2)), 0.0
    facts = {
        p.key: json.loads(p.value)
        for p in onnx.load_from_string(export_step(model)).metadata_props
        if p.key in ("kernel", "lead")
    }
    for k in range(facts["lead"] + n_steps):
        feeds = {"state": z} | ({"nuisance": future[max(0, k - facts["lead"])]} if affine else {})
        z, unfiltered, *rest = step.run(None, feeds)
        seen.append(unfiltered)
    kernel = facts["kernel"]
    convolved = np.array(
        [sum(h * seen[t - k] for k, h in enumerate(kernel)) for t in range(len(seen) - n_steps, len(seen))]
    )
    run = model.free_run(launched[-1], model.lead + n_steps)
    shown = model.show(launched, run)[model.lead :]
    np.testing.assert_allclose(convolved, model.to_units(shown), **TOLERANCE)
    if affine:
        assert model.nuisance is not None
        contamination = model.nuisance.standardise(future[-1]) @ model.observation["J"].T * model.std
        np.testing.assert_allclose(rest[0], contamination, **TOLERANCE)


def test_of_a_family_the_graph_of_one_recording() -> None:
    model, rng = a_model("clipped-shplrnn", Size(3, 8), lags=[0]), np.random.default_rng(2)
    directions = {k: rng.normal(size=(2, *v.shape)) for k, v in model.params.items()}
    family = replace(model, family=Family(["a", "b"], rng.normal(size=(2, 2)), directions))
    check(family.of("b"))
    assert export_step(family.of("a")) != export_step(family.of("b"))
    with pytest.raises(CannotExport, match="name a recording of a, b"):
        export_step(family)

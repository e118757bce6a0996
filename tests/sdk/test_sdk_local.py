"""A downloaded model forecasts what the service forecasts: every architecture, observation, precision, with inputs and without."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hand_made import clipped_tent
from map_sizes import MIDDLE_SIZE, SIZES, random_params
from safetensors.numpy import save
from stock import Stock, add_model

from attractor_client import Client, DataError, LocalModel
from attractor_client._maps import MAPS
from attractor_client._safetensors import read
from domain.results import ForecastStart, Predictability
from domain.specs import ForecastSpec, TrainSpec
from dynamics.families import fit_vector, forecasting_model
from dynamics.forecasting import forecast
from dynamics.reporting import Reporter
from models import ARCHITECTURES, Size, TrainedModel
from models.families import Family
from models.filters import Filter, convolve, haemodynamic
from models.trained import Drive, Inputs, Nuisance
from store.blobs import Blobs

SQUASHED = {name for name, kind in ARCHITECTURES.items() if kind.squashed}
OBSERVATIONS = ["identity", "partial", "affine"]
CASES = [(a, o) for a in sorted(ARCHITECTURES) for o in OBSERVATIONS if o == "affine" or a not in SQUASHED]
UNKNOWN = Predictability(reason="not asked")


def a_model(architecture: str, observation: str, dtype: type, *, driven: bool, noise: bool = True) -> TrainedModel:
    """A random map that stays bounded for some steps, with every part that a file can have."""
    rng, size = np.random.default_rng(5), MIDDLE_SIZE[architecture]
    lags = [0, 2] if observation == "affine" else [0]
    n = {"identity": size.latent, "partial": size.latent - 1, "affine": 2}[observation]
    n_observed = n * len(lags)
    parts: dict[str, Any] = {}
    if observation == "partial":
        parts = {"L0": rng.normal(size=(size.latent - n, n)).astype(dtype)}
    if observation == "affine":
        read_units = ARCHITECTURES[architecture].read_units(size.latent)
        parts = {"B": rng.normal(size=(n_observed, read_units)).astype(dtype), "b": rng.normal(size=n_observed)}
    inputs = Inputs(["u", "v"], np.array([1.0, 2.0]), np.array([3.0, 0.5]), rng.normal(size=(size.latent, 2)) / 4)
    return TrainedModel(
        architecture=architecture,
        params={k: (0.7 * v).astype(dtype) for k, v in random_params(architecture, size).items()},
        observation={k: v.astype(dtype) for k, v in parts.items()},
        channels=[f"c{i}" for i in range(n)],
        mean=rng.normal(size=n),
        std=rng.uniform(0.5, 2, n),
        lags=lags,
        dt=0.1,
        time_unit="s",
        residual_std=np.full(n_observed, 0.05),
        noise_std=np.full(n_observed, 0.02) if noise else None,
        minimum=np.full(n, -3.0) if noise else None,
        maximum=np.full(n, 3.0) if noise else None,
        inputs=replace(inputs, C=inputs.C.astype(dtype)) if driven else None,
    )


def compare(model: TrainedModel, **options: Any) -> None:
    """The local forecast against the service's function, to 1e-6 of the channels' spread."""
    rng = np.random.default_rng(6)
    context = model.mean + model.std * rng.normal(size=(model.context_steps + 3, len(model.channels)))
    given = {"horizon_steps": 40, "samples": 31, "quantiles": [0.1, 0.9], "seed": 4} | options
    inputs = None if model.inputs is None else rng.normal(size=(given["horizon_steps"], 2))
    expected = forecast(
        model,
        context,
        spec=ForecastSpec(**given),
        start=ForecastStart(index=None, time=7.0),
        predictability=UNKNOWN,
        inputs=inputs,
    )
    local = LocalModel.from_bytes(model.to_safetensors())
    found = local.forecast(context, time_start=7.0 - len(context) * model.dt, inputs=inputs, **given)
    scale = float(np.nanmax(np.abs(np.array(expected.median, float))))
    for ours, theirs in [
        (found.median, expected.median),
        *((found.quantiles[q], v) for q, v in expected.quantiles.items()),
    ]:
        np.testing.assert_allclose(ours, np.array(theirs, float), rtol=1e-6, atol=1e-6 * scale)
    np.testing.assert_allclose(found.time, expected.time)
    assert found.trusted_steps == expected.trusted_steps
    assert [w.code for w in found.warnings] == [w.code for w in expected.warnings if w.code != "too_few_members"]


class TestRecordings:
    """Models with a map for each recording, against the service's functions."""

    def family(self, architecture: str, observation: str, dtype: type, *, driven: bool = False) -> TrainedModel:
        rng, plain = np.random.default_rng(9), a_model(architecture, observation, dtype, driven=driven)
        directions = {k: (0.1 * rng.normal(size=(2, *v.shape))).astype(dtype) for k, v in plain.params.items()}
        return replace(plain, family=Family(["a", "b", "c"], rng.normal(size=(3, 2)).astype(dtype), directions))

    @pytest.mark.parametrize("named", [{"recording": "b"}, {"recording_vector": [0.3, -0.2]}])
    @pytest.mark.parametrize(("architecture", "observation"), [("clipped-shplrnn", "identity"), ("lstm", "affine")])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_a_map_by_name_or_vector(self, architecture: str, observation: str, dtype: type, named: Any) -> None:
        model = self.family(architecture, observation, dtype)
        rows = model.mean + model.std * np.random.default_rng(6).normal(size=(20, len(model.channels)))
        given = {"horizon_steps": 30, "samples": 5, "quantiles": [0.1], "seed": 4} | named
        own, vector = forecasting_model(model, ForecastSpec(**given))
        assert vector is not None
        start = ForecastStart(index=None, time=0.0)
        expected = forecast(own, rows, spec=ForecastSpec(**given), start=start, predictability=UNKNOWN)
        found = LocalModel.from_bytes(model.to_safetensors()).forecast(rows, **given)
        scale = float(np.abs(np.array(expected.median, float)).max())
        np.testing.assert_allclose(found.median, np.array(expected.median, float), rtol=1e-6, atol=1e-6 * scale)
        assert found.recording_vector == pytest.approx(vector)

    @pytest.mark.parametrize("driven", [False, True])
    @pytest.mark.parametrize(("architecture", "observation"), [("clipped-shplrnn", "identity"), ("al-rnn", "affine")])
    def test_a_vector_fitted_to_rows(self, architecture: str, observation: str, driven: bool) -> None:
        """Of rows that the model made itself with a vector, that vector is found, by the service and here."""
        model, rng = self.family(architecture, observation, np.float64, driven=driven), np.random.default_rng(3)
        truth, n_rows = np.array([0.4, -0.7]), 120
        own, inputs = model.of(truth), 3 * rng.normal(size=(n_rows, 2))
        drive = Drive(own.inputs.standardise(inputs), np.zeros(1, int)) if own.inputs is not None else None
        states = own.free_run(0.5 * rng.normal(size=(1, own.latent_dim)), n_rows, drive)[:, 0]
        rows = own.to_units(own.observe(states)) + 0.02 * rng.normal(size=(n_rows, len(own.channels)))
        expected = fit_vector(model, [rows], [inputs] if driven else None)
        local = LocalModel.from_bytes(model.to_safetensors())
        found = local.fit_vector(rows, inputs if driven else None)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        if observation == "identity":
            np.testing.assert_allclose(found, truth, atol=0.1)
        made = local.forecast(
            rows, horizon_steps=3, **({"inputs": inputs[:3], "context_inputs": inputs} if driven else {})
        )
        assert made.recording_vector == pytest.approx(found)

    @pytest.mark.parametrize("n_rows", [60, 300])
    def test_a_vector_fitted_through_a_kernel(self, n_rows: int) -> None:
        """Shorter than two windows of the deconvolution, and longer."""
        rng, plain = np.random.default_rng(8), self.family("clipped-shplrnn", "affine", np.float64)
        n, kernel = len(plain.channels), haemodynamic(4.0)
        observation = {k: v[:n] for k, v in plain.observation.items()} | {"J": rng.normal(size=(n, 1))}
        model = replace(
            plain, observation=observation, lags=[0], residual_std=np.full(n, 0.05), noise_std=np.full(n, 0.02),
            nuisance=Nuisance(["r"], np.array([1.0]), np.array([2.0])),
            filter=Filter(kernel, np.array([0.5, 0.8]), np.array([100.0, 400.0]), np.array([0.1, 0.05]), (1, 3)),
        )  # fmt: skip
        own = model.of(np.array([0.4, -0.7]))
        states = np.zeros((n_rows + len(kernel), own.latent_dim))
        for t in range(1, len(states)):
            states[t] = own.step(states[t - 1]) + 0.3 * rng.normal(size=own.latent_dim)
        breath = rng.normal(size=(n_rows, 1))
        shown = own.observe(convolve(kernel, states))[-n_rows:] + 0.05 * rng.normal(size=(n_rows, n))
        rows = model.to_units(shown + (breath - 1) / 2 @ observation["J"].T)
        expected = fit_vector(model, [rows], nuisance=[breath])
        found = LocalModel.from_bytes(model.to_safetensors()).fit_vector(rows, context_nuisance=breath)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)

    def test_what_cannot_be(self) -> None:
        local = LocalModel.from_bytes(self.family("clipped-shplrnn", "identity", np.float64).to_safetensors())
        rows = np.zeros((30, len(local.channels)))
        for more, says in (
            ({"recording": "d"}, r"knows no recording 'd'; it knows a, b, c"),
            ({"recording_vector": [1.0]}, "vectors of 2 numbers"),
            ({"recording": "a", "recording_vector": [1.0, 2.0]}, "not both"),
        ):
            with pytest.raises(DataError, match=says):
                local.forecast(rows, horizon_steps=3, **more)
        with pytest.raises(DataError, match="4 steps are too few to fit 2 numbers: 20 needed"):
            local.forecast(rows[:5], horizon_steps=3)
        with pytest.raises(DataError, match="one map for all"):
            LocalModel.from_bytes(clipped_tent(1.8).to_safetensors()).forecast([[0.1]], horizon_steps=1, recording="a")


@pytest.mark.parametrize("architecture", ["clipped-shplrnn", "lstm", "al-rnn"])
@pytest.mark.parametrize("driven", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_local_forecasts_through_a_kernel_are_those_of_the_service(
    architecture: str, driven: bool, dtype: type
) -> None:
    rng, plain = np.random.default_rng(8), a_model(architecture, "affine", dtype, driven=driven)
    n = len(plain.channels)
    observation = {k: v[:n] for k, v in plain.observation.items()} | {"J": rng.normal(size=(n, 2)).astype(dtype)}
    model = replace(
        plain, observation=observation, lags=[0], residual_std=np.full(n, 0.05), noise_std=np.full(n, 0.02),
        nuisance=Nuisance(["r", "q"], np.array([1.0, 0.0]), np.array([2.0, 0.5])),
        filter=Filter(haemodynamic(2.0), np.array([0.5, 0.8]), np.array([100.0, 400.0]), np.array([0.1, 0.05]), (1, 3)),
    )  # fmt: skip
    context = model.mean + model.std * rng.normal(size=(model.context_steps + 3, n))
    more: dict[str, Any] = {
        "context_nuisance": rng.normal(size=(len(context), 2)),
        "nuisance": rng.normal(size=(40, 2)),
    }
    if driven:
        more |= {"inputs": rng.normal(size=(40, 2)), "context_inputs": rng.normal(size=(len(context), 2))}
    given = {"horizon_steps": 40, "samples": 31, "quantiles": [0.1, 0.9], "seed": 4}
    start = ForecastStart(index=None, time=0.0)
    expected = forecast(model, context, spec=ForecastSpec(**given), start=start, predictability=UNKNOWN, **more)
    found = LocalModel.from_bytes(model.to_safetensors()).forecast(context, **given, **more)
    scale = float(np.abs(np.array(expected.median, float)).max())
    tolerance = {"rtol": 1e-6, "atol": (1e-6 if dtype is np.float64 else 1e-5) * scale}
    np.testing.assert_allclose(found.median, np.array(expected.median, float), **tolerance)
    for q, values in expected.quantiles.items():
        np.testing.assert_allclose(found.quantiles[q], np.array(values, float), **tolerance)
    assert found.trusted_steps == expected.trusted_steps
    assert [w.code for w in found.warnings] == [w.code for w in expected.warnings if w.code != "too_few_members"]
    del more["context_nuisance"]
    with pytest.raises(DataError, match="context_nuisance needs"):
        LocalModel.from_bytes(model.to_safetensors()).forecast(context, **given, **more)


def test_there_is_a_step_for_every_architecture() -> None:
    assert set(MAPS) == set(ARCHITECTURES)


@pytest.mark.parametrize(("architecture", "size"), SIZES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_step_is_that_of_the_service(architecture: str, size: Size, dtype: type) -> None:
    params = {k: v.astype(dtype) for k, v in random_params(architecture, size).items()}
    z = (2 * np.random.default_rng(1).normal(size=(20, size.latent))).astype(dtype)
    expected = ARCHITECTURES[architecture].step(params, z)
    found = MAPS[architecture](params, z)
    assert found.dtype == expected.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("driven", [False, True], ids=["autonomous", "driven"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("architecture", "observation"), CASES)
def test_local_forecasts_are_those_of_the_service(
    architecture: str, observation: str, dtype: type, driven: bool
) -> None:
    model = a_model(architecture, observation, dtype, driven=driven)
    compare(model)
    compare(model, samples=1, quantiles=[])
    compare(model, samples=2, quantiles=[0.5])


def test_without_calibration_and_in_several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    model = a_model("clipped-shplrnn", "identity", np.float64, driven=False, noise=False)
    compare(model)
    monkeypatch.setattr("attractor_client._ensemble._BLOCK_STEPS", 7)
    compare(model)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_chaotic_map_for_a_hundred_lyapunov_times(dtype: type) -> None:
    """It doubles a difference at nearly every step, so the operations must be the same to the last bit."""
    model = clipped_tent(1.9, residual_std=np.full(1, 1e-3), noise_std=np.full(1, 5e-4))
    single = {k: v.astype(dtype) for k, v in model.params.items()}
    compare(replace(model, params=single, mean=np.full(1, 0.4), std=np.full(1, 0.1)), horizon_steps=150)


def test_members_that_leave_every_bound_are_dropped_alike() -> None:
    model = a_model("shplrnn", "identity", np.float64, driven=False)
    compare(replace(model, params=model.params | {"A": np.array([1.4, 1.6, -1.5])}), horizon_steps=80)


def test_over_http_with_a_model_of_every_architecture(client: Client, stock: Stock, tmp_path: Path) -> None:
    for i, architecture in enumerate(sorted(ARCHITECTURES)):
        model = replace(
            a_model(architecture, "affine", np.float32, driven=False), channels=["x", "y"], time_unit="s", dt=0.1
        )
        id = add_model(stock.database, Blobs(stock.settings.blobs_dir), model, stock.series_id, stock.analysis_id)
        remote = client.model(id)
        there = remote.forecast(start_index=300 + i, horizon_steps=30, seed=i)
        local = remote.download(tmp_path / "model.safetensors")
        assert (tmp_path / "model.safetensors").read_bytes() == model.to_safetensors()
        here = local.forecast(stock.values[: 300 + i], horizon_steps=30, seed=i)
        np.testing.assert_allclose(here.median, there.median, rtol=1e-6, atol=1e-6)
        for q, values in there.quantiles.items():
            np.testing.assert_allclose(here.quantiles[q], values, rtol=1e-6, atol=1e-6)


def test_lyapunov_times_are_those_of_the_service(client: Client, stock: Stock) -> None:
    model = client.model(stock.model_id)
    there = model.forecast(horizon_lyapunov_times=4)
    local = model.download()
    assert local.predictability.time == there.predictability.time
    assert local.forecast(stock.values[-1:], horizon_lyapunov_times=4).horizon_steps == there.horizon_steps
    alone = LocalModel.from_bytes(stock.trained.to_safetensors())
    with pytest.raises(DataError, match="no Lyapunov time"):
        alone.forecast(stock.values[-1:], horizon_lyapunov_times=4)


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_trained_models_as_training_leaves_them(architecture: str) -> None:
    from dynamics.training import train  # torch is loaded for these tests alone

    rows = np.random.default_rng(0).standard_normal((400, 3)).cumsum(axis=0) * 0.1 + np.sin(np.arange(400) / 9)[:, None]
    few = {"updates": 2, "seeds": 1, "sequence_length": 10, "batch_size": 2, "latent_dim": 6}
    spec = TrainSpec.model_validate({"architecture": architecture, "engine": "torch", "input_channels": ["u"], **few})
    trained, _ = train(
        [(0, rows)], channels=["x", "y", "u"], dt=0.1, time_unit="s", spec=spec, analysis=None, reporter=Reporter()
    )
    context, inputs = rows[:300, :2], rows[300:330, 2:]
    expected = forecast(
        trained,
        context,
        spec=ForecastSpec(horizon_steps=30, seed=2),
        start=ForecastStart(index=300, time=0.0),
        predictability=UNKNOWN,
        inputs=inputs,
    )
    found = LocalModel.from_bytes(trained.to_safetensors()).forecast(context, horizon_steps=30, seed=2, inputs=inputs)
    np.testing.assert_allclose(found.median, np.array(expected.median, float), rtol=1e-6, atol=1e-6)
    for q, values in expected.quantiles.items():
        np.testing.assert_allclose(found.quantiles[q], np.array(values, float), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"context": np.zeros((0, 2))}, "needs 1 rows"),
        ({"context": np.zeros((3, 3))}, r"shape \(T, 2\): x, y"),
        ({"context": [[0.0, np.nan]]}, "y in row 0 of the context is missing"),
        ({"horizon_steps": None}, "exactly one"),
        ({"horizon_steps": 0}, "at least 1"),
        ({"samples": 0}, "samples"),
        ({"inputs": [[1.0]]}, "no input channels"),
    ],
)
def test_what_cannot_be_used_is_refused(stock: Stock, change: dict[str, Any], message: str) -> None:
    local = LocalModel.from_bytes(stock.trained.to_safetensors())
    given: dict[str, Any] = {"context": [[0.1, 0.1]], "horizon_steps": 3} | change
    with pytest.raises(DataError, match=message):
        local.forecast(given.pop("context"), **given)


def test_inputs_are_asked_for() -> None:
    local = LocalModel.from_bytes(a_model("plrnn", "identity", np.float64, driven=True).to_safetensors())
    context = np.zeros((1, 4))
    with pytest.raises(DataError, match=r"driven by u, v: inputs need 3 rows"):
        local.forecast(context, horizon_steps=3)
    with pytest.raises(DataError, match=r"3 steps and needs as many rows of u, v, not 2"):
        local.forecast(context, horizon_steps=3, inputs=np.zeros((2, 2)))


def test_files_that_are_none_of_ours(stock: Stock) -> None:
    data = stock.trained.to_safetensors()
    for broken in (b"", b"\x08", data[:40], data[:-8], save({"a": np.zeros(2)})):
        with pytest.raises(ValueError):
            LocalModel.from_bytes(broken)
    with pytest.raises(ValueError, match="newer than this client"):
        LocalModel.from_bytes(data.replace(b'\\"shplrnn\\"', b'\\"shplrnx\\"'))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64, np.int32, np.uint8, np.bool_])
def test_safetensors_are_read_as_the_library_reads_them(dtype: type) -> None:
    arrays = {"a": np.arange(6).reshape(2, 3).astype(dtype), "b": np.ones((), dtype), "c": np.zeros((0, 4), dtype)}
    tensors, metadata = read(save(arrays, metadata={"k": "v"}))
    assert metadata == {"k": "v"}
    for name, array in arrays.items():
        assert tensors[name].dtype == array.dtype
        np.testing.assert_array_equal(tensors[name], array)


def test_a_damaged_download_is_noticed(client: Client, stock: Stock, http: TestClient) -> None:
    model = client.model(stock.model_id)
    damaged = [replace(a, sha256="0" * 64) for a in model.artifacts]
    with pytest.raises(ValueError, match="damaged"):
        replace(model, artifacts=damaged).download()

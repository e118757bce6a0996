"""A trained model with everything around its map: inputs, read units, precision, files."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hand_made import linear
from map_sizes import MIDDLE_SIZE, random_params
from safetensors.numpy import save

from dynamics.kernels import free_run, lyapunov_qr
from models import ARCHITECTURES, TrainedModel
from models.trained import Drive, Inputs

EVERY = pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))


def driven(architecture: str, dtype: type = np.float64, n_inputs: int = 2) -> TrainedModel:
    """A random map with an affine observation of three coordinates and random inputs."""
    rng, size = np.random.default_rng(0), MIDDLE_SIZE[architecture]
    read = ARCHITECTURES[architecture].read_units(size.latent)
    ranges = {"minimum": np.full(n_inputs, -3.0), "maximum": np.full(n_inputs, 4.0)}
    return TrainedModel(
        architecture=architecture,
        params={k: v.astype(dtype) for k, v in random_params(architecture, size).items()},
        observation={"B": rng.normal(size=(3, read)).astype(dtype), "b": rng.normal(size=3).astype(dtype)},
        channels=["a", "b", "c"],
        mean=np.array([1.0, 2.0, 3.0]),
        std=np.array([2.0, 1.0, 0.5]),
        lags=[0],
        dt=0.1,
        time_unit="s",
        residual_std=np.full(3, 0.1),
        inputs=Inputs(
            channels=[f"u{k}" for k in range(n_inputs)],
            mean=np.arange(n_inputs) + 1.0,
            std=np.arange(n_inputs) + 2.0,
            C=(rng.normal(size=(size.latent, n_inputs)) / 4).astype(dtype),
            **ranges,
        ),
    )


@EVERY
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_file_holds_the_whole_model_to_the_bit(architecture: str, dtype: type) -> None:
    model = driven(architecture, dtype)
    data = model.to_safetensors()
    again = TrainedModel.from_safetensors(data)
    assert again.to_safetensors() == data
    assert again.dtype == model.dtype == np.dtype(dtype)
    assert (again.size, again.n_parameters) == (MIDDLE_SIZE[architecture], model.n_parameters)
    assert model.inputs is not None
    assert again.inputs is not None
    assert again.inputs.channels == ["u0", "u1"]
    for name in ("C", "mean", "std", "minimum", "maximum"):
        np.testing.assert_array_equal(getattr(again.inputs, name), getattr(model.inputs, name))
    drive = Drive(np.random.default_rng(1).normal(size=(9, 2)), np.array([0, 4]))
    z = model.encode(np.random.default_rng(2).normal(size=(2, 3))).astype(dtype)
    runs = [m.free_run(z, 20, drive) for m in (model, again)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert runs[0].dtype == dtype


@EVERY
def test_the_compiled_run_of_a_driven_model_is_its_run(architecture: str) -> None:
    model, rng = driven(architecture), np.random.default_rng(3)
    drive = Drive(rng.normal(size=(13, 2)), rng.integers(0, 13, 20))
    z = model.encode(rng.normal(size=(20, 3)) / 4)
    plain = model.free_run(z, 30, drive)
    assert np.isfinite(plain).all()
    np.testing.assert_allclose(free_run(model, z, 30, drive=drive), plain, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(free_run(model, z, 30, 5, drive=drive), plain[4::5], rtol=1e-9, atol=1e-9)


@EVERY
def test_the_inputs_are_added_and_leave_the_jacobian_alone(architecture: str) -> None:
    model, rng = driven(architecture), np.random.default_rng(4)
    assert model.inputs is not None
    z, s = rng.normal(size=(5, model.latent_dim)) / 4, rng.normal(size=(5, 2))
    alone = replace(model, inputs=None)
    np.testing.assert_allclose(model.step(z, s), alone.step(z) + s @ model.inputs.C.T, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(model.jacobian(z), alone.jacobian(z))
    assert model.n_parameters == alone.n_parameters + model.inputs.C.size


@EVERY
def test_what_is_not_read_starts_at_zero_and_is_not_observed(architecture: str) -> None:
    model = driven(architecture)
    read = model.map.read_units(model.latent_dim)
    square = np.random.default_rng(5).normal(size=(read, read)) + 3 * np.eye(read)
    model = replace(model, observation={"B": square, "b": np.ones(read)})
    seen = np.random.default_rng(6).normal(size=(4, read))
    z = model.encode(seen)
    assert z.shape == (4, model.latent_dim)
    np.testing.assert_array_equal(z[:, read:], 0.0)
    np.testing.assert_allclose(model.observe(z), seen, atol=1e-9)
    moved = z.copy()
    moved[:, read:] += 1.0
    np.testing.assert_array_equal(model.observe(moved), model.observe(z))


def test_the_lstm_reads_half_of_its_units() -> None:
    model = driven("lstm")
    assert model.observation["B"].shape[1] == model.latent_dim // 2


def test_a_driven_linear_map_has_its_closed_form() -> None:
    """z_n = a^n z_0 + sum_k a^(n-1-k) C s_{r+k}: the run from row r - 1 reads the inputs from row r on, and wraps."""
    rng, a = np.random.default_rng(7), np.array([0.9, -0.5])
    coupling, values, rows = rng.normal(size=(2, 3)), rng.normal(size=(7, 3)), np.array([2, 6])
    inputs = Inputs(["u", "v", "w"], np.zeros(3), np.ones(3), coupling)
    model = linear(a.tolist(), inputs=inputs)
    z0, n = rng.normal(size=(2, 2)), 12
    expected = a**n * z0
    for b, row in enumerate(rows):
        for k in range(n):
            expected[b] += a ** (n - 1 - k) * (coupling @ values[(row + k) % 7])
    np.testing.assert_allclose(model.free_run(z0, n, Drive(values, rows))[-1], expected, rtol=1e-12)
    np.testing.assert_allclose(free_run(model, z0, n, drive=Drive(values, rows))[-1], expected, rtol=1e-12)
    exponents, _ = lyapunov_qr(model, z0[0], 400, 10, drive=Drive(values, rows[:1]))
    np.testing.assert_allclose(exponents, np.log([0.9, 0.5]), atol=1e-9)
    leading, _ = lyapunov_qr(model, z0[0], 400, 10, drive=Drive(values, rows[:1]), n_exponents=1)
    np.testing.assert_allclose(leading, [np.log(0.9)], atol=1e-2)


def test_inputs_are_standardised_by_what_training_saw() -> None:
    model = driven("shplrnn")
    assert model.inputs is not None
    np.testing.assert_allclose(model.inputs.standardise(np.array([[1.0, 2.0], [3.0, 5.0]])), [[0, 0], [1, 1]])
    for values in (np.zeros(2), np.zeros((3, 1))):
        with pytest.raises(ValueError, match=r"shape \(T, 2\)"):
            model.inputs.standardise(values)


@pytest.mark.parametrize(
    ("drive", "says"),
    [
        (None, "needs a drive"),
        (Drive(np.zeros((4, 1)), np.zeros(3, int)), r"shape \(L, 2\)"),
        (Drive(np.zeros((0, 2)), np.zeros(3, int)), r"shape \(L, 2\)"),
        (Drive(np.zeros((4, 2)), np.zeros(2, int)), "one row per run"),
    ],
)
def test_a_run_without_its_inputs_is_an_error(drive: Drive | None, says: str) -> None:
    model = driven("shplrnn")
    with pytest.raises(ValueError, match=says):
        model.free_run(np.zeros((3, model.latent_dim)), 2, drive)


def test_inputs_for_a_model_without_them_are_an_error() -> None:
    drive, z = Drive(np.zeros((4, 1)), np.zeros(3, int)), np.zeros((3, 1))
    with pytest.raises(ValueError, match="no inputs"):
        linear([0.5]).free_run(z, 2, drive)
    with pytest.raises(ValueError, match="no inputs"):
        linear([0.5]).step(z, np.zeros((3, 1)))
    with pytest.raises(ValueError, match="needs their values"):
        driven("shplrnn").step(np.zeros(MIDDLE_SIZE["shplrnn"].latent))


def test_a_file_from_before_there_were_inputs_is_read() -> None:
    tensors = {f"map.{k}": v for k, v in random_params("clipped-shplrnn", MIDDLE_SIZE["clipped-shplrnn"]).items()}
    m = MIDDLE_SIZE["clipped-shplrnn"].latent
    tensors |= {f"series.{name}": np.full(m, 0.5) for name in ("mean", "std", "residual_std")}
    header: dict[str, Any] = {
        "format": "attractor-model/1",
        "architecture": "clipped-shplrnn",
        "channels": [f"x{i}" for i in range(m)],
        "lags": [0],
        "dt": 0.1,
        "time_unit": "s",
        "card": {},
    }
    data = save(tensors, metadata={"attractor": json.dumps(header, sort_keys=True)})
    model = TrainedModel.from_safetensors(data)
    assert model.inputs is None
    assert model.input_channels == []
    assert model.to_safetensors() == data, "and what has no inputs is still written so"


def test_a_driven_model_is_no_file_of_the_old_format() -> None:
    """A reader that knows no inputs would run the model as if it had none."""
    data = driven("gru").to_safetensors()
    size = int.from_bytes(data[:8], "little")
    assert json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["attractor"])["format"] == "attractor-model/2"

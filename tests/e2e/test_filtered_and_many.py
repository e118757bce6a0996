"""Over HTTP, with real processes: states seen through a kernel with inputs and nuisance in series of their own, and a collection."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from serving import serving

import attractor_client as sdk
from attractor_client import Client
from models import TrainedModel
from models.filters import convolve
from systems import driven_linear

pytestmark = pytest.mark.e2e
N, START = 1500, 1400
KERNEL = np.array([0.4, 0.35, 0.25])
CONTAMINATION = np.array([[0.8], [-0.5]])


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with serving(tmp_path_factory.mktemp("data")) as served, Client(served.url) as client:
        yield client


def test_a_filtered_system_with_inputs_and_nuisance_beside_it(client: Client, tmp_path) -> None:
    states, push = driven_linear(N + 2, 5)
    breath = np.random.default_rng(1).standard_normal((N, 1))
    seen = convolve(KERNEL, states) + breath @ CONTAMINATION.T  # row t holds the states t, t + 1, t + 2
    sampling = {"dt": 0.5, "time_unit": "s"}
    series = client.upload(seen, channels=["x", "y"], **sampling)
    pushed = client.upload(push[2:], channels=["u"], **sampling)
    breathed = client.upload(breath, channels=["r"], **sampling)
    kernel = {"kind": "given", "values": KERNEL.tolist()}
    model = client.reconstruct(
        series,
        input_series=pushed,
        nuisance_series=breathed,
        lyapunov={"budget_seconds": 3},
        train={
            "observation": {"kind": "convolutional", "kernel": kernel, "noise": 0.01},
            "hidden_dim": 8,
            "updates": 2500,
            "sequence_length": 40,
            "seeds": 1,
        },
    ).wait()
    assert (model.channels, model.input_channels, model.nuisance_channels) == (["x", "y"], ["u"], ["r"])
    assert model.raw["input_series"] == [{"series_id": pushed.id, "channels": ["u"]}]
    assert model.raw["nuisance_series"] == [{"series_id": breathed.id, "channels": ["r"]}]
    assert model.report.verdict in ("good", "fair"), model.report.detail

    model.download(tmp_path / "model.safetensors")
    trained = TrainedModel.from_safetensors((tmp_path / "model.safetensors").read_bytes())
    assert trained.observation["J"] * trained.std[:, None] == pytest.approx(CONTAMINATION, abs=0.25)

    def error(**asked: object) -> float:
        found = model.forecast(horizon_steps=100, start_index=START, samples=20, **asked)
        return float(np.mean((found.median - seen[START:]) ** 2 / seen.var(axis=0)))

    assert error() < 0.1, "inputs and nuisance are those recorded beside the series"
    assert error(inputs=push[:0:-1][:100], nuisance=breath[START:]) > 0.5

    measured = model.evaluate().wait()
    assert measured.raw["input_series"] == model.raw["input_series"]
    assert measured.prediction_error.value == pytest.approx(model.report.prediction_error.value)

    client.delete(pushed.id)
    with pytest.raises(sdk.InvalidRequest, match="driven by u"):
        model.forecast(horizon_steps=5, start_index=START)
    assert client.model(model.id).raw["input_series"] == model.raw["input_series"], (
        "results outlive what they came from"
    )


def henon(a: float, n_steps: int) -> np.ndarray:
    rows, x, y = [], 0.1, 0.1
    for _ in range(n_steps + 50):
        x, y = 1 - a * x * x + y, 0.3 * x
        rows.append((x, y))
    return np.array(rows[50:])


def test_a_collection_with_a_map_for_each_recording(client: Client) -> None:
    systems = {f"a{a:g}": henon(a, 300) for a in (1.1, 1.2, 1.3, 1.4)}
    series = client.upload(systems, channels=["x", "y"])
    model = client.reconstruct(
        series,
        lyapunov={"budget_seconds": 3},
        train={
            "recording_dim": 1,
            "hidden_dim": 20,
            "updates": 1500,
            "batch_size": 32,
            "seeds": 1,
            "test_fraction": 0.3,
        },
    ).wait()
    vectors = {r["name"]: r["vector"][0] for r in model.raw["recordings"]}
    ranks = np.argsort([vectors[name] for name in systems]).tolist()
    assert ranks in ([0, 1, 2, 3], [3, 2, 1, 0]), "the vector orders recordings by what tells their systems apart"
    assert [line["name"] for line in model.raw["report"]["recordings"]] == list(systems)

    def error(name: str, **asked: object) -> float:
        context = systems[name][:100]
        found = model.forecast(context=context, horizon_steps=3, samples=1, **asked)
        return float(np.mean((found.median - systems[name][100:103]) ** 2))

    assert error("a1.4", recording="a1.4") < 0.1 * error("a1.4", recording="a1.1")
    assert error("a1.4", recording_vector=[vectors["a1.4"]]) == error("a1.4", recording="a1.4")
    assert error("a1.4") < 0.1 * error("a1.4", recording="a1.1"), "a map is fitted to the context"
    with pytest.raises(sdk.InvalidRequest, match=r"knows no recording 'a9'; it knows a1\.1"):
        model.forecast(horizon_steps=3, recording="a9")
    measured = model.evaluate().wait()
    assert {line["name"]: line["vector"] for line in measured.raw["recordings"]} == {n: [v] for n, v in vectors.items()}

"""Architectures against torch's cells, against each other where one contains the other, and against their bounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from map_sizes import MIDDLE_SIZE, random_params

from models import ARCHITECTURES, GRU, LSTM, Size, VanillaRNN

Z = 2 * np.random.default_rng(11).standard_normal((40, 4))
EXACT = {"rtol": 1e-13, "atol": 1e-13}


def cell_run(cell: torch.nn.Module, state: torch.Tensor | tuple[torch.Tensor, ...], n_steps: int) -> list[np.ndarray]:
    """States of a torch cell with zero input, [hidden; cell] for the LSTM, one (B, M) array a step."""
    out = []
    with torch.no_grad():
        for _ in range(n_steps):
            batch = (state[0] if isinstance(state, tuple) else state).shape[0]
            state = cell(torch.zeros(batch, 1, dtype=torch.float64), state)
            out.append((torch.cat(state, dim=-1) if isinstance(state, tuple) else state).numpy())
    return out


def follow(model: type, params: dict[str, np.ndarray], z: np.ndarray, expected: list[np.ndarray]) -> None:
    for wanted in expected:
        z = model.step(params, z)
        np.testing.assert_allclose(z, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("m", [1, 2, 7])
def test_vanilla_rnn_is_torchs_cell(m: int) -> None:
    torch.manual_seed(0)
    cell = torch.nn.RNNCell(1, m).double()
    params = {"W": cell.weight_hh.detach().numpy(), "h": (cell.bias_ih + cell.bias_hh).detach().numpy()}
    z = np.random.default_rng(0).uniform(-1, 1, (5, m))
    follow(VanillaRNN, params, z, cell_run(cell, torch.tensor(z), 50))


@pytest.mark.parametrize("units", [1, 2, 7])
def test_lstm_is_torchs_cell(units: int) -> None:
    torch.manual_seed(0)
    cell = torch.nn.LSTMCell(1, units).double()
    params = {"U": cell.weight_hh.detach().numpy(), "b": (cell.bias_ih + cell.bias_hh).detach().numpy()}
    z = 2 * np.random.default_rng(0).standard_normal((5, 2 * units))
    start = (torch.tensor(z[:, :units]), torch.tensor(z[:, units:]))
    follow(LSTM, params, z, cell_run(cell, start, 50))


@pytest.mark.parametrize("m", [1, 2, 7])
def test_gru_is_torchs_cell(m: int) -> None:
    torch.manual_seed(0)
    cell = torch.nn.GRUCell(1, m).double()
    bias_ih, bias_hh = cell.bias_ih.detach().numpy(), cell.bias_hh.detach().numpy()
    b = bias_hh + np.concatenate([bias_ih[: 2 * m], np.zeros(m)])
    params = {"U": cell.weight_hh.detach().numpy(), "b": b, "bn": bias_ih[2 * m :]}
    z = np.random.default_rng(0).uniform(-1, 1, (5, m))
    follow(GRU, params, z, cell_run(cell, torch.tensor(z), 50))


def test_the_lstm_starts_with_open_forget_gates() -> None:
    b = LSTM.init(np.random.default_rng(0), Size(32))["b"]
    assert np.all(np.abs(b[16:32] - 1) <= 0.25)
    assert np.all(np.abs(np.delete(b, np.s_[16:32])) <= 0.25)


def test_extreme_states_of_gated_cells_do_not_overflow() -> None:
    for name in ("lstm", "gru", "vanilla-rnn"):
        model, size = ARCHITECTURES[name], MIDDLE_SIZE[name]
        params = {k: 1e3 * v for k, v in random_params(name, size).items()}
        with np.errstate(all="raise"):
            stepped = model.step(params, np.linspace(-1e3, 1e3, size.latent))
            jacobian = model.jacobian(params, np.linspace(-1e3, 1e3, size.latent))
        assert np.isfinite(stepped).all()
        assert np.isfinite(jacobian).all()


def equal_maps(left: str, right: str, left_params: dict[str, np.ndarray], right_params: dict[str, np.ndarray]) -> None:
    first, second = ARCHITECTURES[left], ARCHITECTURES[right]
    np.testing.assert_allclose(first.step(left_params, Z), second.step(right_params, Z), **EXACT)
    np.testing.assert_allclose(first.jacobian(left_params, Z), second.jacobian(right_params, Z), **EXACT)


@pytest.mark.parametrize("kind", ["", "clipped-"])
def test_one_dendrite_is_a_plrnn(kind: str) -> None:
    """alpha = 1 and H = 0 (clipped: H = -h2)."""
    params = random_params(f"{kind}plrnn", Size(4))
    threshold = -params.pop("h2") if kind else np.zeros(4)
    dendritic = params | {"alpha": np.ones(1), "H": threshold[:, None]}
    plain = params | ({"h2": -threshold} if kind else {})
    equal_maps(f"{kind}dend-plrnn", f"{kind}plrnn", dendritic, plain)


def test_clipped_shplrnn_with_unit_inner_weights_is_the_clipped_plrnn() -> None:
    params = random_params("clipped-plrnn", Size(4))
    shallow = {"A": params["A"], "W1": params["W"], "W2": np.eye(4), "h1": params["h"], "h2": params["h2"]}
    equal_maps("clipped-shplrnn", "clipped-plrnn", shallow, params)


def test_al_rnn_of_rectified_units_is_the_plrnn() -> None:
    params = random_params("plrnn", Size(4))
    equal_maps("al-rnn", "plrnn", params | {"V": np.zeros((4, 0))}, params)


def test_al_rnn_rectifies_the_last_units_only() -> None:
    """The published form A z + W' Phi(z) + h, W' (M, M), Phi rectifying the last P units."""
    params = random_params("al-rnn", Size(4, 3))
    phi = np.concatenate([Z[:, :1], np.maximum(Z[:, 1:], 0)], axis=1)
    full = np.concatenate([params["V"], params["W"]], axis=1)
    expected = Z * params["A"] + phi @ full.T + params["h"]
    np.testing.assert_allclose(ARCHITECTURES["al-rnn"].step(params, Z), expected, **EXACT)


def test_deep_plrnn_of_one_layer_is_the_shallow_plrnn() -> None:
    params = random_params("deep-plrnn", Size(4, 6, 1))
    shallow = {
        new: params[old]
        for new, old in zip(("A", "W1", "W2", "h1", "h2"), ("A", "W_out", "W_in", "h1", "b_in"), strict=True)
    }
    equal_maps("deep-plrnn", "shplrnn", params, shallow)


def test_deep_plrnn_is_torchs_stack_of_layers() -> None:
    torch.manual_seed(0)
    layers = [torch.nn.Linear(a, b).double() for a, b in ((4, 6), (6, 6), (6, 6), (6, 4))]
    weights = [layer.weight.detach().numpy() for layer in layers]
    biases = [layer.bias.detach().numpy() for layer in layers]
    params = {
        "A": np.zeros(4),
        "h1": biases[3],
        "W_out": weights[3],
        "W_in": weights[0],
        "b_in": biases[0],
        "W_k": np.stack(weights[1:3]),
        "b_k": np.stack(biases[1:3]),
    }
    relu = torch.nn.ReLU()
    stack = torch.nn.Sequential(layers[0], relu, layers[1], relu, layers[2], relu, layers[3])
    with torch.no_grad():
        expected = stack(torch.tensor(Z)).numpy()
    np.testing.assert_allclose(ARCHITECTURES["deep-plrnn"].step(params, Z), expected, **EXACT)


def test_mean_centring_takes_the_mean_away() -> None:
    """Adding a constant to every unit changes A z only."""
    model, params = ARCHITECTURES["mean-centered-plrnn"], random_params("mean-centered-plrnn", Size(4))
    np.testing.assert_allclose(
        model.step(params, Z + 5) - model.step(params, Z), np.broadcast_to(5 * params["A"], Z.shape), atol=1e-12
    )
    centred = Z - Z.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(model.step(params, centred), ARCHITECTURES["plrnn"].step(params, centred), atol=1e-12)


BRACKETS = {  # what the clipped part of each map cannot exceed, per unit
    "clipped-plrnn": lambda p: np.abs(p["W"]) @ np.abs(p["h2"]),
    "clipped-dend-plrnn": lambda p: np.abs(p["W"]) @ (np.abs(p["H"]) @ np.abs(p["alpha"])),
    "clipped-shplrnn": lambda p: np.abs(p["W1"]) @ np.abs(p["h2"]),
}


@pytest.mark.parametrize("architecture", BRACKETS)
@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_clipped_variants_are_bounded(architecture: str, scale: float) -> None:
    """|z| <= |A| |z| + bracket + |h| per unit, so |z| ends below (bracket + |h|) / (1 - |A|), however large W is."""
    model, size = ARCHITECTURES[architecture], MIDDLE_SIZE[architecture]
    m = size.latent
    params = {k: 5 * v for k, v in random_params(architecture, size).items()} | {"A": np.linspace(-0.8, 0.95, m)}
    offset = np.abs(params["h1" if "h1" in params else "h"])
    bound = (BRACKETS[architecture](params) + offset) / (1 - np.abs(params["A"]))
    z = scale * np.random.default_rng(5).standard_normal((20, m))
    for step in range(2000):
        z = model.step(params, z)
        assert step < 1000 or np.all(np.abs(z) <= bound * (1 + 1e-9))
    assert np.abs(z).max() > 1e-3 * bound.max()  # a run that had collapsed would show nothing


@pytest.mark.parametrize("architecture", ["vanilla-rnn", "lstm", "gru"])
def test_units_that_are_read_stay_within_one(architecture: str) -> None:
    model, size = ARCHITECTURES[architecture], MIDDLE_SIZE[architecture]
    params = {k: 10 * v for k, v in random_params(architecture, size).items()}
    z = np.random.default_rng(6).uniform(-1, 1, (50, size.latent))
    for _ in range(200):
        z = model.step(params, z)
        assert np.abs(z[:, : model.read_units(size.latent)]).max() <= 1

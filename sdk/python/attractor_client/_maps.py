"""One step z -> F(z) of every architecture, numpy alone: states (..., M) -> (..., M).

The equations and their sources: docs/science/architectures.md of the service. Operations come in the same order as there,
so that the same parameters give the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Params = dict[str, np.ndarray]
Map = Callable[[Params, np.ndarray], np.ndarray]


def _relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * np.tanh(0.5 * x) + 0.5


def plrnn(p: Params, z: np.ndarray) -> np.ndarray:
    """A z + W relu(z) + h."""
    return p["A"] * z + _relu(z) @ p["W"].T + p["h"]


def mean_centered_plrnn(p: Params, z: np.ndarray) -> np.ndarray:
    """A z + W relu(z - mean(z)) + h."""
    return p["A"] * z + _relu(z - z.mean(-1)[..., None]) @ p["W"].T + p["h"]


def clipped_plrnn(p: Params, z: np.ndarray) -> np.ndarray:
    """A z + W [relu(z + h2) - relu(z)] + h."""
    return p["A"] * z + (_relu(z + p["h2"]) - _relu(z)) @ p["W"].T + p["h"]


def dend_plrnn(p: Params, z: np.ndarray) -> np.ndarray:
    """A z + W sum_b alpha_b relu(z - H_b) + h."""
    dendrites = _relu(z[..., None] - p["H"]) @ p["alpha"]
    return p["A"] * z + dendrites @ p["W"].T + p["h"]


def clipped_dend_plrnn(p: Params, z: np.ndarray) -> np.ndarray:
    """A z + W sum_b alpha_b [relu(z - H_b) - relu(z)] + h."""
    unit = z[..., None]
    dendrites = (_relu(unit - p["H"]) - _relu(unit)) @ p["alpha"]
    return p["A"] * z + dendrites @ p["W"].T + p["h"]


def shplrnn(p: Params, z: np.ndarray) -> np.ndarray:
    """A z + W1 relu(W2 z + h2) + h1."""
    return p["A"] * z + _relu(z @ p["W2"].T + p["h2"]) @ p["W1"].T + p["h1"]


def clipped_shplrnn(p: Params, z: np.ndarray) -> np.ndarray:
    """A z + W1 [relu(W2 z + h2) - relu(W2 z)] + h1."""
    drive = z @ p["W2"].T
    return p["A"] * z + (_relu(drive + p["h2"]) - _relu(drive)) @ p["W1"].T + p["h1"]


def al_rnn(p: Params, z: np.ndarray) -> np.ndarray:
    """A z + V z[:M - P] + W relu(z[M - P:]) + h."""
    linear = p["V"].shape[1]
    through = z[..., :linear] @ p["V"].T + _relu(z[..., linear:]) @ p["W"].T
    return p["A"] * z + through + p["h"]


def deep_plrnn(p: Params, z: np.ndarray) -> np.ndarray:
    """A z + W_out relu(... relu(W_in z + b_in) ...) + h1."""
    y = _relu(z @ p["W_in"].T + p["b_in"])
    for w, b in zip(p["W_k"], p["b_k"], strict=True):
        y = _relu(y @ w.T + b)
    return p["A"] * z + y @ p["W_out"].T + p["h1"]


def vanilla_rnn(p: Params, z: np.ndarray) -> np.ndarray:
    """tanh(W z + h)."""
    return np.tanh(z @ p["W"].T + p["h"])


def lstm(p: Params, z: np.ndarray) -> np.ndarray:
    """c = f c + i g, y = o tanh(c) with the gates (i, f, g, o) of U y + b; z = [y; c]."""
    units = p["U"].shape[1]
    drive = z[..., :units] @ p["U"].T + p["b"]
    i, f, g, o = (drive[..., k * units : (k + 1) * units] for k in range(4))
    cell = _sigmoid(f) * z[..., units:] + _sigmoid(i) * np.tanh(g)
    return np.concatenate((_sigmoid(o) * np.tanh(cell), cell), -1)


def gru(p: Params, z: np.ndarray) -> np.ndarray:
    """(1 - u) n + u z with r, u = sigmoid(U z + b), n = tanh(r (U_n z + b_n) + bn)."""
    m = p["U"].shape[1]
    drive = z @ p["U"].T + p["b"]
    r, u = _sigmoid(drive[..., :m]), _sigmoid(drive[..., m : 2 * m])
    n = np.tanh(r * drive[..., 2 * m :] + p["bn"])
    return (1 - u) * n + u * z


MAPS: dict[str, Map] = {
    "plrnn": plrnn,
    "mean-centered-plrnn": mean_centered_plrnn,
    "clipped-plrnn": clipped_plrnn,
    "dend-plrnn": dend_plrnn,
    "clipped-dend-plrnn": clipped_dend_plrnn,
    "shplrnn": shplrnn,
    "clipped-shplrnn": clipped_shplrnn,
    "al-rnn": al_rnn,
    "deep-plrnn": deep_plrnn,
    "vanilla-rnn": vanilla_rnn,
    "lstm": lstm,
    "gru": gru,
}

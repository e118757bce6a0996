"""The long short-term memory, autonomous; the latent state is z = [hidden y; cell c], H' = M / 2 units each.

    (i, f, g, o) = U y_{t-1} + b, through sigmoid, sigmoid, tanh, sigmoid
    c_t = f c_{t-1} + i g
    y_t = o tanh(c_t)

with U (4 H', H'), b (4 H') in the order i, f, g, o. Data enter through forcing and the observation model only, both of which
see the hidden half; forcing sets the cell to zero. |y| < 1, so the observation must be affine. The same as torch.nn.LSTMCell
with zero input, U = weight_hh, b = bias_ih + bias_hh.

Sources: Hochreiter & Schmidhuber, "Long short-term memory", Neural Computation 9, 1997; Gers, Schmidhuber, Cummins, "Learning
to forget", Neural Computation 12, 2000; for reconstruction: Mikhaeil, Monfared, Durstewitz, NeurIPS 2022.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from models.algebra import sigmoid, uniform
from models.base import Architecture, Params, Size

_FORGET_BIAS = 1.0


class LSTM(Architecture):
    """c_t = f c_{t-1} + i g, y_t = o tanh(c_t), z = [y; c]."""

    name: ClassVar[str] = "lstm"
    citation: ClassVar[str] = "Hochreiter & Schmidhuber 1997, Long short-term memory, Neural Computation 9"
    squashed: ClassVar[bool] = True

    @staticmethod
    def shapes(size: Size) -> dict[str, tuple[int, ...]]:
        units = size.latent // 2
        return {"U": (4 * units, units), "b": (4 * units,)}

    @staticmethod
    def size(params: Params) -> Size:
        return Size(2 * int(params["U"].shape[1]))

    @staticmethod
    def init(rng: np.random.Generator, size: Size) -> dict[str, np.ndarray]:
        """Uniform in 1 / sqrt(H'), as torch.nn.LSTMCell, and 1 added to the bias of the forget gate.

        Without it f is about 1/2 and a cell forgets within two steps, before a trajectory sampled densely has moved
        (Jozefowicz, Zaremba, Sutskever 2015, An empirical exploration of recurrent network architectures, ICML).
        """
        units = size.latent // 2
        b = uniform(rng, (4 * units,), units)
        b[units : 2 * units] += _FORGET_BIAS
        return {"U": uniform(rng, (4 * units, units), units), "b": b}

    @staticmethod
    def step(params: Params, z: Any, xp: Any = np) -> Any:
        i, f, g, o = _gates(params, z, xp)
        cell = f * z[..., f.shape[-1] :] + i * g
        return xp.concatenate((o * xp.tanh(cell), cell), -1)

    @staticmethod
    def jacobian(params: Params, z: Any, xp: Any = np) -> Any:
        """Blocks [dy'/dy, dy'/dc; dc'/dy, dc'/dc] by the product rule."""
        u = params["U"]
        units = u.shape[1]
        old = z[..., units:]
        i, f, g, o = _gates(params, z, xp)
        squashed = xp.tanh(f * old + i * g)
        slope = o * (1 - squashed * squashed)  # dy'/dc'
        eye = xp.diag(xp.ones_like(u[0]))
        cell_y = (
            (g * i * (1 - i))[..., None] * u[:units]
            + (old * f * (1 - f))[..., None] * u[units : 2 * units]
            + (i * (1 - g * g))[..., None] * u[2 * units : 3 * units]
        )
        y_y = (squashed * o * (1 - o))[..., None] * u[3 * units :] + slope[..., None] * cell_y
        upper = xp.concatenate((y_y, (slope * f)[..., None] * eye), -1)
        lower = xp.concatenate((cell_y, f[..., None] * eye), -1)
        return xp.concatenate((upper, lower), -2)

    @staticmethod
    def problem(size: Size) -> str | None:
        if size.latent >= 2 and size.latent % 2 == 0:
            return None
        return f"An LSTM holds hidden units and as many cells, so its latent dimension must be even, not {size.latent}."

    @staticmethod
    def read_units(latent: int) -> int:
        """The hidden half."""
        return latent // 2


def _gates(params: Params, z: Any, xp: Any) -> tuple[Any, Any, Any, Any]:
    """Input gate, forget gate, candidate, output gate: (..., H') each."""
    units = params["U"].shape[1]
    drive = z[..., :units] @ params["U"].T + params["b"]
    i, f, g, o = (drive[..., k * units : (k + 1) * units] for k in range(4))
    return sigmoid(i, xp), sigmoid(f, xp), xp.tanh(g), sigmoid(o, xp)

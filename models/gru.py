"""The gated recurrent unit, autonomous.

    r = sigmoid(U_r z_{t-1} + b_r)
    u = sigmoid(U_u z_{t-1} + b_u)
    n = tanh(r (U_n z_{t-1} + b_n) + bn)
    z_t = (1 - u) n + u z_{t-1}

with U (3 M, M), b (3 M) in the order r, u, n and bn (M). Data enter through forcing and the observation model only; started
within (-1, 1) the units stay there, so the observation must be affine. The same as torch.nn.GRUCell with zero input,
U = weight_hh, b = bias_hh plus bias_ih of r and u, bn = bias_ih of n.

Source: Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical machine translation", EMNLP
2014, in the variant with the reset gate after the matrix product (as in cuDNN and torch).
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from models.algebra import sigmoid, uniform
from models.base import Architecture, Params, Size


class GRU(Architecture):
    """z_t = (1 - u) n + u z_{t-1}."""

    name: ClassVar[str] = "gru"
    citation: ClassVar[str] = "Cho et al. 2014, Learning phrase representations using RNN encoder-decoder, EMNLP"
    squashed: ClassVar[bool] = True

    @staticmethod
    def shapes(size: Size) -> dict[str, tuple[int, ...]]:
        m = size.latent
        return {"U": (3 * m, m), "b": (3 * m,), "bn": (m,)}

    @staticmethod
    def size(params: Params) -> Size:
        return Size(int(params["bn"].shape[0]))

    @staticmethod
    def init(rng: np.random.Generator, size: Size) -> dict[str, np.ndarray]:
        """Uniform in 1 / sqrt(M), as torch.nn.GRUCell."""
        m = size.latent
        return {"U": uniform(rng, (3 * m, m), m), "b": uniform(rng, (3 * m,), m), "bn": uniform(rng, (m,), m)}

    @staticmethod
    def step(params: Params, z: Any, xp: Any = np) -> Any:
        _, u, n, _ = _gates(params, z, xp)
        return (1 - u) * n + u * z

    @staticmethod
    def jacobian(params: Params, z: Any, xp: Any = np) -> Any:
        """diag(1 - u) dn/dz + diag((z - n) u (1 - u)) U_u + diag(u)."""
        weights, m = params["U"], params["U"].shape[1]
        r, u, n, candidate = _gates(params, z, xp)
        slope = 1 - n * n
        n_z = (slope * r)[..., None] * weights[2 * m :] + (slope * candidate * r * (1 - r))[..., None] * weights[:m]
        through_u = ((z - n) * u * (1 - u))[..., None] * weights[m : 2 * m]
        return (1 - u)[..., None] * n_z + through_u + u[..., None] * xp.diag(xp.ones_like(weights[0]))


def _gates(params: Params, z: Any, xp: Any) -> tuple[Any, Any, Any, Any]:
    """Reset gate, update gate, candidate n, and what the reset gate multiplies, U_n z + b_n: (..., M) each."""
    m = params["U"].shape[1]
    drive = z @ params["U"].T + params["b"]
    r, u, candidate = sigmoid(drive[..., :m], xp), sigmoid(drive[..., m : 2 * m], xp), drive[..., 2 * m :]
    return r, u, xp.tanh(r * candidate + params["bn"]), candidate

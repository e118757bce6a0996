"""The vanilla (Elman) RNN, autonomous.

    z_t = tanh(W z_{t-1} + h)

with W (M, M), h (M). Data enter through forcing and the observation model only; |z| < 1, so the observation must be affine.
The same as torch.nn.RNNCell with zero input, W = weight_hh, h = bias_ih + bias_hh.

Sources: Elman, "Finding structure in time", Cognitive Science 14, 1990; for reconstruction: Mikhaeil, Monfared, Durstewitz,
"On the difficulty of learning chaotic dynamics with RNNs", NeurIPS 2022.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from models.algebra import frobenius, uniform
from models.base import Architecture, Params, Size


class VanillaRNN(Architecture):
    """z_t = tanh(W z_{t-1} + h)."""

    name: ClassVar[str] = "vanilla-rnn"
    citation: ClassVar[str] = "Elman 1990, Finding structure in time, Cognitive Science 14"
    squashed: ClassVar[bool] = True

    @staticmethod
    def shapes(size: Size) -> dict[str, tuple[int, ...]]:
        return {"W": (size.latent, size.latent), "h": (size.latent,)}

    @staticmethod
    def size(params: Params) -> Size:
        return Size(int(params["h"].shape[0]))

    @staticmethod
    def init(rng: np.random.Generator, size: Size) -> dict[str, np.ndarray]:
        """Uniform in 1 / sqrt(M), as torch.nn.RNNCell."""
        m = size.latent
        return {"W": uniform(rng, (m, m), m), "h": uniform(rng, (m,), m)}

    @staticmethod
    def step(params: Params, z: Any, xp: Any = np) -> Any:
        return xp.tanh(z @ params["W"].T + params["h"])

    @staticmethod
    def jacobian(params: Params, z: Any, xp: Any = np) -> Any:
        """diag(1 - tanh^2) W."""
        y = xp.tanh(z @ params["W"].T + params["h"])
        return (1 - y * y)[..., None] * params["W"]

    @staticmethod
    def jacobian_bound(params: Params) -> float | None:
        """||W||_F, as 0 < tanh' <= 1."""
        return frobenius(params["W"])

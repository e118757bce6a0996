"""The shallow piecewise-linear RNN and its clipped variant.

    shPLRNN:          z_t = A z_{t-1} + W1 relu(W2 z_{t-1} + h2) + h1
    clipped shPLRNN:  z_t = A z_{t-1} + W1 [relu(W2 z_{t-1} + h2) - relu(W2 z_{t-1})] + h1

with A diagonal (M), W1 (M, H), W2 (H, M), h1 (M), h2 (H). The clipped variant is bounded for |A| < 1, since the bracket
lies between 0 and h2 whatever z is.

Source: Hess, Monfared, Brenner, Durstewitz, "Generalized teacher forcing for learning chaotic dynamics", ICML 2023, eqs. 2-4.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from models.base import Architecture, Params


class ShPLRNN(Architecture):
    """z_t = A z_{t-1} + W1 relu(W2 z_{t-1} + h2) + h1."""

    name: ClassVar[str] = "shplrnn"
    citation: ClassVar[str] = "Hess et al. 2023, Generalized teacher forcing for learning chaotic dynamics, ICML, eq. 2"

    @staticmethod
    def shapes(latent_dim: int, hidden_dim: int) -> dict[str, tuple[int, ...]]:
        m, h = latent_dim, hidden_dim
        return {"A": (m,), "W1": (m, h), "W2": (h, m), "h1": (m,), "h2": (h,)}

    @staticmethod
    def init(rng: np.random.Generator, latent_dim: int, hidden_dim: int) -> dict[str, np.ndarray]:
        """A and W as in the published code: A near a contraction of a random positive matrix' diagonal, W uniform in 1/sqrt(fan-in)."""
        m, h = latent_dim, hidden_dim
        gaussian = rng.standard_normal((m, m))
        positive = gaussian @ gaussian.T / m + np.eye(m)
        return {
            "A": np.diagonal(positive / np.linalg.eigvalsh(positive).max()).copy(),
            "W1": rng.uniform(-1, 1, (m, h)) / np.sqrt(h),
            "W2": rng.uniform(-1, 1, (h, m)) / np.sqrt(m),
            "h1": np.zeros(m),
            "h2": rng.uniform(-1, 1, h) / np.sqrt(h),
        }

    @staticmethod
    def step(params: Params, z: Any, xp: Any = np) -> Any:
        hidden = xp.clip(z @ params["W2"].T + params["h2"], 0, None)
        return params["A"] * z + hidden @ params["W1"].T + params["h1"]

    @staticmethod
    def jacobian(params: Params, z: Any, xp: Any = np) -> Any:
        """diag(A) + W1 diag[W2 z + h2 > 0] W2 (the sub-gradient at the kink is 0, as in torch)."""
        w1, w2 = params["W1"], params["W2"]
        gate = xp.where(z @ w2.T + params["h2"] > 0, xp.ones_like(params["h2"]), xp.zeros_like(params["h2"]))
        return xp.diag(params["A"]) + (w1 * gate[..., None, :]) @ w2


class ClippedShPLRNN(ShPLRNN):
    """z_t = A z_{t-1} + W1 [relu(W2 z_{t-1} + h2) - relu(W2 z_{t-1})] + h1."""

    name: ClassVar[str] = "clipped-shplrnn"
    citation: ClassVar[str] = "Hess et al. 2023, Generalized teacher forcing for learning chaotic dynamics, ICML, eq. 4"

    @staticmethod
    def step(params: Params, z: Any, xp: Any = np) -> Any:
        drive = z @ params["W2"].T
        hidden = xp.clip(drive + params["h2"], 0, None) - xp.clip(drive, 0, None)
        return params["A"] * z + hidden @ params["W1"].T + params["h1"]

    @staticmethod
    def jacobian(params: Params, z: Any, xp: Any = np) -> Any:
        """diag(A) + W1 diag([W2 z + h2 > 0] - [W2 z > 0]) W2."""
        w1, w2, h2 = params["W1"], params["W2"], params["h2"]
        drive = z @ w2.T
        one, zero = xp.ones_like(h2), xp.zeros_like(h2)
        gate = xp.where(drive + h2 > 0, one, zero) - xp.where(drive > 0, one, zero)
        return xp.diag(params["A"]) + (w1 * gate[..., None, :]) @ w2

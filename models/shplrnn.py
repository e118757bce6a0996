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

from models.algebra import clipped, frobenius, gate, largest, positive_definite, relu, tame, uniform
from models.base import Architecture, Layer, Params, Size


class ShPLRNN(Architecture):
    """z_t = A z_{t-1} + W1 relu(W2 z_{t-1} + h2) + h1."""

    name: ClassVar[str] = "shplrnn"
    citation: ClassVar[str] = "Hess et al. 2023, Generalized teacher forcing for learning chaotic dynamics, ICML, eq. 2"
    hidden_role: ClassVar[str | None] = "hidden units"

    @staticmethod
    def shapes(size: Size) -> dict[str, tuple[int, ...]]:
        m, h = size.latent, size.hidden
        return {"A": (m,), "W1": (m, h), "W2": (h, m), "h1": (m,), "h2": (h,)}

    @staticmethod
    def size(params: Params) -> Size:
        m, h = params["W1"].shape
        return Size(int(m), int(h))

    @staticmethod
    def init(rng: np.random.Generator, size: Size) -> dict[str, np.ndarray]:
        """As published, drawn again where it explodes."""
        return tame(lambda: _published(rng, size), ShPLRNN.step)

    @staticmethod
    def step(params: Params, z: Any, xp: Any = np) -> Any:
        hidden = relu(z @ params["W2"].T + params["h2"], xp)
        return params["A"] * z + hidden @ params["W1"].T + params["h1"]

    @staticmethod
    def jacobian(params: Params, z: Any, xp: Any = np) -> Any:
        """diag(A) + W1 diag[W2 z + h2 > 0] W2 (the sub-gradient at the kink is 0, as in torch)."""
        gates = gate(z @ params["W2"].T + params["h2"], xp)
        return xp.diag(params["A"]) + (params["W1"] * gates[..., None, :]) @ params["W2"]

    @staticmethod
    def problem(size: Size) -> str | None:
        return None if size.hidden >= 1 else "A shallow PLRNN needs at least one hidden unit."

    @staticmethod
    def identity(params: Params) -> dict[str, float] | None:
        """The thresholds h2 are free, as W1 = 0 silences the hidden units."""
        return {"A": 1.0, "W1": 0.0, "W2": 0.0, "h1": 0.0}

    @staticmethod
    def jacobian_bound(params: Params) -> float | None:
        """max|A| + ||W1||_F ||W2||_F, as the gates (clipped: differences of two gates) lie in [-1, 1]."""
        return largest(params["A"]) + frobenius(params["W1"]) * frobenius(params["W2"])

    @staticmethod
    def layer(params: Params) -> Layer | None:
        inner = np.concatenate([params["W2"], params["h2"][:, None]], axis=1)
        return Layer(inner, _outer(params), np.zeros_like(params["h2"]))


class ClippedShPLRNN(ShPLRNN):
    """z_t = A z_{t-1} + W1 [relu(W2 z_{t-1} + h2) - relu(W2 z_{t-1})] + h1."""

    name: ClassVar[str] = "clipped-shplrnn"
    citation: ClassVar[str] = "Hess et al. 2023, Generalized teacher forcing for learning chaotic dynamics, ICML, eq. 4"

    @staticmethod
    def init(rng: np.random.Generator, size: Size) -> dict[str, np.ndarray]:
        return _published(rng, size)

    @staticmethod
    def step(params: Params, z: Any, xp: Any = np) -> Any:
        hidden = clipped(z @ params["W2"].T, params["h2"], xp)
        return params["A"] * z + hidden @ params["W1"].T + params["h1"]

    @staticmethod
    def jacobian(params: Params, z: Any, xp: Any = np) -> Any:
        """diag(A) + W1 diag([W2 z + h2 > 0] - [W2 z > 0]) W2."""
        drive = z @ params["W2"].T
        gates = gate(drive + params["h2"], xp) - gate(drive, xp)
        return xp.diag(params["A"]) + (params["W1"] * gates[..., None, :]) @ params["W2"]

    @staticmethod
    def layer(params: Params) -> Layer | None:
        """relu(u + h) - relu(u) = clip(u + h, 0, h) for h >= 0 and clip(-u, h, 0) for h < 0: one rectifier less."""
        h2 = params["h2"]
        inner = np.concatenate([params["W2"] * np.where(h2 < 0, -1, 1)[:, None], np.maximum(h2, 0)[:, None]], axis=1)
        return Layer(inner, _outer(params), np.minimum(h2, 0), np.maximum(h2, 0))


def _outer(params: Params) -> np.ndarray:
    """[W1, A, h1], which takes [hidden; z; 1] to W1 hidden + A z + h1."""
    return np.concatenate([params["W1"], np.diag(params["A"]), params["h1"][:, None]], axis=1)


def _published(rng: np.random.Generator, size: Size) -> dict[str, np.ndarray]:
    """A: diagonal of a random positive definite matrix (Talathi & Vartak 2016); W1, W2, h2: uniform in 1 / sqrt(fan-in); h1: zero."""
    m, h = size.latent, size.hidden
    return {
        "A": np.diagonal(positive_definite(rng, m)).copy(),
        "W1": uniform(rng, (m, h), h),
        "W2": uniform(rng, (h, m), m),
        "h1": np.zeros(m),
        "h2": uniform(rng, (h,), h),
    }

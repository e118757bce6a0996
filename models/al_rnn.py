"""The almost-linear RNN: only the last P of M units are rectified.

    z_t = A z_{t-1} + V z_{t-1}[:M - P] + W relu(z_{t-1}[M - P:]) + h

with A diagonal (M), V (M, M - P), W (M, P), h (M): the published A z + W' Phi(z) + h with W' = [V W], Phi rectifying the last
P units. The first units are those observed, so observed units are linear where P <= M - N_e. There are 2^P linear regions.

Source: Brenner, Hemmer, Monfared, Durstewitz, "Almost-linear RNNs yield highly interpretable symbolic codes in dynamical
systems reconstruction", NeurIPS 2024.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from models.algebra import frobenius, gate, largest, positive_definite, relu
from models.base import Architecture, Params, Size

_INITIAL_STD = 0.01  # of V and W, as in the published code


class ALRNN(Architecture):
    """z_t = A z_{t-1} + V z_{t-1}[:M - P] + W relu(z_{t-1}[M - P:]) + h."""

    name: ClassVar[str] = "al-rnn"
    citation: ClassVar[str] = (
        "Brenner et al. 2024, Almost-linear RNNs yield highly interpretable symbolic codes in dynamical systems reconstruction, NeurIPS"
    )
    hidden_role: ClassVar[str | None] = "piecewise-linear units"

    @staticmethod
    def shapes(size: Size) -> dict[str, tuple[int, ...]]:
        """With P = M, V has no columns."""
        m, p = size.latent, size.hidden
        return {"A": (m,), "V": (m, m - p), "W": (m, p), "h": (m,)}

    @staticmethod
    def size(params: Params) -> Size:
        m, p = params["W"].shape
        return Size(int(m), int(p))

    @staticmethod
    def init(rng: np.random.Generator, size: Size) -> dict[str, np.ndarray]:
        """A: diagonal of a random positive definite matrix (Talathi & Vartak 2016); V, W: Gaussian, std 0.01; h: zero."""
        m, p = size.latent, size.hidden
        return {
            "A": np.diagonal(positive_definite(rng, m)).copy(),
            "V": _INITIAL_STD * rng.standard_normal((m, m - p)),
            "W": _INITIAL_STD * rng.standard_normal((m, p)),
            "h": np.zeros(m),
        }

    @staticmethod
    def step(params: Params, z: Any, xp: Any = np) -> Any:
        linear = params["V"].shape[1]
        through = z[..., :linear] @ params["V"].T + relu(z[..., linear:], xp) @ params["W"].T
        return params["A"] * z + through + params["h"]

    @staticmethod
    def jacobian(params: Params, z: Any, xp: Any = np) -> Any:
        """diag(A) + [V, W diag[z[M - P:] > 0]]."""
        linear = params["V"].shape[1]
        gates = xp.concatenate((xp.ones_like(z[..., :linear]), gate(z[..., linear:], xp)), -1)
        return xp.diag(params["A"]) + xp.concatenate((params["V"], params["W"]), -1) * gates[..., None, :]

    @staticmethod
    def problem(size: Size) -> str | None:
        """P = M is the PLRNN; P = 0 is refused."""
        if size.hidden < 1:
            return "An almost-linear RNN needs at least one piecewise-linear unit: without any it is linear, with no attractor but a point."
        if size.hidden > size.latent:
            return f"An almost-linear RNN of {size.latent} units cannot have {size.hidden} piecewise-linear ones."
        return None

    @staticmethod
    def identity(params: Params) -> dict[str, float] | None:
        return {"A": 1.0, "V": 0.0, "W": 0.0, "h": 0.0}

    @staticmethod
    def jacobian_bound(params: Params) -> float | None:
        """max|A| + ||[V W]||_F, as gates lie in [0, 1]."""
        return largest(params["A"]) + float(np.hypot(frobenius(params["V"]), frobenius(params["W"])))

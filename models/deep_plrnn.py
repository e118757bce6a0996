"""The deep piecewise-linear RNN: a leaky unit with a rectifier network of L hidden layers.

    y_1 = relu(W_in z_{t-1} + b_in)
    y_k = relu(W_k[k-2] y_{k-1} + b_k[k-2]),  k = 2..L
    z_t = A z_{t-1} + W_out y_L + h1

with A diagonal (M), h1 (M), W_out (M, H), W_in (H, M), b_in (H), W_k (L - 1, H, H), b_k (L - 1, H). With one hidden layer it
is the shallow PLRNN, and W_k, b_k are empty arrays.

Source: the generalisation of the shallow PLRNN of Hess, Monfared, Brenner, Durstewitz, "Generalized teacher forcing for
learning chaotic dynamics", ICML 2023, eq. 2, to L hidden layers.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from models.algebra import frobenius, gate, largest, positive_definite, relu, tame, uniform
from models.base import Architecture, Params, Size


class DeepPLRNN(Architecture):
    """z_t = A z_{t-1} + W_out relu(... relu(W_in z_{t-1} + b_in) ...) + h1."""

    name: ClassVar[str] = "deep-plrnn"
    citation: ClassVar[str] = (
        "Hess et al. 2023, Generalized teacher forcing for learning chaotic dynamics, ICML, eq. 2, with further hidden layers"
    )
    hidden_role: ClassVar[str | None] = "hidden units per layer"
    layered: ClassVar[bool] = True

    @staticmethod
    def shapes(size: Size) -> dict[str, tuple[int, ...]]:
        m, h, more = size.latent, size.hidden, size.layers - 1
        return {
            "A": (m,),
            "h1": (m,),
            "W_out": (m, h),
            "W_in": (h, m),
            "b_in": (h,),
            "W_k": (more, h, h),
            "b_k": (more, h),
        }

    @staticmethod
    def size(params: Params) -> Size:
        m, h = params["W_out"].shape
        return Size(int(m), int(h), int(params["b_k"].shape[0]) + 1)

    @staticmethod
    def init(rng: np.random.Generator, size: Size) -> dict[str, np.ndarray]:
        """As the shallow PLRNN, drawn again where it explodes."""
        return tame(lambda: _draw(rng, size), DeepPLRNN.step)

    @staticmethod
    def step(params: Params, z: Any, xp: Any = np) -> Any:
        y = relu(z @ params["W_in"].T + params["b_in"], xp)
        for w, b in zip(params["W_k"], params["b_k"], strict=True):
            y = relu(y @ w.T + b, xp)
        return params["A"] * z + y @ params["W_out"].T + params["h1"]

    @staticmethod
    def jacobian(params: Params, z: Any, xp: Any = np) -> Any:
        """diag(A) + W_out diag(g_L) W_k[L-2] ... diag(g_1) W_in with the gates g_k = [argument of layer k > 0]."""
        drive = z @ params["W_in"].T + params["b_in"]
        through = gate(drive, xp)[..., None] * params["W_in"]  # dy_k/dz: (..., H, M)
        for w, b in zip(params["W_k"], params["b_k"], strict=True):
            drive = relu(drive, xp) @ w.T + b
            through = gate(drive, xp)[..., None] * (w @ through)
        return xp.diag(params["A"]) + params["W_out"] @ through

    @staticmethod
    def problem(size: Size) -> str | None:
        if size.layers < 1:
            return "A deep PLRNN needs at least one hidden layer."
        return None if size.hidden >= 1 else "A deep PLRNN needs at least one hidden unit per layer."

    @staticmethod
    def identity(params: Params) -> dict[str, float] | None:
        """The thresholds b_in, b_k are free, as W_out = 0 silences the network."""
        return {"A": 1.0, "h1": 0.0, "W_out": 0.0, "W_in": 0.0, "W_k": 0.0}

    @staticmethod
    def jacobian_bound(params: Params) -> float | None:
        """max|A| + ||W_out||_F prod_k ||W_k||_F ||W_in||_F, as gates lie in [0, 1]."""
        product = frobenius(params["W_out"]) * frobenius(params["W_in"])
        for w in params["W_k"]:
            product *= frobenius(w)
        return largest(params["A"]) + product


def _draw(rng: np.random.Generator, size: Size) -> dict[str, np.ndarray]:
    """A: diagonal of a random positive definite matrix (Talathi & Vartak 2016); weights and thresholds: uniform in 1 / sqrt(fan-in)."""
    m, h, more = size.latent, size.hidden, size.layers - 1
    return {
        "A": np.diagonal(positive_definite(rng, m)).copy(),
        "h1": np.zeros(m),
        "W_out": uniform(rng, (m, h), h),
        "W_in": uniform(rng, (h, m), m),
        "b_in": uniform(rng, (h,), m),
        "W_k": uniform(rng, (more, h, h), h),
        "b_k": uniform(rng, (more, h), h),
    }

"""The dendritic piecewise-linear RNN and its clipped variant: every unit is a sum of B shifted rectifiers.

    dendPLRNN:          z_t = A z_{t-1} + W sum_b alpha_b relu(z_{t-1} - H_b) + h
    clipped dendPLRNN:  z_t = A z_{t-1} + W sum_b alpha_b [relu(z_{t-1} - H_b) - relu(z_{t-1})] + h

with A diagonal (M), W (M, M), h (M), slopes alpha (B) and thresholds H (M, B) with columns H_b. The clipped variant is
bounded for |A| < 1, since the bracket of unit m and basis b lies between 0 and -H_mb.

Source: Brenner, Hess, Mikhaeil, Bereska, Monfared, Kuo, Durstewitz, "Tractable dendritic RNNs for reconstructing nonlinear
dynamical systems", ICML 2022.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from models.algebra import THRESHOLD_RANGE, frobenius, gate, largest, linear_part, relu, tame, uniform
from models.base import Architecture, Params, Size


class DendPLRNN(Architecture):
    """z_t = A z_{t-1} + W sum_b alpha_b relu(z_{t-1} - H_b) + h."""

    name: ClassVar[str] = "dend-plrnn"
    citation: ClassVar[str] = (
        "Brenner et al. 2022, Tractable dendritic RNNs for reconstructing nonlinear dynamical systems, ICML"
    )
    hidden_role: ClassVar[str | None] = "dendritic bases"
    contracted: ClassVar[frozenset[str]] = frozenset({"alpha"})

    @staticmethod
    def shapes(size: Size) -> dict[str, tuple[int, ...]]:
        m, b = size.latent, size.hidden
        return {"A": (m,), "W": (m, m), "h": (m,), "alpha": (b,), "H": (m, b)}

    @staticmethod
    def size(params: Params) -> Size:
        m, b = params["H"].shape
        return Size(int(m), int(b))

    @staticmethod
    def init(rng: np.random.Generator, size: Size) -> dict[str, np.ndarray]:
        """As published, drawn again where it explodes."""
        return tame(lambda: _published(rng, size), DendPLRNN.step)

    @staticmethod
    def step(params: Params, z: Any, xp: Any = np) -> Any:
        dendrites = relu(z[..., None] - params["H"], xp) @ params["alpha"]
        return params["A"] * z + dendrites @ params["W"].T + params["h"]

    @staticmethod
    def jacobian(params: Params, z: Any, xp: Any = np) -> Any:
        """diag(A) + W diag(sum_b alpha_b [z > H_b])."""
        slopes = gate(z[..., None] - params["H"], xp) @ params["alpha"]
        return xp.diag(params["A"]) + params["W"] * slopes[..., None, :]

    @staticmethod
    def problem(size: Size) -> str | None:
        return None if size.hidden >= 1 else "A dendritic PLRNN needs at least one basis."

    @staticmethod
    def identity(params: Params) -> dict[str, float] | None:
        """Slopes alpha and thresholds H are free, as W = 0 silences the dendrites."""
        return {"A": 1.0, "W": 0.0, "h": 0.0}

    @staticmethod
    def jacobian_bound(params: Params) -> float | None:
        """max|A| + ||W||_F sum|alpha|: gates (clipped: differences of two gates) lie in [-1, 1], so every slope in +-sum|alpha|."""
        return largest(params["A"]) + frobenius(params["W"]) * float(abs(params["alpha"]).sum())


class ClippedDendPLRNN(DendPLRNN):
    """z_t = A z_{t-1} + W sum_b alpha_b [relu(z_{t-1} - H_b) - relu(z_{t-1})] + h."""

    name: ClassVar[str] = "clipped-dend-plrnn"
    citation: ClassVar[str] = (
        "Brenner et al. 2022, Tractable dendritic RNNs for reconstructing nonlinear dynamical systems, ICML"
    )

    @staticmethod
    def init(rng: np.random.Generator, size: Size) -> dict[str, np.ndarray]:
        return _published(rng, size)

    @staticmethod
    def step(params: Params, z: Any, xp: Any = np) -> Any:
        unit = z[..., None]
        dendrites = (relu(unit - params["H"], xp) - relu(unit, xp)) @ params["alpha"]
        return params["A"] * z + dendrites @ params["W"].T + params["h"]

    @staticmethod
    def jacobian(params: Params, z: Any, xp: Any = np) -> Any:
        """diag(A) + W diag(sum_b alpha_b ([z > H_b] - [z > 0]))."""
        unit = z[..., None]
        slopes = (gate(unit - params["H"], xp) - gate(unit, xp)) @ params["alpha"]
        return xp.diag(params["A"]) + params["W"] * slopes[..., None, :]


def _published(rng: np.random.Generator, size: Size) -> dict[str, np.ndarray]:
    """A, W as the PLRNN; alpha: uniform in 1 / sqrt(B); H: uniform over the range of the data; h: zero."""
    m, b = size.latent, size.hidden
    a, w = linear_part(rng, m)
    thresholds = rng.uniform(-THRESHOLD_RANGE, THRESHOLD_RANGE, (m, b))
    return {"A": a, "W": w, "h": np.zeros(m), "alpha": uniform(rng, (b,), b), "H": thresholds}

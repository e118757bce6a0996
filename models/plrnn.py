"""The piecewise-linear RNN, its mean-centred variant and its clipped variant.

    PLRNN:                z_t = A z_{t-1} + W relu(z_{t-1}) + h
    mean-centred PLRNN:   z_t = A z_{t-1} + W relu(z_{t-1} - mean(z_{t-1})) + h, the mean over the M units
    clipped PLRNN:        z_t = A z_{t-1} + W [relu(z_{t-1} + h2) - relu(z_{t-1})] + h

with A diagonal (M), W (M, M), h (M), h2 (M). The clipped PLRNN is the clipped shallow PLRNN with W2 = 1; it is bounded for
|A| < 1, since each bracket lies between 0 and h2.

Sources: Durstewitz, "A state space approach for piecewise-linear recurrent neural networks for identifying computational
dynamics from neural measurements", PLoS Comput Biol 13, 2017; mean-centred: Brenner et al., "Tractable dendritic RNNs for
reconstructing nonlinear dynamical systems", ICML 2022; clipped: Hess et al., "Generalized teacher forcing for learning
chaotic dynamics", ICML 2023, eq. 4.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from models.algebra import THRESHOLD_RANGE, clipped, frobenius, gate, largest, linear_part, relu, tame
from models.base import Architecture, Params, Size


class PLRNN(Architecture):
    """z_t = A z_{t-1} + W relu(z_{t-1}) + h."""

    name: ClassVar[str] = "plrnn"
    citation: ClassVar[str] = "Durstewitz 2017, A state space approach for piecewise-linear RNNs, PLoS Comput Biol 13"

    @staticmethod
    def shapes(size: Size) -> dict[str, tuple[int, ...]]:
        m = size.latent
        return {"A": (m,), "W": (m, m), "h": (m,)}

    @staticmethod
    def size(params: Params) -> Size:
        return Size(int(params["A"].shape[0]))

    @staticmethod
    def init(rng: np.random.Generator, size: Size) -> dict[str, np.ndarray]:
        return _published(rng, size)

    @staticmethod
    def step(params: Params, z: Any, xp: Any = np) -> Any:
        return params["A"] * z + relu(z, xp) @ params["W"].T + params["h"]

    @staticmethod
    def jacobian(params: Params, z: Any, xp: Any = np) -> Any:
        """diag(A) + W diag[z > 0]."""
        return xp.diag(params["A"]) + params["W"] * gate(z, xp)[..., None, :]

    @staticmethod
    def identity(params: Params) -> dict[str, float] | None:
        return {"A": 1.0, "W": 0.0, "h": 0.0}

    @staticmethod
    def jacobian_bound(params: Params) -> float | None:
        """max|A| + ||W||_F: gates (clipped: differences of two gates) lie in [-1, 1], and centring is a projection, of norm 1."""
        return largest(params["A"]) + frobenius(params["W"])


class MeanCenteredPLRNN(PLRNN):
    """z_t = A z_{t-1} + W relu(z_{t-1} - mean(z_{t-1})) + h."""

    name: ClassVar[str] = "mean-centered-plrnn"
    citation: ClassVar[str] = (
        "Brenner et al. 2022, Tractable dendritic RNNs for reconstructing nonlinear dynamical systems, ICML"
    )

    @staticmethod
    def init(rng: np.random.Generator, size: Size) -> dict[str, np.ndarray]:
        """As the PLRNN, drawn again where it explodes."""
        return tame(lambda: _published(rng, size), MeanCenteredPLRNN.step)

    @staticmethod
    def step(params: Params, z: Any, xp: Any = np) -> Any:
        centred = z - z.mean(-1)[..., None]
        return params["A"] * z + relu(centred, xp) @ params["W"].T + params["h"]

    @staticmethod
    def jacobian(params: Params, z: Any, xp: Any = np) -> Any:
        """diag(A) + W diag[z > mean(z)] (1 - 1/M): multiplying by the projection subtracts the mean of each row."""
        through = params["W"] * gate(z - z.mean(-1)[..., None], xp)[..., None, :]
        return xp.diag(params["A"]) + through - through.mean(-1)[..., None]

    @staticmethod
    def problem(size: Size) -> str | None:
        return None if size.latent >= 2 else "A mean-centred PLRNN needs two units: a single one is its own mean."


class ClippedPLRNN(PLRNN):
    """z_t = A z_{t-1} + W [relu(z_{t-1} + h2) - relu(z_{t-1})] + h."""

    name: ClassVar[str] = "clipped-plrnn"
    citation: ClassVar[str] = (
        "Hess et al. 2023, Generalized teacher forcing for learning chaotic dynamics, ICML, eq. 4 with W2 = 1"
    )

    @staticmethod
    def shapes(size: Size) -> dict[str, tuple[int, ...]]:
        m = size.latent
        return {"A": (m,), "W": (m, m), "h": (m,), "h2": (m,)}

    @staticmethod
    def init(rng: np.random.Generator, size: Size) -> dict[str, np.ndarray]:
        """As the PLRNN; h2, which shifts states: uniform over the range of the data, so that states meet both kinks."""
        params = _published(rng, size)
        return params | {"h2": rng.uniform(-THRESHOLD_RANGE, THRESHOLD_RANGE, size.latent)}

    @staticmethod
    def step(params: Params, z: Any, xp: Any = np) -> Any:
        return params["A"] * z + clipped(z, params["h2"], xp) @ params["W"].T + params["h"]

    @staticmethod
    def jacobian(params: Params, z: Any, xp: Any = np) -> Any:
        """diag(A) + W diag([z + h2 > 0] - [z > 0])."""
        gates = gate(z + params["h2"], xp) - gate(z, xp)
        return xp.diag(params["A"]) + params["W"] * gates[..., None, :]


def _published(rng: np.random.Generator, size: Size) -> dict[str, np.ndarray]:
    """A, W: diagonal and off-diagonal of a random positive definite matrix (Talathi & Vartak 2016); h: zero."""
    a, w = linear_part(rng, size.latent)
    return {"A": a, "W": w, "h": np.zeros(size.latent)}

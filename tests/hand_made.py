"""Models written by hand whose behaviour is known in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np

from models import TrainedModel


def hand_made(architecture: str, params: dict[str, Any], **fields: Any) -> TrainedModel:
    """A model in unit units (mean 0, std 1, dt 1, no lags) unless `fields` say otherwise."""
    arrays = {k: np.asarray(v, float) for k, v in params.items()}
    n = len(fields["mean"] if "mean" in fields else arrays["A"])
    defaults: dict[str, Any] = {
        "observation": {},
        "channels": [f"x{i}" for i in range(n)],
        "mean": np.zeros(n),
        "std": np.ones(n),
        "lags": [0],
        "dt": 1.0,
        "time_unit": "step",
        "residual_std": np.zeros(n * len(fields.get("lags", [0]))),
    }
    return TrainedModel(architecture=architecture, params=arrays, **(defaults | fields))


def linear(diagonal: list[float], **fields: Any) -> TrainedModel:
    """z -> diag(a) z: exponents ln|a_i|, forecasts a_i^k z_i."""
    m = len(diagonal)
    params = {"A": diagonal, "W1": np.zeros((m, 1)), "W2": np.zeros((1, m)), "h1": np.zeros(m), "h2": np.zeros(1)}
    return hand_made("shplrnn", params, **fields)


def tent(slope: float, **fields: Any) -> TrainedModel:
    """z -> slope * min(z, 1 - z) on [0, 1]: exponent ln(slope), at every step exactly."""
    params = {"A": [slope], "W1": [[-2 * slope]], "W2": [[1.0]], "h1": [0.0], "h2": [-0.5]}
    return hand_made("shplrnn", params, **fields)


def clipped_tent(slope: float, **fields: Any) -> TrainedModel:
    """The same map as a clipped shallow PLRNN: relu(z - 1/2) - relu(z) = -min(z, 1/2) for z >= 0."""
    params = {"A": [-slope], "W1": [[-2 * slope]], "W2": [[1.0]], "h1": [0.0], "h2": [-0.5]}
    return hand_made("clipped-shplrnn", params, **fields)


def skew_tent(peak: float, **fields: Any) -> TrainedModel:
    """z -> z / c below c, (1 - z) / (1 - c) above: exponent -c ln c - (1 - c) ln(1 - c), invariant density 1."""
    left, right = 1 / peak, -1 / (1 - peak)
    params = {"A": [left], "W1": [[right - left]], "W2": [[1.0]], "h1": [0.0], "h2": [-peak]}
    return hand_made("shplrnn", params, **fields)


def tent_with_contraction(slope: float, rate: float, **fields: Any) -> TrainedModel:
    """x -> tent(x), y -> rate y + 0.3 x: a triangular Jacobian, so exponents ln(slope) and ln(rate) exactly."""
    params = {
        "A": [slope, rate],
        "W1": [[-2 * slope, 0.0], [0.0, 0.3]],
        "W2": [[1.0, 0.0], [1.0, 0.0]],
        "h1": [0.0, -0.3],
        "h2": [-0.5, 1.0],  # the second unit is relu(x + 1) = x + 1, always open
    }
    return hand_made("shplrnn", params, **fields)


def lozi(a: float = 1.7, b: float = 0.5, **fields: Any) -> TrainedModel:
    """x -> 1 - a|x| + y, y -> b x: the exponents sum to ln|b| exactly; (0.47023, -1.16338) at a 1.7, b 0.5 (Sprott 2003)."""
    params = {
        "A": [a, 0.0],
        "W1": [[-2 * a, 1.0, 0.0], [0.0, 0.0, b]],
        "W2": [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]],
        "h1": [1.0 - 10.0, -10.0 * b],
        "h2": [0.0, 10.0, 10.0],  # the last two units are always open: y + 10, x + 10
    }
    return hand_made("shplrnn", params, **fields)

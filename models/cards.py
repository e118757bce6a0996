"""The model card: what a model's file does not say by itself, as JSON, for people and for whoever takes the model elsewhere."""

from __future__ import annotations

import hashlib
from typing import Any

from models.trained import TrainedModel

LICENCE_NOTE = (
    "No licence is granted by this card. A model is derived from the data that it learned from: whoever may decide about the "
    "data decides about the model. The program that trained it does not claim any right in it."
)
_OBSERVED = {
    "identity": "x~_t = z_t[:N_e]",
    "affine": "x~_t = B z_t[:R] + b",
    "convolutional": "x~_t = B (h * z)_t + b",
}


def equations(model: TrainedModel) -> list[str]:
    """The map with its inputs, the observation, and how a series becomes what is observed."""
    written = (model.map.__doc__ or "").splitlines()[0].rstrip(".")
    found = [written if model.inputs is None else f"{written}, and + C s~_t with s~ = (s - mean) / std of the inputs"]
    found.append(_OBSERVED[model.observation_kind] + (" + J r~_t" if model.nuisance is not None else ""))
    if model.readouts is not None:
        return [*found, *_read_out(model)]
    lags = ", ".join(f"x_(t-{lag})" if lag else "x_t" for lag in model.lags)
    found.append(f"x~_t = ([{lags}] - mean) / std, channel by channel; dt = {model.dt:g} {model.time_unit}".rstrip())
    return found


_DISTRIBUTIONS = {
    "gaussian": "(x_t - mean) / std is x~_t",
    "poisson": "x_t is Poisson of the rate exp(o + s x~_t)",
    "ordinal": "P(x_t among the first j classes) = 1 / (1 + exp(o + s x~_t - c_j))",
    "categorical": "P(x_t = class j) in proportion to exp(o_j + s_j x~_j,t), 1 for the first class",
}


def _read_out(model: TrainedModel) -> list[str]:
    """Each channel with the number of its first coordinate of x~."""
    assert model.readouts is not None
    pairs = zip(model.channels, model.readouts.channels, strict=True)
    return [f"{name} (coordinate {c.first} of x~): {_DISTRIBUTIONS[c.kind]}" for name, c in pairs]


def card(document: dict[str, Any], model: TrainedModel, weights: bytes, data: dict[str, Any] | None) -> dict[str, Any]:
    """`document`: the model as the API has it, without what is long. `data`: what it learned from, by its hash."""
    return document | {
        "citation": model.map.citation,
        "equations": equations(model),
        "weights": {"file": "model.safetensors", "sha256": hashlib.sha256(weights).hexdigest(), "bytes": len(weights)},
        "data": data,
        "licence_note": LICENCE_NOTE,
    }

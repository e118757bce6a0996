"""The flat parameters theta = [map | C (M, K) | L0 (M - N, N), or B (N, R) and b (N) | J (N, P)] as named views, in numpy or torch."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from dynamics.kernels import maps
from dynamics.training.settings import Settings
from models import ARCHITECTURES


class Views(NamedTuple):
    """Parts of theta: what is written into them, or what gradients arrive at them, is theta's."""

    map: dict[str, Any]
    coupling: Any  # C (M, K); None without inputs
    observation: dict[str, Any]  # as in `TrainedModel`


def views(settings: Settings, theta: Any, n_observed: int) -> Views:
    """`theta` (P,) is a numpy array or a torch tensor."""
    architecture, size = ARCHITECTURES[settings.architecture], settings.size
    m, n, k, p = size.latent, n_observed, len(settings.input_channels), len(settings.nuisance_channels)
    shapes, params, start = architecture.shapes(size), {}, 0
    for name, transposed in maps.LAYOUTS[settings.architecture].order:
        shape = shapes[name][::-1] if transposed else shapes[name]
        part = theta[start : start + math.prod(shape)].reshape(shape)
        params[name] = part.T if transposed else part
        start += math.prod(shape)
    coupling = theta[start : start + m * k].reshape(m, k) if k else None
    rest = theta[start + m * k : len(theta) - n * p]
    contamination = {"J": theta[len(theta) - n * p :].reshape(n, p)} if p else {}
    if settings.observation == "affine":
        read = architecture.read_units(m)
        return Views(params, coupling, {"B": rest[: n * read].reshape(n, read), "b": rest[n * read :]} | contamination)
    return Views(params, coupling, ({"L0": rest.reshape(m - n, n)} if m > n else {}) | contamination)

"""The flat parameters theta = [map | C (M, K) | L0 (M - N, N), or B (N, R) and b (N) | J (N, P) | thresholds] as named views, in numpy or torch.

Of a family of maps, one for each of R recordings, theta goes on with the directions (p, P_map) in which the P_map parameters
of the map may differ, and the vectors l (R, p): the map of recording r has the parameters map + l_r directions.
"""

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
    observation: dict[
        str, Any
    ]  # as in `TrainedModel`, but for thresholds: [c_1, log (c_2 - c_1), ...] of each ordinal channel


def views(settings: Settings, theta: Any, n_observed: int) -> Views:
    """`theta` (P,) is a numpy array or a torch tensor; of a family the common part is looked at."""
    theta = theta[: n_shared(settings, n_observed)]
    architecture, size = ARCHITECTURES[settings.architecture], settings.size
    m, n, k, p = size.latent, n_observed, len(settings.input_channels), len(settings.nuisance_channels)
    shapes, params, start = architecture.shapes(size), {}, 0
    for name, transposed in maps.LAYOUTS[settings.architecture].order:
        shape = shapes[name][::-1] if transposed else shapes[name]
        part = theta[start : start + math.prod(shape)].reshape(shape)
        params[name] = part.T if transposed else part
        start += math.prod(shape)
    coupling = theta[start : start + m * k].reshape(m, k) if k else None
    end = len(theta) - sum(settings.thresholds)
    rest = theta[start + m * k : end - n * p]
    contamination = {"J": theta[end - n * p : end].reshape(n, p)} if p else {}
    contamination |= {"thresholds": theta[end:]} if settings.thresholds else {}
    if settings.observation == "affine":
        read = architecture.read_units(m)
        return Views(params, coupling, {"B": rest[: n * read].reshape(n, read), "b": rest[n * read :]} | contamination)
    return Views(params, coupling, ({"L0": rest.reshape(m - n, n)} if m > n else {}) | contamination)


def n_shared(settings: Settings, n_observed: int) -> int:
    """Length of theta, of a family without its directions and vectors."""
    architecture, size = ARCHITECTURES[settings.architecture], settings.size
    m, n = size.latent, n_observed
    observing = n * architecture.read_units(m) + n if settings.observation == "affine" else (m - n) * n
    observing += n * len(settings.nuisance_channels) + sum(settings.thresholds)
    return architecture.n_parameters(size) + m * len(settings.input_channels) + observing


class FamilyViews(NamedTuple):
    directions: Any  # (p, P_map)
    vectors: Any  # (R, p)


def family_views(settings: Settings, theta: Any, n_observed: int) -> FamilyViews:
    """The end of theta; (0, P_map) and (0, 0) where all recordings share one map."""
    dim, count = settings.recording_dim, len(settings.recordings) if settings.recording_dim else 0
    n_map = ARCHITECTURES[settings.architecture].n_parameters(settings.size)
    rest = theta[n_shared(settings, n_observed) :]
    return FamilyViews(rest[: dim * n_map].reshape(dim, n_map), rest[dim * n_map :].reshape(count, dim))

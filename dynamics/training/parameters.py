"""Initial parameters of map and observation, and the flat vector in which the engines keep them."""

from __future__ import annotations

import numpy as np

from dynamics.kernels import maps
from dynamics.kernels.block import Learner
from dynamics.kernels.lanes import aligned
from dynamics.training.settings import Settings
from models import ARCHITECTURES

Parameters = tuple[dict[str, np.ndarray], dict[str, np.ndarray]]  # of the map, of the observation


def initial(settings: Settings, series: np.ndarray, rng: np.random.Generator) -> Parameters:
    """Random map; an affine observation starts at the leading principal directions of the series (T, N)."""
    m, n = settings.latent_dim, series.shape[1]
    params = ARCHITECTURES[settings.architecture].init(rng, m, settings.hidden_dim)
    if settings.observation == "affine":
        return params, {"B": _principal_directions(series, m, rng), "b": series.mean(axis=0)}
    if m > n:
        return params, {"L0": rng.uniform(-1, 1, (m - n, n)) / np.sqrt(n)}
    return params, {}


def _principal_directions(series: np.ndarray, m: int, rng: np.random.Generator) -> np.ndarray:
    """(N, M): principal directions, scaled by one number so that the latent coordinates have variance about one."""
    variances, directions = np.linalg.eigh(np.cov(series.T).reshape(series.shape[1], -1))
    kept = min(m, series.shape[1])
    scale = np.sqrt(max(variances[::-1][:kept].mean(), 1e-12))
    surplus = rng.standard_normal((series.shape[1], m - kept)) / np.sqrt(series.shape[1])
    return np.concatenate([directions[:, ::-1][:, :kept], surplus], axis=1) * scale


def flatten(settings: Settings, parameters: Parameters) -> np.ndarray:
    params, observation = parameters
    flat = maps.pack(settings.architecture, params, settings.dtype)
    return np.concatenate([flat, *(np.asarray(v, settings.dtype).ravel() for v in observation.values())])


def restore(settings: Settings, theta: np.ndarray, n_observed: int) -> Parameters:
    """Inverse of `flatten`."""
    m, n = settings.latent_dim, n_observed
    params = maps.unpack(settings.architecture, theta, m, settings.hidden_dim)
    rest = theta[sum(a.size for a in params.values()) :]
    if settings.observation == "affine":
        return params, {"B": rest[: n * m].reshape(n, m).copy(), "b": rest[n * m :].copy()}
    return params, ({"L0": rest.reshape(m - n, n).copy()} if m > n else {})


def new_learner(settings: Settings, series: np.ndarray, seed: int) -> Learner:
    """A run before its first update: everything random about it comes from `seed`."""
    rng = np.random.default_rng(seed)
    flat = flatten(settings, initial(settings, series, rng))
    theta, momentum, variance = (aligned(flat.size, settings.dtype) for _ in range(3))
    theta[:] = flat
    random = rng.integers(0, 2**64, size=1, dtype=np.uint64)
    return Learner(theta, momentum, variance, random, np.array([settings.forcing.alpha]))

"""Initial parameters of map and observation, and the flat vector in which the engines keep them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dynamics.kernels import maps
from dynamics.kernels.block import Learner
from dynamics.kernels.lanes import aligned
from dynamics.training.data import TrainingData
from dynamics.training.layout import family_views, n_shared
from dynamics.training.settings import Settings
from models import ARCHITECTURES
from models.families import Family
from models.readouts import Channel, Readouts

# Units within (-1, 1) hold data of variance one as numbers of this size, where tanh is nearly linear. Chosen on Lorenz-63: with
# 0.5 two of two vanilla RNNs collapsed, none with this, and GRUs come closer.
OBSERVED_STD = 0.15
DIRECTION_SHARE, LEAST_SPREAD = 0.1, 0.1


class Parameters(NamedTuple):
    map: dict[str, np.ndarray]
    coupling: np.ndarray  # C (M, K) of K external inputs, which may be none
    observation: dict[str, np.ndarray]  # as in `TrainedModel`


def initial(
    settings: Settings,
    signal: np.ndarray,
    rng: np.random.Generator,
    contamination: np.ndarray | None = None,
    readouts: Readouts | None = None,
) -> Parameters:
    """Random map; an affine observation starts at the leading principal directions of the signal (T, N), J at `contamination`.

    Thresholds of ordinal channels start where they give each class its share over the training rows.
    """
    nuisance = {} if contamination is None or not contamination.size else {"J": contamination}
    if settings.thresholds and readouts is not None:
        nuisance["thresholds"] = np.concatenate([_first_thresholds(readouts, c) for c in readouts.ordinal])
    architecture, size = ARCHITECTURES[settings.architecture], settings.size
    m, n, k = size.latent, signal.shape[1], len(settings.input_channels)
    params = architecture.init(rng, size)
    coupling = rng.uniform(-1, 1, (m, k)) * np.sqrt(6 / (m + k))  # Glorot & Bengio 2010, eq. 16
    if settings.observation == "affine":
        read = architecture.read_units(m)
        bounded = OBSERVED_STD if architecture.squashed else 1.0
        directions = _principal_directions(signal, read, rng) / bounded
        return Parameters(params, coupling, {"B": directions, "b": signal.mean(axis=0)} | nuisance)
    if m > n:
        return Parameters(params, coupling, {"L0": rng.uniform(-1, 1, (m - n, n)) / np.sqrt(n)} | nuisance)
    return Parameters(params, coupling, nuisance)


def _first_thresholds(readouts: Readouts, channel: Channel) -> np.ndarray:
    """Logits of the cumulative shares, wider by what the predictor's own spread s adds to the logistic noise of std pi / sqrt 3."""
    below = np.cumsum(channel.marginal)[:-1]
    spread = readouts.scale[channel.first] * np.sqrt(3) / np.pi
    return np.asarray(np.log(below / (1 - below)) * np.sqrt(1 + spread**2) + readouts.offset[channel.first])


def _principal_directions(series: np.ndarray, m: int, rng: np.random.Generator) -> np.ndarray:
    """(N, M): principal directions, scaled by one number so that the latent coordinates have variance one on average.

    Surplus columns are random: B^+ then spreads the data over all of the units. Were these smaller than that, the thresholds
    of clipped and dendritic maps, which are drawn over the range of data of variance one, would lie beyond most states.
    """
    covariance = np.cov(series.T).reshape(series.shape[1], -1)
    variances, directions = np.linalg.eigh(covariance)
    kept = min(m, series.shape[1])
    scale = np.sqrt(max(variances[::-1][:kept].mean(), 1e-12))
    if m == kept:
        return directions[:, ::-1][:, :kept] * scale
    surplus = rng.standard_normal((series.shape[1], m - kept)) / np.sqrt(series.shape[1])
    found = np.concatenate([directions[:, ::-1][:, :kept], surplus], axis=1) * scale
    inverse = np.linalg.pinv(found)
    return found * np.sqrt(max(np.trace(inverse @ covariance @ inverse.T) / m, 1e-12))


def flatten(settings: Settings, parameters: Parameters) -> np.ndarray:
    flat = maps.pack(settings.architecture, parameters.map, settings.dtype)
    rest = (parameters.coupling, *(v for k, v in parameters.observation.items() if k != "thresholds"))
    cuts = np.split(parameters.observation.get("thresholds", np.empty(0)), np.cumsum(settings.thresholds)[:-1])
    free = [np.concatenate([c[:1], np.log(np.diff(c))]) for c in cuts]
    return np.concatenate([flat, *(np.asarray(v, settings.dtype).ravel() for v in (*rest, *free))])


def restore(settings: Settings, theta: np.ndarray, n_observed: int) -> Parameters:
    """Inverse of `flatten`; of a family the common parameters."""
    theta = theta[: n_shared(settings, n_observed)]
    m, n, k, p = settings.latent_dim, n_observed, len(settings.input_channels), len(settings.nuisance_channels)
    end = len(theta) - sum(settings.thresholds)
    params = maps.unpack(settings.architecture, theta, settings.size)
    first = sum(a.size for a in params.values())
    coupling, rest = theta[first : first + m * k].reshape(m, k).copy(), theta[first + m * k : end - n * p]
    nuisance = {"J": theta[end - n * p : end].reshape(n, p).copy()} if p else {}
    if settings.thresholds:
        free = np.split(theta[end:], np.cumsum(settings.thresholds)[:-1])
        nuisance["thresholds"] = np.concatenate([np.cumsum(np.concatenate([c[:1], np.exp(c[1:])])) for c in free])
    if settings.observation == "affine":
        read = ARCHITECTURES[settings.architecture].read_units(m)
        observation = {"B": rest[: n * read].reshape(n, read).copy(), "b": rest[n * read :].copy()} | nuisance
        return Parameters(params, coupling, observation)
    return Parameters(params, coupling, ({"L0": rest.reshape(m - n, n).copy()} if m > n else {}) | nuisance)


def new_learner(settings: Settings, data: TrainingData, seed: int) -> Learner:
    """A run before its first update: everything random about it comes from `seed`."""
    rng = np.random.default_rng(seed)
    first = initial(settings, data.signal, rng, data.contamination, data.readouts)
    flat = flatten(settings, first)
    if settings.recording_dim:
        flat = np.concatenate([flat, _first_family(settings, first, rng)])
    theta, momentum, variance = (aligned(flat.size, settings.dtype) for _ in range(3))
    theta[:] = flat
    random = rng.integers(0, 2**64, size=1, dtype=np.uint64)
    return Learner(theta, momentum, variance, random, np.array([settings.forcing.alpha]))


def _first_family(settings: Settings, first: Parameters, rng: np.random.Generator) -> np.ndarray:
    """Random directions, and vectors that are zero: training begins with one map for all recordings.

    Which recordings differ, and in what order, is then for the data to say; directions are as large beside a parameter as
    `DIRECTION_SHARE` says, so that vectors of size one are a moderate change.
    """
    parts = []
    for name, transposed in maps.LAYOUTS[settings.architecture].order:
        block = first.map[name].T if transposed else first.map[name]
        spread = DIRECTION_SHARE * max(float(np.sqrt(np.mean(block**2))), LEAST_SPREAD)
        parts.append(spread * rng.standard_normal((settings.recording_dim, block.size)))
    directions = np.concatenate(parts, axis=1)
    vectors = np.zeros(len(settings.recordings) * settings.recording_dim)
    return np.concatenate([directions.ravel(), vectors]).astype(settings.dtype)


def family_of(settings: Settings, theta: np.ndarray, n_observed: int) -> Family | None:
    """What the recordings' maps have of their own; None where they share one."""
    if not settings.recording_dim:
        return None
    views = family_views(settings, theta, n_observed)
    unpacked = [maps.unpack(settings.architecture, row, settings.size) for row in views.directions]
    directions = {name: np.stack([part[name] for part in unpacked]) for name in unpacked[0]}
    return Family(list(settings.recordings), views.vectors.copy(), directions)

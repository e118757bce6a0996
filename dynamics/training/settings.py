"""Every training parameter after `auto` was resolved, with the reasons: the one place where that is decided."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from domain.errors import ErrorItem, InvalidParameters, SeriesTooShort
from domain.limits import SHORTEST_SEQUENCE
from domain.results import LyapunovAnalysis
from domain.specs import TrainSpec
from dynamics.forcing import Forcing, resolve_forcing
from dynamics.training.smoothing import windows
from dynamics.training.split import Split
from models import ARCHITECTURES

MAX_IDENTITY_COORDINATES = 10  # more observed coordinates than this are read out from a smaller latent space
AFFINE_LATENT_DIM = 16
UPDATES, SEEDS, LONGEST_SEQUENCE = 12_000, 10, 200
NOMINAL_SPEED = 1e11  # floating-point operations per second of two ordinary cores; a figure, not a measurement,
# so that the same request trains the same model on an idle and on a busy machine


@dataclass(frozen=True)
class Settings:
    architecture: str
    latent_dim: int
    hidden_dim: int
    observation: str
    forcing: Forcing
    lags: list[int]
    smoothing: list[int]  # rows of the local fits that replace each channel in training; 0: the data themselves
    sequence_length: int
    batch_size: int
    updates: int
    schedule: str
    peak_rate: float
    final_rate: float
    l2: float
    noise: float
    seeds: int
    budget_seconds: float
    precision: str
    standardize: bool
    seed: int
    why: dict[str, str] = field(default_factory=dict)

    @property
    def dtype(self) -> type:
        return np.float32 if self.precision == "float32" else np.float64

    def document(self) -> dict[str, Any]:
        return asdict(self)


def resolve(spec: TrainSpec, parts: Split, n_channels: int, dt: float, analysis: LyapunovAnalysis | None) -> Settings:
    """Settings for these data. Raises SeriesTooShort when the split leaves less than one training sequence."""
    why: dict[str, str] = {}
    lags = _lags(spec, n_channels, analysis, why)
    n_observed = n_channels * len(lags)
    observation = _observation(spec, n_observed, why)
    latent_dim = _latent_dim(spec, n_observed, observation, why)
    hidden_dim = _hidden_dim(spec, latent_dim, why)
    length = _sequence_length(spec, parts, lags, latent_dim * hidden_dim, why)
    forcing, reasons = resolve_forcing(spec.forcing, analysis, dt, length)
    work = 14.0 * latent_dim * hidden_dim * length * spec.batch_size  # operations of one update
    updates, seeds = _amount(spec, work, why)
    return Settings(
        architecture=_architecture(spec, why),
        latent_dim=latent_dim,
        hidden_dim=hidden_dim,
        observation=observation,
        forcing=forcing,
        lags=lags,
        smoothing=windows(spec, parts.train, n_channels, why),
        sequence_length=length,
        batch_size=spec.batch_size,
        updates=updates,
        schedule=spec.learning_rate.schedule,
        peak_rate=_peak_rate(spec, updates, hidden_dim, why),
        final_rate=spec.learning_rate.final,
        l2=spec.regularization.l2,
        noise=spec.regularization.noise,
        seeds=seeds,
        budget_seconds=spec.budget_seconds,
        precision=spec.precision,
        standardize=spec.standardize,
        seed=spec.seed,
        why=why | reasons,
    )


def _architecture(spec: TrainSpec, why: dict[str, str]) -> str:
    if spec.architecture != "auto":
        return spec.architecture
    why["architecture"] = "bounded for |A| < 1, so free runs cannot run away; the published default"
    assert "clipped-shplrnn" in ARCHITECTURES
    return "clipped-shplrnn"


def _lags(spec: TrainSpec, n_channels: int, analysis: LyapunovAnalysis | None, why: dict[str, str]) -> list[int]:
    if spec.embedding_lags != "auto":
        return list(spec.embedding_lags)
    if n_channels == 1 and analysis is not None and analysis.embedding.lags[0] == 0:
        why["embedding_lags"] = "a scalar series; the delay embedding of its Lyapunov analysis"
        return list(analysis.embedding.lags)
    why["embedding_lags"] = "the channels are taken as the state" if n_channels > 1 else "no analysis gave an embedding"
    return [0]


def _observation(spec: TrainSpec, n_observed: int, why: dict[str, str]) -> str:
    if spec.observation.kind != "auto":
        return spec.observation.kind
    if n_observed > MAX_IDENTITY_COORDINATES:
        why["observation"] = f"{n_observed} observed coordinates are read out from a smaller latent space"
        return "affine"
    why["observation"] = f"{n_observed} observed coordinates are latent units themselves"
    return "identity"


def _latent_dim(spec: TrainSpec, n_observed: int, observation: str, why: dict[str, str]) -> int:
    if spec.latent_dim != "auto":
        if observation == "identity" and spec.latent_dim < n_observed:
            raise InvalidParameters(
                f"latent_dim {spec.latent_dim} is less than the {n_observed} observed coordinates, which an identity "
                'observation takes as latent units; raise it or use observation {"kind": "affine"}.',
                [ErrorItem(pointer="/params/latent_dim")],
            )
        return spec.latent_dim
    if observation == "identity":
        why["latent_dim"] = "one latent unit per observed coordinate"
        return n_observed
    why["latent_dim"] = f"at most {AFFINE_LATENT_DIM} units suffice for {n_observed} correlated coordinates"
    return min(AFFINE_LATENT_DIM, n_observed)


def _hidden_dim(spec: TrainSpec, latent_dim: int, why: dict[str, str]) -> int:
    if spec.hidden_dim != "auto":
        return spec.hidden_dim
    hidden = {1: 50, 2: 50, 3: 100, 4: 150}.get(latent_dim, 250 if latent_dim <= 10 else 512)
    why["hidden_dim"] = f"usual for {latent_dim} latent units"
    return hidden


def _sequence_length(spec: TrainSpec, parts: Split, lags: list[int], size: int, why: dict[str, str]) -> int:
    """Steps of a training sequence; it has to fit into the longest stretch of training rows."""
    rows = max((len(values) for _, values in parts.train), default=0) - lags[-1]
    wanted = SHORTEST_SEQUENCE if spec.sequence_length == "auto" else spec.sequence_length
    if rows < wanted + 1:
        lagged = f" and a largest lag of {lags[-1]} rows" if lags[-1] else ""
        raise SeriesTooShort(
            f"The longest stretch of training rows has {max(rows + lags[-1], 0)} rows; a sequence of {wanted} steps"
            f"{lagged} needs {wanted + 1 + lags[-1]}. Send a longer series, or lower sequence_length, test_fraction or "
            "validation_fraction.",
            [ErrorItem(pointer="/params/sequence_length")],
        )
    if spec.sequence_length != "auto":
        return spec.sequence_length
    longest = LONGEST_SEQUENCE if size < 4096 else LONGEST_SEQUENCE // 4
    length = max(SHORTEST_SEQUENCE, min(longest, rows // 4))
    why["sequence_length"] = (
        f"usual for {size} weights a layer" if length == longest else f"a quarter of the {rows} rows for training"
    )
    return length


def _amount(spec: TrainSpec, work: float, why: dict[str, str]) -> tuple[int, int]:
    """Updates and seeds: decided by the problem's size, so that the clock decides nothing about the model."""
    affordable = 0.5 * spec.budget_seconds * NOMINAL_SPEED / work
    seeds = SEEDS if spec.seeds == "auto" else spec.seeds
    updates = UPDATES if spec.updates == "auto" else spec.updates
    if spec.updates == "auto" and affordable < updates * (2 if spec.seeds == "auto" else seeds):
        updates = max(500, int(affordable / (2 if spec.seeds == "auto" else seeds)) // 100 * 100)
        why["updates"] = f"as many as the budget of {spec.budget_seconds:g} s affords at a nominal speed"
    elif spec.updates == "auto":
        why["updates"] = "enough for a one-cycle schedule to come near the floor"
    if spec.seeds == "auto":
        seeds = max(2, min(SEEDS, int(affordable / updates)))
        why["seeds"] = "single runs collapse in up to a third of the cases; the best on validation data is kept"
    return updates, seeds


def _peak_rate(spec: TrainSpec, updates: int, hidden_dim: int, why: dict[str, str]) -> float:
    peak = spec.learning_rate.peak
    if peak != "auto":
        return peak
    if spec.learning_rate.schedule != "one-cycle":
        why["learning_rate"] = "the published rate"
        return 1e-3
    rate = 2e-2 if updates <= 20_000 else 1e-2 if updates <= 60_000 else 5e-3
    why["learning_rate"] = f"the highest that holds for {updates} updates and {hidden_dim} hidden units"
    return rate * min(1.0, 100 / hidden_dim)

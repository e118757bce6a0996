"""A trained model: the learned map with all that is needed to run it on series in their own units, without torch."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from models.base import ARCHITECTURES, Architecture

FORMAT = "attractor-model/1"


@dataclass(frozen=True)
class TrainedModel:
    """z_t = F(z_{t-1}), x~_t = observe(z_t), where x~ is the standardised, delay-embedded series.

    With N channels and L lags the embedded observation has N_e = N L coordinates, the channels at lag 0 first:
    x~_t = [(x_t - mean) / std, (x_{t - lags[1]} - mean) / std, ...].
    Observation models: identity, x~ = z[:N_e]; affine, x~ = B z + b with z = B^+ (x~ - b).
    For the identity with M > N_e the other units start at L0 x~ (learned).
    """

    architecture: str
    params: dict[str, np.ndarray]
    observation: dict[
        str, np.ndarray
    ]  # {} for identity with M = N_e, {"L0": (M - N_e, N_e)} for M > N_e, {"B": (N_e, M), "b": (N_e,)} for affine
    channels: list[str]
    mean: np.ndarray  # (N,)
    std: np.ndarray  # (N,)
    lags: list[int]
    dt: float
    time_unit: str
    residual_std: np.ndarray  # (N_e,) std of the one-step error on validation data, standardised units
    card: dict[str, Any] = field(default_factory=dict)  # free JSON: settings, provenance; plain values only
    minimum: np.ndarray | None = None  # (N,) of the training data, own units; None: unknown
    maximum: np.ndarray | None = None
    noise_std: np.ndarray | None = None  # (N_e,) std of the measurement noise, standardised units; None: unknown

    @property
    def map(self) -> type[Architecture]:
        return ARCHITECTURES[self.architecture]

    @property
    def latent_dim(self) -> int:
        return int(self.params["A"].shape[0])

    @property
    def hidden_dim(self) -> int:
        return int(self.params["h2"].shape[0])

    @property
    def n_observed(self) -> int:
        """N_e, coordinates of the embedded observation."""
        return len(self.channels) * len(self.lags)

    @property
    def n_parameters(self) -> int:
        return int(sum(a.size for a in (*self.params.values(), *self.observation.values())))

    @property
    def measurement_std(self) -> np.ndarray:
        """Measurement noise (N_e,), standardised; where unknown, half of the variance of the one-step error."""
        return self.residual_std / np.sqrt(2) if self.noise_std is None else self.noise_std

    @property
    def step_std(self) -> np.ndarray:
        """Error of the map itself at every step (N_e,), standardised: what the measurement noise leaves of the one-step error."""
        if self.noise_std is None:
            return np.zeros_like(self.residual_std)
        return np.sqrt(np.clip(self.residual_std**2 - 2 * self.noise_std**2, 0, None))

    @property
    def observation_kind(self) -> str:
        return "affine" if "B" in self.observation else "identity"

    @property
    def context_steps(self) -> int:
        """Rows of the series that one state needs: the largest lag and the present row."""
        return self.lags[-1] + 1

    def embed(self, series: np.ndarray) -> np.ndarray:
        """Standardise and delay-embed a series without gaps: (T, N) -> (T - lags[-1], N_e)."""
        return embed((np.asarray(series, float) - self.mean) / self.std, self.lags)

    def encode(self, embedded: np.ndarray) -> np.ndarray:
        """Latent state of embedded observations: (..., N_e) -> (..., M)."""
        if "B" in self.observation:
            return (embedded - self.observation["b"]) @ np.linalg.pinv(self.observation["B"]).T
        if "L0" in self.observation:
            return np.concatenate([embedded, embedded @ self.observation["L0"].T], axis=-1)
        return embedded

    def observe(self, z: np.ndarray) -> np.ndarray:
        """Embedded, standardised observation of latent states: (..., M) -> (..., N_e)."""
        if "B" in self.observation:
            return z @ self.observation["B"].T + self.observation["b"]
        return z[..., : self.n_observed]

    def to_units(self, embedded: np.ndarray) -> np.ndarray:
        """The channels at lag 0 in the series' own units: (..., N_e) -> (..., N)."""
        return embedded[..., : len(self.channels)] * self.std + self.mean

    def step(self, z: np.ndarray) -> np.ndarray:
        return self.map.step(self.params, z)

    def jacobian(self, z: np.ndarray) -> np.ndarray:
        return self.map.jacobian(self.params, z)

    def free_run(self, z0: np.ndarray, n_steps: int) -> np.ndarray:
        """States after 1..n_steps steps from z0: (..., M) -> (n_steps, ..., M). Diverged states are inf or NaN, never an error."""
        states = np.empty((n_steps, *z0.shape), dtype=z0.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            z = z0
            for t in range(n_steps):
                z = self.step(z)
                states[t] = z
        return states

    def as_float64(self) -> TrainedModel:
        return replace(
            self,
            params={k: v.astype(np.float64) for k, v in self.params.items()},
            observation={k: v.astype(np.float64) for k, v in self.observation.items()},
        )

    def to_safetensors(self) -> bytes:
        """The whole model as one safetensors file; the same model gives the same bytes."""
        tensors = {f"map.{k}": np.ascontiguousarray(v) for k, v in self.params.items()}
        tensors |= {f"observation.{k}": np.ascontiguousarray(v) for k, v in self.observation.items()}
        tensors |= {"series.mean": self.mean, "series.std": self.std, "series.residual_std": self.residual_std}
        tensors |= {
            f"series.{name}": value
            for name, value in (("minimum", self.minimum), ("maximum", self.maximum), ("noise_std", self.noise_std))
            if value is not None
        }
        header = {
            "format": FORMAT,
            "architecture": self.architecture,
            "channels": self.channels,
            "lags": self.lags,
            "dt": self.dt,
            "time_unit": self.time_unit,
            "card": self.card,
        }
        return save_tensors(tensors, metadata={"attractor": json.dumps(header, sort_keys=True, allow_nan=False)})

    @classmethod
    def from_safetensors(cls, data: bytes) -> TrainedModel:
        """Inverse of `to_safetensors`. Raises ValueError for a file that is not one of ours."""
        size = int.from_bytes(data[:8], "little")
        header = json.loads(json.loads(data[8 : 8 + size]).get("__metadata__", {}).get("attractor", "{}"))
        if header.get("format") != FORMAT:
            raise ValueError(f"not a model file of format {FORMAT}")
        tensors = load_tensors(data)

        def part(prefix: str) -> dict[str, np.ndarray]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        series = part("series.")
        return cls(
            architecture=header["architecture"],
            params=part("map."),
            observation=part("observation."),
            channels=header["channels"],
            mean=series["mean"],
            std=series["std"],
            lags=header["lags"],
            dt=header["dt"],
            time_unit=header["time_unit"],
            residual_std=series["residual_std"],
            card=header["card"],
            minimum=series.get("minimum"),
            maximum=series.get("maximum"),
            noise_std=series.get("noise_std"),
        )


def embed(series: np.ndarray, lags: list[int]) -> np.ndarray:
    """Delay vectors [x_t, x_{t - lags[1]}, ...] for every t >= lags[-1]: (T, N) -> (T - lags[-1], N len(lags))."""
    start = lags[-1]
    return np.concatenate([series[start - lag : len(series) - lag] for lag in lags], axis=1)

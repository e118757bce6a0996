"""A trained model: the learned map with all that is needed to run it on series in their own units, without torch."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from domain.errors import ErrorItem, InvalidParameters
from models.base import ARCHITECTURES, Architecture, Size
from models.families import Family
from models.filters import Filter, convolve
from models.readouts import Channel, Readouts

FORMAT = "attractor-model/1"
DRIVEN_FORMAT = "attractor-model/2"  # has inputs: a reader of format 1 would run it as if it had none
FILTERED_FORMAT = "attractor-model/3"  # has a kernel or nuisance, which readers of the others would leave out
FAMILY_FORMAT = (
    "attractor-model/4"  # a map for each recording, of which readers of the others would run the common part
)
COUNTED_FORMAT = (
    "attractor-model/5"  # has channels of counts or classes, which readers of the others would take for numbers
)
FORMATS = (FORMAT, DRIVEN_FORMAT, FILTERED_FORMAT, FAMILY_FORMAT, COUNTED_FORMAT)


@dataclass(frozen=True)
class Nuisance:
    """What contaminates the observations: J r~_t is added to them, r~_t = (r_t - mean) / std; J is among the observation's."""

    channels: list[str]
    mean: np.ndarray  # (P,)
    std: np.ndarray  # (P,)

    def standardise(self, values: np.ndarray) -> np.ndarray:
        """In own units (T, P) -> standardised (T, P), float64."""
        values = np.asarray(values, float)
        if values.ndim != 2 or values.shape[1] != len(self.channels):
            raise ValueError(f"{self._what} of shape (T, {len(self.channels)}) are needed, not {values.shape}")
        return (values - self.mean) / self.std

    @property
    def _what(self) -> str:
        return "nuisance values"


@dataclass(frozen=True)
class Inputs(Nuisance):
    """External inputs of a model: z_t = F(z_{t-1}) + C s~_t with s~_t = (s_t - mean) / std, s_t being the inputs in row t."""

    C: np.ndarray  # (M, K)
    minimum: np.ndarray | None = None  # (K,) of the training data, own units; None: unknown
    maximum: np.ndarray | None = None

    @property
    def _what(self) -> str:
        return "inputs"


@dataclass(frozen=True)
class Drive:
    """The inputs of a batch of runs: step k (k = 0 is the first) of run b uses values[(rows[b] + k) % L].

    A run that starts at the observation of row t is driven from row t + 1 on. Whoever makes a drive sees to it that runs
    do not wrap unless that is meant.
    """

    values: np.ndarray  # (L, K) standardised
    rows: np.ndarray  # (B,) int

    def at(self, step: int) -> np.ndarray:
        """Inputs of every run at one step, (B, K)."""
        return self.values[(self.rows + step) % len(self.values)]


@dataclass(frozen=True)
class TrainedModel:
    """z_t = F(z_{t-1}) + C s_t, x~_t = observe(z_t), where x~ is the standardised, delay-embedded series, s_t its inputs.

    With N channels and L lags the embedded observation has N_e = N L coordinates, the channels at lag 0 first:
    x~_t = [(x_t - mean) / std, (x_{t - lags[1]} - mean) / std, ...]. Inputs are not embedded.
    Observation models: identity, x~ = z[:N_e]; affine, x~ = B z[:R] + b with z[:R] = B^+ (x~ - b), where the map says how
    many units R are read (`Architecture.read_units`: all but the memory cells of the LSTM). The other units start at
    zero; for the identity with M > N_e they start at L0 x~ (learned). With nuisance J r~_t is added to what is observed.
    Convolutional: x~_t = B (h * z)_t + b; `encode` then takes a deconvolved row, and `observe` a convolved state.
    With read-outs, of channels of counts or classes, rows are theirs (`models.readouts`), N_e their number of coordinates: `observe` gives the linear
    predictors, standardised, and `encode` takes the signal that stands for the rows.
    """

    architecture: str
    params: dict[str, np.ndarray]
    observation: dict[
        str, np.ndarray
    ]  # {} for identity with M = N_e, {"L0": (M - N_e, N_e)} for M > N_e, {"B": (N_e, R), "b": (N_e,)} for affine
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
    inputs: Inputs | None = None  # None: autonomous
    nuisance: Nuisance | None = None  # None: there is none
    filter: Filter | None = None  # None: states are seen as they are
    family: Family | None = None  # None: one map; else `params` are those of the mean vector, see `of`
    readouts: Readouts | None = None  # None: all channels are Gaussian

    def of(self, recording: str | int | np.ndarray) -> TrainedModel:
        """The model of one recording of the family, by name, number or vector; KeyError for a name that is not there.

        -1 stands for a recording without a vector: it has the common map.
        """
        if self.family is None or (isinstance(recording, int) and recording < 0):
            return replace(self, family=None)
        vector = self.family.vector(recording)
        return replace(self, params=self.family.shifted(self.params, vector), family=None)

    @property
    def map(self) -> type[Architecture]:
        return ARCHITECTURES[self.architecture]

    @property
    def size(self) -> Size:
        return self.map.size(self.params)

    @property
    def latent_dim(self) -> int:
        return self.size.latent

    @property
    def hidden_dim(self) -> int:
        """Hidden units; 0 for a map that has none."""
        return self.size.hidden

    @property
    def layers(self) -> int:
        return self.size.layers

    @property
    def dtype(self) -> np.dtype:
        """Precision of the parameters."""
        return np.dtype(np.result_type(*self.params.values()))

    @property
    def input_channels(self) -> list[str]:
        return [] if self.inputs is None else self.inputs.channels

    @property
    def nuisance_channels(self) -> list[str]:
        return [] if self.nuisance is None else self.nuisance.channels

    @property
    def vectors(self) -> dict[str, list[float]]:
        """Of each recording with a map of its own."""
        return {} if self.family is None else dict(zip(self.family.names, self.family.vectors.tolist(), strict=True))

    @property
    def counted_channels(self) -> list[str]:
        """Those of counts or classes."""
        return [] if self.readouts is None else [self.channels[i] for i, _ in self.readouts.others]

    @property
    def n_observed(self) -> int:
        """N_e, coordinates of the embedded observation."""
        if self.readouts is not None:
            return self.readouts.n_coordinates
        return len(self.channels) * len(self.lags)

    @property
    def n_parameters(self) -> int:
        coupling = 0 if self.inputs is None else self.inputs.C.size
        own = 0 if self.family is None else self.family.vectors.size + self.family.dim * self._map_size
        return int(self._map_size + sum(a.size for a in self.observation.values()) + coupling + own)

    @property
    def _map_size(self) -> int:
        return int(sum(a.size for a in self.params.values()))

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
        if self.filter is not None:
            return "convolutional"
        return "affine" if "B" in self.observation else "identity"

    @property
    def context_steps(self) -> int:
        """Rows of the series that a run is started from: the largest lag and the present row, two kernels, or what a signal is made of."""
        if self.readouts is not None:
            return self.readouts.context_steps
        return self.lags[-1] + 1 if self.filter is None else self.filter.context_steps

    def observation_document(self) -> dict[str, Any]:
        """What a reader of the model's document is told of its observation."""
        if self.readouts is not None:
            return {
                "kind": self.observation_kind,
                "channel_distributions": {self.channels[i]: c.document() for i, c in self.readouts.others},
                "context_steps": self.context_steps,
            }
        if self.filter is None:
            return {"kind": self.observation_kind}
        left, right = self.filter.cut
        return {
            "kind": self.observation_kind,
            "kernel_steps": self.filter.steps,
            "cut_steps": [left, right],
            "noise_std": [float(f"{std:.6g}") for std in self.filter.noise_std],
            "context_steps": self.context_steps,
        }

    @property
    def reading_std(self) -> np.ndarray:
        """Noise with which observations are read (N_e,), standardised: what the deconvolution reckoned with, or the measurement's.

        Counts and classes have none: they are drawn.
        """
        if self.readouts is not None:
            read = np.zeros_like(self.measurement_std)
            read[self.readouts.gaussian] = self.measurement_std[self.readouts.gaussian]
            return read
        return self.measurement_std if self.filter is None else self.filter.noise_std

    @property
    def context_rows(self) -> int:
        """Embedded rows that `launch` takes."""
        if self.readouts is not None:
            return self.readouts.context_steps
        return 1 if self.filter is None else self.filter.context_steps

    @property
    def shown_steps(self) -> int:
        """States that one observation depends on: the kernel's length, or 1."""
        return 1 if self.filter is None else self.filter.steps

    @property
    def lead(self) -> int:
        """Steps from the last state that a context tells of to its last row: what a kernel does not show yet."""
        return 0 if self.filter is None else self.filter.cut[1]

    def embed(self, series: np.ndarray) -> np.ndarray:
        """Standardise and delay-embed a series without gaps: (T, N) -> (T - lags[-1], N_e).

        Raises InvalidParameters where a channel of counts or classes holds something else.
        """
        if self.readouts is not None:
            return self._rows(np.asarray(series, float))
        return embed((np.asarray(series, float) - self.mean) / self.std, self.lags)

    def clean(self, embedded: np.ndarray, nuisance: np.ndarray | None) -> np.ndarray:
        """Embedded rows less their nuisance, J r~: (T, N_e), standardised nuisance (T, P) -> (T, N_e)."""
        if self.nuisance is None:
            return embedded
        if nuisance is None:
            raise ValueError(f"the observations hold {', '.join(self.nuisance.channels)}: their values are needed")
        return embedded - nuisance @ self.observation["J"].T

    def _rows(self, series: np.ndarray) -> np.ndarray:
        assert self.readouts is not None
        if (wrong := self.uncounted(series)) is not None:
            row, _, detail = wrong
            detail = detail.format(at=f"row {row}")
            raise InvalidParameters(detail, [ErrorItem(rows=[row], detail=detail)])
        return self.readouts.rows((series - self.mean) / self.std)

    def uncounted(self, series: np.ndarray) -> tuple[int, int, str] | None:
        """The first value of channels of counts or classes that is none: row, column, and what is wrong, with {at} for the row; None."""
        assert self.readouts is not None
        wrong = self.readouts.wrong(series)
        if wrong is None:
            return None
        row, column = wrong
        channel, name = self.readouts.channels[column], self.channels[column].replace("{", "{{").replace("}", "}}")
        needed = "integers from 0" if channel.kind == "poisson" else ", ".join(f"{v:g}" for v in channel.levels)
        return (
            row,
            column,
            f"The value {series[row, column]:g} of {name} in {{at}} is none that the model knows: {channel.kind}, {needed}.",
        )

    def signals(self, embedded: np.ndarray) -> np.ndarray:
        """What states are read from and forced to, of a series without gaps or a kernel: (T, N_e) -> (T, N_e)."""
        return embedded if self.readouts is None else self.readouts.signals(embedded)

    def recorded(self, observed: np.ndarray, seed: int) -> np.ndarray:
        """Observations (T, ..., N_e) as signals of what would be recorded: with counts and classes drawn, and smoothed as in data."""
        if self.readouts is None:
            return observed
        rows = self.readouts.draw(observed, self.thresholds, np.random.default_rng(seed))
        flat = rows.reshape(len(rows), -1, rows.shape[-1])
        found = np.stack([self.readouts.signals(flat[:, i]) for i in range(flat.shape[1])], axis=1).reshape(rows.shape)
        return np.where(np.isfinite(observed), found, np.nan)

    @property
    def gaussian(self) -> np.ndarray:
        """Coordinates of the observation that are compared by their distance, (G,): those of Gaussian channels."""
        return np.arange(self.n_observed) if self.readouts is None else self.readouts.gaussian

    @property
    def thresholds(self) -> np.ndarray | None:
        return self.observation.get("thresholds")

    def launch(self, contexts: np.ndarray) -> np.ndarray:
        """States that cleaned contexts (..., C, N_e) end with, the last of them `lead` steps before their last row: (L, ..., M).

        L is the kernel's length, or 1: what the observations of the following steps depend on.
        """
        if self.readouts is not None:
            return self.encode(self.readouts.last_signal(contexts))[None]
        if self.filter is None:
            return self.encode(contexts[..., -1, :])[None]
        rows = self.filter.histories(contexts)
        stop = rows.shape[-2] - self.lead
        return np.moveaxis(self.encode(rows[..., stop - self.filter.steps : stop, :]), -2, 0)

    def show(self, before: np.ndarray, states: np.ndarray) -> np.ndarray:
        """Observations of states (T, ..., M) that follow those of `launch` (L, ..., M), step by step: (T, ..., N_e)."""
        if self.filter is None:
            return self.observe(states)
        return self.observe(convolve(self.filter.kernel, np.concatenate([before[1:], states])))

    def encode(self, embedded: np.ndarray) -> np.ndarray:
        """Latent state of embedded observations: (..., N_e) -> (..., M)."""
        if "B" in self.observation:
            read = (embedded - self.observation["b"]) @ np.linalg.pinv(self.observation["B"]).T
            unread = self.latent_dim - read.shape[-1]
            return np.concatenate([read, np.zeros((*read.shape[:-1], unread), read.dtype)], axis=-1) if unread else read
        if "L0" in self.observation:
            return np.concatenate([embedded, embedded @ self.observation["L0"].T], axis=-1)
        return embedded

    def observe(self, z: np.ndarray) -> np.ndarray:
        """Embedded, standardised observation of latent states: (..., M) -> (..., N_e)."""
        if "B" in self.observation:
            return z[..., : self.observation["B"].shape[1]] @ self.observation["B"].T + self.observation["b"]
        return z[..., : self.n_observed]

    def to_units(self, embedded: np.ndarray) -> np.ndarray:
        """The channels at lag 0 in the series' own units: (..., N_e) -> (..., N); of counts and classes what is expected."""
        if self.readouts is not None:
            return self.readouts.means(embedded, self.thresholds) * self.std + self.mean
        return embedded[..., : len(self.channels)] * self.std + self.mean

    def values(self, embedded: np.ndarray) -> np.ndarray:
        """Inverse of `embed` at lag 0: rows (T, N_e) -> what was recorded, own units (T, N)."""
        if self.readouts is not None:
            return self.readouts.values(embedded) * self.std + self.mean
        return self.to_units(embedded)

    def step(self, z: np.ndarray, s: np.ndarray | None = None) -> np.ndarray:
        """F(z) + C s: states (..., M), standardised inputs (..., K) -> (..., M).

        Raises ValueError for a model with inputs that is given none, and the other way round.
        """
        following = self.map.step(self.params, z)
        if self.inputs is None:
            if s is not None:
                raise ValueError("the model has no inputs")
            return following
        if s is None:
            raise ValueError(f"the model is driven by {', '.join(self.inputs.channels)}: its step needs their values")
        return following + np.asarray(s, self.inputs.C.dtype) @ self.inputs.C.T

    def spread(self, n_states: int) -> TrainedModel:
        """The same map for n_states states (n, M) at a time, and faster for them: see `Architecture.spread`."""
        return replace(self, params=self.map.spread(self.params, n_states))

    def jacobian(self, z: np.ndarray) -> np.ndarray:
        """dF/dz (..., M, M); inputs, being added, do not enter."""
        return self.map.jacobian(self.params, z)

    def free_run(self, z0: np.ndarray, n_steps: int, drive: Drive | None = None) -> np.ndarray:
        """States after 1..n_steps steps from z0: (..., M) -> (n_steps, ..., M). Diverged states are inf or NaN, never an error.

        A model with inputs needs a drive, with one row per state: (B, M) and (B,).
        """
        self.check_drive(drive, z0.shape[:-1])
        states = np.empty((n_steps, *z0.shape), dtype=z0.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            z = z0
            for t in range(n_steps):
                z = self.step(z, None if drive is None else drive.at(t))
                states[t] = z
        return states

    def check_drive(self, drive: Drive | None, shape: tuple[int, ...]) -> None:
        """Raise ValueError unless `drive` is what runs of this shape need: None without inputs, else (L, K) values and one row each."""
        if (drive is None) != (self.inputs is None):
            channels = ", ".join(self.input_channels)
            raise ValueError(
                f"the model is driven by {channels}: a run needs a drive" if channels else "the model has no inputs"
            )
        if drive is None or self.inputs is None:
            return
        k = len(self.inputs.channels)
        if drive.values.ndim != 2 or drive.values.shape[1] != k or not len(drive.values):
            raise ValueError(f"the drive of the model has values of shape (L, {k}), not {drive.values.shape}")
        if np.shape(drive.rows) != shape:
            raise ValueError(f"a drive names one row per run: {shape}, not {np.shape(drive.rows)}")

    def as_float64(self) -> TrainedModel:
        return replace(
            self,
            params={k: v.astype(np.float64) for k, v in self.params.items()},
            observation={k: v.astype(np.float64) for k, v in self.observation.items()},
            inputs=None if self.inputs is None else replace(self.inputs, C=self.inputs.C.astype(np.float64)),
            family=None if self.family is None else self.family.as_float64(),
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
        header: dict[str, Any] = {
            "format": FORMAT,
            "architecture": self.architecture,
            "channels": self.channels,
            "lags": self.lags,
            "dt": self.dt,
            "time_unit": self.time_unit,
            "card": self.card,
        }
        if self.nuisance is not None or self.filter is not None:
            tensors |= self._contamination()
        if self.inputs is not None:
            header |= {"format": DRIVEN_FORMAT, "input_channels": self.inputs.channels}
            named = {k: getattr(self.inputs, k) for k in ("C", "mean", "std", "minimum", "maximum")}
            tensors |= {f"inputs.{k}": np.ascontiguousarray(v) for k, v in named.items() if v is not None}
        if self.nuisance is not None or self.filter is not None:
            header |= {"format": FILTERED_FORMAT, "nuisance_channels": self.nuisance_channels}
        if self.readouts is not None:
            header |= {"format": COUNTED_FORMAT, "readouts": self.readouts.header()}
            tensors |= {"readout.offset": self.readouts.offset, "readout.scale": self.readouts.scale}
        if self.family is not None:
            header |= {"format": FAMILY_FORMAT, "recordings": self.family.names}
            tensors |= {f"direction.{k}": np.ascontiguousarray(v) for k, v in self.family.directions.items()}
            tensors["family.vectors"] = np.ascontiguousarray(self.family.vectors)
        return save_tensors(tensors, metadata={"attractor": json.dumps(header, sort_keys=True, allow_nan=False)})

    def _contamination(self) -> dict[str, np.ndarray]:
        """Tensors of nuisance and filter."""
        found: dict[str, np.ndarray] = {}
        if self.nuisance is not None:
            found |= {"nuisance.mean": self.nuisance.mean, "nuisance.std": self.nuisance.std}
        if self.filter is not None:
            named = {k: getattr(self.filter, k) for k in ("kernel", "persistence", "signal_to_noise", "noise_std")}
            found |= {f"filter.{k}": np.ascontiguousarray(v, np.float64) for k, v in named.items()}
            found["filter.cut"] = np.array(self.filter.cut, np.int64)
        return found

    @classmethod
    def from_safetensors(cls, data: bytes) -> TrainedModel:
        """Inverse of `to_safetensors`. Raises ValueError for a file that is not one of ours."""
        size = int.from_bytes(data[:8], "little")
        header = json.loads(json.loads(data[8 : 8 + size]).get("__metadata__", {}).get("attractor", "{}"))
        if header.get("format") not in FORMATS:
            raise ValueError(f"not a model file of format {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
        tensors = load_tensors(data)

        def part(prefix: str) -> dict[str, np.ndarray]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        series, inputs, nuisance, filtering = (part(f"{p}.") for p in ("series", "inputs", "nuisance", "filter"))
        directions, readout = part("direction."), part("readout.")
        cut = tuple(int(rows) for rows in filtering.pop("cut", ()))
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
            inputs=Inputs(channels=header["input_channels"], **inputs) if inputs else None,
            nuisance=Nuisance(channels=header["nuisance_channels"], **nuisance) if nuisance else None,
            filter=Filter(cut=cut, **filtering) if filtering else None,  # type: ignore[arg-type]
            family=Family(header["recordings"], tensors["family.vectors"], directions) if directions else None,
            readouts=Readouts([Channel(**c) for c in header["readouts"]], **readout) if readout else None,
        )


def embed(series: np.ndarray, lags: list[int]) -> np.ndarray:
    """Delay vectors [x_t, x_{t - lags[1]}, ...] for every t >= lags[-1]: (T, N) -> (T - lags[-1], N len(lags))."""
    start = lags[-1]
    return np.concatenate([series[start - lag : len(series) - lag] for lag in lags], axis=1)

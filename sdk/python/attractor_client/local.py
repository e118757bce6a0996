"""A downloaded model: forecasts with numpy alone, without the service, as the service makes them.

The same parameters, context and seed give the same numbers, member by member, up to the rounding of another processor or
linear-algebra library. A chaotic map amplifies such differences by exp(lambda_max t): beyond a few Lyapunov times two
machines agree in their statistics, not in their digits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attractor_client import _safetensors
from attractor_client._maps import MAPS
from attractor_client.errors import DataError
from attractor_client.results import Forecast, ForecastStart, Notice, Predictability

_FORMATS = ("attractor-model/1", "attractor-model/2")
_BLOCK_VALUES, _BLOCK_STEPS = 1_000_000, 2_000
_DIVERGED = 1e6  # in standard deviations: nothing that was ever observed
_TRUSTED_SPREAD = 0.1  # of the attractor's width
_FROM_A_FILE = Predictability(reason="it is unknown to a model that was read from a file")


@dataclass(frozen=True, eq=False)
class LocalModel:
    """z_t = F(z_{t-1}) + C s_t, x_t = observe(z_t): N channels, L lags, N_e = N L observed coordinates, K inputs.

    `tensors` as in the file: `map.*` the parameters of F, `observation.*`, `series.*` (scaling and errors), `inputs.*`.
    """

    architecture: str
    channels: list[str]
    input_channels: list[str]
    lags: list[int]
    dt: float
    time_unit: str
    card: dict[str, Any]
    tensors: dict[str, np.ndarray]
    predictability: Predictability = _FROM_A_FILE

    @classmethod
    def from_bytes(cls, data: bytes, predictability: Predictability | None = None) -> LocalModel:
        """From the content of `model.safetensors`. Raises ValueError for anything else."""
        tensors, metadata = _safetensors.read(data)
        header = json.loads(metadata.get("attractor", "{}"))
        if header.get("format") not in _FORMATS:
            raise ValueError(f"this is no model file of format {' or '.join(_FORMATS)}")
        if header["architecture"] not in MAPS:
            raise ValueError(f"the architecture {header['architecture']!r} is newer than this client: update it")
        return cls(
            architecture=header["architecture"],
            channels=header["channels"],
            input_channels=header.get("input_channels", []),
            lags=header["lags"],
            dt=header["dt"],
            time_unit=header["time_unit"],
            card=header["card"],
            tensors=tensors,
            **({} if predictability is None else {"predictability": predictability}),
        )

    @classmethod
    def load(cls, path: str | Path) -> LocalModel:
        """From a file that `model.download(path)` left."""
        return cls.from_bytes(Path(path).read_bytes())

    @property
    def context_steps(self) -> int:
        """Rows of observations that a forecast needs."""
        return self.lags[-1] + 1

    def _part(self, prefix: str) -> dict[str, np.ndarray]:
        return {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)}

    def forecast(
        self,
        context: Any,
        *,
        horizon_steps: int | None = None,
        horizon_lyapunov_times: float | None = None,
        time_start: float = 0.0,
        inputs: Any = None,
        quantiles: Sequence[float] = (0.05, 0.95),
        samples: int = 100,
        seed: int = 0,
    ) -> Forecast:
        """Median and quantiles of the steps that follow `context`, (L, N) in the series' own units, L >= context_steps.

        `inputs` (horizon, K): future values of the input channels of a model that has them. `time_start`: the time of the
        context's first row. One free run: `samples=1`. Raises DataError for what cannot be used.
        """
        rows = _table(context, self.channels, "context")
        if len(rows) < self.context_steps:
            raise DataError(f"The model needs {self.context_steps} rows to start from; there are {len(rows)}.")
        n_steps = self._horizon(horizon_steps, horizon_lyapunov_times)
        driving = self._driving(inputs, n_steps)
        if samples < 1:
            raise DataError("samples must be at least 1.")
        ensemble = _Ensemble(self, rows[len(rows) - self.context_steps :], samples, seed)
        levels, trusted = ensemble.run(n_steps, driving, [0.5, *quantiles])
        start = time_start + len(rows) * self.dt
        return Forecast(
            start=ForecastStart(None, start),
            horizon_steps=n_steps,
            channels=list(self.channels),
            time_unit=self.time_unit,
            time=start + self.dt * np.arange(n_steps),
            median=levels[0],
            quantiles={str(q): levels[i] for i, q in enumerate(quantiles, 1)},
            predictability=self.predictability,
            trusted_steps=trusted if samples > 1 else None,
            warnings=ensemble.notices(n_steps, trusted),
        )

    def _horizon(self, steps: int | None, lyapunov_times: float | None) -> int:
        if (steps is None) == (lyapunov_times is None):
            raise DataError("Give exactly one of horizon_steps and horizon_lyapunov_times.")
        if steps is not None:
            if steps < 1:
                raise DataError("horizon_steps must be at least 1.")
            return int(steps)
        if self.predictability.time is None or lyapunov_times is None:
            raise DataError(f"There is no Lyapunov time ({self.predictability.reason}); give horizon_steps instead.")
        return max(1, round(lyapunov_times * self.predictability.time / math.log(2) / self.dt))

    def _driving(self, inputs: Any, n_steps: int) -> np.ndarray | None:
        """Standardised inputs, (n_steps, K); None for a model without."""
        if not self.input_channels:
            if inputs is not None:
                raise DataError("The model has no input channels; leave inputs away.")
            return None
        names = ", ".join(self.input_channels)
        if inputs is None:
            raise DataError(f"The model is driven by {names}: inputs need {n_steps} rows of them, one for each step.")
        values = _table(inputs, self.input_channels, "inputs")
        if len(values) != n_steps:
            raise DataError(f"The forecast has {n_steps} steps and needs as many rows of {names}, not {len(values)}.")
        return (values - self.tensors["inputs.mean"]) / self.tensors["inputs.std"]


def _table(data: Any, channels: Sequence[str], what: str) -> np.ndarray:
    """(T, N) finite float64; columns of a table by name, in the model's order."""
    if hasattr(data, "columns"):
        missing = [name for name in channels if name not in data.columns]
        if missing:
            raise DataError(f"The {what} lack the channel {missing[0]!r}.")
        data = data[list(channels)].to_numpy()
    values = np.asarray(data, dtype=np.float64)
    if values.ndim == 1 and len(channels) == 1:
        values = values[:, None]
    if values.ndim != 2 or values.shape[1] != len(channels):
        raise DataError(f"The {what} must have shape (T, {len(channels)}): {', '.join(channels)}.")
    if not np.isfinite(values).all():
        row, column = (int(i) for i in np.argwhere(~np.isfinite(values))[0])
        raise DataError(f"The value of {channels[column]} in row {row} of the {what} is missing or not finite.")
    return values


class _Ensemble:
    """Free runs that start within the model's own error: docs/science/forecasts.md of the service."""

    def __init__(self, model: LocalModel, rows: np.ndarray, samples: int, seed: int) -> None:
        self._params, self._step = model._part("map."), MAPS[model.architecture]
        self._observation, self._series = model._part("observation."), model._part("series.")
        self._coupling = model.tensors.get("inputs.C")
        self._samples, self._rows = samples, rows
        self._n_channels, self._n_observed = len(model.channels), len(model.channels) * len(model.lags)
        self._dtype = np.dtype(np.result_type(*self._params.values()))
        self._latent = self._encode(np.zeros((1, self._n_observed))).shape[1]
        self._n_gone, self._first_gone = 0, -1
        self._channels = model.channels
        self._rng = np.random.default_rng(seed)
        scaled = (rows - self._series["mean"]) / self._series["std"]
        embedded = np.concatenate([scaled[len(scaled) - 1 - lag] for lag in model.lags])
        self._z = self._encode(embedded + self._noise(1, self._measurement_std)[0]).astype(self._dtype)
        noise = self._noise(1, self._measurement_std)[0]
        self._measured = noise[:, : self._n_channels] * self._series["std"]

    @property
    def _measurement_std(self) -> np.ndarray:
        known = self._series.get("noise_std")
        return self._series["residual_std"] / np.sqrt(2) if known is None else known

    @property
    def _step_std(self) -> np.ndarray:
        residual, noise = self._series["residual_std"], self._series.get("noise_std")
        return np.zeros_like(residual) if noise is None else np.sqrt(np.clip(residual**2 - 2 * noise**2, 0, None))

    def _encode(self, embedded: np.ndarray) -> np.ndarray:
        """(S, N_e) -> (S, M): by the pseudo-inverse of an affine observation, or the coordinates themselves."""
        if "B" in self._observation:
            read = (embedded - self._observation["b"]) @ np.linalg.pinv(self._observation["B"]).T
            unread = _latent_dim(self._params) - read.shape[1]
            return np.concatenate([read, np.zeros((len(read), unread), read.dtype)], axis=1) if unread else read
        if "L0" in self._observation:
            return np.concatenate([embedded, embedded @ self._observation["L0"].T], axis=1)
        return embedded

    def _observe(self, z: np.ndarray) -> np.ndarray:
        if "B" in self._observation:
            return z[..., : self._observation["B"].shape[1]] @ self._observation["B"].T + self._observation["b"]
        return z[..., : self._n_observed]

    def _noise(self, n_steps: int, std: np.ndarray) -> np.ndarray:
        """(n_steps, S, N_e): none for member 0, opposite ones for 1 and 2, 3 and 4, ..."""
        half = self._rng.standard_normal((n_steps, self._samples // 2, len(std))) * std
        noise = np.zeros((n_steps, self._samples, len(std)))
        noise[:, 1::2] = half
        noise[:, 2::2] = -half[:, : (self._samples - 1) // 2]
        return noise

    def run(self, n_steps: int, driving: np.ndarray | None, probabilities: list[float]) -> tuple[np.ndarray, int]:
        """Levels (Q, n_steps, N) in own units, and the steps until the ensemble has spread over a tenth of the attractor."""
        levels = np.empty((len(probabilities), n_steps, self._n_channels))
        width, trusted = self._width(), n_steps
        alive = np.ones(self._samples, bool)
        block = max(1, min(_BLOCK_STEPS, _BLOCK_VALUES // (self._samples * max(self._latent, self._n_channels))))
        for done in range(0, n_steps, block):
            stop = min(done + block, n_steps)
            embedded = self._observe(self._block(stop - done, None if driving is None else driving[done:stop]))
            embedded = embedded[..., : self._n_channels]
            with np.errstate(invalid="ignore"):
                gone = ~(np.abs(embedded) < _DIVERGED).all(axis=-1)
            if self._first_gone < 0 and gone.any():
                self._first_gone = done + int(gone.any(axis=1).argmax())
            gone = np.logical_or.accumulate(gone | ~alive, axis=0)
            alive = ~gone[-1]
            values = np.where(gone[..., None], np.nan, embedded) * self._series["std"] + self._series["mean"]
            wide = ~((values.std(axis=1) / width).max(axis=-1) <= _TRUSTED_SPREAD)
            if trusted == n_steps and wide.any():
                trusted = done + int(wide.argmax())
            levels[:, done:stop] = _quantiles(values + self._measured, probabilities)
        self._n_gone = int((~alive).sum())
        return levels, trusted

    def _block(self, n_steps: int, driving: np.ndarray | None) -> np.ndarray:
        """The next states of every member, (n_steps, S, M)."""
        into_latent = self._encode(np.eye(self._n_observed)) - self._encode(np.zeros((1, self._n_observed)))
        kicks = (self._noise(n_steps, self._step_std) @ into_latent).astype(self._dtype)
        states = np.empty_like(kicks)
        with np.errstate(over="ignore", invalid="ignore"):
            for t, kick in enumerate(kicks):
                following = self._step(self._params, self._z)
                if driving is not None and self._coupling is not None:
                    following = following + np.asarray(driving[t], self._coupling.dtype) @ self._coupling.T
                self._z = states[t] = following + kick
        return states

    def _width(self) -> np.ndarray:
        minimum, maximum = self._series.get("minimum"), self._series.get("maximum")
        return 4 * self._series["std"] if minimum is None or maximum is None else maximum - minimum

    def notices(self, n_steps: int, trusted: int) -> list[Notice]:
        """What the service would warn of, in fewer words."""
        found = []
        if self._samples > 1 and trusted < n_steps:
            detail = f"From step {trusted} on the ensemble is spread over more than a tenth of the attractor."
            found.append(Notice("horizon_beyond_predictability", detail))
        minimum, maximum = self._series.get("minimum"), self._series.get("maximum")
        if minimum is not None and maximum is not None:
            margin = 0.1 * (maximum - minimum)
            outside = ((self._rows < minimum - margin) | (self._rows > maximum + margin)).any(axis=0)
            if outside.any():
                names = ", ".join(self._channels[i] for i in np.flatnonzero(outside))
                found.append(
                    Notice("context_outside_training_range", f"{names} lie outside the range seen in training.")
                )
        if self._first_gone >= 0:
            detail = (
                f"{self._n_gone} of {self._samples} members left every bound, the first at step {self._first_gone}."
            )
            found.append(Notice("members_diverged", detail))
        return found


def _latent_dim(params: dict[str, np.ndarray]) -> int:
    """M: of the maps with an affine observation every first axis but the LSTM's is the state's."""
    if "U" in params:  # gated: the GRU has a bias bn beside U, the LSTM a memory cell for every unit
        return params["U"].shape[1] * (1 if "bn" in params else 2)
    return int(params["A"].shape[0] if "A" in params else params["h"].shape[0])


def _quantiles(values: np.ndarray, probabilities: list[float]) -> np.ndarray:
    """Quantiles over members at p (S + 1): (T, S, N) -> (Q, T, N); NaN where no member is left."""
    if np.isfinite(values).all():
        return _of_sorted(np.sort(np.ascontiguousarray(values.swapaxes(1, 2)), axis=2), np.array(probabilities))
    levels = np.full((len(probabilities), len(values), values.shape[2]), np.nan)
    for t, members in enumerate(values):
        left = members[np.isfinite(members).all(axis=1)]
        if len(left):
            levels[:, t] = _of_sorted(np.sort(left.T, axis=1), np.array(probabilities))
    return levels


def _of_sorted(ordered: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """(..., S) -> (Q, ...): what numpy's `quantile(method="weibull")` gives, which is ten times slower."""
    n = ordered.shape[-1]
    position = np.clip(n * probabilities + probabilities - 1, 0, n - 1)
    below = np.minimum(position.astype(int), max(n - 2, 0))
    share = (position - below).reshape(-1, *[1] * (ordered.ndim - 1))
    low, high = (np.moveaxis(ordered[..., i], -1, 0) for i in (below, np.minimum(below + 1, n - 1)))
    return np.where(share < 0.5, low + (high - low) * share, high - (high - low) * (1 - share))

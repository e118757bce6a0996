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
from attractor_client._ensemble import Ensemble
from attractor_client._maps import MAPS
from attractor_client.errors import DataError
from attractor_client.results import Forecast, ForecastStart, Predictability

_FORMATS = ("attractor-model/1", "attractor-model/2")
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
        """From a file that `model.download(path)` left. Raises DataError for another."""
        try:
            return cls.from_bytes(Path(path).read_bytes())
        except ValueError as error:
            raise DataError(f"{str(path)!r} holds no model: {error}.") from error

    @property
    def context_steps(self) -> int:
        """Rows of observations that a forecast needs."""
        return self.lags[-1] + 1

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
        last = rows[len(rows) - self.context_steps :]
        ensemble = Ensemble(self.architecture, self.tensors, self.channels, self.lags, last, samples, seed)
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

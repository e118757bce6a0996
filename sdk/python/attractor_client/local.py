"""A downloaded model: forecasts with numpy alone, without the service, as the service makes them.

The same parameters, context and seed give the same numbers, member by member, up to the rounding of another processor or
linear-algebra library. A chaotic map amplifies such differences by exp(lambda_max t): beyond a few Lyapunov times two
machines agree in their statistics, not in their digits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from attractor_client import _safetensors
from attractor_client._counted import Readouts
from attractor_client._ensemble import Ensemble
from attractor_client._families import fitted, shifted
from attractor_client._filters import CONTEXT
from attractor_client._maps import MAPS
from attractor_client.errors import DataError
from attractor_client.results import Forecast, ForecastStart, Predictability

_FORMATS = tuple(f"attractor-model/{number}" for number in range(1, 6))
_FROM_A_FILE = Predictability(reason="it is unknown to a model that was read from a file")


@dataclass(frozen=True, eq=False)
class LocalModel:
    """z_t = F(z_{t-1}) + C s_t, x_t = observe(z_t) + J r_t: N channels, L lags, N_e = N L observed coordinates, K inputs, P of nuisance.

    `tensors` as in the file: `map.*` the parameters of F, `observation.*`, `series.*` (scaling and errors), `inputs.*`, `nuisance.*`,
    `filter.*` of a convolutional model, which observes what a kernel shows of the states; `direction.*` and `family.vectors` of one with
    a map for each of its `recordings`; `readout.*` of one with counts or classes.
    """

    architecture: str
    channels: list[str]
    input_channels: list[str]
    nuisance_channels: list[str]
    lags: list[int]
    dt: float
    time_unit: str
    card: dict[str, Any]
    tensors: dict[str, np.ndarray]
    predictability: Predictability = _FROM_A_FILE
    recordings: list[str] = field(default_factory=list)
    readouts: Readouts | None = None  # of channels of counts and classes

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
            nuisance_channels=header.get("nuisance_channels", []),
            lags=header["lags"],
            dt=header["dt"],
            time_unit=header["time_unit"],
            card=header["card"],
            tensors=tensors,
            recordings=header.get("recordings", []),
            readouts=Readouts(header["readouts"], tensors) if "readouts" in header else None,
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
        if self.readouts is not None:
            return self.readouts.context_steps
        kernel = self.tensors.get("filter.kernel")
        return self.lags[-1] + 1 if kernel is None else CONTEXT * len(kernel)

    @property
    def lead(self) -> int:
        """Rows at the end of a context of which a convolutional model knows too little: it starts that much earlier."""
        return int(self.tensors["filter.cut"][1]) if "filter.cut" in self.tensors else 0

    def forecast(
        self,
        context: Any,
        *,
        horizon_steps: int | None = None,
        horizon_lyapunov_times: float | None = None,
        time_start: float = 0.0,
        inputs: Any = None,
        nuisance: Any = None,
        context_inputs: Any = None,
        context_nuisance: Any = None,
        recording: str | None = None,
        recording_vector: Sequence[float] | None = None,
        quantiles: Sequence[float] = (0.05, 0.95),
        samples: int = 100,
        seed: int = 0,
    ) -> Forecast:
        """Median and quantiles of the steps that follow `context`, (L, N) in the series' own units, L >= context_steps.

        `inputs` (horizon, K): future values of the input channels of a model that has them. `nuisance` (horizon, P): those of the
        nuisance channels; None forecasts the signal alone. `context_nuisance` (L, P) and, of a convolutional model with inputs,
        `context_inputs` (L, K): the same of the context's rows. `time_start`: the time of the
        context's first row. Of a model with a map for each recording `recording` names it, or `recording_vector` gives its vector;
        without either a map is fitted to the context. One free run: `samples=1`. Raises DataError for what cannot be used.
        """
        rows = _table(context, self.channels, "context")
        if len(rows) < self.context_steps:
            raise DataError(f"The model needs {self.context_steps} rows to start from; there are {len(rows)}.")
        n_steps = self._horizon(horizon_steps, horizon_lyapunov_times)
        driving = self._driving(inputs, n_steps, context_inputs, len(rows))
        past = self._contamination(context_nuisance, len(rows), "context_nuisance", needed=True)
        future = self._contamination(nuisance, n_steps, "nuisance", needed=False)
        if past is not None:
            rows = rows - past
        if samples < 1:
            raise DataError("samples must be at least 1.")
        last = rows[len(rows) - self.context_steps :]
        if self.readouts is not None and (wrong := self.readouts.wrong(last)) is not None:
            row, column = wrong[0] + len(rows) - len(last), wrong[1]
            value = f"{rows[row, column]:g} of {self.channels[column]} in row {row} of the context"
            raise DataError(f"The value {value} is none that the model knows: {wrong[2]}.")
        vector = self._vector(recording, recording_vector, rows, context_inputs)
        tensors = self.tensors if vector is None else shifted(self.tensors, vector)
        ensemble = Ensemble(self.architecture, tensors, self.channels, self.lags, last, samples, seed, self.readouts)
        levels, trusted = ensemble.run(n_steps, driving, [0.5, *quantiles], future)
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
            recording_vector=None if vector is None else [float(v) for v in vector],
            counted_channels=ensemble.counted,
        )

    def recording_vector(self, recording: str) -> np.ndarray:
        """The vector (p,) of a recording that the model was trained on. Raises DataError for one that it does not know."""
        if not self.recordings:
            raise DataError("The model has one map for all recordings.")
        if recording not in self.recordings:
            known = ", ".join(self.recordings[:20]) + (", ..." if len(self.recordings) > 20 else "")
            raise DataError(f"The model knows no recording {recording!r}; it knows {known}.")
        return np.array(self.tensors["family.vectors"][self.recordings.index(recording)])

    def fit_vector(self, context: Any, context_inputs: Any = None, context_nuisance: Any = None) -> np.ndarray:
        """The vector (p,) whose map predicts each row of the last 1,000 of `context` (L, N) from the one before it best.

        `context_inputs` (L, K), `context_nuisance` (L, P): those of its rows, of a model that has any. Raises DataError where there
        are fewer than 10 p.
        """
        if not self.recordings:
            raise DataError("The model has one map for all recordings.")
        rows = _table(context, self.channels, "context")
        past = self._contamination(context_nuisance, len(rows), "context_nuisance", needed=True)
        return self._fitted(rows if past is None else rows - past, context_inputs)

    def _fitted(self, rows: np.ndarray, context_inputs: Any) -> np.ndarray:
        """`fit_vector` of rows less their nuisance."""
        driving = None
        if self.input_channels:
            names = ", ".join(self.input_channels)
            if context_inputs is None or len(context_inputs) != len(rows):
                raise DataError(
                    f"A map is fitted to rows driven by {names}: context_inputs needs {len(rows)} rows, or name the recording."
                )
            values = _table(context_inputs, self.input_channels, "context_inputs")
            driving = (values - self.tensors["inputs.mean"]) / self.tensors["inputs.std"]
        try:
            return fitted(self.architecture, self.tensors, self.lags, rows, driving)
        except ValueError as error:
            raise DataError(
                f"No map can be fitted here ({error}): name a recording, or give recording_vector."
            ) from error

    def _vector(
        self, recording: str | None, vector: Sequence[float] | None, rows: np.ndarray, inputs: Any
    ) -> np.ndarray | None:
        """That of the map that runs; None where there is one map."""
        if not self.recordings:
            if recording is not None or vector is not None:
                raise DataError("The model has one map for all recordings; leave recording and recording_vector away.")
            return None
        if recording is not None and vector is not None:
            raise DataError("Give recording or recording_vector, not both.")
        if recording is not None:
            return self.recording_vector(recording)
        if vector is None:
            return self._fitted(rows, inputs)
        dim = self.tensors["family.vectors"].shape[1]
        if len(vector) != dim:
            raise DataError(f"The model's recordings have vectors of {dim} numbers, not {len(vector)}.")
        return np.asarray(vector, float)

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

    def _contamination(self, nuisance: Any, n_rows: int, what: str, *, needed: bool) -> np.ndarray | None:
        """J r of these rows in the channels' own units, (n_rows, N); None where there is none, or none is known."""
        if not self.nuisance_channels:
            if nuisance is not None:
                raise DataError(f"The model has no nuisance channels; leave {what} away.")
            return None
        names = ", ".join(self.nuisance_channels)
        if nuisance is None:
            if needed:
                raise DataError(f"The observations hold {names}: {what} needs {n_rows} rows of them, one for each.")
            return None
        values = _table(nuisance, self.nuisance_channels, what)
        if len(values) != n_rows:
            raise DataError(f"{what} needs {n_rows} rows of {names}, not {len(values)}.")
        standardised = (values - self.tensors["nuisance.mean"]) / self.tensors["nuisance.std"]
        return standardised @ self.tensors["observation.J"].T * self.tensors["series.std"]

    def _driving(self, inputs: Any, n_steps: int, earlier: Any, n_rows: int) -> np.ndarray | None:
        """Standardised inputs, (lead + n_steps, K); None for a model without."""
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
        if self.lead:
            if earlier is None or len(earlier) != n_rows:
                raise DataError(
                    f"A convolutional model driven by {names} needs them in the context's rows too: context_inputs."
                )
            values = np.concatenate(
                [_table(earlier, self.input_channels, "context_inputs")[n_rows - self.lead :], values]
            )
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

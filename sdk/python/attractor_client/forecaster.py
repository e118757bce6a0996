"""A forecaster with the conventions of sktime: fit(y, X, fh), predict(fh, X), predict_interval, predict_quantiles,
update, get_params and set_params; it depends on nothing of it.

    forecaster = AttractorForecaster(train={"budget_seconds": 20})
    forecaster.fit(y).predict(fh=[1, 2, 3])

Training happens in the service, forecasts here, with numpy. y is a Series or a DataFrame of pandas, or an array; what
`predict` answers is of the same kind, with the index continued.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from attractor_client._series import as_table
from attractor_client.client import Client
from attractor_client.errors import DataError
from attractor_client.local import LocalModel
from attractor_client.results import Forecast


class AttractorForecaster:
    """fit -> predict on the reconstruction of the system behind y.

    `client`: a Client; None makes one from ATTRACTOR_URL and ATTRACTOR_API_KEY. `train`, `lyapunov`, `evaluate`: parameters
    of the reconstruction. `samples`, `seed`: of the ensemble that forecasts; its median is the point forecast. `dt`,
    `time_unit`: sampling of y where its index does not say it. `timeout`: seconds that training may take. After `fit`,
    `model_` is the model of the service and `local_model_` the one that forecasts.
    """

    def __init__(
        self,
        client: Client | None = None,
        *,
        train: Mapping[str, Any] | None = None,
        lyapunov: Mapping[str, Any] | None = None,
        evaluate: Mapping[str, Any] | None = None,
        samples: int = 100,
        seed: int = 0,
        dt: float | None = None,
        time_unit: str | None = None,
        timeout: float | None = None,
    ) -> None:
        self.client = client
        self.train = train
        self.lyapunov = lyapunov
        self.evaluate = evaluate
        self.samples = samples
        self.seed = seed
        self.dt = dt
        self.time_unit = time_unit
        self.timeout = timeout

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> Self:
        """Change arguments of the constructor; `fit` again to have them used."""
        if unknown := set(params) - set(self.get_params()):
            raise ValueError(f"unknown parameters: {', '.join(sorted(unknown))}")
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def clone(self) -> Self:
        """A new forecaster with the same arguments, not fitted."""
        return type(self)(**copy.deepcopy(self.get_params()))

    @property
    def is_fitted(self) -> bool:
        return hasattr(self, "local_model_")

    @property
    def cutoff(self) -> Any:
        """The last point of the index that has been seen; of an array the number of its last row."""
        self._check_fitted()
        return self._index[-1] if self._index is not None else self._n_rows - 1

    def fit(self, y: Any, X: Any = None, fh: Any = None) -> Self:
        """Reconstruct the system behind y, (T,) or (T, N); the columns of X, (T, K), are external inputs that drive it."""
        names, inputs = _names(y, "x"), [] if X is None else _names(X, "u")
        values = _values(y) if X is None else np.column_stack([_values(y), _values(X)])
        client = self.client or Client()
        options: dict[str, Any] = {"dt": self.dt, "time_unit": self.time_unit}
        table = as_table(y)
        if table.time_unit is not None:  # dates: only their distance matters here
            options = {"dt": self.dt or _even(table.times, table.dt), "time_unit": "s"}
        series = client.upload(values, channels=[*names, *inputs], **options)
        train = dict(self.train or {}) | ({"input_channels": inputs} if inputs else {})
        job = client.reconstruct(series, train=train, lyapunov=self.lyapunov or {}, evaluate=self.evaluate or {})
        self.model_ = job.wait(timeout=self.timeout)
        self.local_model_: LocalModel = self.model_.download()
        self._remember(y)
        self._fh = fh
        return self

    def update(self, y: Any, X: Any = None, update_params: bool = False) -> Self:
        """Go on from newer observations, the rows that have come since; training is not repeated.

        y that begins before the cutoff replaces what was known.
        """
        self._check_fitted()
        if update_params:
            raise NotImplementedError("training goes on with fit(y) on the whole series")
        self._remember(y, goes_on=self._goes_on(y))
        return self

    def _goes_on(self, y: Any) -> bool:
        index = getattr(y, "index", None)
        return self._index is None or (index is not None and len(index) > 0 and index[0] > self._index[-1])

    def predict(self, fh: Any = None, X: Any = None) -> Any:
        """The point forecast at the steps `fh` after the cutoff (1: the next), an int or several; of y's own kind.

        `X`: the inputs of every step from the next one to the last of `fh`, for a forecaster that was fitted with them.
        """
        steps = self._steps(fh)
        return self._like_y(self._forecast(steps, X, []).median[steps - 1], steps)

    def predict_quantiles(self, fh: Any = None, X: Any = None, alpha: float | Sequence[float] = (0.05, 0.95)) -> Any:
        """Quantiles of the ensemble: for pandas a table with the columns (variable, alpha), as sktime has it; for an array
        {alpha: values as `predict` has them}."""
        steps = self._steps(fh)
        levels = [alpha] if isinstance(alpha, float | int) else list(alpha)
        found = self._forecast(steps, X, levels).quantiles
        values = {level: found[str(level)][steps - 1] for level in levels}
        if self._index is None:
            return {level: self._like_y(rows, steps) for level, rows in values.items()}
        return self._table(steps, {(level,): rows for level, rows in values.items()})

    def predict_interval(self, fh: Any = None, X: Any = None, coverage: float | Sequence[float] = 0.9) -> Any:
        """Central intervals: for pandas a table with the columns (variable, coverage, "lower" or "upper"), as sktime has it;
        for an array {coverage: (lower, upper)}."""
        steps = self._steps(fh)
        wanted = [coverage] if isinstance(coverage, float | int) else list(coverage)
        if not all(0 < c < 1 for c in wanted):
            raise ValueError(f"coverage lies between 0 and 1, not {coverage!r}")
        ends = {(c, end): round(0.5 + side * c / 2, 10) for c in wanted for end, side in (("lower", -1), ("upper", 1))}
        found = self._forecast(steps, X, sorted(set(ends.values()))).quantiles
        values = {key: found[str(level)][steps - 1] for key, level in ends.items()}
        if self._index is None:
            like = {key: self._like_y(rows, steps) for key, rows in values.items()}
            return {c: (like[c, "lower"], like[c, "upper"]) for c in wanted}
        return self._table(steps, values)

    def _table(self, steps: np.ndarray, values: dict[tuple[Any, ...], np.ndarray]) -> Any:
        """A table whose columns are (variable, *key), variable by variable."""
        import pandas as pd

        names = (
            list(self._like.columns) if self._like.ndim == 2 else [0 if self._like.name is None else self._like.name]
        )
        columns = {(name, *key): rows[:, i] for i, name in enumerate(names) for key, rows in values.items()}
        table = pd.DataFrame(np.column_stack(list(columns.values())), index=_continued(self._index, steps))
        table.columns = pd.MultiIndex.from_tuples(columns)
        return table

    def _forecast(self, steps: np.ndarray, X: Any, quantiles: list[float]) -> Forecast:
        inputs = None if X is None else _values(X)[: int(steps.max())]
        return self.local_model_.forecast(
            self._context,
            horizon_steps=int(steps.max()),
            inputs=inputs,
            quantiles=quantiles,
            samples=self.samples,
            seed=self.seed,
        )

    def _check_fitted(self) -> None:
        if not self.is_fitted:
            raise RuntimeError("this forecaster is not fitted: call fit(y) first")

    def _steps(self, fh: Any) -> np.ndarray:
        self._check_fitted()
        fh = self._fh if fh is None else fh
        if fh is None:
            raise ValueError("fh, the steps to forecast, was given neither to fit nor to predict")
        given = fh.to_relative(self.cutoff).to_pandas() if hasattr(fh, "to_relative") else fh
        steps = np.atleast_1d(np.asarray(given))
        if steps.dtype.kind not in "iu" or steps.ndim != 1 or not len(steps) or steps.min() < 1:
            raise ValueError("fh counts steps after the last observation: whole numbers from 1 on")
        return steps

    def _remember(self, y: Any, *, goes_on: bool = False) -> None:
        """The last rows as the context of forecasts, and what the answers have to look like."""
        values, needed, index = _values(y), self.local_model_.context_steps, getattr(y, "index", None)
        seen = 0
        if goes_on:
            values, seen = np.concatenate([self._context, values]), self._n_rows
            index = None if index is None else self._index[-2:].append(index)
        if len(values) < needed:
            raise DataError(f"The model needs {needed} rows to start from.")
        self._n_rows: int = len(y) + seen
        self._context: np.ndarray = values[-needed:]
        self._index: Any = index
        self._like: Any = y.iloc[:0] if index is not None else np.empty((0, *np.shape(y)[1:]))

    def _like_y(self, values: np.ndarray, steps: np.ndarray) -> Any:
        if self._index is None:
            return values[:, 0] if self._like.ndim == 1 else values
        index = _continued(self._index, steps)
        if self._like.ndim == 1:
            return type(self._like)(values[:, 0], index=index, name=self._like.name)
        return type(self._like)(values, index=index, columns=self._like.columns)


def _even(times: np.ndarray | None, dt: float | None) -> float:
    if dt is not None:
        return dt
    assert times is not None
    steps = np.diff(times)
    if np.ptp(steps) > 0.01 * steps.mean():
        raise DataError("The index is not evenly spaced: a forecaster counts in steps of one length.")
    return float(steps.mean())


def _continued(index: Any, steps: np.ndarray) -> Any:
    """The points of a pandas index that lie so many steps after its last."""
    last = index[-1]
    if getattr(index, "freq", None) is not None:
        return type(index)([last + int(k) * index.freq for k in steps], name=index.name)
    step = (last - index[0]) / (len(index) - 1) if index.dtype.kind in "fmM" else 1
    return index.take([-1] * len(steps)) + steps * step


def _values(data: Any) -> np.ndarray:
    return as_table(data).values


def _names(data: Any, letter: str) -> list[str]:
    table = as_table(data)
    return table.channels or [f"{letter}{i}" for i in range(table.values.shape[1])]

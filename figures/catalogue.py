"""What a definition of a figure is, and what it draws from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from figures.parts import Figure

Need = Literal["analysis", "measured", "growth"]


@dataclass(frozen=True)
class Measured:
    """Rows of the series around the start of a forecast."""

    time: np.ndarray  # (K,)
    values: np.ndarray  # (K, N), the forecast's channels; NaN where nothing was measured


@dataclass(frozen=True)
class ErrorGrowth:
    """Errors of free runs that start on the data: normalised root mean squares, in standard deviations."""

    time: np.ndarray  # (K,) after the start
    median: np.ndarray  # (K,) over the starts
    lower: np.ndarray  # (K,) quartiles
    upper: np.ndarray
    persistence: np.ndarray  # (K,) of forecasting no change
    noise: float  # of the measurement, which no forecast can beat
    starts: int


@dataclass(frozen=True)
class Sources:
    """A public result document, and what a figure of it may need beside it."""

    document: dict[str, Any]
    analysis: dict[str, Any] | None = None  # of the series that the model learned from
    measured: Measured | None = None
    growth: ErrorGrowth | None = None
    dt: float = 1.0  # of the model, in time units
    time_unit: str = ""
    lags: tuple[int, ...] = (0,)  # of the model's delay embedding, in steps


@dataclass(frozen=True)
class Definition:
    """One figure of a kind of result. `lacks` says why a result does not have it; `build` is called only if it has."""

    name: str
    title: str
    shows: str
    build: Callable[[Sources], Figure]
    lacks: Callable[[dict[str, Any]], str | None]
    needs: frozenset[Need] = frozenset()  # beside the document

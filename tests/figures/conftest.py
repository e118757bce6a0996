"""Documents as the science makes them, and those that figures need beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hand_made import lozi

from domain.base import Quantity
from domain.results import SeedRun, TrainingHistory
from domain.specs import EvaluateSpec, ForecastSpec, LyapunovSpec
from dynamics.error_growth import error_growth
from dynamics.evaluation import evaluate
from dynamics.forecast_inputs import predictability_of
from dynamics.forecasting import forecast
from dynamics.lyapunov.analysis import analyze
from figures.catalogue import ErrorGrowth, Measured, Sources
from models import TrainedModel


def rossler(n_steps: int, dt: float = 0.1) -> np.ndarray:
    """x of Roessler's system (a = b = 0.2, c = 5.7), Runge-Kutta of order four: (n_steps, 1)."""

    def flow(u: np.ndarray) -> np.ndarray:
        return np.array([-u[1] - u[2], u[0] + 0.2 * u[1], 0.2 + u[2] * (u[0] - 5.7)])

    u, rows = np.array([1.0, 1.0, 0.0]), []
    for _ in range(n_steps + 500):
        a = flow(u)
        b = flow(u + dt / 2 * a)
        c = flow(u + dt / 2 * b)
        u = u + dt / 6 * (a + 2 * b + 2 * c + flow(u + dt * c))
        rows.append(u[0])
    return np.array(rows[500:])[:, None]


@pytest.fixture(scope="session")
def analysis() -> dict[str, Any]:
    """Of a real analysis of a scalar flow, so that every figure of an analysis has something to show."""
    found = analyze([rossler(1500)], dt=0.1, time_unit="s", spec=LyapunovSpec())
    return found.model_dump(mode="json") | {"id": "ana_1", "channels": ["x"]}


@pytest.fixture(scope="session")
def noise() -> dict[str, Any]:
    values = np.random.default_rng(1).standard_normal((600, 2))
    found = analyze([values], dt=1.0, time_unit="", spec=LyapunovSpec())
    return found.model_dump(mode="json") | {"id": "ana_2", "channels": ["a", "b"]}


@pytest.fixture(scope="session")
def trained() -> TrainedModel:
    """The map itself with a slope that is slightly wrong, so that its forecasts err."""
    return lozi(a=1.7001, channels=["x", "y"], dt=0.5, time_unit="s", residual_std=np.full(2, 1e-3))


@pytest.fixture(scope="session")
def truth() -> np.ndarray:
    exact = lozi(channels=["x", "y"])
    return np.asarray(exact.free_run(np.array([0.1, 0.1]), 1200))


@pytest.fixture(scope="session")
def report(trained: TrainedModel, truth: np.ndarray) -> dict[str, Any]:
    measured = Quantity(value=0.94, unit="1/s", ci=(0.9, 0.98), level=0.9)
    found = evaluate(
        trained, [truth], spec=EvaluateSpec(), lambda_max=0.94, reference_steps=(800, 2000), data_lambda_max=measured
    )
    return found.model_dump(mode="json")


@pytest.fixture(scope="session")
def growth(trained: TrainedModel, truth: np.ndarray) -> ErrorGrowth:
    return ErrorGrowth(**vars(error_growth(trained, [truth], None, 12)))


@pytest.fixture(scope="session")
def model_sources(report: dict[str, Any], growth: ErrorGrowth) -> Sources:
    runs = [
        SeedRun(
            seed=seed,
            kept=seed == 1,
            why="closest to the data",
            updates=900,
            seconds=1.0,
            outcome="ok",
            validation={"d_stsp": 0.1 + seed, "d_h": 0.05, "prediction_error": 1e-3, "lambda_max": None},
        )
        for seed in range(3)
    ]
    history = TrainingHistory(
        updates=900,
        seconds=1.0,
        engine="e",
        seeds=runs,
        loss=[[float(k), 1.0 / k] for k in range(1, 400)],
        train_steps=(0, 700),
        validation_steps=(700, 800),
        test_steps=(800, 2000),
    )
    document = {"id": "mdl_1", "training": history.model_dump(mode="json"), "report": report, "channels": ["x", "y"]}
    spectrum = {"exponents": [0.94, -2.33], "ci": [(0.9, 0.98), None], "level": 0.9, "unit": "1/s", "reason": None}
    analysis = {"lyapunov_spectrum": spectrum, "lambda_max": {"value": 0.94}, "embedding": {"lags": [0]}}
    return Sources(document, analysis, growth=growth, dt=0.5, time_unit="s")


@pytest.fixture(scope="session")
def forecast_sources(trained: TrainedModel, report: dict[str, Any], truth: np.ndarray) -> Sources:
    from domain.results import ForecastStart, LyapunovSpectrum

    spectrum = LyapunovSpectrum.model_validate(report["lyapunov_spectrum"])
    found = forecast(
        trained,
        truth[:500],
        spec=ForecastSpec(horizon_steps=40, quantiles=[0.05, 0.25, 0.75, 0.95]),
        start=ForecastStart(index=500, time=250.0),
        predictability=predictability_of(spectrum, trained),
        inputs=None,
    )
    measured = Measured(0.5 * np.arange(480, 540), truth[480:540])
    return Sources(dict(found) if isinstance(found, dict) else found.model_dump(mode="json"), measured=measured)

"""What is found beside the fitted model: neighbours, local Jacobians, surrogates, recurrences, correlation dimension."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from domain.base import Quantity
from domain.results import Embedding
from domain.specs import LyapunovSpec
from dynamics.lyapunov.clock import Clock
from dynamics.lyapunov.correlation import correlation_dimension, correlation_sum
from dynamics.lyapunov.divergence import REGION_ERROR, Divergence, diverge
from dynamics.lyapunov.evidence import mixing
from dynamics.lyapunov.local_jacobians import LocalJacobians, local_jacobians
from dynamics.lyapunov.modelling import Modelled
from dynamics.lyapunov.preparation import Prepared
from dynamics.lyapunov.recurrence_plot import RecurrencePlot, recurrence_plot
from dynamics.lyapunov.states import States, channels_as_states, delay_vectors
from dynamics.lyapunov.surrogates import SurrogateTest, surrogate_test

LEAST_TIME = 0.02  # of the budget that must be left for what can be done without
SMOOTHED_NOISE = 0.5  # of the noise that about stays in smoothed paths


@dataclass(frozen=True)
class CrossChecks:
    """Everything measured without the fitted model; None where it could not be, or where the budget was spent."""

    space: States  # channels, or delay vectors as a reconstruction would take them
    divergence: Divergence | None
    divergence_seconds: float
    jacobians: LocalJacobians | None
    jacobians_seconds: float
    surrogates: SurrogateTest | None
    plot: RecurrencePlot | None
    dimension: Quantity
    dimension_curve: dict[str, object]
    mixing: float  # share of neighbours in the other half of time
    slope: float  # of the correlation sum where it is counted best, whether or not it is a dimension

    @property
    def lambda_high(self) -> float:
        """Largest lambda_max per step that neighbours and local Jacobians allow, two standard errors up; NaN without either."""
        highs = []
        if self.divergence is not None:
            slope = self.divergence.slope
            highs.append(slope + 2.0 * float(np.hypot(self.divergence.error, slope * REGION_ERROR)))
        if self.jacobians is not None and np.isfinite(self.jacobians.exponents[0] + self.jacobians.errors[0]):
            highs.append(float(self.jacobians.exponents[0] + 2.0 * self.jacobians.errors[0]))
        return max(highs, default=float("nan"))

    def as_json(self, dt: float, unit: str) -> dict[str, object]:
        """`dt` of a step of the prepared series."""
        divergence = self.divergence
        return {
            "divergence": None
            if divergence is None
            else divergence.as_json() | {"dt": dt, "slope": divergence.slope / dt, "unit": unit},
            "local_jacobians": None if self.jacobians is None else self.jacobians.as_json(dt) | {"unit": unit},
            "surrogates": None if self.surrogates is None else self.surrogates.as_json(),
            "recurrence_plot": None if self.plot is None else self.plot.as_json(dt),
            "correlation_sum": self.dimension_curve,
        }


def space_of(prepared: Prepared, embedding: Embedding) -> States:
    """Channels, or delay vectors with the delay and number of values of a reconstruction."""
    lags = [lag // prepared.stride for lag in embedding.lags]
    if prepared.n_channels > 1:
        if len(lags) > 1:
            return delay_vectors(prepared.segments, len(lags), lags[1])
        return channels_as_states(prepared.segments)
    if not prepared.sampling.is_flow:
        return delay_vectors(prepared.segments, max(2, len(lags)), 1)
    delay = lags[1] if len(lags) > 1 else round(prepared.sampling.period_steps / 4)
    return delay_vectors(prepared.segments, max(3, len(lags)), max(1, delay))


def cross_check(
    prepared: Prepared, modelled: Modelled, embedding: Embedding, spec: LyapunovSpec, clock: Clock
) -> CrossChecks:
    """Run them all; about 0.2 s of CPU time, whatever the length of the series. Optional ones only while time is left."""
    segments, flow, period = prepared.segments, prepared.sampling.is_flow, prepared.sampling.period_steps
    space = space_of(prepared, embedding)
    theiler, noise = max(1, round(period)), modelled.noise * np.sqrt(space.dimension)
    horizon = int(np.clip(6 * period if flow else 20, 10, min(1000, min(len(s) for s in segments) // 4)))
    began = clock.elapsed
    divergence = diverge(space, theiler, horizon, noise, clock)
    divergence_seconds = clock.elapsed - began
    points = space.pooled()
    total = correlation_sum(points, theiler, clock)
    dimension, curve = correlation_dimension(
        total, space.dimension, noise, spec.confidence_level, spec.seed, len(points)
    )
    ample = clock.left() > LEAST_TIME
    began = clock.elapsed
    local = None
    if ample or spec.method == "local-jacobians":
        local = _local_jacobians(prepared, modelled, space, theiler, clock)
    jacobians_seconds = clock.elapsed - began
    clock.tick(0.4)
    surrogates = None
    if ample:
        surrogates = surrogate_test(segments, flow, period, space.delay, space.n_lags, spec.seed, clock)
    plot = recurrence_plot(max(space.paths, key=len), flow, period)
    clock.tick(0.5)
    return CrossChecks(
        space,
        divergence,
        divergence_seconds,
        local,
        jacobians_seconds,
        surrogates,
        plot,
        dimension,
        curve,
        mixing(points, theiler),
        dimension.value if dimension.value is not None else total.slope(noise),
    )


def _local_jacobians(
    prepared: Prepared, modelled: Modelled, space: States, theiler: int, clock: Clock
) -> LocalJacobians | None:
    """On the model's own states where they are channels (smoothed, if that helped), else on delay vectors."""
    flow, period, noise = prepared.sampling.is_flow, prepared.sampling.period_steps, modelled.noise
    states = modelled.candidate.states
    if states.kind == "delay":
        return local_jacobians(space, flow, period, theiler, noise, clock)
    noise *= SMOOTHED_NOISE if modelled.smoothed else 1.0
    return local_jacobians(states, flow, period, theiler, noise, clock)

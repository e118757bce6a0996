"""A fitted smooth model: features, weights and how it advances; runs in pieces short enough to be interrupted."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dynamics.lyapunov import kernels
from dynamics.lyapunov.basis import Basis
from dynamics.lyapunov.clock import Clock

FLOPS_PER_CALL = 4e7  # about 0.05 s of compiled arithmetic between two signs of life on an idle machine
SECONDS_PER_CALL = 0.1
FLOPS_PER_RUN = 8e8
MAX_SUBSTEPS = 12


@dataclass(frozen=True)
class SmoothModel:
    """dx/dt = W' phi(x), t in sampling steps (flow), or x -> W' phi(x) over one step (map)."""

    basis: Basis
    weights: np.ndarray  # (K, m)
    is_flow: bool
    substeps: int = 1
    bound: float = 30.0

    @property
    def dimension(self) -> int:
        return self.weights.shape[1]

    @property
    def n_terms(self) -> int:
        return int(np.count_nonzero(np.any(self.weights != 0.0, axis=1)))

    @property
    def arrays(self) -> kernels.Arrays:
        b = self.basis
        return kernels.Arrays(
            b.parents,
            b.variables,
            np.ascontiguousarray(b.centres, dtype=np.float64),
            float(b.gamma),
            np.ascontiguousarray(self.weights, dtype=np.float64),
            self.substeps if self.is_flow else 0,
            float(self.bound),
        )

    def with_weights(self, weights: np.ndarray) -> SmoothModel:
        return replace(self, weights=weights)

    def flops(self, tangents: int) -> int:
        """Rough number of operations of one sampling step."""
        m, k = self.dimension, self.basis.size
        stages = 4 * self.substeps if self.is_flow else 1
        return stages * (k * (2 * m + (m * m if tangents else 0)) + m * m * tangents) + 6 * m * tangents**2

    def steps_per_call(self, tangents: int, clock: Clock) -> int:
        """Sampling steps that one compiled call may do."""
        return max(10, int(min(FLOPS_PER_CALL, clock.flops_within(SECONDS_PER_CALL)) / self.flops(tangents)))

    def affordable(self, wanted: int, tangents: int, least: int, clock: Clock) -> int:
        """At most `wanted` steps, fewer (never less than `least`) where they would take longer than one run may."""
        limit = min(FLOPS_PER_RUN, clock.flops_within(clock.run_seconds()))
        return int(min(wanted, max(least, limit / self.flops(tangents))))

    def jacobian(self, x: np.ndarray) -> np.ndarray:
        """Jacobian of W' phi at x, (m, m)."""
        m, k = self.dimension, self.basis.size
        jac = np.empty((m, m))
        kernels.value_jacobian(self.arrays, np.ascontiguousarray(x), np.empty(k), np.empty((k, m)), np.empty(m), jac)
        return jac

    def resolved(self, states: np.ndarray, tolerance: float = 0.35) -> SmoothModel:
        """The same model with enough RK4 steps per sampling step: |J| h <= tolerance along `states` (99 % of them)."""
        if not self.is_flow:
            return self
        some = states[:: max(1, len(states) // 100)]
        norms = [float(np.linalg.norm(self.jacobian(x), 2)) for x in some]
        return replace(self, substeps=int(np.clip(np.ceil(np.quantile(norms, 0.99) / tolerance), 1, MAX_SUBSTEPS)))

    def forecast(self, starts: np.ndarray, horizon: int, clock: Clock) -> np.ndarray:
        """Free runs (S, horizon, m), NaN after divergence."""
        parts, i = [], 0
        while i < len(starts):
            clock.tick()
            began = clock.elapsed
            some = np.ascontiguousarray(starts[i : i + max(1, self.steps_per_call(0, clock) // horizon)])
            parts.append(kernels.forecasts(self.arrays, some, horizon))
            i += len(some)
            if np.isfinite(parts[-1]).all():  # diverging runs end early: they would feign speed
                clock.worked(self.flops(0) * len(some) * horizon, began)
        return np.concatenate(parts)

    def growth_along(self, path: np.ndarray, n_exponents: int, clock: Clock) -> np.ndarray:
        """Log growth per step along a path of states: (T, m) -> (T, k)."""
        v = np.eye(self.dimension)[:, :n_exponents].copy()
        parts, i = [], 0
        while i < len(path):
            clock.tick()
            began = clock.elapsed
            some = np.ascontiguousarray(path[i : i + self.steps_per_call(n_exponents, clock)])
            parts.append(kernels.growth_along(self.arrays, some, v))
            i += len(some)
            clock.worked(self.flops(n_exponents) * len(some), began)
        return np.concatenate(parts)

    def growth_free(
        self, start: np.ndarray, n_steps: int, n_exponents: int, clock: Clock
    ) -> tuple[np.ndarray, np.ndarray, bool]:
        """Log growth (T, k), states (T, m) of a free run, and whether it stayed in bounds for all n_steps."""
        x = np.array(start, dtype=np.float64)
        v = np.eye(self.dimension)[:, :n_exponents].copy()
        logs, path, i = [], [], 0
        while i < n_steps:
            clock.tick()
            began = clock.elapsed
            n = min(self.steps_per_call(n_exponents, clock), n_steps - i)
            some_logs, some_path = kernels.growth_free(self.arrays, x, v, n)
            logs.append(some_logs)
            path.append(some_path)
            i += n
            clock.worked(self.flops(n_exponents) * len(some_path), began)
            if len(some_path) < n:
                return np.concatenate(logs), np.concatenate(path), False
        return np.concatenate(logs), np.concatenate(path), True

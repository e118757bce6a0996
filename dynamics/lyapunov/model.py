"""A fitted smooth model: features, weights and how it advances; runs in pieces short enough to be interrupted."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dynamics.lyapunov import kernels
from dynamics.lyapunov.basis import Basis
from dynamics.lyapunov.clock import Clock

FLOPS_PER_CALL = 4e7  # about 0.05 s of compiled arithmetic between two signs of life
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

    def steps_per_call(self, tangents: int) -> int:
        """Sampling steps that one compiled call may do."""
        return max(10, int(FLOPS_PER_CALL / self.flops(tangents)))

    def affordable(self, wanted: int, tangents: int, least: int) -> int:
        """At most `wanted` steps, fewer (never less than `least`) where they would take longer than about a second."""
        return int(min(wanted, max(least, FLOPS_PER_RUN / self.flops(tangents))))

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
        batch = max(1, self.steps_per_call(0) // horizon)
        parts = []
        for i in range(0, len(starts), batch):
            clock.tick()
            parts.append(kernels.forecasts(self.arrays, np.ascontiguousarray(starts[i : i + batch]), horizon))
        return np.concatenate(parts)

    def growth_along(self, path: np.ndarray, n_exponents: int, clock: Clock) -> np.ndarray:
        """Log growth per step along a path of states: (T, m) -> (T, k)."""
        v = np.eye(self.dimension)[:, :n_exponents].copy()
        batch = self.steps_per_call(n_exponents)
        parts = []
        for i in range(0, len(path), batch):
            clock.tick()
            parts.append(kernels.growth_along(self.arrays, np.ascontiguousarray(path[i : i + batch]), v))
        return np.concatenate(parts)

    def growth_free(
        self, start: np.ndarray, n_steps: int, n_exponents: int, clock: Clock
    ) -> tuple[np.ndarray, np.ndarray, bool]:
        """Log growth (T, k), states (T, m) of a free run, and whether it stayed in bounds for all n_steps."""
        x = np.array(start, dtype=np.float64)
        v = np.eye(self.dimension)[:, :n_exponents].copy()
        batch = self.steps_per_call(n_exponents)
        logs, path = [], []
        for i in range(0, n_steps, batch):
            clock.tick()
            n = min(batch, n_steps - i)
            some_logs, some_path = kernels.growth_free(self.arrays, x, v, n)
            logs.append(some_logs)
            path.append(some_path)
            if len(some_path) < n:
                return np.concatenate(logs), np.concatenate(path), False
        return np.concatenate(logs), np.concatenate(path), True

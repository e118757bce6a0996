"""A fitted smooth model: features, weights and how it advances; runs in pieces short enough to be interrupted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from dynamics.kernels.lanes import aligned
from dynamics.lyapunov import kernels, tangents
from dynamics.lyapunov.basis import Basis
from dynamics.lyapunov.clock import Clock

FLOPS_PER_CALL = 2e8  # about 0.05 s of compiled arithmetic between two signs of life on an idle machine
SECONDS_PER_CALL = 0.1
FLOPS_PER_RUN = 4e9
MAX_SUBSTEPS = 16
TOLERANCE = 0.4  # |J| h of a Runge-Kutta step, Frobenius norm


@dataclass(frozen=True)
class SmoothModel:
    """dx/dt = W' phi(x), t in sampling steps (flow), or x -> W' phi(x) over one step (map)."""

    basis: Basis
    weights: np.ndarray  # (K, m)
    is_flow: bool
    substeps: int = 1  # RK4 steps per sampling step: exactly where tolerance is 0, else at most
    bound: float = 30.0
    tolerance: float = 0.0
    mean_substeps: float = 1.0

    @property
    def dimension(self) -> int:
        return self.weights.shape[1]

    @property
    def n_terms(self) -> int:
        return int(np.count_nonzero(np.any(self.weights != 0.0, axis=1)))

    @cached_property
    def arrays(self) -> kernels.Arrays:
        b, m = self.basis, self.dimension
        fresh = 1 if self.shifts else m
        weights = self.weights[:, :fresh].T
        slopes = np.zeros((fresh, m, b.low))
        j, v, q, factor = b.derivatives
        for i in range(fresh):
            np.add.at(slopes[i], (v, q), factor * weights[i, j])
        return kernels.pack(
            fresh, b.parents, b.variables, weights, slopes, b.centres, b.gamma, b.turn, b.knots, b.knot_variables, b.power,
            self.substeps if self.is_flow else 0, self.tolerance, self.bound,
        )  # fmt: skip

    @cached_property
    def shifts(self) -> bool:
        """Whether a map only shifts its coordinates but the first, x'_i = x_(i-1), as delay vectors do."""
        if self.is_flow or self.dimension < 2:
            return False
        shifted = np.zeros((len(self.weights), self.dimension - 1))
        shifted[np.arange(1, self.dimension), np.arange(self.dimension - 1)] = 1.0
        return bool(np.array_equal(self.weights[:, 1:], shifted))

    def with_weights(self, weights: np.ndarray) -> SmoothModel:
        return replace(self, weights=weights)

    def flops(self, tangents: int) -> int:
        """Rough number of operations of one sampling step."""
        m, k, fresh = self.dimension, self.basis.size, 1 if self.shifts else self.dimension
        stages = 4 * max(1.0, self.mean_substeps) if self.is_flow else 1
        radial = len(self.basis.centres)
        slopes = fresh * m * (self.basis.low + radial + tangents) if tangents else 0
        return (
            int(stages * (k * fresh + radial * (m + 20) + slopes + m * tangents) + 4 * m * tangents**2) + 20 * tangents
        )

    def steps_per_call(self, tangents: int, clock: Clock) -> int:
        """Sampling steps that one compiled call may do."""
        return max(10, int(min(FLOPS_PER_CALL, clock.flops_within(SECONDS_PER_CALL)) / self.flops(tangents)))

    def affordable(self, wanted: int, tangents: int, least: int, clock: Clock) -> int:
        """At most `wanted` steps, fewer (never less than `least`) where they would take longer than one run may."""
        limit = min(FLOPS_PER_RUN, clock.flops_within(clock.run_seconds()))
        return int(min(wanted, max(least, limit / self.flops(tangents))))

    def jacobians(self, states: np.ndarray) -> np.ndarray:
        """Jacobians of W' phi at states (T, m), (T, m, m)."""
        return tangents.jacobians(self.arrays, states)

    def resolved(self, states: np.ndarray) -> SmoothModel:
        """The same model with RK4 steps as long as |J| h <= TOLERANCE allows, and how many of them `states` need on average."""
        if not self.is_flow:
            return self
        norms = np.linalg.norm(self.jacobians(states[:: max(1, len(states) // 200)]), axis=(1, 2))
        needed = np.clip(np.ceil(norms / TOLERANCE), 1, MAX_SUBSTEPS)
        return replace(self, substeps=MAX_SUBSTEPS, tolerance=TOLERANCE, mean_substeps=float(np.mean(needed)))

    @cached_property
    def steps_between_qr(self) -> int:
        """Sampling steps after which tangent vectors are made orthogonal again: of a flow, as its Jacobian allows."""
        return int(np.clip(4.0 / (TOLERANCE * self.mean_substeps), 1, 8)) if self.is_flow else 1

    def forecast(self, starts: np.ndarray, horizon: int, clock: Clock) -> np.ndarray:
        """Free runs (S, horizon, m), NaN after divergence."""
        parts, i = [], 0
        while i < len(starts):
            clock.tick()
            began = clock.elapsed
            count = max(1, self.steps_per_call(0, clock) // (horizon * kernels.LANES)) * kernels.LANES
            some = starts[i : i + count]
            parts.append(tangents.forecasts(self.arrays, some, horizon))
            i += len(some)
            if np.isfinite(parts[-1]).all():  # diverging runs end early: they would feign speed
                clock.worked(self.flops(0) * len(some) * horizon, began)
        return np.concatenate(parts)

    def growth_along(self, path: np.ndarray, n_exponents: int, clock: Clock) -> np.ndarray:
        """Log growth per step along a path of states: (T, m) -> (T, k); NaN where one step leaves the bound."""
        rows = tangents.lane_stretches(len(path))
        v = tangents.unit_vectors(self.dimension, n_exponents)
        parts, i = [], 0
        while i < len(rows):
            clock.tick()
            began = clock.elapsed
            some = rows[i : i + max(1, self.steps_per_call(n_exponents, clock) // kernels.LANES)]
            parts.append(tangents.along(self.arrays, path[some], v, n_exponents))
            i += len(some)
            clock.worked(self.flops(n_exponents) * some.size, began)
        share = -(-len(path) // kernels.LANES)
        growth = np.concatenate(parts)[-share:].transpose(1, 0, 2)
        return growth.reshape(-1, n_exponents)[: len(path)]

    def growth_along_each(self, paths: list[np.ndarray], n_exponents: int, clock: Clock) -> list[np.ndarray]:
        """The same along each of many short paths, one a lane, from its first row on: list of (T_i, k)."""
        found: list[np.ndarray] = []
        for first in range(0, len(paths), kernels.LANES):
            group = paths[first : first + kernels.LANES]
            lengths = np.array([len(group[min(i, len(group) - 1)]) for i in range(kernels.LANES)])
            steps = np.minimum(np.arange(lengths.max())[:, None], lengths - 1)  # shorter ones wait at their end
            offsets = np.cumsum(lengths[: len(group)]) - lengths[: len(group)]
            places = steps + offsets[np.minimum(np.arange(kernels.LANES), len(group) - 1)]
            clock.tick()
            began, v = clock.elapsed, tangents.unit_vectors(self.dimension, n_exponents)
            growth = tangents.along(self.arrays, np.concatenate(group)[places], v, n_exponents)
            clock.worked(self.flops(n_exponents) * places.size, began)
            found += [growth[: len(path), lane] for lane, path in enumerate(group)]
        return found

    def runner(self, starts: np.ndarray, n_exponents: int, clock: Clock) -> Runner:
        """Sixteen free runs from states (S, m), S <= 16."""
        return Runner(
            self, tangents.to_lanes(starts), tangents.unit_vectors(self.dimension, n_exponents), n_exponents, clock
        )


@dataclass
class Runner:
    """Sixteen free runs with their tangent vectors; each call of `go` continues them."""

    model: SmoothModel
    x: np.ndarray
    v: np.ndarray
    n_exponents: int
    clock: Clock

    def with_model(self, model: SmoothModel) -> Runner:
        """Runs of another model from the present states."""
        x, v = aligned(len(self.x), np.float64), aligned(len(self.v), np.float64)
        x[:], v[:] = self.x, self.v
        return replace(self, model=model, x=x, v=v)

    def go(self, n_steps: int) -> tuple[np.ndarray, np.ndarray]:
        """About n_steps more in every lane: log growth per step (L, n, k) and states (L, n, m), NaN in lanes that are lost."""
        k, every = self.n_exponents, self.model.steps_between_qr
        logs, path, left = [], [], max(1, round(n_steps / every))
        while left > 0:
            self.clock.tick()
            began = self.clock.elapsed
            n = min(left, max(1, self.model.steps_per_call(k, self.clock) // (every * kernels.LANES)))
            some_logs, some_path = tangents.free(self.model.arrays, self.x, self.v, k, n, every)
            logs.append(some_logs)
            path.append(some_path)
            left -= n
            if np.isfinite(some_path[-1]).any():
                self.clock.worked(self.model.flops(k) * n * every * kernels.LANES, began)
            else:
                break
        return np.concatenate(logs).transpose(1, 0, 2), np.concatenate(path).transpose(1, 0, 2)

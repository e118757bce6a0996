"""Fitting a smooth model: a flow's vector field in weak (integral) form, a map's right-hand side from one-step pairs."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg, sparse

from dynamics.lyapunov import tangents
from dynamics.lyapunov.basis import Basis
from dynamics.lyapunov.clock import Clock
from dynamics.lyapunov.model import SmoothModel
from dynamics.lyapunov.states import States

# relative to the largest squared singular value; of Gaussians with a norm: variance of the noise over that of the function
RIDGES = np.array([1e-22, 1e-16, 1e-13, 1e-11, 1e-9, 1e-7, 1e-5, 1e-3])
PRIORS = 10.0 ** np.arange(-12, -1, 2)
ROUNDING = 1e-15  # of the trace of normal equations: a smaller ridge would leave them indefinite
RESAMPLING = 10**9  # R K^2
N_BLOCKS = 16  # of the time axis, for hold-out and bootstrap
HELD_BLOCKS = (3, 7, 11, 15)


@dataclass(frozen=True)
class Regression:
    """Linear problem `features @ weights = targets`; `blocks` numbers the stretch of time that a row belongs to."""

    features: np.ndarray  # (R, K)
    targets: np.ndarray  # (R, m); (R, N) for delay vectors of N channels, of which only the first N coordinates are new
    blocks: np.ndarray  # (R,)
    dimension: int
    factor: np.ndarray  # (C, C) of the basis: then the last C features are its Gaussians times L^-T, whose norm is w' w

    def every(self, n: int) -> Regression:
        """Every n-th row."""
        return replace(self, features=self.features[::n], targets=self.targets[::n], blocks=self.blocks[::n])

    @property
    def ridges(self) -> np.ndarray:
        """Those to choose among."""
        return PRIORS if self.factor.size else RIDGES

    def complete(self, weights: np.ndarray) -> np.ndarray:
        """Weights (K, m): for delay vectors the other coordinates are shifted, exactly (monomial j + 1 is x_j)."""
        if self.factor.size:
            radial = linalg.solve_triangular(self.factor, weights[-len(self.factor) :], lower=True, trans="T")
            weights = np.concatenate([weights[: -len(self.factor)], radial])
        if weights.shape[1] == self.dimension:
            return weights
        new = weights.shape[1]
        whole = np.zeros((len(weights), self.dimension))
        whole[:, :new] = weights
        for j in range(new, self.dimension):
            whole[j - new + 1, j] = 1.0
        return whole

    def fitted(self, weights: np.ndarray) -> np.ndarray:
        """(R, columns of targets) what complete weights make of the features."""
        own = weights[:, : self.targets.shape[1]]
        if self.factor.size:
            c = len(self.factor)
            own = np.concatenate([own[:-c], self.factor.T @ own[-c:]])
        return np.asarray(self.features @ own)

    @property
    def held(self) -> np.ndarray:
        return np.isin(self.blocks, HELD_BLOCKS)


def block_numbers(states: States) -> list[np.ndarray]:
    """Number of the stretch of time, 0 .. N_BLOCKS - 1, of every row of every path."""
    edges = np.concatenate([[0], np.cumsum([len(p) for p in states.paths])])
    total = edges[-1]
    return [np.arange(a, b) * N_BLOCKS // total for a, b in itertools.pairwise(edges)]


@functools.lru_cache(maxsize=4)
def _weak_operators(n: int, half_width: int, every: int) -> tuple[sparse.csr_matrix, sparse.csr_matrix, np.ndarray]:
    """Matrices that integrate against phi and -phi', phi(u) = (1 - u^2)^7 on windows of 2 half_width + 1 samples.

    The trapezoidal error is of order (2 pi half_width)^-7: phi' has six vanishing derivatives at the ends.
    """
    u = np.arange(-half_width, half_width + 1) / half_width
    bump = (1.0 - u**2) ** 7
    slope = -14.0 * u * (1.0 - u**2) ** 6 / half_width
    centres = np.arange(half_width, n - half_width, every)
    rows = np.repeat(np.arange(len(centres)), len(u))
    columns = (centres[:, None] + np.arange(-half_width, half_width + 1)).ravel()
    shape = (len(centres), n)
    weigh = sparse.csr_matrix((np.tile(bump / bump.sum(), len(centres)), (rows, columns)), shape)
    derive = sparse.csr_matrix((np.tile(-slope / bump.sum(), len(centres)), (rows, columns)), shape)
    return weigh, derive, centres


def weak_regression(states: States, basis: Basis, half_width: int) -> Regression:
    """Rows  int phi f(x) dt = -int phi' x dt  of a vector field f = W' Phi, time in sampling steps.

    phi has compact support, so the trapezoidal rule converges like a spectral method and noise is never differentiated
    (Messenger & Bortz 2021, eq. 2.3). Fails when the support of phi holds fewer than about nine samples per oscillation.
    """
    probe = SmoothModel(basis, np.zeros((basis.size, states.dimension)), True).arrays
    features, targets, blocks = [], [], []
    for path, numbers in zip(states.paths, block_numbers(states), strict=True):
        if len(path) < 2 * half_width + 1:
            continue
        weigh, derive, centres = _weak_operators(len(path), half_width, max(1, half_width // 6))
        features.append(weigh @ tangents.design(probe, path))
        targets.append(derive @ path)
        blocks.append(numbers[centres])
    return _regression(basis, features, targets, blocks)


def _regression(
    basis: Basis, features: list[np.ndarray], targets: list[np.ndarray], blocks: list[np.ndarray]
) -> Regression:
    phi, c = np.concatenate(features), len(basis.factor)
    if c:
        # column-major throughout, as LAPACK has it: nothing is copied
        phi = phi.T.copy().T
        phi[:, -c:] = linalg.blas.dtrsm(1.0, basis.factor, phi[:, -c:], side=1, lower=1, trans_a=1, overwrite_b=1)
    return Regression(phi, np.concatenate(targets), np.concatenate(blocks), basis.centres.shape[1], basis.factor)


def step_regression(states: States, basis: Basis, jitter: float = 0.0, every: int = 1) -> Regression:
    """Rows  W' Phi(x_t) = x_(t + stride)  of a map, of every `every`-th t.

    jitter > 0 displaces every x_t at random by that many standard deviations: the fitted map then contracts towards the
    data beside them, where otherwise nothing fixes it (Bishop 1995: noise on the inputs penalises the Jacobian).
    """
    rng = np.random.default_rng(0)
    new = states.n_new
    probe = SmoothModel(basis, np.zeros((basis.size, states.dimension)), False).arrays
    features, targets, blocks = [], [], []
    for path, numbers in zip(states.paths, block_numbers(states), strict=True):
        if len(path) <= states.stride:
            continue
        start = path[: -states.stride]
        if jitter > 0.0:
            start = start + jitter * rng.standard_normal(start.shape)
        features.append(tangents.design(probe, start[::every]))
        targets.append(path[states.stride :: every, :new])
        blocks.append(numbers[: -states.stride : every])
    return _regression(basis, features, targets, blocks)


def _column_scale(features: np.ndarray) -> np.ndarray:
    scale = np.sqrt(np.einsum("rk,rk->k", features, features) / len(features))
    return np.where(scale == 0.0, 1.0, scale)


def _solve(features: np.ndarray, targets: np.ndarray, ridges: np.ndarray) -> Iterator[np.ndarray]:
    """Ridge solutions of one least-squares problem, columns scaled to unit root mean square."""
    scale, k = _column_scale(features), features.shape[1]
    joint = np.asarray(
        np.linalg.qr(np.hstack([features / scale, targets]), mode="r")
    )  # Q is never needed: R holds Q' targets as well
    u, s, vt = np.linalg.svd(joint[:k, :k], full_matrices=False)
    rotated = u.T @ joint[:k, k:]
    for ridge in ridges:
        yield (vt.T @ (rotated * (s / (s**2 + ridge * s[0] ** 2))[:, None])) / scale[:, None]


def _solve_with_norm(features: np.ndarray, targets: np.ndarray, ridges: np.ndarray) -> Iterator[np.ndarray]:
    """The same for features whose weights have unit prior variance: sum of squares / R + ridge |w|^2 is least.

    By the normal equations, whose condition the prior bounds, and once more for what is left over.
    """
    gram, pull = linalg.blas.dsyrk(1.0 / len(features), features, trans=1), features.T @ targets / len(features)
    least = ROUNDING * float(np.trace(gram))
    for ridge in np.maximum(ridges, least):
        factor = linalg.cho_factor(gram + ridge * np.eye(len(gram)), check_finite=False)
        weights = linalg.cho_solve(factor, pull, check_finite=False)
        left = features.T @ (targets - features @ weights) / len(features) - ridge * weights
        yield weights + linalg.cho_solve(factor, left, check_finite=False)


def _solutions(regression: Regression, rows: np.ndarray | slice, ridges: np.ndarray) -> Iterator[np.ndarray]:
    solve = _solve_with_norm if regression.factor.size else _solve
    return solve(regression.features[rows], regression.targets[rows], ridges)


def solutions(regression: Regression) -> list[tuple[np.ndarray, float, float]]:
    """Weights (K, m) from the rows that are not held out, ridge, and mean squared error on those that are, per ridge."""
    held, ridges = regression.held, regression.ridges
    found = list(_solutions(regression, ~held, ridges))
    losses = [float(np.mean((regression.features[held] @ w - regression.targets[held]) ** 2)) for w in found]
    return [(regression.complete(w), float(a), e) for w, a, e in zip(found, ridges, losses, strict=True)]


def refits(regression: Regression, ridges: np.ndarray) -> Iterator[np.ndarray]:
    """Weights from all rows, per ridge, one after the other as they are asked for."""
    return (regression.complete(w) for w in _solutions(regression, slice(None), ridges))


def refit(regression: Regression, ridge: float) -> np.ndarray:
    """Weights from all rows."""
    return next(refits(regression, np.array([ridge])))


def resampled(
    regression: Regression, ridge: float, n_samples: int, rng: np.random.Generator, clock: Clock
) -> list[np.ndarray]:
    """Weights refitted on blocks of time drawn with replacement (block bootstrap of the regression).

    All draws share one factorisation X = U S V': in the coordinates z = S V' w the normal equations of a draw are a sum of
    blocks U_b' U_b near the identity, however badly X is conditioned.
    """
    regression = regression.every(max(1, len(regression.features) * regression.features.shape[1] ** 2 // RESAMPLING))
    if regression.factor.size:
        return _resampled_with_norm(regression, ridge, n_samples, rng, clock)
    scale = _column_scale(regression.features)
    scaled = regression.features / scale
    _, s, vt = np.linalg.svd(np.linalg.qr(scaled, mode="r"), full_matrices=False)
    clock.tick()
    kept = s > 1e-13 * s[0]
    s, vt = s[kept], vt[kept]
    damping = ridge * s[0] ** 2 / s**2 + 1e-10
    size = np.sqrt(1.0 + damping)
    weights = []
    for gram, pull in _draws(replace(regression, features=scaled @ (vt.T / s)), n_samples, rng, clock):
        gram = gram + np.diag(damping)
        z = linalg.solve(gram / np.outer(size, size), pull / size[:, None], assume_a="pos") / size[:, None]
        weights.append(regression.complete((vt.T @ (z / s[:, None])) / scale[:, None]))
    return weights


def _resampled_with_norm(
    regression: Regression, ridge: float, n_samples: int, rng: np.random.Generator, clock: Clock
) -> list[np.ndarray]:
    """The same by the normal equations, which the prior keeps well-conditioned."""
    weights = []
    for gram, pull in _draws(regression, n_samples, rng, clock):
        damping = max(ridge * len(regression.features), ROUNDING * float(np.trace(gram)))
        weights.append(regression.complete(linalg.solve(gram + damping * np.eye(len(gram)), pull, assume_a="pos")))
    return weights


def _draws(
    regression: Regression, n_samples: int, rng: np.random.Generator, clock: Clock
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Normal equations, X' X and X' y, of blocks of time drawn with replacement; fewer than n_samples, yet four, where time is short."""
    grams, pulls = [], []
    for b in np.unique(regression.blocks):
        clock.tick()
        rows = regression.blocks == b
        grams.append(regression.features[rows].T @ regression.features[rows])
        pulls.append(regression.features[rows].T @ regression.targets[rows])
    for i in range(n_samples):
        clock.tick()
        if i >= 4 and clock.left() < 0.25:
            return
        counts = rng.multinomial(len(grams), np.full(len(grams), 1.0 / len(grams)))
        drawn = [(c * g, c * p) for c, g, p in zip(counts, grams, pulls, strict=True) if c > 0]
        yield np.sum([g for g, _ in drawn], axis=0), np.sum([p for _, p in drawn], axis=0)

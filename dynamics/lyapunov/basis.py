"""Function bases of a smooth model: monomials up to a degree, and Gaussian radial functions."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from functools import cached_property
from math import comb

import numpy as np
from scipy.linalg import lapack

INDEPENDENT = 1e-14  # least squared distance of a Gaussian from the span of the others, where it is kept


@dataclass(frozen=True)
class Basis:
    """K features of an m-dimensional state: all monomials up to `degree`, then radial functions about `centres`, then hinges.

    A hinge is max(x_v - knot, 0)^power; a radial function exp(-gamma |B x - c|^2), `metric` being B (empty: the unit matrix).
    With a `factor` L, L L' = k(c_i, c_j), weights w of the radial functions are judged by the norm w' L L' w of the function
    that they make, otherwise by w' w.
    """

    degree: int
    parents: np.ndarray
    variables: np.ndarray
    centres: np.ndarray
    gamma: float
    knots: np.ndarray = field(default_factory=lambda: np.empty(0))
    knot_variables: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    power: int = 1
    metric: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    factor: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))

    @property
    def size(self) -> int:
        return len(self.parents) + len(self.centres) + len(self.knots)

    @property
    def is_polynomial(self) -> bool:
        return len(self.centres) == 0 and len(self.knots) == 0

    @property
    def name(self) -> str:
        radial = f" + {len(self.centres)} radial functions" if len(self.centres) else ""
        kind = "piecewise linear" if self.power == 1 else "cubic splines"
        hinges = f" + {kind} in each coordinate ({len(self.knots)} knots)" if len(self.knots) else ""
        return f"polynomial of degree {self.degree}{radial}{hinges}"

    @property
    def turn(self) -> np.ndarray:
        """B (m, m), which takes states to where the centres are."""
        m = self.centres.shape[1]
        return self.metric if self.metric.size else np.eye(m)

    @cached_property
    def low(self) -> int:
        """Number of monomials below the highest degree: the slopes of all monomials are made of them."""
        return polynomial_size(self.centres.shape[1], max(self.degree - 1, 0))

    @cached_property
    def derivatives(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """d monomial[j] / d x_v = factor * monomial[q], as arrays (j, v, q, factor) of all that are not 0."""
        powers = np.zeros((len(self.parents), self.centres.shape[1]), dtype=int)
        for j in range(1, len(powers)):
            powers[j] = powers[self.parents[j]]
            powers[j, self.variables[j]] += 1
        place = {tuple(p): j for j, p in enumerate(powers)}
        entries = []
        for j, v in zip(*np.nonzero(powers), strict=True):
            below = powers[j].copy()
            below[v] -= 1
            entries.append((j, v, place[tuple(below)], powers[j, v]))
        table = np.array(entries, dtype=int).reshape(-1, 4)
        return table[:, 0], table[:, 1], table[:, 2], table[:, 3]


def polynomial_size(dimension: int, degree: int) -> int:
    """Number of monomials of at most `degree` in `dimension` variables, binomial(m + d, d)."""
    return comb(dimension + degree, degree)


def polynomial(dimension: int, degree: int) -> Basis:
    """All monomials of at most `degree`; monomial j is monomial parents[j] times x[variables[j]]."""
    parents, variables, last = [0], [0], [0]
    previous = [0]
    for _ in range(degree):
        current = []
        for parent in previous:
            for variable in range(last[parent], dimension):
                parents.append(parent)
                variables.append(variable)
                last.append(variable)
                current.append(len(parents) - 1)
        previous = current
    return Basis(degree, np.array(parents), np.array(variables), np.empty((0, dimension)), 0.0)


def with_kernel(states: np.ndarray, n_centres: int, width: float, metric: np.ndarray) -> Basis:
    """Quadratic polynomials with Gaussians of standard deviation `width` on up to n_centres states chosen far apart.

    They are wide against the distances, so that neighbours nearly coincide; those that others make up for are left out
    (pivoted Cholesky decomposition), and weights are judged by the norm of the function that they make, as the prior of a
    Gaussian process does with a subset of regressors (Rasmussen & Williams 2006, section 8.3.1). width: in units of the
    coordinates; metric: B (m, m), see `whitener`.
    """
    poly, gamma = polynomial(states.shape[1], 2), 1.0 / (2.0 * width**2)
    pool = states[:: max(1, len(states) // 4000)] @ metric
    centres = _far_apart(pool, min(n_centres, len(pool)))
    products = centres @ centres.T
    squares = np.diag(products)
    kernel = np.exp(-gamma * np.maximum(squares[:, None] + squares[None] - 2.0 * products, 0.0))
    factor, pivots, rank, _ = lapack.dpstrf(kernel, lower=1, tol=INDEPENDENT)
    kept, factor = centres[pivots[:rank] - 1], np.tril(factor[:rank, :rank])
    return Basis(2, poly.parents, poly.variables, kept, gamma, metric=metric, factor=factor)


def enlarged(basis: Basis, states: np.ndarray, n_centres: int) -> Basis:
    """The same with another number of Gaussians."""
    return with_kernel(states, n_centres, float(1.0 / np.sqrt(2.0 * basis.gamma)), basis.metric)


def _far_apart(pool: np.ndarray, n: int) -> np.ndarray:
    """n rows of the pool, each the one farthest from those before it, from the middle on."""
    chosen = np.empty(n, dtype=int)
    chosen[0] = int(np.argmin(np.sum((pool - pool.mean(axis=0)) ** 2, axis=1)))
    squares = np.sum(pool**2, axis=1)
    distance = np.full(len(pool), np.inf)
    for i in range(1, n):
        last = pool[chosen[i - 1]]
        distance = np.minimum(distance, squares - 2.0 * (pool @ last) + last @ last)
        chosen[i] = int(np.argmax(distance))
    return np.asarray(pool[chosen])


def whitener(states: np.ndarray, power: float) -> np.ndarray:
    """Symmetric (m, m) multiple of C^(-power / 2), C the covariance, that keeps the mean variance of the states' coordinates."""
    covariance = np.atleast_2d(np.cov(states.T))
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.maximum(values, 1e-12 * values[-1]) ** (-0.5 * power)) @ vectors.T
    return np.asarray(root * np.sqrt(np.trace(covariance) / np.trace(root @ covariance @ root)))


def with_hinges(states: np.ndarray, degree: int, n_knots: int, power: int) -> Basis:
    """Monomials up to `degree` and, in every coordinate, a spline with n_knots knots spread evenly over its range.

    power 3: cubic splines, for smooth functions of one coordinate that no low polynomial follows; power 1: piecewise linear
    ones, for fields with kinks (ideal diodes, dry friction).
    """
    poly = polynomial(states.shape[1], degree)
    low, high = states.min(axis=0), states.max(axis=0)
    shares = np.arange(n_knots) / n_knots if power == 3 else (np.arange(n_knots) + 0.5) / n_knots
    knots = (low[:, None] + (high - low)[:, None] * shares).ravel()
    variables = np.repeat(np.arange(states.shape[1]), n_knots)
    return Basis(degree, poly.parents, poly.variables, poly.centres, 0.0, knots, variables, power)


def with_kinks(states: np.ndarray, degree: int, knots: np.ndarray, variables: np.ndarray) -> Basis:
    """Monomials up to `degree` and piecewise linear functions with kinks at the given places."""
    poly = polynomial(states.shape[1], degree)
    return Basis(degree, poly.parents, poly.variables, poly.centres, 0.0, knots, variables, 1)


def places_of_kinks(basis: Basis, weights: np.ndarray, share: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Where a fitted piecewise linear function has its kinks: knots and their variables.

    A kink between two knots shows as weights on both, nearer the greater one; pairs with less than `share` of the strongest
    pair's weight are no kinks.
    """
    strength = np.linalg.norm(weights[-len(basis.knots) :], axis=1)
    pairs: list[tuple[int, int]] = []
    for v in np.unique(basis.knot_variables):
        mine = np.nonzero(basis.knot_variables == v)[0]
        mine = mine[np.argsort(basis.knots[mine])]
        pairs += itertools.pairwise(mine)
    weight = np.array([strength[a] + strength[b] for a, b in pairs])
    found: list[tuple[float, int]] = []
    used: set[int] = set()
    for i in np.argsort(weight)[::-1]:
        a, b = pairs[i]
        if weight[i] < share * weight.max() or a in used or b in used:
            continue
        used |= {a, b}
        found.append(
            (float((strength[a] * basis.knots[a] + strength[b] * basis.knots[b]) / weight[i]), basis.knot_variables[a])
        )
    return np.array([k for k, _ in found]), np.array([v for _, v in found], dtype=np.int64)

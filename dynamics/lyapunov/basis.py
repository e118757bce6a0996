"""Function bases of a smooth model: monomials up to a degree, and Gaussian radial functions."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np


@dataclass(frozen=True)
class Basis:
    """K features of an m-dimensional state: all monomials up to `degree`, then radial functions about `centres`."""

    degree: int
    parents: np.ndarray
    variables: np.ndarray
    centres: np.ndarray
    gamma: float

    @property
    def size(self) -> int:
        return len(self.parents) + len(self.centres)

    @property
    def name(self) -> str:
        radial = f" + {len(self.centres)} radial functions" if len(self.centres) else ""
        return f"polynomial of degree {self.degree}{radial}"


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


def with_radial(states: np.ndarray, degree: int, n_centres: int, width: float = 2.0) -> Basis:
    """Monomials up to `degree` and `n_centres` Gaussians on states chosen far apart (farthest-point order).

    exp(-gamma |x - c|^2) with gamma = 1 / (2 (width d)^2), d the median distance of a centre to its nearest fellow.
    """
    poly = polynomial(states.shape[1], degree)
    pool = states[:: max(1, len(states) // 2000)]
    chosen = np.empty(n_centres, dtype=int)
    chosen[0] = int(np.argmin(np.sum((pool - pool.mean(axis=0)) ** 2, axis=1)))
    distance = np.sum((pool - pool[chosen[0]]) ** 2, axis=1)
    for i in range(1, n_centres):
        chosen[i] = int(np.argmax(distance))
        distance = np.minimum(distance, np.sum((pool - pool[chosen[i]]) ** 2, axis=1))
    centres = pool[chosen]
    between = np.sqrt(np.sum((centres[:, None] - centres[None]) ** 2, axis=2))
    np.fill_diagonal(between, np.inf)
    spacing = max(float(np.median(between.min(axis=1))), 1e-6)
    return Basis(degree, poly.parents, poly.variables, centres, 1.0 / (2.0 * (width * spacing) ** 2))

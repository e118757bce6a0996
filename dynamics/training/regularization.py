"""Terms that are added to the loss: pulls towards the identity map, and the condition of an affine observation.

    identity            w sum (theta_p - target_p)^2 over all parameters that `Architecture.identity` names
    manifold attractor  the same over the rows of the last units: A to 1, W and h to 0, so that these units remember
    condition           w (||B||_F^2 ||B^+||_F^2 / r^2 - 1), r the rank of B: 0 when all its singular values agree

The losses that are reported are those of the data alone. Sources: Schmidt, Koppe, Monfared, Beutelspacher, Durstewitz 2021,
"Identifying nonlinear dynamical systems with multiple time scales and long-range dependencies", ICLR, eq. 4; Demmel 1988,
"The probability that a numerical analysis problem is difficult", Math. Comp. 50 (condition number ||B||_F ||B^+||).
"""

from __future__ import annotations

import numpy as np

from dynamics.training.layout import n_shared, views
from dynamics.training.settings import Settings
from models import ARCHITECTURES
from models.base import Architecture, Size


def pulls(settings: Settings, n_observed: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights and targets of sum_p weight_p (theta_p - target_p)^2, float64 (P,) each, of a family's common parameters; (0,) each where nothing pulls."""
    wanted = settings.regularisers
    if wanted.identity == 0 and wanted.manifold_attractor == 0:
        return np.empty(0), np.empty(0)
    architecture, size = ARCHITECTURES[settings.architecture], settings.size
    targets = architecture.identity(architecture.init(np.random.default_rng(0), size))
    if targets is None:
        raise ValueError(f"no parameters make {settings.architecture} the identity map")
    weight, target = (np.zeros(n_shared(settings, n_observed)) for _ in range(2))
    weights, values = (views(settings, flat, n_observed).map for flat in (weight, target))
    rows = unit_rows(architecture, size)
    kept = round(size.latent * wanted.manifold_attractor_fraction)  # units that remember
    for name, goal in targets.items():
        weights[name][...] = wanted.identity
        values[name][...] = goal
        if name in rows:
            weights[name][size.latent - kept :] += wanted.manifold_attractor
    return weight, target


def unit_rows(architecture: type[Architecture], size: Size) -> set[str]:
    """Parameters whose rows belong to latent units: those that gain a row with every unit more."""
    shapes, larger = architecture.shapes(size), architecture.shapes(size._replace(latent=size.latent + 1))
    return {name for name, shape in shapes.items() if shape[0] == size.latent and larger[name][0] == size.latent + 1}


def condition(matrix: np.ndarray) -> tuple[float, np.ndarray]:
    """||B||_F^2 ||B^+||_F^2 / r^2 - 1 of B (N, R) of full rank r, and its gradient (N, R), from the singular values s:

    sum s^2 sum s^-2 / r^2 - 1, and U diag(2 s sum s^-2 - 2 s^-3 sum s^2) V^T / r^2.
    """
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    squares, inverse_squares = np.sum(s**2), np.sum(s**-2.0)
    slopes = 2 * (s * inverse_squares - s**-3.0 * squares) / len(s) ** 2
    return float(squares * inverse_squares / len(s) ** 2 - 1), (u * slopes) @ vt

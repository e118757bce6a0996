"""A map for each recording: the common one shifted along learned directions, and the vector that fits rows best; numpy alone.

The service does the same (docs/science/collections.md there); its least squares are scipy's, these are Levenberg and Marquardt's
as written here, and both find the same minimum to some six digits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from attractor_client._ensemble import encode, observe
from attractor_client._filters import CONTEXT, deconvolve
from attractor_client._maps import MAPS

FITTED_ROWS = 1000
ROWS_PER_NUMBER = 10  # of a vector
TRIED_VECTORS = 64
_MOST_STEPS, _SMALLEST_GAIN = 200, 1e-12


def shifted(tensors: dict[str, np.ndarray], vector: np.ndarray) -> dict[str, np.ndarray]:
    """The tensors of the model whose map has this vector (p,): map.k + sum_i vector_i direction.k_i."""
    plain = {k: v for k, v in tensors.items() if not k.startswith(("direction.", "family."))}
    for name, direction in (
        (k.removeprefix("direction."), v) for k, v in tensors.items() if k.startswith("direction.")
    ):
        common = tensors[f"map.{name}"]
        plain[f"map.{name}"] = (common + np.tensordot(vector, direction, 1)).astype(common.dtype)
    return plain


def fitted(
    architecture: str, tensors: dict[str, np.ndarray], lags: Sequence[int], rows: np.ndarray, inputs: np.ndarray | None
) -> np.ndarray:
    """The vector (p,) whose map predicts the next row of `rows` (T, N), less their nuisance, best; `inputs` (T, K) standardised.

    Raises ValueError for fewer than 10 p steps.
    """
    vectors = tensors["family.vectors"].astype(np.float64)
    exact = {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in tensors.items()}
    scaled = (rows[-FITTED_ROWS:] - exact["series.mean"]) / exact["series.std"]
    reach, kept = lags[-1], slice(0, len(scaled))
    embedded = np.concatenate([scaled[reach - lag : len(scaled) - lag] for lag in lags], axis=1)
    if "filter.kernel" in tensors:
        left, right = (int(n) for n in tensors["filter.cut"])
        kept = slice(left, len(embedded) - right)
        embedded = (
            deconvolve(exact, embedded)[kept] if len(scaled) > CONTEXT * len(exact["filter.kernel"]) else embedded[:0]
        )
    n_steps, dim = len(embedded) - 1, vectors.shape[1]
    if n_steps < ROWS_PER_NUMBER * dim:
        raise ValueError(f"{max(0, n_steps)} steps are too few to fit {dim} numbers: {ROWS_PER_NUMBER * dim} needed")
    observation = {k.removeprefix("observation."): v for k, v in exact.items() if k.startswith("observation.")}
    push: np.ndarray | float = 0.0
    if inputs is not None:
        push = inputs[-FITTED_ROWS:][reach:][kept][1:] @ exact["inputs.C"].T

    def errors(vector: np.ndarray) -> np.ndarray:
        params = {k.removeprefix("map."): v for k, v in shifted(exact, vector).items() if k.startswith("map.")}
        with np.errstate(over="ignore", invalid="ignore"):
            following = MAPS[architecture](params, encode(params, observation, embedded[:-1])) + push
            found = (embedded[1:] - observe(observation, embedded.shape[1], following)) / exact["series.residual_std"]
        return np.nan_to_num(found, nan=1e6, posinf=1e6, neginf=-1e6).ravel()

    chosen = vectors[np.linspace(0, len(vectors) - 1, min(TRIED_VECTORS, len(vectors))).astype(int)]
    starts = np.concatenate([np.zeros((1, dim)), chosen])
    return _least_squares(errors, min(starts, key=lambda vector: float(np.sum(errors(vector) ** 2))))


def _least_squares(errors: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """argmin |errors(x)|^2 from x on: Levenberg 1944, Marquardt 1963, with forward differences."""
    e, damping = errors(x), 1e-3
    for _ in range(_MOST_STEPS):
        h = np.sqrt(np.finfo(float).eps) * np.maximum(1.0, np.abs(x))
        jacobian = np.stack([(errors(x + h[i] * np.eye(len(x))[i]) - e) / h[i] for i in range(len(x))], axis=1)
        normal, slope = jacobian.T @ jacobian, jacobian.T @ e
        while damping < 1e12:
            step = np.linalg.solve(normal + damping * np.diag(np.maximum(np.diag(normal), 1e-30)), -slope)
            tried = errors(x + step)
            if tried @ tried < e @ e:
                break
            damping *= 10
        else:
            return x
        gain = 1 - (tried @ tried) / (e @ e)
        x, e, damping = x + step, tried, damping / 10
        if gain < _SMALLEST_GAIN:
            return x
    return x

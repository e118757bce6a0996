"""State-space divergence d_stsp: how far the generated points are distributed from the true ones, KL(p_true || p_gen) in nats.

It compares where the series go, never when: order in time does not matter. Three variants, never comparable with each
other: `binned-30` (the default up to 5 coordinates), `binned-10-2s`, `gmm-1.0` (the default beyond 5).
All are invariant when both series are rescaled or (except `binned-10-2s`, which is centred on zero) shifted per coordinate.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from domain.base import Measure, MeasureParameters

MAX_BINNED_CHANNELS = 5
_PSEUDOCOUNT = 1e-5
_DENSE_CELLS = 1_000_000
_DENSITY_VALUES = 500_000  # of one block: 4 MB, about what a cache holds
_FARTHEST = 1e100  # its square is still finite; no density is left there


def d_stsp(x: np.ndarray, y: np.ndarray, *, seed: int = 0) -> Measure:
    """d_stsp(x, y), see `d_stsp_all`."""
    return d_stsp_all(x, [y], seed=seed)[0]


def d_stsp_all(x: np.ndarray, generated: list[np.ndarray], *, seed: int = 0) -> list[Measure]:
    """d_stsp of each generated series in the variant the number of coordinates asks for: `binned-30` for N <= 5, `gmm-1.0` for more.

    x (T, N) true, y (T', N) generated, any unit, the same for both. Source: Koppe et al. 2019, PLoS Comput. Biol. 15, eq. 21;
    Brenner et al. 2022, ICML, section 3.3.
    """
    if np.shape(x)[-1] <= MAX_BINNED_CHANNELS:
        return [d_stsp_binned(x, y) for y in generated]
    return d_stsp_mixtures(x, generated, seed=seed)


def d_stsp_binned(
    x: np.ndarray, y: np.ndarray, *, bins: int = 30, box: tuple[np.ndarray, np.ndarray] | None = None
) -> Measure:
    """KL divergence between histograms of m bins per coordinate over [min x - 0.1 s, max x + 0.1 s], s = std of x.

    p_k = (n_k + a) / (sum_k n_k + a m^N), a = 1e-5, sum_k p_k ln(p_k / q_k); points outside the box are dropped.
    x (T, N) true, y (T', N) generated, N <= 5. Source: Hess et al. 2023, ICML, appendix (variant `binned-30`).
    Undefined when no generated point lies inside, or a coordinate of x does not vary. Biased upwards for short series:
    a cell that x visits and y misses costs about p ln(p T' / a), so compare with the floor at the same length.
    `box`: its lower and upper corner (N,), where it is not that of x; x and y may then hold fewer points than say where they lie.
    """
    x, y, reason = _checked(x, y, bins)
    variant = f"binned-{bins}"
    parameters: MeasureParameters = {"bins": bins, "margin_std": 0.1, "pseudocount": _PSEUDOCOUNT}
    if reason is None:
        margin = 0.1 * x.std(axis=0)
        low, high = box or (x.min(axis=0) - margin, x.max(axis=0) + margin)
        return _histogram_divergence(x, y, low, high, bins, 0, variant, parameters)
    return Measure(reason=reason, variant=variant, parameters=parameters)


def d_stsp_binned_2s(x: np.ndarray, y: np.ndarray, *, bins: int = 10) -> Measure:
    """KL divergence between histograms of m bins per coordinate over [-2 s, 2 s] around zero, the lowest bin of each dropped.

    As `d_stsp_binned` otherwise; the dropped cells stay in the m^N of the normalisation. Meant for standardised series.
    Source: Mikhaeil, Monfared, Durstewitz 2022, NeurIPS (variant `binned-10-2s`, as its published code computes it).
    Undefined when no true or no generated point lies inside.
    """
    x, y, reason = _checked(x, y, bins)
    variant = f"binned-{bins}-2s"
    parameters: MeasureParameters = {"bins": bins, "halfwidth_std": 2.0, "pseudocount": _PSEUDOCOUNT}
    if reason is None:
        edge = 2.0 * x.std(axis=0)
        return _histogram_divergence(x, y, -edge, edge, bins, 1, variant, parameters)
    return Measure(reason=reason, variant=variant, parameters=parameters)


def d_stsp_mixture(x: np.ndarray, y: np.ndarray, **settings: Any) -> Measure:
    """d_stsp(x, y) between Gaussian mixtures, see `d_stsp_mixtures`."""
    return d_stsp_mixtures(x, [y], **settings)[0]


def d_stsp_mixtures(
    x: np.ndarray,
    generated: list[np.ndarray],
    *,
    variance: float = 1.0,
    max_steps: int = 10_000,
    n_samples: int = 1_000,
    seed: int = 0,
) -> list[Measure]:
    """KL divergence between Gaussian mixtures centred on the points of two series, by Monte Carlo over the true mixture.

    p(u) = mean_t N(u; x_t, sigma^2 I) on series standardised by the mean and std of x, first `max_steps` steps;
    value = mean_i [ln p(u_i) - ln q(u_i)], u_i ~ p, by log-sum-exp. x (T, N) true, each generated series (T', N); the same
    samples serve all of them. Source: Koppe et al. 2019; Hess et al. 2023 (variant `gmm-1.0`). Its Monte Carlo standard
    error is among the parameters. Undefined when y is not finite. Blind to structure finer than sigma.
    """
    variant = f"gmm-{variance:g}" if variance != int(variance) else f"gmm-{variance:.1f}"
    settings: MeasureParameters = {
        "variance": variance,
        "max_steps": max_steps,
        "n_samples": n_samples,
        "seed": seed,
    }
    samples = log_p = None
    found = []
    for y in generated:
        x, y, reason = _checked(x, y)
        if reason is None and not np.isfinite(y).all():
            reason = f"the generated series is not finite from row {first_non_finite(y)} on"
        if reason is not None:
            found.append(Measure(reason=reason, variant=variant, parameters=dict(settings)))
            continue
        if samples is None or log_p is None:
            mean, std = x.mean(axis=0), x.std(axis=0)
            centres = _centres(x, mean, std, max_steps)
            rng = np.random.default_rng(seed)
            samples = centres[rng.integers(len(centres), size=n_samples)]
            samples = samples + np.sqrt(variance) * rng.standard_normal(samples.shape)
            log_p = _log_density(samples, centres, variance)
        ratio = log_p - _log_density(samples, _centres(y, mean, std, max_steps), variance)
        error = float(ratio.std() / np.sqrt(n_samples))
        parameters = settings | {"monte_carlo_standard_error": error}
        found.append(Measure(value=float(ratio.mean()), variant=variant, parameters=parameters))
    return found


def _centres(v: np.ndarray, mean: np.ndarray, std: np.ndarray, max_steps: int) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.clip((v[:max_steps] - mean) / std, -_FARTHEST, _FARTHEST)


def first_non_finite(y: np.ndarray) -> int:
    """Row of the first value that is not finite in y (T, N)."""
    return int(np.argmax(~np.isfinite(y).all(axis=1)))


def _checked(x: np.ndarray, y: np.ndarray, bins: int = 0) -> tuple[np.ndarray, np.ndarray, str | None]:
    """Both series as float64 (T, N), and why a divergence between them is undefined, if it is."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or x.shape[1] == 0:
        raise ValueError(f"two series (T, N) with the same N are needed, not {x.shape} and {y.shape}")
    if bins and x.shape[1] > MAX_BINNED_CHANNELS:
        raise ValueError(f"histograms need N <= {MAX_BINNED_CHANNELS}, not {x.shape[1]}: use d_stsp_mixture")
    if len(x) == 0 or len(y) == 0:
        return x, y, f"the {'true' if len(x) == 0 else 'generated'} series is empty"
    if not np.isfinite(x).all():
        return x, y, f"the true series is not finite at row {first_non_finite(x)}"
    if (constant := np.flatnonzero(np.ptp(x, axis=0) == 0)).size:
        return x, y, f"coordinate {constant[0]} of the true series does not vary"
    return x, y, None


def _histogram_divergence(
    x: np.ndarray,
    y: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    bins: int,
    lowest_bin: int,
    variant: str,
    parameters: MeasureParameters,
) -> Measure:
    x_cells, y_cells = (_cells(v, low, high, bins, lowest_bin) for v in (x, y))
    for name, cells in (("true", x_cells), ("generated", y_cells)):
        if cells.size == 0:
            return Measure(reason=f"no {name} point lies inside the histogram", variant=variant, parameters=parameters)
    n_cells = bins ** x.shape[1]
    if n_cells > _DENSE_CELLS:  # number the occupied cells only
        _, compact = np.unique(np.concatenate([x_cells, y_cells]), return_inverse=True)
        x_cells, y_cells = compact[: x_cells.size], compact[x_cells.size :]
    size = int(max(x_cells.max(), y_cells.max())) + 1
    p, q = (
        (np.bincount(cells, minlength=size) + _PSEUDOCOUNT) / (cells.size + _PSEUDOCOUNT * n_cells)
        for cells in (x_cells, y_cells)
    )
    p_empty, q_empty = (_PSEUDOCOUNT / (cells.size + _PSEUDOCOUNT * n_cells) for cells in (x_cells, y_cells))
    value = float(np.sum(p * np.log(p / q))) + (n_cells - size) * p_empty * float(np.log(p_empty / q_empty))
    inside = y_cells.size / len(y)
    return Measure(value=max(value, 0.0), variant=variant, parameters=parameters | {"generated_inside": inside})


def _cells(points: np.ndarray, low: np.ndarray, high: np.ndarray, bins: int, lowest_bin: int) -> np.ndarray:
    """Number of the cell of each point inside the box: (T, N) -> (T',) int64. NaN is outside."""
    inside = points[((points >= low) & (points <= high)).all(axis=1)]
    index = np.minimum((bins * (inside - low) / (high - low)).astype(np.int64), bins - 1)
    index = index[(index >= lowest_bin).all(axis=1)]
    return index @ (bins ** np.arange(points.shape[1], dtype=np.int64))


def _log_density(u: np.ndarray, centres: np.ndarray, variance: float) -> np.ndarray:
    """ln mean_t N(u; c_t, sigma^2 I): u (S, N), centres (T, N) -> (S,), in blocks of bounded memory."""
    normalisation = 0.5 * u.shape[1] * np.log(2 * np.pi * variance) + np.log(len(centres))
    offsets = -0.5 * (centres**2).sum(axis=1) / variance
    directions = np.ascontiguousarray(centres.T) / variance
    block = max(1, _DENSITY_VALUES // len(centres))
    logs = np.empty(len(u))
    for first in range(0, len(u), block):
        part = u[first : first + block]
        exponents = (
            part @ directions
        )  # -|u - c|^2 / (2 sigma^2) without its first term, which is the same for all centres
        exponents += offsets
        largest = exponents.max(axis=1)
        exponents -= largest[:, None]
        np.exp(exponents, out=exponents)
        logs[first : first + block] = largest + np.log(exponents.sum(axis=1)) - 0.5 * (part**2).sum(axis=1) / variance
    return logs - normalisation

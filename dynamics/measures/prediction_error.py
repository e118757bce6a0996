"""Short-term prediction: the error of free runs that start on the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from domain.base import Measure, MeasureParameters
from dynamics.reporting import Reporter
from models.trained import Drive, TrainedModel

FreeRun = Callable[
    [np.ndarray, int, Drive | None], np.ndarray
]  # (z0 (B, M), n_steps, drive) -> states after 1..n_steps steps (n_steps, B, M)
_MAX_START_STEPS = 2_000_000  # bounds the work: n_starts * n_steps
_BLOCK_VALUES = 500_000  # bounds the memory: n_steps * B * M
_LANES, _MOST_VALUES = 16, 8_000_000  # fewer runs at a time than a vector holds cost as much as a whole one


def prediction_error(
    model: TrainedModel,
    segments: list[np.ndarray],
    n_steps: int = 20,
    *,
    inputs: list[np.ndarray] | None = None,
    lead_in: list[int] | None = None,
    max_starts: int | None = None,
    scale: np.ndarray | None = None,
    free_run: FreeRun | None = None,
    reporter: Reporter | None = None,
) -> Measure:
    """PE(n): mean squared error at horizon n over all starts and coordinates, on standardised data.

    PE(n) = mean_{t, i} ((x^_{t+n, i} - x_{t+n, i}) / s_i)^2, x^ = observe(F^n(encode(x_t))), for every t <= T - n of every segment;
    where that is more than 2e6 / n (or `max_starts`), evenly spaced ones. `segments` are embedded observations, list of
    (T_i, N_e), `inputs` the standardised inputs of the same rows, (T_i, K), which a driven model is told: it is asked for
    x, not for its inputs. `scale` s (N_e,) is the segments' std unless given, so that predicting the mean scores 1. `persistence` among the parameters is
    what x^_{t+n} = x_t scores. Source: Koppe et al. 2019; Hess et al. 2023. It says nothing about the attractor: runs that
    later collapse can score perfectly. Channels of counts and classes are left out: see `predictive_likelihoods`.
    """
    variant = f"mse-{n_steps}"
    pooled = np.concatenate(segments)
    most = max(200, _MAX_START_STEPS // n_steps)
    first = first_rows(model, segments, lead_in)
    starts = start_rows(segments, n_steps, most if max_starts is None else min(most, max_starts), first)
    if not starts.size:
        return Measure(reason=f"no segment has more than {n_steps} steps{_after_context(model)}", variant=variant)
    compared = model.gaussian
    if not len(compared):
        return Measure(reason="no channel is Gaussian: see counted_channels", variant=variant)
    scale = (measured(segments, lead_in).std(axis=0) if scale is None else scale)[compared]
    if (constant := np.flatnonzero(scale == 0)).size:
        return Measure(reason=f"coordinate {constant[0]} of the true series does not vary", variant=variant)
    squares, persistence, diverged = 0.0, 0.0, 0
    for x0, truth, predicted in predictions(model, pooled, starts, n_steps, free_run, reporter, driving(inputs)):
        x0, truth, predicted = x0[..., compared], truth[..., compared], predicted[..., compared]
        error = _mean_square((predicted[-1] - truth[-1]) / scale)
        diverged += int(np.sum(~np.isfinite(error)))
        squares += float(error[np.isfinite(error)].sum())
        persistence += float(_mean_square((x0 - truth[-1]) / scale).sum())
    n = len(starts)
    parameters: MeasureParameters = {
        "horizon_steps": n_steps,
        "n_starts": n,
        "persistence": persistence / n,
    }
    if diverged:
        reason = f"{diverged} of {n} runs left every bound within {n_steps} steps"
        return Measure(reason=reason, variant=variant, parameters=parameters)
    return Measure(value=squares / n, variant=variant, parameters=parameters)


def measured(segments: list[np.ndarray], lead_in: list[int] | None) -> np.ndarray:
    """Rows of all segments but those that only lead in, (T, N_e)."""
    return np.concatenate([s[skipped:] for s, skipped in zip(segments, lead_in or [0] * len(segments), strict=True)])


def first_rows(model: TrainedModel, segments: list[np.ndarray], lead_in: list[int] | None) -> list[int]:
    """The first row of each segment that runs may start after: one with a context before it, from the last that leads in on."""
    return [max(skipped - 1, model.context_rows - 1) for skipped in lead_in or [0] * len(segments)]


def _after_context(model: TrainedModel) -> str:
    return "" if model.context_rows == 1 else f" after the {model.context_rows} rows that a run starts from"


def start_rows(
    segments: list[np.ndarray], n_steps: int, max_starts: int | None, first: list[int] | None = None
) -> np.ndarray:
    """Rows of the concatenated segments from which n_steps stay within one segment; `max_starts` evenly spaced ones if more.

    `first`: the row of each segment that is the first possible.
    """
    ends = np.cumsum([len(s) for s in segments])
    parts = zip(segments, ends, first or [0] * len(segments), strict=True)
    rows = np.concatenate(
        [np.arange(end - len(s) + low, max(end - n_steps, end - len(s) + low)) for s, end, low in parts]
    )
    if max_starts is None or rows.size <= max_starts:
        return rows
    return rows[np.linspace(0, rows.size - 1, max_starts).astype(np.int64)]


def driving(inputs: list[np.ndarray] | None) -> np.ndarray | None:
    """Inputs of the segments end to end, so that row t of the pooled segments has row t of them: (T, K)."""
    return None if inputs is None else np.concatenate(inputs)


def predictions(
    model: TrainedModel,
    pooled: np.ndarray,
    starts: np.ndarray,
    n_steps: int,
    free_run: FreeRun | None,
    reporter: Reporter | None,
    inputs: np.ndarray | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Free runs from rows of the data, in blocks of bounded memory: x0 (B, N_e), truth and prediction (n_steps, B, N_e).

    `inputs` (T, K): standardised, of the rows of `pooled`; a run from row t is driven from row t + 1 on.
    """
    run = free_run or model.free_run
    width = max(model.latent_dim, model.n_observed)
    size = max(1, _BLOCK_VALUES // (n_steps * width))
    if size < len(starts) and _LANES * n_steps * width <= _MOST_VALUES:
        size = -(-size // _LANES) * _LANES
    ahead = np.arange(1, n_steps + 1)[:, None]
    for first in range(0, len(starts), size):
        if reporter is not None:
            reporter.check()
        rows = starts[first : first + size]
        drive = None if inputs is None else Drive(inputs, rows + 1 - model.lead)
        before = model.launch(pooled[rows[:, None] + np.arange(1 - model.context_rows, 1)])
        with np.errstate(over="ignore", invalid="ignore"):
            predicted = model.show(before, run(before[-1], n_steps + model.lead, drive))[model.lead :]
            yield pooled[rows], pooled[rows + ahead], predicted


def _mean_square(error: np.ndarray) -> np.ndarray:
    """(..., N) -> (...); inf or NaN where it overflows."""
    with np.errstate(over="ignore", invalid="ignore"):
        return (error**2).mean(axis=-1)

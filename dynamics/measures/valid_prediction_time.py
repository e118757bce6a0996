"""Valid prediction time: how long a forecast stays near the truth."""

from __future__ import annotations

import numpy as np

from domain.results import ValidPredictionTime
from dynamics.measures.prediction_error import FreeRun, driving, first_rows, measured, predictions, start_rows
from dynamics.reporting import Reporter
from models import TrainedModel


def valid_prediction_time(
    model: TrainedModel,
    segments: list[np.ndarray],
    *,
    inputs: list[np.ndarray] | None = None,
    thresholds: tuple[float, ...] = (0.4, 0.3),
    window_steps: int,
    lambda_max: float | None,
    lead_in: list[int] | None = None,
    max_starts: int = 200,
    free_run: FreeRun | None = None,
    reporter: Reporter | None = None,
) -> ValidPredictionTime:
    """First time at which the normalised error e(t) of a free run exceeds a threshold; median and quartiles over starts.

    e(k dt) = sqrt(mean_i ((x^_{t+k, i} - x_{t+k, i}) / s_i)^2), s = std of the segments; k counted from 1. `segments` are embedded
    observations, list of (T_i, N_e), `inputs` the standardised inputs of their rows, (T_i, K), for a driven model; starts
    are evenly spaced over the segments, each followed for `window_steps`. Times in units of `dt`; in Lyapunov times
    multiplied by `lambda_max` (per time unit). The first threshold is the answer, the others come under `also`.
    Source: Vlachas et al. 2020, Neural Networks 126, 191 (NRMSE); Pathak et al. 2018 with e > 0.4.
    Starts still below the threshold at the window's end are censored: a quartile that falls on them is null. Gaussian channels alone count.
    """
    starts = start_rows(segments, window_steps, max_starts, first_rows(model, segments, lead_in))
    pooled = np.concatenate(segments)
    if not starts.size:
        reason = f"no segment has more than {window_steps} steps"
        return ValidPredictionTime(threshold=thresholds[0], unit=model.time_unit, reason=reason)
    compared = model.gaussian
    if not len(compared):
        reason = "no channel is Gaussian: see counted_channels"
        return ValidPredictionTime(threshold=thresholds[0], unit=model.time_unit, reason=reason)
    scale = measured(segments, lead_in).std(axis=0)[compared]
    if (constant := np.flatnonzero(scale == 0)).size:
        reason = f"coordinate {constant[0]} of the true series does not vary"
        return ValidPredictionTime(threshold=thresholds[0], unit=model.time_unit, reason=reason)
    errors = np.concatenate(
        [
            _normalised_error(predicted[..., compared], truth[..., compared], scale)
            for _, truth, predicted in predictions(
                model, pooled, starts, window_steps, free_run, reporter, driving(inputs)
            )
        ],
        axis=1,
    )
    first, *others = (_summary(errors, level, model, lambda_max) for level in thresholds)
    return first.model_copy(update={"also": others})


def _normalised_error(predicted: np.ndarray, truth: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """(n_steps, B, N) -> (n_steps, B); inf where the prediction is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.sqrt((((predicted - truth) / scale) ** 2).mean(axis=-1))
    return np.where(np.isfinite(error), error, np.inf)


def _summary(
    errors: np.ndarray, threshold: float, model: TrainedModel, lambda_max: float | None
) -> ValidPredictionTime:
    exceeded = errors > threshold
    censored = ~exceeded.any(axis=0)
    times = np.where(censored, np.inf, (np.argmax(exceeded, axis=0) + 1) * model.dt)
    quartiles = np.quantile(times, [0.25, 0.5, 0.75], method="inverted_cdf")
    lower, median, upper = (float(q) if np.isfinite(q) else None for q in quartiles)
    positive = lambda_max is not None and lambda_max > 0
    reason = None
    if median is None:
        window = len(errors) * model.dt
        reason = f"at least half of the starts stayed below the threshold to the end of the window ({window:g} {model.time_unit})"
    elif not positive:
        reason = "no Lyapunov time: lambda_max of the series is unknown or not positive"
    return ValidPredictionTime(
        threshold=threshold,
        median_time=median,
        quartiles_time=(lower, upper),
        median_lyapunov_times=median * lambda_max
        if median is not None and lambda_max is not None and positive
        else None,
        n_starts=errors.shape[1],
        censored=int(censored.sum()),
        unit=model.time_unit,
        reason=reason,
    )

"""How the error of a model's forecasts grows with the horizon; numpy only, for the API draws it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dynamics.measures.prediction_error import driving, first_rows, measured, predictions, start_rows
from models.trained import TrainedModel

MAX_STARTS = 200
MAX_WORK = 4_000_000  # steps * starts * units: a fraction of a second
SHARE = 0.25  # of the longest segment: what remains are starts


@dataclass(frozen=True)
class Growth:
    """Normalised root mean square errors over the coordinates, 1 being a standard deviation of the data; (K,) each."""

    time: np.ndarray
    median: np.ndarray  # over the starts
    lower: np.ndarray  # quartiles; inf where runs have diverged
    upper: np.ndarray
    persistence: np.ndarray  # root of the mean square of forecasting no change
    noise: float  # of the measurement, which no forecast can beat
    starts: int


def error_growth(
    model: TrainedModel,
    segments: list[np.ndarray],
    inputs: list[np.ndarray] | None,
    horizon_steps: int,
    nuisance: list[np.ndarray] | None = None,
    lead_in: list[int] | None = None,
) -> Growth:
    """e(k dt) = sqrt(mean_i ((x^_{t+k, i} - x_{t+k, i}) / s_i)^2) over starts t, k = 1 ... horizon (cut to a quarter of the longest segment).

    `segments` (T_i, N) in the series' own units, each without gaps, with the `inputs` (T_i, K) of their rows for a model
    that is driven and their `nuisance` (T_i, P), which is subtracted; the first `lead_in` rows of each only start runs. Evenly
    spaced starts, at most 200, fewer for large models. s is the segments' standard deviation.
    Source: Vlachas et al. 2020, Neural Networks 126, 191. Raises ValueError where no segment is long enough, or one
    coordinate does not vary.
    """
    lag = model.lags[-1]
    usable = [i for i, s in enumerate(segments) if len(s) > lag + 1]
    embedded = [model.embed(segments[i]) for i in usable]
    if model.nuisance is not None and nuisance is not None:
        given = [model.nuisance.standardise(nuisance[i])[lag:] for i in usable]
        embedded = [model.clean(rows, r) for rows, r in zip(embedded, given, strict=True)]
    skipped = [max(0, lead_in[i] - lag) if lead_in else 0 for i in usable]
    first = first_rows(model, embedded, skipped)
    longest = max((len(rows) - low for rows, low in zip(embedded, first, strict=True)), default=0)
    n_steps = min(horizon_steps, int(SHARE * longest))
    if n_steps < 2:
        raise ValueError(f"the held-out part is too short for forecasts: {sum(len(s) for s in segments)} rows")
    standardised = None
    if inputs is not None and model.inputs is not None:
        standardised = [model.inputs.standardise(inputs[i])[lag:] for i in usable]
    most = min(MAX_STARTS, max(16, MAX_WORK // (n_steps * max(model.latent_dim, model.hidden_dim))))
    starts = start_rows(embedded, n_steps, most, first)
    pooled = np.concatenate(embedded)
    compared = model.gaussian
    if not len(compared):
        raise ValueError("no channel is Gaussian")
    scale = measured(embedded, skipped).std(axis=0)[compared]
    if (constant := np.flatnonzero(scale == 0)).size:
        raise ValueError(f"coordinate {constant[0]} of the held-out part does not vary")
    errors, persistence = [], np.zeros(n_steps)
    for x0, truth, predicted in predictions(model, pooled, starts, n_steps, None, None, driving(standardised)):
        x0, truth, predicted = x0[..., compared], truth[..., compared], predicted[..., compared]
        with np.errstate(over="ignore", invalid="ignore"):
            errors.append(np.sqrt((((predicted - truth) / scale) ** 2).mean(axis=-1)))
        persistence += (((x0 - truth) / scale) ** 2).mean(axis=-1).sum(axis=1)
    found = np.concatenate(errors, axis=1)
    lower, median, upper = np.quantile(
        np.where(np.isfinite(found), found, np.inf), [0.25, 0.5, 0.75], axis=1, method="inverted_cdf"
    )
    return Growth(
        time=np.arange(1, n_steps + 1) * model.dt,
        median=median,
        lower=lower,
        upper=upper,
        persistence=np.sqrt(persistence / found.shape[1]),
        noise=float(np.sqrt(np.mean((model.reading_std[compared] / scale) ** 2))),
        starts=found.shape[1],
    )  # fmt: skip

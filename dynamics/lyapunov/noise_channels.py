"""Channels that nothing forecasts, beside others that are forecast well: noise, and no coordinate of any state."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

MAX_ROWS = 4000
PAST = 8  # values of a channel's own past that a linear model gets
OWN_DELAYS = 3  # of the same that neighbours are sought in
N_NEIGHBOURS = 5
UNPREDICTABLE = 0.95  # error of the best forecast one step ahead, standard deviations, above which a channel is noise
PREDICTED = 0.5  # the same that another channel must be below


def noise_channels(x: np.ndarray) -> list[int]:
    """Channels of (T, N) to be left out, ascending; empty where all are forecast, or none is.

    Every channel's next value is forecast by linear regression on its past and on all channels, by quadratic regression on all
    channels, and by the mean future of nearest neighbours among all channels and among its own delays; fitted to the first half
    of at most 4,000 rows, judged on the second.
    """
    x = x[:MAX_ROWS]
    x = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-300)
    errors = np.array([_best_error(x, c) for c in range(x.shape[1])])
    found = [int(c) for c in np.nonzero(errors > UNPREDICTABLE)[0]]
    return found if found and errors.min() < PREDICTED else []


def _best_error(x: np.ndarray, channel: int) -> float:
    """Root mean square error of the best of the forecasts of one channel, relative to its standard deviation."""
    own = np.lib.stride_tricks.sliding_window_view(x[:, channel], PAST)[:-1, ::-1]
    now, future = x[PAST - 1 : -1], x[PAST:, channel]
    half = len(future) // 2
    products = np.einsum("ti,tj->tij", now, now)[:, *np.triu_indices(x.shape[1])]
    forecasts = [_regressed(np.hstack(f), future[:half]) for f in ([now, own], [now, products])]
    forecasts += [_of_neighbours(f, future[:half]) for f in (now, own[:, :OWN_DELAYS])]
    width = float(np.std(future[half:]))
    return min(float(np.sqrt(np.mean((f - future[half:]) ** 2))) for f in forecasts) / max(width, 1e-300)


def _regressed(features: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Forecasts from the rows of `features` that have no target."""
    features = np.hstack([np.ones((len(features), 1)), features])
    weights = np.linalg.lstsq(features[: len(targets)], targets, rcond=1e-10)[0]
    return np.asarray(features[len(targets) :] @ weights)


def _of_neighbours(states: np.ndarray, targets: np.ndarray) -> np.ndarray:
    near = cKDTree(states[: len(targets)]).query(states[len(targets) :], k=N_NEIGHBOURS)[1]
    return np.asarray(targets[near].mean(axis=1))

"""State spaces to look for a model in: the channels, delay vectors of one of them, or of all where they are not the state."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from domain.specs import LyapunovSpec
from dynamics.lyapunov.preparation import Prepared
from dynamics.lyapunov.selection import MAX_DELAYED, Candidate
from dynamics.lyapunov.states import States, channels_as_states, delay_vectors

DELAYS = (0.05, 0.08, 0.12)  # of the pace, for a flow
DIMENSIONS = (4, 3, 5, 6)  # of a scalar flow, in this order, as far as time allows
LAGS = (2, 3, 4)  # of several channels
MAX_DELAYED_MAP = 8  # coordinates of delay vectors of a map's channels
CLEAR = 0.02  # error of the next steps, standard deviations, below which channels are the state
NOISES = 3.0  # the same in standard deviations of the noise
BETTER = 1.5  # ratio of forecast errors at which delay vectors are preferred to the channels


def state_spaces(
    paths: list[np.ndarray], raw: list[np.ndarray], pace: float, prepared: Prepared, spec: LyapunovSpec
) -> list[tuple[States, bool]]:
    """Candidate states and whether a flow (else a map) is fitted on them."""
    flow = prepared.sampling.is_flow
    if prepared.n_channels > 1:
        return [(replace(channels_as_states(paths), observed=raw), flow)]
    given_m = None if spec.embedding_dimension == "auto" else int(spec.embedding_dimension)
    given_tau = None if spec.embedding_delay == "auto" else int(spec.embedding_delay)
    if not flow or given_tau is not None:
        tau = max(1, round((given_tau or 1) / prepared.stride))
        dimensions = [given_m] if given_m else [1, 2, 3, 4]
        pairs = [(m, tau) for m in dimensions if m * tau < _room(paths)]
        return [(delay_vectors(paths, m, tau, tau if flow else 1, flow), False) for m, tau in pairs]
    return _delayed(paths, [given_m] if given_m else list(DIMENSIONS), pace)


def of_channels(paths: list[np.ndarray], raw: list[np.ndarray], prepared: Prepared) -> list[tuple[States, bool]]:
    """Delay vectors of several channels, none where they would have too many coordinates."""
    flow, n = prepared.sampling.is_flow, prepared.n_channels
    lags = [d for d in LAGS if n * d <= (MAX_DELAYED if flow else MAX_DELAYED_MAP)]
    if flow:
        found = _delayed(paths, lags, prepared.sampling.pace)
    else:
        found = [(delay_vectors(paths, d, 1), False) for d in lags if d < _room(paths)]
    return [(replace(s, observed=delay_vectors(raw, s.n_lags, s.delay).observed), f) for s, f in found]


def _delayed(paths: list[np.ndarray], lags: list[int], pace: float) -> list[tuple[States, bool]]:
    delays = sorted({max(1, round(pace * share)) for share in DELAYS})
    pairs = [(tau, d) for d in lags for tau in delays if (d - 1) * tau < _room(paths)]
    return [(delay_vectors(paths, d, tau, tau, True), False) for tau, d in pairs]


def _room(paths: list[np.ndarray]) -> int:
    """Steps that delays may reach back."""
    return sum(len(s) for s in paths) // 8


def in_doubt(best: Candidate, pace: float, noise: float) -> bool:
    """Whether the next steps are forecast so badly, given the noise, that the channels may show a part of the state only."""
    leads = max(1, round(DELAYS[-1] * pace / best.states.stride))
    early = float(np.sqrt(np.mean(best.curve[:leads] ** 2)))
    return early > max(CLEAR, NOISES * noise)


def forecast_ratio(channels: Candidate, delayed: Candidate) -> float:
    """Forecast error of the channels' model over that of delay vectors, rms over the leads that both reach."""
    own = channels.states.stride * np.arange(1, len(channels.curve) + 1)
    leads = delayed.states.stride * np.arange(1, len(delayed.curve) + 1)
    leads = leads[leads <= own[-1]]
    if len(leads) == 0:
        return 0.0
    both = np.interp(leads, own, channels.curve), delayed.curve[: len(leads)]
    return float(np.sqrt(np.mean(both[0] ** 2) / np.mean(both[1] ** 2)))

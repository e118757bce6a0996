"""Delay and dimension of an embedding: mutual information, autocorrelation, false nearest neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from domain.results import Embedding
from domain.specs import LyapunovSpec
from dynamics.lyapunov.clock import Clock
from dynamics.lyapunov.modelling import Modelled
from dynamics.lyapunov.preparation import Prepared
from dynamics.lyapunov.sampling import lag_autocorrelation
from dynamics.lyapunov.states import delay_vectors


@dataclass(frozen=True)
class DelayChoice:
    """A delay in steps, why it was chosen, and what was looked at: empty for a map."""

    steps: int
    reason: str
    lags: list[int]
    information: list[float]  # mutual information of x_t and x_(t+lag), nats
    correlation: list[float]  # their autocorrelation

    def as_json(self, stride: int) -> dict[str, object] | None:
        """In rows of the series, of which every `stride`-th is used."""
        if not self.lags:
            return None
        return {
            "lag_steps": [lag * stride for lag in self.lags],
            "mutual_information": self.information,
            "autocorrelation": self.correlation,
            "chosen_steps": self.steps * stride,
        }


def mutual_information(segments: list[np.ndarray], lags: list[int], n_bins: int = 16) -> list[float]:
    """I(x_t; x_(t+lag)) in nats of a scalar series, on equally filled bins (Fraser & Swinney 1986)."""
    pooled = np.concatenate([s[:, 0] for s in segments])
    edges = np.quantile(pooled, np.linspace(0, 1, n_bins + 1)[1:-1])
    codes = [np.searchsorted(edges, s[:, 0]) for s in segments]
    out = []
    for lag in lags:
        pairs = np.concatenate([c[:-lag] * n_bins + c[lag:] for c in codes if len(c) > lag])
        joint = np.bincount(pairs, minlength=n_bins * n_bins).reshape(n_bins, n_bins) / len(pairs)
        product = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
        seen = joint > 0
        out.append(float(np.sum(joint[seen] * np.log(joint[seen] / product[seen]))))
    return out


def choose_delay(segments: list[np.ndarray], is_flow: bool, period_steps: float, clock: Clock) -> DelayChoice:
    """Delay in steps and the reason for it: first minimum of the mutual information, at most a quarter period."""
    if not is_flow:
        return DelayChoice(1, "delay 1: a map's series has no smaller time scale than its step", [], [], [])
    longest = max(len(s) for s in segments)
    reach = int(max(2, min(period_steps, longest // 4)))
    step = max(1, reach // 60)
    lags = list(range(1, reach + 1, step))
    information, correlation = [], []
    for lag in lags:
        clock.tick()
        information += mutual_information(segments, [lag])
        correlation.append(float(lag_autocorrelation(segments, lag)[0]))

    def chosen(steps: int, why: str) -> DelayChoice:
        return DelayChoice(steps, f"delay {steps}: {why}", lags, information, correlation)

    level = np.convolve(np.pad(information, 1, mode="edge"), np.full(3, 1 / 3), mode="valid")  # binning makes it jitter
    for i in range(1, len(lags) - 1):
        if lags[i] >= period_steps / 16 and level[i] <= level[i - 1] and level[i] < level[i + 1]:
            return chosen(lags[i], "first minimum of the mutual information")
    for lag, value in zip(lags, correlation, strict=True):
        if value < np.exp(-1.0):
            return chosen(lag, "the autocorrelation falls below 1/e (the mutual information has no minimum)")
    return chosen(max(1, round(period_steps / 4)), "a quarter of the mean period (neither criterion applies)")


def false_neighbours(
    segments: list[np.ndarray], dimension: int, delay: int, theiler: int, n_points: int = 1500
) -> float:
    """Share of nearest neighbours in m dimensions that part in the next one (Kennel, Brown & Abarbanel 1992, eq. 4 and 5).

    Neighbours closer in time than `theiler` do not count. NaN for a series too short for m + 1 delays.
    """
    usable = [s for s in segments if len(s) > (dimension + 1) * delay + 20]
    if not usable:
        return float("nan")
    vectors = np.concatenate(delay_vectors(usable, dimension + 1, delay).paths)[:20_000]
    points, following = vectors[:, :dimension], vectors[:, dimension]
    size = float(np.std(following))
    query = np.linspace(0, len(points) - 1, min(n_points, len(points))).astype(int)
    distances, indices = cKDTree(points).query(points[query], k=min(len(points), 12))
    fair = np.abs(indices - query[:, None]) > theiler
    first = np.argmax(fair, axis=1)
    rows = np.nonzero(fair.any(axis=1))[0]
    if len(rows) == 0:
        return float("nan")
    near, apart = indices[rows, first[rows]], distances[rows, first[rows]]
    gap = np.abs(following[query[rows]] - following[near])
    floor = 1e-3 * size
    false = (gap / np.maximum(apart, floor) > 15.0) | (np.sqrt(gap**2 + apart**2) / size > 2.0)
    return float(np.mean(false))


def choose_dimension(
    segments: list[np.ndarray], delay: int, theiler: int, clock: Clock, largest: int = 8
) -> tuple[int, str, list[float | None]]:
    """Smallest dimension with fewer than 2 % false neighbours, the reason, and the share for m = 1, 2, ..."""
    shares: list[float | None] = []
    for m in range(1, largest + 1):
        clock.tick()
        share = false_neighbours(segments, m, delay, theiler)
        if np.isnan(share):
            break
        shares.append(share)
        if share < 0.02:
            return m, f"dimension {m}: {100 * share:.1f} % false nearest neighbours", shares
    values = [s for s in shares if s is not None]
    if not values:
        return 3, "dimension 3: the series is too short for the false-neighbour criterion", shares
    m = int(np.argmin(values)) + 1
    return (
        m,
        f"dimension {m}: fewest false nearest neighbours ({100 * min(values):.0f} %); none falls below 2 %",
        shares,
    )


def embedding_of(
    prepared: Prepared, modelled: Modelled, spec: LyapunovSpec, clock: Clock
) -> tuple[Embedding, list[float | None], DelayChoice | None]:
    """The state space measured and why, false neighbours by dimension, and what the delay was chosen by (None for channels)."""
    states, stride = modelled.candidate.states, prepared.stride
    if states.kind == "none":
        kind = "principal-components" if prepared.projected else "none"
        what = "principal components of the channels" if prepared.projected else "channels themselves"
        reason = (
            f"The {what} forecast themselves, to {np.exp(modelled.candidate.score):.2g} of their standard deviation."
        )
        reason = f"{reason} {modelled.why}".strip()
        return Embedding(kind=kind, dimension=states.dimension, reason=reason), [], None
    if prepared.n_channels > 1:
        return _embedding_of_channels(prepared, modelled), [], None
    period = prepared.sampling.period_steps
    series = prepared.segments
    if spec.embedding_delay == "auto":
        choice = choose_delay(series, prepared.sampling.is_flow, period, clock)
        delay, why = choice.steps, choice.reason
    else:
        choice = None
        delay, why = max(1, round(int(spec.embedding_delay) / stride)), "delay as asked for"
    dimension, why_m, shares = choose_dimension(series, delay, max(1, round(period)), clock)
    if spec.embedding_dimension != "auto":
        dimension, why_m = int(spec.embedding_dimension), "dimension as asked for"
    how = (
        f"{states.dimension} principal components of a window of {states.window_steps * stride} steps"
        if states.kind == "principal-components"
        else f"{states.dimension} delays of {states.delay * stride} step(s)"
    )
    counted = f" (counted in steps of {stride} rows)" if stride > 1 else ""
    reason = f"Exponents measured on {how}, which forecast held-out data best. For a reconstruction{counted}: {why}; {why_m}."
    lags = [j * delay * stride for j in range(max(dimension, 1))]
    return (
        Embedding(
            kind=states.kind,
            dimension=states.dimension,
            delay_steps=delay * stride,
            lags=lags,
            reason=reason,
        ),
        shares,
        choice,
    )


def _embedding_of_channels(prepared: Prepared, modelled: Modelled) -> Embedding:
    states, stride = modelled.candidate.states, prepared.stride
    reason = (
        f"{modelled.why} Exponents measured on {states.n_lags} values of each of {prepared.n_channels} "
        f"{'principal components' if prepared.projected else 'channels'}, {states.delay * stride} step(s) apart, which forecast "
        "held-out data best."
    )
    lags = [j * states.delay * stride for j in range(states.n_lags)]
    return Embedding(
        kind="delay", dimension=states.dimension, delay_steps=states.delay * stride, lags=lags, reason=reason
    )

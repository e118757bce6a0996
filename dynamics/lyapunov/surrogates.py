"""Surrogate data: is the series predictable beyond what linearly correlated noise is? (Theiler et al. 1992, Physica D 58, 77)

Surrogates share the series' distribution and (cross-)spectrum and have random phases otherwise: what a stationary linear
Gaussian process, seen through a static monotone function, would look like.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.spatial import cKDTree

from dynamics.lyapunov.clock import Clock

N_SURROGATES = 19  # 1 / (19 + 1) = 0.05, one-sided
MAX_ROWS = 1500
MAX_CHANNELS = 3
MIN_ROWS = 200
STATIONARY_ROWS = (
    360  # a flow's thirty periods: a random walk has fewer, whatever its length, and is no stationary noise
)
SAMPLES_PER_PERIOD = 12  # of a flow, after thinning
ROUNDS = 12
N_REFERENCES = 400
N_NEIGHBOURS = 6
CLEAR = 3.0  # standard deviations of the surrogates below their mean that count as a clear rejection


@dataclass(frozen=True)
class SurrogateTest:
    """Nonlinear prediction error of the data beside that of the surrogates, in standard deviations of the series."""

    error: float
    surrogate_errors: np.ndarray  # (n,)
    horizon_steps: int  # of the series as it was given
    rows: int

    @property
    def p(self) -> float:
        """One-sided rank p-value: (1 + number of surrogates that are as predictable) / (n + 1)."""
        return float((1 + np.count_nonzero(self.surrogate_errors <= self.error)) / (len(self.surrogate_errors) + 1))

    @property
    def sigmas(self) -> float:
        """How many standard deviations of the surrogates' errors the data's error lies below their mean."""
        spread = float(np.std(self.surrogate_errors, ddof=1))
        return float((np.mean(self.surrogate_errors) - self.error) / max(spread, 1e-12))

    @property
    def decisive(self) -> bool:
        """Whether the series is long enough for a drift not to pass for structure, and for chaos not to be missed."""
        return self.rows >= STATIONARY_ROWS

    @property
    def rejected(self) -> bool:
        """Whether linear noise is clearly ruled out: no surrogate is as predictable, and by more than chance gives."""
        return self.p <= 1.0 / (len(self.surrogate_errors) + 1) and self.sigmas > CLEAR

    def as_json(self) -> dict[str, object]:
        return {
            "prediction_error": self.error,
            "surrogate_errors": [float(e) for e in self.surrogate_errors],
            "rank_p_value": self.p,
            "sigmas": self.sigmas,
            "horizon_steps": self.horizon_steps,
            "rows": self.rows,
            "method": "iaaft surrogates, locally constant prediction",
        }


def surrogate_test(
    segments: list[np.ndarray], is_flow: bool, period_steps: float, delay: int, n_lags: int, seed: int, clock: Clock
) -> SurrogateTest | None:
    """Rank test of the nonlinear prediction error against surrogates; about 40 searches in trees of 1500 states.

    segments (T_i, N); a flow is thinned to about 12 samples per period, the longest segment is used, cut where its ends
    fit (a jump between them would be a feature that surrogates cannot have). `delay` in steps and `n_lags` are of the
    delay vectors of one channel; several channels are taken as they are. None for fewer than 200 rows (after thinning) or
    a stretch that does not vary. A rejection says that the series is not stationary linear noise: nonlinear, or not
    stationary. It is not a proof of chaos.
    """
    every = max(1, round(period_steps / SAMPLES_PER_PERIOD)) if is_flow else 1
    longest = max(segments, key=len)
    x = longest[::every][:MAX_ROWS]
    if len(x) < MIN_ROWS:
        return None
    x = fitting_ends(leading(x, MAX_CHANNELS))
    width = x.std(axis=0)
    if not np.all(width > 1e-9):
        return None
    x = (x - x.mean(axis=0)) / width
    horizon = max(1, round(period_steps / every / 2)) if is_flow else 1
    lag = max(1, round(delay / every)) if is_flow else 1
    m = 1 if x.shape[1] > 1 else int(np.clip(n_lags, 2, 5))
    clock.tick()
    error = prediction_error(x, m, lag, horizon)
    errors = []
    rng = np.random.default_rng([seed, 5])
    for _ in range(N_SURROGATES):
        clock.tick()
        errors.append(prediction_error(iaaft(x, rng), m, lag, horizon))
    return SurrogateTest(error, np.array(errors), horizon * every, len(x))


def leading(x: np.ndarray, n: int) -> np.ndarray:
    """The channels (T, N), or the n leading principal components of more than n."""
    if x.shape[1] <= n:
        return x
    vectors = np.linalg.eigh(np.cov(x.T))[1]
    return np.asarray(x @ vectors[:, ::-1][:, :n])


def fitting_ends(x: np.ndarray, share: int = 10) -> np.ndarray:
    """The stretch of (T, N) whose ends fit best in value and in slope, beginning and ending in the outer tenths.

    The Fourier transform closes a series to a ring (Schreiber & Schmitz 2000, Physica D 142, 346).
    """
    n = len(x) // share
    head, tail = x[:n], x[len(x) - n - 1 :]
    gap = np.zeros((n - 1, n))
    for c in range(x.shape[1]):  # the row after the last shall be like the first, and so shall the step to it
        gap += (tail[None, 1:, c] - head[:-1, None, c]) ** 2
        gap += (np.diff(tail[:, c])[None] - np.diff(head[:, c])[:, None]) ** 2
    start, stop = np.unravel_index(int(np.argmin(gap)), gap.shape)
    return x[start : len(x) - n + stop]


def iaaft(x: np.ndarray, rng: np.random.Generator, rounds: int = ROUNDS) -> np.ndarray:
    """One surrogate (T, N) with the values of x and, nearly, its spectra and cross-spectra.

    Iterated amplitude-adjusted Fourier transform (Schreiber & Schmitz 1996, Phys. Rev. Lett. 77, 635); several channels keep
    their phases relative to each other (Schreiber & Schmitz 2000). Ends with the exact values.
    """
    n = len(x)
    target = fft.rfft(x, axis=0)
    amplitude, phase = np.abs(target), np.angle(target)
    values = np.sort(x, axis=0)
    turn = rng.uniform(0.0, 2.0 * np.pi, len(target))
    turn[0] = 0.0
    y = fft.irfft(amplitude * np.exp(1j * (phase + turn[:, None])), n, axis=0)
    for _ in range(rounds):
        y = _with_values(y, values)
        # the common rotation of all channels' phases that is nearest to the present ones, weighted alike
        now = fft.rfft(y, axis=0)
        common = np.sum(np.exp(1j * (np.angle(now) - phase)), axis=1)
        turned = np.angle(common)[:, None]
        y = fft.irfft(amplitude * np.exp(1j * (phase + turned)), n, axis=0)
    return _with_values(y, values)


def _with_values(y: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The sorted values in the order of y, channel by channel."""
    out = np.empty_like(y)
    np.put_along_axis(out, np.argsort(y, axis=0), values, axis=0)
    return out


def prediction_error(x: np.ndarray, dimension: int, lag: int, horizon: int) -> float:
    """Root mean square error of the mean future of the nearest states, `horizon` rows ahead, over all channels of (T, N).

    Locally constant prediction on delay vectors of `dimension` (Farmer & Sidorowich 1987; Kantz & Schreiber 2004, ch. 4);
    states nearer in time than the horizon and the window do not count.
    """
    back = (dimension - 1) * lag
    last = len(x) - horizon
    states = np.hstack([x[back - j * lag : last - j * lag] for j in range(dimension)])
    apart = back + horizon
    query = np.linspace(0, len(states) - 1, min(N_REFERENCES, len(states))).astype(int)
    k = min(len(states), N_NEIGHBOURS + 2 * min(apart, 12) + 1)
    near = cKDTree(states).query(states[query], k=k)[1]
    fair = np.abs(near - query[:, None]) > apart
    fair &= np.cumsum(fair, axis=1) <= N_NEIGHBOURS
    count = fair.sum(axis=1)
    known = count > 0
    future = x[back + horizon :]
    forecast = np.einsum("qk,qkc->qc", fair[known].astype(float), future[near[known]]) / count[known][:, None]
    return float(np.sqrt(np.mean((forecast - future[query[known]]) ** 2)))

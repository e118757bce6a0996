"""Exponents of a fitted model by QR, along the data and in free run, with draws that carry their uncertainty."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dynamics.lyapunov.clock import Clock
from dynamics.lyapunov.divergence import REGION_ERROR
from dynamics.lyapunov.kernels import LANES
from dynamics.lyapunov.model import Runner, SmoothModel
from dynamics.lyapunov.states import States

N_BATCHES = 32
MANY_PATHS, LONG_PATH = 8, 2000  # from so many paths of fewer rows on, each is followed in one lane
MIN_DRAWS = 4
MIN_SUSTAINED = LANES - 2  # free runs that must stay in bounds
VANISHED = -1e4  # nats per step, in place of minus infinity
NEGLIGIBLE_GROWTH = 3e-4  # nats per period: an error of lambda_max that changes nothing
LEAST_MODEL_ERROR = 0.025  # of lambda_max, for a model of delay vectors
FREE_RUN_FLOPS = (
    5e9  # of all free runs of the chosen model: work, not time, so that a busy machine gives the same answer
)


@dataclass(frozen=True)
class Measured:
    """Exponents per sampling step, descending."""

    exponents: np.ndarray  # (k,)
    covariance: np.ndarray  # (k, k): of the finite run, and of the fitted weights
    source: str  # "free run" or "along the data"
    along: np.ndarray  # (k,)
    along_error: np.ndarray  # (k,) standard errors of `along` from batch means
    free: np.ndarray | None  # (k,), None where the free run leaves the attractor
    free_steps: int
    convergence: list[dict[str, object]]

    def draws(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """(n, k) exponents from their joint normal distribution."""
        values, vectors = np.linalg.eigh(self.covariance)
        return self.exponents + rng.standard_normal((n, len(values))) @ (vectors * np.sqrt(np.maximum(values, 0.0))).T


def from_divergence(measured: Measured, slope: float, error: float) -> Measured:
    """The largest exponent alone, from neighbour divergence; a sixth of it is added to its error for the choice of the region."""
    return replace(
        measured,
        exponents=np.array([slope]),
        covariance=np.array([[error**2 + (REGION_ERROR * slope) ** 2]]),
        source="neighbour divergence",
    )


def doubted(measured: Measured, slope: float) -> Measured:
    """The same, the distance of lambda_max from another method's figure added to its standard error."""
    covariance = measured.covariance.copy()
    covariance[0, 0] += float(measured.exponents[0] - slope) ** 2
    return replace(measured, covariance=covariance)


def from_local_jacobians(measured: Measured, exponents: np.ndarray, errors: np.ndarray) -> Measured:
    """The spectrum of local-linear maps in place of the model's; directions that vanish keep a large negative number."""
    known = np.isfinite(exponents)
    return replace(
        measured,
        exponents=np.where(known, exponents, VANISHED),
        covariance=np.diag(np.where(known, errors, 0.0) ** 2),
        source="local Jacobians",
    )


def batch_covariance(growth: np.ndarray, n_batches: int = N_BATCHES) -> np.ndarray:
    """Covariance of the mean of (T, k) serially dependent rows, by non-overlapping batch means (Schmeiser 1982)."""
    n_batches = min(n_batches, max(2, len(growth) // 10))
    length = len(growth) // n_batches
    means = growth[: n_batches * length].reshape(n_batches, length, -1).mean(axis=1)
    return np.atleast_2d(np.cov(means.T)) / n_batches


def resembles(path: np.ndarray, reference: np.ndarray) -> bool:
    """Whether a free run fills about the region that the data fill: mean, width and reach of every coordinate."""
    mean, width = reference.mean(axis=0), reference.std(axis=0) + 1e-12
    shift = np.abs(path.mean(axis=0) - mean) / width
    ratio = path.std(axis=0) / width
    reach = np.max(np.abs(path - mean), axis=0) / np.max(np.abs(reference - mean), axis=0)
    return bool(np.all(shift < 0.5) and np.all((ratio > 0.6) & (ratio < 1.6)) and np.all(reach < 2.0))


def along_data(
    model: SmoothModel, states: States, n_exponents: int, clock: Clock, max_steps: int = 20_000
) -> np.ndarray:
    """Log growth (T, k) along the data's own states; tangent vectors start anew in every path, their first steps dropped.

    Paths are pooled, each counting by its length. One of many short paths is followed as a whole, and loses a quarter, as its
    vectors have not turned before.
    """
    share = model.affordable(max_steps, n_exponents, 1000, clock) / sum(len(p[:: states.stride]) for p in states.paths)
    threads = [path[:: states.stride] for path in states.paths]
    threads = [thread[: max(60, round(share * len(thread)))] for thread in threads]
    short = len(threads) >= MANY_PATHS and max(map(len, threads)) < LONG_PATH
    if short:
        grown = model.growth_along_each(threads, n_exponents, clock)
    else:
        grown = [model.growth_along(thread, n_exponents, clock) for thread in threads]
    parts = [g[min(len(g) // (4 if short else 10), 50) :] for g in grown]
    growth = np.concatenate(parts)
    return growth[np.isfinite(growth).all(axis=1)]


def start_runs(model: SmoothModel, states: States, n_exponents: int, transient: int, clock: Clock) -> Runner:
    """Sixteen free runs from places spread evenly over the data, after `transient` steps."""
    pooled = states.pooled()
    places = ((np.arange(LANES) + 0.5) / LANES * len(pooled)).astype(int)
    runner = model.runner(pooled[places], n_exponents, clock)
    runner.go(transient)
    return runner


def sustained(growth: np.ndarray, path: np.ndarray, states: States) -> np.ndarray | None:
    """Growth (l, n, k) of the lanes that stayed, None where too many left or where they fill another region than the data."""
    alive = np.isfinite(path).all(axis=(1, 2)) & np.isfinite(growth).all(axis=(1, 2))
    if np.count_nonzero(alive) < MIN_SUSTAINED or not resembles(
        path[alive].reshape(-1, path.shape[2]), states.pooled()
    ):
        return None
    return growth[alive]


def free_run(
    model: SmoothModel, states: States, n_exponents: int, n_steps: int, transient: int, clock: Clock
) -> np.ndarray | None:
    """Growth per step (rows, k) over about n_steps of free runs in all, None where they do not stay on the attractor."""
    runner = start_runs(model, states, n_exponents, transient, clock)
    growth = sustained(*runner.go(-(-n_steps // LANES)), states)
    return None if growth is None else growth.reshape(-1, n_exponents)


def _convergence(growth: np.ndarray, n_points: int = 40) -> list[dict[str, object]]:
    steps = np.unique(np.geomspace(max(10, len(growth) // 1000), len(growth), n_points).astype(int))
    running = np.cumsum(growth, axis=0)
    return [{"steps": int(n), "exponents": [float(v) for v in running[n - 1] / n]} for n in steps]


def measure(
    model: SmoothModel,
    draws: list[np.ndarray],
    states: States,
    n_exponents: int,
    period_steps: float,
    clock: Clock,
    alternatives: list[float],
    precision: float = 0.004,
) -> Measured:
    """Exponents of the model in free run where it stays on the data's attractor, along the data otherwise.

    The free run is the better estimate of the attractor's exponents, since it can be as long as one likes: it goes on until
    the standard error of the largest exponent is below `precision` of it or the time for it is spent.
    `draws`: weights from the uncertainty of the fit; each is measured in the same way. `alternatives`: lambda_max of other
    models that forecast about as well; how far they scatter about the chosen one is part of the uncertainty.
    """
    rate = 1.0 / states.stride
    growth = along_data(model, states, n_exponents, clock) * rate
    along, along_covariance = growth.mean(axis=0), batch_covariance(growth)
    turns = max(period_steps, 10.0) * rate
    runner = start_runs(model, states, n_exponents, int(min(1000, 10 * turns)), clock)
    free_growth = _run_freely(runner, states, turns, rate, precision, clock)
    if states.kind == "delay" and free_growth is not None:
        gap, error = abs(float(free_growth[:, 0].mean()) - along[0]), np.sqrt(along_covariance[0, 0])
        if gap > max(0.5 * abs(along[0]), 0.05 * rate / turns, 3.0 * error):
            free_growth = None  # left to itself the model does something else than the data: a cycle, say
    chosen = growth if free_growth is None else free_growth
    sampling = along_covariance if free_growth is None else batch_covariance(free_growth)
    parameters = _parameter_covariance(
        model, draws, states, n_exponents, None if free_growth is None else runner, turns, clock
    )
    total = sampling + parameters
    # a rival whose rate differs by more than the rate itself is no rival but a model that failed beside the data
    gaps = np.abs(np.array(alternatives) - chosen[:, 0].mean())
    if states.kind == "delay":
        gaps = gaps[gaps <= abs(chosen[:, 0].mean())]
    if len(gaps):
        total[0, 0] += float(np.median(gaps)) ** 2
    if states.kind == "delay" and free_growth is not None:
        total[0, 0] += 0.25 * float(along[0] - free_growth[:, 0].mean()) ** 2
    if states.kind == "delay":
        total[0, 0] += _model_variance(chosen.mean(axis=0), states.of_flow)
    order = np.argsort(chosen.mean(axis=0))[::-1]
    return Measured(
        chosen.mean(axis=0)[order],
        total[np.ix_(order, order)],
        "along the data" if free_growth is None else "free run",
        np.sort(along)[::-1],
        np.sqrt(np.diag(along_covariance)),
        None if free_growth is None else np.sort(free_growth.mean(axis=0))[::-1],
        0 if free_growth is None else len(free_growth),
        _convergence(chosen),
    )


def _model_variance(exponents: np.ndarray, of_flow: bool) -> float:
    """What a model of delay vectors may be wrong by: a flow has an exponent at zero, and how far the nearest one is off tells."""
    top = abs(float(exponents[0]))
    off = float(np.min(np.abs(exponents[1:]), initial=top)) if of_flow else 0.0
    return (LEAST_MODEL_ERROR * top) ** 2 + (0.5 * min(off, top)) ** 2


def _run_freely(
    runner: Runner, states: States, turns: float, rate: float, precision: float, clock: Clock
) -> np.ndarray | None:
    """Growth per sampling step (rows, k) of free runs that go on until lambda_max is known or the work is done."""
    parts: list[np.ndarray] = []
    alive, work, began = np.ones(LANES, dtype=bool), 0.0, clock.elapsed
    n_steps = int(np.clip(20 * turns, 400, 1500))
    while True:
        growth, path = runner.go(n_steps)
        stayed = np.isfinite(path).all(axis=(1, 2)) & np.isfinite(growth).all(axis=(1, 2))
        alive &= stayed
        if np.count_nonzero(alive) < MIN_SUSTAINED or not resembles(
            path[alive].reshape(-1, path.shape[2]), states.pooled()
        ):
            return None
        parts.append(growth * rate)
        joint = np.concatenate(parts, axis=1)[alive]
        means = joint.reshape(-1, joint.shape[2])
        error = float(np.sqrt(batch_covariance(means)[0, 0]))
        work += n_steps * LANES * runner.model.flops(runner.n_exponents)
        if error < max(precision * abs(float(means[:, 0].mean())), NEGLIGIBLE_GROWTH * rate / turns):
            return means
        if work > FREE_RUN_FLOPS or (clock.spent_since(began) > 0.12 and clock.left() < 0.35):
            return means
        n_steps = min(2 * n_steps, 6000)


def _parameter_covariance(
    model: SmoothModel,
    draws: list[np.ndarray],
    states: States,
    n_exponents: int,
    runner: Runner | None,
    turns: float,
    clock: Clock,
) -> np.ndarray:
    """Covariance of the exponents over draws of the weights, less what the finite length of each run explains."""
    rate = 1.0 / states.stride
    values, within = [], []
    began = clock.elapsed
    for weights in draws:
        drawn = model.with_weights(weights)
        if runner is not None:
            moved = runner.with_model(drawn)
            moved.go(int(3 * turns))
            part = sustained(*moved.go(int(np.clip(20 * turns, 400, 1500))), states)
            growth = None if part is None else part.reshape(-1, n_exponents)
        else:
            growth = along_data(drawn, states, n_exponents, clock, max_steps=4000)
        if growth is not None and len(growth) >= 20:
            values.append(growth.mean(axis=0) * rate)
            within.append(batch_covariance(growth) * rate**2)
        if len(values) >= MIN_DRAWS and (clock.spent_since(began) > 0.15 or clock.left() == 0.0):
            break
    if len(values) < 3:
        return np.zeros((n_exponents, n_exponents))
    found = np.array(values)
    middle = np.median(found, axis=0)
    reach = 4.5 * np.median(np.abs(found - middle), axis=0)  # three robust standard deviations: a draw may fall into a
    spread = np.atleast_2d(np.cov(np.clip(found, middle - reach, middle + reach).T))  # window of another kind of motion
    if runner is None:  # all draws see the same path: no sampling error to take off
        return spread
    explained = np.mean(within, axis=0)
    diagonal = np.diag(spread)
    # never below a quarter of the spread: the estimate of what sampling explains is itself uncertain
    share = np.clip(1.0 - np.diag(explained) / np.maximum(diagonal, 1e-300), 0.25, 1.0)
    return spread * np.sqrt(np.outer(share, share))

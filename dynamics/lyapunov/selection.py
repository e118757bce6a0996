"""Choosing the model: candidates are judged by multi-step forecasts of held-out stretches, never by one-step error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from dynamics.lyapunov import fitting
from dynamics.lyapunov.basis import (
    Basis,
    enlarged,
    places_of_kinks,
    polynomial,
    polynomial_size,
    whitener,
    with_hinges,
    with_kernel,
    with_kinks,
)
from dynamics.lyapunov.clock import Clock
from dynamics.lyapunov.model import SmoothModel
from dynamics.lyapunov.states import States

N_STARTS = 240
WORST = 3.0  # forecast errors are cut here, in standard deviations
MAX_FEATURES = 300
MAX_MONOMIALS = 210
RADIAL = ((1.0, 0.0), (0.5, 0.0))  # widths, and how far the metric is whitened
MAX_RADIAL = 8  # dimension of channels
MAX_KINKS = 4
HINGES = ((3, 10), (1, 24))  # power and knots per coordinate
EXPLORING_RADIAL = 400  # at most, of delay vectors of a flow
FINAL_RADIAL = 700  # the same of models that are run, and of others
LEAST_RADIAL = 10
# widths of the radial functions, in units of the coordinates, and how far their metric is whitened: the first in every space,
# the others while WORK_OF_MENU lasts
DELAYED_MENU = ((0.7, 0.5), (1.0, 0.5), (0.5, 0.5), (1.0, 0.0), (1.4, 1.0), (0.7, 0.0), (0.5, 0.0), (1.0, 1.0))
NEGLIGIBLE = 1e-3
MIN_GAIN = 0.10  # a nonlinear model must forecast at least this much (log error) better than a linear one
CLEAR_GAIN = 0.3  # the same that leaves no doubt
ACCURATE = 0.003  # forecast error at which no richer basis is tried
MIN_MENU = 3  # bases of the least search that may call a series noise: up to cubic, or linear and radial
EXPLORING_ROWS = 2500  # delay vectors of a flow on which candidates are fitted; the chosen one is fitted to FINAL_ROWS
FINAL_ROWS = 5000
# radial functions, their width and metric, and forecasts of the model that ranks spaces of delay vectors
SCREENING = (150, 1.0, 0.5, 120)
WORK = 1e9  # R K^2 of one regression, about 0.2 s
WORK_WITH_NORM = 3e9  # the same where nothing is decomposed into singular values
WORK_OF_MENU = 5e9  # of all regressions on delay vectors: twelve models of 2,000 rows and more
MAX_DELAYED = 12  # dimension of delay vectors on which radial functions are put


@dataclass(frozen=True)
class Candidate:
    """One fitted model with its held-out forecasts."""

    states: States
    model: SmoothModel
    regression: fitting.Regression
    ridge: float
    log_errors: np.ndarray  # (S,) log of the rms forecast error from each start, standard deviations
    curve: np.ndarray  # (H,) rms error by lead
    horizon: int
    half_width: int = 0

    @property
    def score(self) -> float:
        return float(np.mean(self.log_errors))

    @property
    def is_linear(self) -> bool:
        return self.model.basis.degree <= 1 and self.model.basis.is_polynomial

    @property
    def complexity(self) -> tuple[int, int]:
        return (self.states.dimension * self.model.basis.size, self.model.basis.size)

    def describe(self) -> dict[str, object]:
        return {
            "state": self.states.kind,
            "dimension": self.states.dimension,
            "window_steps": self.states.window_steps,
            "form": "flow" if self.model.is_flow else f"map over {self.states.stride} step(s)",
            "basis": self.model.basis.name,
            "terms": self.model.basis.size,
            "forecast_error": float(np.exp(self.score)),
            "forecast_horizon_steps": self.horizon,
        }


def held_starts(states: States, horizon: int, n_starts: int = N_STARTS) -> list[tuple[int, int]]:
    """(path, row) of forecast starts: evenly spread over the held-out stretches, whole horizon inside one path."""
    paths, rows = [], []
    for i, numbers in enumerate(fitting.block_numbers(states)):
        # the horizon may reach into training data: the start decides, its future was not fitted from it
        able = np.nonzero(np.isin(numbers[: max(0, len(numbers) - horizon)], fitting.HELD_BLOCKS))[0]
        paths.append(np.full(len(able), i))
        rows.append(able)
    path, row = np.concatenate(paths), np.concatenate(rows)
    if len(path) > n_starts:
        kept = np.linspace(0, len(path) - 1, n_starts).astype(int)
        path, row = path[kept], row[kept]
    return list(zip(path.tolist(), row.tolist(), strict=True))


def forecast_errors(
    states: States, model: SmoothModel, horizon: int, clock: Clock, n_starts: int = N_STARTS
) -> tuple[np.ndarray, np.ndarray]:
    """Log rms error per start (S,) and rms error by lead (H,), of the observations, in standard deviations."""
    reach = horizon * states.stride
    places = held_starts(states, reach, model.affordable(n_starts * horizon, 0, 40 * horizon, clock) // horizon)
    if not places:
        return np.full(1, np.log(WORST)), np.full(horizon, WORST)
    observed = states.observed
    starts = np.array([states.paths[i][r] for i, r in places])
    leads = states.stride * np.arange(1, horizon + 1)
    truth = np.array([observed[i][r + leads] for i, r in places])
    with np.errstate(over="ignore", invalid="ignore"):
        predicted = model.forecast(starts, horizon, clock) @ states.readout.T + states.offset
    squared = np.minimum(
        np.nan_to_num(np.mean((predicted - truth) ** 2, axis=2), nan=WORST**2, posinf=WORST**2), WORST**2
    )
    return 0.5 * np.log(np.mean(squared, axis=1) + 1e-14), np.sqrt(np.mean(squared, axis=0))


def bases(states: States, is_flow: bool) -> Iterator[Basis]:
    """Polynomials of growing degree while they stay small against the data, then radial functions."""
    m, rows = states.dimension, states.n_rows
    limit = min(MAX_FEATURES, max(m + 1, rows // 12))
    for degree in range(1, 6 if is_flow else 9):
        if degree > 1 and polynomial_size(m, degree) > min(limit, MAX_MONOMIALS):
            break
        yield polynomial(m, degree)
    for power, n_knots in HINGES if is_flow else HINGES[1:]:
        if m * n_knots + polynomial_size(m, 2) <= limit:
            yield with_hinges(states.pooled(), 2, n_knots, power)
    yield from radial_bases(states)


def radial_bases(states: States) -> Iterator[Basis]:
    """Quadratic polynomials with radial functions, fewer where the data are short."""
    n = min(FINAL_RADIAL, states.n_rows // 3) - polynomial_size(states.dimension, 2)
    if states.dimension <= MAX_RADIAL and n >= LEAST_RADIAL:
        for width, whitening in RADIAL:
            yield with_kernel(states.pooled(), n, width, whitener(states.pooled(), whitening))


def delayed_basis(states: States, width: float, whitening: float) -> Basis | None:
    """Quadratic polynomials with radial functions of one width; None where there are too few states."""
    n = min(EXPLORING_RADIAL, states.n_rows // 2 - polynomial_size(states.dimension, 2))
    if states.dimension > MAX_DELAYED or n < LEAST_RADIAL:
        return None
    return with_kernel(states.pooled(), n, width, whitener(states.pooled(), whitening))


def work_of(states: States, basis: Basis, max_rows: int) -> float:
    """R K^2 of a regression on at most about max_rows delay vectors."""
    return float(min(states.n_rows, max_rows)) * basis.size**2


def half_widths(period_steps: float) -> int:
    """Half support of the weak form's test function: about a fifth of the mean period, at least five samples."""
    return int(np.clip(round(period_steps / 4.7), 5, 80))


def regression_of(
    states: States, basis: Basis, is_flow: bool, half_width: int, max_rows: int | None = None
) -> fitting.Regression:
    """The linear problem of a model; delay vectors one step apart are nearly the same, so `max_rows` of them may do."""
    if is_flow:
        return fitting.weak_regression(states, basis, half_width)
    every = 1 if max_rows is None else max(1, min(states.stride, -(-states.n_rows // max_rows)))
    return fitting.step_regression(states, basis, states.jitter, every)


def fit_candidate(
    states: States,
    basis: Basis,
    is_flow: bool,
    half_width: int,
    horizon: int,
    clock: Clock,
    bound: float,
    n_starts: int = N_STARTS,
) -> Candidate:
    """Fit on the training stretches, forecast the held-out ones."""
    regression = regression_of(states, basis, is_flow, half_width, EXPLORING_ROWS)
    every = int(np.ceil(len(regression.features) * basis.size**2 / (WORK_WITH_NORM if basis.factor.size else WORK)))
    if every > 1:
        regression = regression.every(every)
    clock.tick()
    solved = fitting.solutions(regression)
    clock.tick()
    if not states.of_flow:
        solved = [min(solved, key=lambda s: s[2])]
    tried = []
    for weights, ridge, _ in solved:
        # delay vectors fill no volume: how the model behaves beside them shows in long forecasts only, not in one step
        model = SmoothModel(basis, weights, is_flow, bound=bound).resolved(states.pooled())
        log_errors, curve = forecast_errors(states, model, horizon, clock, n_starts // (1 if len(solved) == 1 else 4))
        tried.append(Candidate(states, model, regression, ridge, log_errors, curve, horizon, half_width))
    if len(tried) == 1:
        return tried[0]
    finalists = sorted(tried, key=lambda c: c.score)[:2]
    again = [forecast_errors(states, c.model, horizon, clock, n_starts) for c in finalists]
    return min(
        (replace(c, log_errors=e, curve=v) for c, (e, v) in zip(finalists, again, strict=True)), key=lambda c: c.score
    )


def looking_ahead(candidate: Candidate, horizon: int, clock: Clock) -> Candidate:
    """The same candidate judged by forecasts over another horizon."""
    log_errors, curve = forecast_errors(candidate.states, candidate.model, horizon, clock)
    return replace(candidate, log_errors=log_errors, curve=curve, horizon=horizon)


def screened(states: States, horizon: int, clock: Clock) -> Candidate:
    """A small model on delay vectors, whose forecasts tell which spaces deserve a large one."""
    bound = bound_of(states)
    n_centres, width, whitening, n_starts = SCREENING
    basis = polynomial(states.dimension, 1)
    if states.n_rows // 4 >= n_centres:
        basis = with_kernel(states.pooled(), n_centres, width, whitener(states.pooled(), whitening))
    return fit_candidate(states, basis, False, 0, horizon, clock, bound, n_starts)


def search(
    states: States, is_flow: bool, half_width: int, horizon: int, clock: Clock, spent: Callable[[], bool], noise: float
) -> list[Candidate]:
    """All candidates of one state space; richer bases are left out once they bring nothing or nothing is left to gain."""
    found: list[Candidate] = []
    bound = bound_of(states)
    worse = 0
    delayed = states.of_flow  # delay vectors of a flow: radial functions did best by far, polynomials explode
    menu: Iterable[Basis] = bases(states, is_flow)
    if delayed:
        large = delayed_basis(states, *DELAYED_MENU[0])
        menu = [polynomial(states.dimension, 1), *([] if large is None else [large])]
    for basis in menu:
        radial = not basis.is_polynomial
        if len(found) >= (2 if delayed else MIN_MENU) and spent():
            clock.search_cut = clock.search_cut or (not delayed and len(found) == MIN_MENU)
            break
        if worse >= 2 and not radial:
            continue
        if radial and not delayed and np.exp(min(c.score for c in found)) < max(ACCURATE, 2.5 * noise):
            break
        candidate = fit_candidate(states, basis, is_flow, half_width, horizon, clock, bound)
        best = min((c.score for c in found), default=np.inf)
        worse = worse + 1 if candidate.score > best - 0.03 and basis.degree > 1 else 0
        found.append(candidate)
        if basis.power == 1 and len(basis.knots) > 0 and candidate.score < best:
            found += sharpened(candidate, is_flow, half_width, clock, bound)
    return found


def varied(found: list[Candidate], clock: Clock, reserve: float) -> list[Candidate]:
    """More models in the same spaces of delay vectors, best space first, while the work and the time for it last.

    The fewer the rows the less a model costs and the less one model is to be trusted: then there are many.
    """
    spaces = sorted((c for c in found if not c.is_linear), key=lambda c: c.score)
    work = sum(work_of(c.states, c.model.basis, EXPLORING_ROWS) for c in spaces)
    more: list[Candidate] = []
    for width, whitening in DELAYED_MENU[1:]:
        for c in spaces:
            basis = delayed_basis(c.states, width, whitening)
            if basis is None:
                continue
            work += work_of(c.states, basis, EXPLORING_ROWS)
            if work > WORK_OF_MENU or clock.left() <= reserve:
                return more
            more.append(fit_candidate(c.states, basis, False, 0, c.horizon, clock, bound_of(c.states)))
    return more


def bound_of(states: States) -> float:
    """|x_i| beyond which a run counts as diverging."""
    return 4.0 * float(np.max(np.abs(states.pooled()))) + 1.0


def sharpened(candidate: Candidate, is_flow: bool, half_width: int, clock: Clock, bound: float) -> list[Candidate]:
    """The same with a kink or few at the very places, if the piecewise linear function has no more: then it is exact.

    Two knots about every kink, ever closer, tell where between them it lies.
    """
    states, basis = candidate.states, candidate.model.basis
    knots, variables = places_of_kinks(basis, candidate.model.weights)
    if len(knots) > MAX_KINKS:
        return []
    apart = 0.5 * float(np.min(np.diff(np.sort(basis.knots[basis.knot_variables == basis.knot_variables[0]]))))
    for _ in range(4):
        doubled = np.concatenate([knots - apart, knots + apart])
        pair = with_kinks(states.pooled(), 2, doubled, np.concatenate([variables, variables]))
        weights = fitting.refit(regression_of(states, pair, is_flow, half_width), candidate.ridge)
        clock.tick()
        low, high = (np.linalg.norm(part, axis=1) for part in np.split(weights[-2 * len(knots) :], 2))
        knots = knots + apart * (high - low) / np.maximum(high + low, 1e-300)
        apart /= 3.0
    exact = with_kinks(states.pooled(), 2, knots, variables)
    return [fit_candidate(states, exact, is_flow, half_width, candidate.horizon, clock, bound)]


def choose(candidates: list[Candidate]) -> list[Candidate]:
    """Candidates in order of trust: the smallest within two standard errors of the best score comes first, then by score.

    Standard errors are of the paired differences of log errors over the common starts; candidates of other state spaces
    have other starts, so their scores are compared as independent.
    """
    best = min(candidates, key=lambda c: c.score)
    near = []
    for c in candidates:
        if len(c.log_errors) == len(best.log_errors):
            # errors far below a thousandth come from quadrature: they tell nothing about the right size of a model
            difference = np.log(np.exp(c.log_errors) + NEGLIGIBLE) - np.log(np.exp(best.log_errors) + NEGLIGIBLE)
            worse, error = float(np.mean(difference)), float(np.std(difference)) / np.sqrt(len(difference))
        else:
            worse, error = c.score - best.score, float(np.std(best.log_errors)) / np.sqrt(len(best.log_errors))
        if worse <= min(2.0 * error, 0.1) + 0.01:
            near.append(c)
    first = min(near, key=lambda c: c.complexity)
    return [first, *sorted((c for c in candidates if c is not first), key=lambda c: c.score)]


def gain(candidates: list[Candidate]) -> float:
    """Difference of log forecast errors between the best linear model and the best nonlinear one; minus infinity without either."""
    linear, nonlinear = (
        min((c.score for c in candidates if c.is_linear is kind), default=None) for kind in (True, False)
    )
    return float("-inf") if linear is None or nonlinear is None else linear - nonlinear


def gain_by_lead(candidates: list[Candidate]) -> tuple[np.ndarray, np.ndarray]:
    """Leads in steps, and log ratio of the best linear model's rms forecast error to the best nonlinear one's.

    Of delay vectors only leads that some model steps on; between its own leads a model's log error is interpolated.
    """
    leads = np.unique(np.concatenate([c.states.stride * np.arange(1, len(c.curve) + 1) for c in candidates]))
    best = {}
    for linear in (True, False):
        logs = [
            np.interp(
                leads,
                c.states.stride * np.arange(1, len(c.curve) + 1),
                np.log(np.maximum(c.curve, 1e-7)),
                left=np.inf,
                right=np.inf,
            )
            for c in candidates
            if c.is_linear is linear
        ]
        best[linear] = np.min(logs, axis=0) if logs else np.full(len(leads), np.inf)
    known = np.isfinite(best[True]) & np.isfinite(best[False])
    return leads[known], best[True][known] - best[False][known]


def refitted(candidate: Candidate, stiffer: tuple[float, ...] = (1.0,)) -> Iterator[Candidate]:
    """The same candidate with its weights from all rows, held-out ones included, for its ridge and for multiples of it.

    Delay vectors get more Gaussians than were needed to choose among models.
    """
    regression, model, pooled = candidate.regression, candidate.model, candidate.states.pooled()
    if candidate.states.of_flow:
        if model.basis.factor.size:
            model = replace(model, basis=enlarged(model.basis, pooled, min(FINAL_RADIAL, len(pooled) // 2)))
        regression = regression_of(candidate.states, model.basis, False, 0, FINAL_ROWS)
    ridges = [candidate.ridge * f for f in stiffer if f == 1.0 or candidate.ridge * f <= regression.ridges[-1]]
    for ridge, weights in zip(ridges, fitting.refits(regression, np.array(ridges)), strict=True):
        whole = model.with_weights(weights).resolved(pooled)
        yield replace(candidate, model=whole, regression=regression, ridge=ridge)

"""Candidate models put to the test: left to themselves, they must stay on the data's attractor and grow there as along the data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dynamics.lyapunov import selection
from dynamics.lyapunov.clock import Clock
from dynamics.lyapunov.selection import Candidate
from dynamics.lyapunov.spectrum import free_run

REACH = (1.6, 2.5)  # factors of the best forecast error within which delay vectors are tried, at first and at last
STIFFER = (1.0, 1e2, 1e4)  # multiples of the ridge tried where a model of delay vectors does not sustain itself
GOOD_ENOUGH = 0.01  # forecast error of delay vectors over a period at which stability counts for more than forecasts
ABOUT_AS_WELL = 0.5  # difference of log forecast errors
ALIKE = 0.005  # the same below which the smallest space is preferred
LASTING = 60  # periods after which a model of delay vectors must still do what the data do: many end on a cycle
LOSS = 0.25  # log forecast error that stability may cost
TRIALS = (
    3,
    6,
)  # agreeing models of delay vectors that are enough, and trials in all, where one costs as much as there is
WORK_OF_TRIALS = (
    7e9  # R K^2 of the refits of delay vectors' models until which there are more: four of 10,000 rows, forty of 2,000
)
MOST_TRIALS = 24


@dataclass(frozen=True)
class Trial:
    """A model left to itself, beside what it does along the data."""

    candidate: Candidate
    along: float  # lambda_max per sampling step along the data
    free: float | None  # in free run; None where it does not stay on the data's attractor
    agrees: bool
    off_zero: float = 0.0  # the exponent nearest to zero but the first, which a flow has at zero, per step


def attempt(candidate: Candidate, period: float, clock: Clock) -> Trial | None:
    """A candidate refitted to all rows and run; for delay vectors with larger ridges, too, until it sustains itself.

    None where one step from the data's own states leaves the bounds.
    """
    delayed, stride = candidate.states.of_flow, candidate.states.stride
    last: Trial | None = None
    allowed = max(candidate.score + LOSS, np.log(GOOD_ENOUGH))
    for whole in selection.refitted(candidate, STIFFER if delayed else (1.0,)):
        clock.tick()
        if last is not None and selection.looking_ahead(whole, whole.horizon, clock).score > allowed:
            break
        rates = sound(whole, clock)
        if rates is None:
            continue
        along, off_zero = float(rates[0]), float(np.min(np.abs(rates[1:]), initial=np.inf)) / stride
        n_steps = int(np.clip(100 * period / stride, 2000, 6000))
        n_steps = whole.model.affordable(n_steps, 1, 1000, clock)
        transient = max(n_steps // 10, int(LASTING * period / stride)) if delayed else n_steps // 10
        run = free_run(whole.model, whole.states, 1, n_steps, transient, clock)
        if run is None:
            last = last or Trial(whole, along / stride, None, False, off_zero)
            continue
        free = float(run.mean())
        agrees = not delayed or abs(free - along) * period / stride <= max(0.05, 0.35 * abs(along) * period / stride)
        if agrees or last is None or last.free is None:
            last = Trial(whole, along / stride, free / stride, agrees, off_zero)
        if agrees or clock.left() < 0.3:
            break
    return last


def settle(ordered: list[Candidate], period: float, reach: float, clock: Clock) -> tuple[Candidate, list[float], bool]:
    """The most trusted candidate that sustains itself on the data's attractor, lambda_max of its rivals, and whether it does.

    Rivals forecast within a factor of the best (1.2; `reach` for delay vectors, in order of score, since good models are often
    unstable beside the data). Where none sustains itself the first sound one is taken, to be measured along the data.
    """
    best = min(c.score for c in ordered)
    delayed = ordered[0].states.of_flow
    ranked = sorted(ordered, key=_trust) if delayed else ordered
    limit = max(best, float(np.log(ALIKE))) + np.log(REACH[1]) if delayed else best + np.log(1.2)
    # below ACCURATE errors come from quadrature: any such model may serve
    accurate = max(best + np.log(reach if delayed else 1.2), np.log(selection.ACCURATE))
    near = [c for c in ranked if c.score <= max(limit, accurate) and not c.is_linear]
    if ordered[0].is_linear or not near:
        return next(selection.refitted(ordered[0])), [], False
    trials: list[Trial] = []
    work = 0.0
    for tried, candidate in enumerate(near):
        agreeing = sum(t.agrees for t in trials)
        spent = not delayed or work > WORK_OF_TRIALS or tried >= MOST_TRIALS
        if spent and (agreeing > TRIALS[0] or tried >= TRIALS[1]):
            break
        if agreeing > 0 and (clock.left() < 0.3 or candidate.score > limit):
            break
        if (clock.left() < 0.15 and trials) or (agreeing == 0 and candidate.score > accurate):
            break
        work += selection.work_of(candidate.states, candidate.model.basis, selection.FINAL_ROWS)
        found = attempt(candidate, period, clock)
        if found is not None:
            trials.append(found)
    free = [t for t in trials if t.free is not None]
    if free:
        chosen = _middle([t for t in free if t.agrees], delayed) or min(
            free, key=lambda t: abs((t.free or 0.0) - t.along)
        )
        return chosen.candidate, _rates(trials, chosen, delayed), True
    if trials:
        return trials[0].candidate, _rates(trials, trials[0], delayed), False
    linear = [c for c in ordered if c.is_linear]
    whole = (next(selection.refitted(c)) for c in [*ordered, *linear])
    return next(c for c in whole if c.is_linear or sound(c, clock) is not None), [], False


def _middle(agreeing: list[Trial], delayed: bool) -> Trial | None:
    """The first trial; of delay vectors, among those that forecast about as well, the one whose lambda_max is in the middle.

    What single models do beside the data scatters; the median of many does not. Of the middle two of an even number the one
    counts whose second or third exponent is nearer to zero, as a flow's must be.
    """
    if not agreeing or not delayed:
        return next(iter(agreeing), None)
    limit = max(agreeing[0].candidate.score, float(np.log(ALIKE))) + ABOUT_AS_WELL
    ranked = sorted((t for t in agreeing if t.candidate.score <= limit), key=lambda t: t.free or 0.0)
    middle = ranked[(len(ranked) - 1) // 2 : len(ranked) // 2 + 1]
    return min(middle, key=lambda t: t.off_zero)


def _trust(candidate: Candidate) -> tuple[float, int]:
    """Order of delay vectors: by forecasts, but where these are about perfect by size, since spare directions do harm."""
    return max(candidate.score, float(np.log(ALIKE))), candidate.states.dimension


def _rates(trials: list[Trial], chosen: Trial, delayed: bool) -> list[float]:
    """lambda_max of the rivals in free run; of delay vectors along the data as well, since there they differ more."""
    limit = max(chosen.candidate.score, float(np.log(ALIKE))) + ABOUT_AS_WELL
    rivals = [t for t in trials if t is not chosen and (not delayed or t.candidate.score < limit)]
    return [t.free for t in rivals if t.free is not None] + [t.along for t in rivals if delayed]


def sound(candidate: Candidate, clock: Clock) -> np.ndarray | None:
    """Leading exponents per step of the model along the data, of delay vectors three of them, descending.

    None where steps from the data's own states leave the bounds (0.1 %).
    """
    k = min(3, candidate.states.dimension) if candidate.states.of_flow else 1
    path = max(candidate.states.paths, key=len)[:: candidate.states.stride]
    growth = candidate.model.growth_along(path[:4000], k, clock)
    kept = np.isfinite(growth).all(axis=1)
    return np.sort(growth[kept].mean(axis=0))[::-1] if np.mean(kept) >= 0.999 else None

"""From a prepared series to the model that is measured: paths, candidates, choice, refinement, draws of the weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from domain.specs import LyapunovSpec
from dynamics.lyapunov import fitting, selection, shooting, spaces
from dynamics.lyapunov.basis import polynomial
from dynamics.lyapunov.clock import Clock
from dynamics.lyapunov.model import SmoothModel
from dynamics.lyapunov.preparation import Prepared
from dynamics.lyapunov.selection import Candidate
from dynamics.lyapunov.smoothing import smooth_segments
from dynamics.lyapunov.states import States, channels_as_states, delay_vectors
from dynamics.lyapunov.trials import REACH, settle

N_DRAWS = 12
MAP_HORIZON = 3
JITTER = 0.003
FINALISTS = 5  # spaces of delay vectors that get a large model
TOO_EASY = 0.05  # forecast error of delay vectors over one period below which noise hides which model is better
SPENT = 0.25  # forecast error of delay vectors over the pace above which it is longer than what can be forecast
MOST_HALVINGS = 2  # of the pace
TRIAL_DIMENSION = 4  # of the delay vectors that tell whether smoothing helps


@dataclass(frozen=True)
class Modelled:
    """The chosen model and everything it was chosen among."""

    candidate: Candidate  # its model fitted to all rows, refined where there is noise
    candidates: list[Candidate]
    linear: Candidate
    draws: list[np.ndarray]  # weights from the uncertainty of the fit
    noise: float  # standard deviations
    smoothed: bool
    refined: bool
    alternatives: list[float]  # lambda_max per step of other models that forecast about as well, in free run
    why: str = ""  # several channels got delays, or did not although they seem to need them
    short_sighted: bool = False  # nothing could be forecast over the pace: models were judged by shorter forecasts


def denoise(prepared: Prepared, clock: Clock) -> tuple[list[np.ndarray], float, bool]:
    """Paths to fit on, noise level, and whether they are smoothed: only where smooth paths forecast the raw data better."""
    raw = prepared.segments
    if not prepared.sampling.is_flow:
        return raw, 0.0, False
    smoothed, noise = smooth_segments(raw, clock)
    clock.tick()
    level = float(np.sqrt(np.mean(noise**2)))
    period = prepared.sampling.period_steps
    if raw[0].shape[1] == 1:
        return (
            _denoised_scalar(raw, smoothed, level, prepared.sampling.pace, clock)
            if level > 1e-3
            else (raw, level, False)
        )
    horizon = max(4, round(period / 4))
    width, errors = selection.half_widths(period), []
    for paths in (raw, smoothed):
        states = replace(channels_as_states(paths), observed=raw)
        bases = [polynomial(prepared.n_channels, degree) for degree in (2, 3) if degree == 2 or prepared.n_channels < 6]
        errors.append(min(selection.fit_candidate(states, b, True, width, horizon, clock, 100.0).score for b in bases))
    if errors[0] <= errors[1] + 0.01:
        return raw, level, False
    return smoothed, level, True


def _denoised_scalar(
    raw: list[np.ndarray], smoothed: list[np.ndarray], level: float, pace: float, clock: Clock
) -> tuple[list[np.ndarray], float, bool]:
    """Raw or smoothed paths, whichever forecast the raw series better; what a coarse flow's spline takes off is no noise."""
    tau = max(1, round(spaces.DELAYS[1] * pace))
    if min(len(s) for s in raw) < 8 * TRIAL_DIMENSION * tau:
        return smoothed, level, True
    found = []
    for paths in (raw, smoothed):
        states = delay_vectors(paths, TRIAL_DIMENSION, tau, tau, True)
        seen = replace(states, observed=delay_vectors(raw, TRIAL_DIMENSION, tau, tau, True).observed)
        found.append(selection.screened(seen, _horizon(seen, False, pace), clock))
    if found[1].score < found[0].score - 0.02:
        return smoothed, level, True
    return raw, min(level, float(found[0].curve[0])), False


def _horizon(states: States, flow: bool, period: float) -> int:
    if flow:
        return int(np.clip(round(period), 4, 400))
    return max(MAP_HORIZON, round(period / states.stride)) if states.of_flow else MAP_HORIZON


def build(prepared: Prepared, spec: LyapunovSpec, clock: Clock) -> Modelled:
    """Fit every candidate, choose by held-out forecasts, refit on everything, refine under noise."""
    clock.enter("fitting models", 0.1, 0.45)
    paths, noise, smoothed = denoise(prepared, clock)
    period, pace = prepared.sampling.period_steps, prepared.sampling.pace
    places = spaces.state_spaces(paths, prepared.segments, pace, prepared, spec)
    found = explore(places, period, pace, noise, 0.5, clock)
    if prepared.n_channels == 1 and spec.embedding_delay == "auto":
        found, places, pace = on_shorter_scale(
            found, places, pace, partial(_search_at, paths, prepared, spec, noise, clock), clock
        )
    delayed, spread, why = with_delays(min(found, key=lambda c: c.score), paths, prepared, noise, clock)
    found, places = (delayed, spread) if delayed else (found, places)
    ordered = selection.choose(found)
    linear = min((c for c in found if c.is_linear), key=lambda c: c.score)
    clock.enter("choosing a model", 0.45, 0.55)
    chosen, alternatives, sustained = settle(ordered, period, REACH[0], clock)
    if not sustained and places[0][0].kind == "delay" and not chosen.is_linear and clock.left() > 0.4:
        stiffer = [(replace(s, jitter=JITTER), flow) for s, flow in places]
        again = selection.choose([linear, *explore(stiffer, period, pace, noise, 0.35, clock)])
        best = min(c.score for c in ordered)
        for candidates in ([linear, *(c for c in again if c.score < best + np.log(REACH[1]))], ordered):
            second, rivals, holds = settle(candidates, period, REACH[1], clock)
            if holds:
                chosen, alternatives, ordered = second, rivals, [*again, *ordered]
                break
    rng = np.random.default_rng([spec.seed, 1])
    draws = fitting.resampled(chosen.regression, chosen.ridge, N_DRAWS, rng, clock)
    clock.tick()
    refined = refine(chosen, prepared, noise, clock) if not chosen.is_linear else None
    if refined is not None and refined.noise > max(2.0 * noise, 0.2):  # the model's own error, not noise
        refined = None
    if refined is not None:
        chosen = replace(chosen, model=refined.model)
        draws = refined.draw(N_DRAWS, rng)
        noise = refined.noise
        alternatives = []  # rivals were fitted to noisy states: their scatter says nothing about the refined model
    return Modelled(
        chosen,
        ordered,
        linear,
        draws,
        noise,
        smoothed,
        refined is not None,
        alternatives,
        why,
        pace < prepared.sampling.pace,
    )


def _search_at(
    paths: list[np.ndarray], prepared: Prepared, spec: LyapunovSpec, noise: float, clock: Clock, pace: float
) -> tuple[list[Candidate], list[tuple[States, bool]]]:
    places = spaces.state_spaces(paths, prepared.segments, pace, prepared, spec)
    return explore(places, prepared.sampling.period_steps, pace, noise, 0.5, clock), places


def on_shorter_scale(
    found: list[Candidate],
    places: list[tuple[States, bool]],
    pace: float,
    search_at: Callable[[float], tuple[list[Candidate], list[tuple[States, bool]]]],
    clock: Clock,
) -> tuple[list[Candidate], list[tuple[States, bool]], float]:
    """Candidates, their spaces and the pace: half of it or a quarter where forecasts over it are spent and over less are not.

    Kept as they were where no shorter time scale shows nonlinear models that forecast well and better than linear ones.
    """
    best, shorter = found, pace
    for _ in range(MOST_HALVINGS):
        if clock.left() < 0.5 or not spent(best):
            break
        shorter /= 2.0
        best, spread = search_at(shorter)
        if not spent(best) and selection.gain(best) > selection.CLEAR_GAIN:
            return best, spread, shorter
    return found, places, pace


def spent(found: list[Candidate]) -> bool:
    """Whether forecasts of delay vectors of a flow come to nothing over the pace, yet nonlinear ones are better at short leads."""
    if not found[0].states.of_flow or min(c.score for c in found) < np.log(SPENT):
        return False
    _, gains = selection.gain_by_lead(found)
    return bool(np.max(gains, initial=0.0) > selection.CLEAR_GAIN)


def with_delays(
    best: Candidate, paths: list[np.ndarray], prepared: Prepared, noise: float, clock: Clock
) -> tuple[list[Candidate], list[tuple[States, bool]], str]:
    """Models of delay vectors of all channels and their spaces, where these forecast much better than the channels' best model.

    Then the channels are not the state. Nothing where they are; the words say what was found out.
    """
    pace = prepared.sampling.pace
    if prepared.n_channels == 1 or not spaces.in_doubt(best, pace, noise) or clock.left() < 0.3:
        return [], [], ""
    more = spaces.of_channels(paths, prepared.segments, prepared)
    if not more:
        return [], [], ""
    explored = explore(more, prepared.sampling.period_steps, pace, noise, 0.3, clock)
    ratio = spaces.forecast_ratio(best, min(explored, key=lambda c: c.score))
    if ratio < spaces.BETTER:
        return [], [], f"Delays of the channels were tried and forecast {ratio:.2g} times as well."
    gain = f"With their past values added forecasts are {ratio:.2g} times better."
    return explored, more, f"The channels do not close: they show a part of the state only. {gain}"


def explore(
    places: list[tuple[States, bool]], period: float, pace: float, noise: float, reserve: float, clock: Clock
) -> list[Candidate]:
    """Candidates of every state space, as far as the budget goes down to `reserve`."""
    found: list[Candidate] = []
    if len(places) > FINALISTS and places[0][0].of_flow:
        places = shortlist(places, pace, reserve, clock)
    begin, seen = clock.left(), 0
    for i, (states, flow) in enumerate(places):
        clock.tick(i / len(places))
        until = min(begin, reserve) + max(0.0, begin - reserve) * (len(places) - i - 1) / len(places)
        if found and clock.left() <= reserve and states.of_flow:  # maps and single places have cheap minimal menus
            break
        seen += 1
        found += selection.search(
            states,
            flow,
            selection.half_widths(period),
            _horizon(states, flow, pace if states.of_flow else period),
            clock,
            partial(_spent, clock, until),
            noise,
        )
    if 3 * seen < len(places):
        clock.search_cut = True
    if places[0][0].of_flow:
        found += selection.varied(found, clock, reserve)
    if places[0][0].of_flow and min(c.score for c in found) < np.log(TOO_EASY):
        found = [selection.looking_ahead(c, 2 * c.horizon, clock) for c in found]
    return found


def shortlist(
    places: list[tuple[States, bool]], pace: float, reserve: float, clock: Clock
) -> list[tuple[States, bool]]:
    """The places of delay vectors in which a small model forecasts best."""
    scores: list[float] = []
    until = 0.5 * (clock.left() + min(reserve, clock.left()))
    for states, flow in places:
        clock.tick()
        if scores and clock.left() <= until:
            break
        scores.append(selection.screened(states, _horizon(states, flow, pace), clock).score)
    if 3 * len(scores) < len(places):
        clock.search_cut = True
    return [places[i] for i in np.argsort(scores)[:FINALISTS]]


def _spent(clock: Clock, until: float) -> bool:
    return clock.left() <= until


def one_step_noise(candidate: Candidate) -> float:
    """Noise std that explains a map's one-step residual, |e_(t+1) - J e_t|^2 = s^2 (n + |J|^2), n new coordinates."""
    model, regression = candidate.model, candidate.regression
    new = regression.targets.shape[1]
    residual = regression.targets - regression.fitted(model.weights)
    states = candidate.states.pooled()[:: max(1, candidate.states.n_rows // 200)]
    stretch = float(np.mean(np.sum(model.jacobians(states)[:, :new] ** 2, axis=(1, 2))))
    return float(np.sqrt(np.mean(np.sum(residual**2, axis=1)) / (new + stretch)))


def refine(candidate: Candidate, prepared: Prepared, noise: float, clock: Clock) -> shooting.Refinement | None:
    """Multiple shooting where noise exceeds 0.2 % and the refined model forecasts held-out data no worse."""
    states, model = candidate.states, candidate.model
    if states.of_flow:
        return None
    level = noise if model.is_flow else one_step_noise(candidate)
    if level < 2e-3:
        return None
    growth = max(1e-3, float(model.growth_along(states.paths[0][:3000], 1, clock).mean()))
    period = prepared.sampling.period_steps
    longest = int(np.clip(1.5 / growth, 3, max(6.0, period)))
    for windows in (
        [longest],
        [max(3, longest // 2), longest],
    ):  # long windows tell more, short ones forgive a poor start
        found: shooting.Refinement | None = None
        for window in windows:
            step = _shot(candidate, model if found is None else found.model, window, level, clock)
            if step is None:
                break
            found = step
        if found is not None:
            return found
    return None


def _shot(
    candidate: Candidate, model: SmoothModel, window: int, level: float, clock: Clock
) -> shooting.Refinement | None:
    """Shooting over windows of one length, then again without the weights that proved needless; None if forecasts get worse."""
    states = candidate.states
    best, least = None, 1.1 * float(candidate.curve.mean()) + 1e-3
    for _ in range(4):
        step = shooting.refine(model, states, states.observed, window, level, clock)
        if step is None:
            break
        _, curve = selection.forecast_errors(states, step.model, candidate.horizon, clock)
        if np.isfinite(curve).all() and curve.mean() <= least:
            best, least = step, 1.02 * float(curve.mean())
        lean = shooting.pruned(step)
        if lean is None:
            break
        model = lean
    return best

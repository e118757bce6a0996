"""From a prepared series to the model that is measured: paths, candidates, choice, refinement, draws of the weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from domain.specs import LyapunovSpec
from dynamics.lyapunov import fitting, selection, shooting
from dynamics.lyapunov.basis import polynomial
from dynamics.lyapunov.clock import Clock
from dynamics.lyapunov.model import SmoothModel
from dynamics.lyapunov.preparation import Prepared
from dynamics.lyapunov.selection import Candidate
from dynamics.lyapunov.smoothing import smooth_segments
from dynamics.lyapunov.states import States, channels_as_states, delay_vectors, window_components

N_DRAWS = 16
MAP_HORIZON = 3


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


def denoise(prepared: Prepared, clock: Clock) -> tuple[list[np.ndarray], float, bool]:
    """Paths to fit on, noise level, and whether they are smoothed: only where smooth paths forecast the raw data better."""
    raw = prepared.segments
    if not prepared.sampling.is_flow:
        return raw, 0.0, False
    smoothed, noise = smooth_segments(raw)
    clock.tick()
    level = float(np.sqrt(np.mean(noise**2)))
    if raw[0].shape[1] == 1:
        return (smoothed, level, True) if level > 1e-3 else (raw, level, False)
    period = prepared.sampling.period_steps
    horizon = max(4, round(period / 4))
    basis = polynomial(prepared.n_channels, 2)
    errors = []
    for paths in (raw, smoothed):
        states = replace(channels_as_states(paths), observed=raw)
        width = selection.half_widths(period)
        errors.append(selection.fit_candidate(states, basis, True, width, horizon, clock, 100.0).score)
    if errors[0] <= errors[1] + 0.01:
        return raw, min(level, 1e-3), False
    return smoothed, level, True


def state_spaces(
    paths: list[np.ndarray], raw: list[np.ndarray], prepared: Prepared, spec: LyapunovSpec
) -> list[tuple[States, bool]]:
    """Candidate states and whether a flow (else a map) is fitted on them."""
    flow, period = prepared.sampling.is_flow, prepared.sampling.period_steps
    if prepared.n_channels > 1:
        return [(replace(channels_as_states(paths), observed=raw), flow)]
    given_m = None if spec.embedding_dimension == "auto" else int(spec.embedding_dimension)
    given_tau = None if spec.embedding_delay == "auto" else int(spec.embedding_delay)
    shortest = sum(len(s) for s in paths) // 8
    if not flow or given_tau is not None:
        tau = given_tau or 1
        dimensions = [given_m] if given_m else [1, 2, 3, 4]
        return [(delay_vectors(paths, m, tau, tau if flow else 1), False) for m in dimensions if m * tau < shortest]
    windows = sorted({int(np.clip(round(period * f), 5, max(5, shortest))) | 1 for f in (0.25, 0.5, 0.9)})
    dimensions = [given_m] if given_m else [3, 4, 5]
    return [(window_components(paths, w, m), True) for w in windows for m in dimensions if m <= w]


def _horizon(states: States, flow: bool, period: float) -> int:
    if flow:
        return int(np.clip(round(period), 4, 400))
    return max(MAP_HORIZON, round(period / states.stride)) if states.stride > 1 else MAP_HORIZON


def build(prepared: Prepared, spec: LyapunovSpec, clock: Clock) -> Modelled:
    """Fit every candidate, choose by held-out forecasts, refit on everything, refine under noise."""
    clock.enter("fitting models", 0.1, 0.55)
    paths, noise, smoothed = denoise(prepared, clock)
    period = prepared.sampling.period_steps
    found: list[Candidate] = []
    spaces = state_spaces(paths, prepared.segments, prepared, spec)
    for i, (states, flow) in enumerate(spaces):
        clock.tick(i / len(spaces))
        share = 0.55 * (len(spaces) - i - 1) / len(spaces) + 0.45
        found += selection.search(
            states,
            flow,
            selection.half_widths(period),
            _horizon(states, flow, period),
            clock,
            lambda s=share: clock.left() < s,  # type: ignore[misc]
        )
    ordered = selection.choose(found)
    linear = min((c for c in found if c.is_linear), key=lambda c: c.score)
    chosen = next((c for c in map(selection.refitted, ordered) if sound(c, clock)), linear)
    rng = np.random.default_rng([spec.seed, 1])
    draws = fitting.resampled(chosen.regression, chosen.ridge, N_DRAWS, rng)
    clock.tick()
    refined = refine(chosen, prepared, noise, clock) if not chosen.is_linear else None
    if refined is not None:
        chosen = replace(chosen, model=refined.model)
        draws = refined.draw(N_DRAWS, rng)
        noise = refined.noise
    return Modelled(chosen, ordered, linear, draws, noise, smoothed, refined is not None)


def sound(candidate: Candidate, clock: Clock) -> bool:
    """Whether one step of the model from the data's own states stays finite and in bounds (all but 0.1 % of them)."""
    path = candidate.states.pooled()
    growth = candidate.model.growth_along(path[:: max(1, len(path) // 2000)], 1, clock)
    return bool(np.mean(np.isfinite(growth)) >= 0.999)


def one_step_noise(candidate: Candidate) -> float:
    """Noise std that explains a map's one-step residual, |e_(t+1) - J e_t|^2 = s^2 (m + |J|^2)."""
    model, regression = candidate.model, candidate.regression
    residual = regression.targets - regression.features @ model.weights
    states = candidate.states.pooled()[:: max(1, candidate.states.n_rows // 200)]
    stretch = float(np.mean([np.sum(model.jacobian(x) ** 2) for x in states]))
    return float(np.sqrt(np.mean(np.sum(residual**2, axis=1)) / (candidate.states.dimension + stretch)))


def refine(candidate: Candidate, prepared: Prepared, noise: float, clock: Clock) -> shooting.Refinement | None:
    """Multiple shooting where noise exceeds 0.2 % and the refined model forecasts held-out data no worse."""
    states, model = candidate.states, candidate.model
    level = noise if model.is_flow else one_step_noise(candidate)
    if level < 2e-3 or (states.kind == "delay" and states.stride > 1):
        return None
    growth = max(1e-3, float(model.growth_along(states.paths[0][:3000], 1, clock).mean()))
    period = prepared.sampling.period_steps
    longest = int(np.clip(1.5 / growth, 3, max(6.0, period)))
    start: shooting.Refinement | None = None
    current: SmoothModel = model
    for window in sorted({max(3, longest // 2), longest}):
        step = shooting.refine(current, states, states.observed, window, level, clock)
        if step is None:
            continue
        _, curve = selection.forecast_errors(states, step.model, candidate.horizon, clock)
        if not np.isfinite(curve).all() or curve.mean() > 1.1 * candidate.curve.mean() + 1e-3:
            break
        start, current = step, step.model
    return start

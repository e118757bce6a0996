"""Every method's largest exponent side by side: which one is trusted, why, and how far the others are from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from domain.base import Quantity
from domain.results import Evidence, MethodEstimate
from dynamics.lyapunov.cross_checks import CrossChecks
from dynamics.lyapunov.local_jacobians import LocalJacobians
from dynamics.lyapunov.modelling import Modelled
from dynamics.lyapunov.spectrum import Measured, from_divergence

SOURCES = {"neighbour divergence": "neighbor-divergence", "local Jacobians": "local-jacobians"}
AGREES = 2.0  # standard errors
CLOSE = 0.15  # of lambda_max
VAGUE = 0.5  # of lambda_max: a difference with a larger standard error tells nothing


@dataclass(frozen=True)
class Setting:
    """What all methods share in the answer."""

    dt: float  # of a step of the prepared series
    unit: str
    level: float
    asked: str  # LyapunovSpec.method
    reason: str | None  # why the analysis gives no exponents, if so
    undecided: bool = False  # the verdict


@dataclass(frozen=True)
class _Estimate:
    method: str
    value: float | None  # per step
    error: float
    said: str  # of its own quality
    seconds: float | None
    how: str


def compare(
    measured: Measured, fitted: Measured, modelled: Modelled, checks: CrossChecks, seconds: float, setting: Setting
) -> list[MethodEstimate]:
    """One entry per method. `measured` is what the analysis answers with, `fitted` the model's own figures, which took `seconds`."""
    estimates = [_fitted(fitted, modelled, seconds), _divergence(fitted, checks), _local(checks)]
    chosen = SOURCES.get(measured.source, "fitted-model")
    reference = next(e for e in estimates if e.method == chosen)
    return [_entry(e, reference, setting) for e in estimates]


def agreement(methods: list[MethodEstimate]) -> Evidence | None:
    """The comparison as one observation; None where there is nothing to compare."""
    others = [m for m in methods if m.distance is not None]
    trusted = next((m for m in methods if m.trusted), None)
    if not others or trusted is None or trusted.lambda_max.value is None:
        return None
    own = trusted.lambda_max.value
    said = [
        f"{m.method} {m.lambda_max.value:.3g} ({m.distance:.1f} standard errors off)"
        for m in others
        if m.lambda_max.value is not None
    ]
    return Evidence(
        test="method-agreement",
        value=min(m.distance for m in others if m.distance is not None),
        supports="none",
        detail=f"{trusted.method} gives {own:.3g} {trusted.lambda_max.unit}; {', '.join(said)}. The value is the nearest one's distance.",
    )


def _entry(e: _Estimate, reference: _Estimate, setting: Setting) -> MethodEstimate:
    trusted = e.method == reference.method and setting.reason is None
    distance = None
    if e.method != reference.method and e.value is not None and reference.value is not None and setting.reason is None:
        distance = abs(e.value - reference.value) / max(float(np.hypot(e.error, reference.error)), 1e-300)
    return MethodEstimate.model_validate(
        {
            "method": e.method,
            "lambda_max": _quantity(e, setting),
            "trusted": trusted,
            "why": _why(e, reference, trusted, distance, setting),
            "distance": distance,
            "seconds": e.seconds,
        }
    )


def _quantity(e: _Estimate, setting: Setting) -> Quantity:
    reason = (
        setting.reason if e.method == "fitted-model" else None
    )  # a model that captures nothing has no exponents to show
    if e.value is None or reason is not None:
        return Quantity(reason=reason or e.said, unit=setting.unit, method=e.how)
    value, half = (
        e.value / setting.dt,
        float(stats.norm.ppf(0.5 + 0.5 * setting.level)) * e.error / setting.dt,
    )
    return Quantity(value=value, unit=setting.unit, ci=(value - half, value + half), level=setting.level, method=e.how)


def _why(e: _Estimate, reference: _Estimate, trusted: bool, distance: float | None, setting: Setting) -> str:
    if e.value is None:
        return e.said
    if setting.reason is not None:
        return f"No method is trusted with this series. {e.said}"
    if trusted:
        doubt = " The verdict is undecided: take the figure with doubt." if setting.undecided else ""
        return f"{'Asked for.' if setting.asked == e.method else 'Trusted.'} {e.said}{doubt}"
    if distance is None or reference.value is None:
        return e.said
    gap, size = abs(e.value - reference.value), abs(reference.value)
    if gap < CLOSE * size:
        found = "Agrees with the trusted method."
    elif distance >= AGREES:
        found = "Differs from the trusted method."
    elif float(np.hypot(e.error, reference.error)) > VAGUE * size:
        found = "Too uncertain to be told from the trusted method."
    else:
        found = "Agrees with the trusted method within both errors."
    return f"{found} {e.said}"


def _fitted(fitted: Measured, modelled: Modelled, seconds: float) -> _Estimate:
    best = modelled.candidate
    holds = "sustains itself on the data's attractor" if fitted.free is not None else "does not sustain itself"
    said = (
        f"A smooth model forecasts held-out data to {np.exp(best.score):.2g} standard deviations over "
        f"{best.horizon * best.states.stride} steps, and {holds}."
    )
    value, error = float(fitted.exponents[0]), float(np.sqrt(fitted.covariance[0, 0]))
    return _Estimate("fitted-model", value, error, said, seconds, f"QR on a fitted model, {fitted.source}")


def _divergence(fitted: Measured, checks: CrossChecks) -> _Estimate:
    found, how = checks.divergence, "neighbour divergence (Rosenstein)"
    if found is None:
        said = "Too few pairs of neighbours that are apart in time and farther than the noise."
        return _Estimate("neighbor-divergence", None, 0.0, said, checks.divergence_seconds, how)
    said = (
        f"The mean log distance of {found.n_pairs} pairs rises straight (R^2 {found.straightness:.3f}) by {found.rise:.2g} nats "
        f"between steps {found.first} and {found.last}; noise makes neighbours part, too."
    )
    own = from_divergence(fitted, found.slope, found.error)
    error = float(np.sqrt(own.covariance[0, 0]))
    return _Estimate("neighbor-divergence", found.slope, error, said, checks.divergence_seconds, how)


def _local(checks: CrossChecks) -> _Estimate:
    found, how = checks.jacobians, "QR on local-linear Jacobians (Sano-Sawada)"
    if found is None or not np.isfinite(found.exponents[0] + found.errors[0]):
        said = (
            "Not run: too few states, or nothing left of the budget."
            if found is None
            else "Every neighbourhood is flat."
        )
        return _Estimate("local-jacobians", None, 0.0, said, None, how)
    value, error = float(found.exponents[0]), float(found.errors[0])
    return _Estimate("local-jacobians", value, error, _quality(found), checks.jacobians_seconds, how)


def _quality(found: LocalJacobians) -> str:
    explained = f"Local maps on {found.n_neighbours} neighbours explain {100 * max(0.0, found.skill):.0f} % of what their mean does not"
    if found.reliable:
        return f"{explained} of the next {found.evolve_steps} step(s): usable; noise and flat neighbourhoods bias it."
    return f"{explained} of the next {found.evolve_steps} step(s), or their number changes the answer: not reliable."

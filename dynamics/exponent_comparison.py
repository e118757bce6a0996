"""The largest exponent of the data beside that of a trained model, in units of what both are uncertain by."""

from __future__ import annotations

import math

from scipy.stats import norm

from domain.base import Quantity
from domain.results import ExponentComparison, LyapunovSpectrum

CLOSE = 2.0  # standard errors


def compare_lambda_max(
    data: Quantity | None, spectrum: LyapunovSpectrum, *, driven: bool = False
) -> ExponentComparison:
    """How far lambda_max of a model's spectrum lies from that of the data, both in nats per time unit.

    z = (model - data) / sqrt(s_data^2 + s_model^2), s the half width of an interval over the normal quantile of its level.
    The model's interval is of its own attractor (finite runs), the data's of everything the analysis is unsure of.
    `driven`: the model's exponents are conditional on its inputs, hence of another kind than the data's.
    """
    model = spectrum.exponents[0] if spectrum.exponents else None
    given = {"data": None if data is None else data.value, "model": model, "unit": spectrum.unit}
    reason = _missing(data, model, spectrum, driven)
    if reason is not None or data is None or data.value is None or model is None:
        return ExponentComparison(**given, reason=reason)
    difference = model - data.value
    errors = [
        _standard_error(data.ci, data.level),
        _standard_error(spectrum.ci[0] if spectrum.ci else None, spectrum.level),
    ]
    if any(e is None for e in errors):
        reason = "One of the two has no interval: the difference cannot be weighed."
        return ExponentComparison(**given, difference=difference, reason=reason)
    error = math.hypot(*(e for e in errors if e is not None))
    if not error > 0:
        return ExponentComparison(**given, difference=difference, reason="Both intervals are of no width.")
    z = difference / error
    words = "within what both are uncertain by" if abs(z) < CLOSE else "more than both are uncertain by"
    relative = f", {100 * difference / abs(data.value):+.0f} %" if data.value else ""
    return ExponentComparison(
        **given,
        difference=difference,
        standard_errors=z,
        detail=f"Model {model:.3g}, data {data.value:.3g} {spectrum.unit}{relative}: {abs(z):.1f} standard errors apart, {words}.",
    )


def _missing(data: Quantity | None, model: float | None, spectrum: LyapunovSpectrum, driven: bool) -> str | None:
    if driven:
        return "The model is driven: its exponents are those of its state alone under given inputs, the data's are not."
    if data is None:
        return "The series has no Lyapunov analysis to compare with."
    if data.value is None:
        return f"The data's exponent is unknown. {data.reason or ''}".strip()
    return None if model is not None else f"The model's exponent is unknown: {spectrum.reason}."


def _standard_error(ci: tuple[float, float] | None, level: float | None) -> float | None:
    if ci is None or level is None:
        return None
    return (ci[1] - ci[0]) / 2.0 / float(norm.ppf(0.5 + level / 2.0))

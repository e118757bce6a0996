"""The verdict on a reconstruction, in plain words with advice: rules, and nothing but rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from domain.base import Measure, Warning_
from domain.results import CountedChannelReport
from models import TrainedModel

Fate = Literal["ok", "diverged", "collapsed"]
VerdictKind = Literal["good", "fair", "poor", "diverged", "collapsed", "undecided"]
Grade = Literal["good", "fair", "poor"]

# Set on Lorenz-63 and ECG models of known quality: docs/science/measures.md has the table.
GOOD_EXCESS, FAIR_EXCESS = 0.5, 5.0  # nats of d_stsp beyond what sampling alone explains
GOOD_D_H, FAIR_D_H = 0.12, 0.35
SHORT_LYAPUNOV_TIMES = 50


@dataclass(frozen=True)
class Findings:
    """What was measured, as far as the verdict needs it."""

    model: TrainedModel
    n_reference: int  # embedded steps that were used
    n_given: int  # steps that were handed over
    undecided: str | None  # why nothing could be measured
    fates: list[Fate]
    d_stsp: Measure
    d_stsp_long: Measure | None
    d_h: Measure
    prediction_error: Measure
    counted: list[CountedChannelReport]
    exponents: list[float | None]
    lambda_max: float | None


def judge(found: Findings) -> tuple[VerdictKind, str, list[Warning_]]:
    """Verdict, its detail with advice, and what a reader of the report must know besides."""
    verdict, detail = _verdict(found)
    return verdict, detail, _warnings(found)


def _verdict(found: Findings) -> tuple[VerdictKind, str]:
    n, diverged, collapsed = (len(found.fates), found.fates.count("diverged"), found.fates.count("collapsed"))
    if diverged > n / 2:
        return "diverged", (
            f"{diverged} of {n} free runs leave every bound: the model is unstable. Use the architecture clipped-shplrnn, which "
            "cannot run away, a lower learning-rate peak, or more seeds."
        )
    if found.undecided is not None:
        return (
            "undecided",
            f"Nothing could be measured: {found.undecided}. Hold out more, or evaluate on another series.",
        )
    if collapsed > n / 2:
        return "collapsed", (
            f"{collapsed} of {n} free runs come to rest where the data keep moving: the model fell onto a fixed point, "
            f"although it may predict well at first. {_RETRAIN}"
        )
    grades = {
        "attractor": _attractor_grade(found),
        "rhythm": _rhythm_grade(found),
        "prediction": _prediction_grade(found),
    }
    worst: Grade = max(grades.values(), key=["good", "fair", "poor"].index)
    if worst != "good" and _settles_on_a_cycle(found):
        return "collapsed", (
            f"The series is chaotic, but the model's largest exponent, {found.exponents[0]:.3g}, is not a tenth of the series' "
            f"{found.lambda_max:.3g}: it settles on a cycle, or nearly so. {_RETRAIN}"
        )
    words = {
        "attractor": {
            "good": "matches the attractor",
            "fair": "roughly matches the attractor",
            "poor": "misses the attractor",
        },
        "rhythm": {"good": "has its rhythms", "fair": "roughly has its rhythms", "poor": "misses its rhythms"},
        "prediction": {
            "good": "predicts better than persistence and the mean",
            "fair": "predicts no better than persistence or the mean",
            "poor": "diverges from some starts at once",
        },
    }
    said = [words[part][grade] for part, grade in grades.items()]
    detail = f"The free-running model {said[0]}, {said[1]}, and {said[2]}."
    if worst != "good":
        weak = next(part for part, grade in grades.items() if grade == worst)
        detail += " " + _ADVICE[weak]
    return worst, detail


_RETRAIN = "Train more seeds, use longer sequences, or force less (smaller alpha, longer interval)."
_ADVICE = {
    "attractor": f"{_RETRAIN} A larger hidden layer helps where all seeds look alike.",
    "rhythm": "Train longer or with longer sequences; for a series of few channels try a delay embedding.",
    "prediction": "Train longer, or check whether the series is mostly noise.",
}


def _grade(value: float | None, good: float, fair: float) -> Grade:
    if value is None or value > fair:
        return "poor"
    return "good" if value <= good else "fair"


def _attractor_grade(found: Findings) -> Grade:
    """d_stsp beyond the level that sampling alone gives: the floor, or what the model's own series scores in the long variant.

    That own level tells of sampling only in a model whose runs agree, and there it lies below the floor.
    """
    measure, level = found.d_stsp, found.d_stsp.floor or 0.0
    if found.d_stsp_long is not None:
        measure, own = found.d_stsp_long, found.d_stsp_long.parameters.get("own_level", 0.0)
        level = min(level, own) if isinstance(own, float) else 0.0
    return "poor" if measure.value is None else _grade(measure.value - level, GOOD_EXCESS, FAIR_EXCESS)


def _rhythm_grade(found: Findings) -> Grade:
    floor = found.d_h.floor or 0.0
    return _grade(found.d_h.value, max(GOOD_D_H, 2 * floor), max(FAIR_D_H, 4 * floor))


def _prediction_grade(found: Findings) -> Grade:
    """Of Gaussian channels the error, of the others the likelihood, against persistence and the mean or the marginal; the worse of both."""
    error = found.prediction_error
    likelihoods = [c for c in found.counted if c.log_likelihood is not None]
    if likelihoods:
        gained = [
            c.log_likelihood - max(c.marginal or 0.0, c.persistence or 0.0)
            for c in likelihoods
            if c.log_likelihood is not None
        ]
        if sum(gained) <= 0 or not len(found.model.gaussian):
            return "good" if sum(gained) > 0 else "fair"
    if error.value is None:
        return "poor"
    persistence = error.parameters.get("persistence", 1.0)
    return "good" if error.value < min(1.0, persistence if isinstance(persistence, float) else 1.0) else "fair"


def _settles_on_a_cycle(found: Findings) -> bool:
    """Of a model without inputs: the exponents of a driven one are conditional, and negative where its inputs command it."""
    if found.model.inputs is not None:
        return False
    largest = found.exponents[0] if found.exponents else None
    chaotic = found.lambda_max is not None and found.lambda_max > 0
    return bool(chaotic and largest is not None and largest < 0.1 * (found.lambda_max or 0.0))


def _warnings(found: Findings) -> list[Warning_]:
    model, warnings = found.model, []

    def warn(code: str, detail: str) -> None:
        warnings.append(Warning_(code=code, detail=detail))

    lost = [f for f in found.fates if f != "ok"]
    if 0 < len(lost) <= len(found.fates) / 2:
        warn(
            "lost_runs",
            f"{len(lost)} of {len(found.fates)} free runs did not stay on the attractor: {', '.join(lost)}.",
        )
    if found.n_given - model.lags[-1] > found.n_reference > 0:
        warn("reference_truncated", f"Measured on {found.n_reference} of the {found.n_given} steps given.")
    times = found.n_reference * model.dt * (found.lambda_max or 0.0)
    if 0 < times < SHORT_LYAPUNOV_TIMES:
        detail = f"The reference lasts {times:.0f} Lyapunov times; under {SHORT_LYAPUNOV_TIMES} its own statistics are uncertain."
        warn("reference_short", detail)
    if found.d_stsp.floor is not None and found.d_stsp.floor > 1 and found.d_stsp_long is not None:
        detail = (
            f"One half of the reference scores {found.d_stsp.floor:.1f} against the other: d_stsp mostly measures how few points "
            "there are; d_stsp_long suffers less."
        )
        warn("d_stsp_sampling", detail)
    known = [e for e in found.exponents if e is not None]
    if known and known[-1] < -3 * max(abs(known[0]), found.lambda_max or 0.0):
        noise = float(np.median(model.residual_std))
        detail = (
            f"The data say little about directions that contract as fast as {known[-1]:.3g}: the one-step error of {noise:.2g} std "
            "blurs them, so strongly negative exponents and the fraction of the dimension they give are the model's own."
        )
        warn("contracting_exponents", detail)
    comparable = found.model.inputs is None and found.lambda_max is not None and found.lambda_max > 0
    if known and comparable and found.lambda_max is not None and not 0.5 < known[0] / found.lambda_max < 2:
        detail = f"The model's largest exponent {known[0]:.3g} differs from that of the series, {found.lambda_max:.3g}."
        warn("lambda_max_differs", detail)
    return warnings

"""The report on a family of maps: every recording's map against that recording's own held-out rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from domain.errors import SeriesTooShort
from domain.results import ReconstructionReport, RecordingReport
from dynamics.evaluation import evaluate
from dynamics.families import fit_vector
from dynamics.judgement import Findings, judge
from dynamics.pooled_recordings import MOST_POOLED, pooled_findings
from dynamics.references import make_reference
from dynamics.reporting import Reporter
from models.trained import TrainedModel

MOST_RECORDINGS = 6  # are reported on, spread evenly: each takes as long as the report on a model without a family
_ORDER = ("good", "fair", "poor", "collapsed", "diverged", "undecided")


def evaluate_recordings(
    model: TrainedModel,
    segments: list[np.ndarray],
    *,
    names: list[str | None],
    inputs: list[np.ndarray] | None = None,
    nuisance: list[np.ndarray] | None = None,
    lead_in: list[int] | None = None,
    **arguments: Any,
) -> ReconstructionReport:
    """`evaluate` for each recording; the report of the median one, by verdict and d_stsp, with a line for each in `recordings`.

    `names`: the recording of each segment. One that the family does not know gets a vector fitted to its segments, so that
    what is measured is how well the common structure describes it.
    Where most are too short to be judged by themselves, verdict and measures are of all recordings together: `pooled_recordings`.
    `arguments` as for `evaluate`; the exponents of the data, which belong to no single recording, are not compared.
    """
    assert model.family is not None
    arguments |= {"lambda_max": None, "data_lambda_max": None}
    order = list(dict.fromkeys(names))
    found: list[tuple[RecordingReport, ReconstructionReport]] = []

    def given(name: str | None) -> dict[str, Any]:
        """What `evaluate` and `make_reference` take, of one recording."""
        at = [i for i, other in enumerate(names) if other == name]
        lists = {"segments": segments, "inputs": inputs, "nuisance": nuisance, "lead_in": lead_in}
        return {k: None if v is None else [v[i] for i in at] for k, v in lists.items()}

    for name in _spread(order, MOST_RECORDINGS):
        parts = given(name)
        try:
            vector, known = _vector(model, name, parts)
        except ValueError:
            continue  # too few rows to fit a map to, hence too few for a report
        report = evaluate(model.of(vector), **parts, **arguments)
        exponents = report.lyapunov_spectrum.exponents
        line = RecordingReport(
            name=name or "",
            vector=vector.tolist(),
            fitted=not known,
            verdict=report.verdict,
            d_stsp=report.d_stsp.value,
            d_h=report.d_h.value,
            prediction_error=report.prediction_error.value,
            lambda_max=exponents[0] if exponents else None,
        )
        found.append((line, report))
    if not found:
        raise SeriesTooShort("No recording of the reference has the rows that its map could be fitted to.")
    ranked = sorted(
        found,
        key=lambda pair: (_ORDER.index(pair[1].verdict), pair[0].d_stsp if pair[0].d_stsp is not None else np.inf),
    )
    middle, report = ranked[len(ranked) // 2]
    lines = [line for line, _ in found]
    if report.verdict == "undecided":
        members = []
        for name in _spread(order, MOST_POOLED):
            parts = given(name)
            try:
                own = model.of(_vector(model, name, parts)[0]).as_float64()
            except ValueError:
                continue
            members.append((own, make_reference(own, **parts)))
        spectrum = report.lyapunov_spectrum.exponents
        together = pooled_findings(members, spectrum, arguments["spec"], arguments.get("reporter") or Reporter())
        if together is not None:
            return _pooled(report, together, lines, len(members))
    said = f"Recording {middle.name!r}, the median of {len(found)} by verdict and d_stsp, under its own map: {report.detail}"
    return report.model_copy(update={"detail": said, "recordings": lines})


def _spread(order: list[str | None], most: int) -> list[str | None]:
    """At most so many of them, evenly spaced."""
    return [order[i] for i in np.unique(np.linspace(0, len(order) - 1, min(len(order), most)).astype(int))]


def _vector(model: TrainedModel, name: str | None, parts: dict[str, Any]) -> tuple[np.ndarray, bool]:
    """That of a recording, and whether the family knows it; ValueError where there are too few rows to fit one to."""
    assert model.family is not None
    if name is not None and name in model.family.names:
        return model.family.vector(name), True
    return fit_vector(model, parts["segments"], parts["inputs"], parts["nuisance"]), False


def _pooled(
    report: ReconstructionReport, together: Findings, lines: list[RecordingReport], n_recordings: int
) -> ReconstructionReport:
    """The report of one recording with the verdict and the measures of all of them."""
    verdict, detail, warnings = judge(together)
    said = f"{n_recordings} recordings together, {together.n_reference} held-out rows, each under its own map: {detail}"
    return report.model_copy(
        update={
            "verdict": verdict,
            "detail": said,
            "d_stsp": together.d_stsp,
            "d_stsp_long": together.d_stsp_long,
            "d_h": together.d_h,
            "prediction_error": together.prediction_error,
            "recordings": lines,
            "warnings": warnings,
        }
    )

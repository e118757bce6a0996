"""The report on a family of maps: every recording's map against that recording's own held-out rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from domain.errors import SeriesTooShort
from domain.results import ReconstructionReport, RecordingReport
from dynamics.evaluation import evaluate
from dynamics.families import fit_vector
from models.trained import TrainedModel

MOST_RECORDINGS = 6  # are reported on, spread evenly: each takes as long as the report on a model without a family
_ORDER = ("good", "fair", "poor", "collapsed", "diverged", "undecided")


def evaluate_recordings(
    model: TrainedModel,
    segments: list[np.ndarray],
    *,
    names: list[str | None],
    inputs: list[np.ndarray] | None = None,
    lead_in: list[int] | None = None,
    **arguments: Any,
) -> ReconstructionReport:
    """`evaluate` for each recording; the report of the median one, by verdict and d_stsp, with a line for each in `recordings`.

    `names`: the recording of each segment. One that the family does not know gets a vector fitted to its segments, so that
    what is measured is how well the common structure describes it.
    `arguments` as for `evaluate`; the exponents of the data, which belong to no single recording, are not compared.
    """
    assert model.family is not None
    arguments |= {"lambda_max": None, "data_lambda_max": None}
    order = list(dict.fromkeys(names))
    chosen = [order[i] for i in np.unique(np.linspace(0, len(order) - 1, min(len(order), MOST_RECORDINGS)).astype(int))]
    found: list[tuple[RecordingReport, ReconstructionReport]] = []
    for name in chosen:
        at = [i for i, other in enumerate(names) if other == name]
        parts, driving = [segments[i] for i in at], None if inputs is None else [inputs[i] for i in at]
        known = name in model.family.names
        try:
            vector = model.family.vector(name) if known and name is not None else fit_vector(model, parts, driving)
        except ValueError:
            continue  # too few rows to fit a map to, hence too few for a report
        before = None if lead_in is None else [lead_in[i] for i in at]
        report = evaluate(model.of(vector), parts, inputs=driving, lead_in=before, **arguments)
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
    said = f"Recording {middle.name!r}, the median of {len(found)} by verdict and d_stsp, under its own map: {report.detail}"
    return report.model_copy(update={"detail": said, "recordings": [line for line, _ in found]})

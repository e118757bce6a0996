"""`kind: train`: series, and the analysis that tunes the forcing -> Model."""

from __future__ import annotations

from domain.errors import InvalidParameters
from domain.results import LyapunovAnalysis
from domain.specs import EvaluateSpec, LyapunovSpec, TrainJob
from worker.context import Context, Outcome
from worker.handlers.inputs import SeriesInput, find_analysis, load_for_training
from worker.handlers.reconstruction import ChosenAnalysis, reconstruct


def run(context: Context) -> Outcome:
    request = context.request
    assert isinstance(request, TrainJob)
    given, spec = load_for_training(context, request, request.params)
    return reconstruct(
        context,
        given,
        lyapunov=LyapunovSpec(),
        training=spec,
        evaluation=EvaluateSpec(),
        existing_analysis=lambda: _existing(context, given, request.analysis_id),
    )


def _existing(context: Context, given: SeriesInput, analysis_id: str | None) -> ChosenAnalysis | None:
    """The analysis that was asked for, else the newest of the same observed channels of the series, if there is one."""
    row = find_analysis(context, given, analysis_id)
    if row is None:
        return None
    if (row.series_id, row.channels) != (given.row.id, given.analysed):
        raise InvalidParameters(
            f"Analysis {row.id} is of the channels {', '.join(row.channels)} of series {row.series_id}, "
            f"not of {', '.join(given.analysed)} of {given.row.id}. Name another one, or none."
        )
    return ChosenAnalysis(id=row.id, is_new=False, found=LyapunovAnalysis.model_validate(row.document))

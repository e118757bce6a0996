"""`kind: lyapunov`: series -> Analysis."""

from __future__ import annotations

from domain.ids import new_id
from domain.specs import LyapunovJob
from dynamics.lyapunov import analyze
from worker.context import Context, Outcome
from worker.handlers.inputs import analysis_row, load_series


def run(context: Context) -> Outcome:
    request = context.request
    assert isinstance(request, LyapunovJob)
    given = load_series(context, request.series_id, request.channels)
    found = analyze(
        given.values,
        dt=given.row.dt,
        time_unit=given.row.time_unit,
        spec=request.params,
        reporter=context.reporter,
    )
    return Outcome(analysis_row(new_id("analysis"), given, found))

"""`kind: evaluate`: a stored model against a part of a series -> Evaluation."""

from __future__ import annotations

from functools import partial

from domain.base import Quantity
from domain.ids import new_id
from domain.specs import EvaluateJob
from dynamics.evaluation import evaluate
from dynamics.family_evaluation import evaluate_recordings
from dynamics.input_channels import beside
from store import companions, series
from store.tables import EvaluationRow
from worker.context import Context, Outcome
from worker.handlers.inputs import SeriesInput, find_analysis, load_model, load_series, reference_runs, stated_runs


def run(context: Context) -> Outcome:
    request = context.request
    assert isinstance(request, EvaluateJob)
    row, model = load_model(context, request.model_id)
    used = [*model.channels, *model.input_channels, *model.nuisance_channels]
    series_id = request.series_id or str(row.series_id)
    is_own, tenant = series_id == row.series_id, context.task.tenant
    with context.database.read() as session:
        main = series.get(session, series_id, tenant=tenant)
        own = row.document if is_own else None
        found = companions.for_model(session, main, request, beside(model), own, tenant=tenant)
    given = load_series(
        context, series_id, used, model.input_channels, model.nuisance_channels, found, model.counted_channels
    )
    training = row.document["training"]
    held_out = (
        stated_runs(training.get("test_parts", []), training["test_steps"]) if is_own else [(0, given.row.n_steps)]
    )
    runs = reference_runs(request.params, held_out, given.row.n_steps)
    reference = given.within(runs, model.context_rows - 1)
    lambda_max = _lambda_max(context, given, row.analysis_id if is_own else None)
    measure = evaluate if model.family is None else partial(evaluate_recordings, names=reference.names)
    report = measure(
        model,
        reference.observed,
        inputs=reference.inputs,
        nuisance=reference.nuisance,
        lead_in=reference.lead_in,
        spec=request.params,
        lambda_max=None if lambda_max is None else lambda_max.value,
        data_lambda_max=lambda_max,
        reference_steps=(runs[0][0], runs[-1][1]),
        reference_parts=runs,
        reporter=context.reporter,
    )
    return Outcome(
        EvaluationRow(
            id=new_id("evaluation"),
            series_id=given.row.id,
            model_id=row.id,
            document=report.model_dump(mode="json")
            | {"channels": given.channels}
            | {f: [p.model_dump() for p in parts] for f, parts in companions.described(found).items()},
        )
    )


def _lambda_max(context: Context, given: SeriesInput, analysis_id: str | None) -> Quantity | None:
    """From the analysis of the model's training, or else the newest of the series; None without one."""
    row = find_analysis(context, given, analysis_id)
    return None if row is None else Quantity.model_validate(row.document["lambda_max"])

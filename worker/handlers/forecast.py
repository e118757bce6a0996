"""`kind: forecast`: a model and where to start -> Forecast. The API answers the small ones by the same functions."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from domain.documents import ForecastOut, write_forecast
from domain.ids import new_id
from domain.results import LyapunovSpectrum
from domain.series import SeriesProfile
from domain.specs import ForecastJob
from dynamics.forecast_inputs import Given, given_by_context, given_by_series, predictability_of
from dynamics.forecasting import forecast, horizon_steps
from dynamics.input_channels import beside
from dynamics.recorded import Recorded
from models.trained import TrainedModel
from store import companions, series
from store.companions import Companion
from store.tables import ForecastRow, ModelRow
from worker.context import Context, Outcome
from worker.handlers.inputs import load_model


def run(context: Context) -> Outcome:
    request = context.request
    assert isinstance(request, ForecastJob)
    row, model = load_model(context, request.model_id)
    series_id = None if request.params.context else request.series_id or row.series_id
    spectrum = LyapunovSpectrum.model_validate(row.document["report"]["lyapunov_spectrum"])
    predictability = predictability_of(spectrum, model)
    n_steps = horizon_steps(request.params, predictability, model.dt)
    given, found = _given(context, request, row, model, n_steps)
    result = forecast(
        given.model,
        given.values,
        spec=request.params,
        start=given.start,
        predictability=predictability,
        **given.columns(),
        reporter=context.reporter,
    )
    document = ForecastOut(
        **dict(result.model_copy(update={"recording_vector": given.vector})),
        id=new_id("forecast"),
        model_id=row.id,
        series_id=series_id,
        job_id=context.task.job_id,
        created_at=datetime.now(UTC),
        **companions.described(found),
    )
    text, summary = write_forecast(document)
    return Outcome(
        ForecastRow(
            id=document.id,
            series_id=series_id,
            model_id=row.id,
            document=json.loads(text) if summary is None else summary,
            blob_sha256=None if summary is None else context.keep(text.encode()).sha256,
        )
    )


def _given(
    context: Context, request: ForecastJob, model_row: ModelRow, model: TrainedModel, n_steps: int
) -> tuple[Given, list[Companion]]:
    spec, tenant = request.params, context.task.tenant
    if spec.context is not None:
        return given_by_context(model, spec, n_steps), []
    series_id = str(request.series_id or model_row.series_id)
    with context.database.read() as session:
        row = series.get(session, series_id, tenant=tenant)
        own = model_row.document if series_id == model_row.series_id else None
        found = companions.for_model(session, row, request, beside(model), own, tenant=tenant, may_go_on=True)
    given = given_by_series(
        model,
        spec,
        n_steps,
        recorded=Recorded(context.patiently(lambda: companions.tables(context.blobs, row, found))),
        dt=row.dt,
        recordings=SeriesProfile.model_validate(row.profile).recordings,
    )
    return given, found

"""`kind: forecast`: a model and where to start -> Forecast. The API answers the small ones by the same functions."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np

from domain.documents import ForecastOut, write_forecast
from domain.ids import new_id
from domain.results import ForecastStart, LyapunovSpectrum
from domain.series import SeriesProfile
from domain.specs import ForecastJob
from dynamics.forecast_inputs import (
    context_values,
    future_inputs,
    predictability_of,
    recorded_from,
    start_in_series,
)
from dynamics.forecasting import forecast, horizon_steps
from models.trained import TrainedModel
from store import series
from store.tables import ForecastRow
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
    values, start, recorded = _observations(context, request, model, series_id, n_steps)
    result = forecast(
        model,
        values,
        spec=request.params,
        start=start,
        predictability=predictability,
        inputs=future_inputs(model, request.params, n_steps, recorded),
        reporter=context.reporter,
    )
    document = ForecastOut(
        **dict(result),
        id=new_id("forecast"),
        model_id=row.id,
        series_id=series_id,
        job_id=context.task.job_id,
        created_at=datetime.now(UTC),
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


def _observations(
    context: Context, request: ForecastJob, model: TrainedModel, series_id: str | None, n_steps: int
) -> tuple[np.ndarray, ForecastStart, np.ndarray | None]:
    """The rows (L, N) that the forecast starts from, in the model's channels, and what is recorded of its inputs from there on."""
    spec = request.params
    if spec.context is not None:
        values, start = context_values(
            spec.context, channels=model.channels, context_steps=model.context_steps, dt=model.dt
        )
        return values, start, None
    with context.database.read() as session:
        row = series.get(session, str(series_id), tenant=context.task.tenant)
    segments = SeriesProfile.model_validate(row.profile).segments
    rows, start = start_in_series(
        segments,
        start_index=spec.start_index,
        context_steps=model.context_steps,
        dt=row.dt,
    )
    table = context.patiently(lambda: series.load_values(context.blobs, row))
    recorded = None
    if all(name in row.channels for name in model.input_channels):
        inputs = series.channel_indices(row, model.input_channels)
        recorded = table[recorded_from(segments, start, n_steps)][:, inputs]
    columns = series.channel_indices(row, model.channels)
    return np.asarray(table[rows][:, columns], dtype=np.float64), start, recorded

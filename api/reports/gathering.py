"""All that a report tells of, read from the store: the model, its series, its analysis, and a forecast."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from api.dependencies import Services
from api.figures import service as figures
from api.forecasts import service as forecasts
from api.results import get_document
from domain.errors import DomainError, NotFound
from domain.specs import ForecastSpec
from store import results, series
from store.tables import ForecastRow, SeriesRow

LYAPUNOV_TIMES, STEPS = 4.0, 300  # of the forecast that is made for a report
LAYOUT = 2  # counts up when reports come to look different


@dataclass(frozen=True)
class Gathered:
    """Stored documents; `forecast_id` is None where the report has to make its own."""

    model: dict[str, Any]
    analysis: dict[str, Any] | None
    series: SeriesRow | None
    forecast_id: str | None

    def tag(self, form: str) -> str:
        """An ETag that is known before anything is drawn: what is stored never changes, so ids say it all."""
        parts = [
            self.model["id"],
            self.analysis["id"] if self.analysis else None,
            self.series.content_hash if self.series else None,
            self.forecast_id,
            *(version(name) for name in ("attractor", "matplotlib", "numpy")),
            LAYOUT,
            form,
        ]
        return f'"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}"'


def gather(services: Services, tenant: str, model_id: str) -> Gathered:
    """NotFound for a model that is not there, or is somebody else's."""
    found = figures.load(services, tenant, "model", model_id)
    with services.database.read() as session:
        row = None
        if found.series_id is not None:
            try:
                row = series.get(session, found.series_id, tenant=tenant)
            except NotFound:
                row = None  # deleted since; the report says so
        newest = results.list_page(session, ForecastRow, tenant=tenant, model_id=model_id, limit=1).items
    return Gathered(found.document, found.analysis, row, newest[0].id if newest else None)


def forecast(services: Services, tenant: str, found: Gathered) -> tuple[dict[str, Any] | None, str]:
    """The newest stored forecast, or one from the first held-out row that is made now and not kept; and what it is, or why
    there is none."""
    if found.forecast_id is not None:
        with services.database.read() as session:
            try:
                document = get_document(session, services.blobs, "forecast", found.forecast_id, tenant)
                return document, f"The newest stored forecast of the model, {found.forecast_id}."
            except NotFound:
                pass  # deleted in this moment: one is made
    if found.series is None:
        return None, "The series is not stored, so there is nothing to start a forecast from."
    model = services.load_model(tenant, found.model["id"])
    spec = _spec(found, model.predictability.time is not None)
    try:
        result = forecasts.compute(services, tenant, model, spec)
    except DomainError as error:
        return None, f"No forecast could be made for this report: {error.detail}"
    document = result.model_dump(mode="json") | {"model_id": model.id, "series_id": found.series.id}
    return document, "Made for this report, from the first held-out row, which training has not seen; seed 0."


def _spec(found: Gathered, chaotic: bool) -> ForecastSpec:
    start, stop = found.model["training"]["test_steps"]
    first = {"start_index": start} if start < stop else {}
    if found.model["input_channels"] and first:  # their future values are those that were recorded
        return ForecastSpec(horizon_steps=min(STEPS, stop - start), **first)
    if chaotic:
        return ForecastSpec(horizon_lyapunov_times=LYAPUNOV_TIMES, **first)
    return ForecastSpec(horizon_steps=STEPS, **first)

"""Figures of stored results: what they draw from is gathered here, what they look like is defined in `figures`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from api.dependencies import Services
from api.figures.schemas import FigureOut, FiguresOut, MissingFigure
from api.forecasts.service import series_for
from api.models.service import LoadedModel
from api.results import document_of, get_document
from api.series.exporting import select
from domain.companions import FIELDS, Companions
from domain.documents import href
from domain.errors import DomainError, NotFound
from dynamics.recorded import Recorded
from figures.catalogue import Definition, ErrorGrowth, Measured, Sources
from figures.of import DEFINITIONS, find
from figures.parts import Figure
from store import companions, results
from store import series as stored_series
from store.companions import Companion
from store.tables import SeriesRow

MAX_MEASURED_POINTS = 6_000
MAX_GROWTH_ROWS = 20_000  # of the held-out part
GROWTH_LYAPUNOV_TIMES, GROWTH_STEPS, MAX_GROWTH_STEPS = 5.0, 200, 500


@dataclass(frozen=True)
class Result:
    """A result with what its figures are told about its origin."""

    resource: str
    document: dict[str, Any]
    model: dict[str, Any] | None  # the document of the model that it is, or is of
    analysis: dict[str, Any] | None

    @property
    def series_id(self) -> str | None:
        return self.document.get("series_id")


def load(services: Services, tenant: str, resource: str, id: str) -> Result:
    """The stored documents. Raises NotFound for a result that is not there, or is somebody else's."""
    with services.database.read() as session:
        document = get_document(session, services.blobs, resource, id, tenant)
        model = document if resource == "model" else None
        if resource == "evaluation":
            model = _present(session, services, "model", document["model_id"], tenant)
        analysis = None
        if resource in ("model", "evaluation"):
            analysis = _analysis(session, services, tenant, document, model)
    return Result(resource, document, model, analysis)


def _present(session: Session, services: Services, resource: str, id: str, tenant: str) -> dict[str, Any] | None:
    """The document, or None where it was deleted since."""
    try:
        return get_document(session, services.blobs, resource, id, tenant)
    except NotFound:
        return None


def _analysis(
    session: Session, services: Services, tenant: str, document: dict[str, Any], model: dict[str, Any] | None
) -> dict[str, Any] | None:
    """Of the series that the report is about: that of the model's training, or the newest of the same channels."""
    if model is not None and model["series_id"] == document["series_id"]:
        return model["analysis_id"] and _present(session, services, "analysis", model["analysis_id"], tenant)
    if document["series_id"] is None:
        return None
    row = results.analysis_of(session, document["series_id"], document["channels"], tenant=tenant)
    return None if row is None else document_of(row, services.blobs)


def listed(services: Services, tenant: str, resource: str, id: str) -> FiguresOut:
    """Every figure of this kind of result: those that it has, and why it has not the others."""
    result = load(services, tenant, resource, id)
    out = FiguresOut(data=[], missing=[])
    for definition in DEFINITIONS[resource]:
        reason = _reason(services, tenant, result, definition)
        if reason is None:
            link = f"{href(resource, id)}/figures/{definition.name}"
            out.data.append(FigureOut(name=definition.name, title=definition.title, shows=definition.shows, href=link))
        else:
            out.missing.append(MissingFigure(name=definition.name, title=definition.title, reason=reason))
    return out


def _reason(services: Services, tenant: str, result: Result, definition: Definition) -> str | None:
    """Why the result lacks a figure, as far as that is seen without computing anything."""
    if (reason := definition.lacks(result.document)) is not None or "growth" not in definition.needs:
        return reason
    try:
        _reference(services, tenant, result)
    except DomainError as error:
        return error.detail
    return None


def build(services: Services, tenant: str, resource: str, id: str, name: str) -> Figure:
    """The description of a figure. Raises NotFound, with the names there are or the reason why this one is not."""
    result = load(services, tenant, resource, id)
    return figure_of(services, tenant, result, name, id)


def figure_of(services: Services, tenant: str, result: Result, name: str, id: str = "") -> Figure:
    """A figure of a result that is at hand. Raises NotFound, as `build`."""
    definition = find(result.resource, name)
    if definition is None:
        names = ", ".join(d.name for d in DEFINITIONS[result.resource])
        raise NotFound(f"There is no figure {name[:60]!r} of {result.resource} {id}: its figures are {names}.")
    if (reason := _reason(services, tenant, result, definition)) is not None:
        raise NotFound(f"The {result.resource} {id} has no figure {name}: {reason}")
    made_by = result.model or {}
    sources = Sources(
        document=result.document,
        analysis=result.analysis,
        measured=_measured(services, tenant, result.document) if "measured" in definition.needs else None,
        growth=_growth(services, tenant, result) if "growth" in definition.needs else None,
        dt=made_by.get("dt", 1.0),
        time_unit=made_by.get("time_unit", ""),
        lags=tuple(made_by.get("lags", (0,))),
    )
    return definition.build(sources)


def _measured(services: Services, tenant: str, forecast: dict[str, Any]) -> Measured | None:
    """The series around the start of a forecast, thinned with its extremes; None where it is not stored, or no longer."""
    index, horizon = forecast["start"]["index"], forecast["horizon_steps"]
    if forecast["series_id"] is None or index is None:
        return None
    with services.database.read() as session:
        try:
            row = stored_series.get(session, forecast["series_id"], tenant=tenant)
        except NotFound:
            return None
    start, stop = max(0, index - max(20, horizon // 3)), min(row.n_steps, index + horizon)
    columns = stored_series.channel_indices(row, forecast["channels"])[:20]
    table = stored_series.load_values(services.blobs, row)
    chosen = select(row, table, columns, start, stop, MAX_MEASURED_POINTS)
    blocks = list(chosen.blocks())
    return Measured(np.concatenate([b.times for b in blocks]), np.concatenate([b.values for b in blocks]))


def _reference(services: Services, tenant: str, result: Result) -> tuple[LoadedModel, SeriesRow, list[Companion]]:
    """Model and series of a report. Raises NotFound and InvalidParameters where one of them is gone or does not fit."""
    if result.model is None:
        raise NotFound("the model was deleted")
    if result.series_id is None:
        raise NotFound("its series was deleted")
    model = services.load_model(tenant, result.model["id"])
    if model.trained.family is not None:
        raise NotFound("the model has a map for each recording, and the report is of each by itself")
    named = {field: result.document.get(field, []) for field in FIELDS}
    return model, *series_for(services.database, tenant, model, result.series_id, Companions.model_validate(named))


def _growth(services: Services, tenant: str, result: Result) -> ErrorGrowth:
    """Forecasts from many held-out rows, by the model itself."""
    from dynamics.error_growth import error_growth  # scipy takes a while to import

    loaded, row, beside = _reference(services, tenant, result)
    model, report = loaded.trained, result.document.get("report") or result.document
    recorded = Recorded(companions.tables(services.blobs, row, beside))
    runs: list[slice] = []
    lead_in: list[int] = []
    left = MAX_GROWTH_ROWS
    for start, stop in report.get("reference_parts") or [report["reference_steps"]]:
        for segment in recorded.segments:
            first, last = max(start, segment.start), min(stop, segment.stop, max(start, segment.start) + left)
            if last > first:
                before = max(segment.start, first - model.context_rows + 1)
                lead_in.append(first - before)
                runs.append(slice(before, last))
                left -= last - first
    inputs, nuisance = model.input_channels, model.nuisance_channels
    rate = ((result.analysis or {}).get("lambda_max") or {}).get("value") or 0.0
    steps = round(GROWTH_LYAPUNOV_TIMES / (rate * model.dt)) if rate > 0 else GROWTH_STEPS
    try:
        found = error_growth(
            model,
            [recorded.rows(run, model.channels) for run in runs],
            [recorded.rows(run, inputs) for run in runs] if inputs else None,
            min(max(steps, 10), MAX_GROWTH_STEPS),
            [recorded.rows(run, nuisance) for run in runs] if nuisance else None,
            lead_in,
        )
    except ValueError as error:
        raise NotFound(f"There is no figure prediction-error: {error}.") from error
    return ErrorGrowth(**vars(found))

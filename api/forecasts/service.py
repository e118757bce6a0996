"""Forecasts that are answered at once, and forecasts as tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy.orm import Session

from api.dependencies import Services
from api.models.service import LoadedModel
from domain.documents import Encoded, ForecastOut, write_forecast
from domain.errors import ErrorItem, InvalidParameters, NotFound, UnknownChannel
from domain.ids import is_id, new_id
from domain.results import ForecastResult
from domain.series import Recording, Segment
from domain.specs import ForecastSpec
from dynamics.forecast_inputs import Given, given_by_context, given_by_series
from dynamics.forecasting import check_size, forecast, horizon_steps
from store import results
from store import series as stored_series
from store.tables import ForecastRow, SeriesRow

SAME_DT = 0.01  # relative


class Kept(NamedTuple):
    """A forecast that was answered at once: its id, and all of it as JSON."""

    id: str
    text: str


def is_small(services: Services, model: LoadedModel, spec: ForecastSpec) -> bool:
    """Whether the forecast is answered at once; the longer ones become jobs."""
    steps = horizon_steps(spec, model.predictability, model.trained.dt)
    work = steps * spec.samples * model.trained.latent_dim
    return steps <= services.settings.max_sync_horizon_steps and work <= services.settings.max_sync_work


def answer(
    services: Services, tenant: str, model_id: str, spec: ForecastSpec, series_id: str | None, *, now: bool
) -> Kept | None:
    """Forecast and keep it; None where that takes too long to be waited for, or is not wanted `now`. NotFound for no model."""
    model = services.load_model(tenant, model_id)
    if not now or not is_small(services, model, spec):
        return None
    result, used = _computed(services, tenant, model, spec, series_id)
    return _keep(services, tenant, model, used, result)


def compute(services: Services, tenant: str, model: LoadedModel, spec: ForecastSpec) -> ForecastResult:
    """A forecast from the model's own series that is not kept. InvalidParameters where it is too long to be waited for."""
    if not is_small(services, model, spec):
        raise InvalidParameters("It would take longer than a forecast that is answered at once may.")
    return _computed(services, tenant, model, spec, None)[0]


def _computed(
    services: Services, tenant: str, model: LoadedModel, spec: ForecastSpec, series_id: str | None
) -> tuple[ForecastResult, str | None]:
    """The forecast, and the series that it starts from, if any."""
    source, given = _given(services, tenant, model, spec, series_id)
    result = forecast(
        given.model,
        given.values,
        spec=spec,
        start=given.start,
        predictability=model.predictability,
        **given.columns(),
    )
    return result.model_copy(update={"recording_vector": given.vector}), source


def check(services: Services, tenant: str, model: LoadedModel, spec: ForecastSpec, series_id: str | None) -> None:
    """Raise what `answer` would raise, without forecasting."""
    check_size(model.trained, spec, horizon_steps(spec, model.predictability, model.trained.dt))
    _given(services, tenant, model, spec, series_id)


class _Source(NamedTuple):
    series_id: str | None  # the series that is used, if any
    given: Given


def _given(services: Services, tenant: str, model: LoadedModel, spec: ForecastSpec, series_id: str | None) -> _Source:
    trained = model.trained
    n_steps = horizon_steps(spec, model.predictability, trained.dt)
    if spec.context is not None:
        if series_id is not None:
            detail = "Give series_id or context, not both."
            raise InvalidParameters(detail, [ErrorItem(pointer="/series_id", detail=detail)])
        return _Source(None, given_by_context(trained, spec, n_steps))
    with services.database.read() as session:
        row = series_for(session, tenant, model, series_id)
    table = stored_series.load_values(services.blobs, row)
    segments = [Segment.model_validate(s) for s in row.profile["segments"]]
    found = given_by_series(
        trained,
        spec,
        n_steps,
        channels=row.channels,
        segments=segments,
        table=table,
        dt=row.dt,
        recordings=[Recording.model_validate(r) for r in row.profile.get("recordings") or []],
    )
    return _Source(row.id, found)


def series_for(
    session: Session, tenant: str, model: LoadedModel, series_id: str | None, *, with_inputs: bool = False
) -> SeriesRow:
    """The series that a model is applied to, by default its own; it must have the model's channels, dt and time unit.

    `with_inputs`: its input channels too.
    """
    wanted = series_id or model.series_id
    if wanted is None:
        detail = "The model was imported and has no series of its own: name one, or send context along with a forecast."
        raise NotFound(detail, [ErrorItem(pointer="/series_id", detail=detail)])
    if not is_id(wanted, "series"):
        raise NotFound(f"There is no series {wanted[:60]!r}.", [ErrorItem(pointer="/series_id")])
    row = stored_series.get(session, wanted, tenant=tenant)
    trained = model.trained
    needed = [*trained.channels, *trained.nuisance_channels, *(trained.input_channels if with_inputs else [])]
    missing = [name for name in needed if name not in row.channels]
    if missing:
        detail = (
            f"The series lacks the model's channel {missing[0]!r}: the model needs {_names(needed)}, "
            f"the series has {_names(row.channels)}."
        )
        raise UnknownChannel(detail, [ErrorItem(pointer="/series_id", detail=detail)])
    if row.time_unit != trained.time_unit or abs(row.dt - trained.dt) > SAME_DT * trained.dt:
        detail = (
            f"The series is sampled every {row.dt:g} {row.time_unit}, the model every {trained.dt:g} {trained.time_unit}; "
            "send a series with the model's dt and time_unit."
        )
        raise InvalidParameters(detail, [ErrorItem(pointer="/series_id", detail=detail)])
    return row


def _names(channels: Sequence[str]) -> str:
    return ", ".join(channels[:20]) + (", ..." if len(channels) > 20 else "")


def _keep(services: Services, tenant: str, model: LoadedModel, series_id: str | None, result: ForecastResult) -> Kept:
    id, now = new_id("forecast"), datetime.now(UTC)  # both of this process's clock: the text is written before the row
    # Not validated again: all of it was made here.
    out = ForecastOut.model_construct(id=id, model_id=model.id, series_id=series_id, created_at=now, **dict(result))
    text, summary = write_forecast(out)
    row = ForecastRow(
        id=id,
        model_id=model.id,
        series_id=series_id,
        created_at=now,
        document=Encoded(text) if summary is None else summary,
        blob_sha256=None if summary is None else services.blobs.put(text.encode()).sha256,
    )
    with services.database.write() as session:
        results.save_forecast(session, row, tenant=tenant)
    return Kept(id, text)


def columns(document: dict[str, Any]) -> dict[str, np.ndarray]:
    """`time`, then `NAME_median` and `NAME_qP` of every channel, each (horizon_steps,)."""
    table = {"time": np.array(document["time"], dtype=np.float64)}
    parts = {"median": document["median"], **{f"q{p}": q for p, q in document["quantiles"].items()}}
    arrays = {name: np.array(values, dtype=np.float64) for name, values in parts.items()}
    for i, channel in enumerate(document["channels"]):
        for name, values in arrays.items():
            table[f"{channel}_{name}"] = values[:, i]
    return table

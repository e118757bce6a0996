"""Forecasts that are answered at once, and forecasts as tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np

from api.dependencies import Services
from api.models.service import LoadedModel
from domain.companions import FIELDS, Companions
from domain.documents import Encoded, ForecastOut, write_forecast
from domain.errors import ErrorItem, InvalidParameters, NotFound, UnknownChannel
from domain.ids import is_id, new_id
from domain.results import ForecastResult
from domain.series import Recording
from domain.specs import ForecastSpec
from dynamics.forecast_inputs import Given, given_by_context, given_by_series
from dynamics.forecasting import check_size, forecast, horizon_steps
from dynamics.input_channels import beside
from dynamics.recorded import Recorded
from store import companions as stored
from store import results
from store import series as stored_series
from store.companions import Companion
from store.database import Database
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
    services: Services,
    tenant: str,
    model_id: str,
    spec: ForecastSpec,
    series_id: str | None,
    companions: Companions = Companions(),
    *,
    now: bool,
) -> Kept | None:
    """Forecast and keep it; None where that takes too long to be waited for, or is not wanted `now`. NotFound for no model."""
    model = services.load_model(tenant, model_id)
    if not now or not is_small(services, model, spec):
        return None
    result, source = _computed(services, tenant, model, spec, series_id, companions)
    return _keep(services, tenant, model, source, result)


def compute(services: Services, tenant: str, model: LoadedModel, spec: ForecastSpec) -> ForecastResult:
    """A forecast from the model's own series that is not kept. InvalidParameters where it is too long to be waited for."""
    if not is_small(services, model, spec):
        raise InvalidParameters("It would take longer than a forecast that is answered at once may.")
    return _computed(services, tenant, model, spec, None, Companions())[0]


def _computed(
    services: Services,
    tenant: str,
    model: LoadedModel,
    spec: ForecastSpec,
    series_id: str | None,
    companions: Companions,
) -> tuple[ForecastResult, _Source]:
    """The forecast, and what it starts from."""
    source = _given(services, tenant, model, spec, series_id, companions)
    given = source.given
    result = forecast(
        given.model,
        given.values,
        spec=spec,
        start=given.start,
        predictability=model.predictability,
        **given.columns(),
    )
    return result.model_copy(update={"recording_vector": given.vector}), source


def check(
    services: Services,
    tenant: str,
    model: LoadedModel,
    spec: ForecastSpec,
    series_id: str | None,
    companions: Companions,
) -> None:
    """Raise what `answer` would raise, without forecasting."""
    check_size(model.trained, spec, horizon_steps(spec, model.predictability, model.trained.dt))
    _given(services, tenant, model, spec, series_id, companions)


class _Source(NamedTuple):
    series_id: str | None  # the series that is used, if any
    companions: list[Companion]
    given: Given


def _given(
    services: Services,
    tenant: str,
    model: LoadedModel,
    spec: ForecastSpec,
    series_id: str | None,
    companions: Companions,
) -> _Source:
    trained = model.trained
    n_steps = horizon_steps(spec, model.predictability, trained.dt)
    if spec.context is not None:
        for field in ("series_id", *FIELDS):
            if series_id is not None if field == "series_id" else getattr(companions, field):
                detail = f"Give {field} or context, not both."
                raise InvalidParameters(detail, [ErrorItem(pointer=f"/{field}", detail=detail)])
        return _Source(None, [], given_by_context(trained, spec, n_steps))
    row, found = series_for(services.database, tenant, model, series_id, companions, to_forecast=True)
    given = given_by_series(
        trained,
        spec,
        n_steps,
        recorded=Recorded(stored.tables(services.blobs, row, found)),
        dt=row.dt,
        recordings=[Recording.model_validate(r) for r in row.profile.get("recordings") or []],
    )
    return _Source(row.id, found, given)


def series_for(
    database: Database,
    tenant: str,
    model: LoadedModel,
    series_id: str | None,
    companions: Companions = Companions(),
    *,
    to_forecast: bool = False,
) -> tuple[SeriesRow, list[Companion]]:
    """The series that a model is applied to, by default its own, and those beside it.

    Together they must have the model's channels, dt and time unit; a forecast may do without inputs that were recorded.
    """
    wanted, trained = series_id or model.series_id, model.trained
    if wanted is None:
        detail = "The model was imported and has no series of its own: name one, or send context along with a forecast."
        raise NotFound(detail, [ErrorItem(pointer="/series_id", detail=detail)])
    if not is_id(wanted, "series"):
        raise NotFound(f"There is no series {wanted[:60]!r}.", [ErrorItem(pointer="/series_id")])
    own = model.companions if wanted == model.series_id else None
    with database.read() as session:
        row = stored_series.get(session, wanted, tenant=tenant)
        needed = beside(trained)
        found = stored.for_model(session, row, companions, needed, own, tenant=tenant, may_go_on=to_forecast)
    channels = [*trained.channels, *trained.nuisance_channels, *([] if to_forecast else trained.input_channels)]
    there = [*row.channels, *(name for companion in found for name in companion.channels)]
    missing = [name for name in channels if name not in there]
    if missing:
        detail = (
            f"The series lacks the model's channel {missing[0]!r}: the model needs {_names(channels)}, "
            f"the series has {_names(there)}."
        )
        if missing[0] not in trained.channels:
            detail += " Name the series that it is recorded in under input_series or nuisance_series."
        raise UnknownChannel(detail, [ErrorItem(pointer="/series_id", detail=detail)])
    if row.time_unit != trained.time_unit or abs(row.dt - trained.dt) > SAME_DT * trained.dt:
        detail = (
            f"The series is sampled every {row.dt:g} {row.time_unit}, the model every {trained.dt:g} {trained.time_unit}; "
            "send a series with the model's dt and time_unit."
        )
        raise InvalidParameters(detail, [ErrorItem(pointer="/series_id", detail=detail)])
    return row, found


def _names(channels: Sequence[str]) -> str:
    return ", ".join(channels[:20]) + (", ..." if len(channels) > 20 else "")


def _keep(services: Services, tenant: str, model: LoadedModel, source: _Source, result: ForecastResult) -> Kept:
    id, now = new_id("forecast"), datetime.now(UTC)  # both of this process's clock: the text is written before the row
    # Not validated again: all of it was made here.
    beside_it = stored.described(source.companions)
    out = ForecastOut.model_construct(
        id=id, model_id=model.id, series_id=source.series_id, created_at=now, **beside_it, **dict(result)
    )
    text, summary = write_forecast(out)
    row = ForecastRow(
        id=id,
        model_id=model.id,
        series_id=source.series_id,
        created_at=now,
        document=Encoded(text) if summary is None else summary,
        blob_sha256=None if summary is None else services.blobs.put(text.encode()).sha256,
    )
    with services.database.write() as session:
        results.save_forecast(session, row, tenant=tenant)
    return Kept(id, text)


def columns(document: dict[str, Any]) -> dict[str, np.ndarray]:
    """`time`, then `NAME_median` and `NAME_qP` of every channel, each (horizon_steps,).

    Of counts also `NAME_mean`, of classes `NAME_is_VALUE`, the probability of each.
    """
    table = {"time": np.array(document["time"], dtype=np.float64)}
    parts = {"median": document["median"], **{f"q{p}": q for p, q in document["quantiles"].items()}}
    arrays = {name: np.array(values, dtype=np.float64) for name, values in parts.items()}
    for i, channel in enumerate(document["channels"]):
        for name, values in arrays.items():
            table[f"{channel}_{name}"] = values[:, i]
    for channel, found in (document.get("counted_channels") or {}).items():
        if found["mean"] is not None:
            table[f"{channel}_mean"] = np.array(found["mean"], dtype=np.float64)
        for k, value in enumerate(found["classes"] or ()):
            table[f"{channel}_is_{value:g}"] = np.array([row[k] for row in found["probabilities"]], dtype=np.float64)
    return table

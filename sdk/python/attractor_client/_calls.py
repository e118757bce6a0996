"""What several methods share: uploads, submitted jobs, forecasts, the values of a series."""

from __future__ import annotations

import io
import math
import re
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attractor_client import _options as options_of
from attractor_client._documents import build
from attractor_client._following import follow
from attractor_client._protocol import File, Policy, Request, Steps, call
from attractor_client._series import as_table, as_upload
from attractor_client.errors import DataError, JobFailed
from attractor_client.results import Event, Forecast, JobProblem, JobState, Predictability

_SERIES_ID = re.compile(r"ser_[0-9a-f]{32}")
UPLOAD_SECONDS = 600.0  # of a whole upload, unless the caller says otherwise
RESULTS = {"train": "model", "reconstruct": "model", "lyapunov": "analysis", "evaluate": "evaluation"}


def upload(
    policy: Policy,
    data: Any,
    fields: Mapping[str, Any],
    channels: Sequence[str] | None = None,
    timeout: float | None = None,
) -> Steps[dict[str, Any]]:
    """The document of the series that the data are, or have been since they were first sent."""
    files, form = as_upload(data, fields, channels)
    request = Request("POST", "/v1/series", form=form, files=files)
    seconds = max(policy.timeout, UPLOAD_SECONDS) if timeout is None else timeout
    return (yield from call(policy, request, seconds)).document


def import_model(
    policy: Policy, path: str | Path, card: str | Path | None, timeout: float | None
) -> Steps[dict[str, Any]]:
    """The document of a model that comes in from its file, with its card if there is one."""
    parts = {"file": (path, "application/octet-stream"), "card": (card, "application/json")}
    files = []
    for part, (given, media_type) in parts.items():
        if given is None:
            continue
        if not Path(given).is_file():
            raise DataError(f"There is no file {str(given)!r}.")
        files.append(File(Path(given).name, media_type, Path(given), part))
    request = Request("POST", "/v1/models", files=files, repeatable=False)
    seconds = max(policy.timeout, UPLOAD_SECONDS) if timeout is None else timeout
    return (yield from call(policy, request, seconds)).document


def series_id(policy: Policy, series: Any, options: Mapping[str, Any]) -> Steps[str]:
    """The id of a series that is given as itself, as its id, or as data, which are uploaded then."""
    if isinstance(series, str) and _SERIES_ID.fullmatch(series):
        return series
    if hasattr(series, "id") and hasattr(series, "n_steps"):
        return str(series.id)
    document = yield from upload(policy, series, options_of.of(options_of.UploadOptions, options))
    return str(document["id"])


def submit(policy: Policy, kind: str, options: Mapping[str, Any], **named: Any) -> Steps[dict[str, Any]]:
    """The document of a new job. Whatever the connection does, there is one: the request carries an idempotency key."""
    body: dict[str, Any] = {"kind": kind, "params": options_of.science(options)}
    body |= {name: value for name, value in named.items() if value is not None}
    body |= {name: options[name] for name in ("channels", "analysis_id") if options.get(name) is not None}
    body |= options_of.of(options_of.JobOptions, options) | companions(options)
    key = body.pop("idempotency_key", None) or str(uuid.uuid4())
    request = Request("POST", "/v1/jobs", json=_plain(body), headers={"Idempotency-Key": key})
    return (yield from call(policy, request)).document


def companions(options: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The series that go with the one of the call, as the API names them. Raises DataError for what names no series."""
    found = {}
    for field, given in options_of.of(options_of.CompanionOptions, options).items():
        parts = list(given) if isinstance(given, list | tuple) else [given]
        found[field] = [_companion(field, part) for part in parts]
    return found


def _companion(field: str, given: Any) -> dict[str, Any]:
    if isinstance(given, Mapping):
        return dict(given) | {"series_id": getattr(given.get("series_id"), "id", given.get("series_id"))}
    if isinstance(given, str) or hasattr(given, "n_steps"):
        return {"series_id": getattr(given, "id", given)}
    raise DataError(f"{field} names series that are uploaded: a Series, its id, or both with `channels` in a mapping.")


def evaluate(policy: Policy, model_id: str, series: Any, options: Mapping[str, Any]) -> Steps[dict[str, Any]]:
    options_of.check(options_of.EvaluateOptions, options)
    chosen = None if series is None else (yield from series_id(policy, series, options))
    return (yield from submit(policy, "evaluate", options, model_id=model_id, series_id=chosen))


def forecast(
    policy: Policy, model_id: str, series: Any, timeout: float | None, options: Mapping[str, Any]
) -> Steps[Forecast]:
    """A forecast that is there: one that becomes a job is waited for."""
    options_of.check(options_of.ForecastOptions, options)
    apart = {"context", "context_time_start", "context_inputs", "context_nuisance", "inputs", "nuisance"}
    apart |= set(options_of.CompanionOptions.__annotations__)
    body = {k: v for k, v in options.items() if v is not None and k not in apart} | companions(options)
    if series is not None:
        body["series_id"] = yield from series_id(policy, series, {})
    if options.get("context") is not None:
        body["context"] = {"values": _rows(options["context"])}
        if options.get("context_time_start") is not None:
            body["context"]["time_start"] = options["context_time_start"]
        for name in ("inputs", "nuisance"):
            if options.get(f"context_{name}") is not None:
                body["context"][name] = _rows(options[f"context_{name}"])
    for name in ("inputs", "nuisance"):
        if options.get(name) is not None:
            body[name] = _rows(options[name])
    request = Request("POST", f"/v1/models/{model_id}/forecasts", json=_plain(body), repeatable=False)
    reply = yield from call(policy, request, timeout)
    if reply.status == 201:
        return build(Forecast, reply.document)
    state = build(JobState, reply.document)
    yield from follow(policy, state.id, timeout, _unseen)
    state = build(JobState, (yield from call(policy, Request("GET", f"/v1/jobs/{state.id}"))).document)
    if state.result is None:
        error = state.error or JobProblem(state.status, "the forecast was not made")
        raise JobFailed(state.id, error.code, error.detail, retryable=error.retryable)
    return build(Forecast, (yield from call(policy, Request("GET", state.result.href), timeout)).document)


def _unseen(event: Event) -> Steps[None]:
    yield from ()


def _rows(data: Any) -> list[list[float | None]]:
    """Rows as JSON has them; what is missing is null, and the service says where."""
    values = as_table(data).values
    rows: list[list[float | None]] = values.tolist()
    for row, column in np.argwhere(~np.isfinite(values)).tolist():
        rows[row][column] = None
    return rows


def _plain(value: Any) -> Any:
    """Numpy's numbers and arrays, tuples and mappings as plain JSON."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def series_values(policy: Policy, id: str, start: int, stop: int | None) -> Steps[np.ndarray]:
    params = {"format": "npy", "start": start, "stop": stop}
    reply = yield from call(policy, Request("GET", f"/v1/series/{id}/data", params=params), UPLOAD_SECONDS)
    return np.load(io.BytesIO(reply.content), allow_pickle=False)


def predictability(exponents: Sequence[float], unit: str, dt: float) -> Predictability:
    """ln 2 over the largest of the exponents."""
    if not exponents or max(exponents) <= 0:
        reason = "the model's largest exponent is not positive" if exponents else "it is unknown"
        return Predictability(unit=unit, reason=reason)
    time = math.log(2) / max(exponents)
    return Predictability(time, int(time / dt), unit)

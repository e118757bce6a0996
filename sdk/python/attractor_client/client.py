"""The two clients: `Client` blocks, `AsyncClient` is awaited; every method is written once, in `_Calls`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, Unpack
from urllib.parse import quote

import httpx

from attractor_client import _calls as calls
from attractor_client import _options as options_of
from attractor_client._documents import build
from attractor_client._drivers import Asynchronous, Blocking
from attractor_client._figures import FigureCalls
from attractor_client._operations import Async, Listing, Operation, Sync, operation
from attractor_client._protocol import Policy, Request, Steps, call, page_after_page
from attractor_client._version import VERSION
from attractor_client._webhooks import WebhookCalls
from attractor_client.errors import ConfigurationError
from attractor_client.resources import AsyncJob, AsyncModel, AsyncSeries, Job, Model, Series
from attractor_client.results import Analysis, Evaluation, Forecast, JobState, Sample

P = ParamSpec("P")
DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT = 60.0
MAX_RETRIES = 4
_COLLECTIONS = {
    "ser": "series",
    "job": "jobs",
    "ana": "analyses",
    "mdl": "models",
    "fct": "forecasts",
    "evl": "evaluations",
    "whk": "webhooks",
}
_Function = Callable[Concatenate[Any, P], Steps[Any]]


def _series(function: _Function[P]) -> Operation[P, Series, AsyncSeries]:
    return Operation(function)


def _model(function: _Function[P]) -> Operation[P, Model, AsyncModel]:
    return Operation(function)


def _job(function: _Function[P]) -> Operation[P, Job[Any], AsyncJob[Any]]:
    return Operation(function)


def _analysis_job(function: _Function[P]) -> Operation[P, Job[Analysis], AsyncJob[Analysis]]:
    return Operation(function)


def _model_job(function: _Function[P]) -> Operation[P, Job[Model], AsyncJob[AsyncModel]]:
    return Operation(function)


def _evaluation_job(function: _Function[P]) -> Operation[P, Job[Evaluation], AsyncJob[Evaluation]]:
    return Operation(function)


def _all_series(function: _Function[P]) -> Listing[P, Series, AsyncSeries]:
    return Listing(function)


def _all_models(function: _Function[P]) -> Listing[P, Model, AsyncModel]:
    return Listing(function)


def _all_jobs(function: _Function[P]) -> Listing[P, Job[Any], AsyncJob[Any]]:
    return Listing(function)


def _all_analyses(function: _Function[P]) -> Listing[P, Analysis, Analysis]:
    return Listing(function)


def _all_evaluations(function: _Function[P]) -> Listing[P, Evaluation, Evaluation]:
    return Listing(function)


def _all_forecasts(function: _Function[P]) -> Listing[P, Forecast, Forecast]:
    return Listing(function)


class _Calls(FigureCalls, WebhookCalls):
    _types: dict[str, Any]

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """The client itself: what holds one, such as a forecaster that is cloned, goes on with the same connections."""
        return self

    def _make(self, kind: str, document: dict[str, Any]) -> Any:
        """A document as the class that its kind has, with this client behind it where it can act."""
        if kind in ("analysis", "forecast", "evaluation"):
            return build({"analysis": Analysis, "forecast": Forecast, "evaluation": Evaluation}[kind], document)
        behind = {"_driver": self._driver, "_make": self._make}
        if kind == "job":
            return self._types["job"](id=document["id"], state=build(JobState, document), **behind)
        return build(self._types[kind], document, **behind)

    def _read(self, kind: str, path: str) -> Steps[Any]:
        return self._make(kind, (yield from call(self._policy, Request("GET", path))).document)

    def _pages(self, resource: str, path: str, limit: int | None, **filters: Any) -> Steps[None]:
        request = Request("GET", path, params={k: v for k, v in filters.items() if v is not None})
        return page_after_page(self._policy, request, limit, lambda document: self._make(resource, document))

    @_series
    def upload(
        self,
        data: Any,
        *,
        channels: Sequence[str] | None = None,
        timeout: float | None = None,
        **options: Unpack[options_of.UploadOptions],
    ) -> Steps[Any]:
        """Upload a series: an array (T,) or (T, N), lists, a table of pandas or polars, or the path of a file.

        Several recordings of one system are one series: a list of arrays (T_i, N), tables or paths, a mapping of names to
        them, an array (R, T, N), or a table or file with a `recording_column`. Nothing is learned across their borders.
        A datetime index or column becomes the clock. `channels` names the columns, `dt` and `time_unit` the sampling;
        `missing` ("reject", "interpolate", "split") says what is done about gaps. The same data are stored once.
        Raises DataError for what is no table of numbers, InvalidSeries, with rows and columns, for what the service refuses.
        """
        options_of.check(options_of.UploadOptions, options)
        given = options_of.of(options_of.UploadOptions, options)
        document = yield from calls.upload(self._policy, data, given, channels, timeout)
        return self._make("series", document)

    @operation
    def samples(self) -> Steps[list[Sample]]:
        """The gallery of generated systems: their equations, and what is known that an analysis should find."""
        found = (yield from call(self._policy, Request("GET", "/v1/samples"))).document["data"]
        return [build(Sample, document) for document in found]

    @_series
    def sample(
        self, name: str, *, steps: int | None = None, noise: float | None = None, seed: int = 0, skip: int = 0
    ) -> Steps[Any]:
        """A series of a system of the gallery, such as "lorenz63"; `noise` is a fraction of each channel's standard deviation.

        `skip` leaves out so many rows first: another stretch of the same trajectory. The same request gives the same series.
        """
        given = {"steps": steps, "noise": noise, "seed": seed, "skip": skip}
        body = {key: value for key, value in given.items() if value is not None}
        request = Request("POST", f"/v1/samples/{quote(name, safe='')}", json=body)
        return self._make("series", (yield from call(self._policy, request)).document)

    @_analysis_job
    def analyze(self, series: Any, **options: Unpack[options_of.AnalyzeOptions]) -> Steps[Any]:
        """A job that measures the Lyapunov spectrum and gives a verdict. `series`: a Series, its id, or data to upload."""
        return (yield from self._on_series("lyapunov", series, options_of.AnalyzeOptions, options))

    @_model_job
    def train(self, series: Any, **options: Unpack[options_of.TrainOptions]) -> Steps[Any]:
        """A job that trains a model on a series."""
        return (yield from self._on_series("train", series, options_of.TrainOptions, options))

    @_model_job
    def reconstruct(self, series: Any, **options: Unpack[options_of.ReconstructOptions]) -> Steps[Any]:
        """One job for all: analyse, tune the forcing, train, evaluate. `lyapunov`, `train`, `evaluate` hold parameters."""
        return (yield from self._on_series("reconstruct", series, options_of.ReconstructOptions, options))

    def _on_series(self, kind: str, series: Any, known: type, options: Any) -> Steps[Any]:
        options_of.check(known, options)
        series_id = yield from calls.series_id(self._policy, series, options)
        return self._make("job", (yield from calls.submit(self._policy, kind, options, series_id=series_id)))

    @_evaluation_job
    def evaluate(
        self, model: Model | AsyncModel | str, series: Any = None, **options: Unpack[options_of.EvaluateOptions]
    ) -> Steps[Any]:
        """A job that measures a model against a series, by default against the held-out part of its own."""
        return self._make("job", (yield from calls.evaluate(self._policy, _id(model), series, options)))

    @operation
    def forecast(
        self,
        model: Model | AsyncModel | str,
        series: Any = None,
        *,
        timeout: float | None = None,
        **options: Unpack[options_of.ForecastOptions],
    ) -> Steps[Forecast]:
        """Forecast with a model: see `Model.forecast`, which needs no second request for the model."""
        return (yield from calls.forecast(self._policy, _id(model), series, timeout, options))

    @_series
    def get_series(self, id: str) -> Steps[Any]:
        """One series."""
        return (yield from self._read("series", f"/v1/series/{id}"))

    @_all_series
    def series(self, *, name: str | None = None, limit: int | None = None) -> Steps[None]:
        """Every series, newest first."""
        return (yield from self._pages("series", "/v1/series", limit, name=name))

    @_job
    def job(self, id: str) -> Steps[Any]:
        """One job."""
        return (yield from self._read("job", f"/v1/jobs/{id}"))

    @_all_jobs
    def jobs(
        self,
        *,
        status: str | None = None,
        kind: str | None = None,
        series_id: str | None = None,
        limit: int | None = None,
    ) -> Steps[None]:
        """Every job, newest first."""
        return (yield from self._pages("job", "/v1/jobs", limit, status=status, kind=kind, series_id=series_id))

    @_model
    def model(self, id: str) -> Steps[Any]:
        """One model."""
        return (yield from self._read("model", f"/v1/models/{id}"))

    @_model
    def import_model(
        self, path: str | Path, card: str | Path | None = None, *, timeout: float | None = None
    ) -> Steps[Any]:
        """Bring a model back: the `model.safetensors` that was downloaded, and its card `model.json`, with which it has its
        history and its report. Raises InvalidRequest and UnsupportedFormat, which say what is wrong with the file."""
        return self._make("model", (yield from calls.import_model(self._policy, path, card, timeout)))

    @_all_models
    def models(self, *, series_id: str | None = None, limit: int | None = None) -> Steps[None]:
        """Every model, newest first."""
        return (yield from self._pages("model", "/v1/models", limit, series_id=series_id))

    @operation
    def analysis(self, id: str) -> Steps[Analysis]:
        """One analysis."""
        return (yield from self._read("analysis", f"/v1/analyses/{id}"))

    @_all_analyses
    def analyses(self, *, series_id: str | None = None, limit: int | None = None) -> Steps[None]:
        """Every analysis, newest first."""
        return (yield from self._pages("analysis", "/v1/analyses", limit, series_id=series_id))

    @operation
    def evaluation(self, id: str) -> Steps[Evaluation]:
        """One evaluation."""
        return (yield from self._read("evaluation", f"/v1/evaluations/{id}"))

    @_all_evaluations
    def evaluations(self, *, model_id: str | None = None, limit: int | None = None) -> Steps[None]:
        """Every evaluation, newest first."""
        return (yield from self._pages("evaluation", "/v1/evaluations", limit, model_id=model_id))

    @operation
    def get_forecast(self, id: str) -> Steps[Forecast]:
        """One forecast that was kept."""
        return (yield from self._read("forecast", f"/v1/forecasts/{id}"))

    @_all_forecasts
    def forecasts(self, *, model_id: str | None = None, limit: int | None = None) -> Steps[None]:
        """Every forecast, newest first, without its numbers."""
        return (yield from self._pages("forecast", "/v1/forecasts", limit, model_id=model_id))

    @operation
    def delete(self, id: str) -> Steps[None]:
        """Delete what has this id, of whatever kind. Raises Conflict while something needs it."""
        collection = _COLLECTIONS.get(id.partition("_")[0])
        if collection is None:
            raise ValueError(f"{id!r} is no id: ids begin with {', '.join(_COLLECTIONS)}")
        yield from call(self._policy, Request("DELETE", f"/v1/{collection}/{id}"))

    @operation
    def capabilities(self) -> Steps[dict[str, Any]]:
        """Kinds of jobs, architectures, parameters with their schemas, limits, versions."""
        return (yield from call(self._policy, Request("GET", "/v1/capabilities"))).document


class Client(_Calls, Sync):
    """Speaks with one service and blocks until it has answered; may be shared by threads.

    `url` and `key` default to ATTRACTOR_URL and ATTRACTOR_API_KEY, and `url` then to http://127.0.0.1:8000. `timeout` is
    for a whole call in seconds, all its tries together; uploads have ten minutes. `transport` replaces the network.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout: float = TIMEOUT,
        max_retries: int = MAX_RETRIES,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(transport=transport, **_settings(url, key))
        self._driver = Blocking(self._http, Policy(timeout, max_retries))
        self._types = {"series": Series, "job": Job, "model": Model}

    @property
    def url(self) -> str:
        return str(self._http.base_url).rstrip("/")

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(_Calls, Async):
    """The same for asyncio: every method of `Client` is awaited here, every list is an asynchronous iterator."""

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout: float = TIMEOUT,
        max_retries: int = MAX_RETRIES,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(transport=transport, **_settings(url, key))
        self._driver = Asynchronous(self._http, Policy(timeout, max_retries))
        self._types = {"series": AsyncSeries, "job": AsyncJob, "model": AsyncModel}

    @property
    def url(self) -> str:
        return str(self._http.base_url).rstrip("/")

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _settings(url: str | None, key: str | None) -> dict[str, Any]:
    url = url or os.environ.get("ATTRACTOR_URL") or DEFAULT_URL
    key = key or os.environ.get("ATTRACTOR_API_KEY")
    if not url.startswith(("http://", "https://")):
        raise ConfigurationError(f"The address {url!r} must begin with http:// or https://.")
    headers = {"User-Agent": f"attractor-client/{VERSION}", "Accept": "application/json"}
    if key:
        if not (key.isascii() and key.isprintable()):
            raise ConfigurationError("The key has characters that no key has: was it copied whole, and nothing else?")
        headers["Authorization"] = f"Bearer {key}"
    return {"base_url": url, "headers": headers, "trust_env": not _is_local(url)}


def _is_local(url: str) -> bool:
    """Whether the service is on this machine, where no proxy is asked for it."""
    return httpx.URL(url).host in ("127.0.0.1", "localhost", "::1")


def _id(model: Any) -> str:
    return model if isinstance(model, str) else str(model.id)

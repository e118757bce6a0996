"""Series, jobs and models: what the service knows about them, and what can be done with them.

Every class has a twin for AsyncClient; the methods are the same, there they are awaited.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, Unpack

from attractor_client import _calls as calls
from attractor_client._documents import build
from attractor_client._following import follow
from attractor_client._operations import Async, Bound, Listing, Operation, Sync, operation
from attractor_client._options import EvaluateOptions, ForecastOptions
from attractor_client._progress import reporter
from attractor_client._protocol import Item, Request, Steps, call
from attractor_client.errors import InvalidRequest, JobCanceled, JobFailed
from attractor_client.local import LocalModel
from attractor_client.results import (
    Evaluation,
    Event,
    Forecast,
    JobProblem,
    JobState,
    ModelFields,
    Predictability,
    SeriesFields,
)

P = ParamSpec("P")
T = TypeVar("T")  # what a job makes
_WEIGHTS = "model.safetensors"


def _job(function: Callable[Concatenate[Any, P], Steps[Any]]) -> Operation[P, Job[Any], AsyncJob[Any]]:
    return Operation(function)


def _evaluation_job(
    function: Callable[Concatenate[Any, P], Steps[Any]],
) -> Operation[P, Job[Evaluation], AsyncJob[Evaluation]]:
    return Operation(function)


def _events(function: Callable[Concatenate[Any, P], Steps[Any]]) -> Listing[P, Event, Event]:
    return Listing(function)


@dataclass(frozen=True, kw_only=True)
class _Resource(Bound):
    _driver: Any = dataclasses.field(repr=False, compare=False)
    _make: Callable[[str, dict[str, Any]], Any] = dataclasses.field(repr=False, compare=False)

    def _get(self, path: str) -> Steps[Any]:
        return (yield from call(self._policy, Request("GET", path))).document


@dataclass(frozen=True, kw_only=True)
class _Series(SeriesFields, _Resource):
    @operation
    def values(self, start: int = 0, stop: int | None = None) -> Steps[Any]:
        """Rows [start, stop) as an array (T, N), NaN where values are missing."""
        return (yield from calls.series_values(self._policy, self.id, start, stop))

    @operation
    def delete(self) -> Steps[None]:
        """Delete the series; what was made from it stays. Raises Conflict while a job reads it."""
        yield from call(self._policy, Request("DELETE", f"/v1/series/{self.id}"))


class Series(_Series, Sync):
    """An uploaded series."""


class AsyncSeries(_Series, Async):
    """An uploaded series."""


@dataclass(frozen=True, kw_only=True)
class _Job(_Resource, Generic[T]):
    id: str
    state: JobState

    @operation
    def refresh(self) -> Steps[JobState]:
        """Where the job stands now. `state` is what was known when the job was read."""
        return build(JobState, (yield from self._get(f"/v1/jobs/{self.id}")))

    @operation
    def wait(self, *, timeout: float | None = None, progress: bool | Callable[[Event], None] = False) -> Steps[T]:
        """Wait for the job's end and answer what it made.

        `progress=True` draws a bar; a function is told of every event. Raises JobFailed, JobCanceled, and after `timeout`
        seconds (None: never) DeadlineExceeded: the job goes on nevertheless, and can be waited for again.
        """
        report = reporter(progress)

        def emit(event: Event) -> Steps[None]:
            report(event)
            yield from ()

        yield from follow(self._policy, self.id, timeout, emit)
        return (yield from self._outcome())

    def _outcome(self) -> Steps[Any]:
        state = build(JobState, (yield from self._get(f"/v1/jobs/{self.id}")))
        while not state.ended:
            yield from self._get(f"/v1/jobs/{self.id}/result")  # refused as long as there is none
            state = build(JobState, (yield from self._get(f"/v1/jobs/{self.id}")))
        if state.status == "canceled":
            raise JobCanceled(self.id, "canceled", "it was canceled before it had a result")
        if state.result is None:
            error = state.error or JobProblem("no_result", f"it is {state.status}")
            raise JobFailed(self.id, error.code, error.detail, retryable=error.retryable)
        return self._make(state.result.type, (yield from self._get(state.result.href)))

    @operation
    def result(self) -> Steps[T]:
        """What the job made. Raises Conflict while it has not ended, JobFailed if there is nothing."""
        return (yield from self._outcome())

    @_events
    def events(self, *, timeout: float | None = None) -> Steps[None]:
        """Every event from the first to the one that ends the job, as they happen."""

        def emit(event: Event) -> Steps[None]:
            yield Item(event)

        yield from follow(self._policy, self.id, timeout, emit)

    @operation
    def cancel(self) -> Steps[JobState]:
        """Ask for the job's end; a running one stops within about a second."""
        return (yield from self._control("cancel"))

    @operation
    def pause(self) -> Steps[JobState]:
        """Ask a job to stop and keep what it has; `resume` goes on from there."""
        return (yield from self._control("pause"))

    @operation
    def resume(self) -> Steps[JobState]:
        """Let a paused job go on."""
        return (yield from self._control("resume"))

    @operation
    def delete(self) -> Steps[None]:
        """Forget a job that has ended; its result stays. Raises Conflict for one that has not."""
        yield from call(self._policy, Request("DELETE", f"/v1/jobs/{self.id}"))

    @_job
    def retry(self) -> Steps[Any]:
        """A new job that does again what this one failed at or was canceled in; asked again, the same new job."""
        request = Request("POST", f"/v1/jobs/{self.id}/retry")
        return self._make("job", (yield from call(self._policy, request)).document)

    def _control(self, verb: str) -> Steps[JobState]:
        return build(JobState, (yield from call(self._policy, Request("POST", f"/v1/jobs/{self.id}/{verb}"))).document)


class Job(_Job[T], Sync):
    """A job that makes a T."""


class AsyncJob(_Job[T], Async):
    """A job that makes a T."""


@dataclass(frozen=True, kw_only=True)
class _Model(ModelFields, _Resource):
    @operation
    def forecast(
        self, series: Any = None, *, timeout: float | None = None, **options: Unpack[ForecastOptions]
    ) -> Steps[Forecast]:
        """Forecast from the end of a stored series (default: the model's own), from `start_index` in it, or from `context`.

        `horizon_steps` or `horizon_lyapunov_times`; `context` (L, N) recent rows, `inputs` (horizon, K) future values of
        the input channels, `nuisance` (horizon, P) of the nuisance channels, `context_inputs` and `context_nuisance` those of the
        context's rows, all as arrays. A long one becomes a job, which is waited for.
        """
        return (yield from calls.forecast(self._policy, self.id, series, timeout, options))

    @_evaluation_job
    def evaluate(self, series: Any = None, **options: Unpack[EvaluateOptions]) -> Steps[Any]:
        """Measure the model against a series; by default against the held-out part of its own."""
        return self._make("job", (yield from calls.evaluate(self._policy, self.id, series, options)))

    @operation
    def download(self, path: str | Path | None = None, *, timeout: float | None = None) -> Steps[LocalModel]:
        """The model itself, to forecast with numpy alone; also written to `path`, from which LocalModel.load reads it."""
        artifact = next(a for a in self.artifacts if a.name == _WEIGHTS)
        data = (yield from call(self._policy, Request("GET", artifact.href), timeout)).content
        if hashlib.sha256(data).hexdigest() != artifact.sha256:
            raise ValueError(f"{artifact.href} arrived damaged: its SHA-256 is not the one that the model names")
        if path is not None:
            Path(path).write_bytes(data)
        model = LocalModel.from_bytes(data)
        return dataclasses.replace(model, predictability=self._predictability(model))

    @operation
    def export(
        self, folder: str | Path, *, recording: str | None = None, timeout: float | None = None
    ) -> Steps[list[Path]]:
        """Write all forms of the model into a folder: model.safetensors and its card model.json, from which it can be imported
        again, and the ONNX graphs model.onnx and encoder.onnx, unless it has something that graphs do not. Answers the paths.

        Of a model with a map for each recording the graphs are those of `recording`; without it there are none."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for name in (_WEIGHTS, "model.json", "model.onnx", "encoder.onnx"):
            wanted = {"recording": recording} if recording is not None and name.endswith(".onnx") else {}
            request = Request("GET", f"/v1/models/{self.id}/artifacts/{name}", params=wanted)
            try:
                reply = yield from call(self._policy, request, timeout)
            except InvalidRequest as error:
                if error.code != "not_exportable":
                    raise
                continue
            written.append(folder / name)
            written[-1].write_bytes(reply.content)
        return written

    def _predictability(self, model: LocalModel) -> Predictability:
        """As the service has it: of the larger of the model's own exponent and the one measured in its data."""
        own = self.report.lyapunov_spectrum.exponents[:1].tolist()
        measured = [] if self.input_channels else [model.card.get("lambda_max")]
        known = [exponent for exponent in own + measured if exponent is not None and exponent == exponent]
        return calls.predictability(known, self.time_unit, self.dt)

    @operation
    def save_report(self, path: str | Path, *, timeout: float | None = None) -> Steps[Path]:
        """Write the model's report to `path`, whose ending says as what: .html or .pdf. Answers the path."""
        path = Path(path)
        form = path.suffix.lower().removeprefix(".")
        if form not in ("html", "pdf"):
            raise ValueError(f"{str(path)!r} must end in .html or .pdf")
        request = Request("GET", f"/v1/models/{self.id}/report", params={"format": form})
        path.write_bytes((yield from call(self._policy, request, timeout)).content)
        return path

    @operation
    def delete(self) -> Steps[None]:
        """Delete the model, its files and its forecasts."""
        yield from call(self._policy, Request("DELETE", f"/v1/models/{self.id}"))


class Model(_Model, Sync):
    """A trained model."""


class AsyncModel(_Model, Async):
    """A trained model."""

"""What can be said about a request before it runs: that what it names exists, and fits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy.orm import Session

from api.dependencies import Services, unknown
from api.errors import pointing_to
from api.forecasts import service as forecasts
from domain.companions import FIELDS
from domain.errors import DomainError, ErrorItem, InvalidParameters, NotFound, SeriesTooShort, UnknownChannel
from domain.ids import is_id
from domain.limits import MIN_ANALYSIS_RUN, MIN_ANALYSIS_STEPS, SHORTEST_SEQUENCE
from domain.series import Recording, SeriesProfile
from domain.specs import (
    EvaluateJob,
    EvaluateSpec,
    ForecastJob,
    JobRequest,
    LyapunovJob,
    LyapunovSpec,
    ReconstructJob,
    TrainJob,
    TrainSpec,
)
from dynamics.distributions import check_trained, declared, n_coordinates
from dynamics.input_channels import separate
from dynamics.observation_kernels import checked_kernel
from dynamics.partition import partition
from dynamics.sizing import choose
from models.readouts import Channel
from store import companions, results, series
from store.tables import AnalysisRow, SeriesRow

MAX_METADATA_BYTES = 8 * 1024


def check(services: Services, tenant: str, request: JobRequest) -> None:
    """Raise the DomainError that the worker would meet later."""
    check_metadata(request.metadata)
    if isinstance(request, EvaluateJob | ForecastJob):
        _check_on_model(services, tenant, request)
        return
    with services.database.read() as session:
        row = _series(session, tenant, request.series_id)
        _check_channels(request.channels, row.channels)
        channels = list(request.channels or row.channels)
        if isinstance(request, TrainJob | ReconstructJob):
            spec, at = (
                (request.params, "/params")
                if isinstance(request, TrainJob)
                else (request.params.train, "/params/train")
            )
            found = companions.for_training(session, row, request, tenant=tenant)
            spec, channels = companions.included(spec, found), [*channels, *(n for c in found for n in c.channels)]
        if isinstance(request, TrainJob) and request.analysis_id is not None:
            observed = _observed(channels, spec, at)
            analysed = [name for name in observed if name not in spec.counted_channels] or observed
            _check_analysis(session, tenant, request.analysis_id, row, analysed)
    _check_length(row)
    if isinstance(request, LyapunovJob):
        _check_lyapunov(row, request.params, "/params")
        return
    if isinstance(request, ReconstructJob):
        _check_lyapunov(row, request.params.lyapunov, "/params/lyapunov")
        _check_evaluate(row, request.params.evaluate, "/params/evaluate")
    _check_train(services, row, channels, spec, at)


def check_metadata(metadata: dict[str, Any]) -> None:
    """Raise unless metadata can be stored: finite, short, without NUL."""
    try:
        text = json.dumps(metadata, allow_nan=False)
    except ValueError:
        raise _wrong("/metadata", "Numbers in metadata must be finite.") from None
    if len(text) > MAX_METADATA_BYTES:
        raise _wrong("/metadata", f"metadata takes {len(text)} bytes as JSON; at most {MAX_METADATA_BYTES} are kept.")
    if "\\u0000" in text:
        raise _wrong("/metadata", "Text in metadata must not contain NUL characters.")


def _check_on_model(services: Services, tenant: str, request: EvaluateJob | ForecastJob) -> None:
    """A stored model against a series, or from a context."""
    if not is_id(request.model_id, "model"):
        raise _missing("model", request.model_id)
    with pointing_to("/model_id", NotFound):
        model = services.load_model(tenant, request.model_id)
    if request.channels is not None and request.channels != model.trained.channels:
        names = ", ".join(model.trained.channels)
        raise _wrong("/channels", f"The model's channels are {names}; leave `channels` away.")
    if isinstance(request, ForecastJob):
        with _below_params():
            forecasts.check(services, tenant, model, request.params, request.series_id, request)
        return
    row, _ = forecasts.series_for(services.database, tenant, model, request.series_id, request)
    _check_evaluate(row, request.params, "/params")


def _series(session: Session, tenant: str, series_id: str) -> SeriesRow:
    if not is_id(series_id, "series"):
        raise _missing("series", series_id)
    with pointing_to("/series_id", NotFound):
        return series.get(session, series_id, tenant=tenant)


def _check_analysis(session: Session, tenant: str, analysis_id: str, row: SeriesRow, channels: Sequence[str]) -> None:
    if not is_id(analysis_id, "analysis"):
        raise _missing("analysis", analysis_id)
    with pointing_to("/analysis_id", NotFound):
        analysis = results.get(session, AnalysisRow, analysis_id, tenant=tenant)
    if analysis.series_id != row.id:
        raise _wrong("/analysis_id", f"This analysis is of series {analysis.series_id}, not of {row.id}.")
    if analysis.channels != list(channels):
        detail = f"This analysis is of the channels {', '.join(analysis.channels)}, not of {', '.join(channels)}."
        raise _wrong("/analysis_id", detail)


def _check_channels(chosen: Sequence[str] | None, known: Sequence[str]) -> None:
    seen: set[str] = set()
    for i, name in enumerate(chosen or ()):
        if name not in known:
            names = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
            detail = f"The series has no channel {name[:60]!r}; it has {names}."
            raise UnknownChannel(detail, [ErrorItem(pointer=f"/channels/{i}", detail=detail)])
        if name in seen:
            raise _wrong(f"/channels/{i}", f"Channel {name[:60]!r} is named twice.")
        seen.add(name)


def _check_lyapunov(row: SeriesRow, spec: LyapunovSpec, at: str) -> None:
    longest = max(_run_lengths(row))
    if isinstance(spec.embedding_dimension, int) and isinstance(spec.embedding_delay, int):
        window = (spec.embedding_dimension - 1) * spec.embedding_delay
        if window + MIN_ANALYSIS_RUN > longest:
            detail = f"The embedding spans {window} steps; the longest run of the series without a gap has {longest}."
            raise _wrong(f"{at}/embedding_delay", detail)


def _observed(channels: Sequence[str], spec: TrainSpec, at: str) -> list[str]:
    """What is reconstructed of the chosen channels; inputs are not, nor are they analysed."""
    columns = separate(channels, spec.input_channels, spec.nuisance_channels, at).observed
    return [channels[c] for c in columns]


def _check_train(services: Services, row: SeriesRow, channels: Sequence[str], spec: TrainSpec, at: str) -> None:
    observed = _observed(channels, spec, at)
    profile = SeriesProfile.model_validate(row.profile)
    if spec.recording_dim and len(profile.recordings) < 2:
        raise _wrong(
            f"{at}/recording_dim", "recording_dim needs a series of several recordings; this one is a single recording."
        )
    with pointing_to(f"{at}/split", InvalidParameters):
        training = longest_training_run([(s.start, s.stop) for s in profile.segments], spec, profile.recordings)
    lags = [0] if spec.embedding_lags == "auto" else spec.embedding_lags
    kernel = checked_kernel(spec, row.dt, row.time_unit, at)
    shortest = SHORTEST_SEQUENCE + max(0, len(kernel) - 1)
    length = shortest if spec.sequence_length == "auto" else spec.sequence_length
    if kernel and length + 1 > training:
        detail = (
            f"The kernel spans {len(kernel)} rows and a sequence {length} steps; the longest run without a gap of the training part has "
            f"{training} rows. Send a longer series, or give a shorter kernel."
        )
        raise _wrong(f"{at}/observation/kernel", detail)
    if length + lags[-1] >= training:
        detail = (
            f"A sequence of {length} steps with lags up to {lags[-1]} does not fit: the longest run without a gap of the "
            f"training part has {training} steps."
        )
        raise _wrong(f"{at}/sequence_length", detail)
    smoothing = spec.regularization.smoothing
    if isinstance(smoothing, int) and smoothing > training:
        detail = (
            f"A smoothing window of {smoothing} rows is longer than the longest run without a gap of the training part "
            f"({training} steps)."
        )
        raise _wrong(f"{at}/regularization/smoothing", detail)
    counted = _check_counted(services, row, observed, spec, at)
    choose(spec, n_coordinates(counted) if counted else len(observed) * len(lags), at)


def _check_counted(services: Services, row: SeriesRow, observed: list[str], spec: TrainSpec, at: str) -> list[Channel]:
    """The observed channels, where some are declared to hold counts or classes: that they do, in all rows and in those that train."""
    if not spec.channel_distributions:
        return []
    segments = series.load_segments(services.blobs, row, observed)
    found = declared(spec, observed, segments, at)
    if found:
        profile = SeriesProfile.model_validate(row.profile)
        parts = partition([(s.start, s.stop) for s in profile.segments], spec, profile.recordings)
        held = [
            (a, values[max(0, a - first) : max(0, b - first)]) for a, b in parts.train for first, values in segments
        ]
        check_trained(found, observed, [(a, values) for a, values in held if len(values)], at)
    return found


def _check_evaluate(row: SeriesRow, spec: EvaluateSpec, at: str) -> None:
    stop = row.n_steps if spec.stop_index is None else spec.stop_index
    if stop > row.n_steps:
        raise _wrong(f"{at}/stop_index", f"stop_index {stop} lies beyond the series' {row.n_steps} steps.")
    if spec.start_index is not None and spec.start_index >= stop:
        raise _wrong(f"{at}/start_index", f"start_index {spec.start_index} is not before step {stop}.")


def _run_lengths(row: SeriesRow) -> list[int]:
    return [s["stop"] - s["start"] for s in row.profile["segments"]]


def _check_length(row: SeriesRow) -> None:
    """Every kind that reads a series begins with an analysis, or with one that was made of it."""
    usable = sum(length for length in _run_lengths(row) if length >= MIN_ANALYSIS_RUN)
    if usable < MIN_ANALYSIS_STEPS:
        detail = (
            f"The series has {usable} usable steps, counting runs of at least {MIN_ANALYSIS_RUN} without a gap; "
            f"at least {MIN_ANALYSIS_STEPS} are needed."
        )
        raise SeriesTooShort(detail, [ErrorItem(pointer="/series_id", detail=detail)])


def longest_training_run(runs: Sequence[tuple[int, int]], spec: TrainSpec, recordings: Sequence[Recording] = ()) -> int:
    """Steps of the longest run without a gap that is left for training."""
    return max((stop - start for start, stop in partition(runs, spec, recordings).train), default=0)


def _wrong(pointer: str, detail: str) -> InvalidParameters:
    return InvalidParameters(detail, [ErrorItem(pointer=pointer, detail=detail)])


def _missing(resource: str, id: str) -> NotFound:
    error = unknown(resource, id)
    error.errors = [ErrorItem(pointer=f"/{resource}_id")]
    return error


@contextmanager
def _below_params() -> Iterator[None]:
    """Pointers into a forecast's parameters, which lie under /params in a job."""
    try:
        yield
    except DomainError as error:
        for item in error.errors:
            if item.pointer is not None and not item.pointer.startswith(("/series_id", *(f"/{f}" for f in FIELDS))):
                item.pointer = f"/params{item.pointer}"
        raise

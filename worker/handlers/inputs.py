"""What handlers load, and the rows they save."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from domain.documents import MODEL_WEIGHTS
from domain.errors import InvalidParameters
from domain.results import LyapunovAnalysis
from domain.series import Recording
from domain.specs import EvaluateSpec, ReconstructJob, TrainJob, TrainSpec
from dynamics.input_channels import separate
from models.trained import TrainedModel
from store import companions, results, series
from store.companions import Companion
from store.tables import AnalysisRow, ModelRow, SeriesRow
from worker.context import Context

Segments = list[tuple[int, np.ndarray]]


class Reference(NamedTuple):
    """Parts of a series that a model is measured against; lists over its segments."""

    observed: list[np.ndarray]  # (T_i, N)
    inputs: list[np.ndarray] | None  # (T_i, K) where there are any
    nuisance: list[np.ndarray] | None  # (T_i, P) where there is any
    lead_in: list[int]  # rows at the beginning of each that runs start from, and nothing else
    names: list[str | None]  # the recording of each; None in a series that is no collection


@dataclass(frozen=True)
class SeriesInput:
    """A stored series, cut to the channels that the job uses: some are observed, others may drive the system as its inputs."""

    row: SeriesRow
    used: list[str]  # the columns of `segments`
    input_channels: list[str]  # those of `used` that are inputs
    nuisance_channels: list[str]  # those that only contaminate what is observed
    segments: Segments
    companions: Sequence[Companion] = ()  # other series that hold some of them
    counted_channels: Sequence[str] = ()  # those of `used` that hold counts or classes

    @property
    def analysed(self) -> list[str]:
        """Channels whose Lyapunov spectrum is asked for: counts and classes only where nothing else is observed."""
        return [n for n in self.channels if n not in self.counted_channels] or self.channels

    @property
    def channels(self) -> list[str]:
        """What is observed, reconstructed and forecast."""
        return [n for n in self.used if n not in self.input_channels and n not in self.nuisance_channels]

    @property
    def values(self) -> list[np.ndarray]:
        """Analysed columns of every segment, (T_i, N)."""
        return self.columns(self.analysed, self.segments)

    def columns(self, names: list[str], segments: Segments) -> list[np.ndarray]:
        chosen = [self.used.index(name) for name in names]
        return [np.ascontiguousarray(values[:, chosen]) for _, values in segments]

    @property
    def recordings(self) -> list[Recording]:
        """Those of a collection."""
        return [Recording.model_validate(r) for r in self.row.profile.get("recordings") or []]

    def within(self, runs: Sequence[tuple[int, int]], before: int = 0) -> Reference:
        """What of the segments lies in the rows [start, stop) of the runs, and up to `before` rows that lead into each."""
        lead_in, part, recordings = [], [], self.recordings
        for start, stop in runs:
            for first, values in rows_between(self.segments, max(0, start - before), stop):
                if first + len(values) > start:
                    lead_in.append(max(0, start - first))
                    part.append((first, values))
        return Reference(
            self.columns(self.channels, part),
            self.columns(self.input_channels, part) if self.input_channels else None,
            self.columns(self.nuisance_channels, part) if self.nuisance_channels else None,
            lead_in,
            [next((r.name for r in recordings if r.holds(first)), None) for first, _ in part],
        )


def load_series(
    context: Context,
    series_id: str,
    channels: list[str] | None,
    input_channels: Sequence[str] = (),
    nuisance_channels: Sequence[str] = (),
    beside: Sequence[Companion] = (),
    counted_channels: Sequence[str] = (),
) -> SeriesInput:
    """The series with all channels that are used, those of its companions among them.

    Raises UnknownChannel for an input or a nuisance that is not among them.
    """
    row = find_series(context, series_id)
    others = [name for companion in beside for name in companion.channels]
    own = [name for name in channels or row.channels if name not in others]
    separate([*own, *others], input_channels, nuisance_channels)
    segments = context.patiently(lambda: series.load_segments(context.blobs, row, own))
    for companion in beside:
        table = context.patiently(lambda c=companion: series.load_values(context.blobs, c.row))  # type: ignore[misc]
        columns = series.channel_indices(companion.row, companion.channels)
        segments = [
            (first, np.column_stack([values, table[first : first + len(values), columns]]))
            for first, values in segments
        ]
    return SeriesInput(
        row, [*own, *others], list(input_channels), list(nuisance_channels), segments, beside, counted_channels
    )


def find_series(context: Context, series_id: str) -> SeriesRow:
    with context.database.read() as session:
        return series.get(session, series_id, tenant=context.task.tenant)


def load_for_training(
    context: Context, request: TrainJob | ReconstructJob, spec: TrainSpec
) -> tuple[SeriesInput, TrainSpec]:
    """The series of a request with its companions, and the specification with these among its inputs and nuisance."""
    with context.database.read() as session:
        row = series.get(session, request.series_id, tenant=context.task.tenant)
        found = companions.for_training(session, row, request, tenant=context.task.tenant)
    spec = companions.included(spec, found)
    named = (*(request.channels or row.channels), *(name for c in found for name in c.channels))
    return load_series(
        context,
        request.series_id,
        list(named),
        spec.input_channels,
        spec.nuisance_channels,
        found,
        list(spec.counted_channels),
    ), spec


def find_analysis(context: Context, given: SeriesInput, analysis_id: str | None) -> AnalysisRow | None:
    """The analysis of this id; without one the newest of the same observed channels of the series, if there is any."""
    tenant = context.task.tenant
    with context.database.read() as session:
        if analysis_id is None:
            return results.analysis_of(session, given.row.id, given.analysed, tenant=tenant)
        return results.get(session, AnalysisRow, analysis_id, tenant=tenant)


def load_model(context: Context, model_id: str) -> tuple[ModelRow, TrainedModel]:
    with context.database.read() as session:
        row = results.get(session, ModelRow, model_id, tenant=context.task.tenant)
        weights = results.artifact(session, model_id, MODEL_WEIGHTS)
    return row, TrainedModel.from_safetensors(context.patiently(lambda: context.blobs.read(weights.sha256)))


def rows_between(segments: Segments, start: int, stop: int) -> Segments:
    """What of the segments lies in the rows [start, stop) of the series."""
    cut = [(max(first, start), values[max(0, start - first) : max(0, stop - first)]) for first, values in segments]
    return [(first, values) for first, values in cut if len(values)]


def stated_runs(parts: Sequence[Sequence[int]], bounds: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of rows [start, stop) as a training history states them; those of earlier releases state their bounds only."""
    found = [(int(start), int(stop)) for start, stop in parts or [bounds]]
    return [(start, stop) for start, stop in found if start < stop]


def reference_runs(spec: EvaluateSpec, default: Sequence[tuple[int, int]], n_steps: int) -> list[tuple[int, int]]:
    """Rows [start, stop) of a series of `n_steps` that a model is measured against: those asked for, or else `default`.

    InvalidParameters if there are none.
    """
    if spec.start_index is None and spec.stop_index is None and default:
        return list(default)
    start = (default[0][0] if default else 0) if spec.start_index is None else spec.start_index
    stop = spec.stop_index or (default[-1][1] if default and spec.start_index is None else n_steps)
    if not start < stop <= n_steps:
        raise InvalidParameters(
            f"The reference part would be the rows {start} to {stop} of a series with {n_steps}. "
            "Give start_index < stop_index within the series."
        )
    return [(start, stop)]


def analysis_row(id: str, given: SeriesInput, found: LyapunovAnalysis) -> AnalysisRow:
    return AnalysisRow(
        id=id,
        series_id=given.row.id,
        channels=given.analysed,
        channels_hash=results.channels_hash(given.analysed),
        document=found.model_dump(mode="json"),
    )

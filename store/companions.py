"""The series that go with another one, found and checked: row t of all of them is of the same time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from domain.companions import FIELDS, CompanionField, Companions, SeriesChannels
from domain.errors import MAX_ROWS, ErrorItem, InvalidParameters, NotFound, UnknownChannel
from domain.ids import is_id
from domain.series import Recording, Segment
from domain.specs import TrainSpec
from store import series
from store.blobs import Blobs
from store.tables import SeriesRow


@dataclass(frozen=True)
class Companion:
    """Channels of a series that go with those of another."""

    field: CompanionField
    row: SeriesRow
    channels: list[str]


def names(companions: Sequence[Companion], field: CompanionField) -> list[str]:
    """The channels that are inputs, or nuisance."""
    return [name for companion in companions if companion.field == field for name in companion.channels]


def included(spec: TrainSpec, companions: Sequence[Companion]) -> TrainSpec:
    """A specification of training with the companions' channels among its inputs and its nuisance."""
    return spec.model_copy(
        update={
            "input_channels": [*spec.input_channels, *names(companions, "input_series")],
            "nuisance_channels": [*spec.nuisance_channels, *names(companions, "nuisance_series")],
        }
    )


def tables(
    blobs: Blobs, main: SeriesRow, companions: Sequence[Companion]
) -> list[tuple[list[str], list[Segment], np.ndarray]]:
    """Channels, segments and values (T, N) of each series, the first that which the others go with; read as they are touched."""
    return [
        (row.channels, [Segment.model_validate(s) for s in row.profile["segments"]], series.load_values(blobs, row))
        for row in (main, *(companion.row for companion in companions))
    ]


def described(companions: Sequence[Companion]) -> dict[str, Any]:
    """As documents of results have them."""
    return {
        field: [SeriesChannels(series_id=c.row.id, channels=c.channels) for c in companions if c.field == field]
        for field in FIELDS
    }


def for_training(session: Session, main: SeriesRow, request: Companions, *, tenant: str) -> list[Companion]:
    """Those that a request names, with all or some of their channels; as long as the series, and without gaps of their own."""
    found = _named(session, request, None, tenant)
    _check(main, found, may_go_on=False)
    return found


def for_model(
    session: Session,
    main: SeriesRow,
    request: Companions,
    needed: Mapping[CompanionField, Sequence[str]],
    own: Mapping[str, Any] | None,
    *,
    tenant: str,
    may_go_on: bool = False,
) -> list[Companion]:
    """Those that a request names for a model which needs these channels, or else those that the model was trained with.

    `own`: the model's document where `main` is the series that it was trained on. Of its companions one that was deleted
    is left out. `may_go_on`: they may be longer than the series, and a gap is looked for where rows are read.
    """
    found = _named(session, request, needed, tenant)
    for field in FIELDS if own is not None else ():
        for part in () if getattr(request, field) else (own or {}).get(field, ()):
            channels = [name for name in part["channels"] if name in needed[field]]
            try:
                row = series.get(session, part["series_id"], tenant=tenant)
            except NotFound:
                continue
            if channels:
                found.append(Companion(field, row, channels))
    _check(main, found, may_go_on=may_go_on)
    return found


def _named(
    session: Session,
    request: Companions,
    needed: Mapping[CompanionField, Sequence[str]] | None,
    tenant: str,
) -> list[Companion]:
    found = []
    for field in FIELDS:
        for i, part in enumerate(getattr(request, field)):
            at = f"/{field}/{i}"
            if not is_id(part.series_id, "series"):
                raise NotFound(f"There is no series {part.series_id[:60]!r}.", [ErrorItem(pointer=f"{at}/series_id")])
            try:
                row = series.get(session, part.series_id, tenant=tenant)
            except NotFound as error:
                error.errors = [ErrorItem(pointer=f"{at}/series_id", detail=error.detail)]
                raise
            found.append(Companion(field, row, _channels(row, part, at, None if needed is None else needed[field])))
    return found


def _channels(row: SeriesRow, part: SeriesChannels, at: str, needed: Sequence[str] | None) -> list[str]:
    what = "input" if at.startswith("/input") else "nuisance"
    for k, name in enumerate(part.channels or ()):
        if name not in row.channels:
            raise _unknown(
                f"{at}/channels/{k}", f"The series has no channel {name[:60]!r}; it has {_listed(row.channels)}."
            )
        if needed is not None and name not in needed:
            detail = f"{name[:60]!r} is no {what} channel of the model; they are {_listed(needed) or 'none'}."
            raise _unknown(f"{at}/channels/{k}", detail)
    chosen = part.channels or [name for name in row.channels if needed is None or name in needed]
    if not chosen:
        detail = (
            f"The series has the channels {_listed(row.channels)}, none of which is needed here: the model's {what} channels are "
            f"{_listed(needed or ()) or 'none'}."
        )
        raise _unknown(f"{at}/series_id", detail)
    return list(chosen)


def _check(main: SeriesRow, found: Sequence[Companion], *, may_go_on: bool) -> None:
    count = dict.fromkeys(FIELDS, 0)
    taken = dict.fromkeys(main.channels, f"series {main.id}")
    for companion in found:
        at = f"/{companion.field}/{count[companion.field]}"
        count[companion.field] += 1
        for name in companion.channels:
            if name in taken:
                detail = (
                    f"{name!r} is a channel of {taken[name]} and of {companion.row.id}, and results tell channels by their names: upload "
                    "one of the series under other names (field `channels`), or leave the channel out."
                )
                raise _wrong(f"{at}/channels", detail)
            taken[name] = f"series {companion.row.id}"
        _check_rows(main, companion.row, f"{at}/series_id", may_go_on)


def _check_rows(main: SeriesRow, other: SeriesRow, at: str, may_go_on: bool) -> None:
    """Raise InvalidParameters unless row t of both is of the same time for every row of `main`."""
    if other.n_steps < main.n_steps or (other.n_steps > main.n_steps and not may_go_on):
        detail = (
            f"Series {other.id} has {other.n_steps} rows and series {main.id} has {main.n_steps}: row t of one goes with row t of the "
            "other, so they need the same number of rows."
        )
        raise _wrong(at, detail)
    same_clock = abs(other.dt - main.dt) * main.n_steps <= max(0.5 * main.dt, 1e-9 * main.dt * main.n_steps)
    if other.time_unit != main.time_unit or not same_clock:
        detail = (
            f"Series {other.id} is sampled every {other.dt:g} {other.time_unit}, series {main.id} every {main.dt:g} {main.time_unit}: "
            "upload it with the same dt and time_unit."
        )
        raise _wrong(at, detail)
    _check_recordings(main, other, at, may_go_on)
    timed = main.source.get("time_column") is not None and other.source.get("time_column") is not None
    if timed and abs(other.time_start - main.time_start) > 0.5 * main.dt:
        detail = (
            f"Series {other.id} begins at {other.time_start:g} {other.time_unit}, series {main.id} at {main.time_start:g}: their rows are "
            "not of the same times."
        )
        raise _wrong(at, detail)
    if not may_go_on:
        _check_gaps(main, other, at)


def _check_recordings(main: SeriesRow, other: SeriesRow, at: str, may_go_on: bool) -> None:
    ours, theirs = _recordings(main), _recordings(other)
    for k, (a, b) in enumerate(zip_longest(ours, theirs)):
        longer = may_go_on and k == len(ours) - 1 == len(theirs) - 1
        if a and b and (a.name, a.start) == (b.name, b.start) and (a.stop == b.stop or longer):
            continue
        detail = (
            f"Recording {k} of series {main.id} is {_rows_of(a)}, that of series {other.id} {_rows_of(b)}: both need the same "
            "recordings, in the same order and of the same lengths."
        )
        raise _wrong(at, detail)


def _check_gaps(main: SeriesRow, other: SeriesRow, at: str) -> None:
    known = [(s["start"], s["stop"]) for s in other.profile["segments"]]
    missing: list[int] = []
    n_missing, k = 0, 0

    def lacks(start: int, stop: int) -> None:
        nonlocal n_missing
        n_missing += max(0, stop - start)
        missing.extend(range(start, min(stop, start + MAX_ROWS - len(missing))))

    for needed in main.profile["segments"]:
        at_row = needed["start"]
        while k < len(known) and known[k][1] <= at_row:
            k += 1
        j = k
        while j < len(known) and known[j][0] < needed["stop"]:
            lacks(at_row, known[j][0])
            at_row, j = known[j][1], j + 1
        lacks(at_row, needed["stop"])
    if not n_missing:
        return
    shown = ", ".join(map(str, missing[:5])) + (", ..." if n_missing > 5 else "")
    detail = (
        f"Series {other.id} has no values in {n_missing} rows where series {main.id} has some (rows {shown}): fill them, for instance by an "
        "upload with missing=interpolate, or leave these rows out of both."
    )
    recording = next((r.name for r in _recordings(main) if r.holds(missing[0])), None)
    raise InvalidParameters(detail, [ErrorItem(pointer=at, rows=missing, recording=recording, detail=detail)])


def _recordings(row: SeriesRow) -> list[Recording]:
    return [Recording.model_validate(r) for r in row.profile.get("recordings") or []]


def _rows_of(recording: Recording | None) -> str:
    return "none" if recording is None else f"{recording.name!r} with rows {recording.start} to {recording.stop}"


def _listed(channels: Sequence[str]) -> str:
    return ", ".join(channels[:20]) + (", ..." if len(channels) > 20 else "")


def _wrong(pointer: str, detail: str) -> InvalidParameters:
    return InvalidParameters(detail, [ErrorItem(pointer=pointer, detail=detail)])


def _unknown(pointer: str, detail: str) -> UnknownChannel:
    return UnknownChannel(detail, [ErrorItem(pointer=pointer, detail=detail)])

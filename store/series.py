"""Uploaded series: immutable, one blob each, found again by content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from domain.errors import InvalidParameters, NotFound, UnknownChannel
from domain.ids import new_id
from domain.series import SeriesProfile, SeriesSpec
from store.blobs import BlobRef, Blobs
from store.database import insert_if_new
from store.pages import Page, page
from store.tables import SeriesRow
from store.usage import delete_unused


@dataclass(frozen=True)
class Added:
    row: SeriesRow
    created: bool  # False: the same series is already there


def add(
    session: Session,
    *,
    values: BlobRef,
    channels: Sequence[str],
    dt: float,
    time_unit: str,
    time_start: float,
    spec: SeriesSpec,
    profile: SeriesProfile,
    source: dict[str, Any],
    tenant: str = "default",
) -> Added:
    """Write the row of values that are already a blob, or answer the equal series that is there."""
    name = spec.name
    if name is not None and not (name.isprintable() and _is_text(name)):
        raise InvalidParameters("name must be printable text.")
    segments = [(s.start, s.stop, s.time_start) for s in profile.segments]
    identity: list[Any] = [values.sha256, list(channels), dt, time_unit, time_start, segments, name]
    if profile.recordings:
        identity.append([(r.name, r.start, r.stop, r.time_start) for r in profile.recordings])
    fields = {
        "id": new_id("series"),
        "tenant": tenant,
        "name": name,
        "content_hash": hashlib.sha256(json.dumps(identity).encode()).hexdigest(),
        "blob_sha256": values.sha256,
        "n_bytes": values.n_bytes,
        "n_steps": profile.n_steps,
        "channels": list(channels),
        "dt": dt,
        "time_unit": time_unit,
        "time_start": time_start,
        "spec": spec.model_dump(mode="json"),
        "profile": profile.model_dump(mode="json"),
        "source": source,
    }
    row = insert_if_new(session, SeriesRow, fields)
    if row is not None:
        return Added(row, created=True)
    same = select(SeriesRow).where(SeriesRow.tenant == tenant, SeriesRow.content_hash == fields["content_hash"])
    return Added(session.scalars(same).one(), created=False)


def get(session: Session, series_id: str, *, tenant: str = "default") -> SeriesRow:
    row = session.scalar(select(SeriesRow).where(SeriesRow.id == series_id, SeriesRow.tenant == tenant))
    if row is None:
        raise NotFound(f"There is no series {series_id}.")
    return row


def list_page(
    session: Session,
    *,
    tenant: str = "default",
    name: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[SeriesRow]:
    """Newest first; `name` keeps those that are called exactly so."""
    query = select(SeriesRow).where(SeriesRow.tenant == tenant)
    if name is not None:
        query = query.where(SeriesRow.name == name)
    return page(session, query, SeriesRow, "series", cursor, limit)


def delete(session: Session, series_id: str, *, tenant: str = "default") -> None:
    """Forget a series; InUse while a job that has not ended reads it. What jobs found in it stays.

    Its blob, if no other series shares it, is deleted by the sweep after `orphan_hours`.
    """
    delete_unused(session, SeriesRow, "series", series_id, tenant=tenant)


def load_values(blobs: Blobs, row: SeriesRow) -> np.ndarray:
    """The values (T, N) as a read-only view of the file: pages are read as they are touched."""
    return np.load(blobs.file(row.blob_sha256), mmap_mode="r", allow_pickle=False)


def channel_indices(row: SeriesRow, channels: Sequence[str] | None) -> list[int]:
    """The columns of `channels`, in their order; all of them for None."""
    if channels is None:
        return list(range(len(row.channels)))
    unknown = [name for name in channels if name not in row.channels]
    if unknown:
        known = ", ".join(row.channels[:20]) + (", ..." if len(row.channels) > 20 else "")
        raise UnknownChannel(f"The series has no channel {unknown[0]!r}; it has {known}.")
    return [row.channels.index(name) for name in channels]


def load_segments(blobs: Blobs, row: SeriesRow, channels: Sequence[str] | None = None) -> list[tuple[int, np.ndarray]]:
    """The usable runs: (first row in the series, float64 (T_i, N) of the chosen channels), each without a gap."""
    values = load_values(blobs, row)
    columns = channel_indices(row, channels)
    return [
        (segment["start"], np.ascontiguousarray(values[segment["start"] : segment["stop"], columns], dtype=np.float64))
        for segment in row.profile["segments"]
    ]


def _is_text(name: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in name)

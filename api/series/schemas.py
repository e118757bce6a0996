"""Series as callers see them, and the fields that may come with an upload."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from domain.base import Document, Instant
from domain.documents import href
from domain.series import ChannelName, SeriesProfile, SeriesSpec
from store.tables import SeriesRow


def _names(given: Any) -> Any:
    """`x,y,z`, a JSON list, or the field repeated; names with commas need the JSON list."""
    if not (isinstance(given, list) and len(given) == 1 and isinstance(given[0], str)):
        return given
    text = given[0].strip()
    if not text.startswith("["):
        return [name.strip() for name in text.split(",")]
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"is no JSON list: {error}") from error


ChannelNames = Annotated[list[ChannelName] | None, BeforeValidator(_names)]


class SeriesFields(SeriesSpec):
    """The fields of an upload as text, in a form or in the query."""

    channels: ChannelNames = Field(
        default=None,
        max_length=4096,
        description='Channel names in column order, as `x,y,z`, repeated, or a JSON list (`["a,b", "c"]`).',
        examples=[["x,y,z"]],
    )


class SeriesLinks(Document):
    self: str
    data: str


class SeriesOut(Document):
    """An uploaded series: immutable, evenly sampled, with what the audit found."""

    id: str = Field(examples=["ser_0191f3c2a4b57c8d9e0f1a2b3c4d5e6f"])
    name: str | None
    created_at: Instant
    content_hash: str = Field(description="SHA-256 over values, channels, clock, segments and name; also the ETag.")
    n_steps: int
    n_channels: int
    channels: list[str]
    dt: float = Field(description="Sampling interval in `time_unit`.")
    time_unit: str
    time_start: float = Field(description="Time of row 0; seconds since 1970 (UTC) for a column of dates.")
    n_bytes: int = Field(description="Bytes stored.")
    source: dict[str, Any] = Field(description="The file as it came: format, size, how it was read.")
    profile: SeriesProfile
    links: SeriesLinks

    @classmethod
    def of(cls, row: SeriesRow) -> SeriesOut:
        path = href("series", row.id)
        return cls(
            id=row.id,
            name=row.name,
            created_at=row.created_at,
            content_hash=row.content_hash,
            n_steps=row.n_steps,
            n_channels=len(row.channels),
            channels=row.channels,
            dt=row.dt,
            time_unit=row.time_unit,
            time_start=row.time_start,
            n_bytes=row.n_bytes,
            source=row.source,
            profile=SeriesProfile.model_validate(row.profile),
            links=SeriesLinks(self=path, data=f"{path}/data"),
        )


class Decimation(Document):
    """Which rows were kept so that there are at most `max_points`: each channel's smallest and largest in each bucket."""

    method: str = "min-max"
    kept: int
    of: int
    bucket_steps: int


class SeriesData(Document):
    """Rows of a series. The document can be uploaded again as it is, once its describing fields are taken away."""

    series_id: str
    start: int
    stop: int
    dt: float
    time_unit: str
    channels: list[str]
    decimation: Decimation | None = Field(description="Null when every row is there.")
    null_reason: str | None = Field(description="What a null among the values means.")
    rows: list[int] | None = Field(description="Numbers of the rows that were kept; null when every row is there.")
    recording: list[str] | None = Field(description="Of a collection, the recording of each row; else null.")
    time: list[float]
    values: list[list[float | None]]

"""Series: what is uploaded, and what the audit says about it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from domain.base import Document, Spec


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be printable text, without control characters or line breaks")
    return text


Label = Annotated[str, Field(max_length=200), AfterValidator(_printable)]
ChannelName = Annotated[Label, Field(min_length=1)]


class MissingPolicy(StrEnum):
    """What is done with missing values and missing rows: never anything the caller did not ask for."""

    REJECT = "reject"
    INTERPOLATE = "interpolate"
    SPLIT = "split"


class SeriesSpec(Spec):
    """The fields that accompany an upload."""

    name: Label | None = Field(default=None, description="Yours; equal uploads under one name are one series.")
    dt: float | None = Field(
        default=None, gt=0, description="Sampling interval in `time_unit`; read from the time column when absent."
    )
    time_unit: Annotated[Label, Field(max_length=20)] = Field(
        default="",
        description='Unit of time, such as "s"; "step" when neither dt nor a time column is given.',
    )
    time_column: Label | None = Field(
        default=None,
        description="Name (or 0-based index) of the time column; found by itself when named t, time, ...",
    )
    recording_column: Label | None = Field(
        default=None,
        description="Name (or 0-based index) of a column that names the recording, trial or subject of each row, for a file "
        "that holds several; found by itself when named recording. Rows of one recording follow one another.",
    )
    channels: list[ChannelName] | None = Field(
        default=None, max_length=4096, description="Channel names, in column order (overrides the header)."
    )
    missing: MissingPolicy = Field(
        default=MissingPolicy.REJECT, description="What is done with missing values: nothing unless you say so."
    )
    max_gap: int = Field(default=5, ge=1, le=10_000, description="Longest gap in steps that `interpolate` fills.")
    format: Literal["csv", "npy", "parquet", "json"] | None = Field(
        default=None, description="Overrides content type and file name."
    )


class Segment(Document):
    """A run of rows without a gap: [start, stop). No training sequence and no estimate crosses a border."""

    start: int
    stop: int
    time_start: float


class Recording(Document):
    """One of several recordings (trials, subjects) that a series consists of: its rows [start, stop)."""

    name: str
    start: int
    stop: int
    time_start: float

    def holds(self, row: int) -> bool:
        return self.start <= row < self.stop


class ChannelProfile(Document):
    name: str
    minimum: float
    maximum: float
    mean: float
    std: float = Field(description="Population standard deviation.")
    n_missing: int = Field(description="Values that were missing or not finite in the upload.")
    n_unique: int = Field(description="Distinct values; exact up to 1,000, then 1,000.")


class SeriesIssue(Document):
    """Something the audit found. `error` refuses the upload, `warning` and `info` do not."""

    code: str
    severity: Literal["info", "warning", "error"]
    detail: str
    pointer: str | None = None
    rows: list[int] = Field(default_factory=list, description="At most 20 rows, counted from 0.")
    n_rows: int = Field(default=0, description="How many rows are affected in all.")


class SeriesProfile(Document):
    """What the audit found; data are never changed silently: whatever was filled or split is listed in `issues`."""

    n_steps: int
    n_channels: int
    n_usable_steps: int = Field(description="Steps inside a segment.")
    duration: float = Field(
        description="(n_steps - 1) * dt, in time units; summed over the recordings of a collection."
    )
    channels: list[ChannelProfile]
    segments: list[Segment]
    recordings: list[Recording] = Field(
        default_factory=list, description="Those of a collection, end to end; empty for a series that is one recording."
    )
    issues: list[SeriesIssue] = Field(default_factory=list)

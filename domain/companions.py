"""Series that go with another one, row by row: external inputs and nuisance that were uploaded by themselves."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from domain.base import Spec

MAX_COMPANIONS = 16
CompanionField = Literal["input_series", "nuisance_series"]
FIELDS: tuple[CompanionField, ...] = ("input_series", "nuisance_series")


class SeriesChannels(Spec):
    """Channels of a series, whose row t is of the same time as row t of the series that it goes with."""

    series_id: str
    channels: Annotated[list[str], Field(min_length=1, max_length=256)] | None = Field(
        default=None, description="By name; default: all, or of a model that is there those that it needs."
    )


class Companions(Spec):
    """What of a request names series that go with its `series_id`."""

    input_series: Annotated[list[SeriesChannels], Field(max_length=MAX_COMPANIONS)] = Field(
        default=[],
        description="Series whose channels drive the system from outside, as `input_channels` do that are recorded in the series itself: "
        "row t goes with row t. They need the same rows, sampling, recordings and no gaps of their own; for a forecast they may go on "
        "beyond the end. Default with a model and its own series: those that it was trained with.",
    )
    nuisance_series: Annotated[list[SeriesChannels], Field(max_length=MAX_COMPANIONS)] = Field(
        default=[],
        description="Likewise series whose channels contaminate what is observed, as `nuisance_channels` do.",
    )

    @model_validator(mode="after")
    def _check_companions(self) -> Companions:
        named = [part.series_id for field in FIELDS for part in getattr(self, field)]
        if twice := [id for id in named if named.count(id) > 1 and id]:
            both = [part for field in FIELDS for part in getattr(self, field) if part.series_id == twice[0]]
            chosen = [name for part in both for name in part.channels or []]
            if any(part.channels is None for part in both) or len(set(chosen)) < len(chosen):
                raise ValueError(
                    f"series {twice[0][:60]!r} is named twice: say under `channels` which of its channels are inputs, and which nuisance"
                )
        return self

"""What the service can do, for programs and for pages that build their forms from it."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from domain.base import Document


class KindOut(Document):
    kind: str
    result: str = Field(description="Resource that a job of this kind makes.")
    params_schema: dict[str, Any] = Field(description="JSON Schema of `params`, with defaults and bounds.")


class ArchitectureOut(Document):
    """A map that can be learned; every kind of forcing, optimizer and regulariser is for all of them, unless said here."""

    name: str
    citation: str
    hidden_role: str | None = Field(description="What `hidden_dim` counts; null: the architecture has no such size.")
    layered: bool = Field(description="Whether `layers` can be chosen.")
    observations: list[str] = Field(description="Kinds of observation that it allows.")
    has_jacobian_bound: bool = Field(description="Whether adaptive forcing may use the estimate `parameter-bound`.")
    has_identity: bool = Field(
        description="Whether `regularization.identity` and `.manifold_attractor` have something to pull to."
    )


class ForcingOut(Document):
    kind: str
    description: str


class Limits(Document):
    max_json_bytes: int
    max_upload_bytes: int
    max_upload_rows: int
    max_upload_channels: int
    max_upload_values: int = Field(description="Rows times channels of an upload.")
    min_analysis_steps: int = Field(description="Usable rows that an analysis, and so a training, needs.")
    max_horizon_steps: int
    max_sync_horizon_steps: int = Field(description="Longest forecast that is answered at once.")
    max_sync_work: int = Field(description="Largest horizon_steps * samples * latent_dim that is answered at once.")
    max_forecast_values: int = Field(description="Largest horizon_steps * channels * (1 + quantiles) of any forecast.")
    max_wait_seconds: int = Field(description="Longest `Prefer: wait` and `?wait=`.")
    max_page_rows: int
    max_metadata_bytes: int


class Formats(Document):
    upload: list[str]
    table: list[str] = Field(description="Of series data and forecasts, by `?format=` or Accept.")


class ProblemType(Document):
    type: str
    code: str
    title: str
    status: int


class Capabilities(Document):
    kinds: list[KindOut]
    architectures: list[ArchitectureOut]
    forcings: list[ForcingOut]
    optimizers: list[str]
    upload_schema: dict[str, Any] = Field(description="JSON Schema of the fields that accompany an upload.")
    limits: Limits
    formats: Formats
    problems: list[ProblemType]
    versions: dict[str, str]

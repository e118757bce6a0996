"""Settings of the API process, read once in its composition root from ATTRACTOR_* variables."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from domain.specs import MAX_SYNC_HORIZON_STEPS
from store.settings import StoreSettings

MEBIBYTE = 1024 * 1024


class ApiSettings(StoreSettings):
    """Where the API listens and how much it accepts."""

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65_535)
    cors_origins: list[str] = Field(
        default=[], description="Origins of other pages that may call the API; none by default."
    )
    allowed_hosts: list[str] = Field(
        default=[], description="Domain names under which the service may be reached; addresses and plain names always."
    )

    require_keys: Literal["auto", "yes", "no"] = Field(
        default="auto",
        description="Whether requests need a key; auto: once there is one, and wherever others than this machine can reach "
        "(a start there is refused as long as there is none; with yes it is not).",
    )
    key_cache_seconds: float = Field(default=5.0, ge=0, description="How long a revoked key may still be accepted.")
    failed_keys_per_minute: int = Field(default=20, ge=1, description="Invalid keys from one address.")

    max_json_bytes: int = Field(default=16 * MEBIBYTE, ge=1024, description="Largest JSON body.")
    max_upload_bytes: int = Field(default=2048 * MEBIBYTE, ge=1024, description="Largest upload of a series.")
    max_upload_rows: int = Field(default=20_000_000, ge=1)
    max_upload_channels: int = Field(default=1024, ge=1)
    max_upload_values: int = Field(default=250_000_000, ge=1, description="Rows * channels; 8 bytes each are stored.")
    max_parses: int = Field(default=2, ge=1, description="Uploads parsed at a time; the others wait.")

    max_sync_horizon_steps: int = Field(
        default=MAX_SYNC_HORIZON_STEPS, ge=0, description="Longest forecast that is answered at once."
    )
    max_sync_work: int = Field(
        default=2_000_000,
        ge=0,
        description="Largest horizon_steps * samples * latent_dim that is answered at once; above it a job is made.",
    )
    model_cache_size: int = Field(default=32, ge=1, description="Models kept in memory for forecasts.")

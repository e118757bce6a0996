"""Settings of everything that outlives a process; API and worker settings extend this class."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

FILE_QUEUE_SCHEME = "attractor-files"
MIN_SECRET_LENGTH = 32
_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9!_.*'()/-]*)?")


class StoreSettings(BaseSettings):
    """Read once, in each process's composition root. Nothing set: SQLite and a file queue under `data_dir`."""

    model_config = SettingsConfigDict(env_prefix="ATTRACTOR_", extra="ignore")

    data_dir: Path = Field(default=Path("attractor-data"), description="Blobs, and the embedded database and queue.")
    database_url: str = Field(
        default="", description="SQLAlchemy URL; empty: SQLite under data_dir. postgresql:// means psycopg."
    )
    broker_url: str = Field(
        default="", description="Celery broker, such as redis://host:6379/0; empty: files under data_dir/queue."
    )
    secret_key: SecretStr = Field(
        default=SecretStr(""),
        description="What digests of keys are made with, at least 32 characters; empty: a random file data_dir/secret.",
    )
    max_running_jobs: int = Field(default=0, ge=0, description="Of a tenant without a limit of its own; 0: none.")
    max_queued_jobs: int = Field(default=0, ge=0, description="Of a tenant without a limit of its own; 0: none.")
    requests_per_minute: int = Field(default=0, ge=0, description="Of a tenant without a limit of its own; 0: none.")
    lease_seconds: float = Field(default=60.0, gt=0, description="A worker silent for longer has lost its job.")
    sweep_seconds: float = Field(default=10.0, gt=0, description="How often a worker looks for lost jobs.")
    redispatch_seconds: float = Field(
        default=15.0, gt=0, description="A job still queued after this is published again (then after twice that, ...)."
    )
    worker_silence_seconds: float = Field(
        default=60.0, gt=0, description="A worker that has not been heard of for so long counts as gone."
    )
    canary_seconds: float = Field(
        default=90.0, gt=0, description="A job that is due so long while a worker has a free place: something is stuck."
    )
    max_attempts: int = Field(default=3, ge=1, le=100, description="Starts of one job before it fails as worker_lost.")
    idempotency_hours: float = Field(default=24.0, gt=0, description="How long an Idempotency-Key is remembered.")
    job_retention_days: float = Field(default=0.0, ge=0, description="How long ended jobs are kept; 0: for ever.")
    result_retention_days: float = Field(
        default=0.0, ge=0, description="How long analyses, models, forecasts and evaluations are kept; 0: for ever."
    )
    series_retention_days: float = Field(default=0.0, ge=0, description="How long series are kept; 0: for ever.")
    checkpoint_retention_days: float = Field(
        default=7.0, ge=0, description="How long a failed job's checkpoint is kept for a retry; 0: for ever."
    )
    orphan_hours: float = Field(
        default=1.0, gt=0, description="A blob that no row names is deleted when it is older than this."
    )
    blobs_url: str = Field(
        default="", description="s3://bucket/prefix; empty: a directory under data_dir. Needs the extra `production`."
    )
    blobs_endpoint_url: str = Field(default="", description="Of a storage that is not Amazon's: https://host:port.")
    blobs_region: str = Field(default="", description="Region of the bucket; empty: what boto3 finds.")
    blobs_cache_bytes: int = Field(
        default=20 * 1024**3, ge=0, description="Blobs of a bucket that are kept on this machine, the last used."
    )
    webhook_allow_http: bool = Field(default=False, description="Whether webhooks may have http:// addresses, too.")
    webhook_ports: list[int] = Field(
        default=[80, 443, 8080, 8443], description="Ports that webhooks may name; an empty list: any."
    )
    webhook_allow_private: list[IPv4Network | IPv6Network] = Field(
        default=[], description="Networks that webhooks may lead to although they are not public, such as 127.0.0.0/8."
    )
    webhook_disable_days: float = Field(
        default=5.0, gt=0, description="A webhook to which nothing could be delivered for so long is disabled."
    )
    audit_retention_days: float = Field(default=400.0, ge=0, description="How long audit events are kept; 0: for ever.")
    webhook_log_days: float = Field(default=30.0, gt=0, description="How long ended deliveries of webhooks are kept.")
    database_pool_size: int = Field(default=20, ge=1)
    busy_timeout_seconds: float = Field(default=20.0, gt=0, description="SQLite: how long a writer waits for another.")
    log_format: Literal["auto", "text", "json"] = Field(
        default="auto", description="How lines are logged; auto: text on a terminal, JSON everywhere else."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="The least that is logged."
    )

    @field_validator("secret_key")
    @classmethod
    def _long_enough(cls, value: SecretStr) -> SecretStr:
        if 0 < len(value.get_secret_value()) < MIN_SECRET_LENGTH:
            raise ValueError(f"must have at least {MIN_SECRET_LENGTH} characters: `openssl rand -hex 32` makes one")
        return value

    @field_validator("blobs_url")
    @classmethod
    def _bucket(cls, value: str) -> str:
        if value and not _BUCKET.fullmatch(value):
            raise ValueError("must be s3://bucket or s3://bucket/prefix")
        return value

    @model_validator(mode="after")
    def _defaults(self) -> Self:
        self.data_dir = self.data_dir.absolute()
        if not self.database_url:
            self.database_url = self._embedded_url
        for scheme in ("postgres://", "postgresql://"):
            if self.database_url.startswith(scheme):
                self.database_url = "postgresql+psycopg://" + self.database_url.removeprefix(scheme)
        if not self.broker_url:
            self.broker_url = f"{FILE_QUEUE_SCHEME}://localhost/"
        return self

    @property
    def _embedded_url(self) -> str:
        return f"sqlite:///{self.data_dir / 'attractor.db'}"

    @property
    def embedded_database(self) -> Path | None:
        """The file of the database under `data_dir`; None where another one was named."""
        return self.data_dir / "attractor.db" if self.database_url == self._embedded_url else None

    @property
    def blobs_dir(self) -> Path:
        return self.data_dir / "blobs"

    @property
    def bucket_and_prefix(self) -> tuple[str, str]:
        """Of `blobs_url`; a prefix that is not empty ends with a slash."""
        bucket, _, prefix = self.blobs_url.removeprefix("s3://").partition("/")
        prefix = prefix.strip("/")
        return bucket, f"{prefix}/" if prefix else ""

    @property
    def queue_dir(self) -> Path:
        return self.data_dir / "queue"

    @property
    def embedded_broker(self) -> bool:
        """Whether jobs are announced through files under `queue_dir` instead of a server."""
        return self.broker_url.startswith(FILE_QUEUE_SCHEME + "://")

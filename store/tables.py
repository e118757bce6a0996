"""The tables. Rows are named `...Row`; ids are `prefix_uuid7`, so ordering by id is ordering by creation.

Every row of a resource carries `tenant`; every query filters by it. Results outlive the series, models and jobs they
came from, so those columns are provenance, not foreign keys.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, Integer, MetaData, String, UniqueConstraint, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from store.clock import Moment, now

Document = dict[str, Any]


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    # JSON, not JSONB: documents are stored and returned, never searched, and keep the order of their keys.
    type_annotation_map: ClassVar = {datetime: Moment(), Document: JSON(), list[str]: JSON(), list[Document]: JSON()}


class ResourceRow(Base):
    """What every resource of a tenant has."""

    __abstract__ = True

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64), default="default")
    created_at: Mapped[datetime] = mapped_column(default=now())


class SeriesRow(ResourceRow):
    """An uploaded series; its values are one float64 `.npy` blob (T, N), NaN in the rows of a gap."""

    __tablename__ = "series"
    __table_args__ = (UniqueConstraint("tenant", "content_hash"), Index(None, "tenant", "id"))

    name: Mapped[str | None] = mapped_column(String(200))
    content_hash: Mapped[str] = mapped_column(String(64))
    blob_sha256: Mapped[str] = mapped_column(String(64), index=True)
    n_bytes: Mapped[int] = mapped_column(BigInteger)
    n_steps: Mapped[int] = mapped_column(BigInteger)
    channels: Mapped[list[str]]
    dt: Mapped[float]
    time_unit: Mapped[str] = mapped_column(String(20))
    time_start: Mapped[float]
    spec: Mapped[Document]
    profile: Mapped[Document]
    source: Mapped[Document]


class JobRow(ResourceRow):
    """A job. `token` fences the writes of the attempt that holds the lease; `version` counts visible changes."""

    __tablename__ = "job"
    __table_args__ = (
        Index(None, "tenant", "id"),
        Index(None, "tenant", "status", "id"),
        Index(None, "tenant", "kind", "id"),
        Index(None, "series_id", "status"),
        Index(None, "model_id", "status"),
        # What the sweep asks: few rows, however many jobs have ended.
        Index(
            "ix_job_lease",
            "lease_until",
            sqlite_where=text("lease_until IS NOT NULL"),
            postgresql_where=text("lease_until IS NOT NULL"),
        ),
        Index(
            "ix_job_dispatch",
            "queue",
            "dispatch_after",
            sqlite_where=text("dispatch_after IS NOT NULL"),
            postgresql_where=text("dispatch_after IS NOT NULL"),
        ),
        Index(None, "retry_of", unique=True),
        # What a worker asks when it looks for work: the queued jobs of its queues, most urgent and oldest first.
        Index(
            "ix_job_waiting",
            "queue",
            "tenant",
            "rank",
            "id",
            sqlite_where=text("status = 'queued'"),
            postgresql_where=text("status = 'queued'"),
        ),
        Index(
            "ix_job_checkpoint",
            "checkpoint_sha256",
            sqlite_where=text("checkpoint_sha256 IS NOT NULL"),
            postgresql_where=text("checkpoint_sha256 IS NOT NULL"),
        ),
    )

    kind: Mapped[str] = mapped_column(String(20))
    status: Mapped[str] = mapped_column(String(20))
    version: Mapped[int] = mapped_column(default=1)
    attempt: Mapped[int] = mapped_column(default=0)
    max_attempts: Mapped[int]
    timeout_s: Mapped[int]
    updated_at: Mapped[datetime] = mapped_column(default=now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    request: Mapped[Document]
    series_id: Mapped[str | None] = mapped_column(String(40))
    model_id: Mapped[str | None] = mapped_column(String(40))
    progress: Mapped[Document]
    error: Mapped[Document | None] = mapped_column(JSON(none_as_null=True))
    result_type: Mapped[str | None] = mapped_column(String(20))
    result_id: Mapped[str | None] = mapped_column(String(40))

    # Columns of later releases have defaults in the database: the release that still runs does not name them.
    queue: Mapped[str] = mapped_column(String(20), default="cpu", server_default="cpu")
    rank: Mapped[int] = mapped_column(default=0, server_default="0")  # minus the priority: an index goes one way
    memory_mb: Mapped[int | None]
    retry_of: Mapped[str | None] = mapped_column(String(40))
    key_id: Mapped[str | None] = mapped_column(String(40))
    request_id: Mapped[str | None] = mapped_column(String(128))
    traceparent: Mapped[str | None] = mapped_column(String(55))

    token: Mapped[str | None] = mapped_column(String(32))
    worker: Mapped[str | None] = mapped_column(String(200))
    lease_until: Mapped[datetime | None]
    deadline_at: Mapped[datetime | None]
    dispatch_after: Mapped[datetime | None]
    dispatches: Mapped[int] = mapped_column(default=0)
    checkpoint_sha256: Mapped[str | None] = mapped_column(String(64))
    event_seq: Mapped[int] = mapped_column(default=0)
    progress_event_at: Mapped[datetime | None]


class JobCompanionRow(Base):
    """A series that a job reads beside its own: external inputs or nuisance."""

    __tablename__ = "job_companion"

    job_id: Mapped[str] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    series_id: Mapped[str] = mapped_column(String(40), primary_key=True, index=True)


class JobEventRow(Base):
    """What happened to a job: append-only, `seq` counts from 1 without gaps within the job."""

    __tablename__ = "job_event"

    job_id: Mapped[str] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    created_at: Mapped[datetime] = mapped_column(default=now())
    type: Mapped[str] = mapped_column(String(20))
    data: Mapped[Document]


class IdempotencyRow(Base):
    """An Idempotency-Key, the request it came with, and the job it made."""

    __tablename__ = "idempotency"

    tenant: Mapped[str] = mapped_column(String(64), primary_key=True, default="default")
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request_hash: Mapped[str] = mapped_column(String(64))
    # Deferred: the key is taken before the job is written, so that of two simultaneous requests only one writes a job.
    job_id: Mapped[str] = mapped_column(
        ForeignKey("job.id", ondelete="CASCADE", deferrable=True, initially="DEFERRED"), index=True
    )
    expires_at: Mapped[datetime] = mapped_column(index=True)


class ResultRow(ResourceRow):
    """What a job found. `document` is the public document without what the columns already say."""

    __abstract__ = True
    resource: ClassVar[str]

    job_id: Mapped[str | None] = mapped_column(String(40), index=True)
    series_id: Mapped[str | None] = mapped_column(String(40))
    document: Mapped[Document]


class AnalysisRow(ResultRow):
    __tablename__ = "analysis"
    __table_args__ = (Index(None, "tenant", "id"), Index(None, "tenant", "series_id", "channels_hash", "id"))
    resource = "analysis"

    channels: Mapped[list[str]]
    channels_hash: Mapped[str] = mapped_column(String(64))


class ModelRow(ResultRow):
    """A trained model; its files are the artifacts that name it."""

    __tablename__ = "model"
    __table_args__ = (Index(None, "tenant", "id"), Index(None, "tenant", "series_id", "id"))
    resource = "model"

    analysis_id: Mapped[str | None] = mapped_column(String(40))


class ArtifactRow(Base):
    """A file that belongs to a model."""

    __tablename__ = "artifact"

    model_id: Mapped[str] = mapped_column(ForeignKey("model.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    media_type: Mapped[str] = mapped_column(String(100))
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    n_bytes: Mapped[int] = mapped_column(BigInteger)


class ForecastRow(ResultRow):
    """A forecast; a long one keeps its arrays in a blob instead of the document."""

    __tablename__ = "forecast"
    __table_args__ = (Index(None, "tenant", "id"), Index(None, "tenant", "model_id", "id"))
    resource = "forecast"

    model_id: Mapped[str] = mapped_column(String(40))
    blob_sha256: Mapped[str | None] = mapped_column(String(64), index=True)


class EvaluationRow(ResultRow):
    __tablename__ = "evaluation"
    __table_args__ = (Index(None, "tenant", "id"), Index(None, "tenant", "model_id", "id"))
    resource = "evaluation"

    model_id: Mapped[str] = mapped_column(String(40))


class WorkerRow(Base):
    """A worker that has lately been heard of; written by itself, forgotten by the sweep."""

    __tablename__ = "worker"

    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    release: Mapped[str] = mapped_column(String(40))
    queues: Mapped[list[str]]
    processes: Mapped[int]
    started_at: Mapped[datetime] = mapped_column(default=now())
    seen_at: Mapped[datetime] = mapped_column(default=now(), index=True)
    claimed_at: Mapped[datetime | None]
    metrics: Mapped[list[Document] | None] = mapped_column(JSON(none_as_null=True))  # store.metrics.snapshot()


class TenantRow(Base):
    """A tenant and its quotas; null: what the settings say. A tenant without a row has these defaults, too."""

    __tablename__ = "tenant"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(default=now())
    max_running_jobs: Mapped[int | None]
    max_queued_jobs: Mapped[int | None]
    requests_per_minute: Mapped[int | None]
    disabled_at: Mapped[datetime | None]


class KeyRow(ResourceRow):
    """A key of a tenant. `digest` is an HMAC-SHA256 of it: the key itself is shown once and kept nowhere."""

    __tablename__ = "api_key"
    __table_args__ = (Index(None, "tenant", "id"),)

    name: Mapped[str] = mapped_column(String(100))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    hint: Mapped[str] = mapped_column(String(20))
    scopes: Mapped[list[str]]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    replaces: Mapped[str | None] = mapped_column(String(40))


class AuditRow(ResourceRow):
    """What somebody did, or was refused: append-only."""

    __tablename__ = "audit_event"
    __table_args__ = (Index(None, "tenant", "id"),)

    action: Mapped[str] = mapped_column(String(60))
    outcome: Mapped[str] = mapped_column(String(20))
    key_id: Mapped[str | None] = mapped_column(String(40))
    target: Mapped[str | None] = mapped_column(String(60))
    address: Mapped[str | None] = mapped_column(String(64))
    request_id: Mapped[str | None] = mapped_column(String(128))
    detail: Mapped[Document]


class WebhookRow(ResourceRow):
    """Where a tenant wants to be told of events. The signing secret is derived from the service's own, never stored."""

    __tablename__ = "webhook"
    __table_args__ = (Index(None, "tenant", "id"),)

    url: Mapped[str] = mapped_column(String(2000))
    events: Mapped[list[str]]
    description: Mapped[str | None] = mapped_column(String(200))
    secret_generation: Mapped[int] = mapped_column(default=1)
    rotated_at: Mapped[datetime | None]
    failing_since: Mapped[datetime | None]
    disabled_at: Mapped[datetime | None]
    disabled_because: Mapped[str | None] = mapped_column(String(500))


class WebhookDeliveryRow(ResourceRow):
    """One message to one webhook: written with the event that it tells, sent afterwards until it arrives or is given up."""

    __tablename__ = "webhook_delivery"
    __table_args__ = (
        Index(None, "tenant", "webhook_id", "id"),
        Index(
            "ix_webhook_delivery_due",
            "next_attempt_at",
            sqlite_where=text("next_attempt_at IS NOT NULL"),
            postgresql_where=text("next_attempt_at IS NOT NULL"),
        ),
    )

    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhook.id", ondelete="CASCADE"))
    message_id: Mapped[str] = mapped_column(String(60))
    event: Mapped[str] = mapped_column(String(40))
    payload: Mapped[Document]
    status: Mapped[str] = mapped_column(String(20))
    attempts: Mapped[int] = mapped_column(default=0)
    log: Mapped[list[Document]]
    next_attempt_at: Mapped[datetime | None]
    token: Mapped[str | None] = mapped_column(String(32))
    finished_at: Mapped[datetime | None]

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
    type_annotation_map: ClassVar = {datetime: Moment(), Document: JSON(), list[str]: JSON()}


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
        # What the sweep asks: few rows, however many jobs have ended.
        Index(
            "ix_job_lease",
            "lease_until",
            sqlite_where=text("lease_until IS NOT NULL"),
            postgresql_where=text("lease_until IS NOT NULL"),
        ),
        Index(
            "ix_job_dispatch",
            "dispatch_after",
            sqlite_where=text("dispatch_after IS NOT NULL"),
            postgresql_where=text("dispatch_after IS NOT NULL"),
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

    token: Mapped[str | None] = mapped_column(String(32))
    worker: Mapped[str | None] = mapped_column(String(200))
    lease_until: Mapped[datetime | None]
    deadline_at: Mapped[datetime | None]
    dispatch_after: Mapped[datetime | None]
    dispatches: Mapped[int] = mapped_column(default=0)
    checkpoint_sha256: Mapped[str | None] = mapped_column(String(64))
    event_seq: Mapped[int] = mapped_column(default=0)
    progress_event_at: Mapped[datetime | None]


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

"""Checkpoints: opaque bytes that let a later attempt of the same job go on, written whole or not at all."""

from __future__ import annotations

from functools import partial

from sqlalchemy import select

from store.blobs import Blobs
from store.database import Database
from store.leases import Lease, set_checkpoint
from store.tables import JobRow


def save(database: Database, blobs: Blobs, lease: Lease, data: bytes) -> None:
    """Blob first, then the row that names it (fenced), then the one before it is deleted."""
    new = blobs.put(_mark(lease.job_id) + data).sha256
    old = database.transact(partial(set_checkpoint, lease=lease, sha256=new))
    if old is not None and old != new:
        blobs.delete(old)


def load(database: Database, blobs: Blobs, job_id: str) -> bytes | None:
    """The newest checkpoint of the job, whichever attempt wrote it; None without one."""
    with database.read() as session:
        sha256 = session.scalar(select(JobRow.checkpoint_sha256).where(JobRow.id == job_id))
    return None if sha256 is None else blobs.read(sha256).removeprefix(_mark(job_id))


def _mark(job_id: str) -> bytes:
    # Two jobs with the same seed and data make equal checkpoints; each must be free to delete its own.
    return job_id.encode() + b"\n"

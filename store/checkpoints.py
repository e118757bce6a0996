"""Checkpoints: opaque bytes that let a later attempt of the same job go on, written whole or not at all."""

from __future__ import annotations

import logging
from functools import partial

from sqlalchemy import select

from store.blobs import Blobs
from store.database import Database
from store.leases import Lease, set_checkpoint
from store.tables import JobRow

log = logging.getLogger(__name__)


def put(blobs: Blobs, job_id: str, data: bytes) -> str:
    """Write the blob of a checkpoint; its name, for `adopt`."""
    return blobs.put(_mark(job_id) + data).sha256


def adopt(database: Database, blobs: Blobs, lease: Lease, sha256: str, *, patience_seconds: float) -> None:
    """Name the blob in the job's row (fenced: LeaseLost), then delete the one before it."""
    old = database.transact(partial(set_checkpoint, lease=lease, sha256=sha256), patience_seconds=patience_seconds)
    if old is not None and old != sha256:
        try:
            blobs.delete(old)
        except OSError as error:
            log.warning("%s: an old checkpoint is left to the sweep: %s", lease.job_id, error)


def load(database: Database, blobs: Blobs, job_id: str) -> bytes | None:
    """The newest checkpoint of the job, whichever attempt wrote it, or the job that it retries; None without one."""
    with database.read() as session:
        sha256 = session.scalar(select(JobRow.checkpoint_sha256).where(JobRow.id == job_id))
    return None if sha256 is None else blobs.read(sha256).partition(b"\n")[2]


def _mark(job_id: str) -> bytes:
    # Two jobs with the same seed and data make equal checkpoints; each must be free to delete its own.
    return job_id.encode() + b"\n"

"""What callers hear when files cannot be kept or read: a full disk, a storage that is away, a damaged blob."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request, Response
from sqlalchemy.exc import DBAPIError

from api import errors
from domain.errors import DomainError
from store.blobs import DISK_FULL, BlobDamaged, BlobMissing, BlobsUnavailable
from store.database import is_disk_full

log = logging.getLogger(__name__)
RETRY_SECONDS = 10


class StorageFull(DomainError):
    status, code, title = 507, "storage_full", "The service's storage is full"


class StorageUnavailable(DomainError):
    status, code, title = 503, "storage_unavailable", "The service's storage does not answer"


class StoredFileDamaged(DomainError):
    status, code, title = 500, "blob_damaged", "A stored file is damaged or gone"


def _explain(error: Exception) -> DomainError | None:
    """The problem that a storage error is; None for any other error."""
    match error:
        case BlobsUnavailable():
            return StorageUnavailable(
                "The storage of files does not answer. Nothing was kept; send the request again in a while.",
                retry_after=RETRY_SECONDS,
            )
        case BlobDamaged() | BlobMissing():
            return StoredFileDamaged(
                "A file that this request needs is damaged or gone on the service. Report it to its operator; uploading "
                "the same series again mends its file, and a model has to be trained anew."
            )
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        full = True
    else:
        full = isinstance(error, DBAPIError) and is_disk_full(error)
    if full:
        return StorageFull("The service's disk is full. Nothing was kept; its operator has to make room.")
    return None


async def _on_storage_error(request: Request, error: Exception) -> Response:
    known = _explain(error)
    if known is not None:
        log.error("request %s: %s: %s", errors.request_id_of(request), known.title, error)
        return errors.problem(known, errors.request_id_of(request))
    if isinstance(error, DBAPIError):
        return await errors.on_database_error(request, error)
    raise error


def install(app: FastAPI) -> None:
    """Let them leave as problem documents; comes after `errors.install`."""
    for kind in (OSError, BlobDamaged, DBAPIError):
        app.add_exception_handler(kind, _on_storage_error)

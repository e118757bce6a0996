"""What an exception in a job means for the job."""

from __future__ import annotations

import traceback
from typing import Any

from sqlalchemy.exc import DBAPIError

from domain.errors import DomainError
from domain.jobs import RETRYABLE, ErrorCode, JobError
from dynamics.reporting import Diverged
from store.blobs import DISK_FULL, BlobDamaged, BlobMissing, BlobsUnavailable
from store.database import is_transient

OUT_OF_MEMORY = "The job needs more memory than there is. Try a smaller model or a shorter series."


def failure(error: BaseException) -> dict[str, Any]:
    """`code` and `detail` of the job's error, whether the job is worth another attempt, and what belongs into the log."""
    match error:
        case DomainError():
            return _failure(ErrorCode.INVALID_DATA, error.detail)
        case Diverged():
            return _failure(ErrorCode.DIVERGED, str(error))
        case MemoryError():
            return _failure(ErrorCode.OUT_OF_MEMORY, OUT_OF_MEMORY)
        case OSError() if error.errno in DISK_FULL:
            detail = "The disk of the service is full: the result could not be kept. Its operator has to make room."
            return _failure(ErrorCode.INTERNAL, detail, try_again=True, log=str(error))
        case BlobsUnavailable():
            detail = (
                "The service's storage of files did not answer. Try again later; its operator finds why in the log."
            )
            return _failure(ErrorCode.INTERNAL, detail, try_again=True, log=str(error))
        case BlobDamaged() | BlobMissing():
            detail = (
                "A file that the job reads is damaged or gone on the service. Upload the series again, or train anew."
            )
            return _failure(ErrorCode.INTERNAL, detail, log=str(error)) | {"damaged_blob": True}
    # The message of an unexpected error may hold anything, such as the database's password: it stays in the log.
    detail = f"An unexpected {type(error).__name__}; the worker's log has its traceback under this job's id."
    log = "".join(traceback.format_exception(error))
    again = isinstance(error, DBAPIError) and is_transient(error)
    return _failure(ErrorCode.INTERNAL, detail, try_again=again, log=log)


def job_error(code: ErrorCode, detail: str) -> JobError:
    return JobError(code=code, detail=detail, retryable=code in RETRYABLE)


def _failure(code: ErrorCode, detail: str, *, try_again: bool = False, log: str | None = None) -> dict[str, Any]:
    return {"code": code, "detail": detail, "try_again": try_again, "log": log}

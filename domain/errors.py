"""The error tree: every mistake of a caller has a class, a code, a title and an HTTP status.

    DomainError
    ├── BadRequest 400            malformed request, cursor, header
    ├── Unauthenticated 401       └── InvalidKey
    ├── Forbidden 403             requests that other web pages send  ├── InsufficientScope  └── TenantDisabled
    ├── NotFound 404
    ├── Conflict 409              ├── NotReady  ├── InUse  ├── StateForbids
    ├── TooLarge 413
    ├── UnsupportedFormat 415
    ├── RateLimited 429
    ├── QuotaExceeded 429
    └── Unprocessable 422         ├── InvalidParameters  ├── UnknownChannel  ├── IdempotencyMismatch
        └── InvalidSeries         ├── SeriesTooShort  ├── NonFiniteValues  ├── MalformedFile
                                  ├── NonNumericValues  ├── DuplicateTimes  ├── UnorderedTimes  ├── IrregularSampling
                                  ├── ConstantSeries  ├── TooManyChannels

A scientific outcome (a run that diverged, a series that is noise) is no error but data.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from domain.base import Document
from domain.keys import Principal

MAX_ROWS = 20  # as many rows as an error or an issue names; it says how many there are in all


class ErrorItem(Document):
    """One place where the request is wrong."""

    pointer: str | None = Field(
        default=None, description="JSON pointer to the field, or /columns/NAME for a column of the upload."
    )
    rows: list[int] | None = Field(
        default=None, description="Rows of the upload, counted from 0 (the header is no row); at most 20."
    )
    recording: str | None = Field(
        default=None,
        description="Recording that the rows are counted in, where a collection came as several files or lists.",
    )
    detail: str | None = None


def column_pointer(name: str) -> str:
    """JSON pointer (RFC 6901) to a column of an upload."""
    return "/columns/" + name.replace("~", "~0").replace("/", "~1")


class DomainError(Exception):
    """A caller's mistake. `detail` says what is wrong and what to do; `errors` say where."""

    status: ClassVar[int] = 400
    code: ClassVar[str] = "bad_request"
    title: ClassVar[str] = "Bad request"

    def __init__(self, detail: str, errors: list[ErrorItem] | None = None, *, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors or []
        self.retry_after = retry_after


class BadRequest(DomainError):
    pass


class Forbidden(DomainError):
    status, code, title = 403, "forbidden", "Forbidden"


class Unauthenticated(DomainError):
    status, code, title = 401, "unauthenticated", "A key is required"


class InvalidKey(Unauthenticated):
    """`principal`: whose key it was, if it was one."""

    code, title = "invalid_key", "Invalid key"

    def __init__(self, detail: str, *, principal: Principal | None = None, why: str = "unknown") -> None:
        super().__init__(detail)
        self.principal = principal
        self.why = why


class InsufficientScope(Forbidden):
    code, title = "insufficient_scope", "The key does not allow this"

    def __init__(self, detail: str, scope: str) -> None:
        super().__init__(detail)
        self.scope = scope


class TenantDisabled(Forbidden):
    code, title = "tenant_disabled", "The tenant is disabled"


class RateLimited(DomainError):
    status, code, title = 429, "rate_limited", "Too many requests"


class NotFound(DomainError):
    status, code, title = 404, "not_found", "Not found"


class Conflict(DomainError):
    status, code, title = 409, "conflict", "Conflict"


class NotReady(Conflict):
    code, title = "not_ready", "The result is not ready"


class InUse(Conflict):
    code, title = "in_use", "The resource is in use"


class StateForbids(Conflict):
    code, title = "state_forbids", "The job's state forbids this"


class TooLarge(DomainError):
    status, code, title = 413, "too_large", "Too large"


class UnsupportedFormat(DomainError):
    status, code, title = 415, "unsupported_format", "Unsupported format"


class QuotaExceeded(DomainError):
    status, code, title = 429, "quota_exceeded", "Quota exceeded"


class Unprocessable(DomainError):
    status, code, title = 422, "unprocessable", "Unprocessable"


class InvalidParameters(Unprocessable):
    code, title = "invalid_parameters", "Invalid parameters"


class UnknownChannel(Unprocessable):
    code, title = "unknown_channel", "Unknown channel"


class IdempotencyMismatch(Unprocessable):
    code, title = "idempotency_mismatch", "Idempotency key reused with another request"


class InvalidSeries(Unprocessable):
    code, title = "invalid_series", "Invalid series"


class SeriesTooShort(InvalidSeries):
    code, title = "series_too_short", "Series too short"


class NonFiniteValues(InvalidSeries):
    code, title = "non_finite_values", "Missing or non-finite values"


class MalformedFile(InvalidSeries):
    code, title = "malformed_file", "The file cannot be read"


class NonNumericValues(InvalidSeries):
    code, title = "non_numeric_values", "Text where numbers are expected"


class DuplicateTimes(InvalidSeries):
    code, title = "duplicate_times", "Duplicate times"


class UnorderedTimes(InvalidSeries):
    code, title = "unordered_times", "Times are not increasing"


class IrregularSampling(InvalidSeries):
    code, title = "irregular_sampling", "Irregular sampling"


class ConstantSeries(InvalidSeries):
    code, title = "constant_series", "The series does not vary"


class TooManyChannels(InvalidSeries):
    code, title = "too_many_channels", "Too many channels"

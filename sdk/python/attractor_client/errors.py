"""Everything that can go wrong, as exceptions.

AttractorError
├── ConfigurationError          an address or key that cannot be used
├── DataError (ValueError)      data that cannot be turned into a series
├── ServiceUnreachable          no answer: not connected, or the connection broke
│   └── DeadlineExceeded        the time for the whole call, retries included, is up
├── JobFailed                   the job ended without a result: `code`, `detail`, `retryable`
│   └── JobCanceled
└── RequestRefused              the service said no: `status`, `code`, `detail`, `errors`, `request_id`
    ├── BadRequest 400          ├── AuthenticationFailed 401   ├── PermissionDenied 403
    ├── NotFound 404            ├── Conflict 409               ├── TooLarge 413
    ├── UnsupportedFormat 415   ├── InvalidRequest 422         │   └── InvalidSeries (the data themselves)
    ├── RateLimited 429         └── ServiceFailed 5xx
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


class AttractorError(Exception):
    """Base of all errors of this package."""


class ConfigurationError(AttractorError):
    """The client was set up with something that cannot work."""


class DataError(AttractorError, ValueError):
    """The data cannot be turned into a series: the message says why and what to do."""


class ServiceUnreachable(AttractorError):
    """There was no answer. `sent`: whether the service may have seen the request nevertheless."""

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class DeadlineExceeded(ServiceUnreachable):
    """The call's time is up, all its tries together."""


class JobFailed(AttractorError):
    """A job ended without a result."""

    def __init__(self, job_id: str, code: str, detail: str, *, retryable: bool = False) -> None:
        super().__init__(f"Job {job_id} {code}: {detail}")
        self.job_id = job_id
        self.code = code
        self.detail = detail
        self.retryable = retryable


class JobCanceled(JobFailed):
    """A job was canceled."""


@dataclass(frozen=True)
class ErrorItem:
    """One place where a request is wrong: a JSON pointer or /columns/NAME, and rows counted from 0, of a recording if named."""

    pointer: str | None = None
    detail: str | None = None
    rows: list[int] = field(default_factory=list)
    recording: str | None = None

    def __str__(self) -> str:
        where = f" of recording {self.recording!r}" if self.recording else ""
        rows = f" (rows {', '.join(map(str, self.rows))}{where})" if self.rows else where
        return f"{self.pointer or '-'}: {self.detail or ''}{rows}"


class RequestRefused(AttractorError):
    """The service answered with an error; `code` is stable, `request_id` is what a report should name."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        title: str = "",
        errors: Sequence[ErrorItem] = (),
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        where = "".join(f"\n  {item}" for item in errors if item.detail != detail or item.rows)
        report = f" [{request_id}]" if request_id else ""
        super().__init__(f"{title or code}: {detail}{report}{where}")
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.errors = list(errors)
        self.request_id = request_id
        self.retry_after = retry_after


class BadRequest(RequestRefused):
    """400: the request is malformed."""


class AuthenticationFailed(RequestRefused):
    """401: the key is missing or not known."""


class PermissionDenied(RequestRefused):
    """403: the key may not do this."""


class NotFound(RequestRefused):
    """404: there is no such thing, or it belongs to somebody else."""


class Conflict(RequestRefused):
    """409: the state of the resource forbids it."""


class TooLarge(RequestRefused):
    """413: more bytes, rows or values than the service accepts."""


class UnsupportedFormat(RequestRefused):
    """415: not a format that is read."""


class InvalidRequest(RequestRefused):
    """422: well-formed, but wrong: `errors` say where."""


class InvalidSeries(InvalidRequest):
    """422: the data cannot be used as they are; `errors` name columns and rows."""


class RateLimited(RequestRefused):
    """429: too many requests or jobs; `retry_after` seconds tell when to come back."""


class ServiceFailed(RequestRefused):
    """5xx: the service's fault."""


_BY_STATUS: dict[int, type[RequestRefused]] = {
    400: BadRequest,
    401: AuthenticationFailed,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    415: UnsupportedFormat,
    422: InvalidRequest,
    429: RateLimited,
}
SERIES_CODES = frozenset(
    {
        "invalid_series",
        "series_too_short",
        "non_finite_values",
        "malformed_file",
        "non_numeric_values",
        "duplicate_times",
        "unordered_times",
        "irregular_sampling",
        "constant_series",
        "too_many_channels",
    }
)


def refusal(status: int, problem: Mapping[str, Any], retry_after: float | None) -> RequestRefused:
    """The error that a problem document (RFC 9457) stands for."""
    code = str(problem.get("code") or f"http_{status}")
    kind = _BY_STATUS.get(status, ServiceFailed if status >= 500 else RequestRefused)
    if code in SERIES_CODES:
        kind = InvalidSeries
    items = [
        ErrorItem(item.get("pointer"), item.get("detail"), list(item.get("rows") or []), item.get("recording"))
        for item in problem.get("errors") or []
    ]
    return kind(
        status,
        code,
        str(problem.get("detail") or problem.get("title") or f"The service answered {status}."),
        title=str(problem.get("title") or ""),
        errors=items,
        request_id=problem.get("request_id"),
        retry_after=retry_after,
    )

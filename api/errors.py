"""Every error leaves as an RFC 9457 problem document: what is wrong, where, and which request it was."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import Field
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from api.validation import describe
from domain.base import Document
from domain.errors import (
    BadRequest,
    DomainError,
    ErrorItem,
    InsufficientScope,
    InvalidKey,
    NotFound,
    TooLarge,
    Unauthenticated,
    UnsupportedFormat,
)
from store.database import is_transient

MEDIA_TYPE = "application/problem+json"
log = logging.getLogger(__name__)


class Problem(Document):
    """An error as RFC 9457 has it, with a stable `code` and the places that are wrong."""

    type: str = Field(description="URI reference of the kind of problem; what it says is served there.")
    title: str
    status: int
    code: str = Field(description="Stable, for programs.")
    detail: str = Field(description="What is wrong with this request, and what to do.")
    errors: list[ErrorItem] = Field(default_factory=list, description="Where it is wrong.")
    request_id: str | None = Field(default=None, description="Name it when you report a problem.")


class MethodNotAllowed(DomainError):
    status, code, title = 405, "method_not_allowed", "Method not allowed"


class NotAcceptable(DomainError):
    status, code, title = 406, "not_acceptable", "Not acceptable"


class RangeNotSatisfiable(DomainError):
    status, code, title = 416, "range_not_satisfiable", "Range not satisfiable"


class Unavailable(DomainError):
    status, code, title = 503, "unavailable", "Temporarily unavailable"


class InternalError(DomainError):
    status, code, title = 500, "internal", "Internal error"


_BY_STATUS: dict[int, type[DomainError]] = {
    400: BadRequest,
    404: NotFound,
    405: MethodNotAllowed,
    406: NotAcceptable,
    413: TooLarge,
    415: UnsupportedFormat,
    416: RangeNotSatisfiable,
}
_DETAILS = {
    404: "There is nothing at this path.",
    405: "This path does not know this method; the Allow header names those it knows.",
    413: "The body is larger than the limit for this path; /v1/capabilities names the limits.",
    416: "The range lies outside the content; the Content-Range header names its size.",
}


@contextmanager
def pointing_to(pointer: str, kind: type[DomainError]) -> Iterator[None]:
    """Say where in the request the mistake lies that the store found."""
    try:
        yield
    except kind as error:
        error.errors = error.errors or [ErrorItem(pointer=pointer, detail=error.detail)]
        raise


def problem_types() -> dict[str, type[DomainError]]:
    """Every kind of problem by its name in URIs."""

    def below(cls: type[DomainError]) -> list[type[DomainError]]:
        return [cls, *(c for sub in cls.__subclasses__() for c in below(sub))]

    return {slug(cls.code): cls for cls in below(DomainError)[1:]}


def slug(code: str) -> str:
    return code.replace("_", "-")


class ProblemResponse(Response):
    """Leaves its code in the request's state, where `api.telemetry` finds it."""

    def __init__(self, body: str, status: int, headers: dict[str, str], code: str) -> None:
        super().__init__(body, status, headers, MEDIA_TYPE)
        self._code = code

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["problem"] = self._code
        await super().__call__(scope, receive, send)


def problem(error: DomainError, request_id: str | None, headers: dict[str, str] | None = None) -> Response:
    """The answer to a mistake."""
    body = Problem(
        type=f"/v1/problems/{slug(error.code)}",
        title=error.title,
        status=error.status,
        code=error.code,
        detail=error.detail,
        errors=error.errors,
        request_id=request_id,
    )
    headers = dict(headers or {})
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if (challenge := _challenge(error)) is not None:
        headers["WWW-Authenticate"] = challenge
    return ProblemResponse(body.model_dump_json(), error.status, headers, error.code)


def _challenge(error: DomainError) -> str | None:
    """What a program should send instead (RFC 6750, section 3)."""
    match error:
        case InvalidKey():
            return f'Bearer realm="attractor", error="invalid_token", error_description="{error.why} key"'
        case Unauthenticated():
            return 'Bearer realm="attractor"'
        case InsufficientScope():
            return f'Bearer realm="attractor", error="insufficient_scope", scope="{error.scope}"'
    return None


def from_status(status: int, detail: str | None = None) -> DomainError:
    """The error that a bare HTTP status of the framework stands for."""
    cls = _BY_STATUS.get(status, BadRequest if status < 500 else InternalError)
    return cls(_DETAILS.get(status) or detail or cls.title)


def request_id_of(request: Request) -> str | None:
    return getattr(request.state, "request_id", None)


async def _on_domain_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, DomainError)
    return problem(error, request_id_of(request))


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return problem(describe(error), request_id_of(request))


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers |= _allow(request)
    return problem(from_status(error.status_code, str(error.detail)), request_id_of(request), headers)


def _allow(request: Request) -> dict[str, str]:
    """Every method of the path; the router names only those of the first operation that it finds there."""
    for template, operations in request.app.openapi()["paths"].items():
        if re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), request.url.path):
            return {"Allow": ", ".join(sorted(operations)).upper()}
    return {}


async def on_database_error(request: Request, error: Exception) -> Response:
    """503 while the database is away or busy; anything else that it says is a bug."""
    assert isinstance(error, DBAPIError | PoolTimeout)
    if isinstance(error, DBAPIError) and not is_transient(error):
        raise error
    log.warning("request %s: database unavailable: %s", request_id_of(request), error)
    detail = "The database does not answer at the moment. Send the request again in a few seconds."
    return problem(Unavailable(detail, retry_after=2), request_id_of(request))


async def _on_bug(request: Request, error: Exception) -> Response:
    """The exception itself goes to the log (the server re-raises it), never to the caller."""
    request_id = request_id_of(request)
    log.error("request %s failed: %s %s", request_id, request.method, request.url.path)
    headers = {"X-Request-ID": request_id} if request_id else None
    detail = f"This is our fault, not yours. Please report it with the request id {request_id}."
    return problem(InternalError(detail), request_id, headers)


def install(app: FastAPI) -> None:
    """Let every error of `app` leave as a problem document."""
    app.add_exception_handler(DomainError, _on_domain_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(DBAPIError, on_database_error)
    app.add_exception_handler(PoolTimeout, on_database_error)
    app.add_exception_handler(Exception, _on_bug)


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses=` of an endpoint that may answer these errors."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }

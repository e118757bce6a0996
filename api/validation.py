"""Strict JSON bodies, and validation errors in plain words with JSON pointers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic_core import from_json

from domain.errors import BadRequest, DomainError, ErrorItem, InvalidParameters, UnsupportedFormat

_MAX_ERRORS = 20
_POSITION = re.compile(r"^(?P<what>.*) at line (?P<line>\d+) column (?P<column>\d+)$", re.DOTALL)


class MalformedJson(BadRequest):
    code, title = "malformed_json", "Malformed JSON"


class StrictRequest(Request):
    """Reads JSON as RFC 8259 has it: no NaN or Infinity, UTF-8 only, at most 200 levels deep."""

    async def json(self) -> Any:
        body = await self.body()
        try:
            return from_json(body, allow_inf_nan=False)
        except ValueError as error:
            # The one exception that the framework hands on untouched to the handler of validation errors.
            raise json.JSONDecodeError(str(error), "", 0) from error


class StrictRoute(APIRoute):
    """Route class of every router that takes JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handler(StrictRequest(request.scope, request.receive))

        return strict


def describe(error: RequestValidationError) -> DomainError:
    """The domain error that says the same in plain words."""
    errors = error.errors()
    if errors and errors[0]["type"] == "json_invalid":
        return _malformed(errors[0]["ctx"]["error"])
    if isinstance(error.body, bytes):
        return UnsupportedFormat("The body must be JSON: send it with Content-Type: application/json.")
    items = _merge([(_pointer(e, error.body), e) for e in errors])
    first = f"{items[0].pointer}: {items[0].detail}" if items[0].pointer else str(items[0].detail)
    more = f" ({len(items) - 1} more under errors)" if len(items) > 1 else ""
    return InvalidParameters(f"{first}.{more}", items[:_MAX_ERRORS])


def _malformed(message: str) -> DomainError:
    match = _POSITION.match(message)
    if match is None:
        return MalformedJson(f"The body is not JSON: {message}.")
    where = f"line {match['line']}, column {match['column']}"
    return MalformedJson(f"The body is not JSON: {match['what']} at {where}.", [ErrorItem(detail=where)])


def _pointer(error: dict[str, Any], body: Any) -> str:
    """JSON pointer into the body, or /query/NAME, /header/NAME, /path/NAME; the tags of unions are left out."""
    place, *rest = error["loc"]
    if place != "body":
        return "/".join(["", place, *map(str, rest)])
    tokens, value = [], body
    for i, token in enumerate(rest):
        if (isinstance(value, dict) and token in value) or (
            isinstance(value, list) and isinstance(token, int) and token < len(value)
        ):
            value = value[token]
        elif not (error["type"] == "missing" and i == len(rest) - 1):
            continue
        tokens.append(str(token).replace("~", "~0").replace("/", "~1"))
    if error["type"] in ("union_tag_not_found", "union_tag_invalid"):
        tokens.append(error["ctx"]["discriminator"].strip("'"))
    return "".join(f"/{t}" for t in tokens)


def _merge(errors: list[tuple[str, dict[str, Any]]]) -> list[ErrorItem]:
    """One item per place: what the members of a union say about the same value is joined by "or"."""
    places = {pointer for pointer, _ in errors}
    messages: dict[str, list[str]] = {}
    for pointer, error in errors:
        # "must be 'auto'" says nothing about an object in which something deeper is wrong.
        if error["type"] == "literal_error" and any(p.startswith(f"{pointer}/") for p in places):
            continue
        said = messages.setdefault(pointer, [])
        if (message := _message(error)) not in said:
            said.append(message)
    values = {pointer: _value(error) for pointer, error in errors}
    return [ErrorItem(pointer=p or None, detail=", or ".join(said) + values[p]) for p, said in messages.items()]


def _message(error: dict[str, Any]) -> str:
    match error["type"]:
        case "missing":
            return "a JSON body is required" if error["loc"] == ("body",) else "is required"
        case "extra_forbidden":
            return "is no known field"
        case "finite_number":
            return "must be a finite number"
        case "union_tag_not_found":
            return f"is required: one of {error['ctx'].get('expected_tags', 'the kinds in /v1/capabilities')}"
        case "union_tag_invalid":
            return f"must be one of {error['ctx']['expected_tags']}"
        case "value_error":
            return str(error["ctx"]["error"])
        case _:
            message = error["msg"].replace("Input should be", "must be", 1)
            return message[0].lower() + message[1:]


def _value(error: dict[str, Any]) -> str:
    """The offending value, where it is short and says something."""
    value = error.get("input")
    if error["type"] in ("missing", "extra_forbidden") or not isinstance(value, str | int | float | bool):
        return ""
    if isinstance(value, int) and abs(value) >= 10**30:
        return ", not so large a number"
    return f", not {json.dumps(value)[:40]}"

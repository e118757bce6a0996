"""The layer that lets requests in: before their body is read, and before anything of ours looks at them."""

from __future__ import annotations

import logging

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import errors
from api.auth.gate import Gate, TooManyRequests, Visit
from api.auth.rules import rule_for
from domain.errors import DomainError
from store.secrets import NoSecret

log = logging.getLogger(__name__)

POLICY = "tenant"


class Access:
    """Authenticates by `app.state.gate`; endpoints find who calls in `request.state.caller` (`api.dependencies`)."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        rule = rule_for(scope["method"], _path(scope)) if scope["type"] == "http" else None
        if rule is None or not rule.key:
            await self.app(scope, receive, send)
            return
        gate: Gate = scope["app"].state.gate
        request_id = scope["state"]["request_id"]
        try:
            visit = await gate.admit(scope, rule)
        except DomainError as error:
            headers = error.window.headers(POLICY) if isinstance(error, TooManyRequests) else None
            await errors.problem(error, request_id, headers)(scope, receive, send)
        except (DBAPIError, PoolTimeout) as error:
            answer = await errors.on_database_error(Request(scope), error)
            await answer(scope, receive, send)
        except NoSecret as error:
            log.error("no key can be checked: %s", error)
            detail = "The service cannot check keys at the moment. Its log says why."
            await errors.problem(errors.Unavailable(detail), request_id)(scope, receive, send)
        else:
            scope["state"]["caller"] = visit.caller
            await self.app(scope, receive, _noting(send, gate, visit))


def _noting(send: Send, gate: Gate, visit: Visit) -> Send:
    """`send` that says what is left of the limit, and tells the audit when another quota was met."""

    async def noting(message: Message) -> None:
        if message["type"] == "http.response.start":
            if visit.window is not None:
                MutableHeaders(scope=message).update(visit.window.headers(POLICY))
            if message["status"] == 429:
                gate.refused(visit.caller, "jobs")
        await send(message)

    return noting


def _path(scope: Scope) -> str:
    """The path as the router sees it."""
    return str(scope["path"]).removeprefix(str(scope.get("root_path", "")))

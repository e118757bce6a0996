"""What web pages from elsewhere must not do with a service that knows no keys: change its data, or read it."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import problem
from domain.errors import Forbidden

_READING = ("GET", "HEAD", "OPTIONS")


class OtherPages:
    """Refuses with 403 what a browser sends on behalf of a page that is not ours. Programs, which send neither `Origin`
    nor `Sec-Fetch-Site`, are not concerned.

    Two ways are closed. A page elsewhere may send a form to any address (cross-site request forgery): what is no mere
    reading must come from our own page or from an origin in `origins`. And it may let its own domain name point to our
    address (DNS rebinding), whereupon the browser takes us for that page: a domain name must be one of `hosts`.
    """

    def __init__(self, app: ASGIApp, *, hosts: Collection[str], origins: Collection[str]) -> None:
        self.app = app
        self._hosts = {host.lower() for host in hosts}
        self._origins = set(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        why = self._objection(scope["method"], Headers(scope=scope)) if scope["type"] == "http" else None
        if why is None:
            await self.app(scope, receive, send)
        else:
            await problem(Forbidden(why), scope["state"]["request_id"])(scope, receive, send)

    def _objection(self, method: str, headers: Headers) -> str | None:
        host, origin, site = (headers.get(name, "") for name in ("host", "origin", "sec-fetch-site"))
        if not self._is_ours(host):
            return f"This service is not known as {host[:100]!r}. Name it in ATTRACTOR_ALLOWED_HOSTS if it should be."
        if method in _READING or origin in self._origins or "*" in self._origins:
            return None
        if site == "same-origin" or (site in ("", "none") and origin in ("", f"http://{host}", f"https://{host}")):
            return None
        return f"A page of {origin[:100] or 'another site'} must not do this. Name its origin in ATTRACTOR_CORS_ORIGINS if it should be able to."

    def _is_ours(self, host: str) -> bool:
        """Whether a Host header is an address or a plain name (nobody can buy those), or a domain that was named."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
            if "." in name and name not in self._hosts:
                ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

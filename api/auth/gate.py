"""Who sends a request, and whether they may: keys are looked up once and remembered for a few seconds."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import Scope as HttpScope

from api.auth.counters import Counters, Window
from api.auth.rules import Rule
from api.settings import ApiSettings
from domain.errors import (
    BadRequest,
    DomainError,
    InsufficientScope,
    InvalidKey,
    RateLimited,
    TenantDisabled,
    Unauthenticated,
)
from domain.keys import Caller, Principal, contains_key, is_key
from store import audit, keys
from store.database import Database
from store.secrets import NoSecret, service_secret
from store.tenants import quota

log = logging.getLogger(__name__)

_MAX_REMEMBERED = 10_000
_HOW = "Send it as `Authorization: Bearer atr_...`."
_NOBODY = ""  # the tenant of events that belong to none


@dataclass(frozen=True)
class Entry:
    """What is remembered of a key, or of requests without one."""

    principal: Principal
    requests_per_minute: int | None
    until: float


@dataclass(frozen=True)
class Visit:
    """An admitted request; `window` where its tenant's requests are limited."""

    caller: Caller
    window: Window | None


class Gate:
    """One per process. `NoSecret` where keys cannot be read because the service's secret cannot."""

    def __init__(self, settings: ApiSettings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._counters = Counters(settings)
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._touched: dict[str, float] = {}
        self._keys_exist_until = 0.0
        self._keys_exist = False
        self._warned = False
        self._background: set[asyncio.Task[None]] = set()

    @cached_property
    def _secret(self) -> bytes:
        return service_secret(self._settings)

    async def close(self) -> None:
        await asyncio.gather(*self._background)
        await self._counters.close()

    async def admit(self, scope: HttpScope, rule: Rule) -> Visit:
        """Unauthenticated, InvalidKey, InsufficientScope, TenantDisabled, or RateLimited; else who it is."""
        address = _address(scope)
        entry = await self._entry(scope, address)
        caller = Caller(entry.principal, address, scope["state"]["request_id"], scope["state"].get("traceparent"))
        window = None
        if entry.requests_per_minute is not None:
            window = await self._counters.hit(f"tenant/{entry.principal.tenant}", entry.requests_per_minute)
        if window is not None and window.exceeded:
            self.refused(caller, "requests_per_minute")
            raise TooManyRequests(window)
        if rule.scope is not None and rule.scope not in entry.principal.scopes:
            raise InsufficientScope(f"The key {entry.principal.key_id} lacks the scope {rule.scope}.", rule.scope)
        return Visit(caller, window)

    async def is_trusted(self, scope: HttpScope) -> bool:
        """Whether a request may see how the service is built: it comes from this machine, or sends a valid key."""
        if not is_exposed(self._settings.host, scope):
            return True
        try:
            entry = await self._entry(scope, _address(scope))
        except (DomainError, SQLAlchemyError, NoSecret):
            return False
        return entry.principal.key_id is not None

    def forget(self, key_id: str) -> None:
        """Look the key up again when it is used next: it was revoked here."""
        for digest in [d for d, entry in self._entries.items() if entry.principal.key_id == key_id]:
            del self._entries[digest]

    def refused(self, caller: Caller, quota: str) -> None:
        """Note that a tenant has met a quota, once a minute."""
        if self._counters.hit_here(f"refused/{quota}/{caller.principal.tenant}", 1).count == 1:
            self._note(caller, "quota.refused", {"quota": quota})

    async def _entry(self, scope: HttpScope, address: str) -> Entry:
        given = Headers(scope=scope).getlist("authorization")
        if contains_key(f"{scope['path']}?{scope['query_string'].decode('latin-1')}"):
            raise BadRequest(
                f"A key must never be part of an address, where logs and histories keep it: revoke this one. {_HOW}"
            )
        if not given:
            return await self._without_key(scope)
        kind, _, text = given[0].strip().partition(" ")
        text = text.strip()
        if len(given) > 1 or kind.lower() != "bearer" or not text:
            raise Unauthenticated(f"The Authorization header does not hold one bearer key. {_HOW}")
        digest = keys.digest(self._secret, text)
        entry = self._entries.get(digest)
        if entry is None:
            # A key that was good before may always be looked up: others behind its address cannot lock it out.
            await self._check_failures(address)
        elif time.monotonic() < entry.until:
            return entry
        if not is_key(text):
            await self._failed(address, scope, None, "malformed")
            raise InvalidKey("This is no key: it was cut or mistyped, its checksum is wrong.", why="malformed")
        return await self._look_up(scope, address, digest)

    async def _look_up(self, scope: HttpScope, address: str, digest: str) -> Entry:
        def find(session: Session) -> Principal:
            return keys.authenticate(session, digest)

        try:
            entry = await run_in_threadpool(self._read, find)
        except InvalidKey as error:
            self._entries.pop(digest, None)
            await self._failed(address, scope, error.principal, error.why)
            raise
        except TenantDisabled:
            self._entries.pop(digest, None)
            raise
        self._remember(digest, entry)
        self._touch(entry.principal)
        return entry

    async def _without_key(self, scope: HttpScope) -> Entry:
        if await self._demands_key(scope):
            missing = (
                "" if await self._do_keys_exist() else " This service has none yet: `attractor keys create` makes one."
            )
            if missing and not self._warned:
                self._warned = True
                log.warning("a request was refused: others can reach this service, and it has no keys%s", missing)
            raise Unauthenticated(f"This request needs a key. {_HOW}{missing}")
        entry = self._entries.get("")
        if entry is None or time.monotonic() >= entry.until:
            entry = await run_in_threadpool(self._read, lambda session: Principal())
            self._remember("", entry)
        return entry

    def _read(self, find: Callable[[Session], Principal]) -> Entry:
        with self._database.read() as session:
            principal = find(session)
            limit = quota(session, self._settings, principal.tenant).requests_per_minute
        return Entry(principal, limit, time.monotonic() + self._settings.key_cache_seconds)

    def _remember(self, digest: str, entry: Entry) -> None:
        self._entries[digest] = entry
        self._entries.move_to_end(digest)
        while len(self._entries) > _MAX_REMEMBERED:
            self._entries.popitem(last=False)

    async def _demands_key(self, scope: HttpScope) -> bool:
        if self._settings.require_keys != "auto":
            return self._settings.require_keys == "yes"
        return is_exposed(self._settings.host, scope) or await self._do_keys_exist()

    async def _do_keys_exist(self) -> bool:
        """Once there is a key there always is one: they are revoked, not deleted."""
        if not self._keys_exist and time.monotonic() >= self._keys_exist_until:

            def exist() -> bool:
                with self._database.read() as session:
                    return keys.exist(session)

            self._keys_exist = await run_in_threadpool(exist)
            self._keys_exist_until = time.monotonic() + self._settings.key_cache_seconds
        return self._keys_exist

    async def _check_failures(self, address: str) -> None:
        seen = await self._counters.seen(f"failed/{address}", self._settings.failed_keys_per_minute)
        if seen.count >= seen.limit:
            detail = f"Too many invalid keys came from this address: try again in {seen.reset_seconds} s."
            raise RateLimited(detail, retry_after=seen.reset_seconds)

    async def _failed(self, address: str, scope: HttpScope, principal: Principal | None, why: str) -> None:
        """Count a failure, and note the first of each kind in a minute and the one that meets the limit."""
        count = (await self._counters.hit(f"failed/{address}", self._settings.failed_keys_per_minute)).count
        of_kind = self._counters.hit_here(f"failed/{address}/{why}", 1).count
        if of_kind == 1 or count == self._settings.failed_keys_per_minute:
            caller = Caller(principal or Principal(_NOBODY), address, scope["state"]["request_id"])
            self._note(caller, "key.refused", {"why": why, "failures_this_minute": count})

    def _touch(self, principal: Principal) -> None:
        key_id = principal.key_id
        if (
            key_id is not None
            and time.monotonic() - self._touched.get(key_id, -keys.TOUCH_SECONDS) >= keys.TOUCH_SECONDS
        ):
            self._touched[key_id] = time.monotonic()
            self._write(lambda session: keys.touch(session, key_id))

    def _note(self, caller: Caller, action: str, detail: dict[str, object]) -> None:
        self._write(lambda session: audit.record(session, caller, action, outcome=audit.REFUSED, detail=detail))

    def _write(self, work: Callable[[Session], None]) -> None:
        """Beside the request, which neither waits for this nor fails with it."""

        def write() -> None:
            try:
                with self._database.write() as session:
                    work(session)
            except SQLAlchemyError as error:
                log.warning("a note about keys could not be written: %s", type(error).__name__)

        task = asyncio.create_task(run_in_threadpool(write))
        self._background.add(task)
        task.add_done_callback(self._background.discard)


class TooManyRequests(RateLimited):
    """The tenant's own limit; `window` says when the next request may come."""

    def __init__(self, window: Window) -> None:
        super().__init__(
            f"More than {window.limit} requests came within this minute: the next one may come in {window.reset_seconds} s.",
            retry_after=window.reset_seconds,
        )
        self.window = window


def is_exposed(host: str, scope: HttpScope) -> bool:
    """Whether others than this machine may have sent the request: by the address that the service was told to listen on, by
    the one of this connection, which a server that was started in another way knows better, and by the sender's, which a
    proxy on this machine names."""
    ends = [str((scope.get(end) or ("", None))[0]) for end in ("server", "client")]
    return not _is_loopback(host) or any(_is_address(end) and not _is_loopback(end) for end in ends)


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host.split("%")[0]).is_loopback)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.split("%")[0])
    except ValueError:
        return False
    return True


def _address(scope: HttpScope) -> str:
    """Where a request comes from; of IPv6 the network, since whoever has one address there has 2^64 of them."""
    host = str((scope.get("client") or ("",))[0])
    if _is_address(host) and ":" in host:
        return str(ipaddress.ip_network((host.split("%")[0], 64), strict=False))
    return host[:64]

"""The thread that sends webhooks: takes due messages from the outbox, several at once, and writes down what came of them.

Nobody waits for anybody else: a webhook has at most `deliveries.PER_WEBHOOK` requests under way and a tenant at most
`deliveries.PER_TENANT`, whatever the number of senders, so that a receiver that never answers holds up itself alone. A
sender has at most `AT_ONCE`. Requests go out between transactions, not in them.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TypeVar

import httpx
from sqlalchemy.exc import DBAPIError

from store import deliveries
from store.database import Database
from store.deliveries import Attempt, Claimed, Due, Recorded
from store.metrics import WEBHOOK_ATTEMPTS, WEBHOOK_SECONDS
from store.secrets import NoSecret, service_secret
from store.settings import StoreSettings
from worker.sending import PublicNetwork, Resolver, send, system_resolver

log = logging.getLogger(__name__)
T = TypeVar("T")

AT_ONCE = 32
POLL_SECONDS = 0.5
RETRY_SECONDS = 5.0  # after an error of our own
FORGET_SECONDS = 3600.0
GRACE_SECONDS = 2.0  # for requests that are under way when the worker shuts down
RECORD_PATIENCE_SECONDS = 30.0


class Sender(threading.Thread):
    """Runs in a worker; any number of workers may send at the same time."""

    def __init__(self, settings: StoreSettings, database: Database, *, resolve: Resolver | None = None) -> None:
        super().__init__(name="webhooks", daemon=True)
        self._settings = settings
        self._database = database
        self._resolve = resolve
        self._stopped = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        """Take no further messages; those under way have a moment to end. What is cut off is sent again later."""
        self._stopped = True
        if self._loop is not None and self._wake is not None:
            with suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._wake.set)
        if self.is_alive():
            self.join(timeout=GRACE_SECONDS + 1.0)

    def run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        names = ThreadPoolExecutor(16, thread_name_prefix="webhook-names")
        rows = ThreadPoolExecutor(2, thread_name_prefix="webhook-rows")
        self._in_rows = partial(self._loop.run_in_executor, rows)
        resolve = self._resolve or system_resolver(names)
        self._network = PublicNetwork(
            resolve, allowed=self._settings.webhook_allow_private, ports=self._settings.webhook_ports
        )
        self._tls = httpx.create_ssl_context()
        try:
            await self._rounds(self._wake)
            if self._under_way:
                await asyncio.wait(self._under_way, timeout=GRACE_SECONDS)
            for task in self._under_way:
                task.cancel()
        finally:
            names.shutdown(wait=False, cancel_futures=True)
            rows.shutdown(wait=False)

    async def _rounds(self, wake: asyncio.Event) -> None:
        forgotten = -FORGET_SECONDS
        while not self._stopped:
            pause = POLL_SECONDS
            try:
                if time.monotonic() - forgotten > FORGET_SECONDS:
                    await self._transact(partial(deliveries.forget, settings=self._settings))
                    forgotten = time.monotonic()
                await self._take()
            except DBAPIError as error:
                log.warning("no webhooks, the database is away: %s", type(error.orig).__name__)
                pause = RETRY_SECONDS
            except NoSecret as error:
                log.error("webhooks cannot be signed: %s", error)
                pause = RETRY_SECONDS
            except Exception:  # a thread that ended here would never send a message again
                log.exception("webhooks: a round failed")
                pause = RETRY_SECONDS
            try:
                await asyncio.wait_for(wake.wait(), pause)
            except TimeoutError:
                continue
            wake.clear()

    async def _take(self) -> None:
        """Claim what is due and may be sent now, and begin to send it."""
        while len(self._under_way) < AT_ONCE and not self._stopped:
            wanted = await self._in_rows(self._due)
            if not wanted:
                return
            secret = service_secret(self._settings)
            for found in wanted:
                claimed = await self._transact(partial(deliveries.claim, service_secret=secret, delivery_id=found.id))
                if claimed is not None:
                    task = asyncio.create_task(self._deliver(claimed))
                    self._under_way.add(task)
                    task.add_done_callback(self._ended)

    def _due(self) -> list[Due]:
        with self._database.read() as session:
            return deliveries.due(session)[: AT_ONCE - len(self._under_way)]

    async def _transact(self, work: Callable[..., T], patience_seconds: float = 0.0) -> T:
        return await self._in_rows(partial(self._database.transact, work, patience_seconds=patience_seconds))

    async def _deliver(self, claimed: Claimed) -> None:
        attempt = await send(claimed, self._settings, self._network, self._tls)
        WEBHOOK_ATTEMPTS.labels(attempt.outcome).inc()
        write = partial(deliveries.record, settings=self._settings, sent=claimed, attempt=attempt)
        try:
            recorded = await self._transact(write, RECORD_PATIENCE_SECONDS)
        except DBAPIError as error:
            log.warning("webhook delivery %s is not recorded and will be repeated: %s", claimed.id, error.orig)
            return
        _tell(claimed, attempt, recorded)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("webhooks: sending failed", exc_info=task.exception())
        if self._wake is not None:
            self._wake.set()


def _tell(claimed: Claimed, attempt: Attempt, recorded: Recorded | None) -> None:
    if recorded is None:
        log.warning("webhook delivery %s: the claim had run out, or the webhook is gone", claimed.id)
    elif attempt.outcome == "delivered":
        WEBHOOK_SECONDS.observe(max(0.0, recorded.age_seconds or 0.0))
        log.info("webhook delivery %s: delivered", claimed.id)
    else:
        log.info("webhook delivery %s, attempt %d: %s", claimed.id, claimed.attempt, attempt.error)
        if recorded.disabled_because:
            log.warning("webhook %s is disabled: %s", claimed.webhook_id, recorded.disabled_because)

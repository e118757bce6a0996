"""Counting requests, and invalid keys, per minute: in Redis where it is the broker, so that all API processes count together;
else in memory."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any, Literal

from limits.aio.storage import RedisStorage
from limits.aio.storage.redis.redispy import RedispyBridge
from limits.storage import MemoryStorage
from redis.exceptions import RedisError

from store.settings import StoreSettings

log = logging.getLogger(__name__)

WINDOW_SECONDS = 60
_PATIENCE_SECONDS = 0.25
_PAUSE_SECONDS = 5.0


@dataclass(frozen=True)
class Window:
    """What is left of a limit in this minute."""

    limit: int
    count: int
    reset_seconds: int

    @property
    def exceeded(self) -> bool:
        return self.count > self.limit

    def headers(self, name: str) -> dict[str, str]:
        """As draft-ietf-httpapi-ratelimit-headers-11 has it: structured fields (RFC 9651)."""
        left = max(0, self.limit - self.count)
        return {
            "RateLimit-Policy": f'"{name}";q={self.limit};w={WINDOW_SECONDS}',
            "RateLimit": f'"{name}";r={left};t={self.reset_seconds}',
        }


class Counters:
    """Fixed windows of a minute, one increment each: at its border twice the limit may pass, never more.

    While Redis is away every process counts for itself, and says so in the log: requests go on.
    """

    def __init__(self, settings: StoreSettings) -> None:
        self._memory = MemoryStorage()
        self._redis: RedisStorage | None = None
        self._away_until = 0.0
        if settings.broker_url.startswith(("redis://", "rediss://")):
            self._redis = RedisStorage(
                f"async+{settings.broker_url}",
                implementation="redispy",
                key_prefix="attractor",
                socket_timeout=_PATIENCE_SECONDS,
                socket_connect_timeout=_PATIENCE_SECONDS,
            )

    async def hit(self, name: str, limit: int) -> Window:
        """Count one more under `name`, shared by all processes."""
        key, reset = _window(name)
        return Window(limit, await self._ask("incr", key, WINDOW_SECONDS), reset)

    async def seen(self, name: str, limit: int) -> Window:
        """What `hit` has counted."""
        key, reset = _window(name)
        return Window(limit, await self._ask("get", key), reset)

    def hit_here(self, name: str, limit: int) -> Window:
        """Count one more under `name`, in this process alone."""
        key, reset = _window(name)
        return Window(limit, self._memory.incr(key, WINDOW_SECONDS), reset)

    async def close(self) -> None:
        if self._redis is not None:
            bridge = self._redis.bridge
            assert isinstance(bridge, RedispyBridge)
            client: Any = bridge.get_connection()
            await client.aclose()

    async def _ask(self, what: Literal["incr", "get"], *arguments: Any) -> int:
        if self._redis is not None and time.monotonic() >= self._away_until:
            try:
                return int(await getattr(self._redis, what)(*arguments))
            except (RedisError, OSError) as error:
                self._away_until = time.monotonic() + _PAUSE_SECONDS
                log.warning("Redis is away, each process counts requests by itself: %s", type(error).__name__)
        return int(getattr(self._memory, what)(*arguments))


def _window(name: str) -> tuple[str, int]:
    """The counter of this minute, and the seconds until the next."""
    minute, second = divmod(int(time.time()), WINDOW_SECONDS)
    return f"{name}/{minute}", WINDOW_SECONDS - second

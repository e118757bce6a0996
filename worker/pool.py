"""Celery's pool of threads, each of which waits for a job in a process of its own to end."""

from __future__ import annotations

import os
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from celery.concurrency.thread import ApplyResult, TaskPool


class SlotPool(TaskPool):
    """Celery fetches the next message when its loop turns, which it does once a second where nothing else happens. This
    pool turns the loop when a thread becomes free."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._free, self._freed = os.pipe()
        os.set_blocking(self._free, False)
        os.set_blocking(self._freed, False)

    def register_with_event_loop(self, hub: Any) -> None:
        hub.add_reader(self._free, os.read, self._free, 4096)

    def on_apply(self, *args: Any, **kwargs: Any) -> ApplyResult:
        result = super().on_apply(*args, **kwargs)
        result.f.add_done_callback(self._turn)
        return result

    def _turn(self, _: Future[Any]) -> None:
        with suppress(BlockingIOError):  # full of such news
            os.write(self._freed, b"!")

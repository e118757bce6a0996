"""Waiting for the compiler: kernels of a new size take seconds on first use, in which nobody should have to wait for an answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from domain.jobs import Progress
from dynamics.reporting import Reporter


def compile_reporting(work: Callable[[], object], reporter: Reporter, fraction: float = 0.0) -> float:
    """Run `work` in a thread of its own while progress is reported and a stop is noticed; seconds it took."""
    failure: list[BaseException] = []

    def target() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  (raised again below, in the caller's thread)
            failure.append(error)

    began = time.perf_counter()
    thread = threading.Thread(target=target, daemon=True, name="compile")
    thread.start()
    reported = -1.0
    while thread.is_alive():
        reporter.check()
        if time.perf_counter() - reported > 0.5:
            reported = time.perf_counter()
            reporter.report(Progress(fraction=fraction, phase="compiling"))
        thread.join(0.1)
    if failure:
        raise failure[0]
    return time.perf_counter() - began

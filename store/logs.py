"""Log lines of every process: JSON for machines, text for a terminal, each with what it belongs to.

`bound(job_id=..., attempt=...)` names what the work inside it is done for; every line logged there, by whatever
library, carries these fields. They follow coroutines and the thread pool of the API; a thread started by hand begins
without them unless it is run in a copy of the context (`contextvars.copy_context().run`).
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

LogFormat = Literal["auto", "text", "json"]
_context: ContextVar[dict[str, Any]] = ContextVar("log_context", default={})  # noqa: B039 - never changed, only replaced


@contextmanager
def bound(**fields: Any) -> Iterator[None]:
    """Every line logged inside carries `fields`; those that are None are left out."""
    token = _context.set({**_context.get(), **{name: value for name, value in fields.items() if value is not None}})
    try:
        yield
    finally:
        _context.reset(token)


def context() -> dict[str, Any]:
    """What lines logged here would carry, to be handed to another process."""
    return dict(_context.get())


def resolved(log_format: LogFormat, stream: TextIO) -> Literal["text", "json"]:
    """`auto` is text on a terminal and JSON everywhere else."""
    if log_format == "auto":
        return "text" if stream.isatty() else "json"
    return log_format


def configure(log_format: LogFormat, level: str, *, stream: TextIO | None = None) -> None:
    """Let the root logger, and Python's warnings, write lines of `log_format` to `stream` (stderr)."""
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines() if resolved(log_format, stream) == "json" else TextLines())
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    logging.captureWarnings(True)
    # Its line per request names the address, which may hold the secret of whoever is called.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # Every look at the schema's revision, such as that of each readiness probe, would be two lines.
    logging.getLogger("alembic.runtime.migration").setLevel(logging.WARNING)
    # A warning's location is the library's business, its text is the operator's.
    warnings.formatwarning = lambda message, category, *_, **__: f"{category.__name__}: {message}"


def json_voices(write: Callable[[str], None]) -> tuple[Callable[[str], None], Callable[[str, str], None]]:
    """Two ways to write JSON lines: for a launcher's own words, and for (name, line) of a child of its, whose JSON is passed
    on as it is and whose other words, such as a traceback before its logs are set up, are put into JSON."""
    lines = JsonLines()

    def say(text: str, logger: str = "cli.serve") -> None:
        write(lines.format(logging.LogRecord(logger, logging.INFO, "", 0, text, None, None)))

    def relay(name: str, line: str) -> None:
        if line.startswith("{"):
            write(line)
        else:
            say(line, name)

    return say, relay


class JsonLines(JsonFormatter):
    """One JSON object per line: time (UTC), level, logger, message, the bound fields, and those given as `extra`."""

    def __init__(self) -> None:
        names = {"levelname": "level", "name": "logger", "exc_info": "exception"}
        super().__init__("{levelname}{name}{message}", style="{", rename_fields=names)

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        log_data["time"] = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        super().add_fields(log_data, record, message_dict)
        for name, value in _context.get().items():
            log_data.setdefault(name, value)


class TextLines(logging.Formatter):
    """A line for the eye; the fields stand behind the message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        given = {k: v for k, v in record.__dict__.items() if k not in RESERVED_ATTRS and k not in _TRANSIENT}
        fields = " ".join(f"{name}={value}" for name, value in (given | _context.get()).items())
        return super().formatMessage(record) + (f"  [{fields}]" if fields else "")


_TRANSIENT = {"message", "asctime", "color_message"}

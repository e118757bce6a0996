"""Log lines say what they belong to."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator

import pytest
from sqlalchemy.exc import IntegrityError

from store import logs
from store.database import Database
from store.tables import TenantRow


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _root_logger_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, form = root.handlers[:], root.level, warnings.formatwarning
    yield
    logging.captureWarnings(False)
    warnings.formatwarning = form
    root.handlers[:] = handlers
    root.setLevel(level)


def test_json_lines_carry_what_is_bound_and_what_is_given() -> None:
    stream = io.StringIO()
    logs.configure("auto", "INFO", stream=stream)
    log = logging.getLogger("worker.runner")
    with logs.bound(job_id="job_1", attempt=2, tenant=None):
        with logs.bound(trace_id="abc"):
            log.info("claimed %s", "it", extra={"seconds": 1.5})
        log.debug("unheard")
        try:
            raise ValueError("line one\nline two")
        except ValueError:
            log.exception("failed")
    log.info("after")
    first, second, third = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first.pop("time").endswith("+00:00")
    assert first == {
        "level": "INFO",
        "logger": "worker.runner",
        "message": "claimed it",
        "seconds": 1.5,
        "job_id": "job_1",
        "attempt": 2,
        "trace_id": "abc",
    }
    assert "line two" in second["exception"]
    assert "trace_id" not in second
    assert "job_id" not in third


def test_text_on_a_terminal() -> None:
    stream = Terminal()
    logs.configure("auto", "INFO", stream=stream)
    with logs.bound(job_id="job_1"):
        logging.getLogger("worker.runner").warning("lost", extra={"fate": "requeued"})
    assert stream.getvalue().endswith("WARNING worker.runner: lost  [fate=requeued job_id=job_1]\n")


def test_errors_of_the_database_leave_the_parameters_out(database: Database) -> None:
    stream = io.StringIO()
    logs.configure("json", "INFO", stream=stream)
    for _ in range(2):
        try:
            with database.write() as session:
                session.add(TenantRow(name="a name that is nobody's business"))
        except IntegrityError:
            logging.getLogger("store").exception("not written")
    (line,) = stream.getvalue().splitlines()
    assert "IntegrityError" in line
    assert "INSERT INTO tenant" in line
    assert "[parameters:" not in line


def test_warnings_are_lines_like_all_others() -> None:
    stream = io.StringIO()
    logs.configure("json", "INFO", stream=stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old\nthing", DeprecationWarning, stacklevel=1)
    (line,) = stream.getvalue().splitlines()
    assert "old\nthing" in json.loads(line)["message"]


def test_a_launcher_passes_json_on_and_puts_the_rest_into_it() -> None:
    written: list[str] = []
    say, relay = logs.json_voices(written.append)
    say("attractor is ready")
    relay("api", '{"message": "mine"}')
    relay("worker", "Traceback: 100 % wrong")
    ready, passed, wrapped = (json.loads(line) for line in written)
    assert (ready["logger"], ready["message"], ready["level"]) == ("cli.serve", "attractor is ready", "INFO")
    assert passed == {"message": "mine"}
    assert (wrapped["logger"], wrapped["message"]) == ("worker", "Traceback: 100 % wrong")

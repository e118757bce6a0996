"""What a terminal is told of a job."""

import io
from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from attractor_client import Event
from cli.demo.report import between
from cli.progress import show
from domain.jobs import Progress


def lines(*events: tuple[str, dict[str, Any]]) -> list[str]:
    written = io.StringIO()
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    show(Console(file=written, width=120), [Event(n, kind, data, moment) for n, (kind, data) in enumerate(events)])
    return [line.split(" s ", 1)[1].strip() for line in written.getvalue().splitlines()]


def progress(**given: Any) -> tuple[str, dict[str, Any]]:
    return "progress", Progress(**given).model_dump(mode="json")


def test_a_line_for_each_phase_with_its_figures_and_what_others_say():
    told = lines(
        progress(fraction=0.25, phase="training", metrics={"loss": 0.12345}, eta_s=12.4),
        progress(fraction=0.26, phase="training"),
        ("message", {"text": "The lease was lost."}),
        progress(fraction=0.9, phase="evaluating"),
        ("status", {"status": "succeeded"}),
    )
    assert told == ["25%  training  loss 0.123, about 12 s left", "The lease was lost.", "90%  evaluating"]


def test_who_waits_for_the_compiler_learns_that_it_is_for_once():
    (told,) = lines(progress(fraction=0.36, phase="compiling"))
    assert told == "36%  compiling  once for each kind of model, for up to a minute"


def test_the_ends_of_an_interval_can_be_told_apart():
    ends = [(0.887, 0.924), (2.0618, 2.0631), (-14.5392, -14.5021), (2.0, 2.0)]
    assert [between(ci) for ci in ends] == ["0.887 … 0.924", "2.062 … 2.063", "-14.54 … -14.5", "2 … 2"]

"""Progress on a terminal, off it, and in a notebook."""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from attractor_client import Event
from attractor_client._progress import reporter

WHEN = datetime(2026, 1, 1, tzinfo=UTC)
STORY = [
    Event(1, "status", {"status": "queued"}, WHEN),
    Event(2, "status", {"status": "running"}, WHEN),
    Event(3, "progress", {"fraction": 0.5, "phase": "training", "metrics": {"loss": 0.0125}, "eta_s": 8.2}, WHEN),
    Event(4, "message", {"level": "info", "text": "Kernels are compiled."}, WHEN),
    Event(5, "progress", {"fraction": 0.9, "phase": "evaluating", "metrics": {}, "eta_s": None}, WHEN),
    Event(6, "status", {"status": "succeeded"}, WHEN),
]


class Screen(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def told(monkeypatch: pytest.MonkeyPatch, terminal: bool, events: list[Event]) -> str:
    screen = Screen(terminal)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "100")
    report = reporter(True)
    for event in events:
        report(event)
    return screen.getvalue()


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = told(monkeypatch, True, STORY).split("\r")
    assert lines[3].rstrip() == f"training       {'█' * 15}{'░' * 15}  50%  loss 0.0125, about 8 s left"
    assert lines[-1].startswith(f"succeeded      {'█' * 30} 100%")
    assert lines[-1].endswith("\n")
    assert {len(line.rstrip("\n")) for line in lines[1:]} == {99}


def test_lines_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, False, STORY).splitlines() == [
        "  0%  queued",
        " 50%  training  loss 0.0125, about 8 s left",
        " 90%  evaluating",
        "100%  succeeded",
    ]


def test_a_job_that_fails_stays_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = [*STORY[:3], Event(4, "status", {"status": "failed"}, WHEN)]
    assert told(monkeypatch, False, failed).splitlines()[-1] == " 50%  failed  loss 0.0125, about 8 s left"


def test_a_bar_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    def display(thing: Any, display_id: bool) -> Any:
        shown.append(thing._repr_html_())
        return SimpleNamespace(update=lambda thing: shown.append(thing._repr_html_()))

    notebook, drawing = ModuleType("IPython"), ModuleType("IPython.display")
    notebook.get_ipython = lambda: SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    drawing.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    monkeypatch.setitem(sys.modules, "IPython.display", drawing)
    assert told(monkeypatch, True, STORY) == ""
    assert len(shown) == 1 + len(STORY)
    assert '<progress value="0.500" max="1"' in shown[3]
    assert "training  loss 0.0125" in shown[3]
    assert "succeeded" in shown[-1]


def test_nothing_and_a_function_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    reporter(False)(STORY[0])
    seen: list[Event] = []
    for event in STORY:
        reporter(seen.append)(event)
    assert seen == STORY

"""How far a job has come: a bar on a terminal, a bar in a notebook, a line now and then elsewhere. No library needed."""

from __future__ import annotations

import html
import shutil
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from attractor_client._documents import build
from attractor_client.results import Event, Progress

_WIDTH = 30
_PLAIN_SECONDS = 5.0


def reporter(progress: bool | Callable[[Event], None]) -> Callable[[Event], None]:
    """What is told of every event: the caller's function, a bar, or nothing."""
    if callable(progress):
        return progress
    if not progress:
        return lambda event: None
    return _Notebook() if _in_notebook() else _Terminal(sys.stderr) if sys.stderr.isatty() else _Lines(sys.stderr)


def _in_notebook() -> bool:
    """Whether an IPython kernel is running this: IPython is asked only where it is loaded already."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


def details(progress: Progress) -> str:
    """Figures and the time left, in words."""
    parts = [f"{name.replace('_', ' ')} {value:.3g}" for name, value in progress.metrics.items()]
    if progress.eta_s is not None:
        parts.append(f"about {progress.eta_s:.0f} s left")
    return ", ".join(parts)


class _Reporter:
    """Keeps the last known progress; draws when something changes."""

    def __init__(self) -> None:
        self.progress = Progress()
        self.status = "queued"

    def __call__(self, event: Event) -> None:
        if event.type == "progress":
            self.progress = build(Progress, event.data)
        elif event.type == "status":
            self.status = str(event.data.get("status", self.status))
        self.draw(event)

    def draw(self, event: Event) -> None:
        raise NotImplementedError

    @property
    def fraction(self) -> float:
        return 1.0 if self.status == "succeeded" else self.progress.fraction

    @property
    def text(self) -> str:
        running = self.status in ("running", "queued")
        return self.progress.phase if running else self.status


class _Terminal(_Reporter):
    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream

    def draw(self, event: Event) -> None:
        full = round(_WIDTH * self.fraction)
        bar = "█" * full + "░" * (_WIDTH - full)
        line = f"{self.text:<14} {bar} {self.fraction:4.0%}  {details(self.progress)}"
        width = shutil.get_terminal_size().columns - 1
        self._stream.write("\r" + line[:width].ljust(width) + ("\n" if event.ends_the_job else ""))
        self._stream.flush()


class _Lines(_Reporter):
    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream, self._said, self._last = stream, -_PLAIN_SECONDS, ""

    def draw(self, event: Event) -> None:
        now = time.monotonic()
        if self.text != self._last or now - self._said >= _PLAIN_SECONDS:
            self._said, self._last = now, self.text
            self._stream.write(f"{self.fraction:4.0%}  {self.text}  {details(self.progress)}".rstrip() + "\n")
            self._stream.flush()


class _Notebook(_Reporter):
    def __init__(self) -> None:
        super().__init__()
        from IPython.display import display

        self._handle: Any = display(self, display_id=True)

    def _repr_html_(self) -> str:
        words = html.escape(f"{self.text}  {details(self.progress)}")
        return (
            f'<progress value="{self.fraction:.3f}" max="1" style="width:20em"></progress> {self.fraction:.0%} {words}'
        )

    def draw(self, event: Event) -> None:
        self._handle.update(self)

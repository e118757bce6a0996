"""A job's progress on the terminal: a live bar, or plain lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from attractor_client import Event

PLAIN_SECONDS = 5.0
COMPILING = "once for each kind of model, for up to a minute"


def show(console: Console, events: Iterable[Event]) -> None:
    """Follow the events to the last one."""
    if console.is_terminal:
        _bar(console, events)
    else:
        _lines(console, events)


def _bar(console: Console, events: Iterable[Event]) -> None:
    columns = (
        TextColumn("  {task.description:<26}"),
        BarColumn(bar_width=32),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[details]}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("queued", total=1.0, details="")
        for event in events:
            data = event.data
            if event.type == "progress":
                bar.update(task, completed=data["fraction"], description=data["phase"], details=details(data))
            elif event.type == "message":
                bar.console.print(f"  {data['text']}", highlight=False)
            elif data.get("status") == "succeeded":
                bar.update(task, completed=1.0, description="done", details="")


def _lines(console: Console, events: Iterable[Event]) -> None:
    started, phase, said = time.monotonic(), None, 0.0
    for event in events:
        data, seconds = event.data, time.monotonic() - started
        if event.type == "progress" and (data["phase"] != phase or seconds - said > PLAIN_SECONDS):
            phase, said = data["phase"], seconds
            console.print(f"  {seconds:5.1f} s  {data['fraction']:4.0%}  {phase}  {details(data)}", highlight=False)
        elif event.type == "message":
            console.print(f"  {seconds:5.1f} s  {data['text']}", highlight=False)


def details(progress: dict[str, Any]) -> str:
    parts = [f"{name.replace('_', ' ')} {value:.3g}" for name, value in progress["metrics"].items()]
    if progress["phase"] == "compiling":
        parts.append(COMPILING)
    if progress["eta_s"] is not None:
        parts.append(f"about {progress['eta_s']:.0f} s left")
    return ", ".join(parts)

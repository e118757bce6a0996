"""What `faults.py` looks for, counts, and keeps line by line, so that a run that was stopped goes on where it was."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from domain.jobs import JobStatus
from store.tables import JobRow


@dataclass
class Found:
    """What came of schedules."""

    schedules: int = 0
    jobs: int = 0
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)  # delivered again, by the state of their job
    hit: Counter[str] = field(default_factory=Counter)  # states of the jobs at the moments of the faults
    ends: Counter[str] = field(default_factory=Counter)
    attempts: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    doubled: int = 0
    stuck: int = 0
    damaged: int = 0
    untruthful: int = 0
    overdue: list[float] = field(default_factory=list)
    overdue_alone: list[float] = field(default_factory=list)
    idle: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __add__(self, other: Found) -> Found:
        return Found(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


class Watch:
    """Looks at jobs that have not ended, again and again. The clock of what ought to happen runs while somebody is there to
    do it: a sweep needs a worker that has started and is neither dead nor frozen, a start needs one with a free place."""

    def __init__(self) -> None:
        self.overdue = 0.0  # the longest that a lease has been over while a worker was there to sweep
        self.overdue_alone = 0.0  # the longest that one has been over, workers or not
        self.idle = 0.0  # the longest that a job has waited while a worker had a place for it
        self._overdue: Counter[str] = Counter()
        self._idle: Counter[str] = Counter()
        self._looked = time.monotonic()

    def look(self, waiting: list[JobRow], free_places: int, workers: int) -> None:
        moment = time.monotonic()
        passed, self._looked = moment - self._looked, moment
        for job in waiting:
            over = 0.0 if job.lease_until is None else (datetime.now(UTC) - job.lease_until).total_seconds()
            self.overdue_alone = max(self.overdue_alone, over)
            if over <= 0:
                del self._overdue[job.id]
            elif workers:
                self._overdue[job.id] += min(passed, over)  # type: ignore[assignment]
            if job.status == JobStatus.QUEUED and free_places > 0:
                self._idle[job.id] += passed  # type: ignore[assignment]
            else:
                del self._idle[job.id]
            self.overdue = max(self.overdue, self._overdue[job.id])
            self.idle = max(self.idle, self._idle[job.id])


class Parts:
    """The file of what has been found, one schedule a line."""

    def __init__(self, file: Path | None, kind: str, seed: int) -> None:
        self._file, self._which = file, {"deployment": kind, "seed": seed}

    def done(self) -> dict[int, Found]:
        """By the numbers of the schedules."""
        lines = [] if self._file is None or not self._file.exists() else self._file.read_text().splitlines()
        parts = [json.loads(line) for line in lines if line.endswith("}")]  # the last may have been cut
        mine = [part for part in parts if self._which.items() <= part.items()]
        return {part["schedule"]: _found(part["found"]) for part in mine}

    def add(self, number: int, found: Found) -> None:
        if self._file is not None:
            with self._file.open("a") as stream:
                stream.write(json.dumps({**self._which, "schedule": number, "found": vars(found)}) + "\n")


def _found(fields: dict[str, Any]) -> Found:
    values: dict[str, Any] = {name: Counter(v) if isinstance(v, dict) else v for name, v in fields.items()}
    return Found(**values)


def report(kind: str, parts: Iterable[Found]) -> dict[str, Any]:
    found = sum(parts, Found())

    def spread(values: list[float]) -> dict[str, float]:
        return {
            "median": round(float(np.median(values)), 1),
            "p90": round(float(np.quantile(values, 0.9)), 1),
            "maximum": round(max(values), 1),
        }

    return {
        "deployment": kind,
        "schedules": found.schedules,
        "jobs": found.jobs,
        "faults": dict(found.faults.most_common()),
        "messages_again_by_state": dict(found.messages.most_common()),
        "states_at_faults": dict(found.hit.most_common()),
        "ends": dict(found.ends.most_common()),
        "attempts": dict(sorted(found.attempts.items())),
        "lost": found.lost,
        "doubled": found.doubled,
        "stuck": found.stuck,
        "damaged": found.damaged,
        "untruthful": found.untruthful,
        "lease_overdue_while_a_worker_lived_s": spread(found.overdue),
        "lease_overdue_s": spread(found.overdue_alone),
        "waited_for_a_free_worker_s": spread(found.idle),
        "seconds": round(found.seconds),
        "problems": found.problems,
    }

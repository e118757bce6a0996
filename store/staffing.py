"""Whether there are workers for the jobs that wait, and whether those that are heard of take any.

The second is the canary: a worker can be alive in every respect, write that it is, and yet take nothing, because the
thread that should is stuck. Then a job that is due waits although a place is free.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from store import statistics
from store.settings import StoreSettings
from store.statistics import Worker


@dataclass(frozen=True)
class Staffing:
    """What was found; `unserved` and `stuck` say by queue what is wrong with it."""

    alive: list[Worker]
    unserved: dict[str, str]
    stuck: dict[str, str]

    def places(self, queue: str) -> tuple[int, int]:
        """How many jobs of a queue the workers can run at a time, and how many places of these are free."""
        mine = [worker for worker in self.alive if queue in worker.queues]
        return sum(w.processes for w in mine), sum(max(0, w.processes - w.running) for w in mine)


def staffing(session: Session, settings: StoreSettings) -> Staffing:
    """The workers that have been heard of lately, against the jobs that wait."""
    alive = [w for w in statistics.workers(session) if w.seen_s <= settings.worker_silence_seconds]
    found = Staffing(alive, {}, {})
    queued: dict[str, int] = {}
    for part in statistics.waiting(session):
        queued[part.queue] = queued.get(part.queue, 0) + part.jobs
    for queue, jobs in queued.items():
        places, free = found.places(queue)
        waits = f"{jobs} {'job waits' if jobs == 1 else 'jobs wait'} in the queue {queue}"
        if not places:
            found.unserved[queue] = f"{waits}, and no worker that serves it has been heard of for " + (
                f"{settings.worker_silence_seconds:g} s: start one with ATTRACTOR_QUEUES={queue}"
            )
        elif free:
            due = statistics.claimable(session, settings, queue)
            if due is not None and due > settings.canary_seconds:
                found.stuck[queue] = (
                    f"{waits}, the one that is due for {due:.0f} s, although {free} of {places} places are free: a worker "
                    "is heard of but takes nothing; see its log, then restart it"
                )
    return found

"""Workers that have lately been heard of: each writes its own row, and every sweep forgets those that fell silent."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from store.clock import now
from store.metrics import Snapshot
from store.settings import StoreSettings
from store.tables import WorkerRow

SILENT_SWEEPS = 3.0  # a worker that has missed so many sweeps is gone, unless the machine is only slow


def is_here(session: Session, name: str, *, queues: list[str], processes: int, metrics: Snapshot) -> None:
    """At the start of a worker and at each of its sweeps: it lives, and this is what it has counted."""
    values: dict[str, Any] = {"queues": queues, "processes": processes, "metrics": metrics, "seen_at": now()}
    known = session.execute(update(WorkerRow).where(WorkerRow.name == name).values(**values)).rowcount  # type: ignore[attr-defined]
    if not known:
        session.add(WorkerRow(name=name, release=version("attractor"), **values))
        session.flush()


def has_claimed(session: Session, name: str) -> None:
    """In the transaction of a claim."""
    session.execute(update(WorkerRow).where(WorkerRow.name == name).values(claimed_at=now()))


def is_gone(session: Session, name: str) -> None:
    """At the orderly end of a worker."""
    session.execute(delete(WorkerRow).where(WorkerRow.name == name))


def forget_silent(session: Session, settings: StoreSettings) -> None:
    """Workers that have missed several sweeps, and have lost whatever they ran."""
    seconds = max(SILENT_SWEEPS * settings.sweep_seconds, settings.lease_seconds)
    session.execute(delete(WorkerRow).where(WorkerRow.seen_at < now(-seconds)))


def listening(session: Session) -> set[str]:
    """The queues that some worker takes jobs of."""
    return {queue for queues in session.scalars(select(WorkerRow.queues)) for queue in queues}

"""What `/metrics` shows: what this process has counted, what workers have, and what the database knows at this moment."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.pool import QueuePool

from api.health.canary import Canary
from domain.jobs import JobKind, JobQueue, JobStatus
from store import metrics, statistics
from store.database import Database

log = logging.getLogger(__name__)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Scrapes of several Prometheus servers, and of whoever looks by hand, cost the database no more than one.
FRESH_SECONDS = 5.0
COUNT_SECONDS = 60.0  # an index with an entry for every job there ever was
T = TypeVar("T")


class Exposition(Collector):
    """Everything, in the order in which it is shown. A database that is away costs only what it would have known."""

    def __init__(self, database: Database, canary: Canary) -> None:
        self._database = database
        self._process = ProcessCollector(registry=CollectorRegistry())
        self._state = Cached(FRESH_SECONDS, lambda: list(_State(database, canary).families()))
        self._counts = Cached(COUNT_SECONDS, lambda: _read(database, statistics.by_status))

    def text(self) -> bytes:
        """The exposition format of Prometheus, version 0.0.4."""
        return generate_latest(self)

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("attractor_build", "The release.", {"version": version("attractor")})
        yield from self._process.collect()
        yield from (family for family in metrics.API.collect() if family.samples)
        pool = self._database.engine.pool
        if isinstance(pool, QueuePool):
            yield _gauge("attractor_database_connections_in_use", "Connections of this process.", pool.checkedout())
        free = shutil.disk_usage(self._database.settings.data_dir).free
        yield _gauge("attractor_data_free_bytes", "Free space where blobs are kept, as this process sees it.", free)
        try:
            known = [*self._state(), _by_status(self._counts())]
        except SQLAlchemyError as error:
            log.warning("no metrics of the database: %s", type(error).__name__)
            known = []
        yield _gauge("attractor_database_up", "Whether the database answers.", bool(known))
        yield from known


class Cached:
    """What `make` answers, at most `seconds` old."""

    def __init__(self, seconds: float, make: Callable[[], T]) -> None:
        self._seconds = seconds
        self._make: Callable[[], Any] = make
        self._lock = threading.Lock()
        self._made: tuple[float, Any] | None = None

    def __call__(self) -> Any:
        with self._lock:
            if self._made is None or time.monotonic() - self._made[0] > self._seconds:
                self._made = (time.monotonic(), self._make())
            return self._made[1]


class _State:
    """What jobs, workers and webhooks are doing."""

    def __init__(self, database: Database, canary: Canary) -> None:
        self._database = database
        self._canary = canary

    def families(self) -> Iterator[Metric]:
        with self._database.read() as session:
            yield from _queues(session)
            yield from _held(session)
            yield from _webhooks(session)
            yield _gauge("attractor_database_bytes", "Size of the database.", statistics.database_bytes(session))
            # What workers count can happen here, too: a damaged blob.
            yield from metrics.merged(statistics.snapshots(session) | {"api": metrics.snapshot()})
            known = statistics.workers(session)
        yield from _workers(known)
        yield from self._staffing()

    def _staffing(self) -> Iterator[Metric]:
        found = self._canary.look()
        alive = GaugeMetricFamily("attractor_workers", "Workers lately heard of.", labels=["queue"])
        places = GaugeMetricFamily("attractor_worker_places", "Jobs that they can run at a time.", labels=["queue"])
        free = GaugeMetricFamily("attractor_worker_places_free", "Places without a job.", labels=["queue"])
        stuck = GaugeMetricFamily(
            "attractor_queue_stuck", "1: jobs are due, places are free, and nobody takes them.", labels=["queue"]
        )
        unserved = GaugeMetricFamily(
            "attractor_queue_unserved", "1: jobs wait, and no worker is there.", labels=["queue"]
        )
        for queue in JobQueue:
            alive.add_metric([queue], sum(queue in worker.queues for worker in found.alive))
            for family, number in zip((places, free), found.places(queue), strict=True):
                family.add_metric([queue], number)
            stuck.add_metric([queue], queue in found.stuck)
            unserved.add_metric([queue], queue in found.unserved)
        yield from (alive, places, free, stuck, unserved)


def _read(database: Database, ask: Callable[[Session], T]) -> T:
    with database.read() as session:
        return ask(session)


def _queues(session: Session) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("attractor_queue_jobs", "Queued jobs.", labels=["queue", "kind"])
    oldest = GaugeMetricFamily(
        "attractor_queue_oldest_seconds", "How long the oldest queued job has been waiting.", labels=["queue", "kind"]
    )
    found = {(part.queue, part.kind): part for part in statistics.waiting(session)}
    for queue in JobQueue:
        for kind in JobKind:
            part = found.get((queue, kind))
            jobs.add_metric([queue, kind], part.jobs if part else 0)
            oldest.add_metric([queue, kind], part.oldest_s if part else 0.0)
    yield from (jobs, oldest)


def _held(session: Session) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("attractor_held_jobs", "Jobs that workers hold.", labels=["queue", "kind", "status"])
    parts = statistics.held(session)
    for part in parts:
        jobs.add_metric([part.queue, part.kind, part.status], part.jobs)
    yield jobs
    expired = sum(part.expired for part in parts)
    yield _gauge("attractor_expired_leases", "Leases that have run out and no sweep has taken back yet.", expired)


def _webhooks(session: Session) -> Iterator[Metric]:
    found = statistics.webhooks(session)
    yield _gauge("attractor_webhook_messages_due", "Messages to be sent, now or later.", found.due)
    yield _gauge("attractor_webhook_lag_seconds", "How late the oldest message is.", found.late_s)
    broken = GaugeMetricFamily("attractor_webhooks_broken", "Webhooks that do not work.", labels=["state"])
    broken.add_metric(["failing"], found.failing)
    broken.add_metric(["disabled"], found.disabled)
    yield broken


def _workers(known: list[statistics.Worker]) -> Iterator[Metric]:
    seen = GaugeMetricFamily("attractor_worker_seen_seconds", "How long ago a worker was heard of.", labels=["worker"])
    info = InfoMetricFamily("attractor_worker", "The release and the queues of a worker.", labels=["worker"])
    for worker in known:
        seen.add_metric([worker.name], worker.seen_s)
        info.add_metric([worker.name], {"release": worker.release, "queues": ",".join(worker.queues)})
    yield from (seen, info)


def _by_status(counts: dict[str, int]) -> Metric:
    family = GaugeMetricFamily("attractor_jobs", "Jobs that are kept, by status.", labels=["status"])
    for status in JobStatus:
        family.add_metric([status], counts.get(status, 0))
    return family


def _gauge(name: str, description: str, value: float) -> Metric:
    return GaugeMetricFamily(name, description, value=float(value))

"""What happens often reads few rows however many jobs have ended: no statement of it walks through the whole table."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

from domain.errors import DomainError
from domain.ids import new_id
from domain.jobs import JobKind, JobStatus, Progress
from domain.specs import LyapunovJob, TrainJob
from store import jobs, leases, results, series
from store.expiry import expire
from store.pages import encode
from store.sweep import sweep
from store.tables import AnalysisRow, ModelRow

# What may be walked through: indexes of the few jobs that wait, run or keep a checkpoint.
FEW = ("ix_job_lease", "ix_job_dispatch", "ix_job_waiting", "ix_job_checkpoint")


@contextmanager
def statements(session: Session) -> Iterator[list[tuple[str, Any]]]:
    seen: list[tuple[str, Any]] = []

    def note(connection, cursor, statement, parameters, context, many) -> None:  # type: ignore[no-untyped-def]
        seen.append((statement, parameters))

    event.listen(session.get_bind(), "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(session.get_bind(), "before_cursor_execute", note)


def whole_tables(session: Session, statement: str, parameters: Any) -> list[str]:
    """What of the plan walks through all jobs."""
    connection = session.connection()
    if connection.dialect.name == "sqlite":
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
        return [step for step in plan if step.startswith("SCAN job") and not any(index in step for index in FEW)]
    # A small table is always read whole: with that forbidden, whoever still does it has no index to use.
    connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
    rows = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).scalar_one()
    return list(_walks(rows if isinstance(rows, list) else json.loads(rows)))


def _walks(plan: Any) -> Iterator[str]:
    for node in plan.values() if isinstance(plan, dict) else plan:
        if isinstance(node, dict | list):
            yield from _walks(node)
    if not isinstance(plan, dict) or plan.get("Relation Name") not in ("job", None):
        return
    walks_index = plan.get("Node Type", "").startswith(("Index", "Bitmap Index")) and "Index Cond" not in plan
    index = plan.get("Index Name", "")
    if plan.get("Node Type") == "Seq Scan" or (walks_index and index.startswith("ix_job") and index not in FEW):
        yield f"{plan['Node Type']} {index}"


def _try(work: Callable[[], Any]) -> None:
    try:
        work()
    except DomainError:
        return


@pytest.fixture
def job_id(world) -> str:  # type: ignore[no-untyped-def]
    source = world.series().id
    job_id = world.submit(source)
    lease = world.claim(job_id)
    with world.database.write() as session:
        leases.report(session, lease, Progress(fraction=0.5))
    world.submit(source)
    world.many_have_ended(job_id)
    return job_id


WORK: dict[str, Callable[[Session, Any, str], Any]] = {
    "get": lambda s, w, id: jobs.get(s, id),
    "events": lambda s, w, id: jobs.events(s, id),
    "list": lambda s, w, id: jobs.list_page(s),
    "list, a later page": lambda s, w, id: jobs.list_page(s, cursor=encode(id)),
    "list by status": lambda s, w, id: jobs.list_page(s, status=JobStatus.FAILED),
    "list by kind": lambda s, w, id: jobs.list_page(s, kind=JobKind.TRAIN),
    "submit": lambda s, w, id: jobs.submit(
        s, w.settings.model_copy(update={"max_queued_jobs": 9}), _again(s, id), idempotency_key="a"
    ),
    "submit with an input series": lambda s, w, id: jobs.submit(
        s,
        w.settings,
        TrainJob(kind="train", series_id=_series_of(s, id), input_series=[{"series_id": _series_of(s, id)}]),
    ),
    "claim": lambda s, w, id: leases.claim_next(
        s,
        w.settings.model_copy(update={"max_running_jobs": 9}),
        worker="w",
        queues=["cpu", "gpu"],
        lease_seconds=60,
    ),
    "cancel": lambda s, w, id: jobs.cancel(s, id),
    "pause": lambda s, w, id: jobs.pause(s, id),
    "resume": lambda s, w, id: _try(lambda: jobs.resume(s, w.settings, id)),
    "delete": lambda s, w, id: _try(lambda: jobs.delete_ended(s, id)),
    "sweep": lambda s, w, id: sweep(s, w.settings),
    "expire": lambda s, w, id: expire(
        s,
        w.settings.model_copy(update={"job_retention_days": 1, "result_retention_days": 1, "series_retention_days": 1}),
    ),
    "delete a series": lambda s, w, id: _try(lambda: series.delete(s, jobs.get(s, id).series_id)),
    "delete a model": lambda s, w, id: _delete(s, ModelRow(id=new_id("model"), document={})),
    "delete an analysis": lambda s, w, id: _delete(
        s, AnalysisRow(id=new_id("analysis"), channels=[], channels_hash="0" * 64, document={})
    ),
}


def _series_of(session: Session, job_id: str) -> str:
    return str(jobs.get(session, job_id).series_id)


def _again(session: Session, job_id: str) -> LyapunovJob:
    return LyapunovJob.model_validate(jobs.get(session, job_id).request)


def _delete(session: Session, row: ModelRow | AnalysisRow) -> None:
    session.add(row)
    session.flush()
    results.delete(session, type(row), row.id)


@pytest.mark.parametrize("name", WORK)
def test_nothing_walks_through_all_jobs(world, job_id: str, name: str) -> None:
    with world.database.write() as session:
        with statements(session) as seen:
            WORK[name](session, world, job_id)
        asked = [(sql, given) for sql, given in seen if re.search(r"\bjob(_event)?\b", sql) and "INSERT" not in sql]
        assert asked
        for sql, given in asked:
            assert whole_tables(session, sql, given) == [], sql


def test_the_check_sees_what_it_looks_for(world, job_id: str) -> None:
    with world.database.write() as session:
        assert whole_tables(session, "SELECT id FROM job WHERE attempt = 3", ())
        assert not whole_tables(session, "SELECT id FROM job WHERE id = 'x'", ())

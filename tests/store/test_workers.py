"""Rows of workers: written by themselves, forgotten when they fall silent, asked for what they take."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update

from domain.specs import TrainJob, TrainSpec
from store import jobs, leases, workers
from store.clock import now
from store.tables import WorkerRow


@pytest.fixture
def here(world):
    """Have a worker say that it is here."""

    def say(name: str, *queues: str) -> None:
        with world.database.write() as session:
            workers.is_here(session, name, queues=list(queues) or ["cpu"], processes=2, metrics=[])

    return say


def rows(world) -> dict[str, WorkerRow]:
    with world.database.read() as session:
        return {row.name: row for row in session.scalars(select(WorkerRow))}


def silent_for(world, name: str, seconds: float) -> None:
    with world.database.write() as session:
        session.execute(update(WorkerRow).where(WorkerRow.name == name).values(seen_at=now(-seconds)))


def test_a_worker_comes_claims_and_goes(world, here):
    here("a", "cpu", "gpu")
    first = rows(world)["a"]
    assert (first.queues, first.processes, first.claimed_at) == (["cpu", "gpu"], 2, None)
    with world.database.write() as session:
        workers.has_claimed(session, "a")
    silent_for(world, "a", 100)
    here("a", "cpu")
    second = rows(world)["a"]
    assert second.started_at == first.started_at
    assert second.seen_at >= first.seen_at
    assert second.claimed_at is not None
    assert second.queues == ["cpu"]
    with world.database.write() as session:
        workers.is_gone(session, "a")
    assert rows(world) == {}


def test_a_silent_worker_is_forgotten_not_one_that_is_only_slow(world, here):
    for name, seconds in (("dead", 61), ("slow", 59), ("well", 0)):
        here(name)
        silent_for(world, name, seconds)
    with world.database.write() as session:
        workers.forget_silent(session, world.settings)
    assert set(rows(world)) == {"slow", "well"}
    here("dead")
    assert set(rows(world)) == {"dead", "slow", "well"}, "it was not dead, and says so again"


def submit_to_gpu(world) -> str:
    request = TrainJob(kind="train", series_id=world.series().id, params=TrainSpec(device="cuda"))
    with world.database.write() as session:
        return jobs.submit(session, world.settings, request).job.id


def test_a_job_for_a_gpu_says_so_when_there_is_none(world, here):
    here("a", "cpu")
    events = world.events(submit_to_gpu(world))
    assert [(seq, kind) for seq, kind, _ in events] == [(1, "status"), (2, "message")]
    assert "No worker with a GPU" in events[1][2]["text"]
    here("b", "gpu")
    assert len(world.events(submit_to_gpu(world))) == 1
    assert len(world.events(world.submit())) == 1


def test_a_job_for_a_gpu_goes_to_workers_that_listen_for_such(world):
    job_id = submit_to_gpu(world)

    def take(*queues: str) -> str | None:
        with world.database.write() as session:
            claimed = leases.claim_next(session, world.settings, worker="w", queues=queues, lease_seconds=60)
        return claimed[0].id if claimed else None

    assert take("cpu") is None
    assert take("cpu", "gpu") == job_id

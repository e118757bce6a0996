"""Which job a worker gets: by priority, then tenants in turn, then age; never beyond a tenant's quota."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select

from domain.ids import new_id
from domain.jobs import ErrorCode, JobError, JobStatus
from domain.specs import JobLimits, LyapunovJob, ReconstructJob, ReconstructSpec, TrainJob, TrainSpec
from store import jobs, leases
from store.tables import JobRow, TenantRow


def submit(world, *, tenant: str = "default", request=None, **fields) -> str:  # type: ignore[no-untyped-def]
    request = request or LyapunovJob(kind="lyapunov", series_id=world.series(tenant=tenant).id, **fields)
    with world.database.write() as session:
        return jobs.submit(session, world.settings, request, tenant=tenant).job.id


def claim(world, *queues: str, **settings: int) -> leases.Lease | None:
    chosen = world.settings.model_copy(update=settings)
    with world.database.write() as session:
        claimed = leases.claim_next(session, chosen, worker="w", queues=queues or ("cpu",), lease_seconds=60)
    return None if claimed is None else claimed[1]


def order(world, *queues: str, **settings: int) -> list[str]:
    """The jobs in the order in which they are claimed, none ended meanwhile."""
    return [lease.job_id for lease in iter(lambda: claim(world, *queues, **settings), None)]


def test_nothing_waits(world) -> None:
    assert claim(world) is None
    job_id = submit(world)
    assert order(world) == [job_id]
    job = world.job(job_id)
    assert (job.status, job.attempt, job.worker, job.dispatch_after) == ("running", 1, "w", None)


def test_the_higher_priority_first_then_the_older(world) -> None:
    priorities = [0, 3, -10, 3, 10, 0]
    ids = [submit(world, priority=priority) for priority in priorities]
    assert order(world) == [ids[i] for i in (4, 1, 3, 0, 5, 2)]


def test_tenants_take_turns(world) -> None:
    many = [submit(world, tenant="many") for _ in range(4)]
    few = [submit(world, tenant="few") for _ in range(2)]
    claimed = order(world)
    assert {claimed[0], claimed[1]} == {many[0], few[0]}
    assert {claimed[2], claimed[3]} == {many[1], few[1]}
    assert claimed[4:] == many[2:]


def test_no_tenant_waits_for_all_jobs_of_the_one_before(world) -> None:
    """One worker, which ends every job before it takes the next: then nobody runs anything when lots are drawn."""
    for _ in range(40):
        submit(world, tenant="first")
    theirs = [submit(world, tenant="second") for _ in range(3)]
    random.seed(20261123)
    served = []
    for _ in range(20):
        lease = claim(world)
        assert lease is not None
        served.append(lease.job_id)
        with world.database.write() as session:
            leases.fail(session, lease, JobError(code=ErrorCode.DIVERGED, detail="", retryable=False))
    assert [job_id for job_id in served if job_id in theirs] == theirs


def test_a_priority_goes_before_a_turn(world) -> None:
    first, urgent = (submit(world, tenant="many", priority=priority) for priority in (0, 5))
    other = submit(world, tenant="few", priority=4)
    assert order(world) == [urgent, other, first]


def test_a_tenant_at_its_quota_is_passed_over_until_a_job_ends(world, make_analysis) -> None:
    many = [submit(world, tenant="many", priority=10) for _ in range(3)]
    few = [submit(world, tenant="few") for _ in range(2)]
    with world.database.write() as session:
        session.add(TenantRow(name="many", max_running_jobs=1))
    first = claim(world)
    assert first is not None
    assert first.job_id == many[0]
    assert order(world) == few
    with world.database.write() as session:
        jobs.cancel(session, many[0], tenant="many")
    assert claim(world) is None, "it is still there"
    with world.database.write() as session:
        leases.acknowledge_cancel(session, first)
    assert order(world) == [many[1]]


def test_the_settings_are_the_quota_of_who_has_none(world) -> None:
    mine = [submit(world) for _ in range(3)]
    theirs = [submit(world, tenant="free") for _ in range(3)]
    with world.database.write() as session:
        session.add(TenantRow(name="free", max_running_jobs=0))
    claimed = order(world, max_running_jobs=2)
    assert [job_id for job_id in claimed if job_id in mine] == mine[:2]
    assert [job_id for job_id in claimed if job_id in theirs] == theirs
    assert claimed[4] == theirs[2]


def test_every_queue_has_its_workers(world) -> None:
    series = world.series().id
    on_gpu = TrainSpec(device="cuda")
    gpu = [
        submit(world, request=TrainJob(kind="train", series_id=series, params=on_gpu)),
        submit(
            world, request=ReconstructJob(kind="reconstruct", series_id=series, params=ReconstructSpec(train=on_gpu))
        ),
    ]
    cpu = submit(world, request=TrainJob(kind="train", series_id=series))
    assert [world.job(job_id).queue for job_id in (*gpu, cpu)] == ["gpu", "gpu", "cpu"]
    assert order(world, "gpu") == gpu
    assert order(world, "gpu", "cpu") == [cpu]


def test_what_a_job_asks_for_is_beside_it(world) -> None:
    series = world.series().id
    request = LyapunovJob(kind="lyapunov", series_id=series, priority=7, limits=JobLimits(timeout_s=60, memory_mb=512))
    context = {"key_id": new_id("key"), "request_id": "req_1", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    with world.database.write() as session:
        job = jobs.submit(session, world.settings, request, **context).job
    assert (job.rank, job.memory_mb, job.timeout_s) == (-7, 512, 60)
    assert {name: getattr(job, name) for name in context} == context


@pytest.mark.parametrize("limit", [0, 3])
def test_many_workers_at_once(world, limit: int) -> None:
    """Every job is claimed once; a tenant at its quota never runs more, however many workers ask in the same moment."""
    names = ("a", "b", "c")
    sources = {name: world.series(tenant=name).id for name in names}
    ids = [
        submit(world, tenant=name, request=LyapunovJob(kind="lyapunov", series_id=sources[name]))
        for _ in range(8)
        for name in names
    ]
    start = threading.Barrier(8)

    def work(_: int) -> list[str]:
        mine: list[str] = []
        start.wait(20)
        misses = 0
        while misses < 3:
            lease = claim(world, max_running_jobs=limit)
            misses = misses + 1 if lease is None else 0
            mine += [] if lease is None else [lease.job_id]
        return mine

    with ThreadPoolExecutor(8) as pool:
        claimed = [job_id for mine in pool.map(work, range(8)) for job_id in mine]
    assert len(claimed) == len(set(claimed))
    with world.database.read() as session:
        running = session.execute(
            select(JobRow.tenant, func.count()).where(JobRow.status == JobStatus.RUNNING).group_by(JobRow.tenant)
        ).all()
    assert dict(map(tuple, running)) == dict.fromkeys(names, limit or 8)
    assert set(claimed) <= set(ids)

"""Jobs in processes of their own, and science that misbehaves in them: the worker survives, and the job ends truthfully."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import misbehaving
import pytest
from serving import eventually, is_running
from worker_bench import Bench

from domain.jobs import ErrorCode, JobStatus
from store import jobs
from store.blobs import Blobs
from store.database import Database
from store.settings import StoreSettings
from store.tables import JobRow
from worker.processes import Template
from worker.settings import WorkerSettings


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, _migrated_sqlite: Path) -> Iterator[Bench]:
    settings = StoreSettings(data_dir=tmp_path_factory.mktemp("processes"))
    shutil.copy(_migrated_sqlite, settings.data_dir / "attractor.db")
    database = Database(settings)
    made = Bench(settings, database, Blobs(settings.blobs_dir))
    made.settings.stop_grace_seconds = 0.5
    yield made
    database.close()


@pytest.fixture(scope="module")
def template(bench: Bench) -> Iterator[Template]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{misbehaving.HERE}{os.pathsep}{misbehaving.HERE.parent}")
        started = Template(bench.settings, "misbehaving:HANDLERS")
        started.start()
        yield started
        started.stop()


@pytest.fixture
def attempt(bench: Bench, template: Template) -> Callable[..., JobRow]:
    """Submit a job of this science and run one attempt of it."""

    def submit_and_run(science: str, **limits: int) -> JobRow:
        job_id = bench.submit(science=science, **limits)
        bench.runner(template).run(job_id)
        return bench.job(job_id)

    return submit_and_run


@pytest.fixture(autouse=True)
def _nothing_waits(bench: Bench) -> Iterator[None]:
    yield
    with bench.database.write() as session:
        for job in jobs.list_page(session, status=JobStatus.QUEUED).items:
            jobs.cancel(session, job.id)


def document(bench: Bench, job: JobRow) -> dict:
    assert (job.status, job.error) == (JobStatus.SUCCEEDED, None)
    return next(row.document for row in bench.results() if row.id == job.result_id)


def test_each_job_has_a_process_of_its_own_which_ends_with_it(bench, attempt):
    first, second = (document(bench, attempt("succeed")) for _ in range(2))
    assert first["pid"] != second["pid"]
    assert first["parent"] == second["parent"] != os.getpid()
    assert first["threads"] == 2, "the job's own and the one that listens: nothing was inherited"
    eventually(lambda: not is_running(first["pid"]) and not is_running(second["pid"]), "the processes have ended", 10)


def test_what_every_job_needs_is_ready_before_the_fork_but_no_connection_is_shared(bench, attempt):
    """This science looks before it has read anything."""
    found = document(bench, attempt("succeed"))
    assert (found["tables_are_mapped"], found["connections"]) == (True, 0)


def test_a_process_of_a_job_starts_within_milliseconds(bench, template, attempt):
    attempt("succeed")  # the imports have been waited for
    seconds = []
    for _ in range(10):
        began = time.monotonic()
        process = template.launch()
        eventually(lambda process=process: process.memory_mb(), "it runs", 10)
        seconds.append(time.monotonic() - began)
        process.close()
    assert sorted(seconds)[5] < 0.25, "0.02 s on a machine that is not busy; a spawn takes seconds"


@pytest.mark.parametrize(
    ("science", "code", "detail"),
    [
        ("allocate_at_once", ErrorCode.OUT_OF_MEMORY, "more memory than there is"),
        ("sys_exit", ErrorCode.INTERNAL, "An unexpected SystemExit"),
        ("recurse", ErrorCode.INTERNAL, "An unexpected RecursionError"),
    ],
)
def test_what_python_can_say_ends_the_job_at_once(attempt, science, code, detail):
    job = attempt(science, memory_mb=1024)
    assert (job.status, job.error["code"], job.attempt) == (JobStatus.FAILED, code, 1)
    assert detail in job.error["detail"]


def test_memory_beyond_the_limit_ends_the_job(attempt):
    began = time.monotonic()
    job = attempt("allocate", memory_mb=400)
    assert (job.status, job.error["code"]) == (JobStatus.FAILED, ErrorCode.OUT_OF_MEMORY)
    assert time.monotonic() - began < 20


def test_no_job_takes_more_memory_than_its_worker_gives(bench, attempt):
    bench.settings.job_memory_mb = 300
    job = attempt("allocate", memory_mb=1_000_000)
    bench.settings.job_memory_mb = 0
    assert job.error["code"] == ErrorCode.OUT_OF_MEMORY


@pytest.mark.parametrize(
    ("science", "code", "detail"),
    [
        ("abort", ErrorCode.INTERNAL, "SIGABRT"),
        ("segfault", ErrorCode.INTERNAL, "SIGSEGV"),
        ("kill", ErrorCode.WORKER_LOST, "SIGKILL"),
        ("leave", ErrorCode.INTERNAL, "exit status 3"),
        ("garble", ErrorCode.INTERNAL, "no message"),
        ("close_everything", ErrorCode.INTERNAL, "exit status 1"),
        ("fall_silent_and_leave", ErrorCode.INTERNAL, "exit status 3"),
        ("fall_silent", ErrorCode.INTERNAL, "did not end; it was killed"),
    ],
)
def test_a_crash_costs_an_attempt_and_the_last_one_the_job(bench, template, attempt, science, code, detail):
    job = attempt(science)
    assert (job.status, job.attempt, job.error) == (JobStatus.QUEUED, 1, None)
    for _ in range(2):
        bench.runner(template).run(job.id)
    job = bench.job(job.id)
    assert (job.status, job.attempt, job.error["code"], job.error["retryable"]) == (JobStatus.FAILED, 3, code, True)
    assert detail in job.error["detail"]


def test_what_is_printed_is_no_message(bench, attempt):
    document(bench, attempt("print_garbage"))


def test_an_attempt_goes_on_from_the_checkpoint_of_one_that_was_killed(bench, template, attempt):
    job = attempt("checkpoint_and_die")
    bench.runner(template).run(job.id)
    bench.runner(template).run(job.id)
    assert (bench.job(job.id).status, bench.job(job.id).attempt) == (JobStatus.SUCCEEDED, 3)


@pytest.mark.parametrize("science", ["sleep", "hold_the_gil"])
@pytest.mark.parametrize(
    ("stop", "status", "attempt"),
    [("cancel", JobStatus.CANCELED, 1), ("pause", JobStatus.PAUSED, 0), ("drain", JobStatus.QUEUED, 0)],
)
def test_who_does_not_hear_a_stop_is_killed(bench, template, science, stop, status, attempt):
    job_id = bench.submit(science=science)
    thread = threading.Thread(target=bench.runner(template).run, args=(job_id,))
    thread.start()
    eventually(lambda: bench.job(job_id).progress["phase"] in ("sleeping", "holding"), "it works", 20)
    asked = time.monotonic()
    if stop == "drain":
        bench.draining.set()
    else:
        with bench.database.write() as session:
            getattr(jobs, stop)(session, job_id)
    thread.join(20)
    assert not thread.is_alive()
    assert time.monotonic() - asked < 10, "a second on a machine that is not busy"
    bench.draining.clear()
    job = bench.job(job_id)
    assert (job.status, job.attempt) == (status, attempt)


def test_the_timeout_of_a_job_that_does_not_hear(attempt):
    job = attempt("sleep", timeout_s=1)
    assert (job.status, job.error["code"]) == (JobStatus.FAILED, ErrorCode.TIMEOUT)


def test_a_lost_template_costs_an_attempt_and_is_replaced(bench, template, attempt):
    parent = document(bench, attempt("succeed"))["parent"]
    job_id = bench.submit(science="sleep")
    thread = threading.Thread(target=bench.runner(template).run, args=(job_id,))
    thread.start()
    eventually(lambda: bench.job(job_id).progress["phase"] == "sleeping", "it works", 20)
    os.kill(parent, signal.SIGKILL)
    thread.join(20)
    assert (bench.job(job_id).status, bench.job(job_id).attempt) == (JobStatus.QUEUED, 1)
    with bench.database.write() as session:
        jobs.cancel(session, job_id)
    assert document(bench, attempt("succeed"))["parent"] != parent


def test_processes_end_with_their_worker(bench, tmp_path):
    """Nothing is left of a worker that dies: here its ends of the sockets close, as the kernel closes them then."""
    template = Template(WorkerSettings(data_dir=tmp_path), "worker_bench:HANDLERS")
    template.start()
    process = template.launch()
    pid = template._process.pid
    template._control.close()
    eventually(lambda: not is_running(pid), "the template has ended", 20)
    process.close()
    template.stop()


def test_a_process_that_ends_in_the_moment_in_which_nobody_wants_it_any_more() -> None:
    """One select tells the template both; it must go on, for the sake of the other jobs."""
    code = """
import os, selectors, socket, time
from worker.template import Template

worker, control = socket.socketpair()
template = Template(control, None, None, {})
theirs, watcher = socket.socketpair()
pid = os.fork()
if pid == 0:
    os._exit(0)
template._watchers[pid] = watcher
template._selector.register(watcher, selectors.EVENT_READ, pid)
time.sleep(0.3)
theirs.close()
worker.close()
template.run()
print("went on", template._watchers)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "went on {}\n"), done.stderr

"""A queue of record with one series in it, and runners whose science is whatever a test says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from in_thread import ThreadLauncher
from sqlalchemy import select, update

from domain.ids import new_id
from domain.jobs import JobKind
from domain.series import ChannelProfile, Segment, SeriesProfile, SeriesSpec
from domain.specs import JobLimits, LyapunovJob
from store import checkpoints, jobs, leases, series
from store.blobs import Blobs
from store.clock import now
from store.database import Database
from store.settings import StoreSettings
from store.sweep import sweep
from store.tables import AnalysisRow, JobRow
from worker.context import Context, Outcome
from worker.job_process import Handler
from worker.processes import Launcher
from worker.runner import Runner
from worker.settings import WorkerSettings


def add_series(database: Database, blobs: Blobs, values: np.ndarray, *, dt: float = 0.01) -> str:
    """A stored series (T, N) without gaps; its id."""
    with blobs.writing() as file:
        with file.open("wb") as stream:
            np.save(stream, np.asarray(values, dtype=np.float64))
        ref = blobs.adopt(file)
    channels = [f"x{i}" for i in range(values.shape[1])]
    profile = SeriesProfile(
        n_steps=len(values),
        n_channels=len(channels),
        n_usable_steps=len(values),
        duration=(len(values) - 1) * dt,
        channels=[
            ChannelProfile(
                name=name,
                minimum=column.min(),
                maximum=column.max(),
                mean=column.mean(),
                std=column.std(),
                n_missing=0,
                n_unique=len(np.unique(column)),
            )
            for name, column in zip(channels, values.T, strict=True)
        ],
        segments=[Segment(start=0, stop=len(values), time_start=0.0)],
    )
    with database.write() as session:
        added = series.add(
            session,
            values=ref,
            channels=channels,
            dt=dt,
            time_unit="s",
            time_start=0.0,
            spec=SeriesSpec(),
            profile=profile,
            source={},
        )
    return added.row.id


class Bench:
    """What a test of the runner needs, in one hand."""

    def __init__(self, settings: StoreSettings, database: Database, blobs: Blobs) -> None:
        self.settings = WorkerSettings(
            data_dir=settings.data_dir, database_url=settings.database_url, lease_seconds=30, poll_seconds=0.1
        )
        self.database = database
        self.blobs = blobs
        self.draining = threading.Event()
        self.starts = 0
        self.series_id = add_series(database, blobs, np.random.default_rng(0).standard_normal((50, 2)))

    def submit(self, timeout_s: int = 600, *, memory_mb: int | None = None, **metadata: str) -> str:
        limits = JobLimits(timeout_s=timeout_s, memory_mb=memory_mb)
        request = LyapunovJob(kind="lyapunov", series_id=self.series_id, limits=limits, metadata=metadata)
        with self.database.write() as session:
            return jobs.submit(session, self.settings, request).job.id

    def run(self, job_id: str, handler: Handler) -> None:
        """One message, in this thread."""

        def counted(context: Context) -> Outcome:
            self.starts += 1
            return handler(context)

        self.runner(ThreadLauncher(self.settings, dict.fromkeys(JobKind, counted))).run(job_id)

    def runner(self, launcher: Launcher) -> Runner:
        return Runner(self.settings, self.database, launcher, name="bench", draining=self.draining.is_set)

    @contextmanager
    def running(self, job_id: str, handler: Handler) -> Iterator[None]:
        """The job runs in another thread; the block begins when the work has, and ends when the work has ended."""
        begun = threading.Event()

        def announced(context: Context) -> Outcome:
            begun.set()
            return handler(context)

        thread = threading.Thread(target=self.run, args=(job_id, announced))
        thread.start()
        assert begun.wait(20)
        yield
        thread.join(20)
        assert not thread.is_alive(), "the work did not stop"

    def succeed(self, context: Context) -> Outcome:
        return Outcome(
            AnalysisRow(
                id=new_id("analysis"), series_id=self.series_id, channels=["x0"], channels_hash="0" * 64, document={}
            )
        )

    def take_over(self, job_id: str) -> None:
        """The lease expires, a sweep takes the job back, and another worker claims it."""
        with self.database.write() as session:
            session.execute(update(JobRow).where(JobRow.id == job_id).values(lease_until=now(-1)))
        with self.database.write() as session:
            assert sweep(session, self.settings).requeued == [job_id]
        with self.database.write() as session:
            assert leases.claim(session, job_id, worker="another", lease_seconds=60) is not None

    def job(self, job_id: str) -> JobRow:
        with self.database.read() as session:
            return jobs.get(session, job_id)

    def results(self) -> list[AnalysisRow]:
        with self.database.read() as session:
            return list(session.scalars(select(AnalysisRow)))

    def checkpoint(self, job_id: str) -> bytes | None:
        return checkpoints.load(self.database, self.blobs, job_id)

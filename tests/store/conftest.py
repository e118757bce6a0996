"""A small world to run jobs in."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sqlalchemy import insert, inspect, text

from domain.ids import new_id
from domain.jobs import JobStatus
from domain.series import ChannelProfile, Segment, SeriesProfile, SeriesSpec
from domain.specs import LyapunovJob
from store import checkpoints, jobs, leases, series
from store.blobs import Blobs
from store.database import Database
from store.settings import StoreSettings
from store.tables import AnalysisRow, JobRow, SeriesRow


class World:
    """Short words for what the tests do over and over."""

    def __init__(self, settings: StoreSettings, database: Database, blobs: Blobs) -> None:
        self.settings, self.database, self.blobs = settings, database, blobs

    def series(
        self, values: np.ndarray | None = None, *, name: str | None = None, tenant: str = "default"
    ) -> SeriesRow:
        with self.database.write() as session:
            return self.add_series(session, values, name=name, tenant=tenant).row

    def add_series(self, session, values=None, *, name=None, tenant="default"):  # type: ignore[no-untyped-def]
        values = np.arange(24.0).reshape(8, 3) if values is None else values
        names = [f"x{i}" for i in range(values.shape[1])]
        with self.blobs.writing() as file:
            with file.open("wb") as stream:
                np.save(stream, values)
            ref = self.blobs.adopt(file)
        return series.add(
            session,
            values=ref,
            channels=names,
            dt=0.1,
            time_unit="s",
            time_start=0.0,
            spec=SeriesSpec(name=name),
            profile=profile(values, names),
            source={"format": "npy"},
            tenant=tenant,
        )

    def submit(self, series_id: str | None = None, **options) -> str:  # type: ignore[no-untyped-def]
        request = LyapunovJob(kind="lyapunov", series_id=series_id or self.series().id)
        with self.database.write() as session:
            return jobs.submit(session, self.settings, request, **options).job.id

    def many_have_ended(self, job_id: str, tenant: str = "default") -> None:
        """Two thousand jobs like this one, which PostgreSQL counts: of a few rows any plan is cheap, whichever it counted last."""
        row = self.job(job_id)
        ended = {column.key: getattr(row, column.key) for column in inspect(JobRow).columns}
        ended |= {"tenant": tenant, "status": JobStatus.SUCCEEDED, "finished_at": row.updated_at}
        ended |= {"token": None, "worker": None, "lease_until": None}
        with self.database.write() as session:
            ids = ({"id": new_id("job"), "series_id": new_id("series")} for _ in range(2000))
            session.execute(insert(JobRow), [ended | those for those in ids])
            if session.get_bind().dialect.name == "postgresql":
                session.execute(text("ANALYZE job"))

    def claim(self, job_id: str, worker: str = "w1") -> leases.Lease:
        with self.database.write() as session:
            claimed = leases.claim(session, job_id, worker=worker, lease_seconds=self.settings.lease_seconds)
        assert claimed is not None
        return claimed[1]

    def checkpoint(self, lease: leases.Lease, data: bytes) -> None:
        """As a job's process puts it, and its worker adopts it."""
        sha256 = checkpoints.put(self.blobs, lease.job_id, data)
        checkpoints.adopt(self.database, self.blobs, lease, sha256, patience_seconds=60.0)

    def job(self, job_id: str):  # type: ignore[no-untyped-def]
        with self.database.read() as session:
            return jobs.get(session, job_id)

    def events(self, job_id: str) -> list[tuple[int, str, dict]]:
        with self.database.read() as session:
            return [(e.seq, e.type, e.data) for e in jobs.events(session, job_id)]

    def statuses(self, job_id: str) -> list[str]:
        return [data["status"] for _, type, data in self.events(job_id) if type == "status"]

    def expire(self, job_id: str, column: str = "lease_until") -> None:
        """As if the time of `column` had passed."""
        past = "'2000-01-01 00:00:00.000000'"
        with self.database.write() as session:
            session.execute(text(f"UPDATE job SET {column} = {past} WHERE id = :id"), {"id": job_id})


def profile(values: np.ndarray, names: list[str]) -> SeriesProfile:
    columns = [
        ChannelProfile(name=name, minimum=0, maximum=1, mean=0.5, std=0.1, n_missing=0, n_unique=8) for name in names
    ]
    usable = ~np.isnan(values).any(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], usable.astype(int), [0]])))
    segments = [Segment(start=int(a), stop=int(b), time_start=0.1 * a) for a, b in edges.reshape(-1, 2)]
    return SeriesProfile(
        n_steps=len(values),
        n_channels=values.shape[1],
        n_usable_steps=int(usable.sum()),
        duration=0.1 * (len(values) - 1),
        channels=columns,
        segments=segments,
    )


def analysis(series_id: str | None = None) -> AnalysisRow:
    return AnalysisRow(
        id=new_id("analysis"), series_id=series_id, channels=["x0"], channels_hash="0" * 64, document={"verdict": 1}
    )


@pytest.fixture
def world(store_settings: StoreSettings, database: Database, blobs: Blobs) -> World:
    return World(store_settings, database, blobs)


@pytest.fixture
def make_analysis() -> Callable[..., AnalysisRow]:
    return analysis

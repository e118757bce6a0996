"""A training that was interrupted gives the model of one that was not, bit for bit."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import misbehaving
import pytest
from serving import TRAINING, children_of, eventually, henon
from worker_bench import add_series

from domain.documents import MODEL_WEIGHTS
from domain.jobs import JobStatus
from domain.specs import TrainJob
from store import jobs, results
from store.blobs import Blobs
from store.database import Database
from store.tables import JobRow
from worker.processes import Template
from worker.runner import Runner
from worker.settings import WorkerSettings

PARAMS = TRAINING | {"updates": 160_000, "seeds": 2}  # two seeds side by side


class Trainer:
    """A worker without Celery, and one series."""

    def __init__(self, settings: WorkerSettings) -> None:
        self.settings = settings
        self.database, blobs = Database(settings), Blobs(settings.blobs_dir)
        self.series_id = add_series(self.database, blobs, henon(1500), dt=1.0)
        self.template = Template(settings, "impatient:HANDLERS")
        self.template.start()

    def close(self) -> None:
        self.template.stop()
        self.database.close()

    def submit(self) -> str:
        request = TrainJob(kind="train", series_id=self.series_id, params=PARAMS)
        with self.database.write() as session:
            return jobs.submit(session, self.settings, request).job.id

    def job(self, job_id: str) -> JobRow:
        with self.database.read() as session:
            return jobs.get(session, job_id)

    def run(self, job_id: str) -> None:
        """One attempt."""
        Runner(self.settings, self.database, self.template, name="trainer").run(job_id)

    def interrupt(self, job_id: str, interruption: Callable[[], None]) -> JobRow:
        """One attempt, interrupted when the training has kept a second checkpoint; the job afterwards."""
        thread = threading.Thread(target=self.run, args=(job_id,))
        thread.start()
        kept: set[str] = set()

        def saved_twice() -> bool:
            job = self.job(job_id)
            assert job.finished_at is None, "the training ended too soon for this test"
            if job.checkpoint_sha256 is not None and job.progress["phase"] == "training":
                kept.add(job.checkpoint_sha256)
            return len(kept) == 2

        eventually(saved_twice, "two checkpoints of the training")
        interruption()
        thread.join(60)
        assert not thread.is_alive()
        return self.job(job_id)

    def kill(self) -> None:
        assert self.template._process is not None
        (process,) = children_of(self.template._process.pid)
        os.kill(process, signal.SIGKILL)

    def weights(self, job_id: str) -> str:
        job = self.job(job_id)
        assert (job.status, job.error) == (JobStatus.SUCCEEDED, None)
        with self.database.read() as session:
            return results.artifact(session, str(job.result_id), MODEL_WEIGHTS).sha256


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory, _migrated_sqlite: Path) -> Iterator[Trainer]:
    folder = tmp_path_factory.mktemp("resume")
    shutil.copy(_migrated_sqlite, folder / "attractor.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{misbehaving.HERE}{os.pathsep}{misbehaving.HERE.parent}")
        made = Trainer(WorkerSettings(data_dir=folder, poll_seconds=0.1))
        yield made
        made.close()


@pytest.fixture(scope="module")
def uninterrupted(trainer: Trainer) -> str:
    """The weights of an uninterrupted training. The analysis that it makes serves the others."""
    job_id = trainer.submit()
    trainer.run(job_id)
    return trainer.weights(job_id)


def test_after_its_process_was_killed(trainer, uninterrupted):
    job_id = trainer.submit()
    job = trainer.interrupt(job_id, trainer.kill)
    assert (job.status, job.attempt) == (JobStatus.QUEUED, 1)
    trainer.run(job_id)
    assert trainer.weights(job_id) == uninterrupted
    assert trainer.job(job_id).attempt == 2


def test_after_two_pauses(trainer, uninterrupted):
    job_id = trainer.submit()

    def pause() -> None:
        with trainer.database.write() as session:
            jobs.pause(session, job_id)

    for _ in range(2):
        job = trainer.interrupt(job_id, pause)
        assert (job.status, job.attempt) == (JobStatus.PAUSED, 0)
        with trainer.database.write() as session:
            jobs.resume(session, trainer.settings, job_id)
    trainer.run(job_id)
    assert trainer.weights(job_id) == uninterrupted
    assert trainer.job(job_id).attempt == 1

"""Backup and restore: of the embedded service by its own command, of servers by theirs; always while others write."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
import servers
from stock import make_stock

from domain.specs import LyapunovJob
from store import diagnosis, jobs, leases, series
from store.backup import BackupFailed, backup, restore
from store.blobs import Blobs
from store.database import Database
from store.secrets import service_secret
from store.settings import StoreSettings
from store.sweep import sweep
from store.tables import JobRow, SeriesRow

sqlite_only = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)


class Writer(threading.Thread):
    """Uploads series, submits jobs and claims some of them, until it is stopped."""

    def __init__(self, settings: StoreSettings, database: Database, world) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        self.settings, self.database, self.world = settings, database, world
        self.stopped = threading.Event()
        self.begun = threading.Event()
        self.rounds = 0

    def run(self) -> None:
        rng = np.random.default_rng(0)
        while not self.stopped.is_set():
            row = self.world.series(rng.normal(size=(50, 2)))
            with self.database.write() as session:
                job = jobs.submit(session, self.settings, LyapunovJob(kind="lyapunov", series_id=row.id)).job
            if self.rounds % 2:
                self.world.claim(job.id)
            self.rounds += 1
            if self.rounds == 5:
                self.begun.set()

    def __enter__(self) -> Writer:
        self.start()
        assert self.begun.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.join(30)


def readable(settings: StoreSettings) -> tuple[int, int]:
    """How many series and jobs there are; every blob that a row names is whole, and running jobs can go on."""
    database, blobs = Database(settings), Blobs(settings.blobs_dir)
    with database.read() as session:
        names = diagnosis.named_blobs(session)
        rows = session.query(SeriesRow).all()
        running = [job.id for job in session.query(JobRow).filter(JobRow.status == "running")]
        n_jobs = session.query(JobRow).count()
    for name in names:
        blobs.read(name)
    for row in rows:
        assert np.isfinite(series.load_values(blobs, row)).any()
    # As if the lease had run out meanwhile, which it has wherever a backup is restored.
    with database.write() as session:
        session.query(JobRow).filter(JobRow.status == "running").update({"lease_until": diagnosis.clock(session)})
    with database.write() as session:
        swept = sweep(session, settings)
    assert set(running) == set(swept.requeued)
    if running:
        with database.write() as session:
            assert leases.claim(session, running[0], worker="new", lease_seconds=60) is not None
    database.close()
    return len(rows), n_jobs


@sqlite_only
def test_a_backup_while_jobs_run_is_restored_elsewhere(
    store_settings: StoreSettings, database: Database, blobs: Blobs, world, tmp_path: Path
) -> None:
    make_stock(store_settings, database, blobs)
    secret = service_secret(store_settings)
    file = tmp_path / "backup.tar"
    with Writer(store_settings, database, world):
        made = backup(store_settings, file)
    assert file.stat().st_mode & 0o777 == 0o600
    place = StoreSettings(data_dir=tmp_path / "elsewhere")
    assert restore(file, place.data_dir) == made
    n_series, n_jobs = readable(place)
    assert n_series >= 6
    assert n_jobs >= 5
    assert service_secret(place) == secret
    assert not [path for path in place.data_dir.iterdir() if path.name.startswith(".restore")]


@sqlite_only
def test_nothing_is_overwritten(store_settings: StoreSettings, database: Database, tmp_path: Path) -> None:
    file = tmp_path / "backup.tar"
    backup(store_settings, file)
    with pytest.raises(BackupFailed, match="exists already"):
        backup(store_settings, file)
    with pytest.raises(BackupFailed, match="empty directory"):
        restore(file, store_settings.data_dir)


def test_servers_have_tools_of_their_own(store_settings: StoreSettings, backend: str, tmp_path: Path) -> None:
    if backend == "sqlite":
        store_settings = StoreSettings(data_dir=tmp_path / "nothing")
    with pytest.raises(BackupFailed, match="pg_dump" if backend == "postgresql" else "no database"):
        backup(store_settings, tmp_path / "backup.tar")
    assert not list(tmp_path.glob("*.partial"))


def rewritten(file: Path, change) -> None:  # type: ignore[no-untyped-def]
    """Every member by what `change` makes of its name and bytes; None leaves it out."""
    with tarfile.open(file) as tar:
        members = [(m.name, tar.extractfile(m).read()) for m in tar]  # type: ignore[union-attr]
    with tarfile.open(file, "w") as tar:
        for name, data in members:
            new = change(name, data)
            if new is not None:
                info = tarfile.TarInfo(new[0])
                info.size = len(new[1])
                tar.addfile(info, io.BytesIO(new[1]))


@sqlite_only
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda n, d: (n, d[:-1] + b"!") if n.startswith("blobs/") else (n, d), "damaged"),
        (lambda n, d: None if n.startswith("blobs/") else (n, d), "lacks"),
        (lambda n, d: (n, d[:5000] + b"\0" * 4000 + d[9000:]) if n.endswith(".db") else (n, d), "damaged|malformed"),
        (lambda n, d: None if n == "manifest.json" else (n, d), "manifest"),
        (lambda n, d: ("../../evil", d) if n == "secret" else (n, d), "nothing of it is called"),
        (lambda n, d: (n, d.replace(b'"000', b'"999')) if n == "manifest.json" else (n, d), "does not know"),
    ],
    ids=["a changed blob", "no blobs", "a damaged database", "no manifest", "a path upwards", "another schema"],
)
def test_what_is_damaged_is_refused_and_leaves_nothing(  # type: ignore[no-untyped-def]
    store_settings: StoreSettings, database: Database, blobs: Blobs, tmp_path: Path, change, said: str
) -> None:
    make_stock(store_settings, database, blobs)
    service_secret(store_settings)
    file, place = tmp_path / "backup.tar", tmp_path / "elsewhere"
    backup(store_settings, file)
    rewritten(file, change)
    with pytest.raises(BackupFailed, match=said):
        restore(file, place)
    assert {path.name for path in place.iterdir()} <= {"serve.lock"}
    assert not (tmp_path.parent / "evil").exists()


@pytest.mark.postgres
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_servers_in_the_order_of_the_guide(
    store_settings: StoreSettings, database: Database, blobs: Blobs, world, tmp_path: Path, postgres_server: str
) -> None:
    """Blobs, pg_dump, blobs again, while jobs come and go; into another database and another directory."""
    pg_dump, psql = (shutil.which(name) for name in ("pg_dump", "psql"))
    if pg_dump is None or psql is None:
        servers.missing("pg_dump and psql")
    assert pg_dump is not None
    assert psql is not None
    make_stock(store_settings, database, blobs)
    url = store_settings.database_url.replace("+psycopg", "")
    place = tmp_path / "elsewhere"
    copy = [
        "cp",
        "--recursive",
        "--no-clobber",
        "--preserve=timestamps",
        f"{store_settings.blobs_dir}/.",
        place / "blobs",
    ]
    (place / "blobs").mkdir(parents=True)
    with Writer(store_settings, database, world):
        subprocess.run(copy, check=False, capture_output=True)  # a file may vanish under its hands
        dumped = subprocess.run([pg_dump, "--no-owner", url], check=True, capture_output=True)
        subprocess.run(copy, check=False, capture_output=True)
    with servers.own_database(postgres_server) as new:
        environment = os.environ | {"PGOPTIONS": "-c client_min_messages=warning"}
        fill = [psql, "--quiet", "--set=ON_ERROR_STOP=1", "--dbname", new]
        subprocess.run(fill, check=True, input=dumped.stdout, env=environment, capture_output=True)
        n_series, n_jobs = readable(StoreSettings(data_dir=place, database_url=new))
    assert n_series >= 6
    assert n_jobs >= 5


@sqlite_only
def test_the_manifest_can_be_read_by_hand(store_settings: StoreSettings, database: Database, tmp_path: Path) -> None:
    backup(store_settings, tmp_path / "backup.tar")
    with tarfile.open(tmp_path / "backup.tar") as tar:
        manifest = json.loads(tar.extractfile("manifest.json").read())  # type: ignore[union-attr]
    assert set(manifest) == {"format", "release", "revision", "made_at", "blobs", "n_bytes"}

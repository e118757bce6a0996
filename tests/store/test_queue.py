"""The wake-up calls: over files and over Redis, with a real worker process, garbage, and a broker that is away."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty

import pytest
import servers
from celery import Celery
from kombu.exceptions import OperationalError

from store import migrate, queue
from store.queue import QUEUE, RUN_JOB, Announcer, make_celery, publish, publish_again
from store.settings import StoreSettings

WORKER = """
import sys
from pathlib import Path
from store.queue import RUN_JOB, make_celery
from store.settings import StoreSettings

celery = make_celery(StoreSettings(data_dir=sys.argv[1], broker_url=sys.argv[2]))

@celery.task(name=RUN_JOB)
def run_job(job_id):
    with open(sys.argv[3], "a") as log:
        log.write(job_id + "\\n")

celery.worker_main(["worker", "-P", "solo", "--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "INFO"])
"""


@pytest.fixture(params=["files", pytest.param("redis", marks=pytest.mark.redis)])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> StoreSettings:
    url = request.getfixturevalue("redis_url") if request.param == "redis" else ""
    return StoreSettings(data_dir=tmp_path / "data", broker_url=url)


@pytest.fixture
def celery(settings: StoreSettings) -> Iterator[Celery]:
    celery = make_celery(settings)
    with celery.connection_for_read() as connection:
        connection.SimpleQueue(QUEUE).clear()
    yield celery
    celery.close()


@contextmanager
def worker(settings: StoreSettings, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    arguments = [str(settings.data_dir), settings.broker_url, str(log)]
    with log.with_suffix(".out").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER, *arguments], cwd=migrate.ROOT, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(20)


def wait_for(log: Path, lines: int, process: subprocess.Popen[bytes]) -> list[str]:
    deadline = time.monotonic() + 60
    while True:
        found = log.read_text().split() if log.exists() else []
        if len(found) >= lines:
            return found
        output = log.with_suffix(".out").read_text()
        assert process.poll() is None, f"the worker ended:\n{output}"
        assert time.monotonic() < deadline, f"{len(found)} of {lines} arrived:\n{output}"
        time.sleep(0.02)


def receive(celery: Celery, n: int) -> list[str]:
    """The ids of `n` messages, taken from the queue as a worker takes them."""
    ids = []
    with celery.connection_for_read() as connection:
        queue = connection.SimpleQueue(QUEUE)
        for _ in range(n):
            message = queue.get(timeout=10)
            assert message.headers["task"] == RUN_JOB
            ids.append(message.payload[0][0])
            message.ack()
    return ids


def test_a_worker_process_gets_what_is_published(settings: StoreSettings, celery: Celery, tmp_path: Path) -> None:
    ids = [f"job_{n}" for n in range(20)]
    assert all(publish(celery, job_id) for job_id in ids[:10])
    with worker(settings, tmp_path / "log") as process:
        wait_for(tmp_path / "log", 10, process)
        assert all(publish(celery, job_id) for job_id in ids[10:])
        assert sorted(wait_for(tmp_path / "log", 20, process)) == sorted(ids)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert (tmp_path / "log").read_text().split() == ids, "in order, each once"


def test_messages_keep_their_order_and_carry_only_the_id(celery: Celery) -> None:
    for n in range(5):
        publish(celery, f"job_{n}")
    assert receive(celery, 5) == [f"job_{n}" for n in range(5)]


def test_the_settings_follow_from_the_measurements(settings: StoreSettings, celery: Celery) -> None:
    conf = celery.conf
    assert (conf.task_acks_late, conf.task_reject_on_worker_lost, conf.worker_prefetch_multiplier) == (False, False, 1)
    assert (conf.task_ignore_result, conf.accept_content) == (True, ["json"])
    if not settings.embedded_broker:
        assert conf.broker_transport_options["visibility_timeout"] == 43_200
        assert conf.worker_disable_prefetch


class TestFiles:
    @pytest.fixture
    def settings(self, tmp_path: Path) -> StoreSettings:
        return StoreSettings(data_dir=tmp_path / "data")

    @pytest.fixture
    def folder(self, settings: StoreSettings, celery: Celery) -> Path:
        return settings.queue_dir / QUEUE

    def test_garbage_does_not_kill_a_worker(self, settings, celery, folder: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
        publish(celery, "job_sample")
        [sample] = folder.glob("*.msg")
        whole = sample.read_bytes()
        sample.unlink()
        flipped = whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:]
        garbage = [b"", b"\n", b"{", b"[]", b"{}", b"\xff\xfe", whole[:64], whole[:200], whole[:-1], whole * 2, flipped]
        for n, data in enumerate(garbage):
            (folder / f"{n:020d}-garbage.msg").write_bytes(data)
        publish(celery, "job_after")
        with worker(settings, tmp_path / "log") as process:
            assert wait_for(tmp_path / "log", 1, process) == ["job_after"]
            publish(celery, "job_later")
            assert wait_for(tmp_path / "log", 2, process) == ["job_after", "job_later"]
        assert len(list(folder.glob("*.garbage"))) == len(garbage)
        assert "set aside" in (tmp_path / "log.out").read_text()

    def test_an_unfinished_message_is_not_there(self, celery, folder: Path) -> None:  # type: ignore[no-untyped-def]
        (folder / "0-a.tmp").write_text("{")
        with celery.connection_for_read() as connection:
            queue = connection.SimpleQueue(QUEUE)
            assert queue.qsize() == 0
            with pytest.raises(Empty):
                queue.get_nowait()

    def test_many_writers_and_readers_share_each_message_once(self, settings) -> None:  # type: ignore[no-untyped-def]
        ids = [f"job_{n}" for n in range(120)]
        received: list[str] = []

        def write(part: list[str]) -> None:
            mine = make_celery(settings)
            for job_id in part:
                publish(mine, job_id)

        def read() -> None:
            mine = make_celery(settings)
            while len(received) < len(ids):
                try:
                    received.extend(receive_one(mine))
                except Empty:
                    time.sleep(0.01)

        def receive_one(mine: Celery) -> list[str]:
            with mine.connection_for_read() as connection:
                message = connection.SimpleQueue(QUEUE).get_nowait()
                message.ack()
                return [message.payload[0][0]]

        threads = [threading.Thread(target=write, args=(ids[n::3],)) for n in range(3)]
        threads += [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sorted(received) == sorted(ids)

    @pytest.mark.parametrize("name", ["../evil", "", "a/b", ".hidden", "a\0"])
    def test_a_queue_name_is_no_path(self, celery, name: str) -> None:  # type: ignore[no-untyped-def]
        with celery.connection_for_write() as connection, pytest.raises(ValueError, match="queue name"):
            connection.default_channel._put(name, {})


def test_the_sweep_does_not_fill_the_broker(celery: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "MAX_MESSAGES", 2)
    assert [publish_again(celery, f"job_{n}") for n in range(3)] == [True, True, False]
    assert publish(celery, "job_new"), "a new job is always announced"
    assert receive(celery, 3) == ["job_0", "job_1", "job_new"]
    assert publish_again(celery, "job_4")


@pytest.mark.redis
def test_a_broker_that_is_away_fails_no_submission(tmp_path: Path) -> None:
    program = shutil.which("redis-server")
    if program is None:
        servers.missing("Redis")
        return
    port = servers.free_port()
    celery = make_celery(StoreSettings(data_dir=tmp_path, broker_url=f"redis://127.0.0.1:{port}/0"))
    assert not publish(celery, "job_1")
    with servers.own_redis(program, port):
        assert publish(celery, "job_2")
        assert receive(celery, 1) == ["job_2"]
    assert not publish(celery, "job_3")
    assert not publish_again(celery, "job_3")
    with servers.own_redis(program, port):
        assert publish(celery, "job_4"), "it finds its way back"
    celery.close()


@pytest.mark.redis
def test_a_broker_that_says_nothing_holds_up_one_request_shortly(tmp_path: Path) -> None:
    program = shutil.which("redis-server")
    if program is None:
        servers.missing("Redis")
        return
    with servers.own_redis(program) as (url, server):
        announcer = Announcer(StoreSettings(data_dir=tmp_path, broker_url=url))
        assert announcer.announce("job_1", "cpu")
        server.send_signal(signal.SIGSTOP)
        try:
            begun = time.monotonic()
            assert not any(announcer.announce(f"job_{n}", "cpu") for n in range(20))
            with pytest.raises(OperationalError, match="Timeout"):
                announcer.ping()
            assert time.monotonic() - begun < 2 * announcer.SILENCE_SECONDS + 3
        finally:
            server.send_signal(signal.SIGCONT)
        announcer._away_until = 0.0  # a while later
        assert announcer.announce("job_2", "cpu")
        announcer.close()

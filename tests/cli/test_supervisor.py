"""The supervisor, with small real processes as children."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from cli import supervisor as supervisor_module
from cli.supervisor import CrashLoop, Program, Supervisor


@pytest.fixture(autouse=True)
def _quick_backoff(monkeypatch):
    monkeypatch.setattr(supervisor_module, "FIRST_BACKOFF_SECONDS", 0.01)


def program(code: str, name: str = "child") -> Program:
    return Program(name, [sys.executable, "-c", code], dict(os.environ))


async def nothing() -> None:
    return None


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_child_that_ends_is_started_again(tmp_path):
    lines: list[str] = []
    count = tmp_path / "count"
    code = f"""
import time
with open({str(count)!r}, "a") as file: file.write("x")
if len(open({str(count)!r}).read()) < 3: raise SystemExit(7)
print("third time")
time.sleep(60)
"""

    def say(line: str) -> None:
        lines.append(line)
        if line.endswith("third time"):
            running.stop()

    running = Supervisor([program(code)], say)
    asyncio.run(asyncio.wait_for(running.run(nothing), 30))
    assert count.read_text() == "xxx"
    assert "child | third time" in lines
    assert sum("ended unexpectedly with status 7" in line for line in lines) == 2


def test_a_crash_loop_ends_everything_and_names_the_child(tmp_path):
    pid_file = tmp_path / "pid"
    steady = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    lines: list[str] = []
    broken = program("raise SystemExit('no such table')", "broken")
    running = Supervisor([program(steady, "steady"), broken], lines.append)
    with pytest.raises(CrashLoop, match="broken ended with status 1, 6 times in a row"):
        asyncio.run(asyncio.wait_for(running.run(nothing), 30))
    assert "broken | no such table" in lines
    assert not is_running(int(pid_file.read_text()))


def test_a_failed_start_leaves_no_child(tmp_path):
    pid_file = tmp_path / "pid"
    steady = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); print('up'); time.sleep(60)"

    async def fails() -> None:
        while not pid_file.exists() or not pid_file.read_text():
            await asyncio.sleep(0.01)
        raise ConnectionError("never ready")

    with pytest.raises(ConnectionError):
        asyncio.run(asyncio.wait_for(Supervisor([program(steady)], lambda line: None).run(fails), 30))
    assert not is_running(int(pid_file.read_text()))


def test_a_child_that_ignores_the_signal_is_killed_after_the_grace():
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    )
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        if line.endswith("| up"):
            running.stop()

    running = Supervisor([program(stubborn)], say, grace_seconds=0.2)
    asyncio.run(asyncio.wait_for(running.run(nothing), 30))
    assert any("did not end within 0.2 s; killing it" in line for line in lines)


def test_a_line_without_end_does_not_stop_the_log(monkeypatch):
    monkeypatch.setattr(supervisor_module, "LONGEST_LINE", 1000)
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        if line.endswith("| after"):
            running.stop()

    running = Supervisor(
        [program("import time; print('x' * 100_000); print('after', flush=True); time.sleep(60)")], say
    )
    asyncio.run(asyncio.wait_for(running.run(nothing), 30))
    assert "child | after" in lines

"""Keeps a handful of child processes running: prefixed logs, restarts with backoff, an orderly end."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

QUICK_EXIT_SECONDS = 15.0
MAX_QUICK_EXITS = 6
FIRST_BACKOFF_SECONDS = 0.25
LONGEST_BACKOFF_SECONDS = 10.0
GRACE_SECONDS = 10.0
LONGEST_LINE = 1 << 20


@dataclass(frozen=True)
class Program:
    """One child: what is run, and under which name its lines appear."""

    name: str
    command: list[str]
    env: dict[str, str]
    inherited_fds: tuple[int, ...] = ()


class CrashLoop(Exception):
    """A child ended again and again right after its start; the message names it and its exit status."""


@dataclass
class Supervisor:
    """Runs `programs` until `stop()` is called or one of them crash-loops.

    Every child gets a pipe as stdin that is never written to: its end of file tells the child that the supervisor is
    gone, however it died. Children have a session of their own, so that Ctrl-C in the terminal reaches only the supervisor.
    """

    programs: list[Program]
    say: Callable[[str], None]
    relay: Callable[[str, str], None] | None = None  # a child's name and a line of its; default: `say` both
    grace_seconds: float = GRACE_SECONDS
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def stop(self) -> None:
        self._stopping.set()

    async def run(self, when_started: Callable[[], Awaitable[None]]) -> None:
        """Raises `CrashLoop`, or what `when_started` raises; no child is left in any case."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop)
        keepers = [asyncio.create_task(self._keep(program)) for program in self.programs]
        stopping = asyncio.create_task(self._stopping.wait())
        started = asyncio.create_task(_as_coroutine(when_started()))
        try:
            # Keepers end only by an error; `started` ends well once everything answers.
            pending = {stopping, started, *keepers}
            while not stopping.done():
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            tasks = [stopping, started, *keepers]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, program: Program) -> None:
        quick_exits = 0
        while True:
            started = time.monotonic()
            status = await self._run_once(program)
            quick_exits = quick_exits + 1 if time.monotonic() - started < QUICK_EXIT_SECONDS else 1
            ending = f"signal {-status}" if status < 0 else f"status {status}"
            # A signal is what jobs that exhaust the memory bring; their leases, not we, count how often they may.
            if status >= 0 and quick_exits >= MAX_QUICK_EXITS:
                raise CrashLoop(
                    f"{program.name} ended with {ending}, {quick_exits} times in a row within "
                    f"{QUICK_EXIT_SECONDS:g} s of its start; its last lines are above."
                )
            backoff = min(FIRST_BACKOFF_SECONDS * 2 ** (quick_exits - 1), LONGEST_BACKOFF_SECONDS)
            self.say(f"{program.name} ended unexpectedly with {ending}; starting it again in {backoff:g} s")
            await asyncio.sleep(backoff)

    async def _run_once(self, program: Program) -> int:
        process = await asyncio.create_subprocess_exec(
            *program.command,
            env=program.env,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            pass_fds=program.inherited_fds,
            start_new_session=True,
            limit=LONGEST_LINE,
        )
        relay = asyncio.create_task(self._relay(program.name, process))
        try:
            return await process.wait()
        finally:
            await self._end(process)
            # What the child said last has been written by now; a grandchild that keeps the pipe open is not waited for.
            await asyncio.wait({relay}, timeout=0.5)
            relay.cancel()

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), self.grace_seconds)
        except TimeoutError:
            self.say(f"process {process.pid} did not end within {self.grace_seconds:g} s; killing it")
            process.kill()
            await process.wait()

    async def _relay(self, name: str, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        width = max(len(program.name) for program in self.programs)
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:  # asyncio's word for a line over the limit; it drops the line
                line = b"(a line of more than 1 MiB was dropped)\n"
            if not line:
                return
            text = line.decode(errors="replace").rstrip()
            if self.relay is None:
                self.say(f"{name:<{width}} | {text}")
            else:
                self.relay(name, text)


async def _as_coroutine(awaitable: Awaitable[None]) -> None:
    await awaitable

"""A job of several stages: one progress bar, one checkpoint, and no finished stage done twice by a later attempt."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from typing import TypeVar

from domain.jobs import Progress
from dynamics.reporting import Reporter

T = TypeVar("T")
VERSION = f"attractor {version('attractor')}".encode()


class Stages:
    """Runs the stages of a job one after the other, in the order of `expected_seconds`.

    The checkpoint is a zip archive: `<stage>/done` for every finished stage, `<stage>/running` for what the running one
    saved; one of another version of this software is not used. Fractions and remaining time are composed by the seconds that each stage is expected to take.
    """

    def __init__(self, reporter: Reporter, expected_seconds: dict[str, float]) -> None:
        self._reporter = reporter
        self._expected = expected_seconds
        checkpoint = reporter.load_checkpoint()
        self._entries = _unpack(checkpoint) if checkpoint is not None else {}

    def run(
        self, name: str, work: Callable[[Reporter], T], *, dump: Callable[[T], bytes], load: Callable[[bytes], T]
    ) -> T:
        """The outcome of `work`, or the one that an earlier attempt kept."""
        kept = self._entries.get(f"{name}/done")
        if kept is not None:
            return load(kept)
        outcome = work(self.reporter(name))
        self._keep(name, "done", dump(outcome))
        return outcome

    def reporter(self, name: str) -> Reporter:
        """For the science of a stage; alone enough for the last stage, whose outcome needs no checkpoint."""
        return _StageReporter(self, name)

    def _keep(self, name: str, state: str, data: bytes) -> None:
        self._entries.pop(f"{name}/running", None)
        self._entries[f"{name}/{state}"] = data
        self._reporter.save_checkpoint(_pack(self._entries))

    def _compose(self, name: str, progress: Progress) -> Progress:
        """The job's progress when stage `name` has come as far as `progress`."""
        names = list(self._expected)
        at = names.index(name)
        own, later = self._expected[name], sum(self._expected[n] for n in names[at + 1 :])
        total = sum(self._expected.values())
        fraction = (total - later - own * (1.0 - progress.fraction)) / total
        eta = None if progress.eta_s is None else progress.eta_s + later
        return progress.model_copy(update={"fraction": min(1.0, max(0.0, fraction)), "eta_s": eta})


class _StageReporter(Reporter):
    """What a stage's science speaks with."""

    def __init__(self, stages: Stages, name: str) -> None:
        self._stages = stages
        self._name = name

    def report(self, progress: Progress) -> None:
        self._stages._reporter.report(self._stages._compose(self._name, progress))

    def should_stop(self) -> bool:
        return self._stages._reporter.should_stop()

    def save_checkpoint(self, data: bytes) -> None:
        self._stages._keep(self._name, "running", data)

    def load_checkpoint(self) -> bytes | None:
        return self._stages._entries.get(f"{self._name}/running")


def _pack(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.comment = VERSION
        for name, data in entries.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()


def _unpack(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if archive.comment != VERSION:
            return {}
        return {name: archive.read(name) for name in archive.namelist()}

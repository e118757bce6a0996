"""A job of several stages: composed progress, and no finished stage done twice."""

from __future__ import annotations

import pytest

from domain.jobs import Progress
from dynamics.reporting import Interrupted, Reporter
from worker.stages import Stages

EXPECTED = {"analysis": 20.0, "training": 60.0, "evaluation": 20.0}


class Recorder(Reporter):
    def __init__(self, checkpoint: bytes | None = None) -> None:
        self.reports: list[Progress] = []
        self.checkpoint = checkpoint
        self.stop = False

    def report(self, progress: Progress) -> None:
        self.reports.append(progress)

    def should_stop(self) -> bool:
        return self.stop

    def save_checkpoint(self, data: bytes) -> None:
        self.checkpoint = data

    def load_checkpoint(self) -> bytes | None:
        return self.checkpoint


def run(stages: Stages, name: str, work) -> str:
    return stages.run(name, work, dump=str.encode, load=bytes.decode)


@pytest.mark.parametrize(
    ("stage", "fraction", "expected"),
    [
        ("analysis", 0.0, 0.0),
        ("analysis", 1.0, 0.2),
        ("training", 0.5, 0.5),
        ("evaluation", 0.5, 0.9),
        ("evaluation", 1.0, 1.0),
    ],
)
def test_fractions_are_composed_by_the_expected_seconds(stage, fraction, expected):
    recorder = Recorder()
    Stages(recorder, EXPECTED).reporter(stage).report(Progress(fraction=fraction, phase="fitting", step=3, eta_s=None))
    (seen,) = recorder.reports
    assert seen.fraction == pytest.approx(expected)
    assert (seen.phase, seen.step, seen.eta_s) == ("fitting", 3, None)


def test_the_remaining_time_counts_the_later_stages():
    recorder = Recorder()
    Stages(recorder, EXPECTED).reporter("training").report(Progress(fraction=0.5, eta_s=30.0))
    assert recorder.reports[0].eta_s == pytest.approx(50.0)


def test_a_stop_request_reaches_the_stage():
    recorder = Recorder()
    reporter = Stages(recorder, EXPECTED).reporter("training")
    reporter.check()
    recorder.stop = True
    with pytest.raises(Interrupted):
        reporter.check()


def test_a_later_attempt_skips_what_is_done_and_resumes_what_was_running():
    first = Recorder()
    stages = Stages(first, EXPECTED)
    assert run(stages, "analysis", lambda reporter: "spectrum") == "spectrum"

    def interrupted(reporter: Reporter) -> str:
        assert reporter.load_checkpoint() is None
        reporter.save_checkpoint(b"weights 1")
        reporter.save_checkpoint(b"weights 2")
        raise Interrupted

    with pytest.raises(Interrupted):
        run(stages, "training", interrupted)

    second = Recorder(first.checkpoint)
    stages = Stages(second, EXPECTED)

    def never(reporter: Reporter) -> str:
        raise AssertionError("done by the first attempt")

    assert run(stages, "analysis", never) == "spectrum"
    assert (
        run(stages, "training", lambda reporter: reporter.load_checkpoint().decode() + " and on") == "weights 2 and on"
    )

    third = Stages(Recorder(second.checkpoint), EXPECTED)
    assert run(third, "analysis", never) == "spectrum"
    assert run(third, "training", never) == "weights 2 and on"
    assert third.reporter("training").load_checkpoint() is None, "a finished stage keeps its outcome alone"


def test_a_checkpoint_of_another_version_is_left_alone(monkeypatch):
    first = Recorder()
    run(Stages(first, EXPECTED), "analysis", lambda reporter: "old")
    monkeypatch.setattr("worker.stages.VERSION", b"attractor 99.0")
    assert run(Stages(Recorder(first.checkpoint), EXPECTED), "analysis", lambda reporter: "new") == "new"

"""`attractor demo`, whole: a real service, a real job, a real picture; and what it says when something is wrong."""

import io
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from attractor_client import Event
from cli import progress
from cli.demo import report
from dynamics.samples import SAMPLES

pytestmark = pytest.mark.e2e


def run_demo(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli.main", "demo", "--data-dir", str(tmp_path / "out" / "data"), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=280, env={**os.environ, "COLUMNS": "140"}, check=False
    )


def is_png(path: Path) -> bool:
    return path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and path.stat().st_size > 50_000


def test_the_demo_learns_lorenz(tmp_path: Path) -> None:
    done = run_demo(tmp_path, "--budget", "120")
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout
    assert "\x1b" not in said  # no terminal: no colours, no moving bars
    exponent = float(said.split("largest exponent: ")[1].split()[0])
    assert exponent == pytest.approx(SAMPLES["lorenz63"].known.exponents[0], rel=0.1)
    tested = said.split("100,000 other steps")[-1]
    divergence = float(next(line for line in tested.splitlines() if "binned-30" in line).split("│")[2])
    # Nine of ten series like this one score below 0.6 (README); training is chaotic itself, so another processor may draw the tenth.
    assert 0 < divergence < 0.8
    assert "the series: chaotic" in said
    assert "predictability time: an error doubles every" in said
    assert is_png(tmp_path / "out" / "reconstruction.png")


def test_the_demo_takes_a_file_of_ones_own(tmp_path: Path) -> None:
    t = np.arange(3000) * 0.05
    noise = 0.01 * np.random.default_rng(1).standard_normal(len(t))
    np.save(tmp_path / "cycle.npy", (np.sin(t) + 0.3 * np.sin(2 * t) + noise)[:, None])
    done = run_demo(
        tmp_path, "--series", str(tmp_path / "cycle.npy"), "--dt", "0.05", "--time-unit", "s", "--budget", "4"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3,000 steps of 1 channels, dt = 0.05 s" in done.stdout
    assert "the series: chaotic" not in done.stdout
    assert is_png(tmp_path / "out" / "reconstruction.png")


def test_a_bad_file_is_explained_in_the_services_words(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("x,y\n1,2\n3,oops\n")
    done = run_demo(tmp_path, "--series", str(tmp_path / "bad.csv"))
    assert done.returncode == 1
    assert "oops" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_another_system_of_the_gallery(tmp_path: Path) -> None:
    done = run_demo(tmp_path, "--sample", "henon", "--budget", "5")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Hénon map, 5,000 steps, 1 % noise" in done.stdout
    exponent = float(done.stdout.split("largest exponent: ")[1].split()[0])
    assert exponent == pytest.approx(0.41922, rel=0.05)
    assert "known 0.4192" in done.stdout
    assert run_demo(tmp_path, "--sample", "lorentz").returncode == 2


WHEN = datetime(2026, 1, 1, tzinfo=UTC)
EVENTS = [
    Event(1, "status", {"status": "queued"}, WHEN),
    Event(2, "progress", {"phase": "training", "fraction": 0.5, "metrics": {"loss": 0.013}, "eta_s": 8.0}, WHEN),
    Event(3, "message", {"level": "info", "text": "Kernels are compiled."}, WHEN),
    Event(4, "status", {"status": "succeeded"}, WHEN),
]


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_told_on_a_terminal_and_off_it(terminal: bool) -> None:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
    progress.show(console, iter(EVENTS))
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "Kernels are compiled." in said
    assert ("100%" if terminal else "50%  training  loss 0.013, about 8 s left") in said


def test_what_is_undefined_says_why() -> None:
    unknown = {"value": None, "reason": "the series is noise", "ci": None, "level": None, "unit": "1/s"}
    assert "the series is noise" in report.lambda_max({"lambda_max": unknown})
    nothing = {"predictability": {"time": None, "steps": None, "unit": "s", "reason": "nothing diverges"}}
    assert "nothing diverges" in report.predictability(nothing)

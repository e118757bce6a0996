"""The client and a real service: the README's session in a fresh virtual environment, and a connection that breaks."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from serving import TRAINING, Served, eventually, henon, kill, serving

from attractor_client import Client, Event
from cli.demo.lorenz import as_csv, observed

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
README = ROOT / "sdk" / "python" / "README.md"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("service")) as served:
        yield served


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, timeout=280, **options)  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def fresh_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a virtual environment that has the wheel and what it asks for, and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    source = shutil.copytree(README.parent, folder / "source", ignore=shutil.ignore_patterns("build", "*.egg-info"))
    built = run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, source)
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    assert wheel.name == "attractor_client-0.1.0-py3-none-any.whl"
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    constraints = ROOT / "constraints.txt"
    installed = run(python, "-m", "pip", "install", "-q", "--only-binary", ":all:", "-c", constraints, wheel)
    if installed.returncode and "No matching distribution" in installed.stderr and not os.environ.get("CI"):
        pytest.skip("pip has no index to install httpx and numpy from")
    assert installed.returncode == 0, installed.stderr
    return python


def test_the_readmes_session_in_a_fresh_environment(service: Served, fresh_python: Path, tmp_path: Path) -> None:
    found = re.search(r"runs this block in a fresh .*? -->\n```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert found, "the README has lost its session"
    assert found[0] in (ROOT / "README.md").read_text(), "the two READMEs have different sessions"
    lines = [line for line in found[1].splitlines() if line.strip()]
    assert len(lines) == 10
    (tmp_path / "lorenz63.csv").write_bytes(as_csv(observed()[:5000]))
    (tmp_path / "session.py").write_text(found[1])
    environment = {"PATH": os.environ["PATH"], "ATTRACTOR_URL": service.url}
    done = run(fresh_python, "session.py", cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert "chaotic lambda_max = 0." in done.stdout
    there, here = (
        np.array(re.findall(r"-?\d+\.\d+", part), float) for part in re.findall(r"\[\[.*?\]\]", done.stdout, re.DOTALL)
    )
    assert there.shape == (9,)
    np.testing.assert_allclose(here, there, rtol=1e-6)
    assert "100%  succeeded" in done.stderr
    assert (tmp_path / "model.safetensors").stat().st_size > 1000


def test_the_wheel_needs_little_and_holds_all(fresh_python: Path) -> None:
    listed = run(fresh_python, "-m", "pip", "list", "--format=freeze").stdout.lower()
    names = {line.split("==")[0] for line in listed.split()}
    assert {"attractor-client", "httpx", "numpy"} <= names
    assert not names & {"torch", "pydantic", "scipy", "pandas", "polars", "rich", "attractor"}
    assert (
        run(
            fresh_python,
            "-c",
            "import attractor_client, importlib.resources as r; assert (r.files('attractor_client') / 'py.typed').is_file()",
        ).returncode
        == 0
    )


def test_a_wait_outlives_the_api_that_it_speaks_with(service: Served) -> None:
    with Client(service.url) as client:
        series = client.upload(henon(1000), channels=["x", "y"], dt=1.0, time_unit="step")
        job = client.train(series, **(TRAINING | {"updates": 4000, "budget_seconds": 60}))
        events: list[Event] = []

        def watch(event: Event) -> None:
            if not any(e.type == "progress" for e in events) and event.type == "progress":
                (api,) = service.children("api")
                kill(api)
                eventually(lambda: service.children("api") not in ([], [api]), "another API process runs")
            events.append(event)

        model = job.wait(timeout=120, progress=watch)
        assert model.architecture == "clipped-shplrnn"
        assert [e.seq for e in events] == list(range(1, len(events) + 1))
        assert events[-1].data["status"] == "succeeded"


def test_pausing_and_going_on(service: Served) -> None:
    with Client(service.url) as client:
        series = client.upload(henon(1000), channels=["x", "y"], dt=1.0, time_unit="step")
        job = client.train(series, **(TRAINING | {"updates": 2_000_000}))  # it is canceled in the end
        eventually(lambda: job.refresh().progress.phase == "training", "training has begun")
        assert job.pause().status in ("pausing", "paused")
        eventually(lambda: job.refresh().status == "paused", "the job is paused")
        assert job.resume().status == "queued"
        job.cancel()
        eventually(lambda: job.refresh().ended, "the job has ended")

"""The commands that ask a service: against a real one, and without any."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from rich.console import Console
from serving import Served, eventually, henon, serving
from typer.testing import CliRunner, Result

from attractor_client import LocalModel
from cli.demo.lorenz import as_csv, observed
from cli.main import app
from cli.remote import tables
from cli.remote.session import assigned

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guides" / "command-line.md"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("service")) as served:
        yield served


@pytest.fixture(autouse=True)
def _address(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    if "service" in request.fixturenames:
        monkeypatch.setenv("ATTRACTOR_URL", request.getfixturevalue("service").url)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


def printed(*arguments: str | Path) -> Any:
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def henon_csv(tmp_path: Path) -> Path:
    path = tmp_path / "henon.csv"
    np.savetxt(path, henon(1500), delimiter=",", header="x,y", comments="")
    return path


@pytest.mark.e2e
def test_the_guides_session(service: Served, tmp_path: Path) -> None:
    found = re.search(r"test_remote.py runs this block -->\n```bash\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert found
    (tmp_path / "lorenz63.csv").write_bytes(as_csv(observed()[:3000]))
    np.save(tmp_path / "context.npy", observed()[2990:3000])
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "200"}
    script = ["bash", "-eu", "-c", found[1]]
    done = subprocess.run(script, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "chaotic" in done.stdout
    assert done.stdout.count("clipped-shplrnn") >= 4
    forecast = np.genfromtxt(tmp_path / "forecast.csv", delimiter=",", names=True)
    assert len(forecast) == 200
    assert forecast.dtype.names[:3] == ("time", "x_median", "x_q005")
    assert "5.0 s" in done.stderr or "training" in done.stderr


@pytest.mark.e2e
def test_documents_and_files(service: Served, henon_csv: Path, tmp_path: Path) -> None:
    series = printed("upload", henon_csv, "--dt", "1", "--time-unit", "step", "--name", "henon", "--channels", "a, b")
    assert (series["channels"], series["name"]) == (["a", "b"], "henon")
    quick = ["--budget", "2", "--set", "seeds=1", "--set", "updates=100", "--set", "hidden_dim=8", "--priority", "3"]
    model = printed("train", series["id"], *quick)
    assert (model["architecture"], model["hidden_dim"]) == ("clipped-shplrnn", 8)
    (job,) = printed("jobs", "list", "--kind", "train", "--series", series["id"])
    assert (job["id"], job["priority"]) == (model["job_id"], 3)
    assert printed("jobs", "show", job["id"])["status"] == "succeeded"
    assert printed("jobs", "wait", job["id"])["id"] == model["id"]
    assert printed("models", "show", model["id"]) == printed("models", "list", "--series", series["id"])[0] | model
    there = printed("forecast", model["id"], "--steps", "5", "--samples", "1", "-o", tmp_path / "there.csv")
    file = tmp_path / "model.safetensors"
    assert (
        printed("models", "download", model["id"], "-o", file)["context_steps"] == LocalModel.load(file).context_steps
    )
    np.save(tmp_path / "context.npy", henon(1500))
    here = printed("forecast", file, "--steps", "5", "--samples", "1", "--context", tmp_path / "context.npy")
    np.testing.assert_allclose(here["a_median"], np.array(there["median"])[:, 0], rtol=1e-6)
    table = np.genfromtxt(tmp_path / "there.csv", delimiter=",", names=True)
    np.testing.assert_array_equal(table["b_median"], np.array(there["median"])[:, 1])


@pytest.mark.e2e
def test_samples_are_uploads_without_a_file(service: Served, henon_csv: Path) -> None:
    assert [s["name"] for s in printed("samples")][:2] == ["lorenz63", "roessler"]
    shown = run("samples").stdout
    assert "0.9056 1/s" in shown
    series = printed("upload", "--sample", "henon", "--steps", "300", "--noise", "0", "--seed", "2")
    assert (series["n_steps"], series["source"]["sample"]) == (300, "henon")
    assert run("upload", "--sample", "lorentz").exit_code == 1
    for wrong in (
        ("upload",),
        ("upload", henon_csv, "--sample", "henon"),
        ("upload", henon_csv, "--noise", "1"),
        ("upload", "--sample", "henon", "--dt", "1"),
    ):
        assert run(*wrong).exit_code == 2, wrong


@pytest.mark.e2e
def test_jobs_are_controlled(service: Served, henon_csv: Path) -> None:
    job = printed("train", henon_csv, "--dt", "1", "--set", "updates=10000000", "--budget", "3000", "--detach")["id"]
    eventually(lambda: printed("jobs", "show", job)["progress"]["phase"] == "training", "training has begun")
    assert run("jobs", "pause", job).exit_code == 0
    eventually(lambda: printed("jobs", "show", job)["status"] == "paused", "the job is paused")
    assert "is queued" in run("jobs", "resume", job).stdout
    assert run("jobs", "cancel", job).exit_code == 0
    waited = run("jobs", "wait", job)
    assert (waited.exit_code, "it was canceled" in waited.stderr) == (1, True)
    again = printed("jobs", "retry", job)["id"]
    assert printed("jobs", "cancel", again)["id"] == again
    assert "canceled" in run("jobs", "list").stdout


@pytest.mark.e2e
def test_ctrl_c_leaves_the_job_alone(service: Served, henon_csv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cli.progress.show", interrupted)
    done = run("analyze", henon_csv, "--dt", "1", "--budget", "1")
    assert done.exit_code == 130
    found = re.search(r"The job goes on: `attractor jobs wait (job_\w+)`", done.stderr)
    assert found
    monkeypatch.undo()
    monkeypatch.setenv("ATTRACTOR_URL", service.url)
    assert run("jobs", "wait", found[1]).exit_code == 0


@pytest.mark.e2e
def test_what_the_service_refuses_is_told_with_its_rows(service: Served, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("x,y\n1,2\n3,oops\n")
    done = run("upload", path)
    assert done.exit_code == 1
    assert "/columns/y" in done.stderr
    assert "rows 1" in done.stderr
    assert "[req_" in done.stderr
    assert run("jobs", "show", "job_" + "0" * 32).exit_code == 1
    assert "Traceback" not in done.stderr


def test_nobody_answers() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    done = run("jobs", "list", "--url", address)
    assert done.exit_code == 3
    assert f"Is a service running at {address}?" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["upload", "nowhere.csv"],
        ["analyze", "nowhere.csv"],
        ["analyze", "ser_1", "--set", "misspelt=1"],
        ["analyze", "ser_1", "--set", "n_exponents"],
        ["reconstruct", "ser_1", "--budget", "3", "--set", "train.budget_seconds=4"],
        ["reconstruct", "ser_1", "--set", "train=3", "--set", "train.seeds=4"],
        ["forecast", "mdl_1"],
        ["forecast", "mdl_1", "--steps", "3", "--lyapunov-times", "2"],
        ["jobs", "list", "--url", "localhost:8000"],
        ["jobs"],
        ["misspelt"],
    ],
)
def test_wrong_usage(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.exit_code == 2, done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_model_in_a_file_needs_a_context(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert run("forecast", tmp_path / "model.safetensors", "--steps", "3").exit_code == 2


def test_files_that_are_none_are_named(tmp_path: Path) -> None:
    text, rows = tmp_path / "text.csv", tmp_path / "rows.npy"
    text.write_text("x,y\n1,2\n")
    np.save(rows, np.ones((3, 2)))
    for arguments, said in (
        (("nowhere.safetensors",), "'nowhere.safetensors' is neither the id of a model (mdl_...) nor a file"),
        ((text, "--context", rows), f"'{text}' holds no model: this is no safetensors file"),
        ((text, "--context", text), f"'{text}' is no NPY file of numbers"),
    ):
        done = run("forecast", *arguments, "--steps", "3")
        assert done.exit_code == 2
        assert said in done.stderr


def test_ids_are_whole_on_a_narrow_terminal() -> None:
    console = Console(width=60)
    with console.capture() as captured:
        console.print(tables.table("Series", ("id", "name", "uploaded"), [("ser_" + "0" * 32, "n" * 30, "2026-01-01")]))
    assert "ser_" + "0" * 32 in captured.get()


def test_settings_are_json_and_nest() -> None:
    given = ["train.seeds=2", "train.forcing.kind=stf", "limits.timeout_s=5", 'note="3"', "lags=[0, 2]"]
    assert assigned(given, {"train.budget_seconds": 1.5, "dt": None}) == {
        "train": {"seeds": 2, "forcing": {"kind": "stf"}, "budget_seconds": 1.5},
        "limits": {"timeout_s": 5},
        "note": "3",
        "lags": [0, 2],
    }
    with pytest.raises(typer.BadParameter):
        assigned(["a..b=1"], {})


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_can_complete(shell: str) -> None:
    environment = os.environ | {
        "_ATTRACTOR_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": "attractor rec",
        "COMP_CWORD": "1",
    }
    environment |= {"_TYPER_COMPLETE_ARGS": "attractor rec", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    program = Path(sys.executable).with_name("attractor")
    done = subprocess.run([program], env=environment, capture_output=True, text=True, check=False)
    assert "reconstruct" in done.stdout, done.stderr

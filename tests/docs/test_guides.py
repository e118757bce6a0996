"""The blocks of the guides, run as they stand against a real service: Python, shell, and JavaScript in Chromium."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from serving import Served, serving

from attractor_client import Client

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
GUIDES = ROOT / "docs" / "guides"
# What takes long in a guide takes less here; the lines are the same.
SHORTER = {
    'train={"budget_seconds": 20}': 'train={"budget_seconds": 4, "seeds": 2}, lyapunov={"budget_seconds": 8}',
    "budget_seconds=10": "budget_seconds=5",
    "seeds=2, updates=6000": "seeds=1, updates=1500",
}


def blocks(page: str, language: str) -> list[str]:
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```", (GUIDES / page).read_text(), re.DOTALL | re.MULTILINE)
    assert found, f"{page} has no {language}"
    return found


def shortened(text: str) -> str:
    for long, short in SHORTER.items():
        text = text.replace(long, short)
    return text


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("service")) as served:
        yield served


@pytest.fixture(scope="module")
def model(service: Served) -> str:
    """A quick model of Lorenz-63, with channels x, y and z as the guide has them."""
    with Client(service.url) as client:
        job = client.train(client.sample("lorenz63"), forcing={"kind": "gtf", "alpha": 0.15}, updates=500, seeds=1)
        return str(job.wait(timeout=250).id)


def run(service: Served, folder: Path, *command: str, **more: str) -> str:
    environment = os.environ | {
        "ATTRACTOR_URL": service.url,
        "API": f"{service.url}/v1",
        "PYTHONPATH": str(ROOT / "sdk" / "python"),
        "no_proxy": "127.0.0.1",
        **more,
    }
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_page(service: Served, folder: Path, page: str) -> str:
    script = shortened("\n".join(blocks(page, "python")))
    assert script != "\n".join(blocks(page, "python")), "nothing was made shorter: has the guide changed?"
    return run(service, folder, sys.executable, "-c", script)


def test_the_first_reconstruction(service: Served, tmp_path: Path) -> None:
    said = run_page(service, tmp_path, "first-reconstruction.md")
    assert "10000 ['x', 'y', 'z'] []" in said
    assert "chaotic - Nearby states part exponentially" in said
    largest = re.search(r"largest exponent ([\d.]+) \[", said)
    assert largest
    assert float(largest[1]) == pytest.approx(0.9056, rel=0.1)
    assert re.search(r"trusted for \d+ steps", said)
    assert (tmp_path / "attractor.png").stat().st_size > 10_000
    assert (tmp_path / "forecast.png").stat().st_size > 10_000


def test_is_it_chaotic(service: Served, tmp_path: Path) -> None:
    said = run_page(service, tmp_path, "is-it-chaotic.md").splitlines()
    assert said[:2] == ["chaotic", "periodic"]
    assert said[2].startswith(("noise - ", "undecided - No nonlinear model"))
    assert said[3].startswith("exponent: unknown (")
    assert any(line.startswith("nonlinear-forecast") for line in said)


def test_choosing_forcing(service: Served, tmp_path: Path) -> None:
    said = run_page(service, tmp_path, "choosing-forcing.md")
    assert "'kind': 'gtf'" in said
    assert "'alpha': 0.15" in said


def test_forecasting_with_curl(service: Served, model: str, tmp_path: Path) -> None:
    assert shutil.which("curl"), "curl is not installed"
    script = blocks("forecasting-elsewhere.md", "bash")[1]
    said = run(service, tmp_path, "bash", "-euo", "pipefail", "-c", script, MODEL=model)
    assert re.search(r'"trusted_steps":\d+', said)
    table = np.genfromtxt(tmp_path / "forecast.csv", delimiter=",", names=True)
    assert (len(table), table.dtype.names[1]) == (50, "x_median")


def test_forecasting_with_python(service: Served, model: str, tmp_path: Path) -> None:
    client, alone, local = blocks("forecasting-elsewhere.md", "python")
    said = run(service, tmp_path, sys.executable, "-c", client, MODEL=model)
    assert "trusted for" in said
    assert re.search(r"invalid_parameters .* req_", said)
    assert re.match(r"\[[-\d.e, ]+\] \d+", run(service, tmp_path, sys.executable, "-c", alone, MODEL=model))
    with Client(service.url) as asking:
        asking.model(model).download(tmp_path / "model.safetensors")
    run(service, tmp_path, sys.executable, "-c", f"recent = [[1.1, 0.5, 19.6]]\n{local}")


@pytest.mark.browser
def test_forecasting_with_javascript(service: Served, model: str) -> None:
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        assert not os.environ.get("CI"), "Chromium is missing"
        pytest.skip("Chromium is not installed")
    (script,) = blocks("forecasting-elsewhere.md", "javascript")
    said: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.goto(f"{service.url}/livez")  # any page of the service
        page.evaluate(f"async ([API, MODEL]) => {{ {script} }}", [f"{service.url}/v1", model])
        with pytest.raises(Exception, match="not_found"):
            page.evaluate(f"async ([API, MODEL]) => {{ {script} }}", [f"{service.url}/v1", "mdl_" + "0" * 32])
        browser.close()
    assert any(re.search(r"\[[-\d., e]+\] \d+", line) for line in said), said

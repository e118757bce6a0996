"""The lines of the guide to plain HTTP, run as they stand, and what the README names: whoever copies them gets what they promise."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from cli.demo.lorenz import as_csv, observed
from cli.demo.service import running_service

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def session() -> str:
    guide = (ROOT / "docs" / "guides" / "ten-requests.md").read_text()
    found = re.search(r"<!-- tests/e2e/test_readme.py runs this block -->\n```bash\n(.*?)```", guide, re.DOTALL)
    assert found, "the guide has lost its session"
    return found.group(1)


def test_the_client_session_has_ten_requests_and_works(tmp_path: Path) -> None:
    lines = session()
    assert lines.count("curl ") == 10
    assert shutil.which("curl"), "curl is not installed"
    (tmp_path / "demo-output").mkdir()
    (tmp_path / "demo-output" / "lorenz63.csv").write_bytes(as_csv(observed()))
    with running_service(tmp_path / "data", tmp_path / "service.log") as service:
        script = "set -euo pipefail\n" + lines.replace("http://127.0.0.1:8000", service.url)
        env = {**os.environ, "no_proxy": "127.0.0.1"}
        done = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=280
        )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert '"valid":true' in done.stdout
    assert "event: progress" in done.stdout
    analysis = json.loads((tmp_path / "analysis.json").read_text())
    assert analysis["lambda_max"]["value"] == pytest.approx(0.906, rel=0.1)
    assert json.loads((tmp_path / "model.json").read_text())["id"].startswith("mdl_")
    assert (tmp_path / "model.safetensors").stat().st_size > 1000
    forecast = np.genfromtxt(tmp_path / "forecast.csv", delimiter=",", names=True)
    assert len(forecast) == 200
    assert forecast["time"][0] == pytest.approx(100.0)
    assert forecast.dtype.names[:2] == ("time", "x_median")


def test_every_file_that_the_readme_names_is_there() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([a-z]+)\b", README))))
def test_every_target_that_the_readme_names_is_there(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target

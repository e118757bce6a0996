"""The lines of docs/guides/keys.md, run as they stand; and a service that others can reach."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from serving import serving
from typer.testing import CliRunner

from cli.demo.service import running_service
from cli.main import app
from domain.keys import SCOPES

pytestmark = pytest.mark.e2e
GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "keys.md").read_text()


def lines() -> str:
    found = re.search(r"runs these lines.*?```bash\n(.*?)```", GUIDE, re.DOTALL)
    assert found, "the guide has lost its commands"
    return found.group(1)


def test_the_lines_of_the_guide_work(tmp_path: Path) -> None:
    with running_service(tmp_path / "attractor-data", tmp_path / "service.log") as service:
        programs = Path(sys.executable).parent
        environment = {
            **os.environ,
            "no_proxy": "127.0.0.1",
            "PATH": f"{programs}:{os.environ['PATH']}",
            "API": f"{service.url}/v1",
        }
        done = subprocess.run(
            ["bash", "-c", f"set -euo pipefail\n{lines()}"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"tenant":"lab"' in done.stdout
    assert "lacks the scope series:read" in done.stdout
    assert '"data":[]' in done.stdout
    assert "is revoked" in done.stdout
    assert "key.rotated" in done.stdout
    assert not re.search(r"atr_[0-9A-Za-z]{46}", done.stdout + (tmp_path / "service.log").read_text())


def test_every_scope_is_in_the_guide() -> None:
    assert all(f"`{scope}`" in GUIDE for scope in SCOPES)


def test_with_a_key_other_addresses_are_served(tmp_path: Path) -> None:
    key = CliRunner().invoke(app, ["keys", "create", "--data-dir", str(tmp_path)]).stdout.strip()
    with serving(tmp_path, ATTRACTOR_HOST="0.0.0.0") as served:
        assert served.url.startswith("http://0.0.0.0:")
        url = served.url.replace("0.0.0.0", "127.0.0.1")
        with httpx.Client(base_url=url, timeout=30.0, trust_env=False) as client:
            assert client.get("/readyz").status_code == 200
            assert client.get("/v1/series").status_code == 401
            assert client.get("/v1/series", headers={"Authorization": f"Bearer {key}"}).status_code == 200

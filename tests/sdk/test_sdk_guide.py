"""The guide's blocks, run one after the other against a real service."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from serving import serving

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guides" / "python-client.md"


def test_the_guides_lines_run(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert len(blocks) == 6
    (tmp_path / "guide.py").write_text("\n".join(blocks))
    with serving(tmp_path / "data") as service:
        environment = os.environ | {"ATTRACTOR_URL": service.url, "PYTHONPATH": str(ROOT / "sdk" / "python")}
        done = subprocess.run(
            [sys.executable, "guide.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "non_finite_values /columns/v [100, 101, 102] req_" in done.stdout
    assert "periodic" in done.stdout
    assert "% training" in done.stdout
    assert "2026-01-01 00:02:30" in done.stdout
    assert "'attractor', 'time-series'" in done.stdout
    assert (tmp_path / "attractor.png").read_bytes()[:4] == b"\x89PNG"
    assert "plotly" in (tmp_path / "spectrum.html").read_text()
    assert all(end in done.stdout for end in ("lower", "upper"))

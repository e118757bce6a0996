"""A few of the schedules of benchmarks/faults.py: processes killed under a real deployment, and every job accounted for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from serving import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.postgres, pytest.mark.redis]


def test_a_few_schedules(tmp_path: Path) -> None:
    report = tmp_path / "faults.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "faults.py"), "--schedules", "3", "--embedded", "0"]
    done = subprocess.run(
        [*command, "--output", str(report)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=250
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    (found,) = json.loads(report.read_text())["deployments"]
    assert {"kill job", "kill template", "kill worker"} <= set(found["faults"])
    assert found["jobs"] == sum(found["ends"].values()) >= 9
    assert not found["problems"]

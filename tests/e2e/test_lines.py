"""`attractor serve` where nobody looks on: every line that it and its children write is JSON."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import httpx
import pytest
from serving import QUICK, eventually, spawned

pytestmark = pytest.mark.e2e


def test_every_line_is_json(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cli.main", "serve", "--port", "0", "--data-dir", str(tmp_path / "data")]
    with spawned(command, QUICK | {"ATTRACTOR_LOG_FORMAT": "auto"}) as served:

        def address() -> str | None:
            assert served.process.poll() is None, served.lines
            found = re.search(r"attractor is ready at (http://[^\s\"]+)", "\n".join(served.lines))
            return found[1] if found else None

        url = eventually(address, "the service is ready")
        assert httpx.get(f"{url}/v1/jobs", trust_env=False, headers={"X-Request-ID": "mine"}).status_code == 200
        eventually(lambda: any("mine" in line for line in served.lines), "the request is logged")
        assert served.stop() == 0
    lines = [json.loads(line) for line in served.lines]
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
    assert {"cli.serve", "attractor.access"} <= {line["logger"] for line in lines}

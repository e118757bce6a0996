"""The lines of docs/guides/reports.md, run as they stand, against a server of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import serving
from fastapi import FastAPI
from stock import Stock

from attractor_client import Client

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "guides" / "reports.md").read_text()


@pytest.fixture
def url(app: FastAPI, stock: Stock) -> Iterator[str]:
    with serving.from_a_thread(app) as address:
        yield address


def test_the_lines_of_the_guide(url: str, stock: Stock, tmp_path: Path) -> None:
    (shell,) = re.findall(r"```bash\n(.*?)```", GUIDE, re.DOTALL)
    (python,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    shell = re.sub("mdl_[0-9a-f]{32}", stock.model_id, shell).replace("http://127.0.0.1:8000", url)
    environment = os.environ | {
        "ATTRACTOR_URL": url,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'sdk' / 'python'}",
        "no_proxy": "127.0.0.1",
    }
    for command in (["bash", "-euc", shell], [sys.executable, "-c", python]):
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    assert (tmp_path / "report.pdf").read_bytes() == (tmp_path / "again.pdf").read_bytes()
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")


def test_the_ending_says_what_a_report_is(client: Client, stock: Stock, tmp_path: Path) -> None:
    model = client.model(stock.model_id)
    with pytest.raises(ValueError, match=r"\.html or \.pdf"):
        model.save_report(tmp_path / "report.docx")
    assert model.save_report(tmp_path / "Report.HTML").stat().st_size > 10_000


def test_the_guide_names_every_section(client: Client, stock: Stock, tmp_path: Path) -> None:
    html = client.model(stock.model_id).save_report(tmp_path / "report.html").read_text()
    sections = re.findall(r'<h2 id="s\d+">(.*?)</h2>', html)
    named = re.findall(r"^\| ([A-Z][^|]*?) \|", GUIDE, re.MULTILINE)
    assert named == sections

"""The lines of docs/guides/figures.md, run as they stand, against a server of its own."""

from __future__ import annotations

import json
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

from figures.of import DEFINITIONS

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "guides" / "figures.md").read_text()
IDS = r"(?:ana|mdl|fct|evl)_[0-9a-f]{32}"


@pytest.fixture
def url(app: FastAPI, stock: Stock) -> Iterator[str]:
    with serving.from_a_thread(app) as address:
        yield address


def block(language: str) -> str:
    found = re.search(rf"runs this block -->\n```{language}\n(.*?)```", GUIDE, re.DOTALL)
    assert found, f"the guide has lost its {language} lines"
    return found.group(1)


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_the_lines_of_the_guide_work(url: str, stock: Stock, tmp_path: Path) -> None:
    shell = re.sub(IDS, stock.model_id, block("bash")).replace("http://127.0.0.1:8000", url)
    environment = {**os.environ, "no_proxy": "127.0.0.1"}
    for command in (
        ["bash", "-c", f"set -euo pipefail\n{shell}"],
        [sys.executable, "-c", f"API, model = '{url}/v1', '{stock.model_id}'\n{block('python')}"],
    ):
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "spectrum" in [figure["name"] for figure in json.loads((tmp_path / "list.json").read_text())["data"]]
    assert (tmp_path / "spectrum.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "spectrum.svg").read_text()
    assert json.loads((tmp_path / "prediction-error.json").read_text())["data"]
    assert "Plotly.newPlot" in (tmp_path / "spectrum.html").read_text()


def test_the_guide_names_every_figure_and_no_other() -> None:
    rows = re.findall(r"^\| (?:[a-z, ]*) ?\| ((?:`[a-z-]+`(?:, )?)+) \|", GUIDE, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([a-z-]+)`", row)}
    assert named == {definition.name for definitions in DEFINITIONS.values() for definition in definitions}


def test_every_picture_is_there() -> None:
    for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", GUIDE):
        assert (ROOT / "docs" / "guides" / target).exists(), target

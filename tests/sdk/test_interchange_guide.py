"""The lines of docs/guides/interchange.md, run as they stand, against a server of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import serving
from fastapi import FastAPI
from stock import Stock

import attractor_client as sdk
from attractor_client import Client

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "interchange.md"


@pytest.fixture
def url(app: FastAPI, stock: Stock) -> Iterator[str]:
    with serving.from_a_thread(app) as address:
        yield address


def test_the_blocks_of_the_guide(url: str, stock: Stock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert len(blocks) == 2
    names: dict[str, Any] = {}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATTRACTOR_URL", url)
    for block in blocks:
        exec(compile(block, str(GUIDE), "exec"), names)
    assert names["again"].origin == "imported"
    assert len(names["free_run"]) == 50
    written = {path.name for path in (tmp_path / "exported").iterdir()}
    assert written == {"model.safetensors", "model.json", "model.onnx", "encoder.onnx"}


def test_what_is_no_model_is_refused(client: Client, tmp_path: Path) -> None:
    with pytest.raises(sdk.DataError, match="no file"):
        client.import_model(tmp_path / "nowhere.safetensors")
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(sdk.UnsupportedFormat, match="safetensors"):
        client.import_model(tmp_path / "model.json")

"""The page and the figures share one palette."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from figures.themes import THEMES

STYLE = (Path(__file__).parents[2] / "web" / "style.css").read_text()


@pytest.mark.parametrize(("theme", "selector"), [("light", ":root {"), ("dark", ':root[data-theme="dark"] {')])
def test_data_model_and_paper_have_the_colours_of_the_figures(theme: str, selector: str) -> None:
    block = STYLE.split(selector)[1].split("}")[0]
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block))
    assert colours["data"] == THEMES[theme].roles["data"]
    assert colours["model"] == THEMES[theme].roles["model"]
    assert colours["card"] == THEMES[theme].paper  # figures stand on cards

"""The index of the science names functions that are there, and leaves out no architecture and no measure."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from dynamics import measures
from models import ARCHITECTURES

INDEX = (Path(__file__).parents[2] / "docs" / "science" / "README.md").read_text()
NAMES = sorted(set(re.findall(r"`((?:dynamics|models)\.[\w.]+)`", INDEX)))


def look_up(name: str) -> Any:
    """`a.b.c` as it would be imported: from the longest module among its beginnings."""
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[cut:]:
            found = getattr(found, attribute)
        return found
    raise ModuleNotFoundError(name)


def test_the_index_is_not_empty() -> None:
    assert len(NAMES) > 50


@pytest.mark.parametrize("name", NAMES)
def test_what_is_named_is_there_and_says_what_it_does(name: str) -> None:
    found = look_up(name)
    assert callable(found)
    assert found.__doc__


def test_a_name_that_is_none_is_seen() -> None:
    with pytest.raises(AttributeError):
        look_up("dynamics.measures.d_x")


def test_nothing_is_left_out() -> None:
    named = {look_up(name) for name in NAMES}
    assert set(ARCHITECTURES.values()) <= named
    at_home = {found.__module__ for found in named}
    for path in Path(measures.__file__).parent.glob("[a-z]*.py"):
        assert f"dynamics.measures.{path.stem}" in at_home

"""The guide's example is a real architecture: it goes through the battery that the others go through."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from models import ARCHITECTURES, Size
from models.base import Architecture

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "guides" / "adding-an-architecture.md").read_text()
SIZES = [Size(1), Size(4)]
BATTERY = [
    "test_shapes_and_sizes",
    "test_jacobian_equals_autodiff",
    "test_batched_equals_looped_and_numpy_equals_torch",
    "test_single_precision_stays_single",
    "test_everything_stays_on_its_device",
    "test_the_bound_bounds_the_jacobian",
    "test_the_same_seed_gives_the_same_parameters",
    "test_units_that_are_read",
    "test_initial_maps_neither_explode_nor_die",
]


def module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[type[Architecture]]:
    found = re.search(r"runs this block -->\n```python\n(.*?)```", GUIDE, re.DOTALL)
    assert found, "the guide has lost its example"
    before = dict(ARCHITECTURES)
    path = tmp_path_factory.mktemp("example") / "sine_rnn.py"
    path.write_text(found[1])
    try:
        made: type[Architecture] = module(path).SineRNN
        assert set(ARCHITECTURES) - set(before) == {"sine-rnn"}
        yield made
    finally:
        ARCHITECTURES.clear()
        ARCHITECTURES.update(before)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", BATTERY)
def test_the_example_passes_the_battery(example: type[Architecture], name: str, size: Size) -> None:
    getattr(module(ROOT / "tests" / "models" / "test_models_battery.py"), name)(example.name, size)


def test_the_example_is_the_identity_where_it_says_so(example: type[Architecture]) -> None:
    values = example.identity({}) or {}
    params = {name: np.full(shape, values[name]) for name, shape in example.shapes(Size(3)).items()}
    z = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_array_equal(example.step(params, z), z)


def test_the_battery_would_fail_for_a_wrong_jacobian(example: type[Architecture]) -> None:
    class Wrong(example):  # type: ignore[valid-type,misc]
        name = "wrong-rnn"

        @staticmethod
        def jacobian(params, z, xp=np):  # type: ignore[no-untyped-def]
            return example.jacobian(params, z, xp) * 1.001

    with pytest.raises(AssertionError):
        module(ROOT / "tests" / "models" / "test_models_battery.py").test_jacobian_equals_autodiff(Wrong.name, Size(4))


@pytest.mark.parametrize("path", re.findall(r"^\| `([\w/.]+)` \|", GUIDE, re.MULTILINE))
def test_every_file_of_the_walk_knows_an_architecture_that_is_there(path: str) -> None:
    assert re.search("al-rnn|ALRNN", (ROOT / path).read_text())


def test_the_files_of_tests_are_there() -> None:
    named = re.findall(r"`((?:tests|benchmarks|models)/[\w/.]+\.py)`", GUIDE)
    assert len(named) >= 8
    assert not [path for path in named if path != "models/sine_rnn.py" and not (ROOT / path).exists()]

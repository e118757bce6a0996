"""Observed and input columns of a series as training reads them: by name, row by row, across lags and gaps."""

from __future__ import annotations

import numpy as np
import pytest

from domain.errors import ConstantSeries, InvalidParameters, UnknownChannel
from domain.specs import TrainSpec
from dynamics.input_channels import separate
from dynamics.training.data import TrainingData, prepare
from dynamics.training.settings import resolve
from dynamics.training.split import split

CHANNELS = ["s1", "a", "s0", "b"]


def table(first: int, rows: int) -> np.ndarray:
    """Every value tells its row: column c of row t is t + 1000 c."""
    return np.arange(first, first + rows)[:, None] + 1000.0 * np.arange(4)


def prepared(segments: list[tuple[int, np.ndarray]], channels: list[str] = CHANNELS, **params: object) -> TrainingData:
    spec = TrainSpec.model_validate(
        {"sequence_length": 20, "input_channels": ["s0", "s1"], "regularization": {"smoothing": "off"}} | params
    )
    parts = split(segments, spec)
    observed = separate(channels, spec.input_channels).observed
    settings = resolve(spec, parts.select(observed), len(observed), 1.0, None)
    return prepare(parts, settings, channels)


@pytest.mark.parametrize("lags", [[0], [0, 3, 7]])
def test_inputs_lie_beside_the_observations_of_their_row(lags: list[int]) -> None:
    data = prepared([(0, table(0, 120)), (200, table(200, 150))], embedding_lags=lags)
    rows = data.series[:, 0] * data.std[0] + data.mean[0] - 1000  # channel a is column 1
    assert data.mean.shape == data.std.shape == (2,)
    np.testing.assert_allclose(data.series[:, 1] * data.std[1] + data.mean[1], rows + 3000)
    inputs = data.inputs * data.input_std + data.input_mean  # in the order in which they are named: s0, s1
    np.testing.assert_allclose(inputs, np.stack([rows + 2000, rows], axis=1), atol=1e-9)
    assert rows[0] == pytest.approx(lags[-1])
    assert [len(p) for p in data.train_inputs] == [len(p) for p in data.train] == [120 - lags[-1], 111 - lags[-1]]
    assert [len(p) for p in data.validation_inputs] == [len(p) for p in data.validation]
    np.testing.assert_allclose(
        data.validation_inputs[0][:, 1] * data.input_std[1] + data.input_mean[1] + 1000,
        data.validation[0][:, 0] * data.std[0] + data.mean[0],
    )
    used = np.concatenate([table(0, 120), table(200, 111)])
    np.testing.assert_allclose(data.input_mean, used[:, [2, 0]].mean(axis=0))
    np.testing.assert_allclose(data.input_std, used[:, [2, 0]].std(axis=0))
    gaps = np.diff(rows[data.starts[:, None] + np.arange(21)], axis=1)
    assert (np.abs(gaps - 1) < 1e-9).all()  # no sequence crosses the gap


def test_inputs_are_standardised_even_where_observations_are_not() -> None:
    data = prepared([(0, table(0, 120))], standardize=False)
    np.testing.assert_array_equal((data.mean, data.std), (np.zeros(2), np.ones(2)))
    assert data.inputs.std() == pytest.approx(1)


def test_a_series_without_inputs_has_none() -> None:
    data = prepared([(0, table(0, 120))], input_channels=[])
    assert data.n_observed == 4
    assert data.inputs.shape == (len(data.series), 0)
    assert data.validation_inputs[0].shape == (len(data.validation[0]), 0)


def test_inputs_are_never_smoothed() -> None:
    rough = table(0, 300) + np.random.default_rng(0).standard_normal((300, 4))
    data = prepared([(0, rough)], regularization={"smoothing": 9})
    assert not np.allclose(data.series, data.train[0])
    np.testing.assert_array_equal(data.inputs, data.train_inputs[0])
    np.testing.assert_allclose(data.inputs * data.input_std + data.input_mean, rough[: len(data.inputs), [2, 0]])


def test_a_constant_input_is_refused_by_name() -> None:
    values = table(0, 120)
    values[:, 2] = 5
    with pytest.raises(ConstantSeries, match="s0 does not vary") as caught:
        prepared([(0, values)])
    assert caught.value.errors[0].pointer == "/columns/s0"


def test_inputs_that_are_not_there_and_nothing_left_to_observe() -> None:
    assert separate(CHANNELS, ["s0", "s1"]) == ([1, 3], [2, 0], [])
    with pytest.raises(UnknownChannel, match="chosen channels are s1, a, s0, b") as caught:
        separate(CHANNELS, ["s0", "c"], at="/params/train")
    assert caught.value.errors[0].pointer == "/params/train/input_channels/1"
    with pytest.raises(InvalidParameters, match="nothing is left") as nothing:
        separate(["a", "b"], ["b", "a"])
    assert nothing.value.errors[0].pointer == "/params/input_channels"

"""Sequences through rare states are drawn oftener, by the stated weights; states from which a map is lost are counted."""

from __future__ import annotations

import numpy as np
import pytest
from hand_made import tent

from domain.specs import TrainSpec
from dynamics.training.balance import balanced, leading_axes
from dynamics.training.data import prepare
from dynamics.training.selection import Referee
from dynamics.training.settings import resolve
from dynamics.training.split import split

SLOPE = 1.9998  # below 2, at which orbits fall on the fixed point 0 by rounding


def test_sequences_are_drawn_in_proportion_to_the_inverse_root_of_their_cells_counts() -> None:
    """90 rows in one cell, 10 in another: weights 90^(-1/2) and 10^(-1/2) a step, written out for sequences of two steps."""
    rows = np.zeros((100, 1))
    rows[40:50] = 1.0
    starts = np.arange(98)
    drawn = balanced(rows, starts, 2)
    weight = np.where((np.arange(100) >= 40) & (np.arange(100) < 50), 10**-0.5, 90**-0.5)
    expected = (weight[:98] + weight[1:99]) / 2
    counts = np.bincount(drawn, minlength=98)
    assert len(drawn) == 196
    assert np.abs(counts - 196 * expected / expected.sum()).max() <= 1  # systematic: never off by more than one draw
    assert set(np.unique(drawn)) <= set(starts.tolist())


def test_evenly_visited_states_are_drawn_evenly() -> None:
    rows = np.tile(np.arange(8.0), 50)[:, None]
    counts = np.bincount(balanced(rows, np.arange(300), 16), minlength=300)
    assert (counts == 2).all()


def test_only_given_starts_are_drawn_and_none_crosses_a_gap() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((500, 5))
    starts = np.concatenate([np.arange(0, 180), np.arange(200, 480)])
    drawn = balanced(rows, starts, 20)
    assert np.isin(drawn, starts).all()
    assert (np.diff(drawn) >= 0).all()


def test_many_coordinates_are_seen_along_the_directions_of_largest_variance() -> None:
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    points = rng.standard_normal((4000, 6)) * [9, 6, 4, 0.1, 0.1, 0.1] @ basis.T + 3.0
    center, axes = leading_axes(points)
    np.testing.assert_allclose(center, points.mean(axis=0))
    assert np.abs(basis[:, :3].T @ axes).round(1).trace() == pytest.approx(3)
    identity = leading_axes(points[:, :3])
    np.testing.assert_array_equal(identity[0], 0)
    np.testing.assert_array_equal(identity[1], np.eye(3))


def orbit(n_steps: int) -> np.ndarray:
    """Orbit of the tent map of slope SLOPE: (n_steps, 1)."""
    x = np.empty((n_steps, 1))
    x[0] = 0.1234567
    for t in range(1, n_steps):
        x[t] = SLOPE * min(x[t - 1, 0], 1 - x[t - 1, 0])
    return x


def referee_of(values: np.ndarray) -> Referee:
    spec = TrainSpec(standardize=False, sequence_length=20, test_fraction=0.0)
    parts = split([(0, values)], spec)
    return Referee(prepare(parts, resolve(spec, parts, 1, 1.0, None), ["x"]))


def test_a_state_from_which_the_model_is_lost_is_found_however_rare() -> None:
    """The tent map leaves [0, 1] for infinity from a single row at -0.3; all else is on its attractor."""
    model, values = tent(SLOPE), orbit(4000)
    assert referee_of(values).lost_states(model) == 0
    values[0] = -0.3
    referee = referee_of(values)
    assert referee.lost_states(model) == pytest.approx(1 / len(referee.rare_rows))
    assert referee.rare_rows[0] == 0  # the rarest comes first
    assert 5 < len(referee.rare_rows) <= 8

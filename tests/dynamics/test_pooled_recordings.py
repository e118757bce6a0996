"""Families judged on short recordings together: the true maps are good, maps of the wrong recordings are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hand_made import clipped_tent

from domain.specs import EvaluateSpec
from dynamics.family_evaluation import evaluate_recordings
from dynamics.measures import d_stsp_binned
from models import TrainedModel
from models.families import Family

SLOPES = np.linspace(1.5, 1.95, 10)
SPEC = EvaluateSpec(lyapunov_steps=2000, prediction_horizon_steps=2)


def tents(slopes: np.ndarray) -> TrainedModel:
    """z -> s min(z, 1 - z) with a slope of its own for each recording: exact, since A and W1 are proportional to s."""
    common = clipped_tent(1.7, residual_std=np.full(1, 1e-6))
    directions = {k: v[None] / 1.7 if k in ("A", "W1") else np.zeros((1, *v.shape)) for k, v in common.params.items()}
    names = [f"r{i}" for i in range(len(slopes))]
    return replace(common, family=Family(names, (slopes - 1.7)[:, None], directions))


def recordings(n_rows: int) -> list[np.ndarray]:
    model, rng = tents(SLOPES), np.random.default_rng(0)
    return [model.of(i).free_run(rng.uniform(0.3, 0.6, 1), 100 + n_rows)[100:] for i in range(len(SLOPES))]


def report(slopes: np.ndarray, n_rows: int):  # type: ignore[no-untyped-def]
    model, parts = tents(slopes), recordings(n_rows)
    return evaluate_recordings(
        model,
        parts,
        names=list(model.family.names),
        spec=SPEC,
        reference_steps=(0, n_rows),  # type: ignore[union-attr]
    )


def test_short_recordings_are_judged_together() -> None:
    found = report(SLOPES, 30)
    assert {line.verdict for line in found.recordings} == {"undecided"}, "30 rows alone say nothing"
    assert found.verdict == "good", found.detail
    assert found.detail.startswith("10 recordings together, 300 held-out rows")
    long = found.d_stsp_long
    assert (long.variant, found.d_stsp.variant) == ("binned-30-recordings-long", "binned-30-recordings")
    assert long.value == pytest.approx(long.parameters["own_level"], abs=0.3)
    assert found.prediction_error.value == pytest.approx(0, abs=1e-12)
    assert found.prediction_error.parameters["n_starts"] == 10 * 28


def test_maps_of_other_recordings_are_seen() -> None:
    """The same maps in another order visit the same places all in all: one histogram of everything could not tell."""
    found, truth = report(SLOPES[::-1], 30), report(SLOPES, 30)
    assert found.verdict in ("fair", "poor"), found.detail
    assert found.d_stsp_long.value - found.d_stsp_long.parameters["own_level"] > 0.5
    model = tents(SLOPES)
    together = np.concatenate(recordings(300))
    runs = np.concatenate([model.of(9 - i).free_run(np.full(1, 0.4), 3000) for i in range(10)])
    assert d_stsp_binned(together, runs).value == pytest.approx(0, abs=0.1)
    assert truth.verdict == "good"


def test_too_few_even_together() -> None:
    assert report(SLOPES, 9).verdict == "undecided"


def test_long_recordings_are_judged_by_themselves() -> None:
    found = report(SLOPES, 150)
    assert found.detail.startswith("Recording")
    assert found.d_stsp.variant == "binned-30"

"""A family of maps judged on many short recordings together, of which none would do by itself.

Each recording's rows are compared with free runs of its own map, and the comparisons are averaged with the numbers of rows as
weights: sum_r w_r KL(p_r || q_r) is the divergence between the joint distributions of recording and state, so that a map which
has the places of another recording is seen, as it would not be in one histogram of all.
Few rows fill few cells whatever the model is: what counts is the excess over what as few rows of the model's own runs score
(`own_level`) and over one half of each recording against the other (`floor`), averaged likewise.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from domain.base import Measure
from domain.specs import EvaluateSpec
from dynamics.evaluation import over_runs, with_noise
from dynamics.judgement import Fate, Findings
from dynamics.kernels import free_run
from dynamics.measures import MAX_BINNED_CHANNELS, d_h_floor, d_h_pooled, d_stsp_binned, prediction_error
from dynamics.references import MIN_REFERENCE_STEPS, N_STARTS, Reference, Runs, free_runs
from dynamics.reporting import Reporter
from models.trained import TrainedModel

MOST_POOLED = 30  # recordings, spread evenly
LONG_STEPS = 20_000  # of each of the runs of each of them
LEAST_ROWS = 4  # of a recording: two halves of two rows


def pooled_findings(
    members: list[tuple[TrainedModel, Reference]],
    exponents: list[float | None],
    spec: EvaluateSpec,
    reporter: Reporter,
) -> Findings | None:
    """What the verdict needs, of (map of a recording, its held-out rows); None where they are too few even together.

    Of models without inputs and with at most five coordinates: for others there is no measure that few rows would do for.
    """
    members = [(own, rows) for own, rows in members if rows.n_steps >= LEAST_ROWS]
    n_rows = sum(rows.n_steps for _, rows in members)
    if n_rows < MIN_REFERENCE_STEPS or any(
        own.inputs is not None or own.n_observed > MAX_BINNED_CHANNELS for own, _ in members
    ):
        return None
    everything = np.concatenate([rows.pooled for _, rows in members])
    margin = 0.1 * everything.std(axis=0)
    box = everything.min(axis=0) - margin, everything.max(axis=0) + margin
    runs = [free_runs(own, rows, reporter, LONG_STEPS) for own, rows in members]
    pairs = list(zip(members, runs, strict=True))
    equal, long = ([_over_recordings(pairs, box, b, long=wide) for b in range(N_STARTS)] for wide in (False, True))
    pieces = [part for _, rows in members for part in rows.segments]
    spectral = [d_h_pooled(pieces, [run.observed[p, b] for run in runs for p in run.pieces]) for b in range(N_STARTS)]
    settings: dict[str, Any] = {"starts": N_STARTS, "recordings": len(members)}
    return Findings(
        model=members[0][0],
        n_reference=n_rows,
        n_given=n_rows,
        undecided=None,
        fates=[fate for run in runs for fate in _fates(run, everything)],
        d_stsp=over_runs(equal, settings, _floor(members, box)),
        d_stsp_long=over_runs(long, settings | _own_level(pairs, box), None),
        d_h=over_runs(spectral, settings, d_h_floor(pieces).value),
        prediction_error=_prediction_error(members, everything.std(axis=0), spec, reporter),
        counted=[],
        exponents=exponents,
        lambda_max=None,
    )


Pair = tuple[tuple[TrainedModel, Reference], Runs]


def _over_recordings(pairs: list[Pair], box: tuple[np.ndarray, np.ndarray], b: int, *, long: bool) -> Measure:
    """sum_r w_r d_stsp(rows of r, run b of its map); a recording whose run never comes into the box makes it undefined."""
    total, n_rows = 0.0, 0
    variant = "binned-30-recordings-long" if long else "binned-30-recordings"
    for (own, rows), run in pairs:
        y = run.observed[:, b] if long else run.observed[: rows.n_steps, b]
        found = d_stsp_binned(rows.pooled, with_noise(own, y, b) if long else y, box=box)
        if found.value is None:
            return Measure(reason=found.reason, variant=variant)
        total, n_rows = total + found.value * rows.n_steps, n_rows + rows.n_steps
    return Measure(
        value=total / n_rows, variant=variant, parameters={"generated_steps": LONG_STEPS if long else n_rows}
    )


def _own_level(pairs: list[Pair], box: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
    """What as few rows of each map's own run score against another run of it, averaged like the measure."""
    total, n_rows = 0.0, 0
    for (own, rows), run in pairs:
        level = d_stsp_binned(
            with_noise(own, run.observed[: rows.n_steps, 0], N_STARTS), with_noise(own, run.observed[:, 1], 1), box=box
        ).value
        if level is not None:
            total, n_rows = total + level * rows.n_steps, n_rows + rows.n_steps
    return {"own_level": total / n_rows} if n_rows else {}


def _floor(members: list[tuple[TrainedModel, Reference]], box: tuple[np.ndarray, np.ndarray]) -> float | None:
    total, n_rows = 0.0, 0
    for _, rows in members:
        half = rows.n_steps // 2
        level = d_stsp_binned(rows.pooled[:half], rows.pooled[half : 2 * half], box=box).value
        if level is not None:
            total, n_rows = total + level * rows.n_steps, n_rows + rows.n_steps
    return total / n_rows if n_rows else None


def _fates(run: Runs, everything: np.ndarray) -> list[Fate]:
    """Few rows hardly say where an attractor ends: a run has diverged that leaves where all recordings are, ten times over."""
    low, high = everything.min(axis=0), everything.max(axis=0)
    near = (np.abs(run.observed - (low + high) / 2) <= 10 * (high - low)).all(axis=(0, 2))
    return [fate if fate != "diverged" else "ok" if near[b] else "diverged" for b, fate in enumerate(run.fates)]


def _prediction_error(
    members: list[tuple[TrainedModel, Reference]], scale: np.ndarray, spec: EvaluateSpec, reporter: Reporter
) -> Measure:
    """Over all starts of all recordings, in units of the variance of all rows together."""
    found = [
        prediction_error(
            own,
            rows.known,
            spec.prediction_horizon_steps,
            lead_in=rows.lead_in,
            scale=scale,
            free_run=lambda z, n, drive, own=own: free_run(own, z, n, drive=drive),  # type: ignore[misc]
            reporter=reporter,
        )
        for own, rows in members
    ]
    variant = f"mse-{spec.prediction_horizon_steps}"
    measured = [m for m in found if "n_starts" in m.parameters]
    if not measured:
        return Measure(reason=found[0].reason, variant=variant)
    if bad := next((m.reason for m in measured if m.value is None), None):
        return Measure(reason=bad, variant=variant)
    starts = np.array([m.parameters["n_starts"] for m in measured], float)
    value = float(starts @ np.array([m.value for m in measured]) / starts.sum())
    persistence = float(starts @ np.array([m.parameters["persistence"] for m in measured], float) / starts.sum())
    parameters = {
        "horizon_steps": spec.prediction_horizon_steps,
        "n_starts": int(starts.sum()),
        "persistence": persistence,
    }
    return Measure(value=value, variant=variant, parameters=parameters)

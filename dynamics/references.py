"""What a model is measured against, and its free runs beside it. Protocol: docs/science/measures.md."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dynamics.judgement import Fate
from dynamics.kernels import free_run
from dynamics.measures import MAX_BINNED_CHANNELS
from dynamics.reporting import Reporter
from models.trained import Drive, TrainedModel

N_STARTS = 5  # odd, so that the median is one of them
MIN_REFERENCE_STEPS = 100
MAX_REFERENCE_STEPS = 100_000
LONG_RUN_STEPS = 100_000
_MAX_RUN_VALUES = 16_000_000  # n_steps * starts * coordinates of the free runs
_RUN_WORK = 1e9  # multiplications per compiled call of a free run, about 0.1 s
LEAST_DRIVEN_ROWS = 20  # a shorter stretch between gaps says nothing about a driven run


@dataclass(frozen=True)
class Reference:
    """Embedded, standardised observations that the model is measured against, and the inputs of their rows."""

    segments: list[np.ndarray]  # (T_i, N_e)
    pooled: np.ndarray  # (T, N_e), all of them
    inputs: list[np.ndarray] | None = None  # (T_i, K) standardised; None for a model without inputs

    @property
    def n_steps(self) -> int:
        return len(self.pooled)

    @property
    def longest(self) -> np.ndarray:
        return max(self.segments, key=len)

    @property
    def longest_inputs(self) -> np.ndarray | None:
        """Inputs of the rows of `longest`."""
        if self.inputs is None:
            return None
        return self.inputs[max(range(len(self.segments)), key=lambda i: len(self.segments[i]))]

    @property
    def reason(self) -> str | None:
        """Why nothing can be measured against it, if so."""
        if self.n_steps >= MIN_REFERENCE_STEPS:
            return None
        return f"the reference has {self.n_steps} usable steps, at least {MIN_REFERENCE_STEPS} are needed"


def make_reference(model: TrainedModel, segments: list[np.ndarray], inputs: list[np.ndarray] | None) -> Reference:
    """Embed the segments, the first MAX_REFERENCE_STEPS steps of them or fewer for very wide models.

    `segments` (T_i, N) and `inputs` (T_i, K), own units, row by row. Raises ValueError for a model with inputs without
    them, and the other way round.
    """
    if (inputs is None) != (model.inputs is None):
        raise ValueError("inputs are needed for a model with inputs, and for no other")
    left = min(MAX_REFERENCE_STEPS, _MAX_RUN_VALUES // (2 * N_STARTS * max(model.latent_dim, model.n_observed)))
    embedded, driving = [], []
    for i, segment in enumerate(segments):
        if len(segment) < model.context_steps or left <= 0:
            continue
        embedded.append(model.embed(segment)[:left])
        if model.inputs is not None and inputs is not None:
            if len(inputs[i]) != len(segment):
                raise ValueError(f"segment {i} has {len(segment)} rows, its inputs have {len(inputs[i])}")
            rows = inputs[i][model.lags[-1] :][: len(embedded[-1])]
            driving.append(model.inputs.standardise(rows))
        left -= len(embedded[-1])
    if not embedded:
        embedded = [np.empty((0, model.n_observed))]
        driving = [np.empty((0, len(model.input_channels)))]
    return Reference(embedded, np.concatenate(embedded), None if model.inputs is None else driving)


@dataclass(frozen=True)
class Runs:
    """Free runs from points of the reference, their first `dropped` steps left out, and what they are compared with."""

    observed: np.ndarray  # (n_steps, B, N_e)
    states: np.ndarray  # (K, M), latent states along the runs, where the spectrum of a model without inputs starts
    fates: list[Fate]  # of each run
    dropped: int
    truth: np.ndarray  # (T, N_e) rows of the reference that the first T steps are compared with
    pieces: list[slice]  # the parts of `truth` without a gap, and the steps that are compared with them


def free_runs(model: TrainedModel, reference: Reference, reporter: Reporter) -> Runs:
    """From evenly spaced points of the reference, for 1.25 T steps or longer, the first 0.25 T dropped."""
    n_steps, dropped = reference.n_steps, reference.n_steps // 4
    if model.n_observed <= MAX_BINNED_CHANNELS and n_steps < LONG_RUN_STEPS:
        n_steps = max(n_steps, min(LONG_RUN_STEPS, _MAX_RUN_VALUES // (N_STARTS * model.latent_dim)))
    if reference.n_steps:
        starts = reference.pooled[np.linspace(0, reference.n_steps, N_STARTS, endpoint=False).astype(int)]
    else:
        starts = np.zeros((N_STARTS, model.n_observed))
    observed, states = _run(model, starts, dropped + n_steps, None, reporter)
    fates = [_fate(observed[:, b], reference.pooled) for b in range(N_STARTS)]
    alive = np.concatenate([s[[fate != "diverged" for fate in fates]] for s in states])
    return Runs(observed[dropped:], alive, fates, dropped, reference.pooled, _end_to_end(reference.segments))


def driven_runs(model: TrainedModel, reference: Reference, reporter: Reporter) -> Runs:
    """Through every segment of the reference, driven by its recorded inputs and by nothing else: no run outlasts them.

    Five runs start at points spaced evenly over the first quarter of a segment and go to its end; its other three
    quarters are compared with the rows of the reference that had the same inputs.
    """
    assert reference.inputs is not None
    parts: list[np.ndarray] = []
    truths: list[np.ndarray] = []
    dropped = 0
    for segment, inputs in zip(reference.segments, reference.inputs, strict=True):
        if len(segment) < LEAST_DRIVEN_ROWS:
            continue
        quarter = len(segment) // 4
        rows = np.linspace(0, quarter, N_STARTS, endpoint=False).astype(int)
        observed, _ = _run(model, segment[rows], len(segment) - 1, Drive(inputs, rows + 1), reporter)
        # Step k of run b is row rows[b] + 1 + k of the segment; what lies beyond its end has wrapped and is cut off here.
        kept = [observed[quarter - row - 1 : len(segment) - row - 1, b] for b, row in enumerate(rows)]
        parts.append(np.stack(kept, axis=1))
        truths.append(segment[quarter:])
        dropped += quarter
    if not parts:
        empty = np.empty((0, model.n_observed))
        none: list[Fate] = ["ok"] * N_STARTS
        return Runs(np.empty((0, N_STARTS, model.n_observed)), np.empty((0, 0)), none, 0, empty, [slice(0, 0)])
    every, truth = np.concatenate(parts), np.concatenate(truths)
    fates = [_fate(every[:, b], truth) for b in range(N_STARTS)]
    return Runs(every, np.empty((0, 0)), fates, dropped, truth, _end_to_end(truths))


def _end_to_end(parts: list[np.ndarray]) -> list[slice]:
    """Where each part is once they are laid end to end."""
    ends = np.cumsum([len(part) for part in parts]).tolist()
    return [slice(end - len(part), end) for part, end in zip(parts, ends, strict=True)]


def _run(
    model: TrainedModel, starts: np.ndarray, n_steps: int, drive: Drive | None, reporter: Reporter
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Observations of free runs from `starts` (B, N_e), (n_steps, B, N_e), and the states after each compiled call, (B, M)."""
    chunk = max(1, int(_RUN_WORK / (16 * step_work(model))))
    z = model.encode(starts)
    observed, states = np.empty((n_steps, *starts.shape)), []
    for first in range(0, n_steps, chunk):
        reporter.check()
        later = None if drive is None else Drive(drive.values, drive.rows + first)
        run = free_run(model, z, min(chunk, n_steps - first), drive=later)
        z = run[-1]
        states.append(z)
        with np.errstate(over="ignore", invalid="ignore"):
            observed[first : first + len(run)] = model.observe(run)
    return observed, states


def step_work(model: TrainedModel) -> int:
    """Multiplications of one step of one run: about one for every parameter of the map."""
    return int(sum(a.size for a in model.params.values())) + model.latent_dim * len(model.input_channels)


def _fate(run: np.ndarray, reference: np.ndarray) -> Fate:
    """`diverged`: ten times farther out than any datum; `collapsed`: nearly at rest in the end where the data are not."""
    low, high = (reference.min(axis=0), reference.max(axis=0)) if len(reference) else (-1.0, 1.0)
    if not (np.abs(run - (high + low) / 2) <= 10 * (high - low)).all():
        return "diverged"
    if len(reference) and (run[-len(run) // 4 :].std(axis=0) < 0.02 * reference.std(axis=0)).all():
        return "collapsed"
    return "ok"

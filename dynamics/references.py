"""What a model is measured against, and its free runs beside it. Protocol: docs/science/measures.md."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dynamics.judgement import Fate
from dynamics.kernels import free_run
from dynamics.measures import MAX_BINNED_CHANNELS
from dynamics.measures.prediction_error import start_rows
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
    """Embedded, standardised observations that the model is measured against, less their nuisance, and the inputs of their rows.

    Of channels of counts and classes `segments` and `pooled` hold the signals that stand for them, `known` the rows.
    """

    segments: list[np.ndarray]  # (T_i, N_e)
    pooled: np.ndarray  # (T, N_e), all of them
    known: list[
        np.ndarray
    ]  # (B_i + T_i, N_e) the same after rows that are not measured against, from which runs may start
    lead_in: list[int]  # B_i
    inputs: list[np.ndarray] | None = None  # (B_i + T_i, K) standardised; None for a model without inputs

    @property
    def n_steps(self) -> int:
        return len(self.pooled)

    @property
    def longest(self) -> np.ndarray:
        return max(self.segments, key=len)

    @property
    def longest_known(self) -> int:
        """Number of the segment with the most rows."""
        return max(range(len(self.segments)), key=lambda i: len(self.segments[i]))

    @property
    def reason(self) -> str | None:
        """Why nothing can be measured against it, if so."""
        if self.n_steps >= MIN_REFERENCE_STEPS:
            return None
        return f"the reference has {self.n_steps} usable steps, at least {MIN_REFERENCE_STEPS} are needed"


def make_reference(
    model: TrainedModel,
    segments: list[np.ndarray],
    inputs: list[np.ndarray] | None,
    nuisance: list[np.ndarray] | None = None,
    lead_in: list[int] | None = None,
) -> Reference:
    """Embed the segments, the first MAX_REFERENCE_STEPS steps of them or fewer for very wide models.

    `segments` (T_i, N), `inputs` (T_i, K) and `nuisance` (T_i, P), own units, row by row; the first `lead_in` rows of each are not
    measured against. Raises ValueError for a model with inputs without them, and the other way round, and so for nuisance.
    """
    if (inputs is None) != (model.inputs is None):
        raise ValueError("inputs are needed for a model with inputs, and for no other")
    if (nuisance is None) != (model.nuisance is None):
        raise ValueError("nuisance is needed for a model with nuisance, and for no other")
    left = min(MAX_REFERENCE_STEPS, _MAX_RUN_VALUES // (2 * N_STARTS * max(model.latent_dim, model.n_observed)))
    embedded, driving, before = [], [], []
    for i, segment in enumerate(segments):
        if len(segment) < model.lags[-1] + 1 or left <= 0:
            continue
        rows = model.embed(segment)
        if model.nuisance is not None and nuisance is not None:
            rows = model.clean(rows, model.nuisance.standardise(nuisance[i])[model.lags[-1] :])
        before.append(max(0, (lead_in[i] if lead_in else 0) - model.lags[-1]))
        embedded.append(rows[: left + before[-1]])
        if model.inputs is not None and inputs is not None:
            if len(inputs[i]) != len(segment):
                raise ValueError(f"segment {i} has {len(segment)} rows, its inputs have {len(inputs[i])}")
            rows = inputs[i][model.lags[-1] :][: len(embedded[-1])]
            driving.append(model.inputs.standardise(rows))
        left -= len(embedded[-1]) - before[-1]
    if not embedded:
        embedded, before = [np.empty((0, model.n_observed))], [0]
        driving = [np.empty((0, len(model.input_channels)))]
    measured = [model.signals(rows)[skipped:] for rows, skipped in zip(embedded, before, strict=True)]
    return Reference(measured, np.concatenate(measured), embedded, before, None if model.inputs is None else driving)


def contexts_of(model: TrainedModel, pooled: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """What runs start from that begin after `rows` (B,) of a series: (B, C, N_e)."""
    return pooled[rows[:, None] + np.arange(1 - model.context_rows, 1)]


def first_starts(model: TrainedModel, reference: Reference) -> list[int]:
    """The first row of each known segment that has a context before it and is measured against."""
    return [max(skipped, model.context_rows - 1) for skipped in reference.lead_in]


@dataclass(frozen=True)
class Runs:
    """Free runs from points of the reference, their first `dropped` steps left out, and what they are compared with."""

    observed: np.ndarray  # (n_steps, B, N_e); of counts and classes the signals of drawn ones
    states: np.ndarray  # (K, M), latent states along the runs, where the spectrum of a model without inputs starts
    fates: list[Fate]  # of each run
    dropped: int
    truth: np.ndarray  # (T, N_e) rows of the reference that the first T steps are compared with
    pieces: list[slice]  # the parts of `truth` without a gap, and the steps that are compared with them
    predicted: np.ndarray  # (n_steps, B, N_e) as the model has it, of counts and classes the linear predictors


def free_runs(model: TrainedModel, reference: Reference, reporter: Reporter, long_steps: int = LONG_RUN_STEPS) -> Runs:
    """From evenly spaced points of the reference, for 1.25 T steps or longer, the first 0.25 T dropped."""
    n_steps, dropped = reference.n_steps, reference.n_steps // 4
    if model.n_observed <= MAX_BINNED_CHANNELS and n_steps < long_steps:
        n_steps = max(n_steps, min(long_steps, _MAX_RUN_VALUES // (N_STARTS * model.latent_dim)))
    candidates = start_rows(reference.known, 0, None, first_starts(model, reference))
    if candidates.size:
        rows = candidates[np.linspace(0, len(candidates), N_STARTS, endpoint=False).astype(int)]
        starts = contexts_of(model, np.concatenate(reference.known), rows)
    else:
        starts = np.zeros((N_STARTS, model.context_rows, model.n_observed))
    observed, states = _run(model, starts, dropped + n_steps, None, reporter)
    fates = [_fate(observed[:, b], reference.pooled) for b in range(N_STARTS)]
    alive = np.concatenate([s[[fate != "diverged" for fate in fates]] for s in states])
    pieces, kept = _end_to_end(reference.segments), observed[dropped:]
    return Runs(model.recorded(kept, 0), alive, fates, dropped, reference.pooled, pieces, kept)


def driven_runs(model: TrainedModel, reference: Reference, reporter: Reporter) -> Runs:
    """Through every segment of the reference, driven by its recorded inputs and by nothing else: no run outlasts them.

    Five runs start at points spaced evenly over the first quarter of a segment and go to its end; its other three
    quarters are compared with the rows of the reference that had the same inputs.
    """
    assert reference.inputs is not None
    parts: list[np.ndarray] = []
    truths: list[np.ndarray] = []
    dropped = 0
    for segment, inputs, first in zip(reference.known, reference.inputs, first_starts(model, reference), strict=True):
        if len(segment) - first < LEAST_DRIVEN_ROWS:
            continue
        quarter = first + (len(segment) - first) // 4
        rows = np.linspace(first, quarter, N_STARTS, endpoint=False).astype(int)
        contexts = contexts_of(model, segment, rows)
        observed, _ = _run(model, contexts, len(segment) - 1 - first, Drive(inputs, rows + 1), reporter)
        # Step k of run b is row rows[b] + 1 + k of the segment; what lies beyond its end has wrapped and is cut off here.
        kept = [observed[quarter - row - 1 : len(segment) - row - 1, b] for b, row in enumerate(rows)]
        parts.append(np.stack(kept, axis=1))
        truths.append(model.signals(segment)[quarter:])
        dropped += quarter - first
    if not parts:
        empty = np.empty((0, model.n_observed))
        none: list[Fate] = ["ok"] * N_STARTS
        nothing = np.empty((0, N_STARTS, model.n_observed))
        return Runs(nothing, np.empty((0, 0)), none, 0, empty, [slice(0, 0)], nothing)
    every, truth = np.concatenate(parts), np.concatenate(truths)
    fates = [_fate(every[:, b], truth) for b in range(N_STARTS)]
    drawn = np.concatenate([model.recorded(part, i) for i, part in enumerate(parts)])
    return Runs(drawn, np.empty((0, 0)), fates, dropped, truth, _end_to_end(truths), every)


def _end_to_end(parts: list[np.ndarray]) -> list[slice]:
    """Where each part is once they are laid end to end."""
    ends = np.cumsum([len(part) for part in parts]).tolist()
    return [slice(end - len(part), end) for part, end in zip(parts, ends, strict=True)]


def _run(
    model: TrainedModel, starts: np.ndarray, n_steps: int, drive: Drive | None, reporter: Reporter
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Observations of free runs from contexts (B, C, N_e), (n_steps, B, N_e), and the states after each compiled call, (B, M).

    The first row of the `drive` is that of the first observation.
    """
    chunk, n_steps = max(1, int(_RUN_WORK / (16 * step_work(model)))), n_steps + model.lead
    before = model.launch(starts)
    observed, states = np.empty((n_steps, len(starts), model.n_observed)), []
    for first in range(0, n_steps, chunk):
        reporter.check()
        later = None if drive is None else Drive(drive.values, drive.rows + first - model.lead)
        run = free_run(model, before[-1], min(chunk, n_steps - first), drive=later)
        states.append(run[-1])
        with np.errstate(over="ignore", invalid="ignore"):
            observed[first : first + len(run)] = model.show(before, run)
        before = np.concatenate([before, run])[-len(before) :]
    return observed[model.lead :], states


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

"""Judging a model by its free run: the loss and short forecasts do not show that a run has collapsed, this does.

The measures here rank checkpoints and seeds on training and validation data; the report on held-out data is made with
the published variants by `dynamics.evaluation`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import welch

from domain.results import LyapunovAnalysis
from dynamics.kernels import free_run, lyapunov_qr
from dynamics.measures import window_steps
from dynamics.training.balance import leading_axes
from dynamics.training.data import TrainingData
from models.trained import Drive, TrainedModel

PSEUDO_COUNT = 1e-5
N_STARTS, RUN_STEPS, TRANSIENT_STEPS = 16, 5_000, 500
LATE_STEPS, LATE_EVERY = (
    30_000,
    15,
)  # spurious fixed points attract slowly: 16 such runs see an escape rate of 1e-5 a step
PREDICTION_STEPS, MAX_PREDICTION_STARTS = 20, 512
FAMILY_SHARE = 4  # runs of a family are so many times shorter, since each recording's map runs by itself
SPECTRUM_WEIGHT = 2.0  # Hellinger distances are bounded by 1, divergences of histograms are not
LATE_SIZE = 1_500  # parameters; larger models are run for fewer steps, down to a tenth, or judging would cost more than training
COARSE_BINS, LEAST_COVERAGE, LOSS_WEIGHT = 8, 0.5, 10.0
NEVER_THERE = 1e3
MAX_CELLS, LASTING_EVERY = 256, 30
EXPONENT_STARTS, EXPONENT_STEPS = 4, 5_000
EXPONENT_TOLERANCE, EXPONENT_WEIGHT = (
    0.2,
    2.0,
)  # relative: finite runs and noisy data blur the exponent of a good model as well


@dataclass(frozen=True)
class Judgement:
    """`score` ranks: smaller is better; infinite when the free runs are not finite."""

    score: float
    outcome: str  # ok, collapsed, diverged
    why: str
    d_stsp: float | None = None
    d_h: float | None = None
    prediction_error: float | None = None
    lambda_max: float | None = None  # per time unit; only where an analysis gives one to compare with

    def validation(self) -> dict[str, float | None]:
        measures = {"d_stsp": self.d_stsp, "d_h": self.d_h, "prediction_error": self.prediction_error}
        return measures if self.lambda_max is None else measures | {"lambda_max": self.lambda_max}


class Portrait:
    """Where points of a series lie, seen along up to three axes."""

    def __init__(self, points: np.ndarray) -> None:
        self.center, self.axes = leading_axes(points)
        projected = self.project(points)
        spread = projected.std(axis=0)
        self.low, self.high = projected.min(axis=0) - 0.1 * spread, projected.max(axis=0) + 0.1 * spread

    def project(self, points: np.ndarray) -> np.ndarray:
        return (points - self.center) @ self.axes

    def histogram(self, points: np.ndarray, n_bins: int) -> np.ndarray:
        cells = self.cells(points, n_bins)
        return np.bincount(cells[cells >= 0], minlength=n_bins ** points.shape[1]).astype(float)

    def cells(self, points: np.ndarray, n_bins: int) -> np.ndarray:
        """Number of the histogram's cell of each point, (T, d) -> (T,); -1 outside."""
        scaled = (points - self.low) / (self.high - self.low)
        inside = ((scaled >= 0) & (scaled < 1)).all(axis=1)
        cells = np.full(len(points), -1)
        cells[inside] = np.ravel_multi_index(
            tuple((scaled[inside] * n_bins).astype(int).T), (n_bins,) * points.shape[1]
        )
        return cells


class Referee:
    """Compares free runs with the training and validation data.

    The runs of a model with inputs are driven by those of the same data, end to end and, as the runs outlast them, again
    from the first row on: the few steps at the seams count for little where models are ranked. The report, which is made
    by `dynamics.evaluation`, has no such runs.
    """

    def __init__(self, data: TrainingData, analysis: LyapunovAnalysis | None = None) -> None:
        known = np.concatenate([*data.train_signals, *data.validation_signals])
        self.inputs = _end_to_end([*data.train_inputs, *data.validation_inputs])
        self.owners = _row_owners(data)
        alone = self.inputs is None and not len(self.owners)
        self.expected = _expected_exponent(analysis) if alone else None
        self.portrait = Portrait(known)
        self.known = projected = self.portrait.project(known)
        # What a kernel shows, and counts, are compared in full; thinned runs and rare states are looked at before that.
        seen = known if data.filter is None else np.concatenate([*data.train, *data.validation])
        # The signals of counts scatter, and so must what is thinned, or it would seem to leave cells that the data visit by chance.
        longest = max(data.train, key=len)
        self.scatter = None if data.readouts is None else data.readouts.scatter(longest)
        self.plain = data.filter is None and data.readouts is None
        self.seen = self.portrait if data.filter is None else Portrait(seen)
        self.n_bins = _bins(len(seen), self.seen.axes.shape[1])
        self.histogram = self.seen.histogram(self.seen.project(seen), self.n_bins)
        coarse = self.portrait.histogram(projected, COARSE_BINS)
        self.mass = coarse / coarse.sum()
        self.rare_rows = _one_row_of_each(self.portrait.cells(projected, COARSE_BINS), coarse)
        self.rare_starts = known[self.rare_rows]
        parts = [*data.train, *data.validation]
        if data.readouts is not None:
            parts = [*data.train_signals, *data.validation_signals]
        self.run_steps = RUN_STEPS if not len(self.owners) else RUN_STEPS // FAMILY_SHARE
        self.window = min(1024, self.run_steps - TRANSIENT_STEPS, window_steps([len(part) for part in parts]))
        self.spectrum = _pooled_spectrum(parts, self.window)
        self.start_rows = np.linspace(0, len(known) - 1, N_STARTS).astype(int)
        self.starts = known[self.start_rows]
        self.probe, self.probe_inputs, self.probe_owner = _probe(data)

    def judge(self, model: TrainedModel) -> Judgement:
        """Two runs from each start: one at full resolution for the spectrum, one long and thinned for what becomes of it."""
        with np.errstate(all="ignore"):
            states = self._run(model, model.encode(self.starts), self.start_rows, self.run_steps, 1, self._drive(1))
            late_steps = self._late_steps(model)
            ahead = self._drive(1 + self.run_steps)
            late_states = self._run(model, states[-1], self.start_rows, late_steps, LATE_EVERY, ahead)
            settled = max(TRANSIENT_STEPS, model.shown_steps)
            runs = model.show(states[settled - model.shown_steps : settled], states[settled:])
            late = self._scattered(model.observe(late_states))  # (steps, starts, N_e), as are the runs
            bounded = (np.abs(runs) < 1e3).all(axis=(0, 2)) & (np.abs(late) < 1e3).all(axis=(0, 2))  # false for NaN
            error = self.prediction_error(model)
            exponent = self.exponent(model, states[-1])
        if bounded.sum() < N_STARTS / 2:
            return Judgement(
                np.inf, "diverged", "its free runs leave the attractor for infinity", None, None, error, exponent
            )
        runs, late = model.recorded(runs[:, bounded], 0), self.portrait.project(late[:, bounded])
        shown = self.seen.project(runs)
        visited = (np.concatenate([shown, late]) if self.plain else shown).reshape(-1, shown.shape[-1])
        d_stsp = self._divergence(visited)
        if d_stsp is None:
            return Judgement(
                NEVER_THERE, "collapsed", "its free runs never visit the data", None, None, error, exponent
            )
        d_h = float(np.mean(_hellinger(self.spectrum, _spectrum(runs, self.window))))
        reached = self.run_steps + LATE_EVERY * np.arange(1, len(late) + 1)
        coverage = self._coverage(late) / self._reachable(self.start_rows, reached)[bounded]
        lost = 1 - np.mean(coverage > LEAST_COVERAGE) * np.mean(bounded)
        score = d_stsp + SPECTRUM_WEIGHT * d_h + LOSS_WEIGHT * lost + self._disagreement(exponent)
        if lost >= 0.5:
            why = f"{lost:.0%} of its free runs leave most of the attractor for a fixed point or a small cycle"
            return Judgement(score, "collapsed", why, d_stsp, d_h, error, exponent)
        return Judgement(score, "ok", "", d_stsp, d_h, error, exponent)

    def lost_states(self, model: TrainedModel) -> float:
        """Share of the states that the system was seen in, rare ones as much as frequent ones, from which the model is lost.

        The runs of `judge` start where the data are dense and miss a spurious fixed point whose basin reaches but a thin part
        of the recorded states, such as the transient at their beginning. Here one run starts in each coarse cell that the data
        visit, at most 256 of them, the rarest first; it is lost by the same rule. Too slow for every checkpoint.
        """
        steps = self._late_steps(model)
        drive = None if self.inputs is None else Drive(self.inputs, self.rare_rows + 1)
        with np.errstate(all="ignore"):
            begin = model.encode(self.rare_starts)
            late = self._scattered(model.observe(self._run(model, begin, self.rare_rows, steps, LASTING_EVERY, drive)))
            bounded = (np.abs(late) < 1e3).all(axis=(0, 2))
        coverage = np.zeros(len(bounded))
        coverage[bounded] = self._coverage(self.portrait.project(late[:, bounded]))
        reachable = self._reachable(self.rare_rows, LASTING_EVERY * np.arange(1, len(late) + 1))
        return float(np.mean(coverage / reachable <= LEAST_COVERAGE))

    def _scattered(self, observed: np.ndarray) -> np.ndarray:
        if self.scatter is None:
            return observed
        return observed + self.scatter * np.random.default_rng(0).standard_normal(observed.shape)

    def _late_steps(self, model: TrainedModel) -> int:
        steps = int(LATE_STEPS * min(1.0, max(0.1, LATE_SIZE / model.n_parameters)))
        return steps if not len(self.owners) else max(LATE_STEPS // 10, steps // FAMILY_SHARE)

    def _run(
        self, model: TrainedModel, z: np.ndarray, rows: np.ndarray, n_steps: int, every: int, drive: Drive | None
    ) -> np.ndarray:
        """Free runs from states (B, M) of known rows (B,): of a family, each by the map of its row's recording."""
        if model.family is None:
            return free_run(model, z, n_steps, every, drive=drive)
        owners = self.owners[rows]
        found = np.empty((n_steps // every, *z.shape))
        for owner in np.unique(owners):
            at = np.flatnonzero(owners == owner)
            own = None if drive is None else Drive(drive.values, drive.rows[at])
            found[:, at] = free_run(model.of(int(owner)), z[at], n_steps, every, drive=own)
        return found

    def exponent(self, model: TrainedModel, states: np.ndarray) -> float | None:
        """Largest Lyapunov exponent of the model's free runs, per time unit; None where nothing is known to compare it with.

        Nothing is, for a driven model: its exponents are conditional on the inputs, those of the data are not.
        """
        if self.expected is None:
            return None
        steps = int(EXPONENT_STEPS * min(1.0, max(0.1, LATE_SIZE / model.n_parameters)))
        spectrum, _ = lyapunov_qr(model, states[:EXPONENT_STARTS], steps, 0)
        return float(spectrum[0] / model.dt) if np.isfinite(spectrum[0]) else None

    def _disagreement(self, exponent: float | None) -> float:
        """By how much an exponent misses the measured one beyond what the data leave open, as a part of the score."""
        if self.expected is None:
            return 0.0
        value, tolerance = self.expected
        miss = 1.0 if exponent is None else abs(exponent - value) / value
        return EXPONENT_WEIGHT * max(0.0, miss - tolerance)

    def _coverage(self, late: np.ndarray) -> np.ndarray:
        """(starts,): share of the data that lies in coarse cells which a run still visits in its last half.

        A run caught by a spurious fixed point or cycle, which its loss never shows, visits few of them.
        """
        last = late[len(late) // 2 :]
        return np.array([self.mass[self.portrait.histogram(run, COARSE_BINS) > 0].sum() for run in last.swapaxes(0, 1)])

    def _reachable(self, rows: np.ndarray, ahead: np.ndarray) -> np.ndarray:
        """(starts,): coverage by the data themselves, `ahead` steps after `rows`, in the last half of them.

        All of it, but for a driven model only what the data visit under the same inputs.
        """
        if self.inputs is None:
            return np.ones(len(rows))
        visited = (rows[:, None] + ahead[len(ahead) // 2 :]) % len(self.known)
        return np.array([self.mass[self.portrait.histogram(self.known[v], COARSE_BINS) > 0].sum() for v in visited])

    def prediction_error(self, model: TrainedModel) -> float | None:
        """Mean squared error 20 steps ahead on validation data, standardised units; null when not finite."""
        n = min(PREDICTION_STEPS, len(self.probe) - 1)
        starts = np.unique(np.linspace(0, len(self.probe) - 1 - n, MAX_PREDICTION_STARTS).astype(int))
        drive = None if self.probe_inputs is None else Drive(self.probe_inputs, starts + 1)
        own = model.of(self.probe_owner)
        ahead = own.observe(free_run(own, own.encode(self.probe[starts]), n, drive=drive)[-1])
        error = float(np.mean((ahead - self.probe[starts + n]) ** 2))
        return error if np.isfinite(error) else None

    def _drive(self, ahead: int) -> Drive | None:
        """Inputs of runs from `starts` whose next step is number `ahead`, counted from 1."""
        return None if self.inputs is None else Drive(self.inputs, self.start_rows + ahead)

    def _divergence(self, points: np.ndarray) -> float | None:
        generated = self.seen.histogram(points, self.n_bins)
        if generated.sum() == 0:
            return None
        p, q = ((h + PSEUDO_COUNT) / (h.sum() + PSEUDO_COUNT * h.size) for h in (self.histogram, generated))
        return float(np.sum(p * np.log(p / q)))


def _expected_exponent(analysis: LyapunovAnalysis | None) -> tuple[float, float] | None:
    """lambda_max of chaotic data and the relative tolerance to grant a model; None where the data give no such number."""
    if analysis is None or analysis.verdict.kind != "chaotic":
        return None
    measured = analysis.lambda_max
    if measured.value is None or not measured.value > 0:
        return None
    half = 0.0 if measured.ci is None else (measured.ci[1] - measured.ci[0]) / 2
    return measured.value, max(EXPONENT_TOLERANCE, half / measured.value)


def _end_to_end(parts: list[np.ndarray]) -> np.ndarray | None:
    """Inputs of the parts, (rows, K); None for data without inputs."""
    inputs = np.concatenate(parts) if parts else np.empty((0, 0))
    return inputs if inputs.size else None


def _probe(data: TrainingData) -> tuple[np.ndarray, np.ndarray | None, int]:
    """Signals of the longest validation part, or of all data where that is too short for a forecast, inputs of its rows, recording."""
    parts = [*data.validation_signals, *data.train_signals]
    inputs = [*data.validation_inputs, *data.train_inputs]
    lengths = [len(part) for part in data.validation_signals]
    if max(lengths, default=0) < PREDICTION_STEPS + 1:
        lengths = [len(part) for part in parts]
    longest = int(np.argmax(lengths))
    owners = [*data.validation_owners, *data.train_owners] or [-1] * len(parts)
    return parts[longest], _end_to_end(inputs[longest : longest + 1]), owners[longest]


def _row_owners(data: TrainingData) -> np.ndarray:
    """The recording of each row of the training and validation data end to end; (0,) where all share one map."""
    parts = [*data.train_signals, *data.validation_signals]
    owners = [*data.train_owners, *data.validation_owners]
    return np.repeat(np.array(owners, np.int64), [len(part) for part in parts]) if owners else np.zeros(0, np.int64)


def _one_row_of_each(cells: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """First row in each cell that is visited, at most MAX_CELLS of them, those with the smallest counts."""
    visited, rows = np.unique(cells, return_index=True)
    return rows[np.argsort(counts[visited], kind="stable")][:MAX_CELLS]


def _bins(n_points: int, dimension: int) -> int:
    """Bins per coordinate, at most the measure's 30: about as fine as n_points fill (a third of them on the attractor)."""
    return int(np.clip(round((n_points / 3) ** (1 / min(dimension, 2)) / (1 if dimension < 3 else 2.5)), 8, 30))


def _spectrum(values: np.ndarray, window: int) -> np.ndarray:
    """Welch power spectrum of each coordinate, each normalised to sum 1: (T, ..., N) -> (frequencies, N)."""
    power = _power(values, window)
    if power.ndim == 3:
        power = power.mean(axis=1)
    total = power.sum(axis=0)
    return power / np.where(total > 0, total, 1.0)


def _pooled_spectrum(parts: list[np.ndarray], window: int) -> np.ndarray:
    """That of the parts (T_i, N) which hold a window, weighted by their lengths, so that no window crosses from one to the next."""
    long = [part for part in parts if len(part) >= window]
    power = sum(len(part) * _power(part, window) for part in long)
    total = np.sum(power, axis=0)
    return np.asarray(power / np.where(total > 0, total, 1.0))


def _power(values: np.ndarray, window: int) -> np.ndarray:
    return np.asarray(welch(values, nperseg=window, axis=0)[1])


def _hellinger(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return np.sqrt(np.sum((np.sqrt(p) - np.sqrt(q)) ** 2, axis=0) / 2)

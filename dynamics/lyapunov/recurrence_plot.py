"""The recurrence plot as data, and its quantification (Marwan, Romano, Thiel & Kurths 2007, Phys. Rep. 438, 237)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MAX_STATES = 600
MAX_BINS = 200
SAMPLES_PER_PERIOD = 15  # of a flow, after thinning
RATE = 0.05  # recurrence rate that sets the threshold
MIN_LINE = 2


@dataclass(frozen=True)
class Quantification:
    """Of the recurrent pairs farther apart in time than the Theiler window; lines are diagonals of at least MIN_LINE states."""

    rate: float  # share of the pairs that are recurrent, RR
    determinism: float  # share of the recurrent pairs that lie on lines, DET
    mean_line: float  # states, L; 0 where there is no line
    longest_line: int  # states


@dataclass(frozen=True)
class RecurrencePlot:
    """R_ij = 1 where |x_i - x_j| <= threshold (Euclidean, standard deviations), and its measures."""

    matrix: np.ndarray  # (n, n) bool
    threshold: float
    every: int  # steps between two states
    theiler: int  # states
    measures: Quantification

    def as_json(self, dt: float) -> dict[str, object]:
        """`dt`: of one step, in time units. `counts`: recurrent pairs of each square of `bin_states` x `bin_states` states as
        one digit; row i holds the columns 0 to i, the rest follows by symmetry."""
        size, counts = binned(self.matrix, MAX_BINS)
        return {
            "states": len(self.matrix),
            "time_between_states": self.every * dt,
            "threshold": self.threshold,
            "theiler_states": self.theiler,
            "recurrence_rate": self.measures.rate,
            "determinism": self.measures.determinism,
            "min_line_states": MIN_LINE,
            "mean_line_time": self.measures.mean_line * self.every * dt,
            "longest_line_time": self.measures.longest_line * self.every * dt,
            "bin_states": size,
            "counts": ["".join(map(str, row[: i + 1])) for i, row in enumerate(counts.tolist())],
        }


def recurrence_plot(path: np.ndarray, is_flow: bool, period_steps: float) -> RecurrencePlot | None:
    """Plot of the first states of a path (T, m): at most 600, of a flow about 15 per period; None for fewer than 50.

    The threshold makes 5 % of the pairs recurrent that are more than one period (of a map: one step) apart. Long diagonals
    mean that pieces of the path repeat each other: periodic motion DET = 1, chaos less, white noise about 2 RATE.
    """
    every = max(1, round(period_steps / SAMPLES_PER_PERIOD)) if is_flow else 1
    states = path[::every][:MAX_STATES]
    theiler = max(1, round(period_steps / every)) if is_flow else 1
    if len(states) < max(50, 3 * theiler):
        return None
    distance = np.zeros((len(states), len(states)))
    for column in states.T:
        distance += np.subtract.outer(column, column) ** 2
    apart = distance[np.triu_indices(len(states), theiler + 1)]
    threshold = float(np.sqrt(np.partition(apart, k := int(RATE * len(apart)))[k]))
    matrix = distance <= threshold**2 * (1.0 + 1e-12)
    return RecurrencePlot(matrix, threshold, every, theiler, quantify(matrix, theiler))


def quantify(matrix: np.ndarray, theiler: int, min_line: int = MIN_LINE) -> Quantification:
    """Measures of a symmetric recurrence matrix (n, n), from its diagonals farther than `theiler` from the main one."""
    n = len(matrix)
    padded = np.zeros((n, 2 * n + 1), dtype=bool)
    padded[:, :n] = matrix
    rows = np.lib.stride_tricks.as_strided(
        padded, (n, n), (padded.strides[0] + padded.strides[1], padded.strides[1])
    )  # rows[i, k] = matrix[i, i + k]
    diagonals = np.zeros((n - theiler - 1, n + 1), dtype=np.int8)  # a zero ends every diagonal
    diagonals[:, :n] = rows.T[theiler + 1 :]
    steps = np.diff(diagonals.ravel(), prepend=np.int8(0))
    lengths = np.nonzero(steps == -1)[0] - np.nonzero(steps == 1)[0]
    recurrent, pairs = int(lengths.sum()), (n - theiler) * (n - theiler - 1) // 2
    lines = lengths[lengths >= min_line]
    return Quantification(
        recurrent / pairs,
        float(lines.sum()) / recurrent if recurrent else 0.0,
        float(lines.mean()) if len(lines) else 0.0,
        int(lengths.max()) if len(lengths) else 0,
    )


def binned(matrix: np.ndarray, max_bins: int) -> tuple[int, np.ndarray]:
    """Sum over squares of b x b entries, b the smallest that leaves at most `max_bins` rows; what is left over is padded by 0."""
    b = -(-len(matrix) // max_bins)
    n = -(-len(matrix) // b)
    padded = np.zeros((n * b, n * b), dtype=int)
    padded[: len(matrix), : len(matrix)] = matrix
    return b, padded.reshape(n, b, n, b).sum(axis=(1, 3))

"""From observations to states: the channels as they are, or delay vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class States:
    """Trajectories in a candidate state space, beside what was observed.

    Observations (in units of each channel's standard deviation) are `readout @ state + offset`.
    """

    kind: str  # as domain.results.Embedding.kind
    paths: list[np.ndarray]  # (T_i, m) each
    observed: list[np.ndarray]  # (T_i, p) each, aligned with `paths`
    readout: np.ndarray  # (p, m)
    offset: np.ndarray  # (p,)
    window_steps: int = 1  # samples that one state looks back on, itself included
    delay: int = 1
    stride: int = 1  # sampling steps between a state and its image under a map model
    of_flow: bool = False  # delay vectors of a sampled flow, however coarsely: its model is a map over `stride` steps
    jitter: float = 0.0  # displacement of the states in training, standard deviations

    @property
    def dimension(self) -> int:
        return self.readout.shape[1]

    @property
    def n_rows(self) -> int:
        return sum(len(p) for p in self.paths)

    def pooled(self) -> np.ndarray:
        return np.concatenate(self.paths)


def channels_as_states(segments: list[np.ndarray]) -> States:
    """Every channel is one coordinate of the state."""
    n = segments[0].shape[1]
    return States("none", segments, segments, np.eye(n), np.zeros(n))


def delay_vectors(
    segments: list[np.ndarray], dimension: int, delay: int, stride: int = 1, of_flow: bool = False
) -> States:
    """(x_t, x_(t-tau), ..., x_(t-(m-1) tau)) of a scalar series (Takens 1981)."""
    back = (dimension - 1) * delay
    paths = [
        np.column_stack([s[back - j * delay : len(s) - j * delay, 0] for j in range(dimension)])
        for s in segments
        if len(s) > back + 1
    ]
    readout = np.zeros((1, dimension))
    readout[0, 0] = 1.0
    observed = [p[:, :1] for p in paths]
    return States("delay", paths, observed, readout, np.zeros(1), back + 1, delay, stride, of_flow)

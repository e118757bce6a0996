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
    def n_lags(self) -> int:
        """Values of every channel that one state holds."""
        return (self.window_steps - 1) // self.delay + 1

    @property
    def n_new(self) -> int:
        """Coordinates that a map must be fitted for; the others of delay vectors one delay later are shifted copies."""
        return len(self.readout) if self.kind == "delay" and self.delay == self.stride else self.dimension

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
    segments: list[np.ndarray], n_lags: int, delay: int, stride: int = 1, of_flow: bool = False
) -> States:
    """(x_t, x_(t-tau), ..., x_(t-(d-1) tau)) of a series (T, N) of one or more channels: d N coordinates (Takens 1981).

    Of several channels every x is a block of N coordinates (Deyle & Sugihara 2011).
    """
    back, channels = (n_lags - 1) * delay, segments[0].shape[1]
    paths = [
        np.hstack([s[back - j * delay : len(s) - j * delay] for j in range(n_lags)])
        for s in segments
        if len(s) > back + 1
    ]
    readout = np.eye(channels, n_lags * channels)
    observed = [p[:, :channels] for p in paths]
    return States("delay", paths, observed, readout, np.zeros(channels), back + 1, delay, stride, of_flow)

"""The demo's series as a file: Lorenz-63, or another system of the gallery, with observation noise."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

from dynamics import samples

SEED = 63
N_TEST_STEPS = 100_000
TEST_SKIP = 20_000  # rows of the same trajectory between what is learned and what tests it


def observed(n_steps: int | None = None, sample: str = "lorenz63") -> np.ndarray:
    """The sample with its noise: (n_steps, N)."""
    system = samples.SAMPLES[sample]
    return samples.observed(system, n_steps or system.steps, noise=system.noise, seed=SEED)


def independent(sample: str = "lorenz63") -> np.ndarray:
    """A noise-free stretch far from it, long enough for the published protocol: (N_TEST_STEPS, N)."""
    return samples.trajectory(samples.SAMPLES[sample], N_TEST_STEPS, TEST_SKIP)


def as_csv(values: np.ndarray, channels: Sequence[str] = ("x", "y", "z")) -> bytes:
    """The series as a caller would have it: a header and one row per step."""
    buffer = io.BytesIO()
    np.savetxt(buffer, values, fmt="%.7g", delimiter=",", header=",".join(channels), comments="")
    return buffer.getvalue()

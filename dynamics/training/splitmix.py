"""The compiled engine's random numbers in numpy, so that both engines draw the same sequences, noise and intervals."""

from __future__ import annotations

import numpy as np

GAMMA = np.uint64(0x9E3779B97F4A7C15)


class SplitMix64:
    """SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators") with its state in an array."""

    def __init__(self, state: np.ndarray) -> None:
        self.state = state  # (1,) uint64, moved on in place

    def uniforms(self, count: int) -> np.ndarray:
        """The next `count` numbers in [0, 1), float64 (count,)."""
        z = self.state[0] + GAMMA * np.arange(1, count + 1, dtype=np.uint64)
        if count:
            self.state[0] = z[-1]
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)) / 2**53

    def normals(self, count: int) -> np.ndarray:
        """The next `count` standard normals, of two uniforms each (Box & Muller 1958)."""
        u = self.uniforms(2 * count).reshape(count, 2)
        return np.sqrt(-2.0 * np.log(1.0 - u[:, 0])) * np.cos(2.0 * np.pi * u[:, 1])

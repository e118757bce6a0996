"""Families of maps: one for each recording, all of one shape, which differ along a few directions of their parameters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Family:
    """params_r = params + sum_k l_rk directions_k, with the vector l_r (p,) of recording r (Brenner et al. 2024, hierarchical)."""

    names: list[str]
    vectors: np.ndarray  # (R, p)
    directions: dict[str, np.ndarray]  # of each parameter of the map, (p, *shape)

    @property
    def dim(self) -> int:
        return int(self.vectors.shape[1])

    def vector(self, recording: str | int | np.ndarray) -> np.ndarray:
        """l (p,) of a recording by name or number, or the vector itself; KeyError for a name that is not there."""
        if isinstance(recording, str):
            if recording not in self.names:
                raise KeyError(recording)
            recording = self.names.index(recording)
        found = self.vectors[recording] if isinstance(recording, int | np.integer) else np.asarray(recording, float)
        if found.shape != (self.dim,):
            raise ValueError(f"a vector of {self.dim} numbers is needed, not of shape {found.shape}")
        return np.asarray(found)

    def shifted(self, params: dict[str, np.ndarray], vector: np.ndarray) -> dict[str, np.ndarray]:
        """The parameters of the map with this vector."""
        return {k: (v + np.tensordot(vector, self.directions[k], 1)).astype(v.dtype) for k, v in params.items()}

    def standardised(self, params: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], Family]:
        """The same maps with vectors of mean 0 and std 1: the common map becomes that of the mean vector."""
        mean, std = self.vectors.mean(axis=0), self.vectors.std(axis=0)
        std = np.where(std > 0, std, 1.0)
        directions = {k: v * std.reshape(-1, *[1] * (v.ndim - 1)) for k, v in self.directions.items()}
        return self.shifted(params, mean), Family(self.names, (self.vectors - mean) / std, directions)

    def as_float64(self) -> Family:
        directions = {k: v.astype(np.float64) for k, v in self.directions.items()}
        return Family(self.names, self.vectors.astype(np.float64), directions)

"""The two engines behind one interface: compiled kernels for the CPU, and plain torch, which also runs on a GPU."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from dynamics.kernels.block import Learner
from dynamics.training.data import TrainingData
from dynamics.training.engine import CompiledEngine
from dynamics.training.settings import Settings


class Engine(Protocol):
    name: str
    side_by_side: bool  # whether threads of it run at the same time
    settings: Settings
    data: TrainingData

    def learner(self, seed: int) -> Learner:
        """A run before its first update."""

    def workspace(self, learner: Learner) -> Any:
        """Scratch memory of one thread."""

    def compile(self) -> None:
        """Whatever has to be waited for once."""

    def advance(
        self, learner: Learner, workspace: Any, first: int, rates: np.ndarray, alphas: np.ndarray, intervals: np.ndarray
    ) -> tuple[int, np.ndarray]:
        """Do len(rates) updates from number `first` (0 is the first) on; how many were done before the loss ceased to be
        finite, and their losses."""


def make_engine(settings: Settings, data: TrainingData) -> Engine:
    """The engine of these settings. Raises InvalidParameters for a GPU where there is none."""
    if settings.engine == "compiled":
        return CompiledEngine(settings, data)
    from dynamics.training.reference import ReferenceEngine  # torch takes seconds to import, and most never need it

    return ReferenceEngine(settings, data)

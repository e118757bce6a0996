"""The compiled engine: one learner per seed, advanced by whole blocks of updates outside the interpreter's lock."""

from __future__ import annotations

import numpy as np

from dynamics.kernels.adaptive import ESTIMATES
from dynamics.kernels.block import Learner, Sampling, train_block
from dynamics.kernels.bptt import Sizes, make_buffers
from dynamics.kernels.lanes import aligned
from dynamics.kernels.maps import MapTag
from dynamics.training.data import TrainingData
from dynamics.training.parameters import new_learner
from dynamics.training.settings import Settings
from models import ARCHITECTURES


class CompiledEngine:
    """Trains learners on one series; methods are safe to call from several threads, one learner each."""

    name = "compiled kernels (Numba)"

    def __init__(self, settings: Settings, data: TrainingData) -> None:
        self.settings = settings
        self.data = data
        n_map = ARCHITECTURES[settings.architecture].n_parameters(settings.latent_dim, settings.hidden_dim)
        self.tag = MapTag(settings.architecture, settings.latent_dim)
        self.sizes = Sizes(
            settings.hidden_dim, data.n_observed, settings.sequence_length, settings.observation == "affine", n_map
        )
        self.sampling = Sampling(
            np.ascontiguousarray(data.series, settings.dtype).ravel(),
            data.starts,
            settings.batch_size,
            settings.forcing.interval_steps,
            settings.noise,
            settings.l2,
            ESTIMATES.index(settings.forcing.estimate) if settings.forcing.adaptive else 0,
        )

    def learner(self, seed: int) -> Learner:
        return new_learner(self.settings, self.data.series, seed)

    def workspace(self, learner: Learner) -> tuple:
        """Scratch memory of one thread."""
        buffers = make_buffers(
            self.tag, self.sizes, learner.theta.size, self.settings.dtype, noisy=self.settings.noise > 0
        )
        return buffers, aligned(learner.theta.size, self.settings.dtype)

    def advance(
        self, learner: Learner, workspace: tuple, first: int, rates: np.ndarray, alphas: np.ndarray
    ) -> tuple[int, np.ndarray]:
        """Do len(rates) updates; how many were done before the loss ceased to be finite, and their losses."""
        losses = np.zeros(len(rates))
        buffers, gradient = workspace
        done = train_block(
            self.tag, learner, self.sizes, self.sampling, buffers, gradient, first, rates, alphas, losses
        )
        return done, losses[:done]

    def compile(self) -> None:
        """Compile (or load from the disk cache) all that `advance` needs, without training anything."""
        learner = self.learner(0)
        self.advance(learner, self.workspace(learner), 0, np.empty(0), np.empty(0))

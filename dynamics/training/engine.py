"""The compiled engine: one learner per seed, advanced by whole blocks of updates outside the interpreter's lock."""

from __future__ import annotations

import numpy as np

from dynamics.kernels import maps
from dynamics.kernels.adaptive import ESTIMATES
from dynamics.kernels.block import Learner, Sampling, train_block
from dynamics.kernels.bptt import make_buffers, make_sizes
from dynamics.kernels.lanes import aligned
from dynamics.kernels.optimizers import OPTIMIZERS
from dynamics.training.data import TrainingData
from dynamics.training.parameters import new_learner
from dynamics.training.regularization import pulls
from dynamics.training.settings import Settings
from models import ARCHITECTURES


class CompiledEngine:
    """Trains learners on one series; methods are safe to call from several threads, one learner each."""

    name = "compiled kernels (Numba)"
    side_by_side = True

    def __init__(self, settings: Settings, data: TrainingData) -> None:
        self.settings = settings
        self.data = data
        architecture, size = ARCHITECTURES[settings.architecture], settings.size
        self.tag = maps.make_tag(settings.architecture, size)
        self.sizes = make_sizes(
            self.tag,
            size,
            architecture.n_parameters(size),
            observed=data.n_observed,
            read=architecture.read_units(size.latent),
            inputs=len(settings.input_channels),
            steps=settings.sequence_length,
            affine=settings.observation == "affine",
            nuisance=len(settings.nuisance_channels),
            taps=len(settings.loss_kernel),
        )
        self.apart = bool(
            settings.noise > 0 or settings.loss_kernel or settings.nuisance_channels or settings.distributions
        )
        self.sampling = self._sampling()

    def _sampling(self) -> Sampling:
        settings, data, forcing = self.settings, self.data, self.settings.forcing
        whole_state = settings.observation == "affine" or settings.latent_dim == data.n_observed
        weight, target = pulls(settings, data.n_observed)
        return Sampling(
            series=np.ascontiguousarray(data.series, settings.dtype).ravel(),
            inputs=np.ascontiguousarray(data.inputs, settings.dtype).ravel(),
            signal=np.ascontiguousarray(data.signal if self.apart else data.signal[:0], settings.dtype).ravel(),
            nuisance=np.ascontiguousarray(data.nuisance, settings.dtype).ravel(),
            apart=self.apart,
            starts=data.starts,
            batch=settings.batch_size,
            spread=forcing.spread_steps,
            segmented=forcing.kind == "stf"
            and forcing.spread_steps == 0
            and whole_state
            and settings.noise == 0
            and not settings.loss_kernel,
            noise=settings.noise,
            estimate=ESTIMATES.index(forcing.estimate) if forcing.adaptive else 0,
            optimizer=OPTIMIZERS.index(settings.optimizer),
            decay=settings.l2,
            clip=settings.gradient_clip or 0.0,
            pull_weight=weight.astype(settings.dtype),
            pull_target=target.astype(settings.dtype),
            recording_dim=settings.recording_dim,
            owners=data.owners,
            first_starts=data.first_starts,
            condition=settings.regularisers.observation_condition if settings.observation == "affine" else 0.0,
        )

    def learner(self, seed: int) -> Learner:
        return new_learner(self.settings, self.data, seed)

    def workspace(self, learner: Learner) -> tuple:
        """Scratch memory of one thread."""
        settings = self.settings
        buffers = make_buffers(
            self.tag, self.sizes, settings.dtype, self.apart, settings.loss_kernel, self.data.readouts
        )
        return buffers, aligned(learner.theta.size, settings.dtype)

    def advance(
        self,
        learner: Learner,
        workspace: tuple,
        first: int,
        rates: np.ndarray,
        alphas: np.ndarray,
        intervals: np.ndarray,
    ) -> tuple[int, np.ndarray]:
        """Do len(rates) updates; how many were done before the loss ceased to be finite, and their losses.

        Each has its learning rate, its alpha (unless adaptive) and its interval between forcings (0: generalised forcing).
        """
        losses = np.zeros(len(rates))
        buffers, gradient = workspace
        done = train_block(
            self.tag, learner, self.sizes, self.sampling, buffers, gradient, first, rates, alphas, intervals, losses
        )
        return done, losses[:done]

    def compile(self) -> None:
        """Compile (or load from the disk cache) all that `advance` needs, without training anything."""
        learner = self.learner(0)
        self.advance(learner, self.workspace(learner), 0, np.empty(0), np.empty(0), np.empty(0))

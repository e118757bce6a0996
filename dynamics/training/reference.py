"""The torch reference: the same training written plainly, with autograd. The compiled engine is tested against it.

It needs no compiler and runs in float64; it is slower by two orders of magnitude.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from dynamics.forcing import estimate_alpha
from dynamics.kernels import maps
from dynamics.kernels.adaptive import EVERY_UPDATES, GAMMA, SAMPLED_STEPS
from dynamics.kernels.block import Learner
from dynamics.training.data import TrainingData
from dynamics.training.parameters import new_learner
from dynamics.training.settings import Settings
from models import ARCHITECTURES


def split_parameters(settings: Settings, theta: Any, n_observed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Views of the flat parameters of map and observation; gradients flow through them."""
    m, n = settings.latent_dim, n_observed
    shapes, params, start = ARCHITECTURES[settings.architecture].shapes(m, settings.hidden_dim), {}, 0
    for name, transposed in maps.LAYOUTS[settings.architecture]:
        shape = shapes[name][::-1] if transposed else shapes[name]
        size = math.prod(shape)
        part = theta[start : start + size].reshape(shape)
        params[name] = part.T if transposed else part
        start += size
    rest = theta[start:]
    if settings.observation == "affine":
        return params, {"B": rest[: n * m].reshape(n, m), "b": rest[n * m :]}
    return params, ({"L0": rest.reshape(m - n, n)} if m > n else {})


def forcing_strengths(settings: Settings, alpha: float) -> list[float]:
    """a_t for t = 0 .. T."""
    interval = settings.forcing.interval_steps
    steps = range(settings.sequence_length + 1)
    return [float(t % interval == 0) for t in steps] if interval else [alpha for _ in steps]


def sequence_loss(
    settings: Settings,
    theta: torch.Tensor,
    x: torch.Tensor,
    strengths: list[float],
    given: torch.Tensor | None = None,
    visited: list[torch.Tensor] | None = None,
) -> torch.Tensor:
    """Mean squared error of sequences x (T+1, B, N) under forcing towards `given` (x unless noise is added).

    z~_0 = encode(x_0), z_t = F(z~_{t-1}), z~_t = (1 - a_t) z_t + a_t encode(x_t): see `dynamics.kernels.bptt`.
    `visited` receives the states z~ (B, M) from which steps were taken.
    """
    given = x if given is None else given
    n = x.shape[-1]
    params, observation = split_parameters(settings, theta, n)
    step = ARCHITECTURES[settings.architecture].step
    affine = "B" in observation
    inverse = torch.linalg.pinv(observation["B"]) if affine else None
    total = x.new_zeros(())
    state = None
    for t in range(len(x)):
        if affine:
            teacher = (given[t] - observation["b"]) @ inverse.T  # type: ignore[union-attr]
        elif state is None and "L0" in observation:
            teacher = torch.cat([given[t], given[t] @ observation["L0"].T], dim=-1)
        else:
            teacher = given[t]
        if state is None:
            state = teacher
            continue
        if visited is not None:
            visited.append(state.detach())
        free = step(params, state, torch)
        seen = free @ observation["B"].T + observation["b"] if affine else free[..., :n]
        total = total + ((seen - x[t]) ** 2).mean()
        forced = free[..., : teacher.shape[-1]]
        pulled = (1 - strengths[t]) * forced + strengths[t] * teacher
        state = torch.cat([pulled, free[..., teacher.shape[-1] :]], dim=-1)
    return total / (len(x) - 1)


class SplitMix64:
    """The compiled engine's generator, so that both engines draw the same sequences."""

    def __init__(self, state: np.ndarray) -> None:
        self.state = state

    def uniform(self) -> float:
        mask = 2**64 - 1
        value = (int(self.state[0]) + 0x9E3779B97F4A7C15) & mask
        self.state[0] = value
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
        return ((value ^ (value >> 31)) >> 11) / 2**53


class ReferenceEngine:
    """Drop-in for `CompiledEngine`."""

    name = "torch reference"

    def __init__(self, settings: Settings, data: TrainingData) -> None:
        self.settings, self.data = settings, data
        self.series = torch.tensor(np.ascontiguousarray(data.series, settings.dtype))

    def learner(self, seed: int) -> Learner:
        return new_learner(self.settings, self.data.series, seed)

    def workspace(self, learner: Learner) -> None:
        """Autograd allocates as it goes."""

    def compile(self) -> None:
        """Nothing to compile."""

    def advance(
        self, learner: Learner, workspace: None, first: int, rates: np.ndarray, alphas: np.ndarray
    ) -> tuple[int, np.ndarray]:
        theta = torch.tensor(learner.theta, requires_grad=True)
        optimizer = torch.optim.RAdam([theta], lr=1.0, weight_decay=self.settings.l2)
        optimizer.state[theta] = {
            "step": torch.tensor(float(first)),
            "exp_avg": torch.tensor(learner.momentum),
            "exp_avg_sq": torch.tensor(learner.variance),
        }
        losses: list[float] = []
        adaptive = self.settings.forcing.adaptive
        for rate, alpha in zip(rates, alphas, strict=True):
            x, given = self._draw(SplitMix64(learner.random))
            strengths = forcing_strengths(self.settings, learner.alpha[0] if adaptive else alpha)
            visited: list[torch.Tensor] = []
            loss = sequence_loss(self.settings, theta, x, strengths, given, visited)
            if adaptive and (first + len(losses)) % EVERY_UPDATES == 0:
                self._adapt(learner.alpha, theta.detach(), visited)
            if not torch.isfinite(loss):
                break
            optimizer.param_groups[0]["lr"] = float(rate)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        state = optimizer.state[theta]
        learner.theta[:] = theta.detach().numpy()
        learner.momentum[:], learner.variance[:] = state["exp_avg"].numpy(), state["exp_avg_sq"].numpy()
        return len(losses), np.array(losses)

    def _adapt(self, alpha: np.ndarray, theta: torch.Tensor, visited: list[torch.Tensor]) -> None:
        params, _ = split_parameters(self.settings, theta, self.data.n_observed)
        stride = max(1, len(visited) // SAMPLED_STEPS)
        states = torch.stack(visited[::stride], dim=1)[:16].numpy()  # (B, T', M)
        arrays = {name: value.numpy() for name, value in params.items()}
        architecture = ARCHITECTURES[self.settings.architecture]
        wanted = estimate_alpha(architecture, arrays, states, self.settings.forcing.estimate)
        alpha[0] = wanted if wanted > alpha[0] else GAMMA * alpha[0] + (1 - GAMMA) * wanted

    def _draw(self, random: SplitMix64) -> tuple[torch.Tensor, torch.Tensor]:
        """Sequences (T+1, B, N) and what the teacher says of them, drawn in groups of sixteen as the kernels do."""
        rows, noise = self.settings.sequence_length + 1, self.settings.noise
        parts, given = [], []
        for group in range(0, self.settings.batch_size, 16):
            count = min(16, self.settings.batch_size - group)
            starts = [self.data.starts[int(random.uniform() * len(self.data.starts))] for _ in range(count)]
            lanes = [*starts, *[starts[0]] * (16 - count)]
            x = torch.stack([self.series[s : s + rows] for s in lanes], dim=1)
            parts.append(x[:, :count])
            given.append((x + noise * self._normals(x, random) if noise else x)[:, :count])
        return torch.cat(parts, dim=1), torch.cat(given, dim=1)

    def _normals(self, like: torch.Tensor, random: SplitMix64) -> torch.Tensor:
        """Box-Muller, in the kernels' order: time, coordinate, lane."""
        rows, lanes, n = like.shape
        values = [
            math.sqrt(-2.0 * math.log(1.0 - random.uniform())) * math.cos(2.0 * math.pi * random.uniform())
            for _ in range(rows * n * lanes)
        ]
        return torch.tensor(values, dtype=like.dtype).reshape(rows, n, lanes).permute(0, 2, 1)

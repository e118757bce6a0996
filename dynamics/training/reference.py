"""The torch reference: the same training written plainly, with autograd. The compiled engine is tested against it.

It needs no compiler, runs in float64 and on a GPU. On a CPU it is slower by two orders of magnitude.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from domain.errors import ErrorItem, InvalidParameters
from dynamics.forcing import estimate_alpha
from dynamics.kernels.adaptive import EVERY_UPDATES, GAMMA, SAMPLED_STEPS
from dynamics.kernels.block import Learner
from dynamics.kernels.lanes import LANES
from dynamics.kernels.likelihoods import weight as counted_weight
from dynamics.training.data import TrainingData
from dynamics.training.layout import family_views, n_shared, views
from dynamics.training.parameters import new_learner
from dynamics.training.regularization import pulls
from dynamics.training.settings import Settings
from dynamics.training.splitmix import SplitMix64
from models import ARCHITECTURES
from models.readouts import ORDINAL, POISSON, Readouts

OPTIMIZERS = {"radam": torch.optim.RAdam, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


class _Map:
    """Step, observation and its inverse for one value of theta; gradients flow through all of them."""

    def __init__(
        self, settings: Settings, theta: torch.Tensor, n_observed: int, readouts: Readouts | None = None
    ) -> None:
        self.architecture = ARCHITECTURES[settings.architecture]
        self.params, self.coupling, observation = views(settings, theta, n_observed)
        self.kernel, self.contamination = settings.loss_kernel, observation.get("J")
        self.shift: Any
        self.n, self.m = n_observed, settings.latent_dim
        self.matrix, self.shift = observation.get("B"), observation.get("b")
        self.start = observation.get("L0")
        self.readouts, self.thresholds = readouts, observation.get("thresholds")
        self.inverse = None if self.matrix is None else torch.linalg.pinv(self.matrix)

    @property
    def forced_units(self) -> int:
        """Leading units that forcing acts on."""
        return self.n if self.inverse is None else self.m

    def step(self, state: torch.Tensor, inputs: torch.Tensor | None) -> torch.Tensor:
        """F(z) + C s: (..., M)."""
        free = self.architecture.step(self.params, state, torch)
        return free if self.coupling is None or inputs is None else free + inputs @ self.coupling.T

    def observe(self, state: torch.Tensor) -> torch.Tensor:
        if self.matrix is None:
            return state[..., : self.n]
        return state[..., : self.matrix.shape[1]] @ self.matrix.T + self.shift

    def misfit(self, state: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Sum of the squared errors of Gaussian coordinates and of twice the negative log-likelihoods of the others."""
        u = self.observe(state)
        return ((u - x) ** 2).sum() if self.readouts is None else misfit(self.readouts, self.thresholds, u, x)

    def seen(self, states: list[torch.Tensor]) -> torch.Tensor:
        """Free states z_1 .. z_T, (B, M) each -> observations of those with the kernel's whole history, (T - L + 1, B, N)."""
        together = torch.stack(states)
        rows = len(states) - len(self.kernel) + 1
        shown = torch.zeros_like(together[:rows])
        for k, weight in enumerate(self.kernel):
            first = len(self.kernel) - 1 - k
            shown = shown + weight * together[first : first + rows]
        return self.observe(shown)

    def teach(self, x: torch.Tensor) -> torch.Tensor:
        """What forcing sets the forced units to: (..., N) -> (..., forced units)."""
        if self.inverse is None:
            return x
        read = (x - self.shift) @ self.inverse.T
        return torch.nn.functional.pad(read, (0, self.m - read.shape[-1]))

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """The first state: (..., N) -> (..., M)."""
        teacher = self.teach(x)
        return teacher if self.start is None else torch.cat([teacher, teacher @ self.start.T], dim=-1)


def misfit(readouts: Readouts, thresholds: torch.Tensor | None, u: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Sum over all of u, x (..., N) of squared errors and twice the log-likelihood ratios to a saturated model: `kernels.likelihoods`."""
    functional = torch.nn.functional
    offset, scale = (torch.as_tensor(a, dtype=u.dtype, device=u.device) for a in (readouts.offset, readouts.scale))
    eta, passed = offset + scale * u, 0
    gaussian = torch.as_tensor(readouts.gaussian, device=u.device)
    squares, total = ((u[..., gaussian] - x[..., gaussian]) ** 2).sum(), u.new_zeros(())
    for _, channel in readouts.others:
        own, data = eta[..., channel.coordinates], x[..., channel.coordinates]
        if channel.kind == POISSON:
            inside = own.clamp(max=channel.cap)
            rate = inside.exp() * (1 + torch.relu(own - channel.cap))
            saturated = torch.special.xlogy(data, data) - data
            total = total + 2 * (rate - data * own + saturated).sum()
        elif channel.kind == ORDINAL:
            assert thresholds is not None
            free = thresholds[passed : passed + len(channel.levels) - 1]
            passed += len(free)
            cuts = torch.cumsum(torch.cat([free[:1], free[1:].exp()]), dim=0)
            y, distance = data[..., 0].long(), cuts - own  # (..., K - 1)
            infinite = torch.full_like(own, torch.inf)
            bounds = torch.cat([-infinite, distance, infinite], dim=-1)
            low, high = (bounds.gather(-1, (y + k)[..., None])[..., 0] for k in (0, 1))
            # F(high) - F(low) = F(high) (1 - F(low)) (1 - exp(low - high))
            inner = (y > 0) & (y < len(channel.levels) - 1)
            gap = torch.where(inner, low - high, torch.full_like(high, -1.0))
            between = torch.where(inner, torch.log(-torch.expm1(gap)), torch.zeros_like(high))
            total = total - 2 * (functional.logsigmoid(high) + functional.logsigmoid(-low) + between).sum()
        else:
            classes = torch.cat([torch.zeros_like(own[..., :1]), own], dim=-1).flatten(0, -2)
            y = (data @ torch.arange(1, channel.width + 1, dtype=u.dtype, device=u.device)).long().flatten()
            total = total + 2 * functional.cross_entropy(classes, y, reduction="sum")
    return squares + counted_weight(readouts) * total


def forcing_strengths(
    settings: Settings, alpha: float, interval: float = 0.0, random: SplitMix64 | None = None
) -> list[float]:
    """a_t for t = 0 .. T: alpha, or for interval > 0 (sparse forcing) 1 every so many steps, else 0.

    With `spread_steps` each interval is drawn anew from `random`.
    """
    steps, spread = settings.sequence_length, settings.forcing.spread_steps
    if interval <= 0:
        return [alpha] * (steps + 1)
    every = _at_least_one(interval)
    if spread <= 0 or random is None:
        return [float(t % every == 0) for t in range(steps + 1)]
    strengths = [0.0] * (steps + 1)
    t = _at_least_one(interval + spread * random.normals(1)[0])
    while t <= steps:
        strengths[t] = 1.0
        t += _at_least_one(interval + spread * random.normals(1)[0])
    return strengths


def _at_least_one(value: float) -> int:
    return max(1, int(np.floor(value + 0.5)))


def sequence_loss(
    settings: Settings,
    theta: torch.Tensor,
    x: torch.Tensor,
    strengths: Sequence[float],
    given: torch.Tensor | None = None,
    visited: list[torch.Tensor] | None = None,
    drive: torch.Tensor | None = None,
    nuisance: torch.Tensor | None = None,
    readouts: Readouts | None = None,
) -> torch.Tensor:
    """Mean squared error of sequences x (T+1, B, N) under forcing towards `given` (the signal; x unless it is another).

    z~_0 = encode(x_0), z_t = F(z~_{t-1}) + C s_t, z~_t = (1 - a_t) z_t + a_t encode(x_t): see `dynamics.kernels.bptt`.
    `drive` (T+1, B, K): s_t. `nuisance` (T+1, B, P): r_t, of which J r_t is added to what is observed.
    `readouts`: of channels that are not Gaussian, whose likelihood takes the place of the squared error (`misfit`).
    `visited` receives the states z~ (B, M) from which steps were taken.
    What lies between two full replacements of the whole state is a sequence of its own: these run side by side.
    """
    given = x if given is None else given
    model = _Map(settings, theta, x.shape[-1], readouts)
    inner = strengths[1:-1]
    if nuisance is not None and model.contamination is not None:
        x = x - nuisance @ model.contamination.T
    whole = model.forced_units == model.m and all(a in (0.0, 1.0) for a in inner) and any(inner)
    if settings.loss_kernel:
        return _filtered(model, x, given, drive, strengths, visited) / x[1 + settings.unjudged :].numel()
    if whole and visited is None:
        squares = _side_by_side(model, x, given, drive, [0, *(t for t, a in enumerate(inner, 1) if a)])
    else:
        squares = _one_after_another(model, x, given, drive, strengths, visited)
    return squares / x[1:].numel()


def _filtered(
    model: _Map,
    x: torch.Tensor,
    given: torch.Tensor,
    drive: torch.Tensor | None,
    strengths: Sequence[float],
    visited: list[torch.Tensor] | None,
) -> torch.Tensor:
    """Sum of squared errors of what a kernel shows of the states before they are forced, from the step that has all of it."""
    states: list[torch.Tensor] = []
    _one_after_another(model, x, given, drive, strengths, visited, states)
    return ((model.seen(states) - x[len(model.kernel) :]) ** 2).sum()


def _one_after_another(
    model: _Map,
    x: torch.Tensor,
    given: torch.Tensor,
    drive: torch.Tensor | None,
    strengths: Sequence[float],
    visited: list[torch.Tensor] | None,
    states: list[torch.Tensor] | None = None,
) -> torch.Tensor:
    """Sum of squared errors, step by step; `states` receives those before forcing."""
    total, state, forced = x.new_zeros(()), model.encode(given[0]), model.forced_units
    for t in range(1, len(x)):
        if visited is not None:
            visited.append(state.detach())
        free = model.step(state, None if drive is None else drive[t])
        if states is None:
            total = total + model.misfit(free, x[t])
        else:
            states.append(free)
        if strengths[t] == 0:
            state = free
            continue
        pulled = (1 - strengths[t]) * free[..., :forced] + strengths[t] * model.teach(given[t])
        state = torch.cat([pulled, free[..., forced:]], dim=-1)
    return total


def _side_by_side(
    model: _Map, x: torch.Tensor, given: torch.Tensor, drive: torch.Tensor | None, cuts: list[int]
) -> torch.Tensor:
    """Sum of squared errors of the pieces that begin at `cuts`, the longest first, so that those still running lead."""
    lengths = np.diff([*cuts, len(x) - 1])
    order = np.argsort(-lengths, kind="stable")
    lengths, begin = lengths[order], torch.as_tensor(np.array(cuts)[order], device=x.device)
    total, state = x.new_zeros(()), model.encode(given[begin])  # (pieces, B, M)
    for step in range(1, lengths[0] + 1):
        running = int(np.sum(lengths >= step))
        rows = begin[:running] + step
        state = model.step(state[:running], None if drive is None else drive[rows])
        total = total + model.misfit(state, x[rows])
    return total


def own_theta(settings: Settings, theta: torch.Tensor, n_observed: int, owner: int) -> torch.Tensor:
    """The common part of theta with the map of one recording in place of the common one."""
    family = family_views(settings, theta, n_observed)
    n_map = family.directions.shape[1]
    own = theta[:n_map] + family.vectors[owner] @ family.directions
    return torch.cat([own, theta[n_map : n_shared(settings, n_observed)]])


class ReferenceEngine:
    """Drop-in for `CompiledEngine`."""

    side_by_side = False  # threads would wait for the interpreter, which launches the operations

    def __init__(self, settings: Settings, data: TrainingData) -> None:
        if settings.device == "cuda" and not torch.cuda.is_available():
            raise InvalidParameters(
                'Device cuda was asked for, but the worker has no GPU that torch can use; set device to "cpu".',
                [ErrorItem(pointer="/params/device")],
            )
        if settings.device == "cpu":
            torch.set_num_threads(1)  # operations this small are far slower on two
        self.settings, self.data = settings, data
        self.name = f"torch {torch.__version__} on {self._device_name()}"
        self.series = self._tensor(data.series)
        self.signal = self._tensor(data.signal)
        self.inputs = self._tensor(data.inputs) if settings.input_channels else None
        self.nuisance = self._tensor(data.nuisance) if settings.nuisance_channels else None
        weight, target = pulls(settings, data.n_observed)
        self.pull = (self._tensor(weight), self._tensor(target)) if weight.size else None

    def _device_name(self) -> str:
        return torch.cuda.get_device_name() if self.settings.device == "cuda" else "the CPU"

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.tensor(np.ascontiguousarray(array, self.settings.dtype), device=self.settings.device)

    def learner(self, seed: int) -> Learner:
        return new_learner(self.settings, self.data, seed)

    def workspace(self, learner: Learner) -> None:
        """Autograd allocates as it goes."""

    def compile(self) -> None:
        """Make one update and forget it: the first takes torch seconds, which would be mistaken for its speed."""
        intervals = np.array([float(self.settings.forcing.interval_steps)])
        self.advance(self.learner(0), None, 0, np.zeros(1), np.array([self.settings.forcing.alpha]), intervals)

    def advance(
        self,
        learner: Learner,
        workspace: None,
        first: int,
        rates: np.ndarray,
        alphas: np.ndarray,
        intervals: np.ndarray,
    ) -> tuple[int, np.ndarray]:
        theta = self._tensor(learner.theta).requires_grad_()
        optimizer = self._optimizer(theta, learner, first)
        losses: list[float] = []
        for k, rate in enumerate(rates):
            adapting = self.settings.forcing.adaptive and (first + k) % EVERY_UPDATES == 0
            visited: list[torch.Tensor] | None = [] if adapting else None
            loss, first_map = self._loss(theta, learner, float(alphas[k]), float(intervals[k]), visited)
            if visited is not None:
                self._adapt(learner.alpha, first_map.detach(), visited)
            if not torch.isfinite(loss):
                break
            losses.append(loss.item())
            optimizer.param_groups[0]["lr"] = float(rate)
            optimizer.zero_grad()
            (loss + self._penalty(theta)).backward()
            self._clip(theta)
            optimizer.step()
        state = optimizer.state[theta]
        learner.theta[:] = theta.detach().cpu().numpy()
        learner.momentum[:], learner.variance[:] = (state[key].cpu().numpy() for key in ("exp_avg", "exp_avg_sq"))
        return len(losses), np.array(losses)

    def _optimizer(self, theta: torch.Tensor, learner: Learner, first: int) -> Any:
        optimizer = OPTIMIZERS[self.settings.optimizer]([theta], lr=1.0, weight_decay=self.settings.l2)
        optimizer.state[theta] = {
            "step": torch.tensor(float(first)),
            "exp_avg": self._tensor(learner.momentum),
            "exp_avg_sq": self._tensor(learner.variance),
        }
        return optimizer

    def _loss(
        self,
        theta: torch.Tensor,
        learner: Learner,
        alpha: float,
        interval: float,
        visited: list[torch.Tensor] | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss, and the parameters of the map that the first group of sequences has; `visited` are its states."""
        random = SplitMix64(learner.random)
        strength = float(learner.alpha[0]) if self.settings.forcing.adaptive else alpha
        strengths = forcing_strengths(self.settings, strength, interval, random)
        x, given, drive, nuisance, owners = self._draw(random)
        if not self.settings.recording_dim:
            loss = sequence_loss(
                self.settings, theta, x, strengths, given, visited, drive, nuisance, self.data.readouts
            )
            return loss, theta
        total, maps = theta.new_zeros(()), []
        for i, owner in enumerate(owners):
            group = slice(i * LANES, (i + 1) * LANES)
            parts = [None if part is None else part[:, group] for part in (x, given, drive, nuisance)]
            maps.append(own_theta(self.settings, theta, x.shape[-1], owner))
            seen = visited if i == 0 else None
            loss = sequence_loss(self.settings, maps[-1], parts[0], strengths, parts[1], seen, parts[2], parts[3])  # type: ignore[arg-type]
            total = total + loss * (parts[0].shape[1] / x.shape[1])  # type: ignore[union-attr]
        return total, maps[0]

    def _penalty(self, theta: torch.Tensor) -> torch.Tensor:
        """What the regularisers add to the loss: see `dynamics.training.regularization`."""
        total, weight = theta.new_zeros(()), self.settings.regularisers.observation_condition
        if self.pull is not None:
            total = total + (self.pull[0] * (theta[: len(self.pull[1])] - self.pull[1]) ** 2).sum()
        if weight > 0:
            matrix = views(self.settings, theta, self.data.n_observed).observation["B"]
            squares = (matrix**2).sum() * (torch.linalg.pinv(matrix) ** 2).sum()
            total = total + weight * (squares / min(matrix.shape) ** 2 - 1)
        return total

    def _clip(self, theta: torch.Tensor) -> None:
        limit = self.settings.gradient_clip
        if limit is not None and theta.grad is not None:
            theta.grad *= limit / torch.clamp(theta.grad.norm(), min=limit)

    def _adapt(self, alpha: np.ndarray, theta: torch.Tensor, visited: list[torch.Tensor]) -> None:
        params = views(self.settings, theta.cpu().numpy(), self.data.n_observed).map
        stride = max(1, len(visited) // SAMPLED_STEPS)
        states = torch.stack(visited[::stride], dim=1)[:LANES].cpu().numpy()  # (B, T', M)
        architecture = ARCHITECTURES[self.settings.architecture]
        wanted = estimate_alpha(architecture, params, states, self.settings.forcing.estimate)
        alpha[0] = wanted if wanted > alpha[0] else GAMMA * alpha[0] + (1 - GAMMA) * wanted

    def _draw(
        self, random: SplitMix64
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor | None, list[int]]:
        """Sequences (T+1, B, N), what the teacher says of them, their inputs (T+1, B, K) and nuisance (T+1, B, P); of a
        family the recording of each group.

        Drawn in groups of sixteen as the kernels do: the starts of a group, then its noise.
        """
        settings, data = self.settings, self.data
        rows, starts, noise = settings.sequence_length + 1, [], []
        owners: list[int] = []
        for group in range(0, settings.batch_size, LANES):
            count = min(LANES, settings.batch_size - group)
            chances = random.uniforms(count)
            low, high = 0, len(data.starts)
            if settings.recording_dim:  # the first is any sequence, the others are of its recording
                first = data.starts[int(chances[0] * high)]
                owners.append(int(data.owners[first]))
                low, high = data.first_starts[owners[-1] : owners[-1] + 2]
                starts.append([first])
                chances = chances[1:]
            starts.append(data.starts[low + (chances * (high - low)).astype(int)])
            if settings.noise > 0:
                normals = random.normals(rows * data.n_observed * LANES)  # in the order time, coordinate, lane
                noise.append(normals.reshape(rows, data.n_observed, LANES).transpose(0, 2, 1)[:, :count])
        index = torch.as_tensor(np.concatenate(starts) + np.arange(rows)[:, None], device=self.series.device)
        x, given = self.series[index], self.signal[index]
        given = given + settings.noise * self._tensor(np.concatenate(noise, axis=1)) if noise else given
        drive = None if self.inputs is None else self.inputs[index]
        return x, given, drive, None if self.nuisance is None else self.nuisance[index], owners

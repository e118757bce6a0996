"""An ensemble of free runs of a downloaded model, as the service makes it: docs/science/forecasts.md there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attractor_client._counted import Reading, Readouts
from attractor_client._filters import convolve, doubts, histories
from attractor_client._side_by_side import advance
from attractor_client.results import CountedForecast, Notice

_BLOCK_VALUES, _BLOCK_STEPS, _LEAST_BLOCK_STEPS = 40_000, 2_000, 16
_DIVERGED = 1e6  # in standard deviations: nothing that was ever observed
_TRUSTED_SPREAD = 0.1  # of the attractor's width


def encode(params: dict[str, np.ndarray], observation: dict[str, np.ndarray], embedded: np.ndarray) -> np.ndarray:
    """(S, N_e) -> (S, M): by the pseudo-inverse of an affine observation, or the coordinates themselves."""
    if "B" in observation:
        read = (embedded - observation["b"]) @ np.linalg.pinv(observation["B"]).T
        unread = _latent_dim(params) - read.shape[1]
        return np.concatenate([read, np.zeros((len(read), unread), read.dtype)], axis=1) if unread else read
    if "L0" in observation:
        return np.concatenate([embedded, embedded @ observation["L0"].T], axis=1)
    return embedded


def observe(observation: dict[str, np.ndarray], n_observed: int, z: np.ndarray) -> np.ndarray:
    """Latent states (..., M) -> what is observed of them, (..., N_e), standardised."""
    if "B" in observation:
        return z[..., : observation["B"].shape[1]] @ observation["B"].T + observation["b"]
    return z[..., :n_observed]


class Ensemble:
    """Members side by side: (steps, coordinates, S). They start within the measurement noise and are kicked by the model's error."""

    def __init__(
        self,
        architecture: str,
        tensors: dict[str, np.ndarray],
        channels: list[str],
        lags: Sequence[int],
        rows: np.ndarray,
        samples: int,
        seed: int,
        readouts: Readouts | None = None,
    ) -> None:
        self._readouts, self._seed = readouts, seed
        self.counted: dict[str, CountedForecast] = {}
        self._architecture, self._channels, self._rows, self._samples = architecture, channels, rows, samples
        self._params, self._observation, self._series = (
            _part(tensors, name) for name in ("map.", "observation.", "series.")
        )
        self._coupling = tensors.get("inputs.C")
        self._n_channels, self._n_observed = len(channels), len(channels) * len(lags)
        if readouts is not None:
            self._n_observed = readouts.n_coordinates
        self._dtype = np.dtype(np.result_type(*self._params.values()))
        self._n_gone, self._first_gone = 0, -1
        self._rng = np.random.default_rng(seed)
        scaled = (rows - self._series["mean"]) / self._series["std"]
        self._kernel = tensors.get("filter.kernel")
        self._lead = 0 if self._kernel is None else int(tensors["filter.cut"][1])
        if self._kernel is None:
            start = _mirrored(self._normals(1) * self._measurement_std, samples)[0]
            embedded = np.concatenate([scaled[len(scaled) - 1 - lag] for lag in lags])
            if readouts is not None:
                embedded = readouts.last_signal(scaled)
            self._before = self._encode(embedded + start.T).astype(self._dtype).T[None]
        else:
            length, known = len(self._kernel), histories(tensors, scaled)
            stop = len(known) - self._lead
            errors = np.einsum("nlk,ksn->lsn", doubts(tensors, len(scaled), self._lead), self._normals(length))
            states = self._encode(known[stop - length : stop])[:, :, None]
            self._before = (states + _mirrored(errors @ self._into_latent(), samples)).astype(self._dtype)
        self._z = self._before[-1]
        reading = tensors.get("filter.noise_std", self._measurement_std)
        columns = list(range(self._n_channels))
        if readouts is not None:  # counts and classes are drawn, so they are read without noise
            reading = np.where(np.isin(np.arange(self._n_observed), readouts.gaussian), reading, 0.0)
            columns = readouts.columns
        noise = _mirrored(self._normals(1) * reading, samples)[0]
        self._noise = noise[columns] * self._series["std"][:, None]

    def _normals(self, n_steps: int) -> np.ndarray:
        return self._rng.standard_normal((n_steps, self._samples // 2, self._n_observed))

    @property
    def _measurement_std(self) -> np.ndarray:
        known = self._series.get("noise_std")
        return self._series["residual_std"] / np.sqrt(2) if known is None else known

    @property
    def _step_std(self) -> np.ndarray:
        residual, noise = self._series["residual_std"], self._series.get("noise_std")
        return np.zeros_like(residual) if noise is None else np.sqrt(np.clip(residual**2 - 2 * noise**2, 0, None))

    def _encode(self, embedded: np.ndarray) -> np.ndarray:
        return encode(self._params, self._observation, embedded)

    def _observe(self, z: np.ndarray) -> np.ndarray:
        return observe(self._observation, self._n_observed, z)

    def _into_latent(self) -> np.ndarray:
        """What an error of the observation means for the latent state, (N_e, M)."""
        return self._encode(np.eye(self._n_observed)) - self._encode(np.zeros((1, self._n_observed)))

    def _shown(self, states: np.ndarray) -> np.ndarray:
        """What a kernel shows of the states (T, M, S), those before them being remembered; without one the states."""
        if self._kernel is None:
            return states
        together = np.concatenate([self._before[1:], states])
        self._before = together[-len(self._before) :]
        return convolve(self._kernel, together)

    def run(
        self, n_steps: int, driving: np.ndarray | None, probabilities: list[float], contamination: np.ndarray | None
    ) -> tuple[np.ndarray, int]:
        """Levels (Q, n_steps, N) in own units, and the steps until the ensemble has spread over a tenth of the attractor.

        `driving` (lead + n_steps, K): the first steps go through what the context tells too little of.
        """
        all_steps = self._lead + n_steps
        counted = None if self._readouts is None else Reading(self._readouts, self._seed, n_steps)
        levels = np.empty((len(probabilities), n_steps, self._n_channels))
        alive, trusted = np.ones(self._samples, bool), None
        per_step = self._samples * max(len(self._z), self._n_channels)
        block = min(_BLOCK_STEPS, max(_LEAST_BLOCK_STEPS, _BLOCK_VALUES // per_step))
        for begun in range(0, all_steps, block):
            stop = min(begun + block, all_steps)
            pushes = self._pushes(stop - begun, None if driving is None else driving[begun:stop])
            states = advance(self._architecture, self._params, self._z, stop - begun, pushes)
            self._z = states[-1]
            shown, done = self._shown(states)[max(0, self._lead - begun) :], max(0, begun - self._lead)
            if not len(shown):
                continue
            observed = self._observe(shown.swapaxes(1, 2))
            if self._readouts is None:
                embedded = np.ascontiguousarray(observed[..., : self._n_channels].swapaxes(1, 2))
                values = embedded * self._series["std"][:, None] + self._series["mean"][:, None]
            else:
                embedded = observed.swapaxes(1, 2)
                with np.errstate(over="ignore", invalid="ignore"):
                    units = self._readouts.means(observed) * self._series["std"] + self._series["mean"]
                values = np.ascontiguousarray(units.swapaxes(1, 2))
            if not (alive.all() and embedded.max() < _DIVERGED and embedded.min() > -_DIVERGED):
                alive = self._strike(done, embedded, values, alive)
            if trusted is None:
                wide = ~((values.std(axis=2) / self._width()).max(axis=-1) <= _TRUSTED_SPREAD)
                trusted = done + int(wide.argmax()) if wide.any() else None
            values = values + self._noise
            if counted is not None:
                counted.read(done, observed, values)
            if contamination is not None:
                values = values + contamination[done : done + len(values), :, None]
            levels[:, done : done + len(values)] = _quantiles(values, probabilities)
        self._n_gone = int((~alive).sum())
        if counted is not None:
            counted.fill(levels, probabilities)
            self.counted = counted.forecasts(self._channels)
        return levels, n_steps if trusted is None else trusted

    def _strike(self, done: int, embedded: np.ndarray, values: np.ndarray, alive: np.ndarray) -> np.ndarray:
        """Make the values of members NaN once they have left every bound; who is alive after it."""
        with np.errstate(invalid="ignore"):
            gone = ~(np.abs(embedded) < _DIVERGED).all(axis=1)
        if self._first_gone < 0 and gone.any():
            self._first_gone = done + int(gone.any(axis=1).argmax())
        gone = np.logical_or.accumulate(gone | ~alive, axis=0)
        values[np.broadcast_to(gone[:, None], values.shape)] = np.nan
        return ~gone[-1]

    def _pushes(self, n_steps: int, driving: np.ndarray | None) -> np.ndarray | None:
        """What every step adds to what the map says: the error of the map and C s, (n_steps, M, S or 1)."""
        pushes = None
        if driving is not None and self._coupling is not None:
            driven = np.asarray(driving, self._coupling.dtype) @ self._coupling.T
            pushes = driven.astype(self._dtype)[..., None]
        if not self._step_std.any():
            return pushes
        errors = (self._normals(n_steps) * self._step_std) @ self._into_latent()
        kicks = _mirrored(errors, self._samples, self._dtype)
        return kicks if pushes is None else np.add(kicks, pushes, out=kicks)

    def _width(self) -> np.ndarray:
        minimum, maximum = self._series.get("minimum"), self._series.get("maximum")
        if self._readouts is not None and minimum is not None and maximum is not None:
            return np.where([c.kind == "categorical" for c in self._readouts.channels], np.inf, maximum - minimum)
        return 4 * self._series["std"] if minimum is None or maximum is None else maximum - minimum

    def notices(self, n_steps: int, trusted: int) -> list[Notice]:
        """What the service would warn of, in fewer words."""
        found = []
        if self._samples > 1 and trusted < n_steps:
            detail = f"From step {trusted} on the ensemble is spread over more than a tenth of the attractor."
            found.append(Notice("horizon_beyond_predictability", detail))
        minimum, maximum = self._series.get("minimum"), self._series.get("maximum")
        if minimum is not None and maximum is not None:
            margin = 0.1 * (maximum - minimum)
            outside = ((self._rows < minimum - margin) | (self._rows > maximum + margin)).any(axis=0)
            if outside.any():
                names = ", ".join(self._channels[i] for i in np.flatnonzero(outside))
                found.append(
                    Notice("context_outside_training_range", f"{names} lie outside the range seen in training.")
                )
        if self._first_gone >= 0:
            detail = (
                f"{self._n_gone} of {self._samples} members left every bound, the first at step {self._first_gone}."
            )
            found.append(Notice("members_diverged", detail))
        return found


def _part(tensors: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _mirrored(half: np.ndarray, samples: int, dtype: np.dtype | None = None) -> np.ndarray:
    """Errors of every member (T, N, S) from those of half of them (T, S // 2, N): none for member 0, then those given, then
    their opposites."""
    n_plus, n_minus = samples // 2, (samples - 1) // 2
    errors = np.zeros((len(half), half.shape[2], samples), half.dtype if dtype is None else dtype)
    errors[..., 1 : 1 + n_plus] = half.swapaxes(1, 2)
    np.negative(errors[..., 1 : 1 + n_minus], out=errors[..., 1 + n_plus :])
    return errors


def _latent_dim(params: dict[str, np.ndarray]) -> int:
    """M: of the maps with an affine observation every first axis but the LSTM's is the state's."""
    if "U" in params:  # gated: the GRU has a bias bn beside U, the LSTM a memory cell for every unit
        return params["U"].shape[1] * (1 if "bn" in params else 2)
    return int(params["A"].shape[0] if "A" in params else params["h"].shape[0])


def _quantiles(values: np.ndarray, probabilities: list[float]) -> np.ndarray:
    """Quantiles over members at p (S + 1): (T, N, S) -> (Q, T, N); NaN where no member is left."""
    if np.isfinite(values).all():
        return _of_sorted(np.sort(values, axis=2), np.array(probabilities))
    levels = np.full((len(probabilities), *values.shape[:2]), np.nan)
    for t, members in enumerate(values):
        left = members[:, np.isfinite(members).all(axis=0)]
        if left.shape[1]:
            levels[:, t] = _of_sorted(np.sort(left, axis=1), np.array(probabilities))
    return levels


def _of_sorted(ordered: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """(..., S) -> (Q, ...): what numpy's `quantile(method="weibull")` gives, which is ten times slower."""
    n = ordered.shape[-1]
    position = np.clip(n * probabilities + probabilities - 1, 0, n - 1)
    below = np.minimum(position.astype(int), max(n - 2, 0))
    share = (position - below).reshape(-1, *[1] * (ordered.ndim - 1))
    low, high = (np.moveaxis(ordered[..., i], -1, 0) for i in (below, np.minimum(below + 1, n - 1)))
    return np.where(share < 0.5, low + (high - low) * share, high - (high - low) * (1 - share))

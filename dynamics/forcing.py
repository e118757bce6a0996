"""How strongly, and how often, training pulls the state back to the data; `auto` is decided here, with its reasons.

generalised (Hess et al. 2023, eq. 7):   z~ = (1 - alpha) z + alpha z_data         at every step
sparse (Mikhaeil et al. 2022):           z~ = z_data every tau steps, tau = ln 2 / (lambda_max dt)
Either may change geometrically from its first to its final value over the updates (`training.schedule.forcing_schedule`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from domain.results import LyapunovAnalysis
from domain.training_specs import ForcingSpec, GeneralizedForcingSpec, NoForcingSpec, SparseForcingSpec
from models.base import Architecture, Params

# Noisy teachers want weak forcing, or the map learns to contract too strongly (chosen on Lorenz-63 over a hundred settings);
# clean ones want more, or the free runs settle on cycles (ECG, alpha 0.2 and less), and maps much more, whose Jacobians stretch
# several times in a step (Hénon, alpha 0.34 and less). B^+ averages noise away (EEG).
NOISY_ALPHA, CLEAN_ALPHA, COARSE_ALPHA, READ_OUT_ALPHA = 0.15, 0.3, 0.6, 0.2
# Of Lorenz-63 (rho 28 and 38, dt 0.01), whose channels decorrelate after 24 and 19 steps, 1.5 times that is half the
# predictability time, 38 and 31 steps.
PER_DECORRELATION = 1.5
USUAL_INTERVAL = 25  # steps, for series without a decorrelation time
LONGEST_UNMEASURED = 50  # steps at most, unless lambda_max is known
# Where sparse forcing is the automatic choice, its last interval in predictability times, and last over first.
SHARE_OF_PREDICTABILITY, ANNEALING = 0.5, 4
SHORTEST_LAST = 8  # steps; maps forced every one or two steps fit these well and collapse in free run (Hénon)


@dataclass(frozen=True)
class Forcing:
    """Forcing with every `auto` resolved; `interval_steps` 0 unless sparse."""

    kind: str
    interval_steps: int = 0
    spread_steps: float = 0.0  # std of the interval, drawn anew at each forcing
    final_interval_steps: int = 0  # 0: the interval stays
    alpha: float = 0.0
    final_alpha: float = 0.0  # 0: alpha stays
    adaptive: bool = False
    estimate: str = "arithmetic-mean"
    automatic: bool = False  # alpha was chosen here, so a run that failed may be replaced by one with stronger forcing

    @property
    def longest_interval(self) -> int:
        """Steps that hardly any stretch between two forcings exceeds; 0 unless sparse."""
        longest = max(self.interval_steps, self.final_interval_steps)
        return math.ceil(longest + 3 * self.spread_steps) if longest else 0

    @property
    def forgetting(self) -> float:
        """Share of the state that every step loses at least, alpha at its weakest; 0 unless generalised and not adaptive."""
        if self.kind != "gtf" or self.adaptive:
            return 0.0
        return min(self.alpha, self.final_alpha or self.alpha)

    def replacement_alpha(self, k: int) -> float:
        """alpha of the k-th replacement: twice, then four times as strong, and so on in turn."""
        return min(0.9, self.alpha * (2, 4)[k % 2]) if self.automatic else self.alpha


def divergence_per_step(analysis: LyapunovAnalysis | None, dt: float) -> float | None:
    """lambda_max dt, the mean growth rate of small errors in one step; None when unknown or when nothing diverges."""
    if analysis is None or analysis.lambda_max.value is None or analysis.lambda_max.value <= 0:
        return None
    return analysis.lambda_max.value * dt


def decorrelation_steps(parts: list[np.ndarray]) -> float | None:
    """Steps after which the autocorrelation is below 1/e: the median over channels; None where that does not happen.

    `parts`: (T_i, N) runs without a gap; the longest is looked at. Channels that are constant say nothing.
    """
    values = max(parts, key=len)
    values = values - values.mean(axis=0)
    n = len(values)
    power = np.abs(np.fft.rfft(values, 2 * n, axis=0)) ** 2
    covariance = np.fft.irfft(power, 2 * n, axis=0)[:n]
    low = (covariance < covariance[0] / math.e)[:, covariance[0] > 0]
    found = low.argmax(axis=0)[low.any(axis=0)]
    return float(np.median(found)) if found.size else None


def usual_alpha(observation: str, *, noisy: bool, coarse: bool) -> float:
    """Strength of generalised forcing towards such data, the divergence of one step aside.

    `noisy`: white noise on a smooth signal was found; `coarse`: a step changes much, as in a map or a sparsely sampled flow.
    """
    if noisy:
        return NOISY_ALPHA
    if observation == "affine":
        return READ_OUT_ALPHA
    return COARSE_ALPHA if coarse else CLEAN_ALPHA


def resolve_forcing(
    spec: ForcingSpec | str,
    analysis: LyapunovAnalysis | None,
    dt: float,
    sequence_length: int,
    *,
    sparse: bool = False,
    decorrelation: float | None = None,
    usual: float = NOISY_ALPHA,
) -> tuple[Forcing, dict[str, str]]:
    """The forcing to use, and why each `auto` became what it is.

    `sparse`: what `auto` means for the architecture (`dynamics.sizing.Sizing.sparse`); `decorrelation`: of the series, in steps;
    `usual`: alpha for data of this kind (`usual_alpha`), whatever their divergence.
    """
    why: dict[str, str] = {}
    growth = divergence_per_step(analysis, dt)
    if isinstance(spec, str) and sparse:
        return _annealed(growth, sequence_length, decorrelation)
    if isinstance(spec, str):
        spec = GeneralizedForcingSpec()
        why["forcing"] = "generalised forcing: it trains reliably on noisy and on chaotic data (Hess et al. 2023)"
    if isinstance(spec, NoForcingSpec):
        return Forcing("none"), why
    if isinstance(spec, SparseForcingSpec):
        interval, reason = spec.interval_steps, ""
        if interval == "auto":
            interval, reason = _interval(growth, sequence_length, decorrelation)
            why["interval_steps"] = reason
        return Forcing("stf", interval, spec.spread_steps, spec.final_interval_steps or 0), why
    alpha, reason = _alpha(spec, growth, usual)
    if reason:
        why["alpha"] = reason
    return Forcing(
        "gtf",
        alpha=alpha,
        final_alpha=spec.final_alpha or 0.0,
        adaptive=spec.adaptive,
        estimate=spec.estimate,
        automatic=spec.alpha == "auto",
    ), why


def _annealed(
    growth: float | None, sequence_length: int, decorrelation: float | None
) -> tuple[Forcing, dict[str, str]]:
    """Sparse forcing whose interval grows: long ones alone teach little at first, short ones alone not how errors grow."""
    last, reason = _interval(growth, sequence_length, decorrelation)
    if growth is not None:
        last = round(SHARE_OF_PREDICTABILITY * last)
        reason = f"{SHARE_OF_PREDICTABILITY:g} of {reason}"
    last = min(sequence_length, max(SHORTEST_LAST, last))
    first = max(1, round(last / ANNEALING))
    why = {
        "forcing": "sparse forcing: maps whose nonlinearity acts on the units themselves, read by an affine observation, "
        "collapse under generalised forcing",
        "interval_steps": f"grows from {first} to {last} steps, at least {SHORTEST_LAST}. {reason[0].upper()}{reason[1:]}",
    }
    return Forcing("stf", first, final_interval_steps=last), why


def _interval(growth: float | None, sequence_length: int, decorrelation: float | None) -> tuple[int, str]:
    """Steps between forcings, and why; never more than a sequence has."""
    if growth is not None:
        interval = max(1, round(math.log(2) / growth))
        reason = f"ln 2 / (lambda_max dt) = {math.log(2) / growth:.3g} steps, the doubling time of an error"
    elif decorrelation is not None:
        interval = int(np.clip(round(PER_DECORRELATION * decorrelation), 2, LONGEST_UNMEASURED))
        reason = (
            f"no positive lambda_max is known: {PER_DECORRELATION:g} times the {decorrelation:g} steps after which the "
            f"autocorrelation is 1/e, 2 to {LONGEST_UNMEASURED}"
        )
    else:
        interval, reason = (
            USUAL_INTERVAL,
            "neither a positive lambda_max nor a decorrelation time is known: the usual value",
        )
    return min(interval, sequence_length), reason


def _alpha(spec: GeneralizedForcingSpec, growth: float | None, usual: float) -> tuple[float, str]:
    if spec.alpha != "auto":
        return spec.alpha, ""
    balance = 0.0 if growth is None else 1 - math.exp(-growth)
    if balance > usual:
        return balance, f"1 - exp(-lambda_max dt) = {balance:.3g}: less would not balance the divergence of one step"
    return usual, f"the usual value for such data; divergence of one step alone would need {balance:.2g}"


def estimate_alpha(architecture: type[Architecture], params: Params, states: np.ndarray, estimate: str) -> float:
    """alpha^ = max(0, 1 - 1 / kappa) from the Jacobians at states (B, T, M): the plain form of `dynamics.kernels.adaptive`.

    kappa = max over B of ||mean_t J_t||, (prod_t ||J_t||)^(1/T) or max_t ||J_t||, or a bound on ||J|| from the parameters.
    Raises ValueError where no such bound is known. Source: Hess et al. 2023, section 3.3.
    """
    if estimate == "parameter-bound":
        bound = architecture.jacobian_bound(params)
        if bound is None:
            raise ValueError(f"no bound on the Jacobian of {architecture.name} is known")
        return max(0.0, 1 - 1 / bound) if bound > 0 else 0.0
    jacobians = architecture.jacobian(params, states)
    if estimate == "arithmetic-mean":
        kappas = np.linalg.norm(jacobians.mean(axis=1), ord=2, axis=(-2, -1))
    else:
        norms = np.linalg.norm(jacobians, ord=2, axis=(-2, -1))
        kappas = (
            np.exp(np.log(np.maximum(norms, 1e-300)).mean(axis=1))
            if estimate == "geometric-mean"
            else norms.max(axis=1)
        )
    kappa = float(kappas.max())
    return max(0.0, 1 - 1 / kappa) if kappa > 0 else 0.0

"""From evidence to a verdict. `chaotic` needs every check to agree; what does not fit anywhere is `undecided`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from domain.results import Evidence, Verdict, VerdictKind
from dynamics.lyapunov.evidence import Recurrence
from dynamics.lyapunov.selection import CLEAR_GAIN, MIN_GAIN
from dynamics.lyapunov.surrogates import SurrogateTest

MIN_RIVALS = 5  # models that must have been compared where growth is inferred from their agreement
UNANIMOUS = 0.95  # share of them in which errors grow
MIN_CHAOS = 0.02  # lambda_max times mean period below which growth is too slow to be told from drift
REGULAR = 0.1  # nats per period: more growth than this belongs to no periodic or quasi-periodic motion
PREDICTABLE = 0.25  # forecast error below which a series is not noise, whatever model forecasts it
FEW_DIMENSIONS = 3.0  # correlation dimension below which states do not fill a larger space as noise does

DRIFTING = 0.1  # share of neighbours in the other half of time below which the law of motion changes: chaos shows 0.12 and more
BEYOND_DOUBT = 3.0  # the same that outweighs surrogates: exp(x) of linear noise x was forecast e times better, too
STRONG_GAIN = 1.0  # the same where the rate of growth comes from neighbours, which part in noise, too


@dataclass(frozen=True)
class Findings:
    """What the verdict rests on; exponents per sampling step."""

    is_flow: bool
    period_steps: float
    lambda_max: float
    lambda_low: float
    lambda_high: float
    sum_of_exponents: float
    nearest_zero: float  # the exponent nearest to zero, times the period
    linear_error: float  # forecast errors over `horizon_steps`, standard deviations
    model_error: float
    gain_error: float  # standard error of the log ratio of the two
    horizon_steps: int
    noise: float  # share of a standard deviation
    recurrence: Recurrence
    decay: float
    zero_one: float  # NaN where the longest segment is too short for it
    dimension: float
    free_run: bool
    linear_best: bool
    whole_spectrum: bool  # false where neighbour divergence gave the largest exponent alone
    space_dimension: int = 0  # of the space in which `dimension` was measured
    early_gain: float = 0.0  # log ratio of linear to nonlinear forecast errors at the lead where it is largest
    search_cut: bool = False  # the budget ended before enough models were tried
    surrogates: SurrogateTest | None = None  # None for too few rows, or a spent budget
    mixing: float = float("nan")  # share of nearest neighbours in the other half of time
    rivals: tuple[float, ...] = ()  # lambda_max of other models that forecast about as well
    neighbours_high: float = float("nan")  # upper end of lambda_max as neighbours tell it, without the model

    @property
    def gain(self) -> float:
        return float(np.log(self.linear_error / self.model_error))

    @property
    def nonlinear(self) -> bool:
        return self.gain > MIN_GAIN + 2.0 * self.gain_error

    @property
    def regular(self) -> bool:
        return self.recurrence.long < 0.02 + 4.0 * min(self.noise, 0.15) ** 2

    @property
    def surely_growing(self) -> bool:
        return self.lambda_low > 0 and self.lambda_max * self.period_steps > MIN_CHAOS

    @property
    def growing(self) -> bool:
        """Growth of errors: models may disagree on how fast it is, which widens the interval, and yet all find it."""
        if self.surely_growing or not self.free_run:
            return self.surely_growing
        found = np.array([self.lambda_max, *self.rivals]) * self.period_steps > MIN_CHAOS
        return bool(found[0]) and len(self.rivals) >= MIN_RIVALS and bool(np.mean(found) >= UNANIMOUS)


def evidence(f: Findings) -> list[Evidence]:
    """Every check with its number, whatever the verdict."""
    items = [
        Evidence(
            test="largest-exponent",
            value=f.lambda_max * f.period_steps,
            supports="chaotic" if f.growing else "periodic" if f.lambda_low <= 0 <= f.lambda_high else "none",
            detail=f"lambda_max times the mean period; chaotic if it exceeds {MIN_CHAOS} and its interval excludes 0, or a model that sustains "
            f"itself finds so and nearly all of {MIN_RIVALS} others and more agree: interval [{f.lambda_low * f.period_steps:.3g}, "
            f"{f.lambda_high * f.period_steps:.3g}]"
            + (
                f", other models {min(f.rivals) * f.period_steps:.3g} to {max(f.rivals) * f.period_steps:.3g}."
                if f.rivals
                else "."
            ),
        ),
        Evidence(
            test="nonlinear-forecast",
            value=f.gain,
            supports="chaotic" if f.nonlinear else "noise",
            detail=f"Log ratio of held-out forecast errors over {f.horizon_steps} steps: best linear model "
            f"{f.linear_error:.3g}, best nonlinear model {f.model_error:.3g} standard deviations.",
        ),
        Evidence(
            test="recurrence",
            value=f.recurrence.long,
            supports="periodic" if f.regular else "chaotic",
            detail=f"Mean squared return distance at the best long lag ({f.recurrence.long_lag} steps) over twice the variance: "
            "0 repeats itself for ever, 1 forgets.",
        ),
        Evidence(
            test="amplitude-decay",
            value=f.decay,
            supports="fixed-point" if f.decay < 0.2 else "none",
            detail="Amplitude in the last tenth over that in the first, where it never grows; 1 where it does.",
        ),
        Evidence(
            test="free-run",
            value=1.0 if f.free_run else 0.0,
            supports="none",
            detail="The fitted model, left to itself, "
            + ("stays on" if f.free_run else "leaves")
            + " the data's attractor.",
        ),
    ]
    if np.isfinite(f.zero_one):
        items.append(
            Evidence(
                test="zero-one-test",
                value=f.zero_one,
                supports="chaotic" if f.zero_one > 0.8 else "periodic" if f.zero_one < 0.3 else "none",
                detail="Gottwald-Melbourne K: near 1 for chaos and for noise, near 0 for regular motion.",
            )
        )
    if f.whole_spectrum:
        items.append(
            Evidence(
                test="sum-of-exponents",
                value=f.sum_of_exponents * f.period_steps,
                supports="none" if f.sum_of_exponents <= 0 else "noise",
                detail="Times the mean period; positive for no bounded dissipative system of this dimension, so it would "
                "speak against the model (a one-dimensional map aside).",
            )
        )
    if f.is_flow and f.whole_spectrum:
        items.append(
            Evidence(
                test="zero-exponent",
                value=f.nearest_zero,
                supports="none",
                detail="The exponent nearest to zero times the mean period: a flow that is not at rest has one at 0.",
            )
        )
    if f.surrogates is not None:
        items.append(_surrogates(f.surrogates))
    if np.isfinite(f.mixing):
        items.append(
            Evidence(
                test="stationarity",
                value=f.mixing,
                supports="none",
                detail="Share of states whose nearest neighbour lies in the other half of time: about 0.5 where the law of motion stays "
                f"the same; below {DRIFTING} it drifts, and chaos is not said.",
            )
        )
    if np.isfinite(f.dimension):
        items.append(
            Evidence(
                test="correlation-dimension",
                value=f.dimension,
                supports="none",
                detail="Slope of the correlation sum: 1 for a cycle, 2 for a two-torus, the dimension of the state space for noise.",
            )
        )
    return items


def _surrogates(test: SurrogateTest) -> Evidence:
    mean = float(np.mean(test.surrogate_errors))
    return Evidence(
        test="surrogates",
        value=test.sigmas,
        supports="none" if not test.decisive else "chaotic" if test.rejected else "noise" if test.p > 0.1 else "none",
        detail=f"{test.horizon_steps} steps ahead neighbours forecast the data to {test.error:.3g}, {len(test.surrogate_errors)} series of "
        f"linear noise with the same spectrum and values to {mean:.3g} standard deviations on average: rank p = {test.p:.2g}. The value is "
        "the distance in standard deviations of the surrogates; a large one rules out stationary linear noise."
        + ("" if test.decisive else " Under thirty periods a drift looks like that, too."),
    )


def _kind(f: Findings) -> tuple[VerdictKind, str]:
    if f.decay < 0.2:
        return "fixed-point", "The amplitude decays throughout: the system comes to rest."
    if f.regular:
        return _regular(f)
    if not f.nonlinear:
        if f.model_error < 0.1 and f.linear_best and f.lambda_high * f.period_steps < MIN_CHAOS:
            return "undecided", "A linear model forecasts the series well, but the series does not repeat itself."
        doubt = _doubt_of_noise(f)
        if doubt:
            return "undecided", f"No nonlinear model forecasts the series better than a linear one, yet {doubt}."
        return "noise", (
            "No nonlinear model forecasts the series better than a linear one: no evidence of deterministic dynamics "
            "beyond linearly correlated noise."
        )
    if f.growing and f.model_error < 0.8 and (f.free_run or f.gain > (CLEAR_GAIN if f.whole_spectrum else STRONG_GAIN)):
        doubt = _doubt_of_chaos(f)
        if doubt:
            return "undecided", doubt
        return "chaotic", (
            "Nearby states part exponentially, a deterministic nonlinear model forecasts held-out data, and the series "
            "never repeats itself."
        )
    if f.lambda_high < 0:
        return (
            "undecided",
            "The fitted model comes to rest although the series does not: driven by noise, or not captured.",
        )
    return "undecided", "The checks disagree: see the evidence. More data, less noise or another channel may decide."


def _doubt_of_chaos(f: Findings) -> str:
    """What speaks against chaos although errors grow; empty if nothing does."""
    if f.whole_spectrum and f.sum_of_exponents > 0 and not f.free_run:
        return "Errors grow, but the fitted model expands volumes and cannot sustain itself: not trusted."
    if not f.free_run and f.neighbours_high < f.lambda_low:
        return "The fitted model cannot sustain itself, and neighbours part far more slowly than it says: not trusted."
    if not f.free_run and f.lambda_low * f.period_steps < REGULAR:
        return (
            "The fitted model cannot sustain itself, and so slow a growth along the data may be its error: not trusted."
        )
    # Of chaotic maps neighbours allow 1.2 times the model's figure and more. Where something drives a map that its values do not show,
    # they allow less: delay vectors then fold, and a model that forecasts them to a hundredth expands at the folds.
    if not f.is_flow and f.neighbours_high < f.lambda_max:
        return "Neighbours part more slowly than the fitted model says, by more than two standard errors: not trusted."
    if f.mixing < DRIFTING:
        return "The series drifts: its two halves visit different states, and growth may be the drift's."
    # Chaotic systems lie seven standard deviations from their surrogates and more; exp(x) of linear noise x up to 2.5.
    linear = f.surrogates is not None and f.surrogates.decisive and not f.surrogates.rejected
    if linear and not (f.free_run and f.gain > BEYOND_DOUBT):
        return "The fitted model is chaotic, yet noise with the same spectrum is about as predictable as the series."
    return ""


def _doubt_of_noise(f: Findings) -> str:
    """What speaks against noise although no nonlinear model was found; empty if nothing does."""
    if f.search_cut:
        return "the budget ended before enough models were tried: raise budget_seconds"
    if f.is_flow and f.surrogates is None:
        return "it could not be compared with linear noise: too few periods, or nothing left of the budget"
    if f.early_gain > MIN_GAIN:
        return f"at some lead a nonlinear model forecasts it {100 * (np.exp(f.early_gain) - 1):.0f} % better than a linear one"
    if f.model_error < PREDICTABLE:
        return f"{f.horizon_steps} steps are forecast to {f.model_error:.2g} standard deviations, which is no noise"
    if f.surrogates is not None and f.surrogates.rejected:
        return (
            f"neighbours forecast it better than linear noise with the same spectrum, by {f.surrogates.sigmas:.1f} standard deviations: "
            "nonlinear, or not stationary"
        )
    if f.space_dimension > FEW_DIMENSIONS and f.dimension < FEW_DIMENSIONS:
        return (
            f"the states have dimension {f.dimension:.1f} in a space of {f.space_dimension}, which noise would fill: "
            "perhaps a system that these models do not capture"
        )
    return ""


def _regular(f: Findings) -> tuple[VerdictKind, str]:
    if f.surely_growing and f.nonlinear and f.recurrence.long > 3.0 * (1e-3 + f.noise**2):
        return (
            "undecided",
            "The series almost repeats itself, yet the fitted model is unstable: weak chaos or regular motion.",
        )
    surface = (
        f.is_flow and f.noise < 0.03 and f.dimension > 1.7
    )  # radii stay above the noise, yet much of it thickens a curve
    returns = f.recurrence.short < 0.02 + 4.0 * min(f.noise, 0.15) ** 2
    if (returns and not surface) or (f.is_flow and f.dimension < 1.35):
        return "periodic", "The series repeats itself to within its noise, after a few turns already."
    return "quasi-periodic", "The series repeats itself almost, for ever, but only after many turns: motion on a torus."


def judge(f: Findings) -> Verdict:
    """The verdict with its evidence."""
    kind: VerdictKind
    kind, detail = _kind(f)
    return Verdict(kind=kind, detail=detail, evidence=evidence(f))

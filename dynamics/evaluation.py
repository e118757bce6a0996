"""How good a trained model is, measured by its free runs on data it has not seen.

Protocol, variants and the rules of the verdict: docs/science/measures.md.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from domain.base import Measure
from domain.jobs import Progress
from domain.results import ReconstructionReport, ValidPredictionTime
from domain.specs import EvaluateSpec
from dynamics.compiling import compile_reporting
from dynamics.judgement import Fate, Findings, judge
from dynamics.kernels import free_run, lyapunov_qr
from dynamics.measures import (
    MAX_BINNED_CHANNELS,
    d_h,
    d_stsp,
    d_stsp_binned,
    prediction_error,
    valid_prediction_time,
)
from dynamics.model_spectrum import model_spectrum
from dynamics.reporting import Reporter
from models import TrainedModel

N_STARTS = 5  # odd, so that the median is one of them
MIN_REFERENCE_STEPS = 100
MAX_REFERENCE_STEPS = 100_000
LONG_RUN_STEPS = 100_000
MAX_SAMPLE_ROWS = 5_000
_MAX_SAMPLE_VALUES = 40_000
_MAX_RUN_VALUES = 16_000_000  # n_steps * starts * coordinates of the free runs
_RUN_WORK = 1e9  # multiplications per compiled call of a free run, about 0.1 s


def evaluate(
    model: TrainedModel,
    segments: list[np.ndarray],
    *,
    spec: EvaluateSpec,
    lambda_max: float | None,
    reference_steps: tuple[int, int],
    reporter: Reporter | None = None,
) -> ReconstructionReport:
    """Measure a model against held-out segments, list of (T_i, N) in the series' own units, each without gaps.

    From 5 evenly spaced points of the reference, the first of them its first, the model runs freely for 1.25 T steps and
    longer; the first 0.25 T are dropped. `d_stsp` and `d_h` are medians over these runs (the protocol of Hess et al. 2023,
    repeated so that one unlucky start does not decide; `first_start` is the published single run). Their floors are one half
    of the reference against the other. A delay-embedded model is measured in its embedded space. `lambda_max` (per time
    unit) is that of the data: it sets the Lyapunov time and tells whether a cycle is a collapse. Too short a reference gives
    verdict `undecided`, no error.
    """
    began, reporter = time.perf_counter(), reporter or Reporter()
    model = model.as_float64()
    reference = _reference(model, segments)
    _compile(model, reporter)
    _report(reporter, 0.0, "free runs")
    runs = _free_runs(model, reference, reporter)
    _report(reporter, 0.4, "attractor")
    stsp, long, spectral = _attractor_measures(model, reference, runs, reporter)
    _report(reporter, 0.6, "short-term prediction")
    error = _prediction_error(model, reference, spec, reporter)
    valid = _valid_prediction_time(model, reference, spec, lambda_max, reporter)
    _report(reporter, 0.75, "Lyapunov spectrum of the model")
    spectrum, dimension = model_spectrum(model, runs.states, spec.lyapunov_steps, reporter=reporter)
    verdict, detail, warnings = judge(
        Findings(
            model=model,
            n_reference=reference.n_steps,
            n_given=sum(len(s) for s in segments),
            undecided=reference.reason,
            fates=runs.fates,
            d_stsp=stsp,
            d_stsp_long=long,
            d_h=spectral,
            prediction_error=error,
            exponents=spectrum.exponents,
            lambda_max=lambda_max,
        )
    )
    _report(reporter, 1.0, "evaluated")
    return ReconstructionReport(
        verdict=verdict,
        detail=detail,
        d_stsp=stsp,
        d_stsp_long=long,
        d_h=spectral,
        prediction_error=error,
        valid_prediction_time=valid,
        lyapunov_spectrum=spectrum,
        kaplan_yorke_dimension=dimension,
        reference_steps=reference_steps,
        warnings=warnings,
        samples=_samples(model, reference, runs),
        seconds=time.perf_counter() - began,
    )


@dataclass(frozen=True)
class _Reference:
    """Embedded, standardised observations that the model is measured against."""

    segments: list[np.ndarray]  # (T_i, N_e)
    pooled: np.ndarray  # (T, N_e), all of them

    @property
    def n_steps(self) -> int:
        return len(self.pooled)

    @property
    def longest(self) -> np.ndarray:
        return max(self.segments, key=len)

    @property
    def reason(self) -> str | None:
        """Why nothing can be measured against it, if so."""
        if self.n_steps >= MIN_REFERENCE_STEPS:
            return None
        return f"the reference has {self.n_steps} usable steps, at least {MIN_REFERENCE_STEPS} are needed"


def _reference(model: TrainedModel, segments: list[np.ndarray]) -> _Reference:
    """Embed the segments, the first MAX_REFERENCE_STEPS steps of them or fewer for very wide models."""
    left = min(MAX_REFERENCE_STEPS, _MAX_RUN_VALUES // (2 * N_STARTS * max(model.latent_dim, model.n_observed)))
    embedded = []
    for segment in segments:
        if len(segment) >= model.context_steps and left > 0:
            embedded.append(model.embed(segment)[:left])
            left -= len(embedded[-1])
    embedded = embedded or [np.empty((0, model.n_observed))]
    return _Reference(embedded, np.concatenate(embedded))


@dataclass(frozen=True)
class _Runs:
    """Free runs from evenly spaced points of the reference, their first `dropped` steps left out."""

    observed: np.ndarray  # (n_steps, B, N_e)
    states: np.ndarray  # (K, M), latent states along the runs, where the spectrum starts
    fates: list[Fate]  # of each run
    dropped: int


def _free_runs(model: TrainedModel, reference: _Reference, reporter: Reporter) -> _Runs:
    n_steps, dropped = reference.n_steps, reference.n_steps // 4
    if model.n_observed <= MAX_BINNED_CHANNELS and n_steps < LONG_RUN_STEPS:
        n_steps = max(n_steps, min(LONG_RUN_STEPS, _MAX_RUN_VALUES // (N_STARTS * model.latent_dim)))
    if reference.n_steps:
        starts = reference.pooled[np.linspace(0, reference.n_steps, N_STARTS, endpoint=False).astype(int)]
    else:
        starts = np.zeros((N_STARTS, model.n_observed))
    z = model.encode(starts)
    chunk = max(1, int(_RUN_WORK / (32 * model.latent_dim * model.hidden_dim)))
    observed, states = np.empty((dropped + n_steps, *starts.shape)), []
    for first in range(0, len(observed), chunk):
        reporter.check()
        run = free_run(model, z, min(chunk, len(observed) - first))
        z = run[-1]
        states.append(z)
        with np.errstate(over="ignore", invalid="ignore"):
            observed[first : first + len(run)] = model.observe(run)
    fates = [_fate(observed[:, b], reference.pooled) for b in range(N_STARTS)]
    alive = np.concatenate([s[[fate != "diverged" for fate in fates]] for s in states])
    return _Runs(observed[dropped:], alive, fates, dropped)


def _fate(run: np.ndarray, reference: np.ndarray) -> Fate:
    """`diverged`: ten times farther out than any datum; `collapsed`: nearly at rest in the end where the data are not."""
    low, high = (reference.min(axis=0), reference.max(axis=0)) if len(reference) else (-1.0, 1.0)
    if not (np.abs(run - (high + low) / 2) <= 10 * (high - low)).all():
        return "diverged"
    if len(reference) and (run[-len(run) // 4 :].std(axis=0) < 0.02 * reference.std(axis=0)).all():
        return "collapsed"
    return "ok"


def _attractor_measures(
    model: TrainedModel, reference: _Reference, runs: _Runs, reporter: Reporter
) -> tuple[Measure, Measure | None, Measure]:
    """d_stsp, its long variant where the reference is short, and d_h: medians over the runs, with floors."""
    x, contiguous = reference.pooled, reference.longest
    binned = model.n_observed <= MAX_BINNED_CHANNELS
    if reference.reason is not None:
        no_stsp = Measure(reason=reference.reason, variant="binned-30" if binned else "gmm-1.0")
        return no_stsp, None, Measure(reason=reference.reason, variant="hellinger-s20")
    stsp, spectral, long = [], [], []
    for b in range(N_STARTS):
        reporter.check()
        y = runs.observed[:, b]
        stsp.append(d_stsp(x, y[: len(x)]))
        reporter.check()
        spectral.append(d_h(contiguous, y[: len(contiguous)]))
        if binned:
            long.append(d_stsp_binned(x, _with_noise(model, y, b)))
    reporter.check()
    settings = {"starts": N_STARTS, "dropped_steps": runs.dropped}
    half, half_contiguous = len(x) // 2, len(contiguous) // 2
    floor = d_stsp(x[:half], x[half : 2 * half]).value
    floor_h = d_h(contiguous[:half_contiguous], contiguous[half_contiguous : 2 * half_contiguous]).value
    return (
        _over_runs(stsp, settings | {"generated_steps": len(x)}, floor),
        _long_measure(model, long, x, runs) if binned else None,
        _over_runs(spectral, settings | {"generated_steps": len(contiguous)}, floor_h),
    )


def _with_noise(model: TrainedModel, y: np.ndarray, seed: int) -> np.ndarray:
    """A generated series (T, N_e) as it would be measured."""
    return y + model.measurement_std * np.random.default_rng(seed).standard_normal(y.shape)


def _long_measure(model: TrainedModel, measures: list[Measure], x: np.ndarray, runs: _Runs) -> Measure:
    """`own_level`: what as many steps of the model's own series score as the reference has, i.e. zero plus sampling."""
    settings: dict[str, float | int] = {"starts": N_STARTS, "generated_steps": len(runs.observed)}
    good = [b for b, fate in enumerate(runs.fates) if fate == "ok"]
    if len(good) > 1:
        own = _with_noise(model, runs.observed[: len(x), good[0]], N_STARTS)
        level = d_stsp_binned(own, _with_noise(model, runs.observed[:, good[1]], good[1])).value
        settings |= {"own_level": level} if level is not None else {}
    measure = _over_runs(measures, settings, None)
    return measure.model_copy(update={"variant": "binned-30-long"})


def _over_runs(measures: list[Measure], settings: dict[str, Any], floor: float | None) -> Measure:
    """The median over runs, an undefined value counting as infinite."""
    ranked = sorted(measures, key=lambda m: np.inf if m.value is None else m.value)
    median, first = ranked[len(ranked) // 2], measures[0].value
    parameters = median.parameters | settings | {"undefined_starts": sum(m.value is None for m in measures)}
    if first is not None:
        parameters["first_start"] = first
    return median.model_copy(update={"parameters": parameters, "floor": floor})


def _prediction_error(model: TrainedModel, reference: _Reference, spec: EvaluateSpec, reporter: Reporter) -> Measure:
    if reference.reason is not None:
        return Measure(reason=reference.reason, variant=f"mse-{spec.prediction_horizon_steps}")
    return prediction_error(
        model,
        reference.segments,
        spec.prediction_horizon_steps,
        free_run=lambda z, n: free_run(model, z, n),
        reporter=reporter,
    )


def _valid_prediction_time(
    model: TrainedModel, reference: _Reference, spec: EvaluateSpec, lambda_max: float | None, reporter: Reporter
) -> ValidPredictionTime:
    """Followed for 20 Lyapunov times, at most half of the longest segment."""
    threshold = spec.valid_prediction_threshold
    if reference.reason is not None:
        return ValidPredictionTime(threshold=threshold, unit=model.time_unit, reason=reference.reason)
    steps = 20 / (lambda_max * model.dt) if lambda_max is not None and lambda_max > 0 else 1000
    return valid_prediction_time(
        model,
        reference.segments,
        thresholds=(threshold,) if threshold == 0.3 else (threshold, 0.3),
        window_steps=int(min(max(steps, 50), 10_000, len(reference.longest) // 2)),
        lambda_max=lambda_max,
        free_run=lambda z, n: free_run(model, z, n),
        reporter=reporter,
    )


def _samples(model: TrainedModel, reference: _Reference, runs: _Runs) -> dict[str, Any]:
    """Rows of the attractor for pictures, true and generated, own units, every `every`-th step."""
    rows = max(200, min(MAX_SAMPLE_ROWS, _MAX_SAMPLE_VALUES // len(model.channels)))
    best = next((b for b, fate in enumerate(runs.fates) if fate != "diverged"), None)
    every = max(1, -(-reference.n_steps // rows))

    def printed(embedded: np.ndarray) -> list[list[float]]:
        chosen = model.to_units(embedded[::every][:rows])
        return [[float(f"{value:.6g}") for value in row] for row in chosen.tolist()]

    return {
        "channels": list(model.channels),
        "every": every,
        "true": printed(reference.pooled),
        "generated": [] if best is None else printed(runs.observed[: reference.n_steps, best]),
    }


def _compile(model: TrainedModel, reporter: Reporter) -> None:
    """Have the kernels compiled for this architecture and size before the measuring starts."""
    state = np.zeros((1, model.latent_dim))
    compile_reporting(lambda: (free_run(model, state, 1), lyapunov_qr(model, state[0], 1, 0)), reporter)


def _report(reporter: Reporter, fraction: float, phase: str) -> None:
    reporter.check()
    reporter.report(Progress(fraction=fraction, phase=phase))

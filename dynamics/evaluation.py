"""How good a trained model is, measured by its free runs on data it has not seen.

Protocol, variants and the rules of the verdict: docs/science/measures.md.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from domain.base import Measure, Quantity
from domain.jobs import Progress
from domain.results import CountedChannelReport, LyapunovSpectrum, ReconstructionReport, ValidPredictionTime
from domain.specs import EvaluateSpec
from dynamics.compiling import compile_reporting
from dynamics.exponent_comparison import compare_lambda_max
from dynamics.judgement import Findings, judge
from dynamics.kernels import free_run, lyapunov_qr
from dynamics.measures import (
    MAX_BINNED_CHANNELS,
    d_h_floor,
    d_h_pooled,
    d_stsp,
    d_stsp_all,
    d_stsp_binned,
    prediction_error,
    valid_prediction_time,
    window_steps,
)
from dynamics.measures.prediction_error import measured
from dynamics.measures.predictive_likelihood import predictive_likelihoods
from dynamics.model_spectrum import driven_spectrum, model_spectrum
from dynamics.references import (
    LEAST_DRIVEN_ROWS,
    LONG_RUN_STEPS,
    MAX_REFERENCE_STEPS,
    MIN_REFERENCE_STEPS,
    N_STARTS,
    Reference,
    Runs,
    driven_runs,
    free_runs,
    make_reference,
    step_work,
)
from dynamics.reporting import Reporter
from models.trained import Drive, TrainedModel

__all__ = ["LONG_RUN_STEPS", "MAX_REFERENCE_STEPS", "MIN_REFERENCE_STEPS", "N_STARTS", "evaluate"]

MAX_SAMPLE_ROWS = 5_000
_MAX_SAMPLE_VALUES = 40_000
_PREDICTION_WORK = 1e9  # multiplications of all short runs of one measure, a fraction of a second
_MAX_WINDOW_VALUES = 500_000  # steps * coordinates of one run that is followed


def evaluate(
    model: TrainedModel,
    segments: list[np.ndarray],
    *,
    inputs: list[np.ndarray] | None = None,
    nuisance: list[np.ndarray] | None = None,
    lead_in: list[int] | None = None,
    spec: EvaluateSpec,
    lambda_max: float | None,
    reference_steps: tuple[int, int],
    reference_parts: Sequence[tuple[int, int]] = (),
    data_lambda_max: Quantity | None = None,
    reporter: Reporter | None = None,
) -> ReconstructionReport:
    """Measure a model against held-out segments, list of (T_i, N) in the series' own units, each without gaps.

    From 5 evenly spaced points of the reference, the first of them its first, the model runs freely for 1.25 T steps and
    longer; the first 0.25 T are dropped. `d_stsp` and `d_h` are medians over these runs (the protocol of Hess et al. 2023,
    repeated so that one unlucky start does not decide; `first_start` is the published single run). Their floors are one half
    of the reference against the other. A delay-embedded model is measured in its embedded space.

    `inputs`, of the same rows (T_i, K) in their own units, drive a model that has inputs. Its runs start in the first
    quarter of each segment and end with it, since nothing is known of later inputs; what they show is compared with the
    other three quarters, row by row under the same inputs, and there is no `d_stsp_long`. Its exponents are conditional. `lambda_max` (per time
    unit) is that of the data: it sets the Lyapunov time and tells whether a cycle is a collapse; `data_lambda_max` is the same
    with its interval, for comparison with the model's own.

    `nuisance` (T_i, P) of the same rows is subtracted as the model has it, so all is measured on what it leaves. What a kernel shows
    is measured, of runs that start from two kernels of rows: the first `lead_in` rows of each segment serve for that alone. Counts and classes
    are measured by their likelihood, and for the attractor by the signals that stand for recorded ones and for ones drawn along the runs.
    Too short a reference gives verdict `undecided`, no error.
    """
    began, reporter = time.perf_counter(), reporter or Reporter()
    model = model.as_float64()
    reference = make_reference(model, segments, inputs, nuisance, lead_in)
    _compile(model, reporter)
    _report(reporter, 0.0, "free runs")
    runs = (driven_runs if reference.inputs is not None else free_runs)(model, reference, reporter)
    _report(reporter, 0.4, "attractor")
    stsp, long, spectral = _attractor_measures(model, reference, runs, reporter)
    _report(reporter, 0.6, "short-term prediction")
    error = _prediction_error(model, reference, spec, reporter)
    valid = _valid_prediction_time(model, reference, spec, lambda_max, reporter)
    counted = _counted(model, reference, runs, spec, reporter)
    _report(reporter, 0.75, "Lyapunov spectrum of the model")
    spectrum, dimension = _spectrum(model, reference, runs, spec, reporter)
    verdict, detail, warnings = judge(
        Findings(
            model=model,
            n_reference=reference.n_steps,
            n_given=sum(len(s) for s in segments) - sum(lead_in or []),
            undecided=_nothing_measured(reference, runs),
            fates=runs.fates,
            d_stsp=stsp,
            d_stsp_long=long,
            d_h=spectral,
            prediction_error=error,
            counted=counted,
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
        counted_channels=counted,
        valid_prediction_time=valid,
        lyapunov_spectrum=spectrum,
        kaplan_yorke_dimension=dimension,
        lambda_max_comparison=compare_lambda_max(data_lambda_max, spectrum, driven=model.inputs is not None),
        reference_steps=reference_steps,
        reference_parts=list(reference_parts) if len(reference_parts) > 1 else [],
        warnings=warnings,
        samples=_samples(model, runs),
        seconds=time.perf_counter() - began,
    )


def _attractor_measures(
    model: TrainedModel, reference: Reference, runs: Runs, reporter: Reporter
) -> tuple[Measure, Measure | None, Measure]:
    """d_stsp, its long variant where the reference is short, and d_h: medians over the runs, with floors."""
    x, pieces = runs.truth, [runs.truth[piece] for piece in runs.pieces]
    binned = model.n_observed <= MAX_BINNED_CHANNELS
    if (reason := _nothing_measured(reference, runs)) is not None:
        no_stsp = Measure(reason=reason, variant="binned-30" if binned else "gmm-1.0")
        return no_stsp, None, Measure(reason=reason, variant="hellinger-s20")
    reporter.check()
    stsp = d_stsp_all(x, [runs.observed[: len(x), b] for b in range(N_STARTS)])
    spectral, long = [], []
    for b in range(N_STARTS):
        reporter.check()
        y = runs.observed[:, b]
        spectral.append(d_h_pooled(pieces, [y[piece] for piece in runs.pieces]))
        if binned and reference.inputs is None:
            long.append(d_stsp_binned(x, with_noise(model, y, b)))
    reporter.check()
    settings: dict[str, Any] = {"starts": N_STARTS, "dropped_steps": runs.dropped}
    if reference.inputs is not None:
        settings["inputs"] = "recorded, from starts in the first quarter of each segment to its end"
    half = len(x) // 2
    floor = d_stsp(x[:half], x[half : 2 * half]).value
    window = window_steps([len(piece) for piece in pieces])
    compared = window * sum(len(piece) // window for piece in pieces)
    return (
        over_runs(stsp, settings | {"generated_steps": len(x)}, floor),
        _long_measure(model, long, x, runs) if long else None,
        over_runs(spectral, settings | {"generated_steps": compared}, d_h_floor(pieces).value),
    )


def _nothing_measured(reference: Reference, runs: Runs) -> str | None:
    """Why the runs can be compared with nothing, if so: too few rows, or, for a driven model, none in one piece."""
    if reference.reason is None and len(runs.truth) < 2:
        return f"no part of the reference without a gap has the {LEAST_DRIVEN_ROWS} rows that a run through its inputs needs"
    return reference.reason


def with_noise(model: TrainedModel, y: np.ndarray, seed: int) -> np.ndarray:
    """A generated series (T, N_e) as it would be measured."""
    return y + model.reading_std * np.random.default_rng(seed).standard_normal(y.shape)


def _long_measure(model: TrainedModel, measures: list[Measure], x: np.ndarray, runs: Runs) -> Measure:
    """`own_level`: what as many steps of the model's own series score as the reference has, i.e. zero plus sampling."""
    settings: dict[str, float | int] = {"starts": N_STARTS, "generated_steps": len(runs.observed)}
    good = [b for b, fate in enumerate(runs.fates) if fate == "ok"]
    if len(good) > 1:
        own = with_noise(model, runs.observed[: len(x), good[0]], N_STARTS)
        level = d_stsp_binned(own, with_noise(model, runs.observed[:, good[1]], good[1])).value
        settings |= {"own_level": level} if level is not None else {}
    measure = over_runs(measures, settings, None)
    return measure.model_copy(update={"variant": "binned-30-long"})


def over_runs(measures: list[Measure], settings: dict[str, Any], floor: float | None) -> Measure:
    """The median over runs, an undefined value counting as infinite."""
    ranked = sorted(measures, key=lambda m: np.inf if m.value is None else m.value)
    median, first = ranked[len(ranked) // 2], measures[0].value
    parameters = median.parameters | settings | {"undefined_starts": sum(m.value is None for m in measures)}
    if first is not None:
        parameters["first_start"] = first
    return median.model_copy(update={"parameters": parameters, "floor": floor})


def _prediction_error(model: TrainedModel, reference: Reference, spec: EvaluateSpec, reporter: Reporter) -> Measure:
    if reference.reason is not None:
        return Measure(reason=reference.reason, variant=f"mse-{spec.prediction_horizon_steps}")
    return prediction_error(
        model,
        reference.known,
        spec.prediction_horizon_steps,
        inputs=reference.inputs,
        lead_in=reference.lead_in,
        max_starts=_affordable_starts(model, spec.prediction_horizon_steps, 192),
        free_run=lambda z, n, drive: free_run(model, z, n, drive=drive),
        reporter=reporter,
    )


def _valid_prediction_time(
    model: TrainedModel, reference: Reference, spec: EvaluateSpec, lambda_max: float | None, reporter: Reporter
) -> ValidPredictionTime:
    """Followed for 20 Lyapunov times, at most half of the longest segment or 10,000 steps (fewer for more than 50 coordinates)."""
    threshold = spec.valid_prediction_threshold
    if reference.reason is not None:
        return ValidPredictionTime(threshold=threshold, unit=model.time_unit, reason=reference.reason)
    steps = 20 / (lambda_max * model.dt) if lambda_max is not None and lambda_max > 0 else 1000
    most = min(10_000, _MAX_WINDOW_VALUES // max(model.latent_dim, model.n_observed))
    window = int(min(max(steps, 50), most, len(reference.longest) // 2))
    return valid_prediction_time(
        model,
        reference.known,
        inputs=reference.inputs,
        lead_in=reference.lead_in,
        thresholds=(threshold,) if threshold == 0.3 else (threshold, 0.3),
        window_steps=window,
        lambda_max=lambda_max,
        max_starts=min(200, _affordable_starts(model, window, 32)),
        free_run=lambda z, n, drive: free_run(model, z, n, drive=drive),
        reporter=reporter,
    )


def _counted(
    model: TrainedModel, reference: Reference, runs: Runs, spec: EvaluateSpec, reporter: Reporter
) -> list[CountedChannelReport]:
    """The report on channels of counts and classes: the run whose values are drawn is the first that did not diverge."""
    if model.readouts is None or _nothing_measured(reference, runs) is not None:
        return []
    run = next((b for b, fate in enumerate(runs.fates) if fate != "diverged"), 0)
    return predictive_likelihoods(
        model,
        reference.known,
        spec.prediction_horizon_steps,
        generated=runs.predicted[:, run],
        measured=measured(reference.known, reference.lead_in),
        inputs=reference.inputs,
        lead_in=reference.lead_in,
        max_starts=_affordable_starts(model, spec.prediction_horizon_steps, 192),
        free_run=lambda z, n, drive: free_run(model, z, n, drive=drive),
        reporter=reporter,
    )


def _affordable_starts(model: TrainedModel, n_steps: int, least: int) -> int:
    """Fewer starts for larger maps, so that the report does not take longer than the training did."""
    return max(least, int(_PREDICTION_WORK / (n_steps * step_work(model))))


def _spectrum(
    model: TrainedModel, reference: Reference, runs: Runs, spec: EvaluateSpec, reporter: Reporter
) -> tuple[LyapunovSpectrum, Quantity]:
    if reference.inputs is None:
        return model_spectrum(model, runs.states, spec.lyapunov_steps, reporter=reporter)
    longest = reference.longest_known
    rows, inputs = reference.known[longest], reference.inputs[longest]
    return driven_spectrum(model, rows, inputs, spec.lyapunov_steps, reporter=reporter)


def _samples(model: TrainedModel, runs: Runs) -> dict[str, Any]:
    """Rows of the attractor for pictures, true and generated, own units, every `every`-th step."""
    rows = max(200, min(MAX_SAMPLE_ROWS, _MAX_SAMPLE_VALUES // len(model.channels)))
    best = next((b for b, fate in enumerate(runs.fates) if fate != "diverged"), None)
    every = max(1, -(-len(runs.truth) // rows))

    def printed(embedded: np.ndarray) -> list[list[float]]:
        chosen = model.to_units(embedded[::every][:rows])
        return [[float(f"{value:.6g}") for value in row] for row in chosen.tolist()]

    return {
        "channels": list(model.channels),
        "every": every,
        "true": printed(runs.truth),
        "generated": [] if best is None else printed(runs.observed[: len(runs.truth), best]),
    }


def _compile(model: TrainedModel, reporter: Reporter) -> None:
    """Have the kernels compiled for this architecture and size before the measuring starts."""
    state = np.zeros((1, model.latent_dim))
    drive = None if model.inputs is None else Drive(np.zeros((1, len(model.inputs.channels))), np.zeros(1, int))

    def compile_all() -> None:
        free_run(model, state, 1, drive=drive)
        lyapunov_qr(model, state[0], 1, 0, drive=drive)

    compile_reporting(compile_all, reporter)


def _report(reporter: Reporter, fraction: float, phase: str) -> None:
    reporter.check()
    reporter.report(Progress(fraction=fraction, phase=phase))

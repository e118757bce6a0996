"""The Lyapunov analysis of a series: prepare, model, measure, check, judge, and say it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from domain.base import Quantity, Warning_
from domain.results import Embedding, LyapunovAnalysis, LyapunovSpectrum, Verdict
from domain.specs import LyapunovSpec
from dynamics.lyapunov import derived, tangents
from dynamics.lyapunov.advice import sampling_advice
from dynamics.lyapunov.clock import Clock
from dynamics.lyapunov.comparison import SOURCES, Setting, agreement, compare
from dynamics.lyapunov.cross_checks import CrossChecks, cross_check
from dynamics.lyapunov.divergence import Divergence
from dynamics.lyapunov.embedding import DelayChoice, embedding_of
from dynamics.lyapunov.evidence import Recurrence, decay_ratio, recurrence, zero_one_test
from dynamics.lyapunov.modelling import Modelled, build
from dynamics.lyapunov.preparation import Prepared, prepare
from dynamics.lyapunov.selection import gain_by_lead
from dynamics.lyapunov.spectrum import Measured, doubted, from_divergence, from_local_jacobians, measure
from dynamics.lyapunov.verdict import REGULAR, Findings, judge
from dynamics.reporting import Reporter

MINUS_INFINITY = -600.0  # nats per step: a column that vanished


@dataclass
class Work:
    """Everything found on the way to the answer."""

    prepared: Prepared
    modelled: Modelled
    measured: Measured
    fitted: Measured  # by the model, whatever method is trusted
    fitted_seconds: float
    checks: CrossChecks
    embedding: Embedding
    shares: list[float | None]
    delay: DelayChoice | None  # None where nothing was embedded, or the delay was asked for
    verdict: Verdict
    findings: Findings


def analyze(
    segments: list[np.ndarray], *, dt: float, time_unit: str, spec: LyapunovSpec, reporter: Reporter | None = None
) -> LyapunovAnalysis:
    """Lyapunov exponents of a measured series with intervals, a verdict with evidence, and what follows from them.

    lambda_i = lim (1/t) ln sigma_i(DF^t): a smooth model F is fitted to the series (weak form, multiple shooting under
    noise), chosen by held-out forecasts, and its tangent dynamics measured by QR (Benettin et al. 1980).
    segments: (T_i, N) float64, finite, one per gap-free run; dt in time units; exponents in nats per time unit.
    Raises SeriesTooShort, ConstantSeries, NonFiniteValues; Interrupted when the reporter asks to stop.
    """
    clock = Clock(reporter or Reporter(), spec.budget_seconds)
    clock.enter("compiling", 0.0, 0.0)
    tangents.warm_up()
    clock.restart()
    clock.enter("preparing", 0.0, 0.1)
    prepared = prepare(segments, dt, clock)
    modelled = build(prepared, spec, clock)
    clock.enter("measuring exponents", 0.55, 0.85)
    states = modelled.candidate.states
    k = states.dimension if spec.n_exponents == "auto" else min(states.dimension, int(spec.n_exponents))
    measured = measure(
        modelled.candidate.model,
        modelled.draws,
        states,
        k,
        prepared.sampling.period_steps,
        clock,
        modelled.alternatives,
    )
    clock.enter("checking", 0.85, 1.0)
    work = _check(prepared, modelled, measured, spec, clock)
    return _document(work, time_unit, spec, clock)


def _check(prepared: Prepared, modelled: Modelled, measured: Measured, spec: LyapunovSpec, clock: Clock) -> Work:
    """Evidence that does not rest on the model, then the verdict."""
    rng, fitted_seconds = np.random.default_rng([spec.seed, 2]), clock.elapsed
    segments, flow, period = prepared.segments, prepared.sampling.is_flow, prepared.sampling.period_steps
    embedding, shares, delay = embedding_of(prepared, modelled, spec, clock)
    clock.tick(0.2)
    checks = cross_check(prepared, modelled, embedding, spec, clock)
    if modelled.short_sighted and checks.divergence is not None:
        measured = doubted(measured, checks.divergence.slope)
    fitted = measured
    if checks.divergence is not None and _prefers_divergence(checks.divergence, modelled, measured, spec):
        measured = from_divergence(measured, checks.divergence.slope, checks.divergence.error)
    elif checks.jacobians is not None and spec.method == "local-jacobians":
        k = len(measured.exponents) if spec.n_exponents != "auto" else None
        measured = from_local_jacobians(measured, checks.jacobians.exponents[:k], checks.jacobians.errors[:k])
    clock.tick(0.7)
    longest = max(segments, key=len)
    thinned = longest[:: max(1, round(period / 4)) if flow else 1, 0]
    findings = _findings(
        prepared,
        modelled,
        measured,
        spec,
        recurrence(segments, period),
        decay_ratio(segments),
        zero_one_test(thinned, rng),
        checks,
        clock.search_cut,
    )
    clock.tick(0.9)
    return Work(
        prepared,
        modelled,
        measured,
        fitted,
        fitted_seconds,
        checks,
        embedding,
        shares,
        delay,
        judge(findings),
        findings,
    )


def _prefers_divergence(divergence: Divergence, modelled: Modelled, measured: Measured, spec: LyapunovSpec) -> bool:
    """As asked for; by itself only for delay vectors whose model cannot sustain itself: its directions off the data are arbitrary."""
    if spec.method != "auto":
        return spec.method == "neighbor-divergence"
    straight = divergence.straightness > 0.9 and divergence.rise > 0.7
    top = measured.exponents[:2]
    doubtful = len(top) > 1 and top[1] > 0.2 * top[0]  # a second expanding direction, which the data need not have
    lone = modelled.candidate.states.kind == "delay" and not modelled.candidate.is_linear
    return straight and measured.free is None and lone and bool(doubtful)


def _findings(
    prepared: Prepared,
    modelled: Modelled,
    measured: Measured,
    spec: LyapunovSpec,
    repeats: Recurrence,
    decay: float,
    zero_one: float,
    checks: CrossChecks,
    search_cut: bool,
) -> Findings:
    half = _quantile(spec.confidence_level) * float(np.sqrt(measured.covariance[0, 0]))
    top = float(measured.exponents[0])
    best, linear = modelled.candidate, modelled.linear
    nonlinear = min((c for c in modelled.candidates if not c.is_linear), key=lambda c: c.score, default=best)
    paired = len(nonlinear.log_errors) == len(linear.log_errors)
    difference = linear.log_errors - nonlinear.log_errors if paired else linear.log_errors
    return Findings(
        is_flow=prepared.sampling.is_flow,
        period_steps=prepared.sampling.period_steps,
        lambda_max=top,
        lambda_low=top - half,
        lambda_high=top + half,
        sum_of_exponents=float(measured.exponents.sum()),
        nearest_zero=float(measured.exponents[np.argmin(np.abs(measured.exponents))]) * prepared.sampling.period_steps,
        linear_error=float(np.exp(linear.score)),
        model_error=float(np.exp(nonlinear.score)),
        gain_error=float(np.std(difference) / np.sqrt(len(difference))),
        horizon_steps=best.horizon * best.states.stride,
        noise=modelled.noise,
        recurrence=repeats,
        decay=decay,
        zero_one=zero_one,
        dimension=checks.slope,
        surrogates=checks.surrogates,
        mixing=checks.mixing,
        free_run=measured.free is not None,
        linear_best=best.is_linear,
        whole_spectrum=measured.source != "neighbour divergence",
        space_dimension=checks.space.dimension,
        search_cut=search_cut,
        early_gain=_early_gain(modelled),
        neighbours_high=checks.lambda_high,
        rivals=tuple(modelled.alternatives) if measured.source in ("free run", "along the data") else (),
    )


def _early_gain(modelled: Modelled) -> float:
    """Of delay vectors of a flow: largest gain of nonlinear over linear forecasts within the horizon; 0 otherwise."""
    delayed = [c for c in modelled.candidates if c.states.of_flow]
    if not delayed or all(c.is_linear for c in delayed):
        return 0.0
    _, gains = gain_by_lead(delayed)
    return float(gains.max()) if len(gains) else 0.0


def _quantile(level: float) -> float:
    return float(stats.norm.ppf(0.5 + 0.5 * level))


def _document(work: Work, time_unit: str, spec: LyapunovSpec, clock: Clock) -> LyapunovAnalysis:
    """The answer, in nats per time unit."""
    dt, unit = work.prepared.dt, f"1/{time_unit}" if time_unit else "1"
    exponents, kind = work.measured.exponents / dt, work.verdict.kind
    errors = np.sqrt(np.diag(work.measured.covariance)) / dt
    half = _quantile(spec.confidence_level) * errors
    basis = work.modelled.candidate.model.basis.name
    method = f"QR on a fitted model ({basis}), {work.measured.source}"
    if work.measured.source == "neighbour divergence":
        method = "neighbour divergence (Rosenstein)"
    elif work.measured.source == "local Jacobians":
        method = "QR on local-linear Jacobians (Sano-Sawada)"
    reason = None
    if kind == "noise":
        reason = "The series cannot be told from linearly correlated noise: it has no measurable exponents."
    elif kind == "undecided" and not work.findings.nonlinear:
        reason = (
            "No model was found that forecasts the series beyond linear correlation: nothing to measure exponents on."
        )
    elif kind == "undecided" and work.findings.lambda_high < 0:
        reason = (
            "The fitted model comes to rest although the series does not: its exponents are not those of the series."
        )
    elif kind in ("periodic", "quasi-periodic") and work.findings.lambda_max * work.findings.period_steps > REGULAR:
        reason = (
            f"The motion is {kind}: states that it visits do not part. The fitted model expands in a direction in which "
            "the data do not vary, so its exponents say nothing about them."
        )
    level = spec.confidence_level
    if reason is None:
        lambda_max = Quantity(
            value=float(exponents[0]),
            unit=unit,
            ci=(float(exponents[0] - half[0]), float(exponents[0] + half[0])),
            level=level,
            method=method,
        )
        finite = [float(e) if e * dt > MINUS_INFINITY else None for e in exponents]
        ci = [(v - float(h), v + float(h)) if v is not None else None for v, h in zip(finite, half, strict=True)]
        spectrum = LyapunovSpectrum(exponents=finite, ci=ci, level=level, unit=unit, method=method)
    else:
        lambda_max = Quantity(reason=reason, unit=unit, method=method)
        spectrum = LyapunovSpectrum(unit=unit, reason=reason, method=method)
    chaotic = lambda_max.value if kind in ("chaotic", "undecided") else None
    why = reason or (None if chaotic is not None else f"The motion is {kind}: errors do not grow exponentially.")
    dimension, entropy = _derived(work, unit, spec, reason)
    setting = Setting(dt, unit, level, spec.method, reason, kind == "undecided")
    methods = compare(work.measured, work.fitted, work.modelled, work.checks, work.fitted_seconds, setting)
    agreed = agreement(methods)
    verdict = work.verdict.model_copy(update={"evidence": [*work.verdict.evidence, *([agreed] if agreed else [])]})
    return LyapunovAnalysis(
        lambda_max=lambda_max,
        lyapunov_spectrum=spectrum,
        verdict=verdict,
        predictability=derived.predictability(chaotic, dt / work.prepared.stride, time_unit, why),
        forcing=derived.forcing_advice(chaotic, dt / work.prepared.stride, why),
        kaplan_yorke_dimension=dimension,
        ks_entropy=entropy,
        correlation_dimension=Quantity(reason="The series comes to rest: it fills no attractor.", unit="1")
        if kind == "fixed-point"
        else work.checks.dimension,
        methods=methods,
        embedding=work.embedding,
        diagnostics=_diagnostics(work, unit),
        warnings=[*_warnings(work), *_option_warnings(work, spec, clock)],
        seconds=clock.elapsed,
    )


def _derived(work: Work, unit: str, spec: LyapunovSpec, reason: str | None) -> tuple[Quantity, Quantity]:
    """Kaplan-Yorke dimension and entropy rate with intervals from joint draws of the exponents."""
    if reason is not None:
        return Quantity(reason=reason, unit="1"), Quantity(reason=reason, unit=unit)
    dt, level = work.prepared.dt, spec.confidence_level
    draws = -np.sort(-work.measured.draws(400, np.random.default_rng([spec.seed, 3])), axis=1)
    tails = [0.5 - 0.5 * level, 0.5 + 0.5 * level]
    entropies = [derived.ks_entropy(d) / dt for d in draws]
    low, high = (float(v) for v in np.quantile(entropies, tails))
    entropy = Quantity(
        value=derived.ks_entropy(work.measured.exponents) / dt,
        unit=unit,
        ci=(low, high),
        level=level,
        method="sum of the positive exponents",
    )
    value = derived.kaplan_yorke(work.measured.exponents)
    dimensions = np.array([derived.kaplan_yorke(d) for d in draws])
    if np.isnan(value):
        return Quantity(
            reason="The sum of the measured exponents is not negative: the spectrum does not close.", unit="1"
        ), entropy
    dimensions = dimensions[np.isfinite(dimensions)]
    low, high = (float(v) for v in np.quantile(dimensions, tails))
    return Quantity(
        value=value, unit="1", ci=(min(low, value), max(high, value)), level=level, method="Kaplan-Yorke formula"
    ), entropy


def _diagnostics(work: Work, unit: str) -> dict[str, object]:
    dt, m = work.prepared.dt, work.measured
    best, linear = work.modelled.candidate, work.modelled.linear
    return {
        "sampling": {
            "kind": "flow" if work.prepared.sampling.is_flow else "map",
            "mean_period_steps": work.prepared.sampling.period_steps * work.prepared.stride,
            "use_every_steps": work.prepared.stride,
            "rows_used": sum(len(s) for s in work.prepared.segments),
            "rows": work.prepared.n_rows,
            "noise": work.modelled.noise,
            "smoothed": work.modelled.smoothed,
        }
        | sampling_advice(work.prepared),
        "model": best.describe()
        | {"refined_by_shooting": work.modelled.refined, "substeps": round(best.model.mean_substeps, 2)},
        "candidates": [c.describe() for c in work.modelled.candidates],
        "forecast_error_by_lead": {
            "step": [int(best.states.stride * (i + 1)) for i in range(len(best.curve))],
            "model": [float(v) for v in best.curve],
            "linear_model": [float(v) for v in work.modelled.linear.curve],
            "linear_step": [int(linear.states.stride * (i + 1)) for i in range(len(linear.curve))],
        },
        "exponents_along_data": [float(v) / dt for v in m.along],
        "exponents_along_data_error": [float(v) / dt for v in m.along_error],
        "exponents_free_run": None if m.free is None else [float(v) / dt for v in m.free],
        "free_run_steps": m.free_steps,
        "convergence": [
            {"time": int(c["steps"]) * dt, "exponents": [float(v) / dt for v in c["exponents"]]}  # type: ignore[call-overload, attr-defined]
            for c in m.convergence
        ],
        "false_neighbours": work.shares,
        "delay_criteria": None if work.delay is None else work.delay.as_json(work.prepared.stride),
    } | work.checks.as_json(dt, unit)


def _warnings(work: Work) -> list[Warning_]:
    """The preparation's warnings, and where the figures disagree."""
    found = list(work.prepared.warnings)
    m = work.measured
    if m.free is None and work.verdict.kind == "chaotic":
        found.append(
            Warning_(
                code="no-free-run",
                detail="The fitted model does not sustain itself; exponents are those along the data.",
            )
        )
    elif m.free is not None:
        gap = abs(float(m.free[0] - m.along[0]))
        if gap > 3.0 * float(np.hypot(m.along_error[0], np.sqrt(m.covariance[0, 0]))):
            found.append(
                Warning_(
                    code="free-run-differs",
                    detail="Exponents of the model in free run and along the data differ by more than their errors explain; see diagnostics.",
                )
            )
    if work.modelled.noise > 0.15:
        found.append(
            Warning_(
                code="noisy", detail=f"Noise of about {100 * work.modelled.noise:.0f} % of the standard deviation."
            )
        )
    return found


def _option_warnings(work: Work, spec: LyapunovSpec, clock: Clock) -> list[Warning_]:
    """Options that could not be followed: a budget too small, a method or an embedding that this series does not admit."""
    found = []
    if clock.search_cut:
        found.append(
            Warning_(
                code="budget-cut-search",
                detail=f"budget_seconds={spec.budget_seconds:g} ended the search for a model early: fewer models were compared and "
                "the exponents are less certain than they could be. Raise budget_seconds.",
            )
        )
    given = [n for n in ("embedding_dimension", "embedding_delay") if getattr(spec, n) != "auto"]
    if given and work.prepared.n_channels > 1:
        found.append(
            Warning_(
                code="embedding-ignored",
                detail=f"{' and '.join(given)} had no effect: with several channels the channels themselves are the state.",
            )
        )
    got = SOURCES.get(work.measured.source, "fitted-model")
    if spec.method not in ("auto", got):
        found.append(
            Warning_(
                code="no-neighbours",
                detail=f"Too few neighbours for {spec.method}; the fitted model was measured instead.",
            )
        )
    return found

"""Training from the series to the model: settle the settings, train several seeds, keep the best on data they know."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numba
import numpy as np

from domain.results import LyapunovAnalysis, SeedRun, TrainingHistory
from domain.series import Recording
from domain.specs import TrainSpec
from dynamics.calibration import calibrated
from dynamics.compiling import compile_reporting
from dynamics.distributions import check_trained, declared, estimate
from dynamics.input_channels import separate
from dynamics.reporting import Diverged, Reporter
from dynamics.training import checkpoint
from dynamics.training.data import TrainingData, prepare
from dynamics.training.engines import make_engine
from dynamics.training.ensemble import Ensemble
from dynamics.training.parameters import family_of, restore
from dynamics.training.seeds import SeedState
from dynamics.training.selection import LOSS_WEIGHT, Judgement, Referee
from dynamics.training.settings import Settings, resolve, with_recordings
from dynamics.training.split import Segments, Split, bounds, split
from models import ARCHITECTURES
from models.readouts import Readouts
from models.trained import Inputs, Nuisance, TrainedModel

TOLERATED_LOSS = 0.01  # share of states that the best run may be lost from before further runs are tried


def train(
    segments: Segments,
    *,
    channels: list[str],
    dt: float,
    time_unit: str,
    spec: TrainSpec,
    analysis: LyapunovAnalysis | None,
    reporter: Reporter,
    threads: int | None = None,
    recordings: Sequence[Recording] = (),
) -> tuple[TrainedModel, TrainingHistory]:
    """Train a model of the series: several seeds, the best by its free run on training and validation data.

    `segments`: (first row, values (T_i, len(channels)) float64, finite) of each run without a gap; `spec.input_channels`
    are those of them that drive the system; `recordings` those of a collection, in whose rows the segments lie. `threads`:
    seeds trained at once (default: one for each core). The same arguments on the same machine give the same model bit for
    bit, unless the budget struck; the history says so.
    Raises SeriesTooShort when less than one sequence is left for training, ConstantSeries, InvalidParameters or
    UnknownChannel for what cannot be trained, `Diverged` when no run gave a usable model.
    """
    parts = split(segments, spec, recordings)
    observed = separate(channels, spec.input_channels, spec.nuisance_channels).observed
    readouts = read_out(segments, parts, spec, channels, observed)
    settings = resolve(spec, parts.select(observed), len(observed), dt, analysis, time_unit, readouts)
    settings = with_recordings(settings, parts.train, recordings)
    data = prepare(parts, settings, channels, recordings, readouts)
    if settings.recording_dim and data.filter is not None:  # what it cuts off may leave a recording without a sequence
        kept = with_recordings(settings, parts.train, recordings, cut=sum(data.filter.cut))
        data = prepare(parts, kept, channels, recordings) if kept.recordings != settings.recordings else data
        settings = kept
    engine = make_engine(settings, data)
    referee = Referee(data, analysis)

    def build(theta: np.ndarray) -> TrainedModel:
        found, driving = restore(settings, theta, data.n_observed), settings.input_channels
        named = settings.nuisance_channels
        return TrainedModel(
            settings.architecture, found.map, data.in_units(found.observation), [channels[c] for c in observed], data.mean, data.std,
            settings.lags, dt, time_unit, residual_std=np.zeros(data.n_observed),
            inputs=Inputs(driving, data.input_mean, data.input_std, found.coupling) if driving else None,
            nuisance=Nuisance(named, data.nuisance_mean, data.nuisance_std) if named else None, filter=data.filter,
            family=family_of(settings, theta, data.n_observed), readouts=data.readouts,
        )  # fmt: skip

    def judge(theta: np.ndarray) -> Judgement:
        return referee.judge(build(theta).as_float64())

    def compile_all() -> None:
        engine.compile()
        judge(engine.learner(0).theta)

    compile_seconds = compile_reporting(compile_all, reporter)
    versions = {"numba": numba.__version__, "numpy": np.__version__}
    mark = checkpoint.fingerprint(settings.document(), np.hstack([data.series, data.inputs, data.nuisance]), versions)
    at_once = (threads or len(os.sched_getaffinity(0))) if engine.side_by_side else 1
    ensemble = Ensemble(engine, judge, reporter, mark, at_once)
    lost: dict[int, float] = {}  # seed -> share of states from which it is lost; of finalists

    def lost_states(state: SeedState) -> float:
        if state.seed not in lost:
            lost[state.seed] = referee.lost_states(build(state.best_theta).as_float64())  # type: ignore[arg-type]
        return lost[state.seed]

    def settled(states: list[SeedState]) -> bool:
        best = _finalist(states, lost_states)
        return best is None or _outcome(best)[0] != "ok" or lost_states(best) <= TOLERATED_LOSS

    states = ensemble.run(settled)
    best = _best(states, settings, lost_states)
    model = _finish(build, best, data, _card(settings, data, analysis, versions))
    return model, _history(ensemble, states, best, lost, settings, segments, parts, compile_seconds)


def read_out(
    segments: Segments, parts: Split, spec: TrainSpec, channels: Sequence[str], observed: list[int]
) -> Readouts | None:
    """The read-outs of the observed channels; None where all are Gaussian. Raises for values that are none, see `dynamics.distributions`."""
    names = [channels[c] for c in observed]
    found = declared(spec, names, [(first, values[:, observed]) for first, values in segments])
    if not found:
        return None
    train = parts.select(observed).train
    check_trained(found, names, train)
    return estimate(found, [values for _, values in train])


def _finalist(states: list[SeedState], lost_states: Callable[[SeedState], float]) -> SeedState | None:
    """The run to keep, or None if all diverged.

    In the order of their scores runs are examined from rare states as well, until none that is left can be better.
    """
    kept, least = None, np.inf
    usable = [(s.best.score, s) for s in states if s.best is not None and s.best.outcome != "diverged"]
    for score, state in sorted(usable, key=lambda pair: pair[0]):
        if score >= least:
            break
        if score + LOSS_WEIGHT * lost_states(state) < least:
            kept, least = state, score + LOSS_WEIGHT * lost_states(state)
    return kept


def _best(states: list[SeedState], settings: Settings, lost_states: Callable[[SeedState], float]) -> SeedState:
    """The run to keep; one that has collapsed is kept, and called so, where there is no other."""
    kept = _finalist(states, lost_states)
    if kept is not None:
        return kept
    seen = "; ".join(f"seed {s.seed}: {_outcome(s)[1]}" for s in states)
    advice = ["a lower learning_rate.peak"]
    if settings.forcing.kind == "none":
        advice.insert(0, 'forcing {"kind": "gtf"}, without which gradients explode on chaotic data')
    if settings.gradient_clip is None:
        advice.append("gradient_clip: 1")
    if settings.architecture != "clipped-shplrnn" and not ARCHITECTURES[settings.architecture].squashed:
        advice.append("architecture clipped-shplrnn, whose free runs are bounded")
    if not settings.standardize:
        advice.append("standardize: true")
    advice.append("more updates or seeds with a larger budget_seconds")
    raise Diverged(f"None of {len(states)} training runs gave a usable model ({seen}). Try {', '.join(advice)}.")


def _outcome(state: SeedState) -> tuple[Any, str]:
    """Outcome of a run and the reason in words."""
    if state.best is not None and state.best.outcome == "ok":
        return "ok", "diverged later; judged before" if state.diverged else ""
    if state.diverged:
        return "diverged", f"the loss ceased to be finite after {state.update} updates"
    if state.best is None:
        return "canceled", "stopped before its first judgement"
    return state.best.outcome, state.best.why


def _finish(
    build: Callable[[np.ndarray], TrainedModel], best: SeedState, data: TrainingData, card: dict[str, Any]
) -> TrainedModel:
    assert best.best_theta is not None
    model = build(best.best_theta)
    if model.family is not None:
        params, family = model.family.standardised(model.params)
        model = replace(model, params=params, family=family)
    judged = any(len(part) > 1 for part in data.validation)
    found = calibrated(
        model,
        data.validation_signals if judged else data.train_signals,
        data.train_signals,
        validation_inputs=data.validation_inputs if judged else data.train_inputs,
        train_inputs=data.train_inputs,
        observed=data.train,
        owners=(data.validation_owners if judged else data.train_owners) if model.family else None,
    )
    return replace(found, card=card)


def _card(
    settings: Settings, data: TrainingData, analysis: LyapunovAnalysis | None, versions: dict[str, str]
) -> dict[str, Any]:
    return {
        "settings": settings.document(),
        "lambda_max": None if analysis is None else analysis.lambda_max.value,
        "lambda_max_unit": None if analysis is None else analysis.lambda_max.unit,
        "training_rows": len(data.series),
        "versions": versions | {"python": platform.python_version()},
    }


def _history(
    ensemble: Ensemble,
    states: list[SeedState],
    best: SeedState,
    lost: dict[int, float],
    settings: Settings,
    segments: Segments,
    parts: Split,
    compile_seconds: float,
) -> TrainingHistory:
    document = settings.document()
    why = document["why"]
    if settings.forcing.kind == "gtf":
        document["kept_alpha"] = float(best.learner.alpha[0])  # of the kept run: replacements and adaptive runs differ
    if ensemble.dropped or any(s.capped for s in states):
        cut = f"{sum(s.capped for s in states)} of {len(states)} runs were shortened, {len(ensemble.dropped)} not begun"
        why["budget"] = f"budget_seconds = {settings.budget_seconds:g} struck: {cut}; another run may differ"
    end = bounds(segments, 0)[1]
    validation, test = bounds(parts.validation, end), bounds(parts.test, end)
    return TrainingHistory(
        updates=best.best_update,
        seconds=ensemble.seconds,
        compile_seconds=compile_seconds,
        engine=ensemble.engine.name,
        seeds=[_seed_run(s, best, lost.get(s.seed, 0.0)) for s in states],
        loss=[[float(u), v] for u, v in best.losses],
        settings=document,
        train_steps=bounds(parts.train, 0),
        validation_steps=validation,
        test_steps=test,
        test_parts=[(first, first + len(values)) for first, values in parts.test],
        validation_parts=[(first, first + len(values)) for first, values in parts.validation],
    )


def _seed_run(state: SeedState, best: SeedState, lost: float) -> SeedRun:
    outcome, reason = _outcome(state)
    if state is best and outcome != "ok":
        why = f"the least bad of runs that all failed: {reason}"
    elif state is best:
        why = f"lowest score of its free runs, at update {state.best_update}"
    elif outcome == "ok" and lost > 0:
        why = f"{lost:.0%} of the recorded states, rare ones included, lead it away from the attractor"
    elif outcome == "ok":
        why = "another seed's free runs are closer to the data"
    else:
        why = reason
    return SeedRun(
        seed=state.seed,
        kept=state is best,
        why=why,
        updates=state.update,
        seconds=state.seconds,
        outcome=outcome,
        final_loss=state.losses[-1][1] if state.losses else None,
        validation=state.best.validation() if state.best is not None else {},
    )

"""What `train` and `reconstruct` share: analysis -> training -> evaluation -> Model, each finished part kept for later attempts."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from domain.base import Document, Quantity, Warning_
from domain.documents import MODEL_CARD, MODEL_WEIGHTS, Artifact, ModelOut, RecordingVector, artifact_href, summary
from domain.ids import new_id
from domain.results import LyapunovAnalysis, ReconstructionReport, TrainingHistory
from domain.specs import EvaluateSpec, LyapunovSpec, TrainSpec
from dynamics.evaluation import evaluate
from dynamics.family_evaluation import evaluate_recordings
from dynamics.lyapunov import analyze
from dynamics.reporting import Reporter
from dynamics.training import train
from models.cards import card
from models.trained import TrainedModel
from store import companions
from store.tables import ArtifactRow, ModelRow
from worker.context import Context, Outcome
from worker.handlers.inputs import SeriesInput, analysis_row, reference_runs, stated_runs
from worker.stages import Stages

EVALUATION_SECONDS = 5.0
NO_HELD_OUT = "Nothing was held out (test_fraction 0): the report is on the validation part, which chose among checkpoints and seeds."
_COLUMNS = {"id", "series_id", "analysis_id", "job_id", "created_at"}


class ChosenAnalysis(Document):
    """The analysis that tunes the training: one that is there already, or one that this job makes."""

    id: str
    is_new: bool
    found: LyapunovAnalysis


def reconstruct(
    context: Context,
    given: SeriesInput,
    *,
    lyapunov: LyapunovSpec,
    training: TrainSpec,
    evaluation: EvaluateSpec,
    existing_analysis: Callable[[], ChosenAnalysis | None] = lambda: None,
) -> Outcome:
    """A Model of the series, with its Analysis where the job had to make one."""
    expected = {
        "analysis": lyapunov.budget_seconds,
        "training": training.budget_seconds,
        "evaluation": EVALUATION_SECONDS,
    }
    stages = Stages(context.reporter, expected)
    analysis = _analyse(stages, given, lyapunov, existing_analysis)
    model, history = _train(stages, given, training, analysis.found, context.threads)
    report = _evaluate(given, model, history, evaluation, analysis.found.lambda_max, stages.reporter("evaluation"))
    row, artifacts = _save(context, given, analysis, model, history, report)
    made = [analysis_row(analysis.id, given, analysis.found)] if analysis.is_new else []
    return Outcome(row, (*made, *artifacts))


def _analyse(
    stages: Stages, given: SeriesInput, spec: LyapunovSpec, existing: Callable[[], ChosenAnalysis | None]
) -> ChosenAnalysis:
    def choose(reporter: Reporter) -> ChosenAnalysis:
        chosen = existing()
        if chosen is not None:
            return chosen
        found = analyze(given.values, dt=given.row.dt, time_unit=given.row.time_unit, spec=spec, reporter=reporter)
        return ChosenAnalysis(id=new_id("analysis"), is_new=True, found=found)

    def dump(chosen: ChosenAnalysis) -> bytes:
        return chosen.model_dump_json().encode()

    return stages.run("analysis", choose, dump=dump, load=ChosenAnalysis.model_validate_json)


def _train(
    stages: Stages, given: SeriesInput, spec: TrainSpec, analysis: LyapunovAnalysis, threads: int
) -> tuple[TrainedModel, TrainingHistory]:
    def work(reporter: Reporter) -> tuple[TrainedModel, TrainingHistory]:
        return train(
            given.segments,
            channels=given.used,
            dt=given.row.dt,
            time_unit=given.row.time_unit,
            spec=spec,
            analysis=analysis,
            reporter=reporter,
            threads=threads,
            recordings=given.recordings,
        )

    return stages.run("training", work, dump=_dump_trained, load=_load_trained)


def _dump_trained(trained: tuple[TrainedModel, TrainingHistory]) -> bytes:
    model, history = trained
    return history.model_dump_json().encode() + b"\n" + model.to_safetensors()


def _load_trained(data: bytes) -> tuple[TrainedModel, TrainingHistory]:
    history, _, model = data.partition(b"\n")
    return TrainedModel.from_safetensors(model), TrainingHistory.model_validate_json(history)


def _evaluate(
    given: SeriesInput,
    model: TrainedModel,
    history: TrainingHistory,
    spec: EvaluateSpec,
    lambda_max: Quantity,
    reporter: Reporter,
) -> ReconstructionReport:
    """The report on the held-out part, or on the validation part (with a warning) where nothing was held out."""
    held_out = stated_runs(history.test_parts, history.test_steps)
    chosen_on = stated_runs(history.validation_parts, history.validation_steps)
    runs = reference_runs(spec, held_out or chosen_on, given.row.n_steps)
    reference = given.within(runs, model.context_rows - 1)
    measure = evaluate if model.family is None else partial(evaluate_recordings, names=reference.names)
    report = measure(
        model,
        reference.observed,
        inputs=reference.inputs,
        nuisance=reference.nuisance,
        lead_in=reference.lead_in,
        spec=spec,
        lambda_max=lambda_max.value,
        data_lambda_max=lambda_max,
        reference_steps=(runs[0][0], runs[-1][1]),
        reference_parts=runs,
        reporter=reporter,
    )
    if not held_out and spec.start_index is None:
        report.warnings.append(Warning_(code="no_held_out_data", detail=NO_HELD_OUT))
    return report


def _save(
    context: Context,
    given: SeriesInput,
    analysis: ChosenAnalysis,
    model: TrainedModel,
    history: TrainingHistory,
    report: ReconstructionReport,
) -> tuple[ModelRow, list[ArtifactRow]]:
    """The model's files become blobs here; its rows are for the transaction that ends the job."""
    model_id = new_id("model")
    document = ModelOut(
        id=model_id,
        series_id=given.row.id,
        analysis_id=analysis.id,
        job_id=context.task.job_id,
        created_at=datetime.now(UTC),
        architecture=model.architecture,
        latent_dim=model.latent_dim,
        hidden_dim=model.hidden_dim,
        n_parameters=model.n_parameters,
        observation=model.observation_document(),
        forcing=history.settings["forcing"],
        channels=model.channels,
        input_channels=model.input_channels,
        nuisance_channels=model.nuisance_channels,
        recordings=[RecordingVector(name=name, vector=vector) for name, vector in model.vectors.items()],
        lags=model.lags,
        dt=model.dt,
        time_unit=model.time_unit,
        training=history,
        report=report,
        artifacts=[],
        **companions.described(given.companions),
    )
    weights = model.to_safetensors()
    described = summary("model", document.model_dump(mode="json", exclude={"artifacts"}))
    data: dict[str, Any] = {"series_id": given.row.id, "content_hash": given.row.content_hash}
    if given.companions:
        hashes = [{"series_id": c.row.id, "content_hash": c.row.content_hash} for c in given.companions]
        data |= {"companions": hashes}
    files = [
        _artifact(context, model_id, MODEL_WEIGHTS, "application/octet-stream", weights),
        _artifact(context, model_id, MODEL_CARD, "application/json", _json(card(described, model, weights, data))),
    ]
    document.artifacts = [
        Artifact(
            name=f.name, media_type=f.media_type, bytes=f.n_bytes, sha256=f.sha256, href=artifact_href(model_id, f.name)
        )
        for f in files
    ]
    row = ModelRow(
        id=model_id,
        series_id=given.row.id,
        analysis_id=analysis.id,
        document=document.model_dump(mode="json", exclude=_COLUMNS),
    )
    return row, files


def _artifact(context: Context, model_id: str, name: str, media_type: str, data: bytes) -> ArtifactRow:
    blob = context.keep(data)
    return ArtifactRow(model_id=model_id, name=name, media_type=media_type, sha256=blob.sha256, n_bytes=blob.n_bytes)


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=2, allow_nan=False).encode()

"""A store with a series, an analysis, a model and an evaluation in it: of the Lozi map, whose exponents are known."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from hand_made import lozi

from domain.base import Measure, Quantity
from domain.documents import MODEL_CARD, MODEL_WEIGHTS, Artifact, ModelOut, artifact_href, summary
from domain.ids import new_id
from domain.jobs import JobError
from domain.results import (
    Embedding,
    ForcingAdvice,
    LyapunovAnalysis,
    LyapunovSpectrum,
    Predictability,
    ReconstructionReport,
    SeedRun,
    TrainingHistory,
    ValidPredictionTime,
    Verdict,
)
from domain.series import ChannelProfile, Segment, SeriesProfile, SeriesSpec
from models import TrainedModel
from models.cards import card
from store import jobs, leases, results, series
from store.blobs import Blobs
from store.database import Database
from store.settings import StoreSettings
from store.tables import AnalysisRow, ArtifactRow, EvaluationRow, JobRow, ModelRow, ResultRow, SeriesRow

LAMBDA_MAX = 0.47023  # of the Lozi map, Sprott 2003
N_STEPS, GAP = 1000, (400, 410)
_PROVENANCE = ("id", "series_id", "analysis_id", "model_id", "job_id", "created_at")


@dataclass(frozen=True)
class Stock:
    """Ids of what is stored, and what a worker would do."""

    settings: StoreSettings
    database: Database
    trained: TrainedModel
    values: np.ndarray
    series_id: str
    analysis_id: str
    model_id: str
    evaluation_id: str

    def claim(self, job_id: str) -> leases.Lease:
        with self.database.write() as session:
            claimed = leases.claim(session, job_id, worker="w", lease_seconds=60)
        assert claimed is not None
        return claimed[1]

    def finish(self, job_id: str, result: ResultRow) -> None:
        lease = self.claim(job_id)
        with self.database.write() as session:
            leases.finish(session, lease, result)

    def fail(self, job_id: str, error: JobError) -> None:
        lease = self.claim(job_id)
        with self.database.write() as session:
            leases.fail(session, lease, error)

    def analysis_row(self) -> AnalysisRow:
        return _analysis_row(self.series_id)

    def job(self, job_id: str) -> JobRow:
        with self.database.read() as session:
            return jobs.get(session, job_id)


def make_stock(settings: StoreSettings, database: Database, blobs: Blobs) -> Stock:
    trained = lozi(channels=["x", "y"], dt=0.1, time_unit="s", residual_std=np.full(2, 1e-3))
    values = trained.to_units(trained.free_run(np.array([0.1, 0.1]), N_STEPS))
    values[slice(*GAP)] = np.nan
    series_row = _store_series(database, blobs, values)
    analysis, evaluation_id, model_id = _analysis_row(series_row.id), new_id("evaluation"), new_id("model")
    model, artifacts = _model_rows(blobs, trained, series_row.id, analysis.id, model_id)
    evaluation = EvaluationRow(
        id=evaluation_id,
        series_id=series_row.id,
        model_id=model_id,
        job_id=new_id("job"),
        document=_report().model_dump(mode="json") | {"channels": ["x", "y"]},
    )
    with database.write() as session:
        session.add_all([analysis, model, evaluation])
        session.flush()
        session.add_all(artifacts)
    return Stock(settings, database, trained, values, series_row.id, analysis.id, model_id, evaluation_id)


def add_model(database: Database, blobs: Blobs, trained: TrainedModel, series_id: str, analysis_id: str) -> str:
    """Another model of a stored series; its id."""
    model_id = new_id("model")
    model, artifacts = _model_rows(blobs, trained, series_id, analysis_id, model_id)
    with database.write() as session:
        session.add(model)
        session.flush()
        session.add_all(artifacts)
    return model_id


def _store_series(database: Database, blobs: Blobs, values: np.ndarray) -> SeriesRow:
    with blobs.writing() as file:
        with file.open("wb") as stream:
            np.save(stream, values)
        ref = blobs.adopt(file)
    channels = [
        ChannelProfile(name=n, minimum=-1, maximum=1, mean=0, std=1, n_missing=GAP[1] - GAP[0], n_unique=990)
        for n in ("x", "y")
    ]
    profile = SeriesProfile(
        n_steps=N_STEPS,
        n_channels=2,
        n_usable_steps=N_STEPS - 10,
        duration=99.9,
        channels=channels,
        segments=[Segment(start=0, stop=GAP[0], time_start=5.0), Segment(start=GAP[1], stop=N_STEPS, time_start=46.0)],
    )
    with database.write() as session:
        return series.add(
            session,
            values=ref,
            channels=["x", "y"],
            dt=0.1,
            time_unit="s",
            time_start=5.0,
            spec=SeriesSpec(name="lozi"),
            profile=profile,
            source={"format": "npy"},
        ).row


def _spectrum() -> LyapunovSpectrum:
    return LyapunovSpectrum(exponents=[LAMBDA_MAX / 0.1, -1.16338 / 0.1], unit="1/s", method="qr")


def _analysis_row(series_id: str) -> AnalysisRow:
    found = LyapunovAnalysis(
        lambda_max=Quantity(value=LAMBDA_MAX / 0.1, unit="1/s", method="qr"),
        lyapunov_spectrum=_spectrum(),
        verdict=Verdict(kind="chaotic", detail="Nearby states part."),
        predictability=Predictability(time=0.147, steps=1, unit="s"),
        forcing=ForcingAdvice(interval_steps=1, alpha=0.37),
        kaplan_yorke_dimension=Quantity(value=1.404, unit="1"),
        ks_entropy=Quantity(value=4.7, unit="1/s"),
        embedding=Embedding(kind="none", dimension=2),
        diagnostics={"curve": [1.0, 2.0]},
    )
    return AnalysisRow(
        id=new_id("analysis"),
        series_id=series_id,
        job_id=new_id("job"),
        channels=["x", "y"],
        channels_hash=results.channels_hash(["x", "y"]),
        document=found.model_dump(mode="json"),
    )


def _report() -> ReconstructionReport:
    return ReconstructionReport(
        verdict="good",
        detail="The model is the map itself.",
        d_stsp=Measure(value=0.1, variant="binned-30"),
        d_h=Measure(value=0.05, variant="hellinger-s20"),
        prediction_error=Measure(value=1e-4, variant="mse"),
        valid_prediction_time=ValidPredictionTime(threshold=0.4, median_time=1.0, n_starts=10, unit="s"),
        lyapunov_spectrum=_spectrum(),
        kaplan_yorke_dimension=Quantity(value=1.404, unit="1"),
        reference_steps=(800, 1000),
        samples={"true": [[0.0, 0.0]], "generated": [[0.0, 0.0]]},
    )


def _model_rows(
    blobs: Blobs, trained: TrainedModel, series_id: str, analysis_id: str, model_id: str
) -> tuple[ModelRow, list[ArtifactRow]]:
    document = ModelOut(
        id=model_id,
        series_id=series_id,
        analysis_id=analysis_id,
        job_id=new_id("job"),
        created_at=datetime.now(UTC),
        architecture=trained.architecture,
        latent_dim=trained.latent_dim,
        hidden_dim=trained.hidden_dim,
        n_parameters=trained.n_parameters,
        observation={"kind": "identity"},
        forcing={"kind": "gtf", "alpha": 0.37},
        channels=trained.channels,
        input_channels=trained.input_channels,
        lags=trained.lags,
        dt=trained.dt,
        time_unit=trained.time_unit,
        training=_history(),
        report=_report(),
        artifacts=[],
    )
    weights = trained.to_safetensors()
    described = card(summary("model", document.model_dump(mode="json", exclude={"artifacts"})), trained, weights, None)
    files = [
        (MODEL_WEIGHTS, "application/octet-stream", weights),
        (MODEL_CARD, "application/json", json.dumps(described).encode()),
    ]
    artifacts = []
    for name, media_type, data in files:
        blob = blobs.put(data)
        artifacts.append(
            ArtifactRow(model_id=model_id, name=name, media_type=media_type, sha256=blob.sha256, n_bytes=blob.n_bytes)
        )
    document.artifacts = [
        Artifact(
            name=a.name, media_type=a.media_type, bytes=a.n_bytes, sha256=a.sha256, href=artifact_href(model_id, a.name)
        )
        for a in artifacts
    ]
    row = ModelRow(
        id=model_id,
        series_id=series_id,
        analysis_id=analysis_id,
        job_id=document.job_id,
        document=document.model_dump(mode="json", exclude=set(_PROVENANCE)),
    )
    return row, artifacts


def _history() -> TrainingHistory:
    seed = SeedRun(seed=7, kept=True, why="best on validation data", updates=10, seconds=0.1, outcome="ok")
    return TrainingHistory(
        updates=10,
        seconds=0.1,
        engine="reference",
        seeds=[seed],
        loss=[[0, 1.0], [10, 0.1]],
        train_steps=(0, 640),
        validation_steps=(640, 800),
        test_steps=(800, 1000),
    )

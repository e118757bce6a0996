"""Handlers: what they hand to the science, what they save, and what a later attempt does not do again.

The science is a recorder here; with the real one they run in tests/e2e.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hand_made import lozi
from in_thread import ThreadLauncher
from sqlalchemy import select
from stock import GAP, N_STEPS, Stock, make_stock

from domain.documents import MODEL_CARD, MODEL_WEIGHTS, AnalysisOut, EvaluationOut, ForecastOut, ModelOut
from domain.jobs import JobStatus
from domain.results import LyapunovAnalysis, ReconstructionReport, TrainingHistory
from domain.specs import (
    EvaluateJob,
    ForecastJob,
    JobRequest,
    LyapunovJob,
    ReconstructJob,
    ReconstructSpec,
    TrainJob,
    TrainSpec,
)
from dynamics.reporting import Reporter
from models import TrainedModel
from store import jobs, results
from store.tables import AnalysisRow, EvaluationRow, ForecastRow, ModelRow
from worker.handlers import HANDLERS, evaluate, lyapunov, reconstruction
from worker.runner import Runner
from worker.settings import WorkerSettings

TEST_ROWS = (800, 1000)


class Science:
    """Stands for `analyze`, `train` and `evaluate`: records its arguments, answers what the stock holds."""

    def __init__(self, stock: Stock) -> None:
        with stock.database.read() as session:
            model = results.get(session, ModelRow, stock.model_id).document
            analysis = results.get(session, AnalysisRow, stock.analysis_id).document
        self.analysis = LyapunovAnalysis.model_validate(analysis)
        self.history = TrainingHistory.model_validate(
            model["training"] | {"test_steps": TEST_ROWS, "settings": {"forcing": {"kind": "gtf", "alpha": 0.25}}}
        )
        self.report = ReconstructionReport.model_validate(model["report"])
        self.trained = stock.trained
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.interrupt: str | None = None
        self.on_interrupt: Callable[[], None] = lambda: None

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    def _called(self, name: str, reporter: Reporter, arguments: dict[str, Any]) -> None:
        self.calls.append((name, arguments))
        if self.interrupt == name:
            self.on_interrupt()
            for _ in range(1000):
                reporter.check()
                time.sleep(0.01)
            raise AssertionError("the work went on")

    def analyze(self, segments: Any, *, reporter: Reporter, **arguments: Any) -> LyapunovAnalysis:
        self._called("analyze", reporter, {"segments": segments, **arguments})
        return self.analysis

    def train(self, segments: Any, *, reporter: Reporter, **arguments: Any) -> tuple[TrainedModel, TrainingHistory]:
        self._called("train", reporter, {"segments": segments, **arguments})
        return self.trained, self.history

    def evaluate(self, model: TrainedModel, segments: Any, *, reporter: Reporter, **arguments: Any) -> Any:
        self._called("evaluate", reporter, {"model": model, "segments": segments, **arguments})
        return self.report.model_copy(update={"reference_steps": arguments["reference_steps"]})


@pytest.fixture
def stock(store_settings, database, blobs) -> Stock:
    return make_stock(store_settings, database, blobs)


@pytest.fixture
def science(stock, monkeypatch) -> Science:
    science = Science(stock)
    for module in (lyapunov, reconstruction, evaluate):
        for name in ("analyze", "train", "evaluate"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, getattr(science, name))
    return science


class Desk:
    """Submits jobs and runs them."""

    def __init__(self, stock: Stock) -> None:
        self.settings = WorkerSettings(data_dir=stock.settings.data_dir, database_url=stock.settings.database_url)
        self.database = stock.database
        self.draining = threading.Event()
        launcher = ThreadLauncher(self.settings, HANDLERS)
        self.run = Runner(self.settings, stock.database, launcher, name="desk", draining=self.draining.is_set).run

    def submit(self, request: JobRequest) -> str:
        with self.database.write() as session:
            return jobs.submit(session, self.settings, request).job.id


@pytest.fixture
def desk(stock) -> Desk:
    return Desk(stock)


@pytest.fixture
def run(desk) -> Callable[[JobRequest], str]:
    """Submit and run a job; its id."""

    def submit_and_run(request: JobRequest) -> str:
        job_id = desk.submit(request)
        desk.run(job_id)
        return job_id

    return submit_and_run


def result(stock: Stock, job_id: str, kind: Any) -> Any:
    job = stock.job(job_id)
    assert (job.status, job.error) == (JobStatus.SUCCEEDED, None)
    with stock.database.read() as session:
        return results.get(session, kind, str(job.result_id))


def public(row: Any, document: type) -> Any:
    """The row's document with its columns, as the API serves it."""
    columns = {c.key: getattr(row, c.key) for c in row.__table__.columns if c.key != "document"}
    return document.model_validate(row.document | columns)


def test_lyapunov_analyses_the_segments_of_the_chosen_channels(stock, science, run):
    row = result(stock, run(LyapunovJob(kind="lyapunov", series_id=stock.series_id, channels=["y"])), AnalysisRow)
    ((_, given),) = science.calls
    assert [s.shape for s in given["segments"]] == [(GAP[0], 1), (N_STEPS - GAP[1], 1)]
    np.testing.assert_array_equal(given["segments"][1][:, 0], stock.values[GAP[1] :, 1])
    assert (given["dt"], given["time_unit"]) == (0.1, "s")
    assert public(row, AnalysisOut).channels == ["y"]
    with stock.database.read() as session:
        assert results.analysis_of(session, stock.series_id, ["y"]).id == row.id


def test_train_uses_the_newest_analysis_of_the_same_channels(stock, science, run, desk):
    row = result(stock, run(TrainJob(kind="train", series_id=stock.series_id)), ModelRow)
    assert science.names == ["train", "evaluate"]
    given = science.calls[0][1]
    assert [first for first, _ in given["segments"]] == [0, GAP[1]]
    assert (given["channels"], given["dt"], given["time_unit"]) == (["x", "y"], 0.1, "s")
    assert given["threads"] == desk.settings.seeds_at_once >= 1
    assert given["analysis"].lambda_max == science.analysis.lambda_max
    assert row.analysis_id == stock.analysis_id


def test_train_makes_an_analysis_first_where_there_is_none(stock, science, run):
    row = result(stock, run(TrainJob(kind="train", series_id=stock.series_id, channels=["y"])), ModelRow)
    assert science.names == ["analyze", "train", "evaluate"]
    with stock.database.read() as session:
        analysis = results.analysis_of(session, stock.series_id, ["y"])
    assert (row.analysis_id, analysis.job_id) == (analysis.id, row.job_id)


@pytest.mark.parametrize("kind", ["train", "reconstruct"])
def test_inputs_drive_and_are_not_analysed(stock, science, run, kind):
    """All channels go to the training, the observed ones to the analysis, both kinds apart to the report."""
    spec = TrainSpec(input_channels=["x"])
    if kind == "train":
        request = TrainJob(kind="train", series_id=stock.series_id, params=spec)
    else:
        request = ReconstructJob(kind="reconstruct", series_id=stock.series_id, params=ReconstructSpec(train=spec))
    row = result(stock, run(request), ModelRow)
    assert science.names == ["analyze", "train", "evaluate"], "the analysis of x and y is of another system"
    analysed, trained, evaluated = (given for _, given in science.calls)
    np.testing.assert_array_equal(analysed["segments"][1], stock.values[GAP[1] :, 1:])
    assert (trained["channels"], trained["spec"].input_channels) == (["x", "y"], ["x"])
    np.testing.assert_array_equal(trained["segments"][1][1], stock.values[GAP[1] :])
    held_out = stock.values[slice(*TEST_ROWS)]
    np.testing.assert_array_equal(evaluated["segments"][0], held_out[:, 1:])
    np.testing.assert_array_equal(evaluated["inputs"][0], held_out[:, :1])
    with stock.database.read() as session:
        assert results.analysis_of(session, stock.series_id, ["y"]).id == row.analysis_id


def test_counts_are_not_analysed_beside_other_channels(stock, science, run):
    spec = TrainSpec(channel_distributions={"x": "poisson"})
    row = result(stock, run(TrainJob(kind="train", series_id=stock.series_id, params=spec)), ModelRow)
    analysed, trained, evaluated = (given for _, given in science.calls)
    np.testing.assert_array_equal(analysed["segments"][1], stock.values[GAP[1] :, 1:])
    assert trained["channels"] == ["x", "y"]
    np.testing.assert_array_equal(evaluated["segments"][0], stock.values[slice(*TEST_ROWS)])
    with stock.database.read() as session:
        assert results.analysis_of(session, stock.series_id, ["y"]).id == row.analysis_id


def test_train_refuses_the_analysis_of_other_channels(stock, science, run):
    request = TrainJob(kind="train", series_id=stock.series_id, channels=["y"], analysis_id=stock.analysis_id)
    job = stock.job(run(request))
    assert (job.status, job.error["code"]) == (JobStatus.FAILED, "invalid_data")
    assert "x, y" in job.error["detail"]
    assert science.calls == []


def test_the_report_is_on_the_held_out_rows(stock, science, run):
    row = result(stock, run(TrainJob(kind="train", series_id=stock.series_id)), ModelRow)
    given = science.calls[-1][1]
    assert given["reference_steps"] == TEST_ROWS
    np.testing.assert_array_equal(np.concatenate(given["segments"]), stock.values[slice(*TEST_ROWS)])
    assert given["lambda_max"] == science.analysis.lambda_max.value
    assert row.document["report"]["reference_steps"] == list(TEST_ROWS)
    assert row.document["report"]["warnings"] == science.report.model_dump(mode="json")["warnings"]


def test_without_held_out_rows_the_report_is_on_the_validation_rows_and_says_so(stock, science, run):
    science.history = science.history.model_copy(update={"test_steps": (1000, 1000), "validation_steps": (700, 1000)})
    row = result(stock, run(TrainJob(kind="train", series_id=stock.series_id)), ModelRow)
    assert science.calls[-1][1]["reference_steps"] == (700, 1000)
    assert row.document["report"]["warnings"][-1]["code"] == "no_held_out_data"


def test_a_model_comes_with_its_files(stock, science, run, blobs):
    row = result(stock, run(TrainJob(kind="train", series_id=stock.series_id)), ModelRow)
    model = public(row, ModelOut)
    with stock.database.read() as session:
        stored = {a.name: a for a in results.artifacts(session, row.id)}
    assert {a.name: a.sha256 for a in model.artifacts} == {name: a.sha256 for name, a in stored.items()}
    weights = blobs.read(stored[MODEL_WEIGHTS].sha256)
    assert weights == stock.trained.to_safetensors()
    card = json.loads(blobs.read(stored[MODEL_CARD].sha256))
    assert (card["id"], card["forcing"], card["citation"]) == (
        row.id,
        {"kind": "gtf", "alpha": 0.25},
        lozi().map.citation,
    )
    assert card["weights"]["sha256"] == stored[MODEL_WEIGHTS].sha256
    assert card["data"]["series_id"] == stock.series_id
    assert len(card["data"]["content_hash"]) == 64
    assert card["equations"][0] == "z_t = A z_{t-1} + W1 relu(W2 z_{t-1} + h2) + h1"
    assert (model.n_parameters, model.architecture) == (stock.trained.n_parameters, "shplrnn")


def test_reconstruct_makes_its_own_analysis(stock, science, run):
    row = result(stock, run(ReconstructJob(kind="reconstruct", series_id=stock.series_id)), ModelRow)
    assert science.names == ["analyze", "train", "evaluate"]
    assert row.analysis_id != stock.analysis_id
    with stock.database.read() as session:
        assert results.get(session, AnalysisRow, row.analysis_id).job_id == row.job_id


@pytest.mark.parametrize("stage", ["analyze", "train", "evaluate"])
def test_nothing_is_stored_of_a_job_that_failed(stock, science, run, stage, monkeypatch):
    def fails(*arguments: Any, **more: Any) -> Any:
        raise RuntimeError

    monkeypatch.setattr(reconstruction, stage, fails)
    job = stock.job(run(ReconstructJob(kind="reconstruct", series_id=stock.series_id)))
    assert job.error["code"] == "internal"
    with stock.database.read() as session:
        assert len(session.scalars(select(AnalysisRow)).all()) == 1
        assert len(session.scalars(select(ModelRow)).all()) == 1


@pytest.mark.parametrize(
    ("interrupted", "repeated"),
    [("analyze", ["analyze", "train", "evaluate"]), ("train", ["train", "evaluate"]), ("evaluate", ["evaluate"])],
)
def test_a_later_attempt_repeats_no_finished_stage(stock, science, desk, interrupted, repeated):
    science.interrupt, science.on_interrupt = interrupted, desk.draining.set
    job_id = desk.submit(ReconstructJob(kind="reconstruct", series_id=stock.series_id))
    desk.run(job_id)
    assert stock.job(job_id).status == JobStatus.QUEUED
    science.interrupt, science.calls = None, []
    desk.draining.clear()
    desk.run(job_id)
    row = result(stock, job_id, ModelRow)
    assert science.names == repeated
    assert public(row, ModelOut).training == science.history
    with stock.database.read() as session:
        assert len(session.scalars(select(AnalysisRow)).all()) == 2


def test_evaluate_takes_the_held_out_rows_of_the_models_own_series(stock, science, run):
    row = result(stock, run(EvaluateJob(kind="evaluate", model_id=stock.model_id)), EvaluationRow)
    given = science.calls[0][1]
    with stock.database.read() as session:
        expected = tuple(results.get(session, ModelRow, stock.model_id).document["training"]["test_steps"])
    assert given["reference_steps"] == expected
    assert given["model"].to_safetensors() == stock.trained.to_safetensors()
    assert given["lambda_max"] == science.analysis.lambda_max.value
    assert public(row, EvaluationOut).channels == ["x", "y"]
    assert (row.model_id, row.series_id) == (stock.model_id, stock.series_id)


def test_evaluate_takes_the_rows_that_were_asked_for_without_the_gap(stock, science, run):
    request = EvaluateJob(kind="evaluate", model_id=stock.model_id, params={"start_index": 390, "stop_index": 500})
    result(stock, run(request), EvaluationRow)
    given = science.calls[0][1]
    assert given["reference_steps"] == (390, 500)
    assert [len(s) for s in given["segments"]] == [10, 90]
    np.testing.assert_array_equal(given["segments"][1], stock.values[410:500])


def test_evaluate_refuses_a_stop_before_the_held_out_part(stock, science, run):
    job = stock.job(run(EvaluateJob(kind="evaluate", model_id=stock.model_id, params={"stop_index": 5})))
    assert job.error["code"] == "invalid_data"
    assert "start_index < stop_index" in job.error["detail"]


def test_a_forecast_from_the_end_of_the_series(stock, run):
    request = ForecastJob(kind="forecast", model_id=stock.model_id, params={"horizon_steps": 3})
    row = result(stock, run(request), ForecastRow)
    forecast = public(row, ForecastOut)
    assert (forecast.start.index, forecast.channels, forecast.series_id) == (N_STEPS, ["x", "y"], stock.series_id)
    expected = stock.trained.free_run(stock.values[-1], 3)
    np.testing.assert_allclose(forecast.median, expected, atol=0.05)
    assert forecast.predictability.time == pytest.approx(np.log(2) / (0.47023 / 0.1))


def test_a_forecast_from_a_context_has_no_series(stock, run):
    params = {"horizon_steps": 2, "context": {"values": [[0.1, 0.2]], "time_start": 7.0}}
    row = result(stock, run(ForecastJob(kind="forecast", model_id=stock.model_id, params=params)), ForecastRow)
    assert (row.series_id, row.document["start"]) == (None, {"index": None, "time": pytest.approx(7.1)})


def test_a_long_forecast_keeps_its_arrays_in_a_blob(stock, run, blobs):
    params = {"horizon_steps": 5000, "samples": 4}
    row = result(stock, run(ForecastJob(kind="forecast", model_id=stock.model_id, params=params)), ForecastRow)
    assert "median" not in row.document
    assert len(json.loads(blobs.read(row.blob_sha256))["median"]) == 5000

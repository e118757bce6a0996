"""Every call of the client against the application, and the same calls awaited."""

from __future__ import annotations

import inspect
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from stock import LAMBDA_MAX, N_STEPS, Stock

import attractor_client as sdk
from attractor_client import AsyncClient, Client
from attractor_client import _options as options
from domain import specs
from domain.jobs import ErrorCode, JobError


def test_series_go_up_and_come_back(client: Client) -> None:
    values = np.random.default_rng(0).normal(size=(50, 2))
    series = client.upload(values, channels=["a,b", "c"], dt=0.5, time_unit="s", name="two")
    assert isinstance(series, sdk.Series)
    assert (series.channels, series.dt, series.time_unit, series.n_steps) == (["a,b", "c"], 0.5, "s", 50)
    np.testing.assert_array_equal(series.values(), values)
    np.testing.assert_array_equal(series.values(10, 20), values[10:20])
    assert client.upload(values, channels=["a,b", "c"], dt=0.5, time_unit="s", name="two") == series
    assert [s.id for s in client.series(name="two")] == [series.id]
    assert client.get_series(series.id) == series
    series.delete()
    with pytest.raises(sdk.NotFound):
        client.get_series(series.id)


def test_samples_become_series(client: Client) -> None:
    gallery = {sample.name: sample for sample in client.samples()}
    assert gallery["henon"].known.exponents == [0.41922, -1.62319]
    assert (gallery["henon"].lambda_max, gallery["duffing"].input_channels) == (0.41922, ["cos", "sin"])
    series = client.sample("henon", steps=500, noise=0)
    assert isinstance(series, sdk.Series)
    x = series.values()
    np.testing.assert_allclose(x[1:, 0], 1 - 1.4 * x[:-1, 0] ** 2 + x[:-1, 1], atol=1e-12)
    assert client.sample("henon", steps=500, noise=0) == series
    np.testing.assert_array_equal(client.sample("henon", steps=100, noise=0, skip=400).values(), x[400:])
    with pytest.raises(sdk.NotFound, match="lorenz63"):
        client.sample("lorentz")


def test_a_refused_series_says_where(client: Client) -> None:
    values = np.random.default_rng(0).normal(size=(50, 2))
    values[[7, 8], 1] = np.nan
    with pytest.raises(sdk.InvalidSeries) as caught:
        client.upload(values, channels=["x", "y"])
    error = caught.value
    assert (error.status, error.code) == (422, "non_finite_values")
    assert error.errors[0].pointer == "/columns/y"
    assert error.errors[0].rows == [7, 8]
    assert error.request_id is not None
    assert error.request_id in str(error)
    assert "rows 7, 8" in str(error)
    assert client.upload(values, missing="split").profile.n_usable_steps == 48


def test_jobs_by_kind_and_what_they_make(client: Client, stock: Stock) -> None:
    job = client.analyze(stock.series_id, n_exponents=2, metadata={"experiment": "lozi"})
    assert (job.state.kind, job.state.status, job.state.metadata) == ("lyapunov", "queued", {"experiment": "lozi"})
    assert job.state.raw["request"]["params"]["n_exponents"] == 2
    with pytest.raises(sdk.Conflict) as caught:
        job.result()
    assert caught.value.code == "not_ready"
    stock.finish(job.id, stock.analysis_row())
    analysis = job.wait()
    assert isinstance(analysis, sdk.Analysis)
    assert analysis == job.result() == client.analysis(analysis.id)
    assert analysis.verdict.kind == "chaotic"
    assert analysis.lambda_max.value == pytest.approx(LAMBDA_MAX / 0.1)
    assert isinstance(analysis.lyapunov_spectrum.exponents, np.ndarray)
    assert [e.data.get("status") for e in job.events()] == ["queued", "running", "succeeded"]
    assert job.refresh().ended
    train = client.train(stock.series_id, channels=["x"], architecture="lstm", seed=np.int64(3))
    assert train.state.raw["request"]["params"]["architecture"] == "lstm"
    assert train.state.raw["request"]["channels"] == ["x"]
    whole = client.reconstruct(client.get_series(stock.series_id), train={"budget_seconds": 5})
    assert whole.state.raw["request"]["params"]["train"]["budget_seconds"] == 5
    evaluated = client.evaluate(stock.model_id, lyapunov_steps=200)
    assert (evaluated.state.kind, evaluated.state.model_id) == ("evaluate", stock.model_id)
    assert [j.id for j in client.jobs()] == [evaluated.id, whole.id, train.id, job.id]
    assert [j.id for j in client.jobs(status="succeeded")] == [job.id]
    assert [j.id for j in client.jobs(kind="train", limit=5)] == [train.id]


def test_series_beside_the_one_of_the_call(client: Client, stock: Stock) -> None:
    pushed = client.upload(
        np.random.default_rng(0).normal(size=(N_STEPS, 2)), channels=["u", "v"], dt=0.1, time_unit="s"
    )
    forms = (pushed, pushed.id, [pushed], {"series_id": pushed, "channels": ["u", "v"]})
    for given in forms:
        job = client.train(stock.series_id, input_series=given, updates=10)
        (part,) = job.state.raw["request"]["input_series"]
        assert (part["series_id"], part["channels"] or ["u", "v"]) == (pushed.id, ["u", "v"])
        job.cancel()
    whole = client.reconstruct(stock.series_id, nuisance_series=[{"series_id": pushed.id, "channels": ["v"]}])
    assert whole.state.raw["request"]["nuisance_series"] == [{"series_id": pushed.id, "channels": ["v"]}]
    with pytest.raises(sdk.DataError, match="a Series, its id"):
        client.train(stock.series_id, input_series=3)
    for call in (
        lambda **named: client.forecast(stock.model_id, horizon_steps=5, **named),
        client.model(stock.model_id).evaluate,
    ):
        with pytest.raises(sdk.NotFound) as caught:
            call(input_series="ser_" + "0" * 32)
        assert caught.value.errors[0].pointer == "/input_series/0/series_id"


def test_jobs_that_end_without_a_result(client: Client, stock: Stock) -> None:
    job = client.analyze(stock.series_id)
    assert job.cancel().status == "canceled"
    with pytest.raises(sdk.JobCanceled):
        job.wait()
    failing = client.analyze(stock.series_id)
    stock.fail(failing.id, JobError(code=ErrorCode.OUT_OF_MEMORY, detail="It took 9 GB.", retryable=True))
    with pytest.raises(sdk.JobFailed, match=r"out_of_memory: It took 9 GB\.") as caught:
        failing.wait()
    assert (caught.value.code, caught.value.retryable, caught.value.job_id) == ("out_of_memory", True, failing.id)
    again = failing.retry()
    assert again.id != failing.id
    assert again.id == failing.retry().id
    assert again.pause().status == "paused"
    assert again.resume().status == "queued"


def test_one_job_however_often_it_is_submitted(client: Client, stock: Stock) -> None:
    first = client.analyze(stock.series_id, idempotency_key="once")
    assert client.analyze(stock.series_id, idempotency_key="once").id == first.id
    assert client.analyze(stock.series_id).id != first.id


def test_waiting_has_an_end(client: Client, stock: Stock) -> None:
    job = client.analyze(stock.series_id)
    with pytest.raises(sdk.DeadlineExceeded, match="has not ended in time"):
        job.wait(timeout=0.3)


def test_models_and_their_forecasts(client: Client, stock: Stock) -> None:
    model = client.model(stock.model_id)
    assert isinstance(model, sdk.Model)
    assert [m.id for m in client.models()] == [model.id]
    assert (model.architecture, model.channels, model.report.verdict) == ("shplrnn", ["x", "y"], "good")
    out = model.forecast(horizon_steps=5, samples=50, quantiles=[0.1])
    assert out.median.shape == (5, 2)
    assert set(out.quantiles) == {"0.1"}
    assert out.start.index == N_STEPS
    assert out.time == pytest.approx([105.0 + 0.1 * k for k in range(5)])
    assert list(out.columns()) == ["time", "x_median", "x_q0.1", "y_median", "y_q0.1"]
    again = client.forecast(model.id, stock.series_id, horizon_steps=5, samples=50, quantiles=[0.1])
    np.testing.assert_array_equal(again.median, out.median)
    sent = model.forecast(context=stock.values[490:500], context_time_start=54.0, horizon_steps=6, seed=3)
    stored = model.forecast(start_index=500, horizon_steps=6, seed=3)
    np.testing.assert_array_equal(sent.median, stored.median)
    np.testing.assert_allclose(sent.time, stored.time)
    with pytest.raises(sdk.InvalidRequest, match="missing") as caught:
        model.forecast(context=np.array([[0.1, np.nan]]), horizon_steps=2)
    assert caught.value.errors[0].rows == [0]


def test_a_long_forecast_is_a_job_that_is_waited_for(client: Client, stock: Stock) -> None:
    with pytest.raises(sdk.DeadlineExceeded):
        client.forecast(stock.model_id, horizon_steps=2000, timeout=0.5)
    (job,) = client.jobs(kind="forecast")
    assert job.state.raw["request"]["params"]["horizon_steps"] == 2000


def test_pages_are_fetched_as_they_are_needed(client: Client, stock: Stock, http: TestClient) -> None:
    made = [client.analyze(stock.series_id).id for _ in range(5)]
    steps = client._pages("job", "/v1/jobs", None)
    assert [j.id for j in client.jobs()] == made[::-1]
    assert [j.id for j in client.jobs(limit=3)] == made[:1:-1]
    steps.close()


def test_forecasts_and_evaluations_are_kept(client: Client, stock: Stock) -> None:
    made = client.forecast(stock.model_id, horizon_steps=5)
    assert made.id is not None
    again = client.get_forecast(made.id)
    np.testing.assert_array_equal(again.median, made.median)
    (listed,) = client.forecasts(model_id=stock.model_id)
    assert (listed.id, listed.horizon_steps, listed.median.size) == (made.id, 5, 0)
    (evaluation,) = client.evaluations()
    assert isinstance(evaluation, sdk.Evaluation)
    assert client.evaluation(evaluation.id) == client.evaluation(stock.evaluation_id)
    assert evaluation.d_stsp.value == 0.1


def test_what_is_no_longer_needed_is_deleted(client: Client, stock: Stock) -> None:
    made = client.forecast(stock.model_id, horizon_steps=5)
    job = client.analyze(stock.series_id, priority=5)
    assert (job.state.priority, job.state.queue, job.state.retry_of) == (5, "cpu", None)
    with pytest.raises(sdk.Conflict):
        job.delete()
    job.cancel()
    job.delete()
    client.delete(str(made.id))
    client.delete(stock.evaluation_id)
    client.model(stock.model_id).delete()
    for read, id in ((client.job, job.id), (client.get_forecast, str(made.id)), (client.model, stock.model_id)):
        with pytest.raises(sdk.NotFound):
            read(id)
    with pytest.raises(ValueError, match="ids begin with ser, job"):
        client.delete("nothing")


def test_threads_share_a_client(client: Client, stock: Stock) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: client.forecast(stock.model_id, horizon_steps=n).median.shape, range(1, 17)))
    assert found == [(n, 2) for n in range(1, 17)]


def test_a_misspelt_argument_is_an_error_here(client: Client, stock: Stock) -> None:
    with pytest.raises(TypeError, match="budget_second"):
        client.train(stock.series_id, budget_second=3)
    with pytest.raises(TypeError, match="horizon"):
        client.forecast(stock.model_id, horizon=3)


@pytest.mark.parametrize(
    ("known", "spec"),
    [
        (options.AnalyzeOptions, specs.LyapunovSpec),
        (options.TrainOptions, specs.TrainSpec),
        (options.ReconstructOptions, specs.ReconstructSpec),
        (options.EvaluateOptions, specs.EvaluateSpec),
        (options.ForecastOptions, specs.ForecastSpec),
    ],
)
def test_every_parameter_of_the_api_is_an_argument(known: type, spec: Any) -> None:
    extra = {
        *options.SeriesJobOptions.__annotations__,
        *options.CompanionOptions.__annotations__,
        "analysis_id",
        "context_time_start",
        "context_inputs",
        "context_nuisance",
    }
    assert set(known.__annotations__) - extra == set(spec.model_fields)


def test_both_clients_have_the_same_methods() -> None:
    def public(cls: type) -> set[str]:
        return {name for name in dir(cls) if not name.startswith("_")}

    assert public(Client) - {"close"} == public(AsyncClient) - {"aclose"}
    assert public(sdk.Job) == public(sdk.AsyncJob)
    for name in public(Client) - {"close", "url"}:
        documented = inspect.getdoc(getattr(Client, name))
        assert documented, name
        assert re.match(r"[A-Z]", documented), name


def test_the_same_awaited(app: FastAPI, http: TestClient, stock: Stock) -> None:
    async def session() -> None:
        async with AsyncClient("http://testserver", transport=httpx.ASGITransport(app)) as client:
            series = await client.upload(stock.values[:300], dt=0.1, time_unit="s")
            assert isinstance(series, sdk.AsyncSeries)
            job = await client.analyze(series, n_exponents=1)
            assert isinstance(job, sdk.AsyncJob)
            stock.finish(job.id, stock.analysis_row())
            analysis = await job.wait()
            assert analysis.verdict.kind == "chaotic"
            assert [e.seq async for e in job.events()] == [1, 2, 3]
            models = [m async for m in client.models()]
            out = await models[0].forecast(horizon_steps=5)
            local = await models[0].download()
            again = local.forecast(stock.values[-3:], horizon_steps=5)
            np.testing.assert_allclose(again.median, out.median, rtol=1e-6)
            np.testing.assert_array_equal(await series.values(), stock.values[:300])
            with pytest.raises(sdk.NotFound):
                await client.job("job_" + "0" * 32)

    anyio.run(session)

"""upload, analyze, train, reconstruct, evaluate, forecast."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.remote.session import Detach, Json, Key, Session, Settings, Url, assigned, known, session

if TYPE_CHECKING:
    from attractor_client import Forecast, Job

Data = Annotated[str, typer.Argument(metavar="SERIES", help="Id of a series (ser_...), or a file, which is uploaded.")]
Dt = Annotated[float | None, typer.Option(help="Time between the steps of a file that does not say it.")]
TimeUnit = Annotated[str | None, typer.Option(help="Unit of time of a file, such as s.")]
Channels = Annotated[str | None, typer.Option(help="Names, separated by commas.")]
Missing = Annotated[str | None, typer.Option(help="What is done about gaps of a file: reject, interpolate or split.")]
Budget = Annotated[float | None, typer.Option(min=0.001, help="Seconds of computing.")]
Priority = Annotated[int | None, typer.Option(min=-10, max=10, help="Higher goes first.")]


def upload(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            exists=True, dir_okay=False, help="CSV, NPY, Parquet or JSON; several are recordings of one system."
        ),
    ] = None,
    sample: Annotated[
        str | None, typer.Option(help="Instead of a file a generated system: lorenz63, ... (`attractor samples`).")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Yours, to find it again.")] = None,
    dt: Dt = None,
    time_unit: TimeUnit = None,
    time_column: Annotated[str | None, typer.Option(help="Name or number of the column that is the clock.")] = None,
    recording_column: Annotated[
        str | None, typer.Option(help="Name or number of the column that names the recording of each row.")
    ] = None,
    channels: Channels = None,
    missing: Missing = None,
    max_gap: Annotated[int | None, typer.Option(min=1, help="Longest gap that is interpolated, in steps.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Of --sample: rows.")] = None,
    noise: Annotated[
        float | None, typer.Option(min=0, help="Of --sample: a fraction of each channel's standard deviation.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of --sample: of its noise.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Upload a series, or have one generated, and show what the audit says about it."""
    fields: dict[str, Any] = {
        "name": name,
        "dt": dt,
        "time_unit": time_unit,
        "time_column": time_column,
        "max_gap": max_gap,
    }
    fields |= {"recording_column": recording_column, "channels": _names(channels), "missing": missing}
    variation = {"steps": steps, "noise": noise, "seed": seed}
    if bool(files) == (sample is not None):
        raise typer.BadParameter("give one of them.", param_hint="FILES or --sample")
    for option, value in (variation if sample is None else fields).items():
        if value is not None:
            belongs = "belongs to --sample" if sample is None else "does not go with --sample"
            raise typer.BadParameter(f"{belongs}.", param_hint=f"--{option.replace('_', '-')}")
    with session(url, key, as_json) as now:
        from cli.remote import tables

        if files:
            series = now.client.upload(files[0] if len(files) == 1 else files, **fields)
        else:
            series = now.client.sample(sample, **{k: v for k, v in variation.items() if v is not None})  # type: ignore[arg-type]
        details = [tables.recordings(series)] if series.profile.recordings else []
        details += [tables.issues(series)] if series.profile.issues else []
        now.show(series.raw, tables.series([series]), *details)


def samples(url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Generated systems whose dynamics are known: `attractor upload --sample NAME` makes a series of one."""
    with session(url, key, as_json) as now:
        from cli.remote import tables

        found = now.client.samples()
        now.show([sample.raw for sample in found], tables.samples(found))


def analyze(
    series: Data,
    dt: Dt = None,
    time_unit: TimeUnit = None,
    missing: Missing = None,
    channels: Channels = None,
    budget: Budget = None,
    priority: Priority = None,
    settings: Settings = None,
    detach: Detach = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Measure the Lyapunov spectrum: is the system chaotic, and how far ahead can it be known?"""
    given = {"dt": dt, "time_unit": time_unit, "missing": missing, "channels": _names(channels), "priority": priority}
    options = assigned(settings, {**given, "budget_seconds": budget})
    _job("analyze", "AnalyzeOptions", series, options, detach, url, key, as_json)


def train(
    series: Data,
    dt: Dt = None,
    time_unit: TimeUnit = None,
    missing: Missing = None,
    channels: Channels = None,
    architecture: Annotated[str | None, typer.Option(help="Which map is learned.")] = None,
    budget: Budget = None,
    priority: Priority = None,
    settings: Settings = None,
    detach: Detach = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Train a model of a series, its forcing tuned by the newest analysis."""
    given = {"dt": dt, "time_unit": time_unit, "missing": missing, "channels": _names(channels), "priority": priority}
    options = assigned(settings, {**given, "architecture": architecture, "budget_seconds": budget})
    _job("train", "TrainOptions", series, options, detach, url, key, as_json)


def reconstruct(
    series: Data,
    dt: Dt = None,
    time_unit: TimeUnit = None,
    missing: Missing = None,
    channels: Channels = None,
    architecture: Annotated[str | None, typer.Option(help="Which map is learned.")] = None,
    budget: Budget = None,
    priority: Priority = None,
    settings: Settings = None,
    detach: Detach = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Analyse, tune the forcing, train and evaluate, in one job."""
    given = {"dt": dt, "time_unit": time_unit, "missing": missing, "channels": _names(channels), "priority": priority}
    options = assigned(settings, {**given, "train.architecture": architecture, "train.budget_seconds": budget})
    _job("reconstruct", "ReconstructOptions", series, options, detach, url, key, as_json)


def evaluate(
    model: Annotated[str, typer.Argument(help="Id of a model (mdl_...).")],
    series: Annotated[
        str | None, typer.Argument(help="Series or file; default: the held-out part of the model's own.")
    ] = None,
    dt: Dt = None,
    time_unit: TimeUnit = None,
    settings: Settings = None,
    detach: Detach = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Measure a model against a series."""
    from attractor_client import _options

    options = known(assigned(settings, {"dt": dt, "time_unit": time_unit}), _options.EvaluateOptions)
    with session(url, key, as_json) as now:
        _end(now, now.client.evaluate(model, series, **options), detach)


def forecast(
    model: Annotated[str, typer.Argument(help="Id of a model (mdl_...), or a model.safetensors here.")],
    steps: Annotated[int | None, typer.Option(min=1, help="How many steps.")] = None,
    lyapunov_times: Annotated[float | None, typer.Option(min=0.001, help="The same in Lyapunov times.")] = None,
    series: Annotated[str | None, typer.Option(help="Series to start from; default: the model's own.")] = None,
    start_index: Annotated[int | None, typer.Option(min=0, help="Row at which it begins; default: the end.")] = None,
    context: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="NPY file of recent rows to start from.")
    ] = None,
    inputs: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="NPY file of the inputs to come.")
    ] = None,
    input_series: Annotated[
        list[str] | None,
        typer.Option(help="Id of a series with inputs, beside the one that it starts from and beyond."),
    ] = None,
    recording: Annotated[str | None, typer.Option(help="Of a model with a map for each recording: whose.")] = None,
    samples: Annotated[int, typer.Option(min=1, max=1000, help="Members of the ensemble.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Of the ensemble.")] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", dir_okay=False, help="Write the whole table there, as CSV.")
    ] = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Forecast with a model of the service, or, from a file and with --context, without any service."""
    if (steps is None) == (lyapunov_times is None):
        raise typer.BadParameter("give one of them.", param_hint="--steps or --lyapunov-times")
    with session(url, key, as_json) as now:
        horizon = {"horizon_steps": steps, "horizon_lyapunov_times": lyapunov_times}
        arrays = {k: None if p is None else _array(p) for k, p in (("context", context), ("inputs", inputs))}
        if not model.startswith("mdl_"):
            from attractor_client import DataError, LocalModel

            if not Path(model).is_file():
                raise DataError(f"{model!r} is neither the id of a model (mdl_...) nor a file that is here.")
            if arrays["context"] is None:
                raise DataError("A model in a file knows no series: --context names the rows to start from.")
            if input_series:
                raise DataError("A model in a file knows no series: --inputs names the inputs to come.")
            local = LocalModel.load(model)
            found = local.forecast(**arrays, **horizon, recording=recording, samples=samples, seed=seed)  # type: ignore[arg-type]
        else:
            options: dict[str, Any] = {
                **horizon,
                **arrays,
                "start_index": start_index,
                "input_series": input_series or None,
                "recording": recording,
                "samples": samples,
                "seed": seed,
            }
            found = now.client.forecast(model, series, **{k: v for k, v in options.items() if v is not None})
        _show_forecast(now, found, output)


def _array(path: Path) -> Any:
    import numpy as np

    from attractor_client import DataError

    try:
        return np.load(path, allow_pickle=False)
    except ValueError as error:
        raise DataError(f"{str(path)!r} is no NPY file of numbers: numpy.save(path, rows) writes one.") from error


def _show_forecast(now: Session, found: Forecast, output: Path | None) -> None:
    from cli.remote import tables

    columns = found.columns()
    if output is not None:
        lines = [
            ",".join(columns),
            *(",".join(map(repr, row)) for row in zip(*(c.tolist() for c in columns.values()), strict=True)),
        ]
        output.write_text("\n".join(lines) + "\n")
    for notice in found.warnings:
        now.err.print(f"note: {notice.detail}", markup=False, highlight=False)
    now.show(found.raw or {name: column.tolist() for name, column in columns.items()}, tables.forecast(found))


def _names(channels: str | None) -> list[str] | None:
    return None if channels is None else [name.strip() for name in channels.split(",")]


def _job(
    method: str,
    kind: str,
    series: str,
    options: dict[str, Any],
    detach: bool,
    url: str | None,
    key: str | None,
    as_json: bool,
) -> None:
    """Submit a job on a series, and follow it unless it is left alone."""
    from attractor_client import _options

    known(options, getattr(_options, kind))
    with session(url, key, as_json) as now:
        submit: Callable[..., Job[Any]] = getattr(now.client, method)
        _end(now, submit(series, **options), detach)


def _end(now: Session, job: Job[Any], detach: bool) -> None:
    if detach:
        now.show(job.state.raw, job.id)
        return
    show_result(now, now.follow(job))


def show_result(now: Session, result: Any) -> None:
    """What a job made, as its kind is shown."""
    from attractor_client import Analysis, Evaluation, Forecast, Model
    from cli.demo import report
    from cli.remote import tables

    if isinstance(result, Forecast):
        _show_forecast(now, result, None)
    elif isinstance(result, Analysis):
        now.show(result.raw, tables.analysis(result))
    elif isinstance(result, Model):
        now.show(result.raw, tables.model(result))
    else:
        assert isinstance(result, Evaluation)
        now.show(result.raw, report.measures(f"Evaluation {result.id}: {result.verdict}", result.raw))

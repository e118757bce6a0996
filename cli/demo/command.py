"""`attractor demo`: start a service, upload a series, ask for one reconstruction, follow it, say and draw what was learned."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from attractor_client import AttractorError, Client, Job, Series
from cli import progress
from cli.demo import report
from cli.demo.lorenz import N_TEST_STEPS, as_csv, independent, observed
from cli.demo.service import DemoFailed, Service, running_service
from dynamics.samples import SAMPLES, Sample

DEFAULT_BUDGET_SECONDS = 30.0
FORECAST_LYAPUNOV_TIMES = 4.0
FORECAST_STEPS = 500


def demo(
    series: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            readable=True,
            help="A file of yours (CSV, NPY, Parquet, JSON) instead of a sample.",
        ),
    ] = None,
    sample: Annotated[str, typer.Option(help=f"A system of the gallery: {', '.join(SAMPLES)}.")] = "lorenz63",
    dt: Annotated[
        float | None, typer.Option(help="Time between the steps of --series, where the file does not say it.")
    ] = None,
    time_unit: Annotated[str, typer.Option(help="Unit of time of --series, such as s.")] = "",
    budget: Annotated[float, typer.Option(min=1.0, help="Seconds for training.")] = DEFAULT_BUDGET_SECONDS,
    data_dir: Annotated[
        Path, typer.Option(file_okay=False, help="Where the service keeps its data; the picture goes beside it.")
    ] = Path("demo-output/data"),
    serve: Annotated[
        bool, typer.Option("--serve/--no-serve", help="Keep the service and its page up afterwards.")
    ] = False,
) -> None:
    """Upload a series to a service of its own, reconstruct the system behind it, forecast, and draw a picture."""
    if sample not in SAMPLES:
        raise typer.BadParameter(f"there is no {sample!r}; there are {', '.join(SAMPLES)}.", param_hint="--sample")
    console = Console(soft_wrap=True)
    # A polite kill must stop the service as well: it becomes an exception that unwinds through running_service.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        _run(console, series, SAMPLES[sample], dt, time_unit, budget, data_dir, serve)
    except (DemoFailed, AttractorError) as error:
        console.print(f"attractor demo: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        console.print("Stopped.")
        raise typer.Exit(130) from None


def _run(
    console: Console,
    path: Path | None,
    sample: Sample,
    dt: float | None,
    time_unit: str,
    budget: float,
    data_dir: Path,
    serve: bool,
) -> None:
    output = data_dir.parent
    clock = Clock()
    console.print("[bold]Starting the service[/] (API and worker in processes of their own) ...")
    with running_service(data_dir, output / "service.log") as service:
        clock.lap("service")
        client = Client(service.url, timeout=120.0)
        what = path or f"{sample.title}, {sample.steps:,} steps, {100 * sample.noise:g} % noise"
        console.print(f"  {service.url} is up\n[bold]Uploading[/] {what}", highlight=False)
        series = _upload(client, path, sample, dt, time_unit, output)
        report.audit(console, series.raw)
        clock.lap("upload")
        job = client.reconstruct(series, train={"budget_seconds": budget})
        console.print(f"[bold]Reconstructing[/]  {job.id}", highlight=False)
        model = _follow(console, job)
        clock.lap("reconstruction")
        analysis = client.analysis(model["analysis_id"]).raw if model["analysis_id"] else None
        forecast = _forecast(client, model, analysis)
        clock.lap("forecast")
        test = _test(console, client, sample, model, output) if path is None else None
        picture = output / "reconstruction.png"
        _say(console, analysis, model, test, sample if path is None else None)
        _draw(picture, series, analysis, model, forecast)
        clock.lap("evaluation and picture")
        console.print(f"[dim]{clock}[/]", highlight=False)
        console.print(f"\nPicture: [bold]{picture}[/]", highlight=False)
        _leave(console, service, data_dir, model["id"], serve)


def _upload(
    client: Client, path: Path | None, sample: Sample, dt: float | None, time_unit: str, output: Path
) -> Series:
    if path is None:
        path, dt, time_unit = output / f"{sample.name}.csv", sample.dt, sample.time_unit
        name = f"{sample.title} with {100 * sample.noise:g} % noise"
        path.write_bytes(as_csv(observed(sample=sample.name), sample.channels))
    else:
        name = path.name
    return client.upload(path, name=name, time_unit=time_unit or None, dt=dt)


def _follow(console: Console, job: Job[Any]) -> dict[str, Any]:
    """Watch a job to its end and answer the document of what it made."""
    progress.show(console, job.events())
    return job.result().raw


def _test(console: Console, client: Client, sample: Sample, model: dict[str, Any], output: Path) -> dict[str, Any]:
    """Measure the model as the literature does: against a long trajectory without noise that nobody has shown it."""
    path = output / f"{sample.name}-test.npy"
    np.save(path, independent(sample.name))
    name = f"{sample.title}, another stretch, without noise"
    series = client.upload(path, channels=list(sample.channels), name=name, dt=sample.dt, time_unit=sample.time_unit)
    console.print(f"[bold]Evaluating[/] on {N_TEST_STEPS:,} other steps without noise", highlight=False)
    return _follow(console, client.evaluate(model["id"], series))


def _forecast(client: Client, model: dict[str, Any], analysis: dict[str, Any] | None) -> dict[str, Any]:
    """A forecast from the first held-out step: training has seen nothing of what follows."""
    chaotic = analysis is not None and analysis["predictability"]["time"] is not None
    start = model["training"]["test_steps"][0]
    if chaotic:
        return client.forecast(model["id"], start_index=start, horizon_lyapunov_times=FORECAST_LYAPUNOV_TIMES).raw
    return client.forecast(model["id"], start_index=start, horizon_steps=FORECAST_STEPS).raw


def _say(
    console: Console,
    analysis: dict[str, Any] | None,
    model: dict[str, Any],
    test: dict[str, Any] | None,
    sample: Sample | None,
) -> None:
    known = sample.known if sample else None
    console.print()
    report.verdicts(console, analysis, model["report"])
    console.print()
    if analysis is not None:
        console.print(report.lambda_max(analysis, known), highlight=False)
        console.print(report.predictability(analysis), highlight=False)
    console.print(report.valid_prediction(model["report"]), highlight=False)
    console.print()
    console.print(report.learned(analysis, model, known))
    console.print(
        report.measures("Reconstruction on the held-out part of the series (smaller is better)", model["report"])
    )
    if test is not None:
        console.print(report.measures(f"Reconstruction on {N_TEST_STEPS:,} other steps without noise", test))


def _draw(
    picture: Path,
    series: Series,
    analysis: dict[str, Any] | None,
    model: dict[str, Any],
    forecast: dict[str, Any],
) -> None:
    from cli.demo.picture import draw  # matplotlib takes a second to import

    start, horizon = forecast["start"]["index"], forecast["horizon_steps"]
    stop = min(series.n_steps, start + horizon)
    first = max(0, start - horizon // 2)
    measured = series.values(first, stop)
    time = series.time_start + series.dt * np.arange(first, stop)
    draw(picture, series.name or "", analysis, model, forecast, time, measured)


def _leave(console: Console, service: Service, data_dir: Path, model_id: str, serve: bool) -> None:
    if serve:
        console.print(f"Page:    [bold]{service.url}/#{model_id}[/]   (Ctrl-C stops the service)", highlight=False)
        service.process.wait()
        return
    console.print("The service stops now. To look at the results again:", highlight=False)
    program = os.path.relpath(Path(sys.executable).with_name("attractor"))
    console.print(f"  {program} serve --data-dir {data_dir}", highlight=False)
    console.print(f"  http://127.0.0.1:8000/#{model_id}", highlight=False)


class Clock:
    """Seconds of each part and of the whole."""

    def __init__(self) -> None:
        self._started = self._last = time.monotonic()
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self._laps[name] = now - self._last
        self._last = now

    def __str__(self) -> str:
        return f"{report.timings(self._laps)}; in all {self._last - self._started:.1f} s"

"""jobs, models and series: lists of them, one of them, and what is done with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.remote.commands import show_result
from cli.remote.session import Json, Key, Url, session

Limit = Annotated[int, typer.Option(min=1, max=100_000, help="How many at most.")]
JobId = Annotated[str, typer.Argument(help="Id of a job (job_...).")]
ModelId = Annotated[str, typer.Argument(help="Id of a model (mdl_...).")]
SeriesId = Annotated[str, typer.Argument(help="Id of a series (ser_...).")]
SeriesFilter = Annotated[str | None, typer.Option("--series", help="Only those of this series.")]

jobs_app = typer.Typer(help="List, follow and control jobs.", no_args_is_help=True)
models_app = typer.Typer(help="List, show and download models.", no_args_is_help=True)
series_app = typer.Typer(help="List, show and delete series.", no_args_is_help=True)


@jobs_app.command("list")
def list_jobs(
    status: Annotated[str | None, typer.Option(help="queued, running, paused, succeeded, failed, canceled.")] = None,
    kind: Annotated[str | None, typer.Option(help="lyapunov, train, forecast, evaluate, reconstruct.")] = None,
    series: SeriesFilter = None,
    limit: Limit = 20,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """The newest jobs."""
    with session(url, key, as_json) as now:
        from cli.remote import tables

        found = list(now.client.jobs(status=status, kind=kind, series_id=series, limit=limit))
        now.show([job.state.raw for job in found], tables.jobs(found))


@jobs_app.command("show")
def show_job(id: JobId, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """One job and where it stands."""
    with session(url, key, as_json) as now:
        from cli.remote import tables

        job = now.client.job(id)
        problem = [f"{job.state.error.code}: {job.state.error.detail}"] if job.state.error else []
        now.show(job.state.raw, tables.jobs([job]), *problem)


@jobs_app.command("wait")
def wait_for_job(id: JobId, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Follow a job to its end and show what it made. Exit code 1 if it failed."""
    with session(url, key, as_json) as now:
        show_result(now, now.follow(now.client.job(id)))


@jobs_app.command("cancel")
def cancel_job(id: JobId, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Ask for a job's end."""
    _control(id, "cancel", url, key, as_json)


@jobs_app.command("pause")
def pause_job(id: JobId, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Stop a job and keep what it has."""
    _control(id, "pause", url, key, as_json)


@jobs_app.command("resume")
def resume_job(id: JobId, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Let a paused job go on."""
    _control(id, "resume", url, key, as_json)


@jobs_app.command("retry")
def retry_job(id: JobId, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """A new job that does again what a failed one was asked."""
    with session(url, key, as_json) as now:
        job = now.client.job(id).retry()
        now.show(job.state.raw, f"{job.id} is {job.state.status}")


def _control(id: str, verb: str, url: str | None, key: str | None, as_json: bool) -> None:
    with session(url, key, as_json) as now:
        state = getattr(now.client.job(id), verb)()
        now.show(state.raw, f"{id} is {state.status}")


@models_app.command("list")
def list_models(
    series: SeriesFilter = None, limit: Limit = 20, url: Url = None, key: Key = None, as_json: Json = False
) -> None:
    """The newest models."""
    with session(url, key, as_json) as now:
        from cli.remote import tables

        found = list(now.client.models(series_id=series, limit=limit))
        now.show([model.raw for model in found], tables.models(found))


@models_app.command("show")
def show_model(id: ModelId, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """One model and how good it is."""
    with session(url, key, as_json) as now:
        show_result(now, now.client.model(id))


@models_app.command("download")
def download_model(
    id: ModelId,
    output: Annotated[Path, typer.Option("--output", "-o", dir_okay=False, help="Where to.")] = Path(
        "model.safetensors"
    ),
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Save a model, for `attractor forecast FILE --context ...` and for `LocalModel.load`."""
    with session(url, key, as_json) as now:
        local = now.client.model(id).download(output)
        facts: dict[str, Any] = {"path": str(output), "architecture": local.architecture, "channels": local.channels}
        now.show(
            facts | {"context_steps": local.context_steps},
            f"{output}: {local.architecture}, {output.stat().st_size:,} bytes",
        )


@models_app.command("export")
def export_model(
    id: ModelId,
    output: Annotated[Path, typer.Option("--output", "-o", file_okay=False, help="Folder.")] = Path("model"),
    url: Url = None,
    key: Key = None,
) -> None:
    """Save all forms of a model: safetensors and its card, from which it can be imported, and ONNX graphs."""
    with session(url, key, as_json=False) as now:
        for path in now.client.model(id).export(output):
            now.out.print(f"{path}: {path.stat().st_size:,} bytes", highlight=False)


@models_app.command("import")
def import_model(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="model.safetensors.")],
    card: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="model.json, with its history and its report.")
    ] = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Bring a model back from its files, for forecasts and evaluations."""
    with session(url, key, as_json) as now:
        show_result(now, now.client.import_model(file, card))


@models_app.command("report")
def report_model(
    id: ModelId,
    output: Annotated[
        Path, typer.Option("--output", "-o", dir_okay=False, help="Where to; its ending says as what: .html or .pdf.")
    ] = Path("report.html"),
    url: Url = None,
    key: Key = None,
) -> None:
    """Save a report to hand on: data, analysis, training, measures, a forecast, settings and sources in one file."""
    if output.suffix.lower() not in (".html", ".pdf"):
        raise typer.BadParameter("must end in .html or .pdf.", param_hint="--output")
    with session(url, key, as_json=False) as now:
        now.client.model(id).save_report(output)
        now.out.print(f"{output}: {output.stat().st_size:,} bytes", highlight=False)


@models_app.command("delete")
def delete_model(id: ModelId, url: Url = None, key: Key = None) -> None:
    """Delete a model and what belongs to it."""
    with session(url, key, as_json=False) as now:
        now.client.model(id).delete()
        now.out.print(f"{id} is deleted", highlight=False)


@series_app.command("list")
def list_series(
    name: Annotated[str | None, typer.Option(help="Only those that are called exactly so.")] = None,
    limit: Limit = 20,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """The newest series."""
    with session(url, key, as_json) as now:
        from cli.remote import tables

        found = list(now.client.series(name=name, limit=limit))
        now.show([series.raw for series in found], tables.series(found))


@series_app.command("show")
def show_series(id: SeriesId, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """One series and what the audit found."""
    with session(url, key, as_json) as now:
        from cli.remote import tables

        series = now.client.get_series(id)
        now.show(series.raw, tables.series([series]), *([tables.issues(series)] if series.profile.issues else []))


@series_app.command("delete")
def delete_series(id: SeriesId, url: Url = None, key: Key = None) -> None:
    """Delete a series; what was made from it stays."""
    with session(url, key, as_json=False) as now:
        now.client.get_series(id).delete()
        now.out.print(f"{id} is deleted", highlight=False)

"""The command line: what runs a service, and what asks one. Imports are late, so that help is quick."""

from __future__ import annotations

from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from cli.keys import audit_app, keys_app, tenants_app
from cli.remote import commands, lists

ASKING = "Asking a service, here or elsewhere"
app = typer.Typer(
    name="attractor",
    help="Dynamical-system reconstruction as a service.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for command in (
    commands.upload,
    commands.samples,
    commands.analyze,
    commands.train,
    commands.reconstruct,
    commands.evaluate,
    commands.forecast,
):
    app.command(rich_help_panel=ASKING)(command)
app.add_typer(lists.jobs_app, name="jobs", rich_help_panel=ASKING)
app.add_typer(lists.models_app, name="models", rich_help_panel=ASKING)
app.add_typer(lists.series_app, name="series", rich_help_panel=ASKING)
app.add_typer(keys_app, name="keys")
app.add_typer(tenants_app, name="tenants")
app.add_typer(audit_app, name="audit")

DataDir = Annotated[
    Path, typer.Option(envvar="ATTRACTOR_DATA_DIR", file_okay=False, help="Where series, models and jobs are kept.")
]


@app.command()
def serve(
    host: Annotated[
        str, typer.Option(envvar="ATTRACTOR_HOST", help="Address to listen on; others than loopback need a key first.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="ATTRACTOR_PORT", min=0, max=65535, help="0 takes any free port.")] = 8000,
    data_dir: DataDir = Path("attractor-data"),
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes; each runs one job at a time.")] = 1,
) -> None:
    """Run the whole service on this machine: API, page and workers. Ctrl-C stops it."""
    from cli.listening import CannotServe
    from cli.serve import serve as run

    try:
        run(host, port, data_dir, workers, say=lambda line: print(line, flush=True))
    except CannotServe as error:
        _fail(str(error))


@app.command()
def api(
    host: Annotated[
        str | None,
        typer.Option(
            help="Address to listen on, others than loopback need a key first; default: ATTRACTOR_HOST or 127.0.0.1."
        ),
    ] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Default: ATTRACTOR_PORT or 8000.")] = None,
) -> None:
    """Run the API and the page against ATTRACTOR_DATABASE_URL and ATTRACTOR_BROKER_URL, without workers."""
    from api.settings import ApiSettings
    from cli import listening
    from cli.api import run_api

    settings = ApiSettings()
    settings.host = settings.host if host is None else host
    settings.port = settings.port if port is None else port
    try:
        listening.check(settings, say=lambda line: print(line, flush=True))
        with listening.listen(settings.host, settings.port) as listener:
            status = run_api(settings, listener)
    except listening.CannotServe as error:
        _fail(str(error))
    raise typer.Exit(status)


@app.command()
def worker(
    concurrency: Annotated[int | None, typer.Option(min=1, help="Jobs at a time; default: one per core.")] = None,
    queues: Annotated[
        str | None, typer.Option(help="Jobs to take: cpu, gpu or cpu,gpu; default: ATTRACTOR_QUEUES or cpu.")
    ] = None,
) -> None:
    """Run a worker against ATTRACTOR_DATABASE_URL and ATTRACTOR_BROKER_URL (both unset: the embedded ones)."""
    from worker.settings import WorkerSettings

    given: dict[str, Any] = {"concurrency": concurrency, "queues": queues}
    settings = WorkerSettings(**{name: value for name, value in given.items() if value is not None})
    from worker.app import run_worker

    raise typer.Exit(run_worker(settings))


@app.command()
def migrate(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; fail unless the schema is the newest.")
    ] = False,
) -> None:
    """Bring the database of ATTRACTOR_DATABASE_URL (or the embedded one) to the newest schema."""
    from store import migrate as schema
    from store.database import Database
    from store.settings import StoreSettings

    database = Database(StoreSettings())
    head = schema.head()
    if not check:
        schema.upgrade(database)
    elif not schema.serves(schema.current(database)):
        _fail(f"The schema is at revision {schema.current(database)}, not {head}. Run `attractor migrate`.")
    print(f"The schema is at revision {head}.")


FORWARDED = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command(context_settings=FORWARDED, add_help_option=False)
def demo(context: typer.Context) -> None:
    """Series -> spectrum -> model -> forecast, on a service of its own (see `attractor demo --help`)."""
    from cli.demo import demo as run

    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    single.command()(run)
    single(context.args, prog_name="attractor demo")


@app.command()
def doctor(
    worker: Annotated[
        bool, typer.Option("--worker", help="Only whether the worker of this machine is heard of and takes jobs.")
    ] = False,
    blobs: Annotated[bool, typer.Option("--blobs", help="Also read every blob that a row names.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    data_dir: DataDir = Path("attractor-data"),
) -> None:
    """Check this deployment, and say what to mend; fails when something is wrong."""
    from cli import doctor as ward
    from store.settings import StoreSettings

    if worker:
        findings = ward.examine_worker(StoreSettings(data_dir=data_dir))
    else:
        findings = ward.examine(lambda: StoreSettings(data_dir=data_dir), every_blob=blobs)
    print(ward.report(findings, as_json=as_json))
    raise typer.Exit(any(finding.level == "wrong" for finding in findings))


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(dir_okay=False, help="The tar file to be written.")],
    data_dir: DataDir = Path("attractor-data"),
) -> None:
    """Copy the embedded database, all blobs and the secret into one file, while the service serves."""
    from store.backup import BackupFailed
    from store.backup import backup as write
    from store.settings import StoreSettings

    try:
        made = write(StoreSettings(data_dir=data_dir), file)
    except (BackupFailed, OSError) as error:
        _fail(str(error))
    print(
        f"{file}: {made.blobs} blobs and the database, {made.n_bytes / 2**20:.1f} MiB. Keep it as safe as the service."
    )


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="What `attractor backup` wrote.")],
    data_dir: DataDir = Path("attractor-data"),
) -> None:
    """Fill an empty data directory from a backup, every byte checked; jobs that were running go on when it is served."""
    from store.backup import BackupFailed
    from store.backup import restore as fill

    try:
        made = fill(file, data_dir.absolute())
    except (BackupFailed, OSError) as error:
        _fail(str(error))
    print(f"{data_dir}: {made.blobs} blobs and the database of release {made.release}. Start it: `attractor serve`.")


@app.command()
def version() -> None:
    """Print the version."""
    print(installed_version("attractor"))


def _fail(message: str) -> NoReturn:
    typer.secho(f"attractor: {message}", fg=typer.colors.RED, err=True)
    raise typer.Exit(1)


if __name__ == "__main__":
    app()

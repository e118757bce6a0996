"""`attractor keys | tenants | audit`: for whoever runs the service, on its database. Imports are late, so that help is quick."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from domain.keys import DEFAULT_TENANT, WORK, Caller, Principal, Scope

if TYPE_CHECKING:
    from store.database import Database
    from store.settings import StoreSettings
    from store.tables import AuditRow, KeyRow

keys_app = typer.Typer(help="Make, list, replace and revoke keys.", no_args_is_help=True)
tenants_app = typer.Typer(help="List tenants, limit them, disable them.", no_args_is_help=True)
audit_app = typer.Typer(help="See what was done, and what was refused.", no_args_is_help=True)

_ALL = "all"
DataDir = Annotated[Path, typer.Option(envvar="ATTRACTOR_DATA_DIR", file_okay=False, help="As of `attractor serve`.")]
Json = Annotated[bool, typer.Option("--json", help="For programs: JSON instead of a table.")]
Tenant = Annotated[str | None, typer.Option(help="Only this tenant's; default: of all.")]
Key = Annotated[
    str, typer.Argument(help="Id of the key, or its first 12 characters, as `attractor keys list` shows them.")
]


@keys_app.command("create")
def create_key(
    name: Annotated[str, typer.Option(help="Who or what will use it.")] = "first",
    tenant: Annotated[str, typer.Option(help="Whose data it opens; a new name makes a new tenant.")] = DEFAULT_TENANT,
    scopes: Annotated[
        str, typer.Option(help=f"Comma-separated: {', '.join(Scope)}; or {_ALL}. Default: all but metrics and admin.")
    ] = ",".join(WORK),
    expires_days: Annotated[float | None, typer.Option(min=0.001, help="Default: it does not expire.")] = None,
    as_json: Json = False,
    data_dir: DataDir = Path("attractor-data"),
) -> None:
    """Make a key and print it: the one time that it can be seen."""
    from store import keys
    from store.secrets import service_secret

    chosen = _scopes(scopes)
    with _database(data_dir, make=True) as (settings, database), database.write() as session:
        made = keys.create(
            session,
            service_secret(settings),
            _operator(tenant),
            tenant=tenant,
            name=name,
            scopes=chosen,
            expires_days=expires_days,
        )
    _show_new(made.row, made.text, as_json)


@keys_app.command("list")
def list_keys(tenant: Tenant = None, as_json: Json = False, data_dir: DataDir = Path("attractor-data")) -> None:
    """All keys, newest first; what is shown of a key opens nothing."""
    from store import keys

    with _database(data_dir) as (_, database):
        rows = list(_all(database, lambda session, cursor: keys.list_page(session, tenant=tenant, cursor=cursor)))
    if as_json:
        _print_json([_described(row) for row in rows])
        return
    head = ("ID", "BEGINS WITH", "TENANT", "NAME", "STATE", "CREATED", "EXPIRES", "LAST USED", "SCOPES")
    _print_table(head, [_line(row) for row in rows], "There are no keys. `attractor keys create` makes one.")


@keys_app.command("revoke")
def revoke_key(key: Key, data_dir: DataDir = Path("attractor-data")) -> None:
    """Make a key invalid: within a few seconds in every process, for ever."""
    from store import keys

    with _database(data_dir) as (_, database), database.write() as session:
        row = keys.named(session, key)
        before = row.revoked_at
        keys.revoke(session, _operator(row.tenant), row.id)
    print(f"Key {row.id} ({row.name}, tenant {row.tenant}) {'was revoked before' if before else 'is revoked'}.")


@keys_app.command("rotate")
def rotate_key(
    key: Key,
    overlap_hours: Annotated[float, typer.Option(min=0, help="How long the old key stays valid.")] = 24.0,
    as_json: Json = False,
    data_dir: DataDir = Path("attractor-data"),
) -> None:
    """Make a new key in place of another: same tenant, name, scopes and lifetime."""
    from store import keys
    from store.secrets import service_secret

    with _database(data_dir) as (settings, database), database.write() as session:
        row = keys.named(session, key)
        secret = service_secret(settings)
        made = keys.rotate(session, secret, _operator(row.tenant), row.id, overlap_hours=overlap_hours)
    _show_new(made.row, made.text, as_json)
    if not as_json:
        typer.echo(f"The old key {row.id} is valid for another {overlap_hours:g} h at most.", err=True)


@tenants_app.command("list")
def list_tenants(as_json: Json = False, data_dir: DataDir = Path("attractor-data")) -> None:
    """Every tenant with its limits and what it uses of them."""
    from dataclasses import asdict

    from domain.errors import NotFound
    from store import tenants

    found = []
    with _database(data_dir) as (settings, database), database.read() as session:
        for name in tenants.names(session):
            try:
                disabled = tenants.get(session, name).disabled_at is not None
            except NotFound:
                disabled = False
            quota, usage = tenants.quota(session, settings, name), tenants.usage(session, name)
            found.append({"tenant": name, "disabled": disabled, **asdict(usage), **asdict(quota)})
    if as_json:
        _print_json(found)
        return
    head = ("TENANT", "RUNNING", "OF", "QUEUED", "OF", "REQUESTS/MIN", "STATE")
    names = ("tenant", "running_jobs", "max_running_jobs", "queued_jobs", "max_queued_jobs", "requests_per_minute")
    lines = [
        (*("no limit" if t[n] is None else str(t[n]) for n in names), "disabled" if t["disabled"] else "")
        for t in found
    ]
    _print_table(head, lines, "There are no tenants. A tenant comes into being with its first key.")


_LIMIT = "0: no limit; -1: what the settings say."


@tenants_app.command("set")
def set_tenant(
    tenant: Annotated[str, typer.Argument(help="Name of the tenant.")],
    max_running_jobs: Annotated[int | None, typer.Option(min=-1, help=f"Jobs at the same time. {_LIMIT}")] = None,
    max_queued_jobs: Annotated[int | None, typer.Option(min=-1, help=f"Jobs that wait. {_LIMIT}")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=-1, help=f"Requests a minute. {_LIMIT}")] = None,
    data_dir: DataDir = Path("attractor-data"),
) -> None:
    """Give a tenant limits of its own; what is not named stays."""
    from store import keys, tenants

    given = {
        "max_running_jobs": max_running_jobs,
        "max_queued_jobs": max_queued_jobs,
        "requests_per_minute": requests_per_minute,
    }
    limits = {name: None if limit == -1 else limit for name, limit in given.items() if limit is not None}
    if not limits:
        _fail("Name a limit: --max-running-jobs, --max-queued-jobs or --requests-per-minute.")
    with _database(data_dir) as (settings, database), database.write() as session:
        keys.check_tenant(tenant)
        tenants.set_limits(session, _operator(tenant), tenant, limits)
        quota = tenants.quota(session, settings, tenant)
    print(f"Tenant {tenant}: " + ", ".join(f"{n} {'no limit' if v is None else v}" for n, v in vars(quota).items()))


@tenants_app.command("disable")
def disable_tenant(
    tenant: Annotated[str, typer.Argument(help="Name of the tenant.")], data_dir: DataDir = Path("attractor-data")
) -> None:
    """Refuse all of a tenant's keys. Its data stay, and its jobs go on."""
    _switch(tenant, data_dir, disabled=True)


@tenants_app.command("enable")
def enable_tenant(
    tenant: Annotated[str, typer.Argument(help="Name of the tenant.")], data_dir: DataDir = Path("attractor-data")
) -> None:
    """Accept a disabled tenant's keys again."""
    _switch(tenant, data_dir, disabled=False)


@audit_app.command("list")
def list_audit(
    tenant: Tenant = None,
    action: Annotated[str | None, typer.Option(help="Only this action, such as key.refused.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest.")] = 50,
    as_json: Json = False,
    data_dir: DataDir = Path("attractor-data"),
) -> None:
    """Audit events, newest first."""
    from itertools import islice

    from store import audit

    with _database(data_dir) as (_, database):
        events = _all(database, lambda s, cursor: audit.list_page(s, tenant=tenant, action=action, cursor=cursor))
        rows: list[AuditRow] = list(islice(events, limit))
    if as_json:
        columns = ("id", "tenant", "action", "outcome", "key_id", "target", "address", "request_id", "detail")
        _print_json([{"created_at": _instant(r.created_at), **{c: getattr(r, c) for c in columns}} for r in rows])
        return
    head = ("WHEN", "TENANT", "ACTION", "OUTCOME", "KEY", "TARGET", "ADDRESS", "DETAIL")
    lines = [
        (
            _instant(r.created_at),
            r.tenant,
            r.action,
            r.outcome,
            r.key_id or "",
            r.target or "",
            r.address or "",
            str(r.detail),
        )
        for r in rows
    ]
    _print_table(head, lines, "Nothing has happened yet.")


def _switch(tenant: str, data_dir: Path, *, disabled: bool) -> None:
    from store import tenants

    with _database(data_dir) as (_, database), database.write() as session:
        tenants.disable(session, _operator(tenant), tenant, disabled=disabled)
    print(f"Tenant {tenant} is {'disabled' if disabled else 'enabled'}.")


def _operator(tenant: str) -> Caller:
    """Who has the database and needs no key: events name no key and no address."""
    return Caller(Principal(tenant))


@contextmanager
def _database(data_dir: Path, *, make: bool = False) -> Iterator[tuple[StoreSettings, Database]]:
    """The service's database, whose schema must be the newest; `make`: an embedded one is made, or brought to it."""
    from sqlalchemy.exc import SQLAlchemyError

    from domain.errors import DomainError
    from store import migrate
    from store.database import Database
    from store.secrets import NoSecret
    from store.settings import StoreSettings

    settings = StoreSettings(data_dir=data_dir)
    embedded = settings.embedded_database
    if embedded and not make and not embedded.exists():
        _fail(f"There is no database in {data_dir}. Name the service's --data-dir, or set ATTRACTOR_DATABASE_URL.")
    database = Database(settings)
    try:
        if embedded and make:
            migrate.upgrade(database)
        elif not migrate.serves(migrate.current(database)):
            _fail("The database does not have the schema of this release: run `attractor migrate`.")
        yield settings, database
    except DomainError as error:
        _fail(error.detail)
    except NoSecret as error:
        _fail(str(error))
    except SQLAlchemyError as error:
        _fail(f"The database does not answer: {str(error).splitlines()[0]}")
    finally:
        database.close()


def _scopes(text: str) -> list[Scope]:
    if text.strip() == _ALL:
        return list(Scope)
    known = {scope.value: scope for scope in Scope}
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            _fail(f"There is no scope {name!r}; there are {', '.join(known)}.")
    return [known[name] for name in dict.fromkeys(names)]


def _all(database: Database, page: Callable[[Any, str | None], Any]) -> Iterator[Any]:
    """Every row of a list, page after page."""
    cursor = None
    while True:
        with database.read() as session:
            found = page(session, cursor)
        yield from found.items
        cursor = found.next_cursor
        if cursor is None:
            return


def _show_new(row: KeyRow, text: str, as_json: bool) -> None:
    """The key alone on stdout, so that a script can take it; what a person should know beside it."""
    if as_json:
        print(json.dumps({**_described(row), "key": text}))
        return
    print(text)
    expires = f", until {_instant(row.expires_at)}" if row.expires_at else ""
    typer.echo(f"Key {row.id} of tenant {row.tenant}: {', '.join(row.scopes)}{expires}.", err=True)
    typer.echo("Keep it now: it is shown this once. Send it as  Authorization: Bearer atr_...", err=True)


def _described(row: KeyRow) -> dict[str, Any]:
    moments = ("created_at", "expires_at", "revoked_at", "last_used_at")
    return {
        **{name: getattr(row, name) for name in ("id", "tenant", "name", "hint", "scopes", "replaces")},
        **{name: _instant(value) if (value := getattr(row, name)) else None for name in moments},
        "state": _state(row),
    }


def _state(row: KeyRow) -> str:
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.expires_at is not None and row.expires_at <= datetime.now(UTC) else "valid"


def _line(row: KeyRow) -> tuple[str, ...]:
    shown = _described(row)
    names = ("id", "hint", "tenant", "name", "state", "created_at", "expires_at", "last_used_at")
    return (*(str(shown[name] or "") for name in names), ",".join(row.scopes))


def _instant(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=1))


def _print_table(head: tuple[str, ...], lines: Iterable[tuple[str, ...]], otherwise: str) -> None:
    lines = list(lines)
    if not lines:
        print(otherwise)
        return
    widths = [max(len(line[i]) for line in (head, *lines)) for i in range(len(head))]
    for line in (head, *lines):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _fail(message: str) -> NoReturn:
    typer.secho(f"attractor: {message}", fg=typer.colors.RED, err=True)
    raise typer.Exit(1)

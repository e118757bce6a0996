"""One command's conversation with a service: the address, the key, what is printed, and the exit code.

0 done    1 the service said no, or the job failed    2 wrong usage    3 no answer from the service    130 Ctrl-C
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from attractor_client import Client, Job

FAILED, USAGE, UNREACHABLE, INTERRUPTED = 1, 2, 3, 130

Url = Annotated[
    str | None,
    typer.Option("--url", envvar="ATTRACTOR_URL", help="Address of the service; default: http://127.0.0.1:8000."),
]
Key = Annotated[
    str | None, typer.Option("--key", envvar="ATTRACTOR_API_KEY", help="Key of the service, if it wants one.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the service's own document on standard output.")]
Detach = Annotated[bool, typer.Option("--detach", help="Print the job and leave it; `attractor jobs wait` follows it.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="NAME=VALUE, any parameter of the API; dots go deeper: train.hidden_dim=50. May be repeated."
    ),
]


@dataclass(frozen=True)
class Session:
    """What a command works with: tables and documents go to `out`, everything else to `err`."""

    client: Client
    out: Console
    err: Console
    json: bool

    def show(self, document: Any, *tables: Any) -> None:
        """The document itself with --json, the tables otherwise."""
        if self.json:
            print(json.dumps(document, indent=2, ensure_ascii=False))
            return
        for table in tables:
            self.out.print(table, highlight=False)

    def follow(self, job: Job[Any]) -> Any:
        """Show the job's progress and answer what it made."""
        from cli import progress

        self.err.print(f"{job.state.kind} job {job.id}", highlight=False)
        try:
            progress.show(self.err, job.events())
        except KeyboardInterrupt:
            self.err.print(f"The job goes on: `attractor jobs wait {job.id}` follows it, `jobs cancel` ends it.")
            raise
        return job.result()


@contextmanager
def session(url: str | None, key: str | None, as_json: bool) -> Iterator[Session]:
    """Errors of the client become a sentence and an exit code."""
    from rich.console import Console

    from attractor_client import AttractorError, Client, ConfigurationError, DataError, ServiceUnreachable

    err = Console(stderr=True, soft_wrap=True)
    try:
        with Client(url, key, max_retries=2) as client:
            yield Session(client, Console(soft_wrap=True), err, as_json)
    except (ConfigurationError, DataError) as error:
        _say(err, error)
        raise typer.Exit(USAGE) from error
    except ServiceUnreachable as error:
        _say(err, error)
        address = url or "http://127.0.0.1:8000"
        _say(err, f"Is a service running at {address}? `attractor serve` starts one; --url names another.")
        raise typer.Exit(UNREACHABLE) from error
    except AttractorError as error:
        _say(err, error)
        raise typer.Exit(FAILED) from error
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _say(err: Console, message: object) -> None:
    err.print(f"attractor: {message}", style="red", markup=False, highlight=False)


def assigned(settings: list[str] | None, more: dict[str, Any]) -> dict[str, Any]:
    """`["train.seeds=2", "train.device=cpu"]` -> {"train": {"seeds": 2, "device": "cpu"}}, beside the options that were given.

    Values are JSON where they can be read as such, else text. Raises BadParameter for what has no name or contradicts.
    """
    found: dict[str, Any] = {}
    given = [(name, value) for name, value in more.items() if value is not None]
    for text in settings or []:
        name, equals, value = text.partition("=")
        if not equals or not all(name.split(".")):
            raise typer.BadParameter(f"{text!r} is not NAME=VALUE.", param_hint="--set")
        given.append((name, _value(value)))
    for name, value in given:
        *path, last = name.split(".")
        place = found
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise typer.BadParameter(f"{name!r}: {part!r} has a value already.", param_hint="--set")
        if last in place:
            raise typer.BadParameter(f"{name!r} is given twice.", param_hint="--set")
        place[last] = value
    return found


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def known(options: dict[str, Any], kind: type) -> dict[str, Any]:
    """The options, or BadParameter for a name that the API's parameters do not have."""
    if unknown := sorted(set(options) - set(kind.__annotations__)):
        there = ", ".join(sorted(kind.__annotations__))
        raise typer.BadParameter(f"there is no parameter {unknown[0]!r}; there are {there}.", param_hint="--set")
    return options

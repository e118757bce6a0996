"""The socket of the API, and whether its address may be listened on: one that others can reach only where requests need a key."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from api.settings import ApiSettings
from store import keys
from store.database import Database

BACKLOG = 1024


class CannotServe(Exception):
    """The service cannot start; the message says why and what to do."""


def address_of(host: str) -> str:
    """The address to bind."""
    try:
        addresses = {str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError as error:
        raise CannotServe(f"The host {host!r} is not known: {error}.") from error
    # Where a name has several, not all of them loopback, the one that others can reach counts.
    return min(addresses, key=lambda address: (is_loopback(address), ":" in address, address))


def is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.split("%")[0]).is_loopback


@contextmanager
def listen(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that takes connections there, for whoever serves them."""
    address = address_of(host)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, port))
        except OSError as error:
            raise CannotServe(
                f"Port {port} of {host} cannot be used: {error.strerror}. Choose another with --port (0 takes any free one)."
            ) from error
        listener.listen(BACKLOG)
        yield listener


def url_of(host: str, listener: socket.socket) -> str:
    port = listener.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def check(settings: ApiSettings, say: Callable[[str], None]) -> None:
    """Refuse an address that others can reach while there are no keys, unless whoever starts this has decided about keys.

    `ATTRACTOR_REQUIRE_KEYS=yes` is such a decision: nobody gets in before there is a key, so it may be made afterwards.
    """
    if is_loopback(address_of(settings.host)) or settings.require_keys == "yes":
        return
    if settings.require_keys == "no":
        say(f"ATTRACTOR_REQUIRE_KEYS=no: whoever reaches {settings.host} can read and delete everything")
        return
    try:
        found = _are_there_keys(settings)
    except SQLAlchemyError as error:
        raise CannotServe(
            f"Refusing to listen on {settings.host}: whether there are keys cannot be read from the database "
            f"({str(error).splitlines()[0]}). See to it that the database answers, or set ATTRACTOR_REQUIRE_KEYS=yes: "
            "then keys are demanded in any case."
        ) from error
    if not found:
        where = f" --data-dir {settings.data_dir}" if settings.embedded_database else ""
        raise CannotServe(
            f"Refusing to listen on {settings.host}: whoever reaches that address could read and delete everything, since "
            f"there are no keys. Make one:  attractor keys create --name first{where}  Or set ATTRACTOR_REQUIRE_KEYS=yes "
            "and make it later: until then every request is refused. Or listen on 127.0.0.1, and use an SSH tunnel."
        )


def _are_there_keys(settings: ApiSettings) -> bool:
    if settings.embedded_database and not settings.embedded_database.exists():
        return False
    database = Database(settings)
    try:
        return keys.usable(database)
    finally:
        database.close()

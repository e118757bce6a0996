"""Webhooks: the events that are told, the addresses that may be told, and the ones that must not be.

A URL of a stranger is where server-side request forgery begins, so it is kept in one form that every parser reads alike
(ASCII, no user information, no fragment, a name or a plainly written address), and the address that it leads to is
checked again at the moment of connecting (`worker.webhooks`): names may mean something else by then.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from domain.jobs import JobStatus

MAX_URL_LENGTH = 2000
_MAX_PORT = 65_535
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?]*)(?P<path>/[^?]*)?(?P<query>\?.*)?")
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::(?P<port>[0-9]*))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# What a URL may be written with (RFC 3986), less the fragment.
_CHARACTERS = re.compile(r"[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%]*")
_DEFAULT_PORTS = {"https": 443, "http": 80}

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class WebhookEvent(StrEnum):
    """What a webhook may ask to be told of."""

    JOB_SUCCEEDED = "job.succeeded"
    JOB_FAILED = "job.failed"
    JOB_CANCELED = "job.canceled"


TEST_EVENT = "webhook.test"
EVENT_OF_STATUS = {
    JobStatus.SUCCEEDED: WebhookEvent.JOB_SUCCEEDED,
    JobStatus.FAILED: WebhookEvent.JOB_FAILED,
    JobStatus.CANCELED: WebhookEvent.JOB_CANCELED,
}


class DeliveryStatus(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True)
class Target:
    """Where a webhook's URL leads: what a connection is opened to, and what is asked for on it."""

    scheme: str
    host: str  # a name in lower case without a final dot, or an address without brackets
    port: int
    path: str  # with the query

    @property
    def authority(self) -> str:
        """For the Host header; the port is left out where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


def parse_url(
    text: str, *, allow_http: bool = False, ports: Sequence[int] = (), allowed: Sequence[Network] = ()
) -> Target:
    """The target of a URL. ValueError, saying what is wrong, for one that must not be called.

    Args:
        text: As a caller wrote it, or `Target.url` of an earlier parse.
        allow_http: Whether `http` is good, too.
        ports: The ports that may be called; empty: any.
        allowed: Networks that may be called although they are not public.
    """
    if len(text) > MAX_URL_LENGTH:
        raise ValueError(f"must be at most {MAX_URL_LENGTH} characters long, not {len(text)}")
    if not text.isascii():
        raise ValueError("must be ASCII: write an international name in its xn-- form, and anything else with %")
    found = _URL.fullmatch(text) if _CHARACTERS.fullmatch(text) else None
    if found is None:
        raise ValueError("must be a URL such as https://example.org/hooks, without spaces and without a fragment")
    scheme = found["scheme"].lower()
    if scheme not in (("https", "http") if allow_http else ("https",)):
        raise ValueError(f"must begin with https://{' or http://' if allow_http else ''}, not {scheme}://")
    host, port = _host_and_port(found["authority"], _DEFAULT_PORTS[scheme])
    if ports and port not in ports:
        raise ValueError(f"names port {port}; only {', '.join(map(str, ports))} may be called")
    if isinstance(host, str):
        return Target(scheme, host, port, (found["path"] or "/") + (found["query"] or ""))
    reason = forbidden(host, allowed)
    if reason is not None:
        raise ValueError(f"names an address that is not public: {reason}")
    return Target(scheme, str(host), port, (found["path"] or "/") + (found["query"] or ""))


def _host_and_port(authority: str, default_port: int) -> tuple[str | Address, int]:
    if "@" in authority:
        raise ValueError("must not hold a user name or password: messages are signed instead")
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        raise ValueError("must name a host, with a port at most: https://example.org:8443/hooks")
    port = int(found["port"]) if found["port"] else default_port
    if not 1 <= port <= _MAX_PORT:
        raise ValueError(f"must name a port between 1 and {_MAX_PORT}")
    return _host(found["host"].lower()), port


def _host(text: str) -> str | Address:
    if text.startswith("["):
        try:
            return ipaddress.IPv6Address(text[1:-1])
        except ValueError as error:
            raise ValueError(f"must name an IPv6 address between the brackets, not {text[:60]}") from error
    name = text.removesuffix(".")
    labels = name.split(".")
    # What ends in a number is an address to some resolvers (2130706433, 0x7f.1, 0177.0.0.1): only the plain form is one.
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1]):
        try:
            return ipaddress.IPv4Address(name)
        except ValueError as error:
            raise ValueError(
                f"must name an IPv4 address as four decimal numbers without leading zeros, not {text[:60]}"
            ) from error
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"must name a host by letters, digits, hyphens and dots, not {text[:60]}")
    return name


# Public is what IANA has handed out for global unicast and not set aside again: special-purpose registries of RFC 6890.
_SPECIAL_V4: tuple[tuple[str, str], ...] = (
    ("0.0.0.0/8", "this network"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "shared by a carrier"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "protocol assignments"),
    ("192.0.2.0/24", "documentation"),
    ("192.31.196.0/24", "AS112 service"),
    ("192.52.193.0/24", "multicast tunnels"),
    ("192.88.99.0/24", "6to4 relay"),
    ("192.168.0.0/16", "private"),
    ("192.175.48.0/24", "AS112 service"),
    ("198.18.0.0/15", "benchmarking"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("168.63.129.16/32", "a cloud's own services"),
)
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_SPECIAL_V6: tuple[tuple[str, str], ...] = (
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("::ffff:0:0/96", "IPv4-mapped"),
    ("64:ff9b::/96", "NAT64"),
    ("64:ff9b:1::/48", "NAT64"),
    ("2001::/32", "Teredo"),
    ("2001::/23", "protocol assignments"),
    ("2001:db8::/32", "documentation"),
    ("2002::/16", "6to4"),
    ("2620:4f:8000::/48", "AS112 service"),
    ("3fff::/20", "documentation"),
    ("fc00::/7", "private"),
    ("fe80::/10", "link-local"),
    ("ff00::/8", "multicast"),
)
_SPECIAL: tuple[tuple[Network, str], ...] = tuple(
    (ipaddress.ip_network(network), kind) for network, kind in (*_SPECIAL_V4, *_SPECIAL_V6)
)


def forbidden(address: Address, allowed: Sequence[Network] = ()) -> str | None:
    """Why no request may go to an address, such as "link-local"; None for a public one, or one of an `allowed` network."""
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        return "link-local"
    if any(address in network for network in allowed if network.version == address.version):
        return None
    for network, kind in _SPECIAL:
        if network.version == address.version and address in network:
            return kind
    if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_V6:
        return "outside of global unicast"
    return None if address.is_global else "reserved"

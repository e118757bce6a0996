"""One request to a webhook: signed, to a public address, without redirects, and over after `TOTAL_SECONDS` whatever comes.

The name is resolved here, every address that it has is checked, and the connection is opened to a checked address, not
to the name: what the name means a moment later changes nothing. TLS still asks for the certificate of the name. There is
no client in between that would follow a redirect, use a proxy of the environment, or unpack an answer.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Executor

import httpcore
from httpcore import AsyncNetworkBackend, AsyncNetworkStream

from domain.webhooks import Address, Network, Target, forbidden, parse_url
from store.deliveries import Attempt, Claimed, Outcome
from store.settings import StoreSettings

CONNECT_SECONDS = 5.0
TOTAL_SECONDS = 15.0
MAX_ADDRESSES = 4  # of a name that are tried
MAX_RESPONSE_BYTES = 1024
MAX_KEPT_CHARACTERS = 300
USER_AGENT = "attractor-webhooks/1"

Resolver = Callable[[str], Awaitable[Sequence[Address]]]


class NotPublic(Exception):
    """The address must not be called. The caller is told the same for a name that does not exist: a webhook is no way to
    ask what names mean inside."""


class PublicNetwork(AsyncNetworkBackend):
    """Opens connections to public addresses, those of `allowed` networks, and no others."""

    def __init__(self, resolve: Resolver, *, allowed: Sequence[Network] = (), ports: Sequence[int] = ()) -> None:
        self._resolve = resolve
        self._allowed = allowed
        self._ports = ports
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        give_up = time.monotonic() + (CONNECT_SECONDS if timeout is None else timeout)
        if self._ports and port not in self._ports:
            raise NotPublic(f"port {port} of {host}")
        addresses = await self._checked(host, give_up - time.monotonic())
        *others, last = addresses[:MAX_ADDRESSES]
        for address in others:
            try:
                return await self._network.connect_tcp(
                    str(address), port, (give_up - time.monotonic()) / 2, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue  # the next one may answer; what the last one says is what the caller hears
        return await self._network.connect_tcp(
            str(last), port, give_up - time.monotonic(), local_address, socket_options
        )

    async def _checked(self, host: str, seconds: float) -> Sequence[Address]:
        """All addresses of a host. NotPublic if there is none, or one among them that is not public."""
        try:
            addresses = await asyncio.wait_for(self._resolve(host), seconds)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"{host} could not be resolved in time") from error
        except (OSError, UnicodeError, ValueError) as error:
            raise NotPublic(f"{host} has no address: {error}") from error
        if not addresses:
            raise NotPublic(f"{host} has no address")
        for address in addresses:
            reason = forbidden(address, self._allowed)
            if reason is not None:
                raise NotPublic(f"{host} is at {address}: {reason}")
        return addresses

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        raise NotPublic(f"the socket {path}")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def system_resolver(executor: Executor) -> Resolver:
    """What the machine's own resolver answers, asked in threads of `executor`."""

    def look_up(host: str) -> list[Address]:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(ipaddress.ip_address(str(item[4][0])) for item in found))

    async def resolve(host: str) -> Sequence[Address]:
        return await asyncio.get_running_loop().run_in_executor(executor, look_up, host)

    return resolve


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """A `v1` signature of Standard Webhooks: HMAC-SHA256 over `id.timestamp.body`, in Base64."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


async def send(message: Claimed, settings: StoreSettings, network: PublicNetwork, tls: ssl.SSLContext) -> Attempt:
    """Send a message once. Never raises for what a receiver does: it is in the Attempt."""
    started = time.monotonic()

    def failed(outcome: Outcome, error: str) -> Attempt:
        return Attempt(outcome, time.monotonic() - started, error=printable(error))

    try:
        async with asyncio.timeout(TOTAL_SECONDS):
            return await _post(message, _target(message.url, settings), network, tls, started)
    except NotPublic:
        return failed("forbidden", "Not sent: the URL does not lead to a public address.")
    except ValueError as error:  # the settings forbid today what they allowed when the webhook was made
        return failed("forbidden", f"Not sent: url {error}.")
    except httpcore.ConnectTimeout:
        return failed("unreachable", f"No connection within {CONNECT_SECONDS:g} s.")
    except (TimeoutError, httpcore.TimeoutException):
        return failed("unreachable", f"No answer within {TOTAL_SECONDS:g} s.")
    except httpcore.ConnectError as error:
        return failed("unreachable", f"The connection failed: {error or type(error).__name__}")
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        return failed("unreachable", f"The connection broke off, or the answer is not HTTP: {error}")


def _target(url: str, settings: StoreSettings) -> Target:
    return parse_url(
        url,
        allow_http=settings.webhook_allow_http,
        ports=settings.webhook_ports,
        allowed=settings.webhook_allow_private,
    )


async def _post(
    message: Claimed, target: Target, network: PublicNetwork, tls: ssl.SSLContext, started: float
) -> Attempt:
    timestamp = int(time.time())
    headers = {
        "Host": target.authority,
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": USER_AGENT,
        "webhook-id": message.message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(
            signature(secret, message.message_id, timestamp, message.body) for secret in message.secrets
        ),
    }
    url = httpcore.URL(
        scheme=target.scheme.encode(), host=target.host.encode(), port=target.port, target=target.path.encode()
    )
    timeouts = {"connect": CONNECT_SECONDS, "read": TOTAL_SECONDS, "write": TOTAL_SECONDS, "pool": TOTAL_SECONDS}
    async with (
        httpcore.AsyncConnectionPool(ssl_context=tls, network_backend=network, max_keepalive_connections=0) as pool,
        pool.stream(
            "POST", url, headers=list(headers.items()), content=message.body, extensions={"timeout": timeouts}
        ) as response,
    ):
        beginning = await _beginning(response)
        status = response.status
        asked = next((value for name, value in response.headers if name.lower() == b"retry-after"), b"")
    good = 200 <= status < 300
    return Attempt(
        "delivered" if good else "refused",
        time.monotonic() - started,
        status_code=status,
        error=None if good else _complaint(status),
        response=printable(beginning.decode("utf-8", "replace")) or None,
        retry_after=int(asked) if asked.isdigit() and len(asked) < 7 else None,
        gone=status == 410,
    )


async def _beginning(response: httpcore.Response) -> bytes:
    """The first bytes of the body; the connection is closed on whatever follows."""
    body = b""
    async for piece in response.aiter_stream():
        body += piece
        if len(body) >= MAX_RESPONSE_BYTES:
            break
    return body[:MAX_RESPONSE_BYTES]


def _complaint(status: int) -> str:
    if 300 <= status < 400:
        return f"The receiver answered {status}: redirects are not followed, name the final address."
    return f"The receiver answered {status}; a message counts as received with 200 to 299."


def printable(text: str) -> str:
    """Some of what a stranger says, fit for a log."""
    return "".join(c if c.isprintable() else " " for c in text[:MAX_KEPT_CHARACTERS]).strip()

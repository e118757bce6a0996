"""One request to a webhook: where it may go, what it carries, and when it ends."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpcore
import httpx
import pytest
from receiver import Receiver, answer, drip, receiving
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from domain.webhooks import Address
from store.deliveries import Attempt, Claimed
from store.settings import StoreSettings
from worker import sending
from worker.sending import PublicNetwork, Resolver, send, system_resolver

SECRET = "whsec_" + "c2VjcmV0IG9mIHRoaXJ0eS10d28gYnl0ZXMhISEhISE="
LOOPBACK = ipaddress.ip_network("127.0.0.0/8")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def resolver(*answers: Sequence[str]) -> Resolver:
    """Answers a list of addresses, and the next list when it is asked again."""
    left = list(answers)

    async def resolve(host: str) -> Sequence[Address]:
        return [ipaddress.ip_address(address) for address in (left.pop(0) if len(left) > 1 else left[0])]

    return resolve


def deliver(url: str, resolve: Resolver | None = None, *, allowed: bool = False, tls=None, body=b"{}") -> Attempt:  # type: ignore[no-untyped-def]
    settings = StoreSettings(
        webhook_allow_http=True, webhook_ports=[], webhook_allow_private=[LOOPBACK] if allowed else []
    )
    message = Claimed("dlv_1", "default", "whk_1", "msg_1", 1, "t", url, body, (SECRET,))

    async def main() -> Attempt:
        with ThreadPoolExecutor(1) as executor:
            network = PublicNetwork(resolve or system_resolver(executor), allowed=settings.webhook_allow_private)
            return await send(message, settings, network, tls or ssl.create_default_context())

    return asyncio.run(main())


def test_a_message_is_posted_once_and_its_signature_is_the_standard_one(receiver: Receiver) -> None:
    body = '{"type":"webhook.test","data":{"name":"Zürich ✓"}}'.encode()
    attempt = deliver(receiver.url("/a/b?c=d%20e"), allowed=True, body=body)
    assert (attempt.outcome, attempt.status_code, attempt.error) == ("delivered", 204, None)
    (got,) = receiver.requests
    assert (got.path, got.body) == ("/a/b?c=d%20e", body)
    assert got.headers["Host"] == f"127.0.0.1:{receiver.port}"
    assert got.headers["Content-Type"] == "application/json"
    assert got.headers["webhook-id"] == "msg_1"
    assert abs(int(got.headers["webhook-timestamp"]) - time.time()) < 30
    assert Webhook(SECRET).verify(got.body, got.headers)["type"] == "webhook.test"
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(got.body + b" ", got.headers)


def test_the_signature_is_the_one_of_the_specification() -> None:
    """The example of the specification's repository (spec/standard-webhooks.md, and the tests of its libraries)."""
    secret, id, timestamp = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330
    expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert sending.signature(secret, id, timestamp, b'{"test": 2432232314}') == expected
    moment = dt.datetime.fromtimestamp(timestamp, dt.UTC)
    assert Webhook(secret).sign(id, moment, '{"test": 2432232314}') == expected


@pytest.mark.parametrize("status", [200, 201, 202, 299])
def test_any_success_is_a_delivery(receiver: Receiver, status: int) -> None:
    receiver.answer = lambda handler, n: answer(handler, status, b"thanks")
    attempt = deliver(receiver.url(), allowed=True)
    assert (attempt.outcome, attempt.status_code, attempt.response) == ("delivered", status, "thanks")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(receiver: Receiver, status: int) -> None:
    with receiving() as inner:
        receiver.answer = lambda handler, n: answer(handler, status, Location=inner.url("/secret"))
        attempt = deliver(receiver.url(), allowed=True)
        assert inner.requests == []
    assert len(receiver.requests) == 1
    assert (attempt.outcome, attempt.status_code) == ("refused", status)
    assert "redirects are not followed" in (attempt.error or "")


def test_other_answers_are_refusals(receiver: Receiver) -> None:
    receiver.answer = lambda handler, n: answer(handler, 503, b"later\x00\x1b[31m", Retry_After="120")
    attempt = deliver(receiver.url(), allowed=True)
    assert (attempt.outcome, attempt.status_code, attempt.retry_after, attempt.gone) == ("refused", 503, 120, False)
    assert (attempt.error or "").startswith("The receiver answered 503")
    assert attempt.response == "later  [31m", "nothing that a terminal would obey"
    receiver.answer = lambda handler, n: answer(handler, 410)
    assert deliver(receiver.url(), allowed=True).gone


def test_a_long_answer_is_cut_off(receiver: Receiver) -> None:
    receiver.answer = lambda handler, n: answer(handler, 200, b"x" * 50_000_000)
    attempt = deliver(receiver.url(), allowed=True)
    assert attempt.outcome == "delivered"
    assert attempt.response == "x" * 300


@pytest.mark.parametrize("kind", ["silent", "dripping"])
def test_an_attempt_ends_in_time_whatever_the_receiver_does(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(sending, "TOTAL_SECONDS", 0.5)
    monkeypatch.setattr(sending, "MAX_RESPONSE_BYTES", 10_000)
    receiver.answer = lambda handler, n: time.sleep(3) if kind == "silent" else drip(handler, 3)
    started = time.monotonic()
    attempt = deliver(receiver.url(), allowed=True)
    assert time.monotonic() - started < 2
    assert (attempt.outcome, attempt.error) == ("unreachable", "No answer within 0.5 s.")


def test_what_is_no_http_or_no_server_is_said(receiver: Receiver) -> None:
    receiver.answer = lambda handler, n: handler.wfile.write(b"SSH-2.0-OpenSSH_9\r\n\r\n")
    attempt = deliver(receiver.url(), allowed=True)
    assert attempt.outcome == "unreachable"
    assert "not HTTP" in (attempt.error or "")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        attempt = deliver(f"http://127.0.0.1:{nobody.getsockname()[1]}/", allowed=True)
    assert attempt.outcome == "unreachable"
    assert "The connection failed" in (attempt.error or "")


LEADING_INSIDE = {
    "a private address": ["10.0.0.5"],
    "loopback": ["127.0.0.1"],
    "metadata": ["169.254.169.254"],
    "zero": ["0.0.0.0"],
    "six": ["::1"],
    "unspecified six": ["::"],
    "mapped": ["::ffff:127.0.0.1"],
    "six to four": ["2002:7f00:1::"],
    "nat64": ["64:ff9b::a9fe:a9fe"],
    "unique local": ["fd00:ec2::254"],
    "a public one and a private one": ["93.184.216.34", "127.0.0.1"],
    "a private one and a public one": ["127.0.0.1", "93.184.216.34"],
    "nothing": [],
}


@pytest.mark.parametrize("addresses", LEADING_INSIDE.values(), ids=LEADING_INSIDE)
def test_names_that_lead_inside_are_not_called(receiver: Receiver, addresses: list[str]) -> None:
    attempt = deliver(f"http://hooks.example.org:{receiver.port}/", resolver(addresses))
    assert (attempt.outcome, receiver.requests) == ("forbidden", [])
    assert attempt.error == "Not sent: the URL does not lead to a public address.", "and where it leads is not told"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "localhost.localdomain", "no-such-name.invalid"])
def test_the_machines_own_resolver_opens_no_way_inside(receiver: Receiver, host: str) -> None:
    attempt = deliver(f"http://{host}:{receiver.port}/")
    assert (attempt.outcome, receiver.requests) == ("forbidden", [])


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "[::ffff:7f00:1]", "0.0.0.0"])
def test_addresses_that_settings_once_allowed_are_refused_now(receiver: Receiver, host: str) -> None:
    attempt = deliver(f"http://{host}:{receiver.port}/")
    assert (attempt.outcome, receiver.requests) == ("forbidden", [])


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1"])
def test_numbers_that_the_resolver_takes_for_addresses_are_checked_as_such(host: str) -> None:
    """Even past the check of the form: what counts is where the connection would go."""

    async def connect() -> None:
        with ThreadPoolExecutor(1) as executor:
            await PublicNetwork(system_resolver(executor)).connect_tcp(host, 80)

    with pytest.raises(sending.NotPublic, match=r"127\.0\.0\.1: loopback"):
        asyncio.run(connect())


def test_the_checked_address_is_the_one_that_is_called(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rebinding: the name is public when it is looked at and private when it is looked at again. It is looked at once."""
    asked, connected = [], []

    async def watch(_self, host, *more):  # type: ignore[no-untyped-def]
        connected.append(host)
        raise httpcore.ConnectError("stop here")

    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", watch)

    async def public_then_private(host: str) -> Sequence[Address]:
        asked.append(host)
        return [ipaddress.ip_address("93.184.216.34" if len(asked) == 1 else "127.0.0.1")]

    attempt = deliver(f"http://rebind.example.org:{receiver.port}/", public_then_private)
    assert (attempt.outcome, receiver.requests) == ("unreachable", [])
    assert (asked, connected) == (["rebind.example.org"], ["93.184.216.34"]), "an address, never the name"


def test_ports_are_checked_at_the_connection_too() -> None:
    network = PublicNetwork(resolver(["93.184.216.34"]), ports=[443])
    with pytest.raises(sending.NotPublic, match="port 6379"):
        asyncio.run(network.connect_tcp("example.org", 6379))
    with pytest.raises(sending.NotPublic, match="socket"):
        asyncio.run(network.connect_unix_socket("/var/run/docker.sock"))


def test_a_proxy_of_the_environment_is_not_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert deliver(receiver.url(), allowed=True).outcome == "delivered"
        assert proxy.requests == []


def test_the_next_address_is_tried(receiver: Receiver) -> None:
    attempt = deliver(f"http://two.example.org:{receiver.port}/", resolver(["127.0.0.2", "127.0.0.1"]), allowed=True)
    assert attempt.outcome == "delivered"
    assert receiver.requests[0].headers["Host"] == f"two.example.org:{receiver.port}"


def test_a_name_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "CONNECT_SECONDS", 0.2)

    async def slow(host: str) -> Sequence[Address]:
        await asyncio.sleep(5)
        return []

    attempt = deliver("http://slow.example.org/", slow)
    assert (attempt.outcome, attempt.error) == ("unreachable", "No connection within 0.2 s.")
    assert attempt.seconds < 2


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate of `hooks.example.org`, which signs itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hooks.example.org")])
    moment = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(moment - dt.timedelta(hours=1)).not_valid_after(moment + dt.timedelta(hours=1))
    names = x509.SubjectAlternativeName([x509.DNSName("hooks.example.org")])
    signed = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return file


def test_tls_asks_for_the_name_although_the_address_is_called(certificate: Path) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=str(certificate))
    here = resolver(["127.0.0.1"])
    with receiving(server) as receiver:
        good = deliver(f"https://hooks.example.org:{receiver.port}/", here, allowed=True, tls=trusting)
        assert (good.outcome, good.error) == ("delivered", None)
        other = deliver(f"https://other.example.org:{receiver.port}/", here, allowed=True, tls=trusting)
        unknown = deliver(
            f"https://hooks.example.org:{receiver.port}/", here, allowed=True, tls=httpx.create_ssl_context()
        )
        assert len(receiver.requests) == 1
    assert other.outcome == unknown.outcome == "unreachable"
    assert "certificate" in (other.error or "").lower()
    assert "certificate" in (unknown.error or "").lower()

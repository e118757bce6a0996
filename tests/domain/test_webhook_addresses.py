"""URLs of strangers: what may be called, what is refused, and with which words."""

from __future__ import annotations

import ipaddress
import urllib.parse

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.webhooks import Target, forbidden, parse_url

REFUSED = {
    # addresses that are not public, plainly written
    "https://127.0.0.1/": "loopback",
    "https://127.8.8.8:8443/x": "loopback",
    "https://0.0.0.0/": "this network",
    "https://10.1.2.3/": "private",
    "https://172.16.0.1/": "private",
    "https://172.31.255.255/": "private",
    "https://192.168.1.1/": "private",
    "https://100.64.0.1/": "carrier",
    "https://100.100.100.200/": "carrier",
    "https://169.254.169.254/latest/meta-data/": "link-local",
    "https://168.63.129.16/": "cloud",
    "https://192.0.0.192/": "protocol assignments",
    "https://198.18.0.1/": "benchmarking",
    "https://224.0.0.1/": "multicast",
    "https://239.255.255.250/": "multicast",
    "https://240.0.0.1/": "reserved",
    "https://255.255.255.255/": "reserved",
    "https://[::]/": "unspecified",
    "https://[::1]/": "loopback",
    "https://[0:0:0:0:0:0:0:1]/": "loopback",
    "https://[::ffff:127.0.0.1]/": "IPv4-mapped",
    "https://[::ffff:7f00:1]/": "IPv4-mapped",
    "https://[::ffff:8.8.8.8]/": "IPv4-mapped",
    "https://[::127.0.0.1]/": "outside of global unicast",
    "https://[2002:7f00:1::]/": "6to4",
    "https://[2001:0:7f00:1::]/": "Teredo",
    "https://[64:ff9b::7f00:1]/": "NAT64",
    "https://[64:ff9b:1::a00:1]/": "NAT64",
    "https://[fe80::1]/": "link-local",
    "https://[fd00:ec2::254]/": "private",
    "https://[ff02::1]/": "multicast",
    "https://[2001:db8::1]/": "documentation",
    "https://[fec0::1]/": "outside of global unicast",
    # the same, written so that somebody might read them otherwise
    "https://2130706433/": "four decimal numbers",
    "https://017700000001/": "four decimal numbers",
    "https://0x7f000001/": "four decimal numbers",
    "https://0x7f.0.0.1/": "four decimal numbers",
    "https://0177.0.0.1/": "four decimal numbers",
    "https://127.1/": "four decimal numbers",
    "https://127.0.1/": "four decimal numbers",
    "https://127.0.0.1./": "loopback",
    "https://1.2.3.4.5/": "four decimal numbers",
    "https://example.0x1/": "four decimal numbers",
    "https://[::1%25eth0]/": "a host",
    "https://[fe80::1%25lo]/": "a host",
    "https://[127.0.0.1]/": "IPv6 address",
    "https://[::1/": "a host",
    "https://１２７.0.0.1/": "ASCII",
    "https://⑯⑨.254.169.254/": "ASCII",
    "https://loc\u00adalhost/": "ASCII",
    "https://exämple.org/": "ASCII",
    "https://%6cocalhost/": "letters, digits",
    "https://127%2e0%2e0%2e1/": "letters, digits",
    # what confuses parsers
    "https://example.org@127.0.0.1/": "user name",
    "https://user:password@example.org/": "user name",
    "https://example.org:443@10.0.0.1/": "user name",
    "https://example.org\\@127.0.0.1/": "must be a URL",
    "https://example.org#@127.0.0.1/": "must be a URL",
    "https://example.org/#there": "must be a URL",
    "https://exam ple.org/": "must be a URL",
    "https://example.org/\r\nHost: localhost": "must be a URL",
    "https://example.org/\x00": "must be a URL",
    " https://example.org/": "must be a URL",
    "https://example.org/\t": "must be a URL",
    "https:///path": "must name a host",
    "https://": "must name a host",
    "https://:443/": "must name a host",
    "https://example..org/": "letters, digits",
    "https://.example.org/": "letters, digits",
    "https://example.org../": "letters, digits",
    "https://-example.org/": "letters, digits",
    "https://exa*mple.org/": "letters, digits",
    "https://" + "a" * 64 + ".org/": "letters, digits",
    "https://" + "a." * 130 + "org/": "letters, digits",
    # other ways out
    "http://example.org/": "https://",
    "ftp://example.org/": "https://",
    "file:///etc/passwd": "https://",
    "gopher://127.0.0.1:6379/_FLUSHALL": "https://",
    "javascript:alert(1)": "must be a URL",
    "//example.org/": "must be a URL",
    "example.org": "must be a URL",
    "": "must be a URL",
    "https://example.org:22/": "port 22",
    "https://example.org:6379/": "port 6379",
    "https://example.org:0/": "between 1 and",
    "https://example.org:65536/": "between 1 and",
    "https://example.org:443:443/": "must name a host",
    "https://example.org:-1/": "must name a host",
    "https://example.org:٤٤٣/": "ASCII",
    "https://example.org/" + "a" * 2000: "2000 characters",
}
PORTS = (80, 443, 8080, 8443)


@pytest.mark.parametrize(("url", "why"), REFUSED.items())
def test_it_is_refused_with_a_reason(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_url(url, ports=PORTS)


GOOD = {
    "https://example.org": ("example.org", 443, "/", "https://example.org/"),
    "HTTPS://Example.ORG./Hook?a=b&c=%20": ("example.org", 443, "/Hook?a=b&c=%20", None),
    "https://example.org:8443?x=1": ("example.org", 8443, "/?x=1", "https://example.org:8443/?x=1"),
    "https://xn--exmple-cua.org/": ("xn--exmple-cua.org", 443, "/", None),
    "https://my_host.example.org:/": ("my_host.example.org", 443, "/", None),
    "https://8.8.8.8/": ("8.8.8.8", 443, "/", "https://8.8.8.8/"),
    "https://[2606:4700:4700::1111]:8443/": ("2606:4700:4700::1111", 8443, "/", None),
    "https://3com.com/": ("3com.com", 443, "/", None),
}


@pytest.mark.parametrize(("url", "parts"), GOOD.items())
def test_it_is_read_as_other_parsers_read_it(url: str, parts: tuple[str, int, str, str | None]) -> None:
    target = parse_url(url, ports=PORTS)
    assert (target.host, target.port, target.path) == parts[:3]
    assert parts[3] in (None, target.url)
    assert parse_url(target.url, ports=PORTS) == target, "the kept form reads the same"
    read_alike(target)


def read_alike(target: Target) -> None:
    """Two other parsers find the same host and port in the kept form."""
    one, two = httpx.URL(target.url), urllib.parse.urlsplit(target.url)
    assert (one.raw_host.decode(), one.port or 443) == (target.host, target.port)
    assert (two.hostname, two.port or 443) == (target.host, target.port)
    assert (one.userinfo, one.fragment, two.username, two.fragment) == (b"", "", None, "")


def test_settings_open_what_they_name_and_nothing_else() -> None:
    local = [ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("fd00::/8")]
    assert parse_url("http://127.0.0.1:9000/x", allow_http=True, allowed=local).authority == "127.0.0.1:9000"
    assert parse_url("https://[fd00::1]/", allowed=local).url == "https://[fd00::1]/"
    for url in ("http://127.0.0.1/", "https://10.0.0.1/", "https://[::1]/", "https://[::ffff:127.0.0.1]/"):
        with pytest.raises(ValueError, match=r"must|public"):
            parse_url(url, allowed=local)


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6))
def test_what_the_standard_library_calls_not_global_is_forbidden(address) -> None:  # type: ignore[no-untyped-def]
    inner = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None)
    bad = not address.is_global or address.is_multicast or address.is_reserved or address.is_link_local
    if bad or inner is not None:
        assert forbidden(address) is not None


@given(st.text(max_size=60) | st.from_regex(r"https://[a-z0-9.\[\]:@%#?/\\-]{0,40}", fullmatch=True))
def test_anything_else_is_refused_or_read_alike_by_everybody(text: str) -> None:
    try:
        target = parse_url(text)
    except ValueError:
        return
    read_alike(target)

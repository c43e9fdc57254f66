"""Which URLs and addresses the address guard permits."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saveany.errors import InvalidInput
from saveany.net.client import guarded_client
from saveany.net.guard import AddressGuard
from tests.unit.net.servers import FakeDns, serving

PUBLIC = [
    "https://example.org",
    "http://example.org:8080/hook?token=x#y",
    "HTTPS://EXAMPLE.ORG/",
    "https://example.org./",
    "https://bücher.example/",
    "https://127.0.0.1.example.org/",
    "https://localhost.example.org/",
    "http://1.1.1.1/",
    "http://8.8.8.8:65535/",
    "http://134744072/",  # 8.8.8.8
    "http://[2606:4700:4700::1111]/",
    "http://[::ffff:8.8.8.8]/",
    "http://[64:ff9b::808:808]/",
    "http://172.15.255.255/",
    "http://172.32.0.1/",
    "http://100.63.255.255/",
    "http://100.128.0.1/",
    "http://198.17.0.1/",
    "http://223.255.255.255/",
]

#: Refused before anything is resolved: an address in some spelling. PORT is the trap's.
ADDRESSES = [
    "http://127.0.0.1:PORT/",
    "https://127.0.0.1:PORT/",
    "http://127.1:PORT/",
    "http://127.0.1:PORT/",
    "http://127.8.8.8:PORT/",
    "http://127.0.0.1.:PORT/",
    "http://2130706433:PORT/",
    "http://0x7f000001:PORT/",
    "http://0x7F.0.0.1:PORT/",
    "http://0x7f.1:PORT/",
    "http://017700000001:PORT/",
    "http://0177.0x0.1:PORT/",
    "http://127\u30020\u30020\u30021:PORT/",
    "http://0:PORT/",
    "http://0.0.0.0:PORT/",
    "http://0.1.2.3:PORT/",
    "http://localhost:PORT/",
    "http://LOCALHOST:PORT/",
    "http://localhost.:PORT/",
    "http://a.localhost:PORT/",
    "http://[::1]:PORT/",
    "http://[0:0:0:0:0:0:0:1]:PORT/",
    "http://[::]:PORT/",
    "http://[::127.0.0.1]:PORT/",
    "http://[::ffff:127.0.0.1]:PORT/",
    "http://[::ffff:7f00:1]:PORT/",
    "http://[::ffff:0:127.0.0.1]:PORT/",
    "http://[64:ff9b::127.0.0.1]:PORT/",
    "http://[64:ff9b::7f00:1]:PORT/",
    "http://[64:ff9b:1::7f00:1]:PORT/",
    "http://[2002:7f00:1::]:PORT/",
    "http://[2001:0:7f00:1::]:PORT/",
    "http://[2001:0:4136:e378:8000:63bf:80ff:fffe]:PORT/",
    "http://[::1%25lo]:PORT/",
    "http://[fe80::1%25eth0]:PORT/",
    "http://[fe80::1]:PORT/",
    "http://[fec0::1]:PORT/",
    "http://[fc00::1]:PORT/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://[ff02::1]:PORT/",
    "http://[100::1]:PORT/",
    "http://[2001:db8::1]:PORT/",
    "http://[2001:2::1]:PORT/",
    "http://[3fff::1]:PORT/",
    "http://[5f00::1]:PORT/",
    "http://10.0.0.1:PORT/",
    "http://10.255.255.255:PORT/",
    "http://167772161:PORT/",
    "http://172.16.0.1:PORT/",
    "http://172.31.255.255:PORT/",
    "http://192.168.1.5:PORT/",
    "http://0xc0a80105:PORT/",
    "http://169.254.169.254/latest/meta-data/",
    "http://2852039166/latest/meta-data/",
    "http://[::ffff:169.254.169.254]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://100.64.0.1:PORT/",
    "http://100.100.100.200/latest/meta-data/",
    "http://168.63.129.16/machine",
    "http://192.0.0.192/opc/v2/",
    "http://192.0.2.1/",
    "http://192.88.99.1/",
    "http://198.18.0.1/",
    "http://198.19.255.255/",
    "http://198.51.100.1/",
    "http://203.0.113.1/",
    "http://224.0.0.1/",
    "http://239.255.255.250:1900/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
]

#: Refused for their form: the URL and a word of the reason.
MALFORMED = {
    "": "http://",
    "example.org": "http://",
    "//127.0.0.1:PORT/": "http://",
    " http://127.0.0.1:PORT/": "http://",
    "ftp://example.org/": "http://",
    "file:///etc/passwd": "http://",
    "gopher://127.0.0.1:PORT/_x": "http://",
    "dict://127.0.0.1:PORT/": "http://",
    "unix:///run/redis.sock": "http://",
    "javascript:alert(1)": "http://",
    "http:127.0.0.1:PORT": "no host",
    "http:///127.0.0.1:PORT/": "no host",
    "http://": "no host",
    "http://example.org@127.0.0.1:PORT/": "user name",
    "http://user:pass@example.org/": "user name",
    "http://127.0.0.1:PORT\\@example.org/": "user name|valid",
    "http://127.0.0.1%2f@example.org/": "user name",
    "http://example.org:0/": "port",
    "http://example.org:65536/": "port",
    "http://example.org:80:90/": "valid",
    "http://[::1/": "valid",
    "http://[1.2.3.4]/": "valid",
    "http://[v1.a]/": "valid",
    "http://\uff11\uff12\uff17.0.0.1:PORT/": "valid",
    "http://\u2460\u2461\u2466.0.0.1:PORT/": "valid",
    "http://127.0.0.1\t:PORT/": "valid",
    "http://exa\nmple.org/": "valid",
    "http://xn--/": "valid",
    "http://xn--a.example/": "valid",
    "http://a\ud800/": "valid",
    "http://example.org/\ud800": "valid",
    "http://127.0.0.1%00.example.org/": "neither|valid",
    "http://%31%32%37.0.0.1:PORT/": "neither",
    "http://exam ple.org/": "neither",
    "http://[::1%25]:PORT/": "neither",
    "http://0177.0.0.1:PORT/": "valid",
    "http://00000177.0.0.1:PORT/": "valid",
    "http://256.256.256.256/": "valid",
    "http://1.2.3.4.5/": "neither",
    "http://0x7f.0.0.0x100/": "neither",
    "http://example.0x7f/": "neither",
}


@pytest.mark.parametrize("url", PUBLIC)
def test_public_urls_pass(url: str) -> None:
    AddressGuard().check_url(url)


@pytest.mark.parametrize("url", ADDRESSES)
def test_addresses_that_are_not_public_are_refused_in_any_spelling(url: str) -> None:
    with pytest.raises(InvalidInput, match="not on the public internet") as caught:
        AddressGuard().check_url(url.replace("PORT", "80"))
    assert caught.value.field == "url"
    assert "[net] allow = [" in caught.value.message


@pytest.mark.parametrize("url", MALFORMED)
def test_malformed_urls_are_refused_with_the_reason(url: str) -> None:
    with pytest.raises(InvalidInput, match=MALFORMED[url]) as caught:
        AddressGuard().check_url(url.replace("PORT", "80"))
    assert caught.value.field == "url"


async def test_no_refused_url_makes_a_connection() -> None:
    dns = FakeDns(["127.0.0.1"])
    urls = [*ADDRESSES, *MALFORMED, "http://intranet:PORT/", "https://rebound.example:PORT/"]
    async with serving() as trap, guarded_client(AddressGuard(resolver=dns), timeout=5) as client:
        for url in urls:
            with pytest.raises((InvalidInput, httpx.InvalidURL, UnicodeError)):
                await client.post(url.replace("PORT", str(trap.port)))
        assert trap.connections == 0
    assert set(dns.asked) == {"intranet", "rebound.example"}
    assert len(urls) > 100


@pytest.mark.parametrize(
    ("url", "network"),
    [
        ("http://192.168.1.5/", "192.168.1.0/24"),
        ("http://10.1.2.3/", "10.1.2.0/24"),
        ("http://[::ffff:10.1.2.3]/", "10.1.2.0/24"),
        ("http://100.64.1.2/", "100.64.1.0/24"),
        ("http://[fd12:3456:789a:1::5]/", "fd12:3456:789a:1::/64"),
        ("http://127.0.0.1/", "127.0.0.1/32"),
        ("http://localhost/", "127.0.0.1/32"),
        ("http://169.254.169.254/", "169.254.169.254/32"),
        ("http://[::1]/", "::1/128"),
        ("http://[fe80::1%25eth0]/", "fe80::1/128"),
    ],
)
def test_the_refusal_names_the_network_to_allow(url: str, network: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        AddressGuard().check_url(url)
    assert f'[net] allow = ["{network}"]' in caught.value.message
    AddressGuard([ip_network(network)]).check_url(url)


def test_an_allowed_network_allows_nothing_else() -> None:
    guard = AddressGuard([ip_network("192.168.1.0/24")])
    guard.check_url("http://192.168.1.255/")
    for url in ("http://192.168.2.1/", "http://192.168.0.255/", "http://127.0.0.1/", "http://[fe80::1]/"):
        with pytest.raises(InvalidInput):
            guard.check_url(url)


async def test_resolve_gives_every_address_once() -> None:
    dns = FakeDns(["93.184.216.34", "2606:4700::1", "93.184.216.34"])
    addresses = await AddressGuard(resolver=dns).resolve("example.org", 443)
    assert addresses == [IPv4Address("93.184.216.34"), IPv6Address("2606:4700::1")]


@pytest.mark.parametrize(
    "bad", ["127.0.0.1", "10.0.0.1", "::1", "::ffff:127.0.0.1", "fe80::1%eth0", "nonsense"]
)
async def test_one_refused_address_among_several_refuses_the_name(bad: str) -> None:
    dns = FakeDns(["93.184.216.34", bad])
    with pytest.raises(InvalidInput):
        await AddressGuard(resolver=dns).resolve("example.org", 443)


async def test_resolving_an_address_needs_no_request() -> None:
    dns = FakeDns(["93.184.216.34"])
    with pytest.raises(InvalidInput):
        await AddressGuard(resolver=dns).resolve("0x7f.1", 80)
    assert await AddressGuard(resolver=dns).resolve("8.8.8.8", 80) == [IPv4Address("8.8.8.8")]
    assert dns.asked == []


async def test_names_that_do_not_resolve_are_os_errors() -> None:
    with pytest.raises(OSError, match="no address"):
        await AddressGuard(resolver=FakeDns([])).resolve("example.org", 443)
    with pytest.raises(OSError, match="not valid"):
        await AddressGuard().resolve("a..b", 443)


def allowed(url: str) -> bool:
    try:
        AddressGuard().check_url(url)
    except InvalidInput:
        return False
    return True


@given(st.ip_addresses(v=4))
def test_no_ipv4_address_that_python_considers_local_passes(address: IPv4Address) -> None:
    if allowed(f"http://{address}/"):
        assert address.is_global
        assert not address.is_multicast


@given(st.ip_addresses(v=6))
def test_no_ipv6_address_that_python_considers_local_passes(address: IPv6Address) -> None:
    if allowed(f"http://[{address}]/") and address not in IPv6Network("::/8"):
        assert address.is_global
        assert not address.is_multicast


@given(st.ip_addresses(v=4))
def test_the_spelling_of_an_address_makes_no_difference(address: IPv4Address) -> None:
    a, b, c, d = address.packed
    spellings = [
        f"{int(address)}",
        f"{int(address):#x}",
        f"0{int(address):o}",
        f"{a}.{b}.{c * 256 + d}",
        f"{a:#x}.{b:#o}.{c}.{d}".replace("0o", "0"),
        f"{address}.",
        f"[::ffff:{address}]",
        f"[64:ff9b::{address}]",
    ]
    assert {allowed(f"http://{spelling}/") for spelling in spellings} == {allowed(f"http://{address}/")}


SCHEMES = ["", "http:", "https://", "http://", "HTTP://"]
HOSTS = [
    "127.1",
    "[::1]",
    "[",
    "]",
    "@",
    "\\",
    "%",
    "0x",
    "..",
    "a" * 70,
    "é",
    "\ud800",
    "xn--",
    "example.org",
]
pieces = st.lists(
    st.sampled_from([*SCHEMES, *HOSTS, ":", "/", "?", "#", "99999", "80", " ", "\0"]), max_size=8
)


@given(st.text() | pieces.map("".join) | pieces.map(lambda parts: "http://" + "".join(parts)))
def test_any_text_is_accepted_or_refused_without_another_error(url: str) -> None:
    guard = AddressGuard(resolver=FakeDns(["127.0.0.1"]))
    try:
        guard.check_url(url)
    except InvalidInput:
        return
    request = httpx.Request("POST", url)  # what passes can be sent
    try:
        addresses = asyncio.run(guard.resolve(request.url.raw_host.decode("ascii"), 80))
    except InvalidInput:
        return  # a name, and the name leads to loopback
    assert all(address.is_global for address in addresses)
